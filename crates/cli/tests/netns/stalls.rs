//! A sink that stands still, or is slow.

use std::{
    io::{BufReader, PipeReader, Read},
    thread::{self, JoinHandle},
    time::Duration,
};

use lab::{Namespace, Net, traffic::Report};

use crate::{
    blocks::{Blocks, PACKET},
    whaletap::{LIMIT, Summary, Whaletap, eventually, selector, whaletap},
};

/// Bytes a second.
const RATE: u64 = 100_000_000;

/// Bytes of a frame: long ones, so that it is the pool that is tried and not the processors.
const FRAME: u64 = 50_000;

/// Bytes that a pipe holds.
const PIPE: usize = 64 << 10;

/// Two namespaces between which such frames travel.
fn pair() -> (Net, Namespace, Namespace) {
    let mut net = Net::new();
    let (a, b) = (net.namespace().unwrap(), net.namespace().unwrap());
    net.veth((&a, "eth0"), (&b, "eth0"), 65_000).unwrap();
    (net, a, b)
}

/// Sends so many bytes at so many a second, to nobody. Says how long it took and how many frames it
/// were.
fn stream(a: &Namespace, bytes: u64, rate: u64) -> (Duration, u64) {
    let line = format!(
        "send --dev eth0 --size {FRAME} --count {} --rate {} --seconds 60",
        bytes / FRAME,
        rate / FRAME
    );
    let report = Report::of(a.traffic(&line).unwrap().wait_at_most(4 * LIMIT).unwrap()).unwrap();
    assert_eq!((report.bytes, report.failed), (bytes, 0));
    (Duration::from_secs_f64(report.seconds), report.count)
}

/// A capture into a pipe that nobody reads.
fn stalled(b: &Namespace, more: &[&str]) -> (Whaletap, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let program = whaletap(["capture", &selector(b), "-w", "-"]).args(more);
    (Whaletap::start(program.stdout_to(writer)), reader)
}

fn read(reader: impl Read + Send + 'static) -> JoinHandle<Blocks> {
    thread::spawn(move || Blocks::from_reader(BufReader::with_capacity(PIPE, reader)))
}

/// Who reads at less than twice [`RATE`], and never pauses for long.
struct Slow(PipeReader);

impl Read for Slow {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let length = self.0.read(room)?;
        thread::sleep(Duration::from_secs(length as u64).div_f64(2.0 * RATE as f64));
        Ok(length)
    }
}

fn assert_whole(summary: &Summary, blocks: &Blocks) {
    summary.assert_adds_up();
    blocks.assert_adds_up();
    assert_eq!((blocks.rest, blocks.count(PACKET)), (0, summary.captured), "{summary:?}");
}

#[test]
fn three_seconds_cost_nothing_with_512_mib() {
    let (_net, a, b) = pair();
    // A long ring: it is the pool that is tried, and not how busy the machine is with other tests.
    let (mut ours, reader) = stalled(&b, &["--memory", "512M", "-B", "64MiB"]);
    let (took, frames) = stream(&a, 3 * RATE, RATE);
    assert!(took >= Duration::from_millis(2900), "{took:?}");
    eventually("all have come", LIMIT, || ours.counts().received >= frames);
    let blocks = read(reader);
    let summary = ours.stop();
    assert_whole(&summary, &blocks.join().unwrap());
    assert_eq!((summary.received, summary.captured), (frames, frames), "{summary:?}");
}

#[test]
fn the_default_lasts_for_600_ms_and_then_counts_what_it_loses() {
    let (_net, a, b) = pair();
    let (mut ours, reader) = stalled(&b, &[]);
    let (took, frames) = stream(&a, RATE * 6 / 10, RATE);
    assert!(took >= Duration::from_millis(550), "{took:?}");
    let counts = ours.counts();
    assert_eq!(counts.received, frames, "{counts:?}");
    assert_eq!((counts.dropped_by_us, counts.dropped_by_kernel), (0, 0), "{counts:?}");
    let (_, more) = stream(&a, RATE, RATE);
    let blocks = read(reader);
    let summary = ours.stop();
    let blocks = blocks.join().unwrap();
    assert_whole(&summary, &blocks);
    assert_eq!(summary.received, frames + more, "{summary:?}");
    let lost = summary.dropped_by_us + summary.dropped_by_kernel;
    assert!(lost > 100, "{summary:?}");
    // 64 MiB of pool and 16 of ring hold some 1,600 such frames.
    assert!(summary.captured > 1200, "{summary:?}");
}

/// No write takes so long that it would be taken for stuck, and what is offered is twice what can
/// be written: what the ring has no room for has to wait in memory.
#[test]
fn a_burst_costs_nothing_where_the_sink_is_slow() {
    let (_net, a, b) = pair();
    let (mut ours, reader) = stalled(&b, &["-B", "16MiB"]);
    let blocks = read(Slow(reader));
    let (_, frames) = stream(&a, RATE * 6 / 10, 4 * RATE);
    eventually("all have come", LIMIT, || ours.counts().received >= frames);
    let summary = ours.stop();
    assert_whole(&summary, &blocks.join().unwrap());
    assert_eq!((summary.received, summary.captured), (frames, frames), "{summary:?}");
}
