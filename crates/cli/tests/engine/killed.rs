//! A client that is killed together with nothing else, at whatever moment: of its helper nothing is left.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use lab::{Container, Engine, Running};

use crate::{
    member::{Member, assert_gone},
    processes::all,
    tap::{FILE, LIMIT, idle, send, unique, until},
};

/// Moments at which it is killed: from its first one to a capture that runs.
const MOMENTS: u32 = 10;

/// How far the helper had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unmade,
    Made,
    Started,
    Captures,
}

/// Who is killed.
struct Victim<'a> {
    member: &'a Member,
    out: PathBuf,
    mark: String,
    web: &'a Container,
}

impl Victim<'_> {
    /// In the container's network where nothing is followed, in the machine's otherwise.
    fn start(&self, follows: bool) -> Running {
        let words = ["capture", self.web.name(), "-w", FILE];
        let more: &[&str] = if follows { &[] } else { &["--no-follow"] };
        let program = self.member.whaletap(&self.out, &[&words[..], more].concat());
        program.env("WHALETAP_TEST_MARK", &self.mark).start().unwrap()
    }

    /// Kills it, waits until nothing is left, and tells how far its helper had come.
    #[track_caller]
    fn kill(&self, running: Running, since: SystemTime) -> Stage {
        let pid = running.pid();
        let captured = running.stderr().contains("capturing ");
        running.kill();
        assert_gone(pid, &format!("WHALETAP_TEST_MARK={}", self.mark), &self.out);
        let events = events(since);
        let of_helper = |line: &&String| line.contains(&format!(" whaletap-{pid}-"));
        let events: Vec<&String> = events.iter().filter(of_helper).collect();
        for event in &events {
            let id = event.split(' ').nth(1).unwrap();
            until("its processes are gone", LIMIT, || !is_alive(id));
        }
        let has = |what: &str| events.iter().any(|event| event.starts_with(what));
        match (has("create "), has("start ")) {
            (_, true) if captured => Stage::Captures,
            (_, true) => Stage::Started,
            (true, false) => Stage::Made,
            (false, false) => Stage::Unmade,
        }
    }
}

/// What the engine tells of helpers: what happened, id and name, a line each.
fn events(since: SystemTime) -> Vec<String> {
    let engine = Engine::shared().unwrap();
    let seconds = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap();
        format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
    };
    let (from, to) = (seconds(since), seconds(SystemTime::now()));
    let words = ["events", "--since", &from, "--until", &to, "--filter", "label=whaletap.helper"];
    let format = ["--format", "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}"];
    let said = engine.docker().args(words).args(format).run().unwrap().stdout_text();
    said.lines().map(str::to_owned).collect()
}

/// Whether a process is in the container with this id.
fn is_alive(id: &str) -> bool {
    let is_in = |pid: u32| {
        let groups = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("cgroup"));
        groups.is_ok_and(|groups| groups.contains(id))
    };
    all().any(is_in)
}

#[test]
fn at_ten_moments_nothing_is_left() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let (web, db) = (engine.run(idle("web")).unwrap(), engine.run(idle("db")).unwrap());
    let victim =
        Victim { out: member.directory("out"), mark: unique("killed"), member: &member, web: &web };
    // How long a start takes here and now, with the image in place.
    let (since, start) = (SystemTime::now(), Instant::now());
    let mut running = victim.start(true);
    running.wait_for_line("capturing ", LIMIT).unwrap();
    let whole = start.elapsed();
    assert_eq!(victim.kill(running, since), Stage::Captures);
    let mut stages = Vec::new();
    for moment in 0..MOMENTS {
        let since = SystemTime::now();
        let mut running = victim.start(moment % 2 == 0);
        if moment == MOMENTS - 1 {
            running.wait_for_line("capturing ", LIMIT).unwrap();
            send(&db, &web, 100, "--rate 1000");
        } else {
            // There is nothing to be waited for: the moment itself is what is tried.
            thread::sleep(whole * moment / MOMENTS);
        }
        stages.push(victim.kill(running, since));
    }
    assert_eq!((stages[0], stages[9]), (Stage::Unmade, Stage::Captures), "{stages:?}");
    // Between making and connecting, where both the engine and the client have something to undo.
    let between = stages.iter().filter(|stage| [Stage::Made, Stage::Started].contains(stage));
    assert!(between.count() >= 2, "{stages:?}");
}
