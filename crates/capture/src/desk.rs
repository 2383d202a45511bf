//! The reader's desk: sources on one side, outputs on the other, and what happens to one frame
//! between them.

use std::{fs::File, net::IpAddr, path::PathBuf, sync::Arc};

use crossbeam_channel::Sender;
use filter::{Packet, Plan, VlanTag};
use model::LinkType;
use pcapng::PlainPacketBlock;
use sys::{
    poll::Waker,
    ring::{Block, Frame},
};

use crate::{
    Config, Destination, Ending, Error, Event, FileName, Format, Limit, Series, Snapshot,
    budget::Budget,
    clock,
    config::SectionText,
    encode::{self, Scratch, Shape},
    lane::Entry,
    output::{Output, Record, Room},
    rotation::{Opening, Turn},
    source::{OUTPUTS, Source},
    writer::{Order, Outcome, Tally},
};

/// Which of a source's outputs.
const FILES: usize = 0;
const PRINT: usize = 1;

/// Who hears of events.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) events: Sender<Event>,
    pub(crate) listener: Waker,
}

impl Told {
    fn tell(&self, event: Event) {
        // Nobody listens any more when the session has ended in a panic.
        let _ = self.events.send(event);
        self.listener.wake();
    }
}

/// Everything that frames meet on their way, but the rings.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) sources: Vec<Source>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) names: Vec<(IpAddr, String)>,
    pub(crate) ending: Option<Ending>,
    plan: Arc<Plan>,
    budget: Arc<Budget>,
    orders: Sender<Order>,
    events: Told,
    split: Option<FileName>,
    format: Format,
    rotation: crate::Rotation,
    autostop: crate::Autostop,
    link_type: Option<LinkType>,
    section: SectionText,
    expression: String,
    print: Option<usize>,
    /// A full chunk was ordered to be written.
    ordered: bool,
}

impl Desk {
    pub(crate) fn new(
        config: Config,
        budget: Arc<Budget>,
        orders: Sender<Order>,
        events: Told,
    ) -> Self {
        let mut desk = Self {
            sources: Vec::new(),
            outputs: Vec::new(),
            names: Vec::new(),
            ending: None,
            plan: config.plan,
            budget,
            orders,
            events,
            split: None,
            format: config.format,
            rotation: config.rotation,
            autostop: config.autostop,
            link_type: config.link_type,
            section: config.section,
            expression: config.expression,
            print: None,
            ordered: false,
        };
        match config.destination {
            Destination::Files { name, split: true } => desk.split = Some(name),
            Destination::Files { name, split: false } => {
                desk.add_series(name, None);
            }
            Destination::Stream { file, name } => {
                desk.add_stream(file, name, config.format);
            }
        }
        if let Some(file) = config.print {
            desk.print = Some(desk.add_stream(file, "the printing program".into(), Format::Pcapng));
        }
        desk
    }

    fn add_series(&mut self, name: FileName, target: Option<String>) -> usize {
        let series = Series::new(name, target, self.rotation.clone(), self.autostop.clone());
        let output = self.outputs.len();
        let limited = self.autostop.packets.is_some();
        self.outputs.push(Output::new(output, Some(series), self.format, limited));
        self.open(output, clock::now());
        output
    }

    fn add_stream(&mut self, file: File, path: PathBuf, format: Format) -> usize {
        let output = self.outputs.len();
        let limited = self.autostop.packets.is_some();
        self.outputs.push(Output::new(output, None, format, limited));
        self.order(Order::Stream { output, file, path });
        self.open(output, clock::now());
        output
    }

    /// Whether a full chunk was ordered to be written since the last call.
    #[inline]
    pub(crate) fn take_ordered(&mut self) -> bool {
        std::mem::take(&mut self.ordered)
    }

    fn order(&self, order: Order) {
        // The writer goes on until we close the queue.
        let _ = self.orders.send(order);
    }

    pub(crate) fn tell(&self, event: Event) {
        self.events.tell(event);
    }

    /// The outputs for a new source of this name.
    pub(crate) fn outputs_for(&mut self, name: &str) -> [Option<usize>; OUTPUTS] {
        let files = match self.split.clone() {
            Some(file_name) => self.add_series(file_name, Some(name.to_owned())),
            None => 0,
        };
        [Some(files), self.print]
    }

    /// Takes a source in, and describes its interfaces in its outputs.
    pub(crate) fn add(&mut self, source: Source) -> usize {
        let index = self.sources.len();
        self.sources.push(source);
        self.look(index);
        index
    }

    /// Asks a source for its interfaces, and describes those that are new or different.
    pub(crate) fn look(&mut self, source: usize) {
        let new = self.sources[source].look(self.link_type);
        for slot in new {
            self.describe(source, slot);
            if let Some(index) = self.sources[source].bind_next(slot) {
                let id = self.sources[source].id;
                self.tell(Event::InterfaceCame { id, index });
            }
        }
    }

    /// Puts a slot's interface block into each output of its source.
    fn describe(&mut self, source: usize, slot: usize) {
        for which in [FILES, PRINT] {
            let Some(output) = self.sources[source].outputs[which] else { continue };
            let mut bytes = Vec::new();
            self.number(source, slot, which, &mut bytes);
            let output = &mut self.outputs[output];
            if !bytes.is_empty() && !output.closed {
                output.put_blocks(bytes, &self.orders);
            }
        }
    }

    /// Gives a slot its number in an output's present file, and appends its block.
    fn number(&mut self, source: usize, slot: usize, which: usize, bytes: &mut Vec<u8>) {
        let source = &mut self.sources[source];
        let Some(output) = source.outputs[which] else { return };
        let output = &mut self.outputs[output];
        match output.format {
            Format::Pcap => {
                // The first interface of all decides.
                let link_type = source.slots[slot].link_type;
                match output.link_type {
                    None => {
                        output.link_type = Some(link_type);
                        pcap_header(link_type, &self.plan).encode(bytes);
                    }
                    Some(first) if first != link_type => {
                        let interface = full_name(source, slot);
                        let error = Error::LinkTypesDiffer { interface, other: link_type, first };
                        self.ending.get_or_insert(Ending::Failed(error));
                        return;
                    }
                    Some(_) => {}
                }
                source.slots[slot].numbers[which] = Some(0);
            }
            Format::Pcapng => {
                let earlier = source.slots[..slot]
                    .iter()
                    .rev()
                    .find(|other| other.interface.index == source.slots[slot].interface.index)
                    .and_then(|other| other.numbers[which]);
                encode::interface_block(
                    source,
                    slot,
                    earlier,
                    self.plan.snaplen(),
                    &self.expression,
                    &self.section.os,
                    bytes,
                );
                source.slots[slot].numbers[which] = Some(output.interfaces);
                output.interfaces += 1;
            }
        }
    }

    /// Begins a file, or the stream: header, the interfaces in use, names.
    fn open(&mut self, output: usize, now: u64) {
        let out = &mut self.outputs[output];
        let opening = out.series.as_mut().map(|series| series.open(now));
        out.begin_file(opening.as_ref().map(|opening| opening.path.clone()));
        let number = out.number();
        if let Some(opening) = opening {
            if let Some(path) = opening.remove.clone() {
                self.order(Order::Remove { path });
            }
            let Opening { path, existing, .. } = opening;
            self.order(Order::Open { output: number, path, existing });
        }
        let mut bytes = Vec::new();
        match (self.outputs[output].format, self.outputs[output].link_type) {
            (Format::Pcapng, _) => encode::section(&self.section, &mut bytes),
            (Format::Pcap, Some(link_type)) => {
                pcap_header(link_type, &self.plan).encode(&mut bytes);
            }
            (Format::Pcap, None) => {}
        }
        for source in 0..self.sources.len() {
            for which in [FILES, PRINT] {
                if self.sources[source].outputs[which] != Some(output) {
                    continue;
                }
                for slot in 0..self.sources[source].slots.len() {
                    self.sources[source].slots[slot].numbers[which] = None;
                    if !self.sources[source].ended && is_in_force(&self.sources[source], slot) {
                        self.number(source, slot, which, &mut bytes);
                    }
                }
            }
        }
        if self.outputs[output].format == Format::Pcapng {
            encode::names(&self.names, &mut bytes);
        }
        self.outputs[output].put_blocks(bytes, &self.orders);
    }

    /// Ends the present file: statistics, and what is still in the chunk.
    fn close(&mut self, output: usize, rotated: bool) {
        let mut bytes = Vec::new();
        if self.outputs[output].format == Format::Pcapng {
            for source in 0..self.sources.len() {
                if !self.sources[source].ended {
                    self.statistics(source, output, &mut bytes);
                }
            }
        } else if self.outputs[output].link_type.is_none() {
            // Nothing was ever attached: an empty file is a file all the same.
            pcap_header(LinkType::ETHERNET, &self.plan).encode(&mut bytes);
        }
        let out = &mut self.outputs[output];
        if !bytes.is_empty() {
            out.put_blocks(bytes, &self.orders);
        }
        out.flush(&self.orders);
        out.closed = true;
        let number = out.number();
        self.order(Order::Close { output: number, rotated });
    }

    /// The statistics of a source's interfaces in an output's present file.
    fn statistics(&mut self, source: usize, output: usize, bytes: &mut Vec<u8>) {
        let source = &mut self.sources[source];
        if source.live.is_some() {
            source.lost += source.count();
            source.until = clock::now();
        }
        for which in [FILES, PRINT] {
            if source.outputs[which] == Some(output) {
                encode::statistics(source, which, bytes);
            }
        }
    }

    /// Ends every file.
    pub(crate) fn close_all(&mut self) {
        for output in 0..self.outputs.len() {
            if !self.outputs[output].closed {
                self.close(output, false);
            }
        }
    }

    /// Ends a source: everything of it is in the files, but its statistics.
    pub(crate) fn end(&mut self, source: usize) {
        for output in 0..self.outputs.len() {
            if self.outputs[output].format == Format::Pcapng && !self.outputs[output].closed {
                let mut bytes = Vec::new();
                self.statistics(source, output, &mut bytes);
                if !bytes.is_empty() {
                    self.outputs[output].put_blocks(bytes, &self.orders);
                }
            }
        }
        self.sources[source].ended = true;
        if self.split.is_some() && self.ending.is_none() {
            // Its own files are complete. The stream for printing is shared.
            if let Some(output) = self.sources[source].outputs[FILES]
                && !self.outputs[output].closed
            {
                self.close(output, false);
                self.outputs[output].complete = true;
            }
        }
        self.tell(Event::Detached(self.sources[source].report()));
    }

    /// New names for addresses: into every file from now on.
    pub(crate) fn set_names(&mut self, names: Vec<(IpAddr, String)>) {
        let fresh: Vec<_> =
            names.iter().filter(|name| !self.names.contains(name)).cloned().collect();
        self.names = names;
        if fresh.is_empty() {
            return;
        }
        for output in &mut self.outputs {
            if output.format == Format::Pcapng && !output.closed {
                let mut bytes = Vec::new();
                encode::names(&fresh, &mut bytes);
                output.put_blocks(bytes, &self.orders);
            }
        }
    }

    /// What becomes of frames whose turn has come: how many are gone. Those behind have to wait.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        source: usize,
        block: &Block,
        entries: &[Entry],
        mut lost: u64,
    ) -> usize {
        let mut gone = 0;
        while gone < entries.len() && !self.ordered {
            if lost == 0 {
                gone += self.deliver_usual(source, block, &entries[gone..]);
            }
            let Some(entry) = entries.get(gone) else { break };
            if let Some(frame) = block.frame(entry.offset) {
                if !self.deliver_any(source, &frame, lost) {
                    break;
                }
                lost = 0;
            }
            gone += 1;
        }
        gone
    }

    /// The same for frames of which nothing special is to be told, on their way to an output that
    /// has no limit to watch, in one piece. Ends at the first one of which that is not so.
    fn deliver_usual(&mut self, index: usize, block: &Block, entries: &[Entry]) -> usize {
        let Self { sources, outputs, plan, ending, .. } = self;
        let source = &mut sources[index];
        let [Some(output), None] = source.outputs else { return 0 };
        let output = &mut outputs[output];
        if source.judge_all
            || source.lost > 0
            || !source.notes.is_empty()
            || !output.is_usual()
            || ending.as_ref().is_some_and(|ending| !ending.writes_the_rest())
        {
            return 0;
        }
        let Some(slot) = source.recent_slot() else { return 0 };
        let Some(interface) = slot.numbers[FILES] else { return 0 };
        if slot.link_type == LinkType::LINUX_SLL2 {
            return 0;
        }
        let (device, hatype) = (slot.interface.index, slot.interface.hatype);
        let snaplen = plan.snaplen().bytes();
        let (mut gone, mut kept, mut late, mut truncated) = (0, 0, 0, 0);
        for entry in entries {
            let Some(frame) = block.frame(entry.offset) else { break };
            let (bytes, original_length) = (frame.data(), frame.original_length());
            let captured = bytes.len();
            let is_usual = frame.interface_index() == device
                && frame.hatype() == hatype
                && frame.vlan().is_none()
                && captured <= snaplen as usize;
            if !is_usual || !output.fits(captured) {
                break;
            }
            let (timestamp, flags) = (entry.timestamp, encode::flags(&frame));
            output.put_plain(&PlainPacketBlock {
                interface,
                timestamp,
                original_length,
                bytes,
                flags,
            });
            late += u64::from(timestamp < output.latest);
            output.latest = output.latest.max(timestamp);
            truncated += u64::from(captured < original_length.min(snaplen) as usize);
            kept += captured as u64;
            gone += 1;
        }
        if gone == 0 {
            return 0;
        }
        output.count(index, gone as u64);
        if let Some(slot) = source.recent_slot() {
            slot.received += gone as u64;
            slot.captured += gone as u64;
        }
        source.stats.captured += gone as u64;
        source.stats.out_of_order += late;
        source.stats.truncated += truncated;
        source.bytes += kept;
        gone
    }

    fn deliver_any(&mut self, source: usize, frame: &Frame<'_>, lost: u64) -> bool {
        let Some(output) = self.sources[source].outputs[FILES] else { return true };
        let timestamp = frame.timestamp();
        if !self.outputs[output].plain && !self.turn_before(output, timestamp) {
            return false;
        }
        let slot = match self.sources[source].slot_of(frame.interface_index(), frame.hatype()) {
            Some(slot) => slot,
            None => self.meet(source, frame),
        };
        let origin = &mut self.sources[source];
        let link_type = origin.slots[slot].link_type;
        let mut scratch = Scratch::default();
        let snaplen = self.plan.snaplen().bytes() as usize;
        let shape = Shape::of(frame, link_type, snaplen, &mut scratch);
        if (origin.judge_all || link_type == LinkType::LINUX_SLL2)
            && !is_wanted(&self.plan, origin.judge_all, frame, &shape)
        {
            origin.stats.refused += 1;
            origin.slots[slot].received += 1;
            origin.lost += lost;
            return true;
        }
        if self.ending.as_ref().is_some_and(|ending| !ending.writes_the_rest()) {
            return false;
        }
        let out = &mut self.outputs[output];
        if out.complete || out.broken {
            origin.slots[slot].received += 1;
            // Behind a limit nothing is wanted any more; a broken output has lost what was.
            if out.complete {
                origin.stats.discarded += 1;
            } else {
                origin.stats.dropped_by_us += 1;
            }
            return true;
        }
        match out.make_room(shape.captured, &origin.notes, &self.budget, &self.orders) {
            Room::There => {}
            Room::Made => self.ordered = true,
            Room::None => return false,
        }
        let Some(interface) = origin.slots[slot].numbers[FILES] else {
            // A link type that the format cannot hold: the ending says so.
            return false;
        };
        let lost = origin.lost + lost;
        let late = timestamp < out.latest;
        let record = Record {
            source,
            interface,
            timestamp,
            shape: &shape,
            flags: encode::flags(frame),
            lost,
            notes: &origin.notes,
        };
        out.put(&record);
        out.latest = out.latest.max(timestamp);
        if let Some(print) = origin.outputs[PRINT] {
            let printed = &mut self.outputs[print];
            if let Some(interface) = origin.slots[slot].numbers[PRINT]
                && !printed.broken
                && printed.make_room(shape.captured, &origin.notes, &self.budget, &self.orders)
                    != Room::None
            {
                printed.put(&Record { interface, ..record });
            }
        }
        origin.lost = 0;
        origin.notes.clear();
        origin.stats.captured += 1;
        origin.stats.out_of_order += u64::from(late);
        let kept = u32::try_from(shape.captured).unwrap_or(u32::MAX);
        let expected = shape.original.min(self.plan.snaplen().bytes());
        origin.stats.truncated += u64::from(kept < expected);
        origin.bytes += u64::from(kept);
        let slot = &mut origin.slots[slot];
        slot.received += 1;
        slot.captured += 1;
        if !self.outputs[output].plain {
            self.turn_after(output);
        }
        true
    }

    /// A frame of an interface that is not known yet: it came up a moment ago.
    #[cold]
    fn meet(&mut self, source: usize, frame: &Frame<'_>) -> usize {
        self.look(source);
        let (index, hatype) = (frame.interface_index(), frame.hatype());
        if let Some(slot) = self.sources[source].slot_of(index, hatype) {
            return slot;
        }
        let slot = self.sources[source].add_unknown(index, hatype, self.link_type);
        self.describe(source, slot);
        slot
    }

    #[cold]
    fn turn_before(&mut self, output: usize, timestamp: u64) -> bool {
        let out = &mut self.outputs[output];
        let bytes = out.file_bytes();
        match out.series.as_mut().map(|series| series.before_packet(timestamp, bytes)) {
            Some(turn) => self.turn(output, turn, timestamp),
            None => true,
        }
    }

    #[cold]
    fn turn_after(&mut self, output: usize) {
        let out = &self.outputs[output];
        if let Some(packets) = self.autostop.packets {
            // Each series has its own limit where there are several.
            if out.packets >= packets {
                self.reach(output, Limit::Packets(packets));
                return;
            }
        }
        let turn = out
            .series
            .as_ref()
            .map_or(Turn::Stay, |series| series.after_packet(out.file_bytes(), out.file_packets));
        self.turn(output, turn, clock::now());
    }

    fn turn(&mut self, output: usize, turn: Turn, now: u64) -> bool {
        match turn {
            Turn::Stay => true,
            Turn::Next => {
                self.close(output, true);
                self.open(output, now);
                true
            }
            Turn::End(limit) => {
                if matches!(limit, Limit::Files(_)) {
                    self.close(output, true);
                }
                self.reach(output, limit);
                false
            }
        }
    }

    /// A limit is reached: of the session, or of one series among several.
    fn reach(&mut self, output: usize, limit: Limit) {
        self.outputs[output].complete = true;
        let printed = self.print;
        let all = self
            .outputs
            .iter()
            .enumerate()
            .all(|(index, output)| output.complete || Some(index) == printed);
        if all {
            self.ending.get_or_insert(Ending::Limit(limit));
        }
    }

    /// Switches files whose time has come. Gives the next such time.
    pub(crate) fn turn_by_clock(&mut self, now: u64) -> Option<u64> {
        let mut next = None;
        for output in 0..self.outputs.len() {
            let out = &self.outputs[output];
            let Some(ends_at) = out.series.as_ref().and_then(Series::ends_at) else { continue };
            if out.complete || self.ending.is_some() {
                continue;
            }
            if ends_at <= now {
                let turn = out.series.as_ref().map_or(Turn::Stay, Series::next);
                self.turn(output, turn, now);
            }
            let ends_at = self.outputs[output].series.as_ref().and_then(Series::ends_at);
            next = [next, ends_at].into_iter().flatten().min();
        }
        next
    }

    /// Hears what the writer tells.
    pub(crate) fn hear(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done { path, rotated } => self.tell(Event::FileDone { path, rotated }),
            Outcome::Lost { output, tally } => self.take_back(output, &tally),
            Outcome::Broken { output, error, pipe_closed } => {
                self.outputs[output].broken = true;
                if Some(output) == self.print {
                    // Who prints has seen enough; the file goes on.
                    return;
                }
                let ending = if pipe_closed { Ending::PipeClosed } else { Ending::Failed(error) };
                self.ending.get_or_insert(ending);
            }
            Outcome::NoRoom { path, free, keep } => {
                self.ending.get_or_insert(Ending::NoRoom { path, free, keep });
            }
        }
    }

    /// Frames that were counted as captured did not arrive.
    fn take_back(&mut self, output: usize, tally: &Tally) {
        if Some(output) == self.print {
            return;
        }
        let pipe_closed = matches!(self.ending, Some(Ending::PipeClosed));
        for &(source, count) in tally {
            let stats = &mut self.sources[source].stats;
            stats.captured -= count;
            // Who closes a pipe has seen enough.
            if pipe_closed {
                stats.discarded += count;
            } else {
                stats.dropped_by_us += count;
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        for output in &mut self.outputs {
            output.flush(&self.orders);
        }
    }

    /// Where everything stands.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let files = || {
            let printed = self.print;
            self.outputs.iter().enumerate().filter(move |(index, _)| Some(*index) != printed)
        };
        let sources: Vec<_> = self.sources.iter().map(Source::report).collect();
        Snapshot {
            packets: sources.iter().map(|source| source.stats.captured).sum(),
            sources,
            bytes: files().map(|(_, output)| output.bytes()).sum(),
            file: files().filter_map(|(_, output)| output.path.clone()).next_back(),
            files: files().map(|(_, output)| output.files).sum(),
        }
    }
}

fn pcap_header(link_type: LinkType, plan: &Plan) -> pcapng::PcapHeader {
    pcapng::PcapHeader { link_type: link_type.0, snaplen: plan.snaplen().bytes() }
}

/// `web/eth0`.
fn full_name(source: &Source, slot: usize) -> String {
    format!("{}/{}", source.identity.name, source.slots[slot].interface.name)
}

/// Whether a slot is the last description of its interface.
fn is_in_force(source: &Source, slot: usize) -> bool {
    let index = source.slots[slot].interface.index;
    !source.slots[slot + 1..].iter().any(|later| later.interface.index == index)
}

/// The expression, where the kernel has not evaluated it.
#[cold]
fn is_wanted(plan: &Plan, judge_all: bool, frame: &Frame<'_>, shape: &Shape<'_>) -> bool {
    if !judge_all && plan.kernel_decides(frame.hatype()) {
        return true;
    }
    let link_type = LinkType::of(frame.hatype()).unwrap_or(LinkType::LINUX_SLL2);
    let cooked = link_type == LinkType::LINUX_SLL2;
    let written = if cooked { shape.joined() } else { Vec::new() };
    let packet = Packet {
        data: if cooked { &written } else { frame.data() },
        original_length: if cooked { shape.original } else { frame.original_length() },
        network_offset: if cooked {
            20
        } else {
            u32::try_from(frame.network_offset()).unwrap_or(0)
        },
        protocol: frame.protocol(),
        packet_type: frame.packet_type(),
        interface_index: frame.interface_index(),
        hatype: frame.hatype(),
        vlan: if cooked { None } else { frame.vlan().map(|(tci, tpid)| VlanTag { tci, tpid }) },
    };
    plan.accepts(link_type, &packet) > 0
}
