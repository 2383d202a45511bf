use model::FrameParts;

use super::{
    BLOCK_FIRST, BLOCK_FRAMES, BLOCK_HEADER, BLOCK_LAST, BLOCK_USED, Block, FRAME_HEADER, Store,
    frame::TP_STATUS_GSO_TCP,
};

/// Puts a block together out of frames that no ring of this machine has seen, so that whoever reads
/// rings reads these as well.
#[derive(Debug)]
pub struct Assembly {
    bytes: Vec<u8>,
    frames: u32,
    last: u64,
}

impl Default for Assembly {
    fn default() -> Self {
        Self { bytes: vec![0; BLOCK_HEADER], frames: 0, last: 0 }
    }
}

impl Assembly {
    /// Appends a frame. `false`: it has no room, because blocks have 4 GiB at the most.
    pub fn push(&mut self, parts: &FrameParts<'_>) -> bool {
        let length = FRAME_HEADER + parts.data.len();
        let (Ok(next), Ok(kept), true) = (
            u32::try_from(length),
            u32::try_from(parts.data.len()),
            u32::try_from(self.bytes.len() + length).is_ok(),
        ) else {
            return false;
        };
        let mut header = [0; FRAME_HEADER];
        let (seconds, nanoseconds) = split(parts.timestamp);
        let mut status = 0;
        for (is_so, flag) in [
            (parts.checksum_not_ready, libc::TP_STATUS_CSUMNOTREADY),
            (parts.checksum_valid, libc::TP_STATUS_CSUM_VALID),
            (parts.tcp_segmentation, TP_STATUS_GSO_TCP),
            (parts.vlan.is_some(), libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID),
        ] {
            status |= if is_so { flag } else { 0 };
        }
        let words =
            [(0, next), (4, seconds), (8, nanoseconds), (12, kept), (16, parts.original_length)];
        for (at, word) in words.into_iter().chain([(20, status), (52, parts.interface)]) {
            header[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        // Behind the headers stand the bytes at once: nobody reads them as words.
        let mac = u16::try_from(FRAME_HEADER).unwrap_or(u16::MAX);
        let (control, tpid) = parts.vlan.unwrap_or_default();
        for (at, half) in [
            (24, mac),
            (26, mac.saturating_add(parts.network_offset)),
            (32, control),
            (36, tpid),
            (50, parts.protocol.to_be()),
            (56, parts.hatype.0),
        ] {
            header[at..at + 2].copy_from_slice(&half.to_ne_bytes());
        }
        let address = &parts.address[..parts.address.len().min(8)];
        header[58] = parts.packet_type.raw();
        header[59] = u8::try_from(address.len()).unwrap_or(8);
        header[60..60 + address.len()].copy_from_slice(address);
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(parts.data);
        self.frames += 1;
        self.last = parts.timestamp;
        true
    }

    /// The block, which occupies no ring; `losing` as of [`Block::is_losing`].
    #[must_use]
    pub fn finish(mut self, losing: bool) -> Block {
        let used = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let first = u32::try_from(BLOCK_HEADER).unwrap_or(0);
        let (seconds, nanoseconds) = split(self.last);
        for (at, word) in [
            (BLOCK_FRAMES, self.frames),
            (BLOCK_FIRST, first),
            (BLOCK_USED, used),
            (BLOCK_LAST, seconds),
            (BLOCK_LAST + 4, nanoseconds),
        ] {
            self.bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        let size = self.bytes.len();
        Block { store: Store::Heap(self.bytes.into()), size, losing }
    }
}

/// Seconds and nanoseconds as a ring has them.
fn split(timestamp: u64) -> (u32, u32) {
    const SECOND: u64 = 1_000_000_000;
    // The remainder is below a second, and so below 2^32.
    let rest = u32::try_from(timestamp % SECOND).unwrap_or(0);
    (u32::try_from(timestamp / SECOND).unwrap_or(u32::MAX), rest)
}

#[cfg(test)]
mod tests {
    use model::{Hatype, PacketType};

    use super::*;

    fn parts<'a>(timestamp: u64, address: &'a [u8], data: &'a [u8]) -> FrameParts<'a> {
        FrameParts {
            timestamp,
            interface: 7,
            hatype: Hatype::TUNNEL6,
            protocol: 0x86dd,
            packet_type: PacketType::Outgoing,
            vlan: None,
            checksum_not_ready: false,
            checksum_valid: false,
            tcp_segmentation: false,
            address,
            network_offset: 3,
            original_length: 99,
            data,
        }
    }

    #[test]
    fn frames_are_read_as_they_were_given() {
        let first = parts(1_800_000_000_123_456_789, &[1, 2, 3, 4, 5, 6], b"first");
        let all = [
            first,
            FrameParts { vlan: Some((7, 0x88a8)), checksum_not_ready: true, ..first },
            FrameParts { checksum_valid: true, tcp_segmentation: true, data: b"", ..first },
            parts(1_800_000_000_123_456_700, &[], &[0; 70_000]),
        ];
        let mut assembly = Assembly::default();
        assert!(all.iter().all(|parts| assembly.push(parts)));
        let block = assembly.finish(true);
        let read: Vec<_> = block.frames().map(|(_, frame)| frame.parts()).collect();
        assert_eq!(read, all);
        assert_eq!(block.last_timestamp(), all[3].timestamp);
        assert!(block.is_losing() && !block.is_in_ring() && block.len() == 4);
        assert_eq!(block.used(), BLOCK_HEADER + 4 * FRAME_HEADER + 2 * 5 + 70_000);
        let (offset, _) = block.frames().nth(1).unwrap();
        assert_eq!(block.frame(offset).unwrap().parts(), all[1]);
    }

    #[test]
    fn what_has_no_room_in_a_ring_is_bounded() {
        let far = FrameParts { network_offset: u16::MAX, ..parts(u64::MAX, &[9; 20], b"x") };
        let mut assembly = Assembly::default();
        assert!(assembly.push(&far));
        let block = assembly.finish(false);
        let (_, frame) = block.frames().next().unwrap();
        assert_eq!(frame.timestamp() / 1_000_000_000, u64::from(u32::MAX));
        assert_eq!(frame.address(), [9; 8]);
        assert_eq!(frame.network_offset(), usize::from(u16::MAX) - FRAME_HEADER);
        assert!(Assembly::default().finish(false).is_empty());
    }
}
