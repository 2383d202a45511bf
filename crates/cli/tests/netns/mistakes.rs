//! What cannot be done is said before anything is written.

use lab::Net;

use crate::{
    names, scratch,
    whaletap::{Whaletap, selector, whaletap},
};

/// What is said on stderr at this exit code; nothing was written anywhere.
fn refused(words: &[&str], code: i32) -> String {
    let (directory, _) = scratch();
    let program = whaletap(["capture"]).current_dir(directory.path()).args(words);
    let finished = program.finish().unwrap();
    assert_eq!(finished.code(), Some(code), "{words:?}: {finished:?}");
    assert!(finished.stdout.is_empty(), "{words:?}");
    assert!(names(directory.path()).is_empty(), "{words:?}: {:?}", names(directory.path()));
    finished.stderr
}

#[test]
fn an_expression_that_does_not_compile_is_shown_with_its_place() {
    let mut net = Net::new();
    let ns = selector(&net.namespace().unwrap());
    for (expression, place) in
        [("tcp porrt 80", Some("porrt")), ("host 1.2.3.4.5", None), ("port", None)]
    {
        let text = refused(&[&ns, "--", expression], 7);
        assert!(
            text.starts_with("whaletap: cannot compile the expression") || place.is_none(),
            "{text}"
        );
        // A name that is not known may be a container's.
        let hint = if expression.starts_with("host") { "`whaletap ls`" } else { "pcap-filter(7)" };
        let hints = text.lines().filter(|line| line.starts_with("hint: "));
        assert!(hints.map(|line| line.contains(hint)).eq([true]), "{text}");
        if let Some(place) = place {
            let lines: Vec<&str> = text.lines().collect();
            let shown = lines.iter().position(|line| line.contains(expression)).expect(&text);
            let caret = lines[shown + 1].find('^').expect(&text);
            let begin = lines[shown].find(place).unwrap();
            assert!((begin..=begin + place.len()).contains(&caret), "{text}");
        }
    }
    // What needs a netmask that is not known.
    assert!(refused(&[&ns, "--", "ip broadcast"], 7).contains("netmask"));
}

#[test]
fn a_target_that_is_not_there_has_its_own_exit_code() {
    let mut net = Net::new();
    let ns = net.namespace().unwrap();
    assert!(refused(&["netns:/run/netns/wt-nowhere"], 3).contains("/run/netns/wt-nowhere"));
    assert!(refused(&["pid:4194304"], 3).contains("4194304"));
    // A list says the same.
    let nowhere = "open network namespace /run/netns/wt-nowhere: No such file";
    for (words, code, told) in [
        (&["netns:/run/netns/wt-nowhere"][..], 3, nowhere),
        (&["netns:/run/netns/wt-nowhere", "host"], 5, nowhere),
        (&["netns:/etc/passwd", "host"], 5, "/etc/passwd is not a network namespace"),
        (&["host"], 0, ""),
    ] {
        let listed = whaletap(["ls"]).args(words).finish().unwrap();
        assert_eq!(listed.code(), Some(code), "{listed:?}");
        assert!(listed.stderr.contains(told) && listed.stderr.is_empty() == told.is_empty());
    }
    let quiet = whaletap(["ls", "-q", "netns:/run/netns/wt-nowhere", "host"]).finish().unwrap();
    assert_eq!((quiet.code(), &*quiet.stdout_text()), (Some(5), "host\n"));
    assert!(quiet.stderr.contains(nowhere), "{quiet:?}");
    // A file that is no namespace.
    let text = refused(&["netns:/etc/passwd"], 1);
    assert!(text.contains("/etc/passwd is not a network namespace"), "{text}");
    let text = refused(&[&selector(&ns), "-i", "eth7"], 1);
    assert!(text.contains("no interface eth7") && text.contains("ls --interfaces"), "{text}");

    // One of two: the other is captured, and the exit code tells.
    let (_directory, at) = scratch();
    let program = whaletap(["capture", &selector(&ns), "netns:/run/netns/wt-nowhere", "-w"]);
    let ours = Whaletap::start(program.arg(at("x.pcapng")));
    ours.signal("INT");
    let summary = ours.ended(5);
    assert!(
        summary.text.contains("error: ") && summary.text.contains("wt-nowhere"),
        "{}",
        summary.text
    );
    lab::judge::all(at("x.pcapng"), true).unwrap();
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let mut net = Net::new();
    let ns = selector(&net.namespace().unwrap());
    for (words, part) in [
        (&["-C", "1", "-b", "packets:2"][..], "cannot be used with"),
        (&["-W", "3"], "-W"),
        (&["-c", "0"], "-c"),
        (&["-s", "300000"], "262144"),
        (&["-B", "2GiB"], "1GiB"),
        (&["-b", "files:3"], "files"),
        (&["-a", "colour:3"], "colour"),
        (&["-w", ""], "empty"),
    ] {
        let all: Vec<&str> = [&*ns].into_iter().chain(words.iter().copied()).collect();
        let text = refused(&all, 2);
        assert!(text.starts_with("whaletap: ") && text.contains(part), "{words:?}: {text}");
    }
}

#[test]
fn an_output_that_cannot_be_is_said_before_the_capture() {
    let mut net = Net::new();
    let ns = selector(&net.namespace().unwrap());
    for path in ["/does/not/exist/x.pcapng", "/proc/version/x.pcapng"] {
        let text = refused(&[&ns, "-w", path], 1);
        assert!(text.contains(path.rsplit_once('/').unwrap().0), "{text}");
    }
}
