use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Held, Keep};
use crate::clock::nanoseconds;

/// How much longer than asked for frames are kept, for triggers that are told late: the engine
/// tells of a death some time behind it, and of twenty one after the other.
pub(crate) const LATENESS: Duration = Duration::from_secs(3);
/// How long the window of a target that is gone is kept where it is counted in bytes.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// First and last timestamp of some frames, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) packets: u64,
}

impl Span {
    /// Adds frames.
    #[inline]
    pub(crate) fn add(&mut self, first: u64, last: u64, packets: u64) {
        if self.packets == 0 {
            (self.first, self.last) = (first, last);
        } else {
            (self.first, self.last) = (self.first.min(first), self.last.max(last));
        }
        self.packets += packets;
    }

    /// The clock was set.
    pub(crate) fn shift(&mut self, nanoseconds: i64) {
        self.first = self.first.saturating_add_signed(nanoseconds);
        self.last = self.last.saturating_add_signed(nanoseconds);
    }

    /// Nanoseconds between the first and the last.
    pub(crate) fn length(&self) -> u64 {
        self.last.saturating_sub(self.first)
    }
}

/// A chunk of a window.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) held: Arc<Held>,
    pub(crate) span: Span,
}

/// What is kept of one target, oldest first, but for the chunk that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pieces: VecDeque<Piece>,
    bytes: u64,
    packets: u64,
    /// The latest timestamp that had to go for want of memory; 0 when none had to.
    evicted_until: u64,
    /// Frames that went because they were old enough, and for want of memory.
    pub(crate) aged: u64,
    pub(crate) evicted: u64,
}

impl Window {
    /// Puts a chunk behind the others.
    pub(crate) fn push(&mut self, held: Arc<Held>, span: Span) {
        self.bytes += held.as_slice().len() as u64;
        self.packets += span.packets;
        self.pieces.push_back(Piece { held, span });
    }

    /// The chunks, oldest first.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    /// Bytes of all chunks.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Frames in all chunks.
    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    /// Whether there is no chunk.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The first timestamp.
    pub(crate) fn first(&self) -> Option<u64> {
        self.pieces.front().map(|piece| piece.span.first)
    }

    /// The timestamp until which frames had to go for want of memory.
    pub(crate) fn evicted_until(&self) -> u64 {
        self.evicted_until
    }

    /// Lets go what is older than `keep` demands. `filling` is what stands in the chunk behind all
    /// others, of `filling_bytes` bytes; `gone`: nothing will follow it.
    ///
    /// A chunk goes when the next one begins early enough, so that what is left begins at or before
    /// the beginning of the window: who reads it sees that it is whole.
    pub(crate) fn trim(
        &mut self,
        keep: Keep,
        now: u64,
        filling: &Span,
        filling_bytes: u64,
        gone: bool,
    ) {
        while let Some(front) = self.pieces.front() {
            let next = self.pieces.get(1).map(|piece| &piece.span);
            let next = next.or((filling.packets > 0).then_some(filling));
            let too_old = |span: &Span| span.last < oldest(keep, now);
            let goes = match keep {
                Keep::Time(_) => {
                    too_old(&front.span) && next.is_none_or(|next| next.first <= oldest(keep, now))
                }
                Keep::Bytes(bytes) => {
                    let left = self.bytes - front.held.as_slice().len() as u64 + filling_bytes;
                    left >= bytes || gone && too_old(&front.span)
                }
            };
            if !goes {
                return;
            }
            self.aged += front.span.packets;
            self.pop();
        }
    }

    /// Lets the oldest chunk go for want of memory, unless the pen has it too, so that no memory
    /// would come of it. Says whether.
    pub(crate) fn evict(&mut self) -> bool {
        if self.evictable().is_none() {
            return false;
        }
        if let Some(piece) = self.pop() {
            self.evicted_until = self.evicted_until.max(piece.span.last);
            self.evicted += piece.span.packets;
        }
        true
    }

    /// Nothing is held, and what had to go is of no interest any more.
    pub(crate) fn begin_anew(&mut self) {
        self.evicted_until = 0;
    }

    /// The first timestamp of the chunk that [`Window::evict`] would let go.
    pub(crate) fn evictable(&self) -> Option<u64> {
        let front = self.pieces.front()?;
        (Arc::strong_count(&front.held) == 1).then_some(front.span.first)
    }

    /// The clock was set by so many nanoseconds: what was kept is as old as it was.
    pub(crate) fn shift(&mut self, nanoseconds: i64) {
        for piece in &mut self.pieces {
            piece.span.shift(nanoseconds);
        }
        if self.evicted_until > 0 {
            self.evicted_until = self.evicted_until.saturating_add_signed(nanoseconds);
        }
    }

    fn pop(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.held.as_slice().len() as u64;
        self.packets -= piece.span.packets;
        Some(piece)
    }
}

/// The earliest timestamp that is kept.
pub(crate) fn oldest(keep: Keep, now: u64) -> u64 {
    let keep = match keep {
        Keep::Time(time) => time.saturating_add(LATENESS),
        Keep::Bytes(_) => GONE_AFTER,
    };
    now.saturating_sub(nanoseconds(keep))
}

#[cfg(test)]
mod tests {
    use sys::poll::Waker;

    use super::*;
    use crate::{MIN_MEMORY, budget::Budget};

    const SECOND: u64 = 1_000_000_000;
    const NONE: Span = Span { first: 0, last: 0, packets: 0 };

    fn budget() -> Arc<Budget> {
        Arc::new(Budget::for_windows(MIN_MEMORY, Waker::new().unwrap()))
    }

    /// A window with a chunk of 100 bytes for each pair of seconds, of ten frames each.
    fn window(budget: &Arc<Budget>, seconds: &[(u64, u64)]) -> Window {
        let mut window = Window::default();
        for (first, last) in seconds {
            let held = Held::copied(&[0; 100], budget).unwrap();
            let span = Span { first: first * SECOND, last: last * SECOND, packets: 10 };
            window.push(Arc::new(held), span);
        }
        window
    }

    fn firsts(window: &Window) -> Vec<u64> {
        window.pieces().map(|piece| piece.span.first / SECOND).collect()
    }

    #[test]
    fn what_is_left_begins_at_or_before_the_window() {
        let budget = budget();
        let keep = Keep::Time(Duration::from_secs(60));
        let oldest = 60 + LATENESS.as_secs();
        let mut window = window(&budget, &[(0, 9), (10, 19), (20, 29), (30, 39)]);
        window.trim(keep, (oldest + 15) * SECOND, &NONE, 0, false);
        assert_eq!(firsts(&window), [10, 20, 30], "10 is before 15");
        window.trim(keep, (oldest + 20) * SECOND, &NONE, 0, false);
        assert_eq!(firsts(&window), [20, 30]);
        assert_eq!((window.aged, window.bytes(), window.packets()), (20, 200, 20));
        // The chunk that is being filled is the next one of the last.
        let filling = Span { first: 45 * SECOND, last: 50 * SECOND, packets: 1 };
        window.trim(keep, (oldest + 44) * SECOND, &filling, 10, false);
        assert_eq!(firsts(&window), [30], "there is nothing between 39 and 45, and 30 shows it");
        window.trim(keep, (oldest + 45) * SECOND, &filling, 10, false);
        assert!(window.is_empty());
    }

    #[test]
    fn silence_empties_it() {
        let budget = budget();
        let keep = Keep::Time(Duration::from_secs(1));
        let mut window = window(&budget, &[(0, 0), (1, 1)]);
        window.trim(keep, 100 * SECOND, &NONE, 0, false);
        assert!(window.is_empty());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn bytes_count_what_is_being_filled() {
        let budget = budget();
        let mut window = window(&budget, &[(0, 1), (2, 3), (4, 5)]);
        window.trim(Keep::Bytes(250), 5 * SECOND, &NONE, 49, false);
        assert_eq!(firsts(&window), [0, 2, 4], "249 of 250 would be left");
        window.trim(Keep::Bytes(250), 5 * SECOND, &NONE, 50, false);
        assert_eq!(firsts(&window), [2, 4]);
        let later = 5 * SECOND + nanoseconds(GONE_AFTER) + 1;
        window.trim(Keep::Bytes(250), later, &NONE, 0, false);
        assert_eq!(firsts(&window), [2, 4]);
        window.trim(Keep::Bytes(250), later, &NONE, 0, true);
        assert!(window.is_empty());
    }

    #[test]
    fn what_the_pen_holds_is_not_evicted() {
        let budget = budget();
        let mut window = window(&budget, &[(0, 1), (2, 3)]);
        let pens = Arc::clone(&window.pieces().next().unwrap().held);
        let used = budget.used();
        assert_eq!((window.evictable(), window.evict()), (None, false));
        drop(pens);
        assert!(window.evict());
        assert_eq!((window.evicted, window.evicted_until()), (10, SECOND));
        assert_eq!(budget.used(), used / 2, "exactly half of two equal chunks");
        window.shift(-1_000_000_000);
        assert_eq!((window.first(), window.evicted_until()), (Some(SECOND), 0));
    }
}
