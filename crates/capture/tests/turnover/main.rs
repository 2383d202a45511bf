//! Five hundred captures under one pipeline, one after the other. Needs root, and a process of its
//! own, because it counts what the process has.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

#[path = "../succession/running.rs"]
#[expect(dead_code, reason = "the other tests need more of it")]
mod running;

use std::{fs, time::Instant};

use running::{Peer, Running, attach, attachment, following};
use whaletap_capture::{CaptureId, Rotation};

const CAPTURES: u32 = 500;
/// After how many everything that is made once is there.
const SETTLED: u32 = 50;
/// How much the process may have grown by all those that came later, in bytes: 4 KiB for each, of
/// which some 1 KiB was measured.
const GROWTH: u64 = (CAPTURES - SETTLED) as u64 * 4096;

/// How many descriptors this process has.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Memory of this process that is in use and not shared, in bytes.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Every second one is followed by the next, in its file; others have a file of their own.
#[test]
fn what_has_ended_costs_next_to_nothing() {
    let mut peer = Peer::new();
    let running = Running::start("x.pcapng", true, Rotation::Off);
    let mut before = (0, 0);
    let begun = Instant::now();
    for id in 0..CAPTURES {
        if id == SETTLED {
            before = (descriptors(), memory());
        }
        if id % 2 == 0 {
            attach(&running, attachment(&peer.namespace, id, "web"));
            peer.send(2);
            running.pipeline.suspend(CaptureId(id));
        } else {
            attach(&running, following(&peer.namespace, id, "web", id - 1));
            peer.send(2);
            running.pipeline.detach(CaptureId(id));
        }
        let report = running.detached();
        assert_eq!((report.id, report.stats.captured), (CaptureId(id), 2));
    }
    // Sockets are closed aside.
    running::eventually(|| descriptors() <= before.0);
    let after = (descriptors(), memory());
    println!("{before:?} to {after:?} in {:?}", begun.elapsed());
    assert!(after.1 < before.1 + GROWTH, "{} bytes more", after.1 - before.1);
    let snapshot = running.pipeline.snapshot().unwrap();
    assert_eq!((snapshot.files, snapshot.packets), (CAPTURES / 2, u64::from(CAPTURES) * 2));
    assert_eq!(running.names().len(), snapshot.files as usize);
    running.stop();
}
