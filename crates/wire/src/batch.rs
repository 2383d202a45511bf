//! Frames as they travel: many together, each behind a short head.
//!
//! A head has 6 to 12 bytes where a ring has 80: what is the same as of the frame before is left
//! out, and numbers take as few bytes as they need. So a thin link carries frames, and what is
//! compressed is frames as well.

use model::{FrameParts, Hatype, PacketType};

use crate::{
    Error,
    field::{Field, Reader, put_varint},
};

/// From how many bytes on a batch is full. One more frame is taken whatever its size.
pub const BATCH: usize = 128 * 1024;

/// The most bytes of a batch, before it is compressed: a full one, and the longest frame behind it.
pub const MAX_BATCH: usize = 512 * 1024;

/// Bytes of a link-layer address that are kept.
const ADDRESS: usize = 8;

/// Where the network header of most frames begins, behind Ethernet's.
const ETHERNET: u16 = 14;

const VLAN: u8 = 1;
const OTHER_INTERFACE: u8 = 1 << 1;
const CHECKSUM_NOT_READY: u8 = 1 << 2;
const CHECKSUM_VALID: u8 = 1 << 3;
const SEGMENTATION: u8 = 1 << 4;
const CUT: u8 = 1 << 5;
const OTHER_LINK: u8 = 1 << 6;
const UNKNOWN: u8 = 1 << 7;

/// Puts a capture's frames together.
#[derive(Debug, Default)]
pub struct BatchWriter {
    bytes: Vec<u8>,
    frames: u32,
    last: Last,
}

/// Bytes of memory that a frame takes where it waits, beside its own: its head in a ring.
const HEAD_IN_MEMORY: u64 = 80;

/// What a head leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Last {
    timestamp: u64,
    interface: u32,
    hatype: u16,
}

impl BatchWriter {
    /// Adds a frame.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] where it has no room in any batch: it is not in this one either.
    pub fn push(&mut self, frame: &FrameParts<'_>) -> Result<(), Error> {
        let begin = self.bytes.len();
        let (captured, address) = (frame.data.len(), frame.address);
        let address = &address[..address.len().min(ADDRESS)];
        let is_cut = frame.original_length as usize != captured;
        let link = frame.network_offset != ETHERNET || !address.is_empty();
        let now =
            Last { timestamp: frame.timestamp, interface: frame.interface, hatype: frame.hatype.0 };
        let other = (now.interface, now.hatype) != (self.last.interface, self.last.hatype);
        let mut flags = 0;
        for (is_so, flag) in [
            (frame.vlan.is_some(), VLAN),
            (other, OTHER_INTERFACE),
            (frame.checksum_not_ready, CHECKSUM_NOT_READY),
            (frame.checksum_valid, CHECKSUM_VALID),
            (frame.tcp_segmentation, SEGMENTATION),
            (is_cut, CUT),
            (link, OTHER_LINK),
        ] {
            flags |= if is_so { flag } else { 0 };
        }
        let out = &mut self.bytes;
        out.extend_from_slice(&[flags, frame.packet_type.raw()]);
        frame.protocol.put(out);
        // Frames of a ring are nearly in order: small steps either way are small numbers.
        put_varint(out, zigzag(now.timestamp.wrapping_sub(self.last.timestamp)));
        put_varint(out, captured as u64);
        if is_cut {
            put_varint(out, frame.original_length.into());
        }
        if other {
            put_varint(out, now.interface.into());
            now.hatype.put(out);
        }
        if let Some((control, protocol)) = frame.vlan {
            control.put(out);
            protocol.put(out);
        }
        if link {
            put_varint(out, frame.network_offset.into());
            put_varint(out, address.len() as u64);
            out.extend_from_slice(address);
        }
        if out.len() + captured > MAX_BATCH {
            let length = out.len() - begin + captured;
            out.truncate(begin);
            return Err(Error::TooLong { length });
        }
        out.extend_from_slice(frame.data);
        self.last = now;
        self.frames += 1;
        Ok(())
    }

    /// Bytes that wait in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Whether it is to be sent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH
    }

    /// As [`Batch::weight`].
    #[must_use]
    pub fn weight(&self) -> u64 {
        weight(&self.bytes, self.frames)
    }

    /// The batch as a message, and an empty one to go on with. `lost` frames of the capture were
    /// dropped before the first of these. It is compressed where that is asked for and makes it
    /// smaller.
    #[must_use]
    pub fn take(&mut self, capture: u32, lost: u64, compress: bool) -> Vec<u8> {
        let frames = std::mem::take(&mut self.frames);
        self.last = Last::default();
        let mut message = Vec::with_capacity(self.bytes.len() + HEAD);
        capture.put(&mut message);
        lost.put(&mut message);
        frames.put(&mut message);
        let compressed = compress.then(|| lz4_flex::block::compress(&self.bytes));
        match compressed.filter(|compressed| compressed.len() < self.bytes.len()) {
            Some(compressed) => {
                // Bounded by `push`.
                let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
                length.put(&mut message);
                message.extend_from_slice(&compressed);
            }
            None => {
                0_u32.put(&mut message);
                message.extend_from_slice(&self.bytes);
            }
        }
        self.bytes.clear();
        message
    }
}

/// Bytes before a batch's frames: capture, lost frames, frames, and their length where they are
/// compressed, 0 where they are not.
const HEAD: usize = 4 + 8 + 4 + 4;

/// Frames of one capture that have arrived together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which capture.
    pub capture: u32,
    /// Frames that were dropped before the first of these.
    pub lost: u64,
    /// How many there are.
    pub frames: u32,
    bytes: Vec<u8>,
}

impl Batch {
    /// Reads a message; each of its frames is looked at.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::TooLong`].
    pub fn read(message: &[u8]) -> Result<Self, Error> {
        let malformed = || Error::Malformed { what: "a batch" };
        let mut reader = Reader::new(message);
        let mut head =
            || Some((u32::take(&mut reader)?, u64::take(&mut reader)?, u32::take(&mut reader)?));
        let (capture, lost, frames) = head().ok_or_else(malformed)?;
        let length = u32::take(&mut reader).ok_or_else(malformed)? as usize;
        let rest = reader.rest();
        if length.max(rest.len()) > MAX_BATCH {
            return Err(Error::TooLong { length: length.max(rest.len()) });
        }
        let bytes = if length == 0 {
            rest.to_vec()
        } else {
            let mut bytes = vec![0; length];
            match lz4_flex::block::decompress_into(rest, &mut bytes) {
                Ok(found) if found == length => bytes,
                _ => return Err(malformed()),
            }
        };
        let batch = Self { capture, lost, frames, bytes };
        let mut left = batch.frames();
        let whole = left.by_ref().count();
        if whole as u64 == u64::from(frames) && left.reader.is_empty() {
            Ok(batch)
        } else {
            Err(malformed())
        }
    }

    /// Bytes of memory that it takes where its frames wait, however few it had on its way: what an
    /// [allowance](crate::Allowance) is made of.
    #[must_use]
    pub fn weight(&self) -> u64 {
        weight(&self.bytes, self.frames)
    }

    /// The frames, as they were pushed.
    #[must_use]
    pub fn frames(&self) -> Frames<'_> {
        Frames { reader: Reader::new(&self.bytes), left: self.frames, last: Last::default() }
    }
}

fn weight(bytes: &[u8], frames: u32) -> u64 {
    bytes.len() as u64 + u64::from(frames) * HEAD_IN_MEMORY
}

/// The frames of a [`Batch`].
#[derive(Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
    left: u32,
    last: Last,
}

impl<'a> Iterator for Frames<'a> {
    type Item = FrameParts<'a>;

    fn next(&mut self) -> Option<FrameParts<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.frame()
    }
}

impl<'a> Frames<'a> {
    fn frame(&mut self) -> Option<FrameParts<'a>> {
        let from = &mut self.reader;
        let [flags, packet_type] = from.array()?;
        let has = |flag| flags & flag != 0;
        if has(UNKNOWN) {
            return None;
        }
        let protocol = u16::take(from)?;
        let step = unzigzag(from.varint()?);
        let captured = usize::try_from(from.varint()?).ok()?;
        let original_length = match has(CUT) {
            true => u32::try_from(from.varint()?).ok()?,
            false => u32::try_from(captured).ok()?,
        };
        let mut last = self.last;
        last.timestamp = last.timestamp.wrapping_add(step);
        if has(OTHER_INTERFACE) {
            last.interface = u32::try_from(from.varint()?).ok()?;
            last.hatype = u16::take(from)?;
        }
        let vlan = match has(VLAN) {
            true => Some((u16::take(from)?, u16::take(from)?)),
            false => None,
        };
        let (mut network_offset, mut address) = (ETHERNET, &[][..]);
        if has(OTHER_LINK) {
            network_offset = u16::try_from(from.varint()?).ok()?;
            let length = usize::try_from(from.varint()?).ok().filter(|it| *it <= ADDRESS)?;
            address = from.bytes(length)?;
        }
        let data = from.bytes(captured)?;
        self.last = last;
        Some(FrameParts {
            timestamp: last.timestamp,
            interface: last.interface,
            hatype: Hatype(last.hatype),
            protocol,
            packet_type: PacketType::from_raw(packet_type),
            vlan,
            checksum_not_ready: has(CHECKSUM_NOT_READY),
            checksum_valid: has(CHECKSUM_VALID),
            tcp_segmentation: has(SEGMENTATION),
            address,
            network_offset,
            original_length,
            data,
        })
    }
}

/// A step either way (in two's complement) as a number that is small where the step is.
fn zigzag(step: u64) -> u64 {
    let sign = if step >> 63 == 1 { u64::MAX } else { 0 };
    (step << 1) ^ sign
}

fn unzigzag(number: u64) -> u64 {
    let sign = if number & 1 == 1 { u64::MAX } else { 0 };
    (number >> 1) ^ sign
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        option,
        prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest},
        sample,
    };

    use super::*;

    type Owned = (FrameParts<'static>, Vec<u8>, Vec<u8>);

    fn any_frame() -> impl Strategy<Value = Owned> {
        let link = (any::<u32>(), any::<u16>(), any::<u16>(), any::<u8>(), vec(any::<u8>(), 0..9));
        let more = (
            option::of(any::<(u16, u16)>()),
            any::<(bool, bool, bool)>(),
            any::<u16>(),
            any::<u32>(),
            vec(any::<u8>(), 0..80),
        );
        (any::<u64>(), link, more).prop_map(|(timestamp, link, more)| {
            let (interface, hatype, protocol, packet_type, address) = link;
            let (vlan, (not_ready, valid, gso), network_offset, original_length, data) = more;
            let frame = FrameParts {
                timestamp,
                interface,
                hatype: Hatype(hatype),
                protocol,
                packet_type: PacketType::from_raw(packet_type),
                vlan,
                checksum_not_ready: not_ready,
                checksum_valid: valid,
                tcp_segmentation: gso,
                address: &[],
                network_offset,
                original_length,
                data: &[],
            };
            (frame, address, data)
        })
    }

    fn message(frames: &[Owned], lost: u64, compress: bool) -> Vec<u8> {
        let mut writer = BatchWriter::default();
        for (frame, address, data) in frames {
            writer.push(&FrameParts { address, data, ..*frame }).unwrap();
        }
        writer.take(7, lost, compress)
    }

    proptest! {
        #[test]
        fn frames_read_back(frames in vec(any_frame(), 0..20), lost: u64, compress: bool) {
            let batch = Batch::read(&message(&frames, lost, compress)).unwrap();
            prop_assert_eq!((batch.capture, batch.lost), (7, lost));
            let length: usize = frames.iter().map(|(_, _, data)| data.len()).sum();
            prop_assert!(batch.weight() >= (length + frames.len() * 80) as u64);
            let read: Vec<_> = batch.frames().collect();
            let pushed: Vec<_> = frames
                .iter()
                .map(|(frame, address, data)| FrameParts { address, data, ..*frame })
                .collect();
            prop_assert_eq!(read, pushed);
        }

        #[test]
        fn any_bytes_are_survived(
            bytes in vec(any::<u8>(), 0..200),
            frames in vec(any_frame(), 0..5),
            at: sample::Index,
            byte: u8,
            compress: bool,
        ) {
            let _ = Batch::read(&bytes);
            let mut message = message(&frames, 0, compress);
            let at = at.index(message.len());
            message[at] = byte;
            if let Ok(batch) = Batch::read(&message) {
                assert_eq!(batch.frames().count(), batch.frames as usize);
            }
            assert!(Batch::read(&message[..at]).is_err() || at >= HEAD);
        }

        #[test]
        fn steps_either_way_are_small(step in -1_000_000_i64..1_000_000) {
            let number = zigzag(step.cast_unsigned());
            assert!(number <= step.unsigned_abs() * 2);
            prop_assert_eq!(unzigzag(number).cast_signed(), step);
        }
    }

    fn plain(timestamp: u64, data: &[u8]) -> FrameParts<'_> {
        FrameParts {
            timestamp,
            interface: 2,
            hatype: Hatype::ETHER,
            protocol: 0x0800,
            packet_type: PacketType::Host,
            vlan: None,
            checksum_not_ready: false,
            checksum_valid: false,
            tcp_segmentation: false,
            address: &[],
            network_offset: 14,
            original_length: u32::try_from(data.len()).unwrap(),
            data,
        }
    }

    #[test]
    fn a_head_is_short() {
        let mut writer = BatchWriter::default();
        let first = 1_800_000_000_000_000_000;
        writer.push(&plain(first, &[0; 64])).unwrap();
        let before = writer.len();
        writer.push(&plain(first + 3_500, &[0; 64])).unwrap();
        assert_eq!(writer.len() - before, 64 + 7);
    }

    #[test]
    fn what_compresses_travels_compressed() {
        let mut writer = BatchWriter::default();
        for number in 0..100 {
            writer.push(&plain(number * 1000, &[7; 500])).unwrap();
        }
        let length = writer.len();
        let weight = writer.weight();
        let message = writer.take(1, 0, true);
        assert_eq!(Batch::read(&message).unwrap().weight(), weight);
        assert!(message.len() < length / 20 && writer.is_empty(), "{}", message.len());
        assert_eq!(Batch::read(&message).unwrap().frames().count(), 100);
        // A length that is not the frames'.
        for wrong in [1, length - 1, length + 1, MAX_BATCH] {
            let mut message = message.clone();
            message[16..20].copy_from_slice(&u32::try_from(wrong).unwrap().to_le_bytes());
            assert!(matches!(Batch::read(&message), Err(Error::Malformed { .. })), "{wrong}");
        }
        let mut message = message.clone();
        message[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Batch::read(&message), Err(Error::TooLong { .. })));
    }

    #[test]
    fn the_longest_frame_has_room_in_a_batch_that_is_not_full() {
        let longest = vec![1; 262_144];
        let mut writer = BatchWriter::default();
        while !writer.is_full() {
            writer.push(&plain(0, &[0; 1500])).unwrap();
        }
        writer.push(&plain(0, &longest)).unwrap();
        let frames = writer.frames;
        let more = writer.push(&plain(0, &longest));
        assert!(matches!(more, Err(Error::TooLong { .. })), "{more:?}");
        let message = writer.take(1, 0, false);
        assert!(message.len() < crate::MAX_MESSAGE);
        assert_eq!(Batch::read(&message).unwrap().frames, frames);
    }
}
