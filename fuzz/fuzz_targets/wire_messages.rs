//! Any bytes as what the other side says: nothing panics, and what reads is what would be written.
//!
//! The first byte is the size of the pieces in which they arrive.

#![no_main]

use libfuzzer_sys::fuzz_target;
use whaletap_wire::{Batch, Hello, Kind, Order, PREAMBLE, Report, Stream};

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let mut stream = Stream::default();
    // Half of all inputs need not find the preamble first.
    if piece & 1 == 0 {
        stream.feed(PREAMBLE);
    }
    for piece in bytes.chunks(usize::from(*piece).max(1)) {
        stream.feed(piece);
        loop {
            match stream.next_message() {
                Ok(Some((kind, payload))) => read(kind, payload),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});

fn read(kind: Kind, payload: &[u8]) {
    match kind {
        Kind::Hello => drop(Hello::read(payload, "0.1.0")),
        Kind::Order => {
            if let Ok(order) = Order::read(payload) {
                assert_eq!(order.to_bytes(), payload);
            }
        }
        Kind::Report => {
            if let Ok(report) = Report::read(payload) {
                assert_eq!(report.to_bytes(), payload);
            }
        }
        Kind::Batch => {
            if let Ok(batch) = Batch::read(payload) {
                assert_eq!(batch.frames().count() as u64, u64::from(batch.frames));
            }
        }
    }
}
