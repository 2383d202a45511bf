//! A sink that stands still, at 100 MB a second.

use std::{io::PipeReader, thread::JoinHandle, time::Duration};

use lab::{Namespace, Net, traffic::Report};

use crate::{
    blocks::{Blocks, PACKET},
    whaletap::{LIMIT, Summary, Whaletap, selector, whaletap},
};

/// Bytes a second.
const RATE: u64 = 100_000_000;

/// Lets a stream of so many bytes go from `a` to `b`, and says how long it took.
fn stream(a: &Namespace, b: &Namespace, bytes: u64) -> Duration {
    let line = format!("tcp-sink --listen 10.7.0.2:8 --count {bytes} --seconds 60");
    let mut sink = b.traffic(&line).unwrap();
    sink.wait_for_line("listening on", LIMIT).unwrap();
    let line = format!("tcp-send --to 10.7.0.2:8 --count {bytes} --rate {RATE} --seconds 60");
    let report = Report::of(a.traffic(&line).unwrap().wait_at_most(4 * LIMIT).unwrap()).unwrap();
    assert_eq!(report.count, bytes);
    sink.wait_at_most(LIMIT).unwrap().success().unwrap();
    Duration::from_secs_f64(report.seconds)
}

/// A capture into a pipe that nobody reads.
fn stalled(b: &Namespace, more: &[&str]) -> (Whaletap, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let program = whaletap(["capture", &selector(b), "-w", "-"]).args(more);
    (Whaletap::start(program.stdout_to(writer)), reader)
}

fn read(reader: PipeReader) -> JoinHandle<Blocks> {
    std::thread::spawn(move || Blocks::from_reader(std::io::BufReader::new(reader)))
}

fn assert_whole(summary: &Summary, blocks: &Blocks) {
    summary.assert_adds_up();
    blocks.assert_adds_up();
    assert_eq!((blocks.rest, blocks.count(PACKET)), (0, summary.captured), "{summary:?}");
}

#[test]
fn three_seconds_cost_nothing_with_512_mib() {
    let (_net, a, b) = Net::pair().unwrap();
    let (ours, reader) = stalled(&b, &["--memory", "512M"]);
    let took = stream(&a, &b, 3 * RATE);
    assert!(took >= Duration::from_millis(2900), "{took:?}");
    let blocks = read(reader);
    let summary = ours.stop();
    assert_whole(&summary, &blocks.join().unwrap());
    assert_eq!(summary.received, summary.captured, "{summary:?}");
}

#[test]
fn the_default_lasts_for_600_ms_and_then_counts_what_it_loses() {
    let (_net, a, b) = Net::pair().unwrap();
    let (mut ours, reader) = stalled(&b, &[]);
    let took = stream(&a, &b, RATE * 6 / 10);
    assert!(took >= Duration::from_millis(550), "{took:?}");
    let counts = ours.counts();
    assert!(counts.received > 900, "{counts:?}");
    assert_eq!((counts.dropped_by_us, counts.dropped_by_kernel), (0, 0), "{counts:?}");
    stream(&a, &b, RATE);
    let blocks = read(reader);
    let summary = ours.stop();
    let blocks = blocks.join().unwrap();
    assert_whole(&summary, &blocks);
    assert!(summary.dropped_by_us + summary.dropped_by_kernel > 100, "{summary:?}");
}
