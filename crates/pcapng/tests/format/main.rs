//! The format as others see it: round trips, another crate's reader, the programs that people
//! open captures with, files of foreign machines, cut files and nonsense.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arbitrary;
mod assemble;
mod foreign;
mod oracle;
mod piece;
mod programs;
mod round_trip;
mod transcript;
mod truncation;
