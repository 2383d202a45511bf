use model::Stats;
use session::{Blind, Past, SourceReport};

use super::{bytes, count_of};
use crate::terminal::{Align, Columns};

/// The counts at the end: tcpdump's three lines, and a line for everything else that happened.
///
/// Source: `info` of tcpdump.c; the lines are read by programs.
pub(crate) fn count_lines(stats: &Stats) -> Vec<String> {
    let mut lines = vec![
        format!("{} captured", packets(stats.captured)),
        format!("{} received by filter", packets(stats.received)),
        format!("{} dropped by kernel", packets(stats.dropped_by_kernel)),
    ];
    for (number, what) in [
        (stats.dropped_by_us, "dropped by whaletap"),
        (stats.refused, "refused in user space"),
        (stats.discarded, "discarded at stop"),
        (stats.truncated, "truncated"),
        (stats.out_of_order, "out of order"),
    ] {
        if number > 0 {
            lines.push(format!("{} {what}", packets(number)));
        }
    }
    lines
}

/// tcpdump's answer to SIGUSR1.
pub(crate) fn one_line(stats: &Stats) -> String {
    count_lines(stats).join(", ")
}

fn packets(number: u64) -> String {
    count_of(number, "packet")
}

/// What became of one target's packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetCounts {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) stats: Stats,
    /// What was before the capture, where that is known.
    pub(crate) blind: Option<Blind>,
}

impl From<&SourceReport> for TargetCounts {
    fn from(report: &SourceReport) -> Self {
        Self {
            name: report.name.clone(),
            bytes: report.bytes,
            stats: report.stats,
            blind: report.blind,
        }
    }
}

impl From<&Past> for TargetCounts {
    fn from(past: &Past) -> Self {
        let name = format!("({} before)", past.captures);
        Self { name, bytes: past.bytes, stats: past.stats, blind: None }
    }
}

/// One of the counts.
type Count = fn(&Stats) -> u64;

/// Counts that have a column only where one of them is not 0.
const RARE: [(&str, Count); 6] = [
    ("DROPPED BY WHALETAP", |stats| stats.dropped_by_us),
    ("REFUSED", |stats| stats.refused),
    ("DISCARDED", |stats| stats.discarded),
    ("TRUNCATED", |stats| stats.truncated),
    ("OUT OF ORDER", |stats| stats.out_of_order),
    ("FREEZES", |stats| stats.freezes),
];

/// How long nothing was captured of a target that was there, and how many frames had passed by then.
pub(crate) fn blind(milliseconds: f64, frames: u64) -> String {
    match frames {
        0 => format!("{milliseconds:.1} ms"),
        frames => format!("{milliseconds:.1} ms, {}", count_of(frames, "frame")),
    }
}

/// A row for each target.
pub(crate) fn target_table(targets: &[TargetCounts]) -> Vec<String> {
    let rare: Vec<_> = RARE
        .into_iter()
        .filter(|(_, count)| targets.iter().any(|target| count(&target.stats) > 0))
        .collect();
    let mut heads = vec![
        ("NAME", Align::Left),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
        ("RECEIVED", Align::Right),
        ("DROPPED BY KERNEL", Align::Right),
    ];
    heads.extend(rare.iter().map(|(head, _)| (*head, Align::Right)));
    let came_later = targets.iter().any(|target| target.blind.is_some());
    heads.extend(came_later.then_some(("BLIND", Align::Right)));
    let mut table = Columns::new(&heads);
    for target in targets {
        let mut cells = vec![
            target.name.clone(),
            target.stats.captured.to_string(),
            bytes(target.bytes),
            target.stats.received.to_string(),
            target.stats.dropped_by_kernel.to_string(),
        ];
        cells.extend(rare.iter().map(|(_, count)| count(&target.stats).to_string()));
        if came_later {
            let text = |Blind { time, frames }| blind(time.as_secs_f64() * 1e3, frames);
            cells.push(target.blind.map(text).unwrap_or_default());
        }
        table.row(cells);
    }
    table.lines()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_three_lines_are_tcpdumps() {
        let stats = Stats { captured: 6, received: 12, ..Stats::default() };
        assert_eq!(
            count_lines(&stats),
            ["6 packets captured", "12 packets received by filter", "0 packets dropped by kernel"]
        );
        assert_eq!(
            one_line(&Stats { captured: 1, received: 1, dropped_by_kernel: 1, ..stats }),
            "1 packet captured, 1 packet received by filter, 1 packet dropped by kernel"
        );
    }

    #[test]
    fn what_else_happened_has_lines_of_its_own() {
        let stats = Stats {
            captured: 90,
            received: 100,
            dropped_by_us: 4,
            refused: 3,
            discarded: 3,
            truncated: 1,
            out_of_order: 2,
            ..Stats::default()
        };
        assert_eq!(
            count_lines(&stats)[3..],
            [
                "4 packets dropped by whaletap",
                "3 packets refused in user space",
                "3 packets discarded at stop",
                "1 packet truncated",
                "2 packets out of order",
            ]
        );
    }

    #[test]
    fn targets_have_a_row_each_and_columns_for_what_happened() {
        let quiet =
            TargetCounts { name: "db".into(), bytes: 0, stats: Stats::default(), blind: None };
        let loud = TargetCounts {
            name: "web\x07".into(),
            bytes: 123_456,
            stats: Stats { captured: 90, received: 94, dropped_by_us: 4, ..Stats::default() },
            blind: None,
        };
        assert_eq!(
            target_table(std::slice::from_ref(&quiet)),
            [
                "NAME   PACKETS   BYTES   RECEIVED   DROPPED BY KERNEL",
                "db           0     0 B          0                   0",
            ]
        );
        let late = |frames| TargetCounts {
            blind: Some(Blind { time: Duration::from_micros(15_420), frames }),
            ..quiet.clone()
        };
        assert_eq!(
            target_table(&[quiet.clone(), late(0), late(2)]),
            [
                "NAME   PACKETS   BYTES   RECEIVED   DROPPED BY KERNEL               BLIND",
                "db           0     0 B          0                   0                   -",
                "db           0     0 B          0                   0             15.4 ms",
                "db           0     0 B          0                   0   15.4 ms, 2 frames",
            ]
        );
        assert_eq!(
            target_table(&[loud, quiet]),
            [
                "NAME      PACKETS    BYTES   RECEIVED   DROPPED BY KERNEL   DROPPED BY WHALETAP",
                "web\\x07        90   123 kB         94                   0                     4",
                "db              0      0 B          0                   0                     0",
            ]
        );
    }
}
