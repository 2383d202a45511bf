//! The same traffic through whaletap, tcpdump and dumpcap at once, in the same namespace: the same
//! frames, byte for byte.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

#[path = "../netns/whaletap.rs"]
#[expect(dead_code, reason = "shared with the tests of one program, which ask for more")]
mod whaletap;

mod agreement;
mod filters;
mod media;

use lab::Records;

use crate::whaletap::{inject, scratch};

/// No further words for a tool.
const NONE: [&str; 0] = [];
/// Between the stamps that the kernel gives to two copies of one frame that goes out, on a machine
/// whose CPUs are busy. The usual distance is below a microsecond: see [`assert_close`].
const FAR: u64 = 50_000_000;
/// The same, in the middle of all distances.
const USUAL: u64 = 20_000;

/// The same frames with stamps that are close together.
fn assert_close(found: &Records, expected: &Records) {
    if let Err(difference) = found.same_as(expected, FAR) {
        panic!("{difference}");
    }
    let pairs = found.all.iter().zip(&expected.all);
    let mut apart: Vec<u64> = pairs.map(|(a, b)| a.timestamp_ns.abs_diff(b.timestamp_ns)).collect();
    apart.sort_unstable();
    let middle = apart[apart.len() / 2];
    assert!(middle <= USUAL, "stamps are {middle} ns apart in the middle: {apart:?}");
}

/// The same frames with the same stamps to the nanosecond.
fn assert_same(found: &Records, expected: &Records) {
    if let Err(difference) = found.same_as(expected, 0) {
        panic!("{difference}");
    }
}
