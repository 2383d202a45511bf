use std::time::Instant;

use session::Snapshot;

use super::{bytes, count_of};
use crate::terminal::safe;

/// Packets a second between two looks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    last: Option<(Instant, u64)>,
}

impl Rate {
    /// The rate since the last look; `None` at the first.
    pub(crate) fn look(&mut self, now: Instant, packets: u64) -> Option<u64> {
        let (before, had) = self.last.replace((now, packets))?;
        let milliseconds = u64::try_from(now.saturating_duration_since(before).as_millis()).ok()?;
        packets.saturating_sub(had).saturating_mul(1000).checked_div(milliseconds)
    }
}

/// The line that is kept up to date while a terminal looks on.
pub(crate) fn live_line(snapshot: &Snapshot, rate: Option<u64>) -> String {
    let total = snapshot.total();
    let running = snapshot.sources.iter().filter(|source| !source.ended).count();
    let mut parts = vec![
        count_of(running as u64, "target"),
        count_of(snapshot.packets, "packet"),
        bytes(snapshot.bytes),
    ];
    parts.extend(rate.map(|rate| format!("{rate}/s")));
    parts.push(format!("{} dropped", total.lost()));
    if let Some(file) = &snapshot.file {
        parts.push(safe(&file.to_string_lossy()).into_owned());
    }
    parts.join("   ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_rate_is_that_of_the_time_between() {
        let mut rate = Rate::default();
        let start = Instant::now();
        assert_eq!(rate.look(start, 100), None);
        assert_eq!(rate.look(start + Duration::from_secs(2), 1100), Some(500));
        assert_eq!(rate.look(start + Duration::from_secs(2), 1100), None);
        assert_eq!(rate.look(start + Duration::from_secs(3), 1100), Some(0));
    }

    #[test]
    fn the_line_says_what_matters() {
        let snapshot = Snapshot {
            packets: 1234,
            bytes: 1_200_000,
            file: Some("a\n.pcapng".into()),
            files: 1,
            ..Snapshot::default()
        };
        assert_eq!(
            live_line(&snapshot, Some(340)),
            "0 targets   1234 packets   1.2 MB   340/s   0 dropped   a\\n.pcapng"
        );
    }
}
