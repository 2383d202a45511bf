//! What becomes of one frame.
//!
//! All of what runs for each frame stands in this file, so that it can become one loop.

use filter::{Packet, Plan, VlanTag};
use model::LinkType;
use pcapng::PlainPacketBlock;
use sys::ring::{Block, Device, Frame, View};

use super::{Desk, FILES, PRINT};
use crate::{
    clock,
    encode::{self, Scratch, Shape},
    lane::Run,
    output::{Record, Room},
    writer::Portion,
};

impl Desk {
    /// What becomes of frames whose turn has come: how many are gone. Those behind have to wait.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        source: usize,
        block: &Block,
        run: Run<'_>,
        mut lost: u64,
    ) -> usize {
        let block = block.view();
        let mut gone = 0;
        while !self.ordered {
            if lost == 0 {
                gone += self.deliver_usual(source, block, run, gone);
            }
            let Some(entry) = run.get(gone) else { break };
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
    /// has no limit to watch, in one piece, from this one of the run on. Ends at the first one of
    /// which that is not so, or which finds no room.
    ///
    /// Not inlined: the loop needs all the places for values that a processor has.
    #[inline(never)]
    fn deliver_usual(
        &mut self,
        index: usize,
        block: View<'_>,
        run: Run<'_>,
        first: usize,
    ) -> usize {
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
        let Some(earliest) = run.get(first).map(|entry| entry.timestamp) else { return 0 };
        if earliest < output.latest {
            // It is late, and to be counted. Behind one that is not, none of a run is.
            return 0;
        }
        let device = Device::new(slot.interface.index, slot.interface.hatype);
        let snaplen = plan.snaplen().bytes();
        let (mut gone, mut kept, mut latest) = (0, 0, earliest);
        let mut room = output.chunk.room_left();
        // What is added up or looked up for each frame takes a place in the processor, and there are
        // few: so whatever is rare ends the loop.
        while let Some(entry) = run.get(first + gone) {
            block.expect(run.soon(entry));
            let Some(frame) = block.frame(entry.offset) else { break };
            let (bytes, original_length) = (frame.data(), frame.original_length());
            let captured = bytes.len();
            let is_usual = frame.device() == device
                && frame.vlan().is_none()
                && captured == original_length.min(snaplen) as usize;
            if !is_usual {
                break;
            }
            let (timestamp, flags) = (entry.timestamp, encode::flags(&frame));
            let packet = PlainPacketBlock { interface, timestamp, original_length, bytes, flags };
            let Some(length) = packet.write(room.free()) else { break };
            room.take(length);
            latest = timestamp;
            kept += captured as u64;
            gone += 1;
        }
        room.close();
        if gone == 0 {
            return 0;
        }
        output.latest = latest;
        output.count(index, source.id, Portion { packets: gone as u64, bytes: kept });
        output.span(earliest, latest, gone as u64);
        if let Some(slot) = source.recent_slot() {
            slot.received += gone as u64;
            slot.captured += gone as u64;
        }
        source.stats.captured += gone as u64;
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
        match self.room(output, source, shape.captured) {
            Room::There => {}
            Room::Made => self.ordered = true,
            Room::None => return false,
        }
        let origin = &mut self.sources[source];
        let out = &mut self.outputs[output];
        let Some(interface) = origin.slots[slot].numbers[FILES] else {
            // A link type that the format cannot hold: the ending says so.
            return false;
        };
        let lost = origin.lost + lost;
        let with_loss: Vec<String>;
        let notes = if lost == 0 {
            &origin.notes
        } else {
            with_loss = origin.notes.iter().cloned().chain([told_loss(lost)]).collect();
            &with_loss
        };
        let late = timestamp < out.latest;
        let record = Record {
            source: origin.id,
            seat: source,
            interface,
            timestamp,
            shape: &shape,
            flags: encode::flags(frame),
            lost,
            notes,
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
            if self.recorder.is_some() {
                self.watch(output, frame, &shape, link_type, clock::now());
            }
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
}

/// Beside `epb_dropcount`, which few programs show. There is room for it beside each packet.
#[cold]
fn told_loss(lost: u64) -> String {
    match lost {
        1 => "1 packet lost before this one".to_owned(),
        _ => format!("{lost} packets lost before this one"),
    }
}

/// The expression, where the kernel has not evaluated it.
#[cold]
fn is_wanted(plan: &Plan, judge_all: bool, frame: &Frame<'_>, shape: &Shape<'_>) -> bool {
    !judge_all && plan.kernel_decides(frame.hatype()) || accepts(plan, frame, shape)
}

/// Whether an expression accepts a frame.
pub(crate) fn accepts(plan: &Plan, frame: &Frame<'_>, shape: &Shape<'_>) -> bool {
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
