//! Engines that are killed, that hang, that are not there, and that say what is not true.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    time::{Duration, Instant},
};

use lab::{
    ContainerSpec, Engine, Net, PlayedContainer, PlayedEngine, PrivateEngine, Program, judge,
};

use crate::{
    processes::child_called,
    tap::{Tap, assert_ended, idle, send, signal, whaletap, whaletap_at},
};

/// How long an engine may say nothing until that is told, generously.
const PATIENCE: Duration = Duration::from_secs(13);
/// `nobody` of every distribution.
const NOBODY: &str = "65534";

#[test]
fn a_capture_goes_on_when_its_engine_is_killed() {
    let mut private = PrivateEngine::start().unwrap();
    let engine = private.engine().clone();
    let web = engine.run(ContainerSpec::named("web")).unwrap();
    let db = engine.run(ContainerSpec::named("db")).unwrap();
    // What follows asks no engine.
    let address = web.address().unwrap();
    let (web_pid, db_pid) = (web.pid().unwrap(), db.pid().unwrap());
    let traffic = lab::traffic::program().unwrap();
    let send = |run: u32| {
        let words = format!("udp --to {address}:9 --count 50 --run {run}");
        let program = Program::new(&traffic).args(words.split(' '));
        program.inside_path(format!("/proc/{db_pid}/ns/net")).run().unwrap();
    };

    let mut tap = Tap::start_at(engine.host(), &["web", "db", "--", "udp", "port", "9"]);
    send(1);
    private.kill();
    send(2);
    private.start_again().unwrap();
    send(3);
    private.stop().unwrap();
    signal(db_pid, "KILL");
    tap.hears("db: ended");
    assert!(tap.running().is_alive());
    assert!(fs::exists(format!("/proc/{web_pid}")).unwrap());
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records();
    for run in 1..=3 {
        let mut numbers = records.of("web/eth0").numbers(run);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>(), "run {run}");
        assert_eq!(records.of("db/eth0").numbers(run).len(), 50, "run {run}");
    }
    judge::all(tapped.file(), true).unwrap();
    private.start_again().unwrap();
}

#[test]
fn an_engine_that_hangs_is_not_waited_for() {
    let hung = PlayedEngine::answering(|_| None).unwrap();
    let host = format!("unix://{}", hung.socket().display());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    let file = file.to_str().unwrap();
    let commands: [&[&str]; 3] =
        [&["ls"], &["capture", "web", "-w", file], &["exec", "web", "--", "true"]];
    // At once: each waits.
    let running = commands.map(|words| (words, whaletap_at(&host, words).start().unwrap()));
    let begun = Instant::now();
    for (words, running) in running {
        let finished = running.wait().unwrap();
        assert_ended(&finished, 6, &["no answer within", "docker.sock", "hint: "]);
        assert!(begun.elapsed() < PATIENCE, "{words:?}: {:?}", begun.elapsed());
        assert!(finished.stdout.is_empty());
    }
    assert!(!fs::exists(file).unwrap(), "no file is made for nothing");
}

#[test]
fn a_real_engine_that_is_stopped_is_not_waited_for_either() {
    let private = PrivateEngine::start().unwrap();
    let pid = private.pid().unwrap();
    let web = private.engine().run(ContainerSpec::named("web")).unwrap();
    let tap = Tap::start_at(private.engine().host(), &["web"]);
    signal(pid, "STOP");
    let begun = Instant::now();
    let finished = whaletap_at(private.engine().host(), &["capture", "web"]).finish().unwrap();
    assert_ended(&finished, 6, &["no answer within", "hint: "]);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    // The one that captures already does not care.
    let tapped = tap.stop();
    judge::all(tapped.file(), true).unwrap();
    signal(pid, "CONT");
    drop(web);
}

#[test]
fn an_engine_that_is_not_there_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let host = format!("unix://{}", socket.display());
    for words in [&["ls"][..], &["capture", "web"], &["exec", "web", "--", "true"]] {
        let finished = whaletap_at(&host, words).finish().unwrap();
        assert_ended(&finished, 6, &["no such socket", &host, "hint: "]);
    }
    // A socket that nobody listens at any more.
    drop(UnixListener::bind(&socket).unwrap());
    for words in [&["ls"][..], &["capture", "web"], &["exec", "web", "--", "true"]] {
        let finished = whaletap_at(&host, words).finish().unwrap();
        assert_ended(&finished, 6, &["connection refused", &host]);
    }
    // What is no engine.
    let odd = PlayedEngine::answering(|_| Some("<html>".to_owned())).unwrap();
    let host = format!("unix://{}", odd.socket().display());
    assert_ended(&whaletap_at(&host, &["ls"]).finish().unwrap(), 6, &["not a Docker engine's"]);
}

#[test]
fn who_may_not_speak_to_the_engine_is_told() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = directory.path().join("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    let host = format!("unix://{}", socket.display());
    // The binary's own directory may not be everybody's.
    let binary = directory.path().join("whaletap");
    fs::copy(env!("CARGO_BIN_EXE_whaletap"), &binary).unwrap();
    let as_nobody = |words: &[&str]| {
        let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        let program = Program::new("setpriv").args(ids).args(["--clear-groups", "--"]);
        program.arg(&binary).args(["-H", &host]).args(words).current_dir("/").finish().unwrap()
    };
    let listed = as_nobody(&["ls"]);
    assert_ended(&listed, 4, &["permission denied", "docker.sock", "hint: "]);
    assert!(listed.stderr.contains("group"), "{}", listed.stderr);
    let captured = as_nobody(&["capture", "web", "-w", "/dev/null"]);
    assert_ended(&captured, 4, &["CAP_SYS_ADMIN", "CAP_NET_RAW", "hint: run it with sudo"]);
    let captured = as_nobody(&["capture", "host", "-w", "/dev/null"]);
    assert_ended(&captured, 4, &["CAP_NET_RAW", "hint: "]);
}

/// The engine is somebody else's, behind a tunnel or in a virtual machine: its pids are
/// strangers' here. No real engine says so on its own machine; this one is played.
#[test]
fn a_stranger_is_never_captured() {
    let (_net, a, _b) = Net::pair().unwrap();
    let stranger = Program::new("sleep").arg("60").inside(&a).start().unwrap();
    let real = Engine::shared().unwrap().run(idle("other")).unwrap();
    let mut wrong = PlayedContainer::running("web", 7, stranger.pid());
    // A container's process, but another container's.
    let mut others = PlayedContainer::running("db", 8, real.pid().unwrap());
    (wrong.state, others.state) = ("running", "running");
    // A process that has ended since.
    let gone = Program::new("true").start().unwrap();
    let gone_pid = gone.pid();
    gone.wait().unwrap();
    let gone = PlayedContainer::running("gone", 9, gone_pid);
    let host_init = PlayedContainer::running("init", 10, 1);
    let engine = PlayedEngine::with(vec![wrong, others, gone, host_init], |_| {}).unwrap();
    let host = format!("unix://{}", engine.socket().display());
    let directory = tempfile::tempdir().unwrap();
    for (name, code) in [("web", 1), ("db", 1), ("init", 1), ("gone", 3)] {
        let file = directory.path().join(name);
        let words = ["capture", name, "-w", file.to_str().unwrap(), "--duration", "5s"];
        let finished = whaletap_at(&host, &words).finish().unwrap();
        assert_ended(&finished, code, &[name, "hint: "]);
        if code == 1 {
            assert_ended(&finished, 1, &["does not belong to container", "virtual machine"]);
        }
        assert!(!finished.stderr.contains("capturing"), "{}", finished.stderr);
        assert!(!file.exists(), "{name}");
    }
    let together = ["capture", "web", "db", "-w", "/dev/null", "--duration", "5s"];
    let finished = whaletap_at(&host, &together).finish().unwrap();
    assert_ended(&finished, 1, &["none of the 2 targets could be attached"]);
}

#[test]
fn some_that_cannot_be_captured_do_not_stop_the_others() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let mut tap = Tap::start(&[web.name(), "netns:/nonexistent/blue", "--", "udp", "port", "9"]);
    send(&db, &web, 3, "--run 4");
    assert!(tap.running().stderr().contains("error: blue"), "{}", tap.running().stderr());
    signal(tap.pid(), "INT");
    let tapped = tap.wait();
    assert_ended(&tapped.finished, 5, &["/nonexistent/blue", "ended: stopped"]);
    assert_eq!(tapped.records().numbers(4), [0, 1, 2]);
}

#[test]
fn a_killed_opener_is_told_and_captures_go_on() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let mut tap = Tap::start(&[web.name(), "--", "udp", "port", "9"]);
    let opener = child_called(tap.pid(), "whaletap-opener");
    signal(opener, "KILL");
    tap.hears("the opener process has ended");
    send(&db, &web, 5, "--run 2");
    let tapped = tap.stop();
    assert_eq!(tapped.records().numbers(2), [0, 1, 2, 3, 4]);
    tapped.assert_whole();
    let gone = whaletap(&["ls", "-q", web.name()]).finish().unwrap();
    assert_ended(&gone, 0, &[]);
}
