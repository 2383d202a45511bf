//! When files begin, turn and end, and what stands in them beside frames.

use filter::Plan;
use model::LinkType;

use super::{Desk, FILES, PRINT};
use crate::{
    Ending, Error, Format, Limit, Series, clock,
    encode::{self, Earlier},
    rotation::{Opening, Turn},
    writer::Order,
};

impl Desk {
    /// Puts a slot's interface block into each output of its source.
    pub(super) fn describe(&mut self, source: usize, slot: usize) {
        for which in [FILES, PRINT] {
            let Some(output) = self.sources[source].outputs[which] else { continue };
            // In a file that was opened meanwhile it stands already.
            if self.sources[source].slots[slot].numbers[which].is_some() {
                continue;
            }
            let mut bytes = Vec::new();
            self.number(source, slot, which, &mut bytes);
            let output = &mut self.outputs[output];
            if let Some(track) = &mut output.track {
                track.described.extend_from_slice(&bytes);
            }
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
                        let interface = &source.slots[slot].interface;
                        let interface = encode::full_name(&source.identity, interface);
                        let error = Error::LinkTypesDiffer { interface, other: link_type, first };
                        self.ending.get_or_insert(Ending::Failed(error));
                        return;
                    }
                    Some(_) => {}
                }
                source.slots[slot].numbers[which] = Some(0);
            }
            Format::Pcapng => {
                let interface = &source.slots[slot].interface;
                let described = source.slots[..slot]
                    .iter()
                    .rfind(|other| other.interface.index == interface.index);
                let earlier = match described {
                    Some(other) => other.numbers[which].map(Earlier::Description),
                    None => source.heritage.number(&interface.name, which).map(Earlier::Namespace),
                };
                encode::interface_block(
                    source,
                    slot,
                    earlier,
                    self.plan.snaplen(),
                    &self.expression,
                    &self.section,
                    bytes,
                );
                source.slots[slot].numbers[which] = Some(output.interfaces);
                output.interfaces += 1;
            }
        }
    }

    /// Begins a file, or the stream: header, the interfaces in use, names.
    pub(super) fn open(&mut self, output: usize, now: u64) {
        let out = &mut self.outputs[output];
        let opening = out.series.as_mut().map(|series| series.open(now, &mut self.file_names));
        out.begin_file();
        let number = out.number();
        if let Some(opening) = opening {
            self.file = Some(opening.path.clone());
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
        self.estates.values_mut().for_each(|estate| estate.forget_file(output));
        for at in 0..self.present.len() {
            let index = self.present[at];
            for which in [FILES, PRINT] {
                let source = &mut self.sources[index];
                if source.outputs[which] != Some(output) {
                    continue;
                }
                source.heritage.forget_file(output);
                source.slots.iter_mut().for_each(|slot| slot.numbers[which] = None);
                source.forget_slots(FILES);
                for slot in 0..self.sources[index].slots.len() {
                    if self.sources[index].is_in_force(slot) {
                        self.number(index, slot, which, &mut bytes);
                    }
                }
            }
        }
        self.outputs[output].put_blocks(bytes, &self.orders);
        self.put_names_due(output);
    }

    /// Puts all names into a file that has none yet, once it has an interface: what Wireshark takes
    /// for a file's encapsulation is what stands before everything else.
    pub(super) fn put_names_due(&mut self, output: usize) {
        let out = &mut self.outputs[output];
        if out.names_due && out.interfaces > 0 && out.format == Format::Pcapng && !out.closed {
            out.names_due = false;
            let mut bytes = Vec::new();
            encode::names(&self.names, &mut bytes);
            out.put_blocks(bytes, &self.orders);
        }
    }

    /// Ends the present file: statistics, and what is still in the chunk.
    pub(super) fn close(&mut self, output: usize, rotated: bool) {
        let mut bytes = Vec::new();
        if self.outputs[output].format == Format::Pcapng {
            if self.outputs[output].interfaces == 0 {
                // Nothing was ever attached, and readers refuse a file without an interface.
                encode::no_interface(self.plan.snaplen(), &mut bytes);
            }
            for at in 0..self.present.len() {
                let source = self.present[at];
                for which in [FILES, PRINT] {
                    if self.sources[source].outputs[which] == Some(output) {
                        self.statistics(source, which, &[], &mut bytes);
                    }
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

    /// The statistics of a source's interfaces in the present file of one of its outputs.
    pub(crate) fn statistics(
        &mut self,
        source: usize,
        which: usize,
        notes: &[String],
        bytes: &mut Vec<u8>,
    ) {
        let source = &mut self.sources[source];
        if source.live.is_some() {
            source.lost += source.count();
            source.until = clock::now();
        }
        let is_pcapng = |output: usize| self.outputs[output].format == Format::Pcapng;
        if source.outputs[which].is_some_and(is_pcapng) {
            encode::statistics(source, which, notes, bytes);
        }
    }

    /// Ends every file.
    pub(crate) fn close_all(&mut self) {
        if self.recorder.is_some() {
            self.end_records(clock::now());
            return;
        }
        for output in 0..self.outputs.len() {
            if !self.outputs[output].closed {
                self.close(output, false);
            }
        }
    }

    #[cold]
    pub(super) fn turn_before(&mut self, output: usize, timestamp: u64) -> bool {
        let out = &mut self.outputs[output];
        let bytes = out.file_bytes();
        match out.series.as_mut().map(|series| series.before_packet(timestamp, bytes)) {
            Some(turn) => self.turn(output, turn, timestamp),
            None => true,
        }
    }

    #[cold]
    pub(super) fn turn_after(&mut self, output: usize) {
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
                // A file of nobody would have no interface. Who comes next opens it.
                if !self.is_vacant(output) {
                    self.open(output, now);
                }
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
            if out.complete || out.closed || self.ending.is_some() {
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
}

fn pcap_header(link_type: LinkType, plan: &Plan) -> pcapng::PcapHeader {
    pcapng::PcapHeader { link_type: link_type.0, snaplen: plan.snaplen().bytes() }
}
