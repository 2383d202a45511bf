//! Hundreds of containers come and go while one session runs.

use std::{collections::BTreeSet, time::Duration};

use lab::{Census, Exchange, Footprint, PrivateEngine, Records, Visit, Visitors, judge};

use crate::tap::{FILE, LIMIT, assert_ended, capture, count, until};

/// Containers before anything is judged: what is made once is there then, and threads have had as
/// much to do as they will.
const WARM_UP: u32 = 40;
/// Containers that come and go, and how many of them at a time.
const ALL: u32 = 200;
const AT_ONCE: usize = 20;
/// How long the session may live.
const LIFE: Duration = Duration::from_secs(350);
/// How long the kernel may take until it has freed namespaces that nobody holds.
const FREED: Duration = Duration::from_secs(60);
/// Bytes that memory may be more by: names and counts of those that are gone, and what an allocator
/// keeps.
const GROWTH: u64 = 6 << 20;
/// Connections to the engine that may be kept for the next question.
const CONNECTIONS: usize = 8;
/// What the kernel's own count of namespaces may be off by, with what other tests have meanwhile.
const ROUGHLY: usize = 100;

/// On an engine of its own: nobody else's namespaces are counted.
#[test]
fn two_hundred_containers_come_and_go_and_only_their_packets_stay() {
    let private = PrivateEngine::start().unwrap();
    let (engine, dockerd) = (private.engine(), private.pid().unwrap());
    let mut visitors = Visitors::of(engine).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    let selector = format!("label:{}", visitors.label());
    let program = capture(engine.host(), &file, &["--wait", &selector, "--", "udp"]);
    let mut running = program.limit(LIFE).start().unwrap();
    let begins = |line: &str| line.contains("capturing ") || line.contains("waiting ");
    running.wait_for("capturing, or waiting", LIMIT, begins).unwrap();

    let mut visits = visitors.come(WARM_UP, AT_ONCE).unwrap().all;
    let before = Footprint::settled(running.pid(), LIMIT).unwrap();
    let census = Census::seen_by(dockerd).unwrap();
    visits.extend(visitors.come(ALL, AT_ONCE).unwrap().all);
    let after = Footprint::returned(running.pid(), &before, LIMIT).unwrap();
    assert_eq!(after.counted(), before.counted());
    assert!(after.connections <= before.connections + CONNECTIONS, "{before:?} {after:?}");
    assert!(after.rss <= before.rss + GROWTH, "{before:?} {after:?}");
    until("there are as many namespaces as there were", FREED, || {
        let now = Census::seen_by(dockerd).unwrap();
        let roughly = |(now, before): (usize, usize)| now <= before + ROUGHLY;
        now.mounted == census.mounted && now.alive.zip(census.alive).is_none_or(roughly)
    });

    let finished = running.interrupt().unwrap();
    assert_ended(&finished, 0, &["ended: stopped"]);
    for lost in ["dropped by kernel", "dropped by whaletap", "discarded at stop"] {
        assert_eq!(count(&finished.stderr, lost), 0, "{lost}");
    }
    let records = Records::read(&file).unwrap();
    assert_eq!(records.len() as u64, count(&finished.stderr, "captured"));
    let seen = Exchange::of_each(&records);
    let is_whole = |visit: &&Visit| {
        seen.get(&(Some(&*visit.interface()), visit.run)) == Some(&Exchange::WHOLE)
    };
    let (whole, others): (Vec<_>, Vec<_>) = visits.iter().partition(is_whole);
    assert_eq!(whole.len(), visits.len(), "not, or not once: {others:?}");

    // And by other people's eyes.
    judge::all(&file, true).unwrap();
    let field = ["frame.interface_name"];
    let asked = judge::tshark_fields(&file, &["-Y", "udp.dstport == 7"], &field).unwrap();
    let asked: BTreeSet<String> = asked.into_iter().flatten().collect();
    assert_eq!(asked, visits.iter().map(Visit::interface).collect());
}
