//! Events that never come: what they would have told is found by asking.

use std::time::Duration;

use lab::{Container, ContainerSpec, Engine, PrivateEngine, Records, Relay, engine::Events, judge};

use crate::{
    follow::{LABEL, label},
    tap::{Tap, Tapped, idle},
};

/// What a missed event may cost.
const MADE_UP: Duration = Duration::from_secs(5);
/// Datagrams a second that a container sends from its first moment on. Frames that come one by one
/// take a block of the ring each, in which they wait until it is known whose they are.
const RATE: u64 = 10;

/// A container that speaks from its first moment on, to one that is not captured.
fn speaker(to: &Container, run: u32) -> ContainerSpec {
    let to = to.address().unwrap();
    let words = format!("udp --to {to}:9 --rate {RATE} --seconds 60 --run {run}");
    ContainerSpec::new("speaker").traffic(&words)
}

/// Starts one of these, and waits until some of what it says is captured.
#[track_caller]
fn is_found(engine: &Engine, tap: &Tap, spec: ContainerSpec, run: u32) -> Container {
    let container = engine.run(spec).unwrap();
    tap.sees(run, 1, MADE_UP);
    container
}

/// The first number of a container's datagrams that is in the file, and what is told there.
fn first(records: &Records, container: &Container, run: u32) -> (u64, Vec<String>) {
    let records = records.of(&format!("{}/eth0", container.name()));
    (records.numbers(run)[0], records.all[0].comments.clone())
}

/// Stops it and says what is in its file, which is in order.
#[track_caller]
fn stop(tap: Tap) -> (Tapped, Records) {
    let tapped = tap.stop();
    judge::all(tapped.file(), true).unwrap();
    let records = tapped.records();
    (tapped, records)
}

/// The stream stays open and is silent. The namespace is seen coming, so that not one frame is
/// missed; whose it is, is found by a list.
#[test]
fn what_events_do_not_tell_is_found_by_lists() {
    let engine = Engine::shared().unwrap();
    let (selector, value) = label();
    let _web = engine.run(idle("web").label(LABEL, &value)).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let relay = Relay::to(&engine).unwrap();
    let tap = Tap::start_at(&relay.host(), &[&selector, "--", "udp", "port", "9"]);
    relay.events(Events::Swallow);
    let late = is_found(&engine, &tap, speaker(&db, 1).label(LABEL, &value), 1);
    assert!(relay.swallowed() > 0, "an event came, and went no further");
    let (_tapped, records) = stop(tap);
    let (number, comments) = first(&records, &late, 1);
    assert_eq!(number, 0, "from its first packet on");
    assert!(comments.iter().any(|c| c.contains("after its namespace was made")), "{comments:?}");
}

/// Its directory of namespaces cannot be seen: the process behind the socket is another. What is
/// missed is told.
#[test]
fn what_nobody_sees_coming_is_captured_late_and_says_so() {
    let private = PrivateEngine::start().unwrap();
    let engine = private.engine();
    let _web = engine.run(ContainerSpec::named("web").label(LABEL, "x")).unwrap();
    let db = engine.run(ContainerSpec::named("db")).unwrap();
    let relay = Relay::to(engine).unwrap();
    let selector = format!("label:{LABEL}=x");
    let mut tap = Tap::start_at(&relay.host(), &[&selector, "--", "udp", "port", "9"]);
    relay.events(Events::Swallow);
    let swallowed = is_found(engine, &tap, speaker(&db, 1).label(LABEL, "x"), 1);
    assert!(relay.swallowed() > 0);

    relay.events(Events::Cut);
    tap.hears("captures go on");
    let cut = is_found(engine, &tap, speaker(&db, 2).label(LABEL, "x"), 2);
    assert!(relay.cut() > 1, "it was asked for again, and refused");

    relay.events(Events::Pass);
    tap.hears("the engine answers again");
    let passed = is_found(engine, &tap, speaker(&db, 3).label(LABEL, "x"), 3);
    let (tapped, records) = stop(tap);
    tapped.assert_whole();
    for (container, run) in [(&swallowed, 1), (&cut, 2), (&passed, 3)] {
        let (number, comments) = first(&records, container, run);
        let told = comments.iter().find_map(|comment| Blind::read(comment));
        let told = told.unwrap_or_else(|| panic!("{run}: {comments:?}"));
        println!("run {run}: {told:?}, the first number is {number}");
        assert!(told.milliseconds > 0.0 && told.milliseconds < MADE_UP.as_secs_f64() * 1e3);
        // Each datagram that is not in the file is one of the frames that had passed before.
        assert!(number <= told.frames, "run {run}: {number}, {told:?}");
        let line = format!("{}: captured, ", container.name());
        assert!(tapped.finished.stderr.contains(&line), "{}", tapped.finished.stderr);
    }
}

/// What a comment tells of the time in which a container was not captured.
#[derive(Debug)]
struct Blind {
    milliseconds: f64,
    frames: u64,
}

impl Blind {
    fn read(comment: &str) -> Option<Self> {
        let (before, behind) = comment.split_once(" ms after its namespace was made; ")?;
        let milliseconds = before.rsplit(' ').next()?.parse().ok()?;
        Some(Self { milliseconds, frames: behind.split(' ').next()?.parse().ok()? })
    }
}
