//! Rings that are there before anybody has said whose they are: what others send meanwhile is
//! written behind what is in them.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lab::{Records, judge};
use sys::ring::Geometry;
use whaletap_capture::{Attachment, Hold, Means, Report, Rotation, Sockets};

use crate::running::{Peer, Running, attach, attachment, attachment_with, geometry};

/// How long others wait at the most, as far as a test may count on it.
const HELD_FOR_LESS: Duration = Duration::from_millis(1900);
/// More than it takes until frames are in order where nothing is held: many retire timeouts.
const ORDERED: Duration = Duration::from_millis(200);

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// The frames of what is still to be attached are seen by who holds others up.
fn watch(hold: &mut Hold, of: &Attachment) {
    let Means::Here(Sockets { packet, geometry, .. }) = &of.means else { panic!("{of:?}") };
    hold.watch(packet.iter().map(|(_, socket)| socket), *geometry).unwrap();
}

/// Holds others up for what is still to be attached.
fn hold(running: &Running, of: &Attachment, since: u64) -> Hold {
    let mut hold = running.pipeline.hold(since);
    watch(&mut hold, of);
    hold
}

/// How many frames stand behind a later one: as the summary has it, and as the file.
fn late(report: &Report, file: &Path) -> (u64, usize) {
    judge::all(file, true).unwrap();
    let counted = report.last.sources.iter().map(|source| source.stats.out_of_order).sum();
    (counted, Records::read(file).unwrap().inversions())
}

fn packets(running: &Running) -> u64 {
    running.pipeline.snapshot().unwrap().packets
}

#[test]
fn nobody_goes_before_the_frames_of_a_ring_that_is_not_yet_anybodys() {
    let (mut talks, mut comes) = (Peer::new(), Peer::new());
    let running = Running::start("x.pcapng", false, Rotation::Off);
    attach(&running, attachment(&talks.namespace, 0, "talks"));
    let since = now();
    let coming = attachment(&comes.namespace, 1, "comes");
    let hold = hold(&running, &coming, since);
    // As long as its ring is empty nobody waits.
    talks.send(2);
    running.wait_for(2);
    comes.send(3);
    talks.send(4);
    thread::sleep(ORDERED);
    assert_eq!(packets(&running), 2, "what is later waits");
    attach(&running, Attachment { hold: Some(hold), ..coming });
    running.wait_for(9);
    talks.send(1);
    running.wait_for(10);
    let file = running.at("x.pcapng");
    let (report, _directory) = running.stop();
    assert_eq!(late(&report, &file), (0, 0));
    let names: Vec<_> =
        Records::read(&file).unwrap().all.into_iter().map(|it| it.interface.unwrap()).collect();
    let (talks, comes) = ("talks/eth0", "comes/eth0");
    let expected =
        [talks, talks, comes, comes, comes, talks, talks, talks, talks, talks].map(str::to_owned);
    assert_eq!(names, expected);
}

#[test]
fn before_a_ring_is_seen_everything_waits_for_it_and_nothing_once_it_is_given_up() {
    let (mut talks, mut comes) = (Peer::new(), Peer::new());
    let running = Running::start("x.pcapng", false, Rotation::Off);
    attach(&running, attachment(&talks.namespace, 0, "talks"));
    let mut first = running.pipeline.hold(now());
    let coming = attachment(&comes.namespace, 1, "comes");
    comes.send(1);
    talks.send(2);
    thread::sleep(ORDERED);
    assert_eq!(packets(&running), 0);
    // It is seen with what is in it already.
    watch(&mut first, &coming);
    thread::sleep(ORDERED);
    assert_eq!(packets(&running), 0);
    drop(first);
    drop(coming);
    assert_eq!(comes.sockets(), 0);
    running.wait_for(2);
    let file = running.at("x.pcapng");
    let (report, _directory) = running.stop();
    assert_eq!(late(&report, &file), (0, 0));
}

#[test]
fn others_wait_for_a_while_and_then_what_comes_late_is_counted() {
    let (mut talks, mut comes) = (Peer::new(), Peer::new());
    let running = Running::start("x.pcapng", false, Rotation::Off);
    attach(&running, attachment(&talks.namespace, 0, "talks"));
    let since = now();
    let coming = attachment(&comes.namespace, 1, "comes");
    let hold = hold(&running, &coming, since);
    comes.send(3);
    let begun = Instant::now();
    talks.send(4);
    running.wait_for(4);
    assert!(begun.elapsed() > HELD_FOR_LESS, "{:?}", begun.elapsed());
    attach(&running, Attachment { hold: Some(hold), ..coming });
    running.wait_for(7);
    let file = running.at("x.pcapng");
    let (report, _directory) = running.stop();
    // All three are late, and the first of them stands behind a later one.
    assert_eq!(late(&report, &file), (3, 1));
    assert_eq!(report.last.packets, 7);
}

/// Nor does waiting cost a packet where it fills a ring beyond its half.
#[test]
fn what_waits_gives_its_ring_back() {
    // More than the ring has room for, and each portion less than half of it.
    const PORTIONS: usize = 4;
    const PORTION: usize = 500;
    const LENGTH: usize = 1400;
    const RING: u32 = 2 << 20;
    let (mut talks, mut comes) = (Peer::new(), Peer::new());
    let running = Running::start("x.pcapng", false, Rotation::Off);
    let large = Geometry::of_size(RING, geometry().retire());
    attach(&running, attachment_with(&talks.namespace, 0, "talks", large));
    let since = now();
    let coming = attachment(&comes.namespace, 1, "comes");
    let hold = hold(&running, &coming, since);
    comes.send(3);
    for _ in 0..PORTIONS {
        talks.send_of(LENGTH, PORTION);
        // Each answer is given between two looks at the rings.
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(10));
            assert_eq!(packets(&running), 0);
        }
    }
    attach(&running, Attachment { hold: Some(hold), ..coming });
    running.wait_for((PORTIONS * PORTION + 3) as u64);
    let file = running.at("x.pcapng");
    let (report, _directory) = running.stop();
    assert_eq!(late(&report, &file), (0, 0));
    for source in &report.last.sources {
        let stats = source.stats;
        assert_eq!((stats.dropped_by_kernel, stats.dropped_by_us), (0, 0), "{stats:?}");
    }
}
