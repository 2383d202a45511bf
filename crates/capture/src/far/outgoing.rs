use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use model::FrameParts;
use sys::ring::{Block, Frame};
use wire::{Allowance, BatchWriter};

/// How much, and how long, frames may wait for the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Bytes of all blocks that wait.
    pub memory: usize,
    /// From the frame's timestamp on.
    pub time: Duration,
}

/// Frames of the far side's captures on their way to the client.
///
/// Blocks wait here, copied out of their rings, until the allowance has room. What waits is bounded
/// in bytes and in time: the oldest block goes first, and its frames are counted as lost. So a link
/// that is slower than the traffic carries what is fresh, and what it does not carry is known.
///
/// Neither reads a clock nor writes to a pipe: who does has the loop.
#[derive(Debug)]
pub struct Outgoing {
    patience: Patience,
    compress: bool,
    allowance: Allowance,
    captures: BTreeMap<u32, Waiting>,
    /// Whose turn is next: the first capture from this one on.
    turn: u32,
    /// Bytes that wait.
    bytes: usize,
}

/// What waits of one capture.
#[derive(Debug, Default)]
struct Waiting {
    blocks: VecDeque<Block>,
    /// Where the first block goes on: at this offset, with so many frames.
    going_on: Option<(u32, u32)>,
    /// How many blocks went before the first.
    gone: u64,
    /// Of the blocks that begin earlier than all behind them, the number and the timestamp of the
    /// first frame, in order: a capture with several rings has them side by side.
    earliest: VecDeque<(u64, u64)>,
    /// Frames lost since the last batch.
    lost: u64,
    counts: Counts,
}

/// Where frames went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Taken in.
    pub taken: u64,
    /// Put into batches.
    pub sent: u64,
    /// Dropped here.
    pub dropped: u64,
    /// Still waiting.
    pub waiting: u64,
}

impl Outgoing {
    /// Nothing under way. Batches are compressed if that is asked for.
    #[must_use]
    pub fn new(patience: Patience, compress: bool) -> Self {
        Self {
            patience,
            compress,
            allowance: Allowance::default(),
            captures: BTreeMap::new(),
            turn: 0,
            bytes: 0,
        }
    }

    /// Takes a block of a capture, before which the kernel dropped `lost` frames; the ring gets its
    /// memory back. What has no room any more goes, the oldest first.
    pub fn take(&mut self, capture: u32, mut block: Block, lost: u64) {
        let waiting = self.captures.entry(capture).or_default();
        let frames = u64::from(block.len());
        // The kernel's losses stand before this block: they are told with it where nothing of the
        // same capture waits, and a little early otherwise.
        waiting.lost += lost;
        waiting.counts.taken += frames;
        if frames == 0 {
            return;
        }
        waiting.counts.waiting += frames;
        block.copy_out();
        self.bytes += block.used();
        waiting.push(block);
        while self.bytes > self.patience.memory && self.drop_oldest() {}
    }

    /// Drops what has waited too long. `now` in nanoseconds since 1970.
    pub fn expire(&mut self, now: u64) {
        let patience = u64::try_from(self.patience.time.as_nanos()).unwrap_or(u64::MAX);
        let until = now.saturating_sub(patience);
        for waiting in self.captures.values_mut() {
            while waiting.blocks.front().is_some_and(|block| block.last_timestamp() < until) {
                self.bytes -= waiting.drop_first();
            }
        }
    }

    /// Drops the block that ends first.
    fn drop_oldest(&mut self) -> bool {
        let ends = |waiting: &Waiting| waiting.blocks.front().map(Block::last_timestamp);
        let first = self.captures.values_mut().filter_map(|it| Some((ends(it)?, it)));
        let Some((_, waiting)) = first.min_by_key(|(ends, _)| *ends) else { return false };
        self.bytes -= waiting.drop_first();
        true
    }

    /// The next batch as a message, where the allowance has room and there is one: of each capture in
    /// turn. `now` is the time since any fixed moment.
    pub fn next_batch(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.bytes == 0 || !self.allowance.has_room() {
            return None;
        }
        let has_frames =
            |(capture, waiting): (&u32, &Waiting)| (!waiting.blocks.is_empty()).then_some(*capture);
        let capture = self
            .captures
            .range(self.turn..)
            .find_map(has_frames)
            .or_else(|| self.captures.iter().find_map(has_frames))?;
        self.turn = capture.wrapping_add(1);
        let waiting = self.captures.get_mut(&capture)?;
        let mut writer = BatchWriter::default();
        while !writer.is_full() && !waiting.blocks.is_empty() {
            self.bytes -= waiting.fill(&mut writer);
        }
        if writer.is_empty() {
            return None;
        }
        self.allowance.sent(writer.weight(), now);
        Some(writer.take(capture, std::mem::take(&mut waiting.lost), self.compress))
    }

    /// The client has used batches of this weight since the beginning.
    pub fn acknowledged(&mut self, bytes: u64, now: Duration) {
        self.allowance.used(bytes, now);
    }

    /// Where a capture's frames went.
    #[must_use]
    pub fn counts(&self, capture: u32) -> Counts {
        self.captures.get(&capture).map(|waiting| waiting.counts).unwrap_or_default()
    }

    /// Timestamp of the frame that stands first in its block, of the earliest block that waits of a
    /// capture; `None` where nothing waits. Within a block frames overtake each other by less than
    /// the sort window of 1 ms.
    #[must_use]
    pub fn oldest(&self, capture: u32) -> Option<u64> {
        let (_, timestamp) = self.captures.get(&capture)?.earliest.front()?;
        Some(*timestamp)
    }

    /// Forgets a capture, and says where its frames went: what still waits is dropped.
    pub fn forget(&mut self, capture: u32) -> Counts {
        let Some(mut waiting) = self.captures.remove(&capture) else { return Counts::default() };
        while !waiting.blocks.is_empty() {
            self.bytes -= waiting.drop_first();
        }
        waiting.counts
    }

    /// Bytes that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.bytes
    }
}

impl Waiting {
    fn push(&mut self, block: Block) {
        let number = self.gone + self.blocks.len() as u64;
        let first = block.step(block.first_offset()).map_or(0, |(timestamp, _)| timestamp);
        while self.earliest.back().is_some_and(|(_, timestamp)| *timestamp > first) {
            self.earliest.pop_back();
        }
        self.earliest.push_back((number, first));
        self.blocks.push_back(block);
    }

    /// Drops the first block, as far as it is not sent; the bytes that it had.
    fn drop_first(&mut self) -> usize {
        let going_on = self.going_on.take();
        let Some(block) = self.blocks.pop_front() else { return 0 };
        if self.earliest.front().is_some_and(|(number, _)| *number == self.gone) {
            self.earliest.pop_front();
        }
        self.gone += 1;
        let left = u64::from(going_on.map_or(block.len(), |(_, left)| left));
        self.counts.dropped += left;
        self.counts.waiting -= left;
        self.lost += left;
        block.used()
    }

    /// Fills a batch out of the first block; the bytes of the block if nothing of it is left.
    fn fill(&mut self, writer: &mut BatchWriter) -> usize {
        let Some(block) = self.blocks.front() else { return 0 };
        let begin = self.going_on.unwrap_or_else(|| (block.first_offset(), block.len()));
        let (mut offset, mut left) = begin;
        let mut sent = 0;
        while left > 0 && !writer.is_full() {
            let (Some(frame), Some((_, behind))) = (block.frame(offset), block.step(offset)) else {
                break;
            };
            // None is longer than a batch may be: the snaplen has a bound.
            if writer.push(&parts(&frame)).is_err() {
                break;
            }
            (offset, left, sent) = (behind, left - 1, sent + 1);
        }
        self.counts.sent += sent;
        self.counts.waiting -= sent;
        self.going_on = Some((offset, left));
        if left > 0 && writer.is_full() {
            return 0;
        }
        // All of it is sent, or what is left cannot be read.
        self.drop_first()
    }
}

/// A frame as it travels. Where it has an Ethernet header that has the sender's address already.
fn parts<'a>(frame: &Frame<'a>) -> FrameParts<'a> {
    let is_ethernet = model::LinkType::of(frame.hatype()) == Some(model::LinkType::ETHERNET);
    let parts = frame.parts();
    FrameParts { address: if is_ethernet { &[] } else { parts.address }, ..parts }
}

#[cfg(test)]
mod tests {
    use model::{Hatype, PacketType};
    use sys::ring::Assembly;
    use wire::Batch;

    use super::*;
    use crate::far::arrived;

    const PATIENCE: Patience = Patience { memory: 1 << 20, time: Duration::from_secs(2) };
    const NOW: u64 = 1_800_000_000_000_000_000;

    /// A block of so many frames of 1,000 bytes, a microsecond apart, each with its number.
    fn block(from: u64, frames: u64) -> Block {
        let mut assembly = Assembly::default();
        for number in from..from + frames {
            let mut data = [0; 1000];
            data[..8].copy_from_slice(&number.to_be_bytes());
            assert!(assembly.push(&FrameParts {
                timestamp: NOW + number * 1000,
                interface: 2,
                hatype: Hatype::NONE,
                protocol: 0x0800,
                packet_type: PacketType::Host,
                vlan: None,
                checksum_not_ready: false,
                checksum_valid: false,
                tcp_segmentation: false,
                address: &[],
                network_offset: 0,
                original_length: 1000,
                data: &data,
            }));
        }
        assembly.finish(false)
    }

    /// The numbers of the frames of a message, as they are read behind it, and what was lost.
    fn numbers(message: &[u8]) -> (Vec<u64>, u64) {
        let batch = Batch::read(message).unwrap();
        let block = arrived(&batch);
        assert_eq!(block.is_losing(), batch.lost > 0);
        let number = |frame: &Frame<'_>| *frame.data().first_chunk::<8>().unwrap();
        let numbers = block.frames().map(|(_, frame)| u64::from_be_bytes(number(&frame)));
        (numbers.collect(), batch.lost)
    }

    #[test]
    fn frames_arrive_as_they_were_in_the_ring() {
        let mut outgoing = Outgoing::new(PATIENCE, true);
        outgoing.take(7, block(0, 200), 3);
        outgoing.take(7, block(200, 50), 0);
        let mut found = Vec::new();
        let mut lost = 0;
        while let Some(message) = outgoing.next_batch(Duration::ZERO) {
            assert!(message.len() < wire::MAX_MESSAGE / 2);
            let (numbers, before) = numbers(&message);
            found.extend(numbers);
            lost += before;
        }
        assert_eq!(found, (0..250).collect::<Vec<_>>());
        assert_eq!((lost, outgoing.waiting()), (3, 0));
        let expected = Counts { taken: 250, sent: 250, dropped: 0, waiting: 0 };
        assert_eq!(outgoing.forget(7), expected);
    }

    /// Two rings of one capture: blocks come as they come.
    #[test]
    fn the_oldest_of_what_waits_is_known() {
        let mut outgoing = Outgoing::new(PATIENCE, false);
        assert_eq!(outgoing.oldest(1), None);
        let at = |number: u64| Some(NOW + number * 1000);
        for (from, frames, oldest) in [(50, 200, 50), (60, 5, 50), (20, 10, 20), (70, 10, 20)] {
            outgoing.take(1, block(from, frames), 0);
            assert_eq!(outgoing.oldest(1), at(oldest));
        }
        // 131 of the first; its rest, and all others.
        outgoing.next_batch(Duration::ZERO).unwrap();
        assert_eq!(outgoing.oldest(1), at(20));
        outgoing.next_batch(Duration::ZERO).unwrap();
        assert_eq!((outgoing.oldest(1), outgoing.waiting()), (None, 0));
        outgoing.take(1, block(300, 1), 0);
        assert_eq!(outgoing.oldest(1), at(300));
    }

    #[test]
    fn captures_take_turns() {
        let mut outgoing = Outgoing::new(PATIENCE, true);
        for capture in [1, 2, u32::MAX] {
            outgoing.take(capture, block(0, 200), 0);
        }
        let (mut order, mut sent) = (Vec::new(), 0);
        while let Some(message) = outgoing.next_batch(Duration::ZERO) {
            let batch = Batch::read(&message).unwrap();
            order.push(batch.capture);
            sent += batch.weight();
            outgoing.acknowledged(sent, Duration::ZERO);
        }
        assert_eq!(order, [1, 2, u32::MAX, 1, 2, u32::MAX]);
    }

    /// However little it is on its way: where it waits it is what it was.
    #[test]
    fn what_compresses_well_is_under_way_by_its_length_in_memory() {
        let mut outgoing = Outgoing::new(PATIENCE, true);
        outgoing.take(1, block(0, 900), 0);
        let (mut travelled, mut weight) = (0, 0);
        while let Some(message) = outgoing.next_batch(Duration::ZERO) {
            travelled += message.len();
            weight += Batch::read(&message).unwrap().weight();
        }
        // As much as an allowance is at first, and the batch that exceeds it.
        assert!((256 << 10..600 << 10).contains(&weight), "{weight}");
        assert!(travelled < 32 << 10 && outgoing.waiting() > 0, "{travelled}");
        outgoing.acknowledged(weight, Duration::ZERO);
        assert!(outgoing.next_batch(Duration::ZERO).is_some());
    }

    /// A link that carries less than comes: what it carries is fresh, and nothing is forgotten.
    #[test]
    fn what_the_link_does_not_carry_is_counted() {
        let mut outgoing = Outgoing::new(PATIENCE, false);
        let (mut sent, mut found, mut lost) = (0, 0, 0);
        for round in 0..1000 {
            let now = Duration::from_millis(round);
            outgoing.take(1, block(round * 100, 100), 0);
            assert!(outgoing.waiting() <= PATIENCE.memory);
            outgoing.expire(NOW + (round + 1) * 100_000);
            // A tenth of it.
            if round % 10 == 0 {
                outgoing.acknowledged(sent, now);
                if let Some(message) = outgoing.next_batch(now) {
                    sent += Batch::read(&message).unwrap().weight();
                    let (numbers, before) = numbers(&message);
                    // What was lost stands just before what arrives.
                    assert_eq!(numbers[0], found + lost + before, "round {round}");
                    found += numbers.len() as u64;
                    lost += before;
                }
            }
        }
        let counts = outgoing.counts(1);
        assert_eq!(counts.taken, 100_000);
        assert_eq!(counts.taken, counts.sent + counts.dropped + counts.waiting);
        assert_eq!(counts.sent, found);
        assert!(found > 9_000 && counts.dropped > 80_000, "{counts:?}");
    }

    #[test]
    fn what_has_waited_too_long_goes() {
        let mut outgoing = Outgoing::new(PATIENCE, false);
        outgoing.take(1, block(0, 10), 0);
        let last = NOW + 9_000;
        outgoing.expire(last + 2_000_000_000);
        assert_eq!(outgoing.counts(1).waiting, 10);
        outgoing.expire(last + 2_000_000_001);
        let expected = Counts { taken: 10, sent: 0, dropped: 10, waiting: 0 };
        assert_eq!((outgoing.counts(1), outgoing.waiting()), (expected, 0));
        // And is told with what comes next.
        outgoing.take(1, block(10, 1), 0);
        let message = outgoing.next_batch(Duration::ZERO).unwrap();
        assert_eq!(numbers(&message), (vec![10], 10));
    }
}
