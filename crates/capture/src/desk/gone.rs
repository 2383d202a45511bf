//! What became of the sources that have ended.

use std::collections::VecDeque;

use model::Stats;

use crate::{CaptureId, Past, SourceReport};

/// So many are told of one by one; of those before them what they come to together.
const LISTED: usize = 1024;

/// The sources that have ended, in the order in which they ended.
#[derive(Debug, Default)]
pub(super) struct Gone {
    listed: VecDeque<SourceReport>,
    past: Past,
}

impl Gone {
    pub(super) fn add(&mut self, report: SourceReport) {
        if self.listed.len() >= LISTED
            && let Some(first) = self.listed.pop_front()
        {
            self.past.captures += 1;
            self.past.stats += first.stats;
            self.past.bytes += first.bytes;
        }
        self.listed.push_back(report);
    }

    pub(super) fn find(&self, id: CaptureId) -> Option<&SourceReport> {
        self.listed.iter().rev().find(|report| report.id == id)
    }

    /// Where a source's frames are counted, and their bytes, that turn out not to have arrived.
    pub(super) fn counts_of(&mut self, id: CaptureId) -> (&mut Stats, &mut u64) {
        match self.listed.iter_mut().find(|report| report.id == id) {
            Some(report) => (&mut report.stats, &mut report.bytes),
            None => (&mut self.past.stats, &mut self.past.bytes),
        }
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = &SourceReport> {
        self.listed.iter()
    }

    pub(super) fn past(&self) -> Past {
        self.past
    }
}

#[cfg(test)]
mod tests {
    use model::NetnsId;

    use super::*;

    fn report(id: u32) -> SourceReport {
        SourceReport {
            id: CaptureId(id),
            name: format!("web-{id}"),
            netns: NetnsId { dev: 0, ino: 0 },
            stats: Stats { captured: 2, ..Stats::default() },
            bytes: 3,
            since: 0,
            until: Some(1),
            blind: None,
            ended: true,
        }
    }

    #[test]
    fn the_last_are_listed_and_nobody_is_lost() {
        let mut gone = Gone::default();
        let all = u32::try_from(LISTED).unwrap() + 10;
        (0..all).for_each(|id| gone.add(report(id)));
        assert!(gone.listed().map(|report| report.id.0).eq(10..all));
        assert!(gone.find(CaptureId(9)).is_none());
        for id in [9, 10] {
            let (stats, bytes) = gone.counts_of(CaptureId(id));
            stats.captured -= 1;
            *bytes -= 2;
        }
        let Past { captures, stats, bytes } = gone.past();
        assert_eq!((captures, stats.captured, bytes), (10, 19, 28));
        assert_eq!(gone.find(CaptureId(10)).unwrap().stats.captured, 1);
    }
}
