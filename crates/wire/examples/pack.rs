//! How long it takes to pack frames for their way, and to read them again:
//! `cargo run --release -p whaletap-wire --example pack`.

#![expect(clippy::print_stdout, reason = "an example is for its output")]

use std::time::{Duration, Instant};

use model::FrameParts;
use model::{Hatype, PacketType};
use whaletap_wire::{Batch, BatchWriter};

/// Batches of a measurement, of which the median counts.
const BATCHES: usize = 301;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Packs full batches of frames of `length` bytes, half of them the same in each frame.
fn measure(length: usize, compress: bool) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = vec![0xA5; length];
    let (mut packing, mut reading, mut frames, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..BATCHES {
        let mut writer = BatchWriter::default();
        let begun = Instant::now();
        let mut timestamp = 1_800_000_000_000_000_000;
        while !writer.is_full() {
            for chunk in data[length / 2..].chunks_mut(8) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                chunk.copy_from_slice(&random.to_le_bytes()[..chunk.len()]);
            }
            timestamp += 3_500;
            let frame = FrameParts {
                timestamp,
                interface: 2,
                hatype: Hatype::ETHER,
                protocol: 0x0800,
                packet_type: PacketType::Host,
                vlan: None,
                checksum_not_ready: false,
                checksum_valid: false,
                tcp_segmentation: false,
                address: &[],
                network_offset: 14,
                original_length: u32::try_from(length).unwrap_or(u32::MAX),
                data: &data,
            };
            if writer.push(&frame).is_err() {
                break;
            }
        }
        let message = writer.take(1, 0, compress);
        packing.push(begun.elapsed());
        let begun = Instant::now();
        let Ok(batch) = Batch::read(&message) else { continue };
        let kept: usize = batch.frames().map(|frame| frame.data.len()).sum();
        reading.push(begun.elapsed());
        frames = batch.frames;
        bytes = message.len();
        assert!(kept >= length, "frames are read");
    }
    let each = |times| median(times).as_nanos() / u128::from(frames.max(1));
    println!(
        "{length:>5} bytes{}: {:>4} ns to pack a frame, {:>4} ns to read it, {:>5} bytes each",
        if compress { ", lz4" } else { "     " },
        each(packing),
        each(reading),
        bytes / usize::try_from(frames.max(1)).unwrap_or(1),
    );
}

fn main() {
    for length in [64, 512, 1500] {
        for compress in [false, true] {
            measure(length, compress);
        }
    }
}
