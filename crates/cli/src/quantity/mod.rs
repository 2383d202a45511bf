//! Numbers with units, as tcpdump, dumpcap and docker write them.

mod criterion;
mod size;
mod span;

pub(crate) use criterion::{RingCriterion, StopCriterion};
pub(crate) use size::{file_size, keep_free, memory, ring_memory, ring_size};
pub(crate) use span::{seconds, span};

/// A number of at least 1.
pub(crate) fn at_least_one<N: std::str::FromStr + PartialOrd + From<u8>>(
    text: &str,
) -> Result<N, String> {
    match text.parse::<N>() {
        Ok(number) if number >= N::from(1) => Ok(number),
        _ => Err("expected a whole number, at least 1".to_owned()),
    }
}
