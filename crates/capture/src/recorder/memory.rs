//! Whether memory suffices for the windows, at the present rate.

use std::time::Duration;

use super::Keep;

/// How often it is looked at.
pub(crate) const EVERY: Duration = Duration::from_secs(1);
/// How many looks in a row it has to be so before it is told.
const LOOKS: u32 = 3;
/// How many looks in a row it has to be over before that is told.
const LOOKS_OVER: u32 = 10;
/// After how many looks it is told again while it lasts.
const AGAIN: u32 = 60;

/// What is to be told about memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It does not suffice: windows are so long.
    Short(Keep),
    /// It suffices again.
    Whole,
}

/// Looks at the rate once a second.
#[derive(Debug, Default)]
pub(crate) struct MemoryWatch {
    /// Bytes recorded until the last look.
    recorded: Option<u64>,
    /// Bytes a second, smoothed.
    rate: f64,
    /// Looks in a row that found it as it is not told yet.
    looks: u32,
    /// Looks since it was told that memory is short.
    short: Option<u32>,
}

/// What a look finds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Bytes that went into all windows, ever.
    pub(crate) recorded: u64,
    /// Targets that are recorded.
    pub(crate) targets: u64,
    /// Bytes for all windows, in memory and on disk.
    pub(crate) room: u64,
    /// The shortest window of a target that was cut for want of memory.
    pub(crate) cut_to: Option<Duration>,
}

impl MemoryWatch {
    /// A look, [`EVERY`] second.
    pub(crate) fn look(&mut self, keep: Keep, look: &Look) -> Option<Word> {
        let possible = self.possible(keep, look);
        match (self.short, possible) {
            (None, None) | (Some(_), Some(_)) => self.looks = 0,
            _ => self.looks += 1,
        }
        match (&mut self.short, possible) {
            (None, Some(possible)) if self.looks >= LOOKS || look.cut_to.is_some() => {
                (self.short, self.looks) = (Some(0), 0);
                Some(Word::Short(possible))
            }
            (Some(looks), Some(possible)) => {
                *looks += 1;
                (looks.is_multiple_of(AGAIN)).then_some(Word::Short(possible))
            }
            (Some(_), None) if self.looks >= LOOKS_OVER => {
                (self.short, self.looks) = (None, 0);
                Some(Word::Whole)
            }
            _ => None,
        }
    }

    /// How long windows can be, where that is less than was asked for.
    fn possible(&mut self, keep: Keep, look: &Look) -> Option<Keep> {
        let new = look.recorded.saturating_sub(self.recorded.unwrap_or(look.recorded));
        let is_first = self.recorded.replace(look.recorded).is_none();
        #[expect(clippy::cast_precision_loss, reason = "an estimate of bytes a second")]
        let (new, room) = (new as f64 / EVERY.as_secs_f64(), look.room as f64);
        if !is_first {
            // What is steady for five seconds is the rate.
            self.rate = if self.rate == 0.0 { new } else { self.rate + (new - self.rate) / 5.0 };
        }
        match keep {
            Keep::Time(asked) => {
                let by_rate = Duration::try_from_secs_f64(room / self.rate).ok();
                let by_rate = by_rate.filter(|possible| *possible < asked);
                look.cut_to.filter(|cut| *cut < asked).or(by_rate).map(Keep::Time)
            }
            Keep::Bytes(asked) => {
                let each = look.room / look.targets.max(1);
                (each < asked).then_some(Keep::Bytes(each))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Keep {
        Keep::Time(Duration::from_secs(seconds))
    }

    #[test]
    fn a_rate_that_is_too_high_is_told_before_anything_is_lost() {
        let mut watch = MemoryWatch::default();
        let mut look = Look { recorded: 0, targets: 1, room: 1000, cut_to: None };
        let mut words = Vec::new();
        for _ in 0..5 {
            words.push(watch.look(seconds(20), &look));
            look.recorded += 100;
        }
        // The first look knows no rate, and one that lasts is found by the third.
        assert_eq!(words, [None, None, None, Some(Word::Short(seconds(10))), None]);
        let again = (0..60).filter_map(|_| {
            let word = watch.look(seconds(20), &look);
            look.recorded += 100;
            word
        });
        assert_eq!(again.collect::<Vec<_>>(), [Word::Short(seconds(10))], "once a minute");
        let mut words = (0..60).filter_map(|_| watch.look(seconds(20), &look));
        assert_eq!((words.next(), words.next()), (Some(Word::Whole), None));
    }

    #[test]
    fn what_is_cut_is_told_at_once() {
        let mut watch = MemoryWatch::default();
        let cut_to = Some(Duration::from_secs(3));
        let look = Look { recorded: 0, targets: 1, room: 1000, cut_to };
        assert_eq!(watch.look(seconds(20), &look), Some(Word::Short(seconds(3))));
        assert_eq!(watch.look(seconds(20), &look), None);
    }

    #[test]
    fn bytes_are_shared() {
        let mut watch = MemoryWatch::default();
        let look = |targets| Look { recorded: 0, targets, room: 1000, cut_to: None };
        assert!((0..9).all(|_| watch.look(Keep::Bytes(500), &look(2)).is_none()));
        let words: Vec<_> = (0..9).filter_map(|_| watch.look(Keep::Bytes(500), &look(4))).collect();
        assert_eq!(words, [Word::Short(Keep::Bytes(250))]);
    }
}
