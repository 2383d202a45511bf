//! How long the reader sleeps whatever comes: where blocks come fast, being woken for each costs more
//! than what is in it.

use std::time::{Duration, Instant};

/// The part of a ring that may fill meanwhile, in thousandths: an eighth.
pub(crate) const PART: u32 = 125;
/// The shortest and the longest nap.
const MIN_NAP: Duration = Duration::from_millis(2);
const MAX_NAP: Duration = Duration::from_millis(40);
/// How long it may take until somebody looks how full rings are. The default ring, an eighth full, is
/// not full by then at 1.8 GB/s, which is what one sender was seen to make of large frames.
const LOOK_EVERY: Duration = Duration::from_millis(8);
/// Over how long a time blocks are counted at the least: a single one says nothing of how fast they
/// come.
const MEASURE: Duration = Duration::from_millis(1);

/// How fast rings fill, and what naps that allows.
#[derive(Debug)]
pub(crate) struct Nap {
    /// Since when blocks are counted.
    since: Instant,
    /// What has come since of the ring that fills fastest, in thousandths.
    filled: u32,
    /// The next nap.
    length: Duration,
}

impl Nap {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, filled: 0, length: Duration::ZERO }
    }

    /// Blocks were taken, of one ring at the most so many thousandths.
    pub(crate) fn took(&mut self, fill: u32) {
        // Whoever never naps never measures.
        self.filled = self.filled.saturating_add(fill);
    }

    /// The nap that may begin now, in pieces: behind each of them somebody looks how full rings are.
    pub(crate) fn pieces(&mut self, now: Instant) -> impl Iterator<Item = Duration> + use<> {
        self.measure(now);
        let mut left = self.length;
        std::iter::from_fn(move || {
            let piece = left.min(LOOK_EVERY);
            left -= piece;
            (!piece.is_zero()).then_some(piece)
        })
    }

    fn measure(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.since);
        // Nothing in a time that is shorter than a nap may say no more than that a block is large.
        if time < MEASURE || (self.filled == 0 && time < MAX_NAP) {
            return;
        }
        let until_full = match self.filled {
            0 => Duration::ZERO,
            filled => time * PART / filled,
        };
        // What comes after a pause may come much faster than what came before it: begin with little.
        let longest = (2 * self.length).clamp(MIN_NAP, MAX_NAP);
        self.length = if until_full < MIN_NAP { Duration::ZERO } else { until_full.min(longest) };
        (self.since, self.filled) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of naps when a ring fills by so many thousandths in each of these times.
    fn naps(looks: &[(u64, u32)]) -> Vec<u128> {
        let mut now = Instant::now();
        let mut nap = Nap::new(now);
        let look = |(microseconds, fill): &(u64, u32)| {
            now += Duration::from_micros(*microseconds);
            nap.took(*fill);
            nap.pieces(now).sum::<Duration>().as_millis()
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn they_grow_while_little_comes() {
        assert_eq!(naps(&[(20_000, 10); 7]), [2, 4, 8, 16, 32, 40, 40]);
        // A block in three looks.
        let thirds = [(10_000, 0), (10_000, 0), (10_000, 16)].repeat(3);
        assert_eq!(naps(&thirds), [0, 0, 2, 2, 2, 4, 4, 4, 8]);
        // An eighth in 12.5 ms.
        assert_eq!(naps(&[(1000, 10); 6]), [2, 4, 8, 12, 12, 12]);
    }

    #[test]
    fn nobody_naps_when_much_comes_or_nothing() {
        assert_eq!(naps(&[(1000, 80); 2]), [0, 0]);
        assert_eq!(naps(&[(50_000, 0), (50_000, 10), (50_000, 10), (50_000, 0)]), [0, 2, 4, 0]);
        // Few blocks behind a long pause say nothing of how fast they came.
        assert_eq!(naps(&[(9_000_000, 10), (2000, 200), (2000, 200)]), [2, 0, 0]);
    }

    #[test]
    fn what_comes_in_little_time_is_added_up() {
        assert_eq!(naps(&[(250, 20), (250, 20), (250, 20), (250, 20)]), [0; 4]);
        assert_eq!(naps(&[(250, 5), (250, 5), (250, 5), (250, 5)]), [0, 0, 0, 2]);
    }

    #[test]
    fn what_is_never_measured_does_not_overflow() {
        let mut nap = Nap::new(Instant::now());
        nap.took(u32::MAX);
        nap.took(1000);
        assert_eq!(nap.filled, u32::MAX);
    }

    #[test]
    fn long_ones_are_interrupted() {
        let now = Instant::now();
        let mut nap = Nap { length: Duration::from_millis(20), ..Nap::new(now) };
        let pieces: Vec<u128> = nap.pieces(now).map(|piece| piece.as_millis()).collect();
        assert_eq!(pieces, [8, 8, 4]);
    }
}
