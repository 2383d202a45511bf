//! Any bytes as a capture: the readers must not panic, must come to an end, and must agree.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The text of everything that a reader says; the tests of the crate use the same.
#[path = "../../crates/pcapng/tests/format/transcript.rs"]
mod transcript;

fuzz_target!(|file: &[u8]| {
    let of_slice = transcript::of_slice(file);
    assert!(of_slice.0.len() <= file.len() / 12 + 1, "more blocks than there is room for");
    assert_eq!(of_slice, transcript::of_stream(file));
});
