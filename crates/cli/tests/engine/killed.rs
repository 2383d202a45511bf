//! A client that is killed together with nothing else, at whatever moment: of its helper nothing is left.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use lab::{Container, Engine, Program, Running};

use crate::{
    member::{Member, assert_gone},
    processes::all,
    tap::{FILE, LIMIT, idle, send, unique, until},
};

/// When it is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After so many parts of ten of what a start takes.
    Part(u32),
    /// As soon as the engine tells this of its helper.
    Told(&'static str),
    /// In a capture that runs.
    Late,
}

/// From its first one to a capture that runs.
const MOMENTS: [Moment; 10] = [
    Moment::Part(0),
    Moment::Part(1),
    Moment::Told("create"),
    Moment::Part(2),
    Moment::Part(4),
    Moment::Part(6),
    Moment::Told("start"),
    Moment::Part(8),
    Moment::Part(9),
    Moment::Late,
];

/// What must have been met, and a moment for it.
const MET: [(&[Stage], Moment); 2] = [
    (&[Stage::Unmade], Moment::Part(0)),
    // Between making and connecting, where both the engine and the client have something to undo.
    (&[Stage::Made, Stage::Started], Moment::Told("create")),
];
/// How often a moment is tried that a busy machine has missed.
const ATTEMPTS: usize = 20;

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

/// What the engine tells of helpers from a moment on: what happened, id and name, a line each.
fn docker_events(since: SystemTime) -> Program {
    let words = ["events", "--since", &stamp(since), "--filter", "label=whaletap.helper"];
    let format = ["--format", "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}"];
    Engine::shared().unwrap().docker().args(words).args(format)
}

/// The same until now.
fn events(since: SystemTime) -> Vec<String> {
    let program = docker_events(since).args(["--until", &stamp(SystemTime::now())]);
    program.run().unwrap().stdout_text().lines().map(str::to_owned).collect()
}

fn stamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
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
    // With the image in place, and how long a start takes here and now.
    let [_, whole] = [(); 2].map(|()| {
        let (since, start) = (SystemTime::now(), Instant::now());
        let mut running = victim.start(true);
        running.wait_for_line("capturing ", LIMIT).unwrap();
        let whole = start.elapsed();
        assert_eq!(victim.kill(running, since), Stage::Captures);
        whole
    });
    let at = |moment, follows| {
        let since = SystemTime::now();
        let mut running = victim.start(follows);
        match moment {
            // There is nothing to be waited for: the moment itself is what is tried.
            Moment::Part(tenths) => thread::sleep(whole * tenths / 10),
            Moment::Told(what) => {
                let mut engine = docker_events(since).start().unwrap();
                let name = format!(" whaletap-{}-", running.pid());
                until("the engine tells of it", LIMIT, || {
                    let told = String::from_utf8_lossy(&engine.stdout()).into_owned();
                    assert!(engine.is_alive());
                    told.lines().any(|line| line.starts_with(what) && line.contains(&name))
                });
            }
            Moment::Late => {
                running.wait_for_line("capturing ", LIMIT).unwrap();
                send(&db, &web, 100, "--rate 1000");
            }
        }
        victim.kill(running, since)
    };
    let mut stages = Vec::new();
    for (number, moment) in MOMENTS.into_iter().enumerate() {
        stages.push(at(moment, number % 2 == 0));
    }
    assert!(stages.ends_with(&[Stage::Captures]), "{stages:?}");
    for (wanted, moment) in MET {
        let is_met = |stages: &[Stage]| stages.iter().any(|stage| wanted.contains(stage));
        for attempt in 0..ATTEMPTS {
            if is_met(&stages) {
                break;
            }
            stages.push(at(moment, attempt % 2 == 0));
        }
        assert!(is_met(&stages), "{wanted:?}: {stages:?}");
    }
}
