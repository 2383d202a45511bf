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
    /// What is on disk or on its way there; older than everything in memory.
    spilled: VecDeque<Piece>,
    pieces: VecDeque<Piece>,
    bytes: u64,
    packets: u64,
    /// The latest timestamp that had to go for want of room; 0 when none had to.
    evicted_until: u64,
    /// Frames that went because they were old enough, and for want of room.
    pub(crate) aged: u64,
    pub(crate) evicted: u64,
}

impl Window {
    /// Puts a chunk behind the others.
    pub(crate) fn push(&mut self, held: Arc<Held>, span: Span) {
        self.bytes += held.len() as u64;
        self.packets += span.packets;
        self.pieces.push_back(Piece { held, span });
    }

    /// The chunks, oldest first.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.spilled.iter().chain(&self.pieces)
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
        self.spilled.is_empty() && self.pieces.is_empty()
    }

    /// The first timestamp.
    pub(crate) fn first(&self) -> Option<u64> {
        self.piece(0).map(|piece| piece.span.first)
    }

    /// Frames had to go from the middle, and older ones are there.
    pub(crate) fn has_gaps(&self) -> bool {
        self.first().is_some_and(|first| first < self.evicted_until)
    }

    /// The timestamp until which frames had to go for want of room.
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
        while let Some(front) = self.piece(0) {
            let next = self.piece(1).map(|piece| &piece.span);
            let next = next.or((filling.packets > 0).then_some(filling));
            let too_old = |span: &Span| span.last < oldest(keep, now);
            let goes = match keep {
                Keep::Time(_) => {
                    too_old(&front.span) && next.is_none_or(|next| next.first <= oldest(keep, now))
                }
                Keep::Bytes(bytes) => {
                    let left = self.bytes - front.held.len() as u64 + filling_bytes;
                    left >= bytes || gone && too_old(&front.span)
                }
            };
            if !goes {
                return;
            }
            let packets = front.span.packets;
            self.aged += packets;
            self.pop();
        }
    }

    /// Lets the oldest chunk in memory go for want of it, unless somebody else has it too, so that no
    /// memory would come of it. Says whether. What is on disk stays, however old it is: there is a
    /// gap behind it then.
    pub(crate) fn evict(&mut self) -> bool {
        if self.evictable().is_none() {
            return false;
        }
        let piece = self.pieces.pop_front();
        self.evicted(piece);
        true
    }

    /// The first timestamp of the chunk that [`Window::evict`] would let go.
    pub(crate) fn evictable(&self) -> Option<u64> {
        self.pieces.front().and_then(loose)
    }

    /// Lets the oldest chunk go that is on disk, unless somebody else has it too. Says whether.
    pub(crate) fn evict_stored(&mut self) -> bool {
        if self.stored().is_none() {
            return false;
        }
        let piece = self.spilled.pop_front();
        self.evicted(piece);
        true
    }

    /// The first timestamp of the chunk that [`Window::evict_stored`] would let go.
    pub(crate) fn stored(&self) -> Option<u64> {
        self.spilled.front().and_then(loose)
    }

    /// The first timestamp and the bytes of the chunk that [`Window::spill`] would give.
    pub(crate) fn unspilled(&self) -> Option<(u64, usize)> {
        self.pieces.front().map(|piece| (piece.span.first, piece.held.len()))
    }

    /// The oldest chunk that is not on disk or on its way there: now it is.
    pub(crate) fn spill(&mut self) -> Option<Arc<Held>> {
        let piece = self.pieces.pop_front()?;
        let held = Arc::clone(&piece.held);
        self.spilled.push_back(piece);
        Some(held)
    }

    /// What was on its way to disk and has not arrived there is kept in memory.
    pub(crate) fn take_back(&mut self) {
        while let Some(piece) = self.spilled.pop_back() {
            if piece.held.kept().is_none() {
                self.spilled.push_back(piece);
                return;
            }
            self.pieces.push_front(piece);
        }
    }

    /// Nothing is held, and what had to go is of no interest any more.
    pub(crate) fn begin_anew(&mut self) {
        self.evicted_until = 0;
    }

    /// The clock was set by so many nanoseconds: what was kept is as old as it was.
    pub(crate) fn shift(&mut self, nanoseconds: i64) {
        for piece in self.spilled.iter_mut().chain(&mut self.pieces) {
            piece.span.shift(nanoseconds);
        }
        if self.evicted_until > 0 {
            self.evicted_until = self.evicted_until.saturating_add_signed(nanoseconds);
        }
    }

    fn piece(&self, at: usize) -> Option<&Piece> {
        match at.checked_sub(self.spilled.len()) {
            Some(at) => self.pieces.get(at),
            None => self.spilled.get(at),
        }
    }

    fn pop(&mut self) {
        let piece = self.spilled.pop_front().or_else(|| self.pieces.pop_front());
        piece.iter().for_each(|piece| self.subtract(piece));
    }

    fn evicted(&mut self, piece: Option<Piece>) {
        let Some(piece) = piece else { return };
        self.subtract(&piece);
        self.evicted_until = self.evicted_until.max(piece.span.last);
        self.evicted += piece.span.packets;
    }

    fn subtract(&mut self, piece: &Piece) {
        self.bytes -= piece.held.len() as u64;
        self.packets -= piece.span.packets;
    }
}

/// The first timestamp of a chunk that nobody else has.
fn loose(piece: &Piece) -> Option<u64> {
    (Arc::strong_count(&piece.held) == 1).then_some(piece.span.first)
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
    use crate::{
        KeepFree, MIN_MEMORY,
        budget::Budget,
        recorder::{SpillConfig, spill::Spill},
    };

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
        assert_eq!(budget.in_use(), 0);
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
    fn what_is_spilled_stays_before_what_is_not() {
        let budget = budget();
        let mut window = window(&budget, &[(0, 1), (2, 3), (4, 5), (6, 7)]);
        let stored = spilled(&mut window, &budget);
        let leaving = window.spill().unwrap();
        assert_eq!(firsts(&window), [0, 2, 4, 6]);
        // What is on its way is not let go; what is behind it is, and then there is a gap.
        assert_eq!((window.stored(), window.unspilled()), (Some(0), Some((4 * SECOND, 100))));
        assert!(!window.has_gaps() && window.evict());
        assert_eq!((firsts(&window), window.evicted_until()), (vec![0, 2, 6], 5 * SECOND));
        assert!(window.has_gaps());
        // It did not arrive.
        window.take_back();
        assert_eq!(window.unspilled(), Some((2 * SECOND, 100)));
        assert_eq!(firsts(&window), [0, 2, 6]);
        drop((stored, leaving));
        assert!(window.evict_stored() && !window.evict_stored());
        assert_eq!((firsts(&window), window.evicted), (vec![2, 6], 20));
        let keep = Keep::Time(Duration::from_secs(1));
        window.trim(keep, 100 * SECOND, &NONE, 0, false);
        assert_eq!((window.bytes(), window.packets(), window.aged), (0, 0, 20));
        assert_eq!(budget.in_use(), 0);
    }

    /// The oldest chunk is on disk.
    fn spilled(window: &mut Window, budget: &Arc<Budget>) -> Arc<Spill> {
        let file = tempfile::tempfile().unwrap();
        let config = SpillConfig { file, directory: "/tmp".into(), size: 1 << 20 };
        let spill = Spill::new(config, KeepFree::Bytes(0), budget);
        let held = window.spill().unwrap();
        let stored = spill.store(&[0; 100], spill.reserve(100).unwrap()).unwrap();
        held.settle(stored);
        spill
    }

    #[test]
    fn what_the_pen_holds_is_not_evicted() {
        let budget = budget();
        let mut window = window(&budget, &[(0, 1), (2, 3)]);
        let pens = Arc::clone(&window.pieces().next().unwrap().held);
        let used = budget.in_use();
        assert_eq!((window.evictable(), window.evict()), (None, false));
        drop(pens);
        assert!(window.evict());
        assert_eq!((window.evicted, window.evicted_until()), (10, SECOND));
        assert_eq!(budget.in_use(), used / 2, "exactly half of two equal chunks");
        window.shift(-1_000_000_000);
        assert_eq!((window.first(), window.evicted_until()), (Some(SECOND), 0));
    }
}
