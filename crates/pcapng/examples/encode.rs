//! How long it takes to encode a packet: `cargo run --release --example encode`.

#![expect(clippy::print_stdout, reason = "an example is for its output")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use whaletap_pcapng::{Flags, PacketBlock, PcapRecord, PlainPacketBlock};

/// Size of the buffer that is filled over and over, in bytes.
const CHUNK: usize = 1 << 20;
/// Packets of a round: so few that most rounds run without interruption.
const PACKETS: u32 = 100_000;
const ROUNDS: usize = 501;

/// Encodes [`PACKETS`] packets of `length` bytes and prints the best and the median round.
fn measure(name: &str, length: usize, encode: impl Fn(&mut Vec<u8>, &[u8], u64)) {
    let packet = vec![0xA5; length];
    let mut chunk = Vec::with_capacity(CHUNK + length + 64);
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for number in 0..PACKETS {
                if chunk.len() >= CHUNK {
                    black_box(&chunk);
                    chunk.clear();
                }
                encode(&mut chunk, black_box(&packet), u64::from(number));
            }
            start.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    let each = |round: Duration| round.as_secs_f64() * 1e9 / f64::from(PACKETS);
    println!(
        "{name:24} {length:5} bytes  best {:6.2} ns  median {:6.2} ns",
        each(rounds[0]),
        each(rounds[ROUNDS / 2])
    );
}

fn main() {
    for length in [64, 1400] {
        measure("plain packet block", length, |out, bytes, number| {
            PlainPacketBlock {
                interface: 1,
                timestamp: number,
                original_length: 1514,
                bytes,
                flags: Flags::from_bits(5),
            }
            .encode(out);
        });
        measure("packet block, one part", length, |out, bytes, number| {
            PacketBlock {
                interface: 1,
                timestamp: number,
                original_length: 1514,
                parts: &[bytes],
                flags: Some(Flags::from_bits(5)),
                ..PacketBlock::default()
            }
            .encode(out);
        });
        measure("packet block, tag back", length, |out, bytes, number| {
            let (addresses, rest) = bytes.split_at(12);
            PacketBlock {
                interface: 1,
                timestamp: number,
                original_length: 1514,
                parts: &[addresses, &[0x81, 0, 0, 7], rest],
                flags: Some(Flags::from_bits(5)),
                dropcount: None,
                comments: &[],
            }
            .encode(out);
        });
        measure("classic record", length, |out, bytes, number| {
            PcapRecord { timestamp: number, original_length: 1514, parts: &[bytes] }.encode(out);
        });
    }
}
