use std::io;

use super::*;

fn told(failure: &Failure) -> String {
    let mut out = Vec::new();
    failure.tell(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn codes_are_the_documented_ones() {
    let codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 125, 126, 127, 130]);
    assert!(table().contains("\n  3    no such target"), "{}", table());
}

#[test]
fn an_error_is_told_with_what_to_do() {
    let failure = Failure::usage("-w: a\x1b[2Jb", "do this");
    assert_eq!(told(&failure), "whaletap: -w: a\\x1b[2Jb\nhint: do this\n");
}

#[test]
fn a_chain_says_everything_once() {
    let inner = io::Error::other("disk on fire");
    let error = CaptureError::Write { path: "x".into(), source: inner };
    assert_eq!(chain(&error), "cannot write x: disk on fire");
    let inner = io::Error::other("not for you");
    let error = docker::Error::ReadConfig { path: "/c.json".into(), source: inner };
    assert_eq!(chain(&error), "cannot read /c.json: not for you");
    let error = CaptureError::Thread { source: io::Error::from_raw_os_error(11) };
    assert_eq!(chain(&error), "cannot start a thread: Resource temporarily unavailable");
    let same = "(os error ) (os error x) (os error 7";
    assert_eq!(without_numbers(same.to_owned()), same);
}

#[test]
fn the_engines_errors() {
    let endpoint = || "unix:///x".to_owned();
    for (error, exit) in [
        (docker::Error::ConflictingOptions, Exit::Usage),
        (docker::Error::SocketAbsent { endpoint: endpoint() }, Exit::EngineUnreachable),
        (docker::Error::Refused { endpoint: endpoint() }, Exit::EngineUnreachable),
        (docker::Error::PermissionDenied { endpoint: endpoint() }, Exit::NotPermitted),
        (
            docker::Error::Timeout {
                endpoint: endpoint(),
                after: std::time::Duration::from_secs(10),
            },
            Exit::EngineUnreachable,
        ),
        (docker::Error::NoSuchContainer { id: "x".into() }, Exit::NoSuchTarget),
        (
            docker::Error::Api { endpoint: endpoint(), status: 400, message: "bad".into() },
            Exit::Usage,
        ),
        (
            docker::Error::Api { endpoint: endpoint(), status: 500, message: "bad".into() },
            Exit::Failure,
        ),
        (docker::Error::FilterKey { key: "x".into() }, Exit::Usage),
    ] {
        let failure = Failure::from(session::Error::from(error));
        assert_eq!(failure.exit, exit, "{failure:?}");
    }
}

#[test]
fn what_needs_no_engine_is_named_where_that_is_so() {
    let ended = |endpoint: &str| docker::Error::StreamEnded { endpoint: endpoint.to_owned() };
    let hint = |error| Failure::from(session::Error::from(error)).hint.unwrap();
    assert!(hint(ended("unix:///x")).contains("host of this machine need no engine"));
    for endpoint in ["tcp://far:2375", "ssh://far", "tcp://far:2376 (context unix)"] {
        let hint = hint(ended(endpoint));
        assert!(hint.contains("that machine's, too") && !hint.contains("no engine"), "{hint}");
    }
}

#[test]
fn a_missing_right_names_it_and_the_way_without() {
    let missing = |missing: &str| {
        let (what, missing) = ("capturing".to_owned(), missing.to_owned());
        Failure::from(session::Error::NotPermitted { what, missing })
    };
    let capability = missing("missing CAP_NET_RAW");
    assert_eq!(capability.exit, Exit::NotPermitted);
    let text = told(&capability);
    assert!(text.contains("CAP_NET_RAW") && text.contains("sudo"), "{text}");
    assert!(text.contains("(docker)"), "{text}");
    assert!(told(&missing("group docker")).contains("member of that group"));
}

#[test]
fn what_the_opener_refuses() {
    let refused = |reason| {
        let source = opener::Error::Refused { reason, message: "setns: no".into(), errno: None };
        Failure::from(session::Error::Opener { target: "web".into(), source })
    };
    for (reason, exit) in [
        (Reason::NotPermitted, Exit::NotPermitted),
        (Reason::NotFound, Exit::NoSuchTarget),
        (Reason::NotTheOne, Exit::Failure),
        (Reason::Failed, Exit::Failure),
    ] {
        let failure = refused(reason);
        assert_eq!((failure.exit, &*failure.lines[0]), (exit, "web: setns: no"));
    }
    assert!(refused(Reason::NotTheOne).hint.unwrap().contains("not on this machine"));
    assert!(Failure::from(&opener::Error::Unreadable).hint.unwrap().contains("bug"));
}

#[test]
fn outputs_that_cannot_be_written() {
    let failed = |kind: io::ErrorKind| {
        Failure::from(session::Error::Output {
            what: "cannot write into directory",
            path: "/x".into(),
            source: kind.into(),
        })
    };
    assert!(failed(io::ErrorKind::NotFound).hint.unwrap().contains("make it"));
    assert!(failed(io::ErrorKind::PermissionDenied).hint.unwrap().contains("sudo"));
    assert_eq!(failed(io::ErrorKind::ReadOnlyFilesystem).hint, None);
    let bug = Failure::from(CaptureError::Panicked { thread: "reader" });
    assert!(told(&bug).contains("bug in whaletap"));
}

#[test]
fn a_program_that_cannot_be_started_is_told_as_shells_do() {
    let failed = |kind: io::ErrorKind| {
        Failure::from(session::Error::Exec { program: "dig".into(), source: kind.into() }).exit
    };
    assert_eq!(failed(io::ErrorKind::NotFound), Exit::NotFound);
    assert_eq!(failed(io::ErrorKind::PermissionDenied), Exit::CannotRun);
    let source = io::ErrorKind::ArgumentListTooLong.into();
    let too_long = session::Error::Command { command: "make".into(), source };
    assert_eq!(Failure::from(too_long).exit, Exit::CannotRun);
}

#[test]
fn an_expression_is_shown_with_a_mark_below_the_place() {
    let failure = Failure {
        place: Some(("tcp prot 80".to_owned(), 4)),
        ..Failure::new(Exit::Expression, "cannot compile the expression: syntax error")
    };
    assert_eq!(
        told(&failure),
        "whaletap: cannot compile the expression: syntax error\n    tcp prot 80\n        ^\n"
    );
}
