use std::collections::VecDeque;

use crate::{Happening, What};

/// How many events are remembered, so that they are not told again after an interruption: twice
/// what engines keep.
const REMEMBERED: usize = 512;

/// How far before the last event the engine is asked to begin again, in nanoseconds: engines hand
/// out events in about the order of their times, and not quite.
const OVERLAP: u64 = 1_000_000_000;

/// Which events were told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The last ones: time, id of the container, and what.
    events: VecDeque<(u64, String, What)>,
    /// Up to this time events may come twice.
    repeats: u64,
}

impl Told {
    /// From when on the engine should tell events after an interruption; `None` when it never told
    /// one.
    pub(super) fn since(&self) -> Option<u64> {
        self.events.back().map(|(at, ..)| at.saturating_sub(OVERLAP))
    }

    /// The stream was cut: from here on some may come again.
    pub(super) fn interrupted(&mut self) {
        self.repeats = self.events.iter().map(|(at, ..)| *at).max().unwrap_or(0);
    }

    /// Whether it comes for the first time; remembered from now on.
    pub(super) fn is_new(&mut self, happening: &Happening) -> bool {
        let Happening { container, what, at } = happening;
        let known = *at <= self.repeats
            && self
                .events
                .iter()
                .any(|(other, id, did)| other == at && *id == container.id && did == what);
        if known {
            return false;
        }
        if self.events.len() == REMEMBERED {
            self.events.pop_front();
        }
        self.events.push_back((*at, container.id.clone(), what.clone()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolution::tests::container;

    fn died(id: &str, at: u64) -> Happening {
        let what = What::Died { exit_code: Some(0) };
        Happening { container: container("x", id), what, at }
    }

    #[test]
    fn what_comes_again_after_an_interruption_is_not_told_again() {
        let mut told = Told::default();
        assert_eq!(told.since(), None);
        let second = 1_000_000_000;
        for at in [5, 7, 6] {
            assert!(told.is_new(&died("aa", at * second)));
        }
        // The last one that came, not the latest: the engine's clock may have been set back.
        assert_eq!(told.since(), Some(5 * second));
        told.interrupted();
        for at in [5, 6, 7] {
            assert!(!told.is_new(&died("aa", at * second)), "{at}");
            assert!(told.is_new(&died("bb", at * second)), "{at}");
        }
        let started = Happening { what: What::Started, ..died("aa", 7 * second) };
        assert!(told.is_new(&started));
        assert!(told.is_new(&died("aa", 8 * second)));
    }

    #[test]
    fn memory_of_it_is_bounded() {
        let mut told = Told::default();
        for at in 0..10_000 {
            assert!(told.is_new(&died("aa", at)));
        }
        assert_eq!(told.events.len(), REMEMBERED);
    }
}
