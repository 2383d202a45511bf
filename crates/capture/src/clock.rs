//! The clock that the kernel stamps frames with, and its steps.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// By how much the clock that stamps frames is ahead of ours, in nanoseconds: it is that of the
/// machine on which they are captured, one for all captures of a process.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Frames are stamped by a clock that is so much ahead of this machine's.
pub(crate) fn set_ahead(nanoseconds: i64) {
    AHEAD.store(nanoseconds, Ordering::Relaxed);
}

/// The same by so much more.
pub(crate) fn move_ahead(nanoseconds: i64) {
    AHEAD.fetch_add(nanoseconds, Ordering::Relaxed);
}

/// The clock that stamps frames: nanoseconds since 1970.
#[must_use]
pub(crate) fn now() -> u64 {
    own().saturating_add_signed(AHEAD.load(Ordering::Relaxed))
}

/// This machine's clock: nanoseconds since 1970.
#[must_use]
pub fn own() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    nanoseconds(since)
}

/// A duration in nanoseconds; 584 years at the most.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Notices when somebody sets the clock.
#[derive(Debug)]
pub struct StepWatch {
    wall: u64,
    steady: Instant,
}

/// What slewing cannot explain, in nanoseconds.
const TOLERANCE: u64 = 2_000_000;
/// The fastest that a clock is slewed, in parts per thousand, rounded up.
const SLEW_PER_MILLE: u64 = 1;
/// How far apart both clocks may be read.
const APART: Duration = Duration::from_millis(1);
/// How often they are read until they are read close enough together.
const TRIES: u32 = 8;

impl Default for StepWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl StepWatch {
    /// One that notices from now on.
    #[must_use]
    pub fn new() -> Self {
        let (wall, steady) = both();
        Self { wall, steady }
    }

    /// By how many nanoseconds the clock was set since the last call, if it was.
    pub fn check(&mut self) -> Option<i64> {
        let (wall, steady) = both();
        let passed = nanoseconds(steady - self.steady);
        let expected = self.wall.saturating_add(passed);
        (self.wall, self.steady) = (wall, steady);
        let off = wall.abs_diff(expected);
        if off <= TOLERANCE + passed / 1000 * SLEW_PER_MILLE {
            return None;
        }
        let off = i64::try_from(off).unwrap_or(i64::MAX);
        Some(if wall < expected { -off } else { off })
    }
}

/// Both clocks at one moment. A thread that loses its processor between two readings would see a
/// step that never was.
fn both() -> (u64, Instant) {
    let mut tries = 1;
    loop {
        let (before, wall, after) = (Instant::now(), own(), Instant::now());
        if after - before < APART || tries == TRIES {
            return (wall, after);
        }
        tries += 1;
    }
}
