//! The frames of one ring, here or on another machine, that wait for their turn, in order.

mod sorted;

use std::{collections::VecDeque, time::Duration};

use sys::ring::{Block, Ring, View};

use crate::{
    budget::Budget,
    clock::nanoseconds,
    config::SORT_WINDOW,
    far::Receipt,
    feed::{self, Feed},
};

use self::sorted::{Entry, Sorted};

/// The sort window in nanoseconds.
const WINDOW: u64 = 1_000_000;
const _: () = assert!(SORT_WINDOW.as_nanos() == 1_000_000);

/// How many frames are looked at in one go.
const BATCH: u32 = 256;
/// While frames wait for another ring's, no more than this part of theirs is held: an eighth.
const SPARED: u32 = 8;
/// Blocks that wait in a ring where few frames come: one for its order, one to be taken.
const USUAL: u32 = 2;
/// How far ahead of the frame that is looked at memory is fetched, in bytes.
const READ_AHEAD: usize = 8 << 10;

/// A ring with the blocks that were taken from it and not yet been given back.
///
/// Frames are looked at as late as possible, no further ahead than the sort window demands: so a
/// frame that is put in order is still in the processor's cache when it is written.
#[derive(Debug)]
pub(crate) struct Lane {
    /// `None` once the namespace was let go.
    feed: Option<Feed>,
    /// Which source it belongs to.
    pub(crate) source: usize,
    held: VecDeque<Held>,
    /// Number of the first block in `held`.
    first: u32,
    /// Where reading goes on.
    cursor: Cursor,
    /// Frames that were looked at; equal ones in the order of the ring.
    sorted: Sorted,
    /// The latest timestamp looked at.
    read_until: u64,
    /// The latest timestamp taken from the ring.
    newest: u64,
    /// When the ring was last seen empty, and whether it was so at the last look.
    quiet_at: u64,
    is_quiet: bool,
    /// How many of the held blocks are still in the ring.
    in_ring: u32,
    /// Frames that wait.
    waiting: u64,
}

#[derive(Debug)]
struct Held {
    /// `None` once all its frames are gone.
    block: Option<Block>,
    /// Frames that wait.
    left: u32,
    /// Timestamp of its last frame.
    last: u64,
    /// Frames lost before this block, to be told with the next frame.
    lost: u64,
    /// Bytes taken from the budget.
    copied: usize,
    /// Who has sent it may send more once this is dropped.
    receipt: Option<Receipt>,
}

/// A place among the held blocks.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    /// Number of the block that is read once this one is at its end.
    next: u32,
    /// Offset of the next frame in the block before that.
    offset: u32,
    /// Frames of that block that were not looked at.
    left: u32,
}

impl Cursor {
    /// How far what is to be fetched stands behind a frame of this block, in bytes, where blocks stand
    /// one behind the other. Where they do not, a wrong place is fetched, and nothing else is wrong.
    fn beyond(&self, entry: &Entry, block: View<'_>) -> usize {
        let blocks = self.next.wrapping_sub(1).wrapping_sub(entry.block) as usize;
        let cursor = blocks.wrapping_mul(block.bytes()).wrapping_add(self.offset as usize);
        cursor.wrapping_sub(entry.offset as usize).wrapping_add(READ_AHEAD)
    }
}

/// The frames that are next, as far as they stand in one block and are not too late.
///
/// Where that ends shows when each is looked at: to look for it beforehand would be a walk of its own
/// over all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    entries: &'a [Entry],
    /// Number of the block.
    block: u32,
    /// The latest timestamp that belongs to it.
    until: u64,
    /// How far behind the first frame that one stands which is to be looked at soon, in bytes.
    ahead: usize,
}

impl<'a> Run<'a> {
    /// Its frame at this place.
    #[inline(always)]
    pub(crate) fn get(&self, at: usize) -> Option<&'a Entry> {
        self.entries
            .get(at)
            .filter(|entry| entry.block == self.block && entry.timestamp <= self.until)
    }

    /// What is to be looked at soon when this frame is written, as an offset in its block. Fetched
    /// meanwhile, it is there then: a look takes less time than memory does.
    #[inline(always)]
    pub(crate) fn soon(&self, entry: &Entry) -> usize {
        (entry.offset as usize).wrapping_add(self.ahead)
    }

    /// How many frames it has.
    fn len(&self) -> usize {
        (0..).take_while(|at| self.get(*at).is_some()).count()
    }
}

/// What one look at a ring brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Frames taken in.
    pub(crate) frames: u64,
    /// How much of the ring they occupied, in thousandths.
    pub(crate) fill: u32,
}

impl Lane {
    pub(crate) fn new(feed: Feed, source: usize) -> Self {
        Self {
            feed: Some(feed),
            source,
            held: VecDeque::new(),
            first: 0,
            cursor: Cursor::default(),
            sorted: Sorted::default(),
            read_until: 0,
            newest: 0,
            quiet_at: 0,
            is_quiet: false,
            in_ring: 0,
            waiting: 0,
        }
    }

    /// Takes all blocks that the kernel has handed over. `lost` is asked for the number of lost
    /// frames when a block says that there were some. `now` was read before the call.
    pub(crate) fn take_in(&mut self, now: u64, mut lost: impl FnMut() -> u64) -> Taken {
        let mut taken = Taken::default();
        let mut blocks = 0;
        while let Some(next) = self.feed.as_mut().and_then(Feed::next) {
            let feed::Taken { block, lost: told, receipt } = next;
            let frames = block.len();
            let lost = told.unwrap_or_else(|| if block.is_losing() { lost() } else { 0 });
            if frames == 0 {
                continue;
            }
            blocks += 1;
            let last = block.last_timestamp();
            self.newest = self.newest.max(last);
            self.in_ring += u32::from(block.is_in_ring());
            self.waiting += u64::from(frames);
            taken.frames += u64::from(frames);
            let block = Some(block);
            self.held.push_back(Held { block, left: frames, last, lost, copied: 0, receipt });
        }
        taken.fill = blocks * 1000 / self.blocks();
        self.is_quiet = self.ring().is_some_and(Ring::is_quiet);
        if self.is_quiet {
            self.quiet_at = now;
        }
        taken
    }

    /// Whether this part of the ring, in thousandths, waits to be taken.
    pub(crate) fn is_filled_by(&self, part: u32) -> bool {
        self.ring().is_some_and(|ring| ring.is_filled_by(part))
    }

    /// Whether this part of the ring, in thousandths, waits to be taken or to be written, and more
    /// blocks than wait in any case where few frames come.
    pub(crate) fn is_occupied_by(&self, part: u32) -> bool {
        self.ring().is_some_and(|ring| {
            let blocks = ring.geometry().blocks();
            let least = (blocks.saturating_mul(part) / 1000).max(USUAL + 1);
            let missing = least.saturating_sub(self.in_ring);
            missing == 0 || ring.is_filled_by(missing.saturating_mul(1000).div_ceil(blocks))
        })
    }

    /// No frame with an earlier timestamp will come from this ring any more.
    ///
    /// A frame waits in an unfinished block for up to twice the retire timeout; frames of one ring
    /// overtake each other by less than the sort window.
    pub(crate) fn settled_until(&self, now: u64) -> u64 {
        let ring = match &self.feed {
            Some(Feed::Ring(ring)) => ring,
            // The far side has told, as it does this for its own ring.
            Some(Feed::Far { settled, .. }) => return *settled,
            None => return u64::MAX,
        };
        let by_clock = now.saturating_sub(2 * nanoseconds(ring.geometry().retire()));
        self.newest.max(self.quiet_at).max(by_clock).saturating_sub(WINDOW)
    }

    /// When this ring will have settled what came until `timestamp`, if nothing else comes.
    pub(crate) fn settles_at(&self, timestamp: u64) -> u64 {
        match &self.feed {
            Some(Feed::Ring(_)) if self.is_quiet => timestamp + WINDOW,
            Some(Feed::Ring(ring)) => {
                timestamp + 2 * nanoseconds(ring.geometry().retire()) + WINDOW
            }
            // Whoever brings the news wakes us.
            Some(Feed::Far { .. }) => u64::MAX,
            None => 0,
        }
    }

    /// Timestamp of the frame whose turn is next.
    #[inline]
    pub(crate) fn front(&mut self) -> Option<u64> {
        match self.sorted.first() {
            Some(entry) if self.is_final(entry) => Some(entry.timestamp),
            _ => self.read_on(),
        }
    }

    /// Whether nothing that was not looked at can come before a frame.
    #[inline]
    fn is_final(&self, entry: &Entry) -> bool {
        entry.timestamp + WINDOW <= self.read_until
    }

    /// Looks at frames until the one at the front cannot be overtaken any more.
    fn read_on(&mut self) -> Option<u64> {
        loop {
            let front = self.sorted.first();
            let is_final = front.is_some_and(|entry| self.is_final(entry));
            let front = front.map(|entry| entry.timestamp);
            if is_final || !self.read_batch() {
                return front;
            }
        }
    }

    /// Looks at a few frames more, up to and including the first that comes late. `false`: there are
    /// none.
    fn read_batch(&mut self) -> bool {
        if self.cursor.left == 0 && self.open_next_block().is_none() {
            return false;
        }
        let Cursor { next, mut offset, left } = self.cursor;
        let number = next.wrapping_sub(1);
        let Some(held) = self.held.get_mut(number.wrapping_sub(self.first) as usize) else {
            return false;
        };
        let Some(block) = held.block.as_ref().map(Block::view) else { return false };
        let (mut read, mut late, mut is_torn) = (0, None, false);
        for place in self.sorted.places(left.min(BATCH) as usize) {
            let Some((timestamp, behind)) = block.step(offset) else {
                is_torn = true;
                break;
            };
            block.expect((offset as usize).wrapping_add(READ_AHEAD));
            let entry = Entry { timestamp, block: number, offset };
            offset = behind;
            if timestamp < self.read_until {
                late = Some(entry);
                break;
            }
            *place = entry;
            self.read_until = timestamp;
            read += 1;
        }
        self.sorted.filled(read as usize);
        if let Some(entry) = late {
            self.sorted.insert(entry);
            read += 1;
        }
        self.cursor = Cursor { next, offset, left: left - read };
        if is_torn {
            // The kernel's offsets make no sense: what is left of the block cannot be read.
            held.left -= left - read;
            self.waiting -= u64::from(left - read);
            self.cursor.left = 0;
            self.finish_if_done(number, None);
        }
        true
    }

    fn open_next_block(&mut self) -> Option<()> {
        let number = self.cursor.next;
        let held = self.held.get(number.wrapping_sub(self.first) as usize)?;
        let block = held.block.as_ref()?;
        let (offset, left) = (block.first_offset(), block.len());
        self.cursor = Cursor { next: number.wrapping_add(1), offset, left };
        Some(())
    }

    /// How many frames wait.
    pub(crate) fn len(&self) -> u64 {
        self.waiting
    }

    /// Shows the frames that are next, as far as they stand in one block and are not later than
    /// `until`: the block, the frames, and how many were lost before the first. `deliver` says how
    /// many of them are gone, from the first one on; the others stay. So does this.
    #[inline]
    pub(crate) fn offer(
        &mut self,
        until: u64,
        budget: &Budget,
        deliver: impl FnOnce(&Block, Run<'_>, u64) -> usize,
    ) -> usize {
        let Some(first) = self.sorted.first() else { return 0 };
        let number = first.block;
        // Frames behind the first may still be overtaken by some that were not looked at.
        let until = until.min(self.read_until.saturating_sub(WINDOW).max(first.timestamp));
        let index = number.wrapping_sub(self.first) as usize;
        let Some(held) = self.held.get_mut(index) else { return 0 };
        let Some(block) = &held.block else { return 0 };
        let ahead = self.cursor.beyond(first, block.view());
        let run = Run { entries: self.sorted.waiting(), block: number, until, ahead };
        let gone = deliver(block, run, held.lost);
        if gone > 0 {
            held.lost = 0;
        }
        held.left -= u32::try_from(gone).unwrap_or(held.left);
        let done = held.left == 0;
        self.waiting -= gone as u64;
        self.sorted.remove_first(gone);
        if done {
            self.finish_if_done(number, Some(budget));
        }
        gone
    }

    /// Whether more than half of the ring is held.
    pub(crate) fn is_pressed(&self) -> bool {
        self.holds_more_than(2)
    }

    /// Gives ring memory back by copying held blocks out, oldest first, until the ring is no
    /// longer pressed or the budget is at its end. Says whether it was enough.
    pub(crate) fn relieve(&mut self, budget: &Budget) -> bool {
        self.shrink(2, budget)
    }

    /// The same until hardly anything of the ring is held: where it is known that frames will wait
    /// for long, the kernel has nearly all of the ring meanwhile.
    pub(crate) fn spare(&mut self, budget: &Budget) {
        self.shrink(SPARED, budget);
    }

    /// Lets the far side send more although frames of it still wait for their order: what they occupy
    /// is taken from the budget instead. Who holds the others up may have no room on the link.
    pub(crate) fn acknowledge(&mut self, budget: &Budget) {
        for held in &mut self.held {
            let Some(block) = held.block.as_ref().filter(|_| held.receipt.is_some()) else {
                continue;
            };
            let bytes = block.used();
            if !budget.reserve_waiting(bytes) {
                return;
            }
            held.copied = bytes;
            held.receipt = None;
        }
    }

    /// Whether its frames are another machine's, and stamped by that one's clock.
    pub(crate) fn is_far(&self) -> bool {
        matches!(self.feed, Some(Feed::Far { .. }))
    }

    fn shrink(&mut self, part: u32, budget: &Budget) -> bool {
        let mut index = 0;
        while self.holds_more_than(part) && index < self.held.len() {
            if !self.copy_out(index, budget, false) {
                return false;
            }
            index += 1;
        }
        !self.holds_more_than(part)
    }

    /// Whether more than the `part`th part of the ring is held.
    fn holds_more_than(&self, part: u32) -> bool {
        self.in_ring.saturating_mul(part) > self.blocks()
    }

    /// Lets the ring go, and with it the namespace. Frames that still wait are copied out,
    /// whatever that costs.
    pub(crate) fn close(&mut self, budget: &Budget) {
        for index in 0..self.held.len() {
            self.copy_out(index, budget, true);
        }
        self.feed = None;
    }

    /// Forgets the oldest frames until the ring is no longer pressed. Says how many.
    pub(crate) fn shed(&mut self, budget: &Budget) -> u64 {
        let Some(until) = self.pressing_until() else { return 0 };
        self.forget(until, budget)
    }

    /// Forgets every frame that waits. Says how many.
    pub(crate) fn clear(&mut self, budget: &Budget) -> u64 {
        self.forget(u64::MAX, budget)
    }

    fn forget(&mut self, until: u64, budget: &Budget) -> u64 {
        let before = self.waiting;
        while self.front().is_some_and(|front| front <= until) {
            self.offer(until, budget, |_, run, _| run.len());
        }
        before - self.waiting
    }

    /// The clock was set: stamps from before say nothing about those to come.
    pub(crate) fn forget_time(&mut self) {
        self.newest = 0;
        self.quiet_at = 0;
    }

    /// The ring's retire timeout.
    pub(crate) fn retire(&self) -> Duration {
        self.feed.as_ref().map_or(Duration::ZERO, Feed::retire)
    }

    fn ring(&self) -> Option<&Ring> {
        self.feed.as_ref().and_then(Feed::ring)
    }

    fn blocks(&self) -> u32 {
        self.ring().map_or(u32::MAX, |ring| ring.geometry().blocks())
    }

    /// The timestamp up to which frames have to go for the ring to be no longer pressed.
    pub(crate) fn pressing_until(&self) -> Option<u64> {
        let over = (self.in_ring * 2).saturating_sub(self.blocks()).div_ceil(2);
        let in_ring = |held: &&Held| held.block.as_ref().is_some_and(Block::is_in_ring);
        self.held.iter().filter(in_ring).take(over as usize).map(|held| held.last).max()
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

    /// Gives a block back of which no frame is left.
    fn finish_if_done(&mut self, number: u32, budget: Option<&Budget>) {
        let index = number.wrapping_sub(self.first) as usize;
        if let Some(held) = self.held.get_mut(index).filter(|held| held.left == 0)
            && let Some(block) = held.block.take()
        {
            self.in_ring -= u32::from(block.is_in_ring());
            held.receipt = None;
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
