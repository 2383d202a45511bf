//! One output: the chunk that is being filled, and the file that it will be part of.

use std::time::Instant;

use crossbeam_channel::Sender;
use model::LinkType;
use pcapng::{Flags, PacketBlock, PcapRecord, PlainPacketBlock};

use crate::{
    CaptureId, Format, Series,
    budget::Budget,
    chunk::Chunk,
    encode::Shape,
    recorder::{Recorded, Track},
    writer::{Order, Portion, Tally},
};

/// Bytes of a packet's block beside the packet and its notes, rounded up: also where it tells of a loss,
/// in a number and in words.
const BLOCK_OVERHEAD: usize = 128;

/// Where encoded frames are put together.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its number at the writer.
    number: usize,
    /// Its files; `None` for a stream.
    pub(crate) series: Option<Series>,
    pub(crate) format: Format,
    pub(crate) chunk: Chunk,
    /// Where chunks go instead of to the writer.
    pub(crate) track: Option<Box<Track>>,
    /// Where blocks that are not plain are put together.
    spelled: Vec<u8>,
    /// Bytes of the present file before the chunk, and of all files.
    file_sent: u64,
    sent: u64,
    /// Since when the chunk has something in it.
    pub(crate) chunk_since: Option<Instant>,
    /// Packets in the chunk: for each seat the source that has it, and how many are that one's.
    tally: Tally,
    /// The same of sources whose seat is another's by now.
    tally_aside: Tally,
    /// The present file has no names yet, for want of an interface.
    pub(crate) names_due: bool,
    /// Interface blocks in the present file.
    pub(crate) interfaces: u32,
    /// Packets in the present file.
    pub(crate) file_packets: u64,
    /// Packets in all files.
    pub(crate) packets: u64,
    /// Latest timestamp written.
    pub(crate) latest: u64,
    /// The one link type of a pcap file.
    pub(crate) link_type: Option<LinkType>,
    /// Files opened.
    pub(crate) files: u32,
    /// Nothing has to be asked at each packet: no limit, and one file.
    pub(crate) plain: bool,
    /// Nothing that is written arrives any more.
    pub(crate) broken: bool,
    /// Its limit is reached: nothing is to be written any more.
    pub(crate) complete: bool,
    /// The present file is closed.
    pub(crate) closed: bool,
}

/// Whether a packet finds room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// In the present chunk.
    There,
    /// In a new chunk: the full one is on its way.
    Made,
    /// Nowhere.
    None,
}

/// A frame with all that its block says.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) source: CaptureId,
    /// The source's seat.
    pub(crate) seat: usize,
    /// The interface block's number.
    pub(crate) interface: u32,
    pub(crate) timestamp: u64,
    pub(crate) shape: &'a Shape<'a>,
    pub(crate) flags: Flags,
    pub(crate) lost: u64,
    pub(crate) notes: &'a [String],
}

impl Output {
    pub(crate) fn new(
        number: usize,
        series: Option<Series>,
        format: Format,
        limited: bool,
    ) -> Self {
        let plain = !limited && series.as_ref().is_none_or(Series::is_single);
        Self {
            plain,
            number,
            series,
            format,
            chunk: Chunk::default(),
            track: None,
            spelled: Vec::new(),
            file_sent: 0,
            sent: 0,
            chunk_since: None,
            tally: Tally::new(),
            tally_aside: Tally::new(),
            interfaces: 0,
            names_due: false,
            file_packets: 0,
            packets: 0,
            latest: 0,
            link_type: None,
            files: 0,
            broken: false,
            complete: false,
            closed: false,
        }
    }

    /// Makes room for a packet of `captured` bytes: by another chunk where the present one is full.
    #[inline]
    pub(crate) fn make_room(
        &mut self,
        captured: usize,
        notes: &[String],
        budget: &Budget,
        orders: &Sender<Order>,
    ) -> Room {
        let comments: usize = notes.iter().map(|note| note.len() + 8).sum();
        let needed = captured + comments + BLOCK_OVERHEAD;
        if self.chunk.room() >= needed {
            return Room::There;
        }
        if let Some(track) = &mut self.track {
            return track.make_room(&mut self.chunk, needed, self.number, orders);
        }
        // The next chunk first: the one at hand stays until there is somewhere to go on.
        let Some(next) = budget.take_chunk() else { return Room::None };
        self.send(next, orders);
        Room::Made
    }

    /// Puts a packet into the chunk, which has room.
    #[inline]
    pub(crate) fn put(&mut self, record: &Record<'_>) {
        match self.format {
            Format::Pcap => {
                let record = PcapRecord {
                    timestamp: record.timestamp,
                    original_length: record.shape.original,
                    parts: record.shape.parts(),
                };
                self.chunk.put(|free| record.write(free));
            }
            Format::Pcapng => self.put_block(record),
        }
        let portion = Portion { packets: 1, bytes: record.shape.captured as u64 };
        self.count(record.seat, record.source, portion);
        self.span(record.timestamp, record.timestamp, 1);
    }

    /// Whether nothing has to be asked or told about a packet but its block.
    #[inline]
    pub(crate) fn is_usual(&self) -> bool {
        self.plain && !self.broken && !self.complete && self.format == Format::Pcapng
    }

    /// Counts packets of a source in this seat that were put into the chunk.
    #[inline]
    pub(crate) fn count(&mut self, seat: usize, source: CaptureId, portion: Portion) {
        match self.tally.get_mut(seat) {
            // What is held is not lost with a file.
            _ if self.track.is_some() => {}
            Some((sitting, count)) if *sitting == source => *count += portion,
            _ => self.seat(seat, source, portion),
        }
        self.begin_waiting();
        self.file_packets += portion.packets;
        self.packets += portion.packets;
    }

    /// The first packets of a source in its seat.
    #[cold]
    fn seat(&mut self, seat: usize, source: CaptureId, portion: Portion) {
        if seat >= self.tally.len() {
            self.tally.resize(seat + 1, (source, Portion::default()));
        }
        let earlier = std::mem::replace(&mut self.tally[seat], (source, portion));
        if earlier.1.packets > 0 {
            self.tally_aside.push(earlier);
        }
    }

    /// The first and the last timestamp of packets that were put into the chunk.
    #[inline]
    pub(crate) fn span(&mut self, first: u64, last: u64, packets: u64) {
        if let Some(track) = &mut self.track {
            track.filling.add(first, last, packets);
        }
    }

    fn put_block(&mut self, record: &Record<'_>) {
        let Record { interface, timestamp, shape, flags, .. } = *record;
        let original_length = shape.original;
        match (shape.parts(), record.lost, record.notes) {
            ([bytes], 0, []) => {
                let block =
                    PlainPacketBlock { interface, timestamp, original_length, bytes, flags };
                self.chunk.put(|free| block.write(free));
            }
            (parts, lost, notes) => {
                let comments: Vec<&str> = notes.iter().map(String::as_str).collect();
                self.spelled.clear();
                PacketBlock {
                    interface,
                    timestamp,
                    original_length,
                    parts,
                    flags: Some(flags),
                    dropcount: (lost > 0).then_some(lost),
                    comments: &comments,
                }
                .encode(&mut self.spelled);
                self.chunk.extend(&self.spelled);
            }
        }
    }

    /// Puts blocks that are no packets behind everything so far. They are few, so where they find
    /// no room they travel on their own, outside of the budget.
    pub(crate) fn put_blocks(&mut self, bytes: Vec<u8>, orders: &Sender<Order>) {
        if let Some(track) = &mut self.track {
            // In the window there are frames only; each file begins with what else belongs to it.
            if track.file.is_some() {
                track.seal(&mut self.chunk, self.number, orders);
                track.write(bytes, self.number, orders);
            }
            return;
        }
        if self.chunk.room() >= bytes.len() {
            self.chunk.extend(&bytes);
            self.begin_waiting();
            return;
        }
        self.flush(orders);
        self.file_sent += bytes.len() as u64;
        self.sent += bytes.len() as u64;
        let order = Order::Write { output: self.number, bytes: bytes.into(), tally: Tally::new() };
        // The writer goes on until we close the queue.
        let _ = orders.send(order);
    }

    /// The chunk has something in it: its time runs.
    #[inline]
    fn begin_waiting(&mut self) {
        // A window has all the time in the world while it is not written.
        if self.chunk_since.is_none() && self.track.as_ref().is_none_or(|track| track.is_writing())
        {
            self.chunk_since = Some(Instant::now());
        }
    }

    /// Bytes in the present file.
    #[inline]
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_sent + self.chunk.len() as u64
    }

    /// Bytes in all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.sent + self.chunk.len() as u64
    }

    /// Sends what there is.
    pub(crate) fn flush(&mut self, orders: &Sender<Order>) {
        if let Some(track) = &mut self.track {
            self.chunk_since = None;
            if track.is_writing() {
                track.seal(&mut self.chunk, self.number, orders);
            }
            return;
        }
        self.send(Chunk::default(), orders);
    }

    fn send(&mut self, next: Chunk, orders: &Sender<Order>) {
        let bytes = std::mem::replace(&mut self.chunk, next);
        self.chunk_since = None;
        self.file_sent += bytes.len() as u64;
        self.sent += bytes.len() as u64;
        if bytes.size() > 0 {
            let mut tally = std::mem::take(&mut self.tally_aside);
            tally.extend(self.tally.iter().filter(|(_, count)| count.packets > 0));
            self.tally.iter_mut().for_each(|(_, count)| *count = Portion::default());
            let _ = orders.send(Order::Write { output: self.number, bytes, tally });
        }
    }

    /// It will not be written to any more: lets go of all that is only needed for that.
    pub(crate) fn retire(&mut self) {
        let (number, format) = (self.number, self.format);
        *self = Self { complete: true, closed: true, ..Self::new(number, None, format, true) };
    }

    /// What a recorder did here.
    pub(crate) fn recorded(&self) -> Option<Recorded> {
        self.track.as_ref().map(|track| track.recorded())
    }

    /// Its number at the writer.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Whether it has no file at present: none yet, or none since its last one was closed.
    pub(crate) fn is_unopened(&self) -> bool {
        self.closed || self.files == 0
    }

    /// Begins a file: what was counted for the last one is over.
    pub(crate) fn begin_file(&mut self) {
        self.interfaces = 0;
        self.names_due = true;
        self.file_sent = 0;
        self.file_packets = 0;
        self.files += 1;
        self.closed = false;
    }
}
