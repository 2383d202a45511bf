//! Containers that end while they are captured.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use lab::{Container, Engine, Namespace, Net, Program, judge};

use crate::tap::{LIMIT, Tap, assert_ended, idle, send, signal, until};

/// How long a namespace may outlive what Docker holds of it, beyond what the kernel takes for one
/// that nobody holds.
const OUTLIVES: Duration = Duration::from_secs(1);

/// Tells when the kernel has freed a namespace: it takes the devices that are in it along, and with
/// one end of a veth pair the other, which is in a namespace of ours.
///
/// The kernel frees namespaces one after the other, and on a busy machine there is a queue. So one
/// that nobody holds is put behind the container's: when that one is free, the other has to be.
pub(crate) struct Canary {
    net: Net,
    ours: Namespace,
    control: Namespace,
    inode: u64,
    file: PathBuf,
}

impl Canary {
    pub(crate) fn in_namespace_of(container: &Container) -> Self {
        let mut net = Net::new();
        let (ours, control) = (net.namespace().unwrap(), net.namespace().unwrap());
        let pid = container.pid().unwrap();
        ours.ip(&format!("link add canary type veth peer name inside netns {pid}")).unwrap();
        let name = control.name();
        ours.ip(&format!("link add control type veth peer name inside netns {name}")).unwrap();
        let inode = fs::metadata(format!("/proc/{pid}/ns/net")).unwrap().ino();
        Self { net, ours, control, inode, file: container.sandbox_key().unwrap() }
    }

    /// Whether Docker has let go of the namespace: it holds it by a mount.
    fn docker_has_let_go(&self) -> bool {
        fs::metadata(&self.file).map_or(true, |file| file.ino() != self.inode)
    }

    fn has(&self, device: &str) -> bool {
        self.ours.ip(&format!("link show {device}")).is_ok()
    }

    #[track_caller]
    pub(crate) fn assert_freed(mut self) {
        until("Docker lets go", LIMIT, || self.docker_has_let_go());
        assert!(self.has("control"));
        self.net.remove(&self.control).unwrap();
        until("the kernel has come that far", LIMIT, || !self.has("control"));
        until("the namespace is free", OUTLIVES, || !self.has("canary"));
    }
}

#[test]
fn a_container_that_dies_ends_its_own_capture_only() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let other = engine.run(idle("other")).unwrap();
    let canary = Canary::in_namespace_of(&web);
    assert!(canary.has("canary") && !canary.docker_has_let_go());
    let mut tap = Tap::start(&[web.name(), other.name(), "--", "udp", "port", "9"]);
    send(&db, &web, 100, "--run 1");
    web.kill().unwrap();
    tap.hears(&format!("{}: ended", web.name()));
    canary.assert_freed();
    send(&db, &other, 100, "--run 2");
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records();
    for (container, run) in [(&web, 1), (&other, 2)] {
        let numbers = records.of(&format!("{}/eth0", container.name())).numbers(run);
        assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "{}", container.name());
    }
    judge::all(tapped.file(), true).unwrap();
}

#[test]
fn when_all_are_gone_it_ends_by_itself() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let side = engine.run(idle("side").sharing(&web)).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let canary = Canary::in_namespace_of(&web);
    let mut tap =
        Tap::start(&["--no-follow", web.name(), side.name(), db.name(), "--", "udp", "port", "9"]);
    send(&db, &web, 10, "--run 1");
    // Not the engine's doing: a process of a container is killed by somebody.
    signal(db.pid().unwrap(), "KILL");
    tap.hears(&format!("{}: ended", db.name()));
    web.kill().unwrap();
    // The namespace lives on with the other container that is in it.
    assert!(tap.running().is_alive());
    side.kill().unwrap();
    let tapped = tap.wait();
    assert_ended(&tapped.finished, 0, &["ended: all targets have ended"]);
    tapped.assert_whole();
    let records = tapped.records();
    assert_eq!(records.numbers(1).len(), 20);
    judge::all(tapped.file(), true).unwrap();
    canary.assert_freed();
}

#[test]
fn a_restart_is_an_end_where_nothing_is_followed() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let canary = Canary::in_namespace_of(&web);
    let tap = Tap::start(&["--no-follow", web.name()]);
    web.order("restart").unwrap();
    let tapped = tap.wait();
    assert_ended(&tapped.finished, 0, &["ended: all targets have ended"]);
    canary.assert_freed();
    judge::all(tapped.file(), true).unwrap();
    assert!(web.pid().unwrap() > 0, "it runs again");
}

#[test]
fn a_process_and_a_namespace_file_end_too() {
    let (mut net, a, b) = Net::pair().unwrap();
    let process = Program::new("sleep").arg("60").inside(&a).start().unwrap();
    let comm = format!("/proc/{}/comm", process.pid());
    until("nsenter has entered", LIMIT, || fs::read_to_string(&comm).unwrap() == "sleep\n");
    let (pid, path) = (format!("pid:{}", process.pid()), format!("netns:{}", b.path().display()));
    let mut tap = Tap::start_at("unix:///nonexistent/docker.sock", &[&pid, &path]);
    process.kill();
    tap.hears(": ended");
    net.remove(&b).unwrap();
    let tapped = tap.wait();
    assert_ended(&tapped.finished, 0, &["ended: all targets have ended", b.name()]);
    judge::all(tapped.file(), true).unwrap();
}

/// The canary itself: a namespace that somebody holds is not free.
#[test]
fn a_namespace_that_is_held_is_seen() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let mut canary = Canary::in_namespace_of(&web);
    let held = fs::File::open(format!("/proc/{}/ns/net", web.pid().unwrap())).unwrap();
    web.kill().unwrap();
    until("Docker lets go", LIMIT, || canary.docker_has_let_go());
    canary.net.remove(&canary.control).unwrap();
    until("the kernel has come that far", LIMIT, || !canary.has("control"));
    assert!(canary.has("canary"), "it is held");
    drop(held);
    until("the namespace is free", LIMIT, || !canary.has("canary"));
}
