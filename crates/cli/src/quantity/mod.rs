//! Numbers with units, as tcpdump, dumpcap and docker write them.

use session::Keep;

mod criterion;
mod size;
mod span;

pub(crate) use criterion::{RingCriterion, StopCriterion};
pub(crate) use size::{amount, file_size, keep_free, memory, ring_memory, ring_size};
pub(crate) use span::{seconds, span, span_or_none};

/// What is kept: a time as for [`span()`], or an amount with a unit that no time has. `5m` is five
/// minutes.
pub(crate) fn keep(text: &str) -> Result<Keep, String> {
    let expected = "expected a time such as 60s or 5m, or an amount such as 200MiB";
    match (span(text), amount(text)) {
        (Ok(time), _) => Ok(Keep::Time(time)),
        (_, Ok(bytes)) if text.ends_with(|c: char| !c.is_ascii_digit()) => Ok(Keep::Bytes(bytes)),
        _ => Err(expected.to_owned()),
    }
}

/// A number of at least 1.
pub(crate) fn at_least_one<N: std::str::FromStr + PartialOrd + From<u8>>(
    text: &str,
) -> Result<N, String> {
    match text.parse::<N>() {
        Ok(number) if number >= N::from(1) => Ok(number),
        _ => Err("expected a whole number, at least 1".to_owned()),
    }
}
