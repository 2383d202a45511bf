//! The frames of one ring that wait for their turn, in order.

use std::{collections::VecDeque, time::Duration};

use sys::ring::{Block, Frame, Ring};

use crate::{budget::Budget, clock::nanoseconds, config::SORT_WINDOW};

/// A ring with the blocks that were taken from it and not yet been given back.
#[derive(Debug)]
pub(crate) struct Lane {
    /// `None` once the namespace was let go.
    ring: Option<Ring>,
    /// Which source it belongs to.
    pub(crate) source: usize,
    held: VecDeque<Held>,
    /// Number of the first block in `held`.
    first: u32,
    /// Sorted by timestamp; equal ones in the order of the ring.
    waiting: VecDeque<Entry>,
    /// The latest timestamp seen.
    newest: u64,
    /// When the ring was last seen empty.
    quiet_at: u64,
    /// How many of the held blocks are still in the ring.
    in_ring: u32,
}

#[derive(Debug)]
struct Held {
    /// `None` once all its frames are gone.
    block: Option<Block>,
    /// Frames that wait.
    left: u32,
    /// Frames lost before this block, to be told with the next frame.
    lost: u64,
    /// Bytes taken from the budget.
    copied: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    timestamp: u64,
    block: u32,
    offset: u32,
}

/// What one look at a ring brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Frames taken in.
    pub(crate) frames: u64,
    /// Frames that could not be read: the kernel's offsets made no sense.
    pub(crate) unreadable: u64,
}

impl Lane {
    pub(crate) fn new(ring: Ring, source: usize) -> Self {
        Self {
            ring: Some(ring),
            source,
            held: VecDeque::new(),
            first: 0,
            waiting: VecDeque::new(),
            newest: 0,
            quiet_at: 0,
            in_ring: 0,
        }
    }

    /// Takes all blocks that the kernel has handed over. `lost` is asked for the number of lost
    /// frames when a block says that there were some. `now` was read before the call.
    pub(crate) fn take_in(&mut self, now: u64, mut lost: impl FnMut() -> u64) -> Taken {
        let mut taken = Taken::default();
        while let Some(block) = self.ring.as_mut().and_then(Ring::next_block) {
            let expected = block.len();
            let lost = if block.is_losing() { lost() } else { 0 };
            let number = self.first.wrapping_add(u32::try_from(self.held.len()).unwrap_or(0));
            let mut count = 0;
            for (offset, frame) in block.frames() {
                count += 1;
                let timestamp = frame.timestamp();
                let entry = Entry { timestamp, block: number, offset };
                if timestamp >= self.newest {
                    self.newest = timestamp;
                    self.waiting.push_back(entry);
                } else {
                    insert(&mut self.waiting, entry);
                }
            }
            taken.frames += u64::from(expected);
            taken.unreadable += u64::from(expected - count);
            self.in_ring += 1;
            self.held.push_back(Held { block: Some(block), left: count, lost, copied: 0 });
            if count == 0 {
                self.finish(number, None);
            }
        }
        if self.ring.as_ref().is_some_and(Ring::is_quiet) {
            self.quiet_at = now;
        }
        taken
    }

    /// No frame with an earlier timestamp will come from this ring any more.
    ///
    /// A frame waits in an unfinished block for up to twice the retire timeout; frames of one ring
    /// overtake each other by less than the sort window.
    pub(crate) fn settled_until(&self, now: u64) -> u64 {
        let Some(ring) = &self.ring else { return u64::MAX };
        let by_clock = now.saturating_sub(2 * nanoseconds(ring.geometry().retire()));
        self.newest.max(self.quiet_at).max(by_clock).saturating_sub(nanoseconds(SORT_WINDOW))
    }

    /// Timestamp of the frame whose turn is next.
    #[inline]
    pub(crate) fn front(&self) -> Option<u64> {
        self.waiting.front().map(|entry| entry.timestamp)
    }

    /// How many frames wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Shows the next frame, and how many were lost before it. It is gone when `deliver` answers
    /// `true`, and stays otherwise.
    #[inline]
    pub(crate) fn offer(
        &mut self,
        budget: &Budget,
        deliver: impl FnOnce(Frame<'_>, u64) -> bool,
    ) -> bool {
        let Some(&Entry { block, offset, .. }) = self.waiting.front() else {
            return true;
        };
        let index = block.wrapping_sub(self.first) as usize;
        let Some(held) = self.held.get_mut(index) else {
            debug_assert!(false, "an entry outlived its block");
            self.waiting.pop_front();
            return true;
        };
        if let Some(frame) = held.block.as_ref().and_then(|block| block.frame(offset)) {
            if !deliver(frame, held.lost) {
                return false;
            }
            held.lost = 0;
        }
        held.left -= 1;
        let done = held.left == 0;
        self.waiting.pop_front();
        if done {
            self.finish(block, Some(budget));
        }
        true
    }

    /// Whether more than half of the ring is held.
    pub(crate) fn is_pressed(&self) -> bool {
        self.in_ring * 2 > self.blocks()
    }

    /// Gives ring memory back by copying held blocks out, oldest first, until the ring is no
    /// longer pressed or the budget is at its end. Says whether it was enough.
    pub(crate) fn relieve(&mut self, budget: &Budget) -> bool {
        let mut index = 0;
        while self.is_pressed() && index < self.held.len() {
            if !self.copy_out(index, budget, false) {
                return false;
            }
            index += 1;
        }
        !self.is_pressed()
    }

    /// Lets the ring go, and with it the namespace. Frames that still wait are copied out,
    /// whatever that costs.
    pub(crate) fn close(&mut self, budget: &Budget) {
        for index in 0..self.held.len() {
            self.copy_out(index, budget, true);
        }
        self.ring = None;
    }

    /// Forgets the oldest frames until the ring is no longer pressed. Says how many.
    pub(crate) fn shed(&mut self, budget: &Budget) -> u64 {
        let Some(until) = self.pressing_until() else { return 0 };
        let mut shed = 0;
        while self.front().is_some_and(|front| front <= until) {
            self.offer(budget, |_, _| true);
            shed += 1;
        }
        shed
    }

    /// Forgets every frame that waits. Says how many.
    pub(crate) fn clear(&mut self, budget: &Budget) -> u64 {
        let mut cleared = 0;
        while self.front().is_some() {
            self.offer(budget, |_, _| true);
            cleared += 1;
        }
        cleared
    }

    /// The clock was set: stamps from before say nothing about those to come.
    pub(crate) fn forget_time(&mut self) {
        self.newest = 0;
        self.quiet_at = 0;
    }

    /// The ring's retire timeout.
    pub(crate) fn retire(&self) -> Duration {
        self.ring.as_ref().map_or(Duration::ZERO, |ring| ring.geometry().retire())
    }

    fn blocks(&self) -> u32 {
        self.ring.as_ref().map_or(u32::MAX, |ring| ring.geometry().blocks())
    }

    /// The timestamp up to which frames have to go for the ring to be no longer pressed.
    pub(crate) fn pressing_until(&self) -> Option<u64> {
        let over = (self.in_ring * 2).saturating_sub(self.blocks()).div_ceil(2);
        let last = self
            .held
            .iter()
            .enumerate()
            .filter(|(_, held)| held.block.as_ref().is_some_and(Block::is_in_ring));
        let (index, _) = last.take(over as usize).last()?;
        let number = self.first.wrapping_add(u32::try_from(index).ok()?);
        self.waiting
            .iter()
            .rev()
            .find(|entry| entry.block.wrapping_sub(self.first) <= number.wrapping_sub(self.first))
            .map(|entry| entry.timestamp)
    }

    fn copy_out(&mut self, index: usize, budget: &Budget, whatever: bool) -> bool {
        let Some(held) = self.held.get_mut(index) else { return true };
        let Some(block) = held.block.as_mut().filter(|block| block.is_in_ring()) else {
            return true;
        };
        let bytes = block.used();
        if budget.reserve_waiting(bytes) {
            held.copied = bytes;
        } else if !whatever {
            return false;
        }
        block.copy_out();
        self.in_ring -= 1;
        true
    }

    fn finish(&mut self, number: u32, budget: Option<&Budget>) {
        let index = number.wrapping_sub(self.first) as usize;
        if let Some(held) = self.held.get_mut(index)
            && let Some(block) = held.block.take()
        {
            self.in_ring -= u32::from(block.is_in_ring());
            if let Some(budget) = budget {
                budget.release(held.copied);
            }
            // What was not told with a frame of this block is told with one of the next.
            let lost = std::mem::take(&mut held.lost);
            if lost > 0
                && let Some(next) = self.held.get_mut(index + 1)
            {
                next.lost += lost;
            }
        }
        while self.held.front().is_some_and(|held| held.block.is_none()) {
            self.held.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

/// Inserts behind all entries that are not later. Inversions are few and short, so the place is
/// near the end.
fn insert(waiting: &mut VecDeque<Entry>, entry: Entry) {
    let later = waiting.iter().rev().take_while(|other| other.timestamp > entry.timestamp).count();
    waiting.insert(waiting.len() - later, entry);
}
