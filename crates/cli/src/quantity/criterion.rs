use std::{str::FromStr, time::Duration};

use super::{at_least_one, seconds};

/// The most files of a ring.
///
/// Source: `-b` of dumpcap(1).
const MAX_RING_FILES: u32 = 99_999;

/// One `-a`: when the capture ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopCriterion {
    /// `duration:SECONDS`.
    Duration(Duration),
    /// `files:N`.
    Files(u32),
    /// `filesize:KB`, here in bytes.
    Bytes(u64),
    /// `packets:N`.
    Packets(u64),
}

/// One `-b`: when the file changes, or how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RingCriterion {
    /// `duration:SECONDS`.
    Duration(Duration),
    /// `interval:SECONDS`.
    Interval(Duration),
    /// `filesize:KB`, here in bytes.
    Bytes(u64),
    /// `packets:N`.
    Packets(u64),
    /// `files:N`.
    Files(u32),
    /// `printname:FILE`: where the name of each finished file is written.
    PrintName(String),
}

impl FromStr for StopCriterion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected duration:SECONDS, files:N, filesize:KB or packets:N";
        let (key, value) = text.split_once(':').ok_or(expected)?;
        match key {
            "duration" => seconds(value).map(Self::Duration),
            "files" => at_least_one(value).map(Self::Files),
            "filesize" => kilobytes(value).map(Self::Bytes),
            "packets" => at_least_one(value).map(Self::Packets),
            _ => Err(expected.to_owned()),
        }
    }
}

impl FromStr for RingCriterion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected duration:SECONDS, interval:SECONDS, filesize:KB, packets:N, files:N or \
             printname:FILE";
        let (key, value) = text.split_once(':').ok_or(expected)?;
        match key {
            "duration" => seconds(value).map(Self::Duration),
            "interval" => seconds(value).map(Self::Interval),
            "filesize" => kilobytes(value).map(Self::Bytes),
            "packets" => at_least_one(value).map(Self::Packets),
            "files" => match at_least_one(value)? {
                files if files <= MAX_RING_FILES => Ok(Self::Files(files)),
                _ => Err(format!("a ring has at most {MAX_RING_FILES} files")),
            },
            "printname" if !value.is_empty() => Ok(Self::PrintName(value.to_owned())),
            _ => Err(expected.to_owned()),
        }
    }
}

/// dumpcap's kB: a thousand bytes.
fn kilobytes(text: &str) -> Result<u64, String> {
    at_least_one::<u64>(text)?.checked_mul(1000).ok_or_else(|| "it is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_read() {
        for (text, criterion) in [
            ("duration:1.5", StopCriterion::Duration(Duration::from_millis(1500))),
            ("files:3", StopCriterion::Files(3)),
            ("filesize:10", StopCriterion::Bytes(10_000)),
            ("packets:7", StopCriterion::Packets(7)),
        ] {
            assert_eq!(text.parse(), Ok(criterion), "{text}");
        }
        for text in ["", "duration", "duration:", "files:0", "packets:-1", "size:1", "interval:1"] {
            assert!(text.parse::<StopCriterion>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn every_change_is_read() {
        for (text, criterion) in [
            ("duration:60", RingCriterion::Duration(Duration::from_secs(60))),
            ("interval:3600", RingCriterion::Interval(Duration::from_secs(3600))),
            ("filesize:1000", RingCriterion::Bytes(1_000_000)),
            ("packets:5", RingCriterion::Packets(5)),
            ("files:99999", RingCriterion::Files(99_999)),
            ("printname:-", RingCriterion::PrintName("-".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(criterion), "{text}");
        }
        for text in ["files:100000", "files:0", "filesize:18446744073709551615", "printname:"] {
            assert!(text.parse::<RingCriterion>().is_err(), "{text} was accepted");
        }
    }
}
