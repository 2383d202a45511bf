use std::{
    hint, thread,
    time::{Duration, Instant},
};

use crate::traffic::Report;

/// The longest that any mode runs, in seconds.
pub const MAX_SECONDS: f64 = 600.0;
/// How long a mode runs where no time is given, in seconds.
pub const DEFAULT_SECONDS: f64 = 60.0;
/// The most frames (or bytes, of a stream) that any mode sends.
pub const MAX_COUNT: u64 = 1 << 40;
/// Below this a wait spins: a sleep would come back too late.
const SPIN: Duration = Duration::from_micros(80);

/// Lets out what is due: bounded by count and time, at a rate or as fast as possible.
#[derive(Debug)]
pub struct Pace {
    started: Instant,
    ends: Instant,
    left: u64,
    rate: Option<u64>,
    report: Report,
}

impl Pace {
    /// `count` units within `seconds`, `rate` of them a second. Time begins now.
    #[must_use]
    pub fn new(count: Option<u64>, seconds: f64, rate: Option<u64>) -> Self {
        let started = Instant::now();
        let seconds = if seconds.is_finite() { seconds.clamp(0.0, MAX_SECONDS) } else { 0.0 };
        Self {
            started,
            ends: started + Duration::from_secs_f64(seconds),
            left: count.unwrap_or(MAX_COUNT).min(MAX_COUNT),
            rate: rate.filter(|rate| *rate > 0),
            report: Report::default(),
        }
    }

    /// Waits until something is due and says how much, at most `most`; `None` at the end.
    pub fn due(&mut self, most: u64) -> Option<u64> {
        if self.left == 0 {
            return None;
        }
        let most = most.min(self.left);
        let Some(rate) = self.rate else {
            return (Instant::now() < self.ends).then_some(most);
        };
        loop {
            let now = Instant::now();
            if now >= self.ends {
                return None;
            }
            let elapsed = now - self.started;
            let by_now = u128::from(rate) * elapsed.as_nanos() / 1_000_000_000;
            let by_now = u64::try_from(by_now).unwrap_or(u64::MAX).saturating_add(1);
            // What a rate owes after a stall comes in full: the offered load is what was asked.
            let due = by_now.saturating_sub(self.done());
            if due > 0 {
                return Some(due.min(most));
            }
            let next = u128::from(self.done()) * 1_000_000_000 / u128::from(rate) + 1;
            let next = self.started + Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
            let wait = next.min(self.ends).saturating_duration_since(now);
            if wait > SPIN {
                thread::sleep(wait - SPIN);
            } else {
                hint::spin_loop();
            }
        }
    }

    /// Notes what went out.
    pub fn sent(&mut self, count: u64, bytes: u64) {
        self.report.count += count;
        self.report.bytes += bytes;
        self.left = self.left.saturating_sub(count);
    }

    /// Notes what was refused or not answered; it is part of the count.
    pub fn failed(&mut self, count: u64) {
        self.report.failed += count;
        self.left = self.left.saturating_sub(count);
    }

    /// When time is over.
    #[must_use]
    pub fn ends(&self) -> Instant {
        self.ends
    }

    /// What was done.
    #[must_use]
    pub fn report(&self) -> Report {
        Report { seconds: self.started.elapsed().as_secs_f64(), ..self.report }
    }

    fn done(&self) -> u64 {
        self.report.count + self.report.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_and_time_both_end_it() {
        let mut pace = Pace::new(Some(10), 60.0, None);
        assert_eq!(pace.due(8), Some(8));
        pace.sent(8, 80);
        assert_eq!(pace.due(8), Some(2));
        pace.sent(2, 20);
        assert_eq!(pace.due(8), None);
        assert_eq!((pace.report().count, pace.report().bytes), (10, 100));
        assert_eq!(Pace::new(None, 0.0, None).due(1), None);
    }

    #[test]
    fn a_rate_is_kept() {
        let mut pace = Pace::new(None, 0.2, Some(1000));
        while let Some(due) = pace.due(64) {
            pace.sent(due, 0);
        }
        let count = pace.report().count;
        assert!((190..=201).contains(&count), "{count} in 0.2 s");
    }
}
