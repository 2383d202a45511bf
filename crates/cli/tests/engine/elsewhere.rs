//! A helper container on an engine elsewhere: that it is made there, and that nothing of it stays.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use lab::{FarHost, PlayedEngine, Program, Running};

use crate::{
    far::Way,
    member::helpers,
    processes::{all, marked, words},
    tap::{FILE, LIMIT, assert_ended, unique, until},
};

/// Moments at which a command is killed, of those that its start takes.
const MOMENTS: u32 = 4;

/// By TLS, typed by somebody behind sudo who may not read the key; and by ssh.
fn ways(far: &FarHost) -> [Way; 2] {
    let file = |name: &str| far.certificates().at(name).display().to_string();
    let (tls, [ca, cert, key]) = (far.tls(), ["ca.pem", "cert.pem", "key.pem"].map(file));
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&key, private).unwrap();
    let by_tls = ["-H", &tls, "--tlsverify", "--tlscacert", &ca, "--tlscert", &cert];
    let by_tls = Way::by(&[&by_tls[..], &["--tlskey", &key]].concat())
        .with("SUDO_USER", "nobody")
        .with("SUDO_UID", "65534")
        .with("SUDO_GID", "65534");
    [by_tls, Way::by(&["-H", &far.ssh()])]
}

/// Names of images.
fn images(far: &FarHost) -> String {
    let words = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    far.engine().docker().args(words).run().unwrap().stdout_text()
}

/// Processes on the far host that lead somebody to its engine.
fn dialled(far: &FarHost) -> Vec<u32> {
    let (_, inode) = far.namespace().id().unwrap();
    let is_there = |pid: &u32| {
        let namespace = fs::metadata(format!("/proc/{pid}/ns/net"));
        namespace.is_ok_and(|namespace| namespace.ino() == inode)
            && words(*pid).iter().any(|word| word == "dial-stdio")
    };
    all().filter(is_there).collect()
}

/// Whether it captures, or could not.
fn has_started(running: &mut Running) -> bool {
    running.stderr().contains("capturing ") || !running.is_alive()
}

/// Killed at whatever moment, together with nothing else: the reaper lives on, and finds its own way
/// to the engine.
#[test]
fn sigkill_at_any_moment_leaves_nothing_elsewhere() {
    let far = FarHost::start().unwrap();
    let out = tempfile::tempdir().unwrap();
    let mark = unique("elsewhere");
    let agent = lab::agent::program().unwrap();
    let capture = |way: &Way| {
        let program = way.given_to(env!("CARGO_BIN_EXE_whaletap"), &far);
        let program = program.args(["capture", "host", "-w", FILE]).current_dir(out.path());
        program.env("WHALETAP_TEST_MARK", &mark).env("WHALETAP_AGENT", &agent)
    };
    let mark = format!("WHALETAP_TEST_MARK={mark}");
    let gone = || {
        until("no process is left", LIMIT, || marked(&mark).is_empty());
        until("nobody waits over there", LIMIT, || dialled(&far).is_empty());
        assert_eq!(helpers(far.engine()), [""; 0]);
    };
    assert_eq!(images(&far), "");
    let ways = ways(&far);
    let mut unfinished = 0;
    for way in &ways {
        // With the image in place, and how long a start takes here and now.
        for is_first in [true, false] {
            let since = Instant::now();
            let mut running = capture(way).start().unwrap();
            until("it has started", LIMIT, || has_started(&mut running));
            let (whole, said) = (since.elapsed(), running.stderr());
            running.kill();
            assert!(said.contains("through a helper container of whaletap-agent\n"), "{said}");
            assert!(images(&far).starts_with("whaletap-agent:"), "{said}");
            if is_first {
                continue;
            }
            for moment in 1..=MOMENTS {
                let mut running = capture(way).start().unwrap();
                // There is nothing to be waited for: the moment itself is what is tried.
                thread::sleep(whole * moment / (MOMENTS + 1));
                unfinished += u32::from(!has_started(&mut running));
                running.kill();
            }
        }
    }
    gone();
    assert!(unfinished > MOMENTS / 2, "only {unfinished} were killed while their helper was made");
}

/// A program for `PATH` that leads to a socket wherever ssh is to lead.
fn to_socket(directory: &std::path::Path, socket: &std::path::Path) -> String {
    let script = directory.join("ssh");
    let socket = socket.display();
    let line = format!("#!/bin/sh\nexec docker --host unix://{socket} system dial-stdio\n");
    fs::write(&script, line).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap())
}

#[test]
fn an_engine_on_another_architecture_is_refused_before_anything_is_loaded() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let engine = PlayedEngine::playing(move |path, _| {
        log.lock().unwrap().push(path.to_owned());
        Some(if path.ends_with("/_ping") {
            PlayedEngine::answer("200 OK", "OK")
        } else if path.ends_with("/version") {
            PlayedEngine::answer("200 OK", r#"{"Version":"1","Arch":"s390x","Os":"linux"}"#)
        } else {
            PlayedEngine::answer("404 Not Found", r#"{"message":"No such image: x"}"#)
        })
    });
    let engine = engine.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let agent = lab::agent::program().unwrap();
    let path = to_socket(directory.path(), &engine.socket());
    let far = |words: &[&str]| -> Program {
        let words = [&["-H", "ssh://mainframe", "capture", "-w", FILE][..], words].concat();
        let program = Program::new(env!("CARGO_BIN_EXE_whaletap")).args(words);
        let program = program.env("PATH", &path).current_dir(directory.path());
        program.env("WHALETAP_AGENT", &agent)
    };
    let begun = Instant::now();
    let finished = far(&["host"]).finish().unwrap();
    assert_ended(&finished, 6, &["ssh://mainframe runs on s390x", "program of helper containers"]);
    let took = begun.elapsed();
    assert!(took < LIMIT / 4, "{took:?}: it waits for a helper that nobody makes");
    let asked = asked.lock().unwrap().join("\n");
    assert!(asked.contains("/containers/create") && !asked.contains("/images/"), "{asked}");
    // What is there cannot be reached from here.
    let finished = far(&["--via", "host", "host"]).finish().unwrap();
    assert_ended(&finished, 2, &["ssh://mainframe", "not from this host", "hint: --via helper"]);
    let absent = far(&["host"]).env("WHALETAP_AGENT", "/does/not/exist").finish().unwrap();
    assert_ended(&absent, 6, &["/does/not/exist", "No such file", "hint: it is whaletap-agent"]);
}
