use crate::{
    ENHANCED_PACKET, Flags, MAX_CAPTURED_LEN, field,
    option_list::{COMMENT, END, FRAME_LEN, HEADER_LEN, MAX_STRING_LEN, cut, fitting, halves},
    option_list::{pad, push_tlv},
    padded,
};

/// Bytes before the packet: type, length, interface, timestamp, captured and original length.
const HEAD_LEN: usize = 28;
/// Fixed fields of the body: [`HEAD_LEN`] without type and length.
const FIELDS_LEN: usize = HEAD_LEN - 8;
/// Option code of `epb_flags`.
const FLAGS: u16 = 2;
/// Option code of `epb_dropcount`.
const DROPCOUNT: u16 = 4;
const FLAGS_LEN: usize = HEADER_LEN + 4;
const DROPCOUNT_LEN: usize = HEADER_LEN + 8;
/// What follows packet and padding in the usual case: flags, end of options, length.
const PLAIN_TAIL_LEN: usize = FLAGS_LEN + HEADER_LEN + 4;

/// An Enhanced Packet Block: one packet.
///
/// Source: draft-ietf-opsawg-pcapng, "Enhanced Packet Block".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketBlock<'a> {
    /// Number of the interface within its section.
    pub interface: u32,
    /// Nanoseconds since 1970 (less the interface's `tsoffset`).
    pub timestamp: u64,
    /// Bytes that the packet had before anything was cut off. Where it is less than what is given
    /// in `parts`, the length of those is written.
    pub original_length: u32,
    /// The packet's bytes, link-layer header first, as slices that are written one after the
    /// other: a VLAN tag put back, or a cooked header before its payload.
    pub parts: &'a [&'a [u8]],
    /// Link-layer flags (`epb_flags`).
    pub flags: Option<Flags>,
    /// Packets lost between this one and the one before on this interface (`epb_dropcount`).
    pub dropcount: Option<u64>,
    /// Free text.
    pub comments: &'a [&'a str],
}

impl PacketBlock<'_> {
    /// The block's size in bytes for a packet of `captured` bytes with these options and no
    /// comments: what [`encode`](Self::encode) will append.
    #[must_use]
    pub const fn encoded_len_of(captured: usize, flags: bool, dropcount: bool) -> usize {
        let options = if flags { FLAGS_LEN } else { 0 } + if dropcount { DROPCOUNT_LEN } else { 0 };
        let end = if options > 0 { HEADER_LEN } else { 0 };
        FRAME_LEN + FIELDS_LEN + padded(cut_len(captured)) + options + end
    }

    /// The size in bytes of this block: what [`encode`](Self::encode) will append.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let captured = self.parts.iter().map(|part| part.len()).sum();
        let flags = self.flags.is_some();
        let dropcount = self.dropcount.is_some();
        let plain = Self::encoded_len_of(captured, flags, dropcount);
        match fitting(self.comments).1 {
            0 => plain,
            comments if flags || dropcount => plain + comments,
            comments => plain + comments + HEADER_LEN,
        }
    }

    /// Appends the block to `out`. Of a packet longer than
    /// [`MAX_CAPTURED_LEN`] the beginning is written.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        match (self.flags, self.dropcount, self.comments, self.parts) {
            (Some(flags), None, [], [bytes]) => self.plain(bytes, flags).encode(out),
            (Some(flags), None, [], _) => self.encode_parts(flags, out),
            _ => self.encode_whole(out),
        }
    }

    #[inline]
    fn plain<'b>(&self, bytes: &'b [u8], flags: Flags) -> PlainPacketBlock<'b> {
        let &Self { interface, timestamp, original_length, .. } = self;
        PlainPacketBlock { interface, timestamp, original_length, bytes, flags }
    }

    // Out of line, so that the usual case stays small enough to be inlined.
    #[inline(never)]
    fn encode_parts(&self, flags: Flags, out: &mut Vec<u8>) {
        let captured = cut_len(self.parts.iter().map(|part| part.len()).sum());
        self.plain(&[], flags)
            .encode_around(captured, out, |out| append_parts(out, self.parts, captured));
    }

    #[inline(never)]
    fn encode_whole(&self, out: &mut Vec<u8>) {
        let captured = cut_len(self.parts.iter().map(|part| part.len()).sum());
        let total = field(self.encoded_len());
        out.reserve(self.encoded_len());
        let head = head(self.interface, self.timestamp, captured, self.original_length, total);
        out.extend_from_slice(&head);
        append_parts(out, self.parts, captured);
        pad(out, captured);
        if let Some(flags) = self.flags {
            push_tlv(out, FLAGS, &[&flags.bits().to_ne_bytes()]);
        }
        if let Some(dropcount) = self.dropcount {
            push_tlv(out, DROPCOUNT, &[&dropcount.to_ne_bytes()]);
        }
        let comments = fitting(self.comments).0;
        for comment in comments {
            push_tlv(out, COMMENT, &[cut(comment, MAX_STRING_LEN).as_bytes()]);
        }
        if self.flags.is_some() || self.dropcount.is_some() || !comments.is_empty() {
            push_tlv(out, END, &[]);
        }
        out.extend_from_slice(&total.to_ne_bytes());
    }
}

/// An Enhanced Packet Block of the usual kind: bytes in one piece, flags, and no other option.
///
/// It is what [`PacketBlock`] turns into for such a packet, for callers who know beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainPacketBlock<'a> {
    /// Number of the interface within its section.
    pub interface: u32,
    /// Nanoseconds since 1970 (less the interface's `tsoffset`).
    pub timestamp: u64,
    /// Bytes that the packet had before anything was cut off; at least the length of `bytes` is
    /// written.
    pub original_length: u32,
    /// The packet, link-layer header first.
    pub bytes: &'a [u8],
    /// Link-layer flags (`epb_flags`).
    pub flags: Flags,
}

impl PlainPacketBlock<'_> {
    /// The block's size in bytes for a packet of `captured` bytes.
    #[must_use]
    pub const fn encoded_len_of(captured: usize) -> usize {
        PacketBlock::encoded_len_of(captured, true, false)
    }

    /// Appends the block to `out`. Of a packet longer than
    /// [`MAX_CAPTURED_LEN`] the beginning is written.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let bytes = &self.bytes[..cut_len(self.bytes.len())];
        self.encode_around(bytes.len(), out, |out| out.extend_from_slice(bytes));
    }

    /// Writes the same block to the beginning of `out` and gives its length; `None` where it does
    /// not fit. For memory that is initialised already this is the cheaper way.
    #[inline(always)]
    #[must_use]
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let bytes = self.bytes.get(..MAX_CAPTURED_LEN).unwrap_or(self.bytes);
        let captured = bytes.len();
        let total = HEAD_LEN + padded(captured) + PLAIN_TAIL_LEN;
        let length = field(total);
        let (out, _) = out.split_at_mut_checked(total)?;
        let (front, rest) = out.split_first_chunk_mut::<HEAD_LEN>()?;
        *front = head(self.interface, self.timestamp, captured, self.original_length, length);
        let (body, back) = rest.split_last_chunk_mut::<PLAIN_TAIL_LEN>()?;
        // Zeros first and the packet over them: stores of a fixed length need no call.
        if let Some(end) = body.last_chunk_mut::<4>() {
            *end = [0; 4];
        }
        copy(body.get_mut(..captured)?, bytes)?;
        *back = tail(self.flags, length);
        Some(total)
    }

    /// Appends the block with the `captured` bytes that `append` appends.
    #[inline]
    fn encode_around(&self, captured: usize, out: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>)) {
        let total = HEAD_LEN + padded(captured) + PLAIN_TAIL_LEN;
        let length = field(total);
        // One test for room here lets the appends below do without growing.
        out.reserve(total + 3);
        let start = out.len();
        let head = head(self.interface, self.timestamp, captured, self.original_length, length);
        out.extend_from_slice(&head);
        append(out);
        // Three zeros, and away with those that are too many: copies of a fixed length are a
        // few moves, those of a variable one are calls.
        out.extend_from_slice(&[0; 3]);
        out.truncate(start + HEAD_LEN + padded(captured));
        out.extend_from_slice(&tail(self.flags, length));
    }
}

/// Copies `from` to `to`, which is as long. Of small packets two halves that overlap: copies of a
/// fixed length are a few moves, where one of a variable length is a call.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) -> Option<()> {
    match from.len() {
        33..=64 => copy_halves::<32>(to, from),
        65..=128 => copy_halves::<64>(to, from),
        _ => {
            to.copy_from_slice(from);
            Some(())
        }
    }
}

/// Copies the first `HALF` bytes and the last ones, which together are all.
#[inline(always)]
fn copy_halves<const HALF: usize>(to: &mut [u8], from: &[u8]) -> Option<()> {
    *to.first_chunk_mut::<HALF>()? = *from.first_chunk()?;
    *to.last_chunk_mut::<HALF>()? = *from.last_chunk()?;
    Some(())
}

/// `captured` bytes, or as many of them as are written.
pub(crate) const fn cut_len(captured: usize) -> usize {
    if captured < MAX_CAPTURED_LEN { captured } else { MAX_CAPTURED_LEN }
}

/// Appends the first `captured` bytes of `parts`.
#[inline]
pub(crate) fn append_parts(out: &mut Vec<u8>, parts: &[&[u8]], captured: usize) {
    let mut left = captured;
    for part in parts {
        let part = &part[..part.len().min(left)];
        out.extend_from_slice(part);
        left -= part.len();
    }
}

#[inline]
fn head(
    interface: u32,
    timestamp: u64,
    captured: usize,
    original: u32,
    total: u32,
) -> [u8; HEAD_LEN] {
    let captured = field(captured);
    let mut head = [0; HEAD_LEN];
    head[..4].copy_from_slice(&ENHANCED_PACKET.to_ne_bytes());
    head[4..8].copy_from_slice(&total.to_ne_bytes());
    head[8..12].copy_from_slice(&interface.to_ne_bytes());
    head[12..20].copy_from_slice(&halves(timestamp));
    head[20..24].copy_from_slice(&captured.to_ne_bytes());
    head[24..].copy_from_slice(&original.max(captured).to_ne_bytes());
    head
}

/// Flags, the end of the options, and the block's length once more.
#[inline]
fn tail(flags: Flags, total: u32) -> [u8; PLAIN_TAIL_LEN] {
    let mut tail = [0; PLAIN_TAIL_LEN];
    tail[..2].copy_from_slice(&FLAGS.to_ne_bytes());
    tail[2..4].copy_from_slice(&4_u16.to_ne_bytes());
    tail[4..8].copy_from_slice(&flags.bits().to_ne_bytes());
    tail[12..].copy_from_slice(&total.to_ne_bytes());
    tail
}

#[cfg(test)]
mod tests {
    use super::{PacketBlock, PlainPacketBlock};
    use crate::{Flags, MAX_BLOCK_LEN, MAX_CAPTURED_LEN};

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn encoded(block: &PacketBlock<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        block.encode(&mut out);
        assert_eq!(out.len(), block.encoded_len());
        out
    }

    #[test]
    fn without_options_there_is_no_end_of_options() {
        let block = PacketBlock {
            interface: 3,
            timestamp: (1 << 32) + 2,
            original_length: 60,
            parts: &[b"ab", b"", b"cde"],
            ..PacketBlock::default()
        };
        let mut expected = words(&[6, 40, 3, 1, 2, 5, 60]);
        expected.extend_from_slice(b"abcde\0\0\0");
        expected.extend_from_slice(&words(&[40]));
        assert_eq!(encoded(&block), expected);
    }

    #[test]
    fn the_usual_packet() {
        let plain = PlainPacketBlock {
            interface: 1,
            timestamp: 5,
            original_length: 4,
            bytes: b"abcd",
            flags: Flags::from_bits(0x206),
        };
        let mut out = Vec::new();
        plain.encode(&mut out);
        let mut expected = words(&[6, 48, 1, 0, 5, 4, 4]);
        expected.extend_from_slice(b"abcd");
        expected.extend_from_slice(&2_u16.to_ne_bytes());
        expected.extend_from_slice(&4_u16.to_ne_bytes());
        expected.extend_from_slice(&words(&[0x206, 0, 48]));
        assert_eq!(out, expected);
    }

    #[test]
    fn the_fast_paths_and_the_whole_path_agree_at_every_alignment() {
        let bytes: Vec<u8> = (0..64).collect();
        for length in 0..bytes.len() {
            let (front, back) = bytes[..length].split_at(length / 3);
            let block = PacketBlock {
                interface: 9,
                timestamp: 1_700_000_000_123_456_789,
                original_length: 1514,
                parts: &[&bytes[..length]],
                flags: Some(Flags::from_bits(0xABC)),
                ..PacketBlock::default()
            };
            let mut whole = vec![0xEE];
            block.encode_whole(&mut whole);
            for parts in [&[&bytes[..length]][..], &[front, back], &[front, &[], back]] {
                let mut fast = vec![0xEE];
                PacketBlock { parts, ..block }.encode(&mut fast);
                assert_eq!(fast, whole);
            }
            assert_eq!(whole.len(), 1 + PlainPacketBlock::encoded_len_of(length));
        }
    }

    #[test]
    fn the_size_is_known_beforehand_for_every_choice_of_options() {
        let long = "c".repeat(70_000);
        let many = vec![long.as_str(); 20];
        for length in [0, 1, 2, 3, 4, 64, 1514] {
            let bytes = vec![0x55; length];
            for flags in [None, Some(Flags::NONE)] {
                for dropcount in [None, Some(u64::MAX)] {
                    for comments in [&[][..], &[""], &["one", "two"], &many] {
                        let (parts, original_length) = (&[bytes.as_slice()][..], 0);
                        let block = PacketBlock {
                            parts,
                            original_length,
                            flags,
                            dropcount,
                            comments,
                            ..PacketBlock::default()
                        };
                        let out = encoded(&block);
                        assert_eq!(out.len() % 4, 0);
                        let size = u32::try_from(out.len()).unwrap().to_ne_bytes();
                        assert_eq!(out[4..8], size);
                        assert_eq!(out[out.len() - 4..], size);
                        if comments.is_empty() {
                            let (flags, dropcount) = (flags.is_some(), dropcount.is_some());
                            assert_eq!(
                                out.len(),
                                PacketBlock::encoded_len_of(length, flags, dropcount)
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_original_length_is_never_less_than_the_captured_one() {
        let block = PacketBlock { parts: &[b"abcdef"], original_length: 2, ..Default::default() };
        assert_eq!(encoded(&block)[24..28], 6_u32.to_ne_bytes());
    }

    #[test]
    fn a_packet_over_the_bound_is_cut() {
        let bytes = vec![7; MAX_CAPTURED_LEN];
        for flags in [None, Some(Flags::NONE)] {
            let options = if flags.is_some() { 12 } else { 0 };
            let block = PacketBlock { parts: &[&bytes, b"tail"], flags, ..PacketBlock::default() };
            let out = encoded(&block);
            assert_eq!(out.len(), 32 + MAX_CAPTURED_LEN + options);
            assert!(out.len() <= MAX_BLOCK_LEN);
        }
        let plain = [&bytes[..], b"tail"].concat();
        let block =
            PacketBlock { parts: &[&plain], flags: Some(Flags::NONE), ..PacketBlock::default() };
        assert_eq!(encoded(&block).len(), 44 + MAX_CAPTURED_LEN);
    }

    #[test]
    fn both_ways_to_encode_write_the_same() {
        let packet: Vec<u8> = (1..=70).collect();
        for captured in 0..=packet.len() {
            let block = PlainPacketBlock {
                interface: 2,
                timestamp: 0x0102_0304_0506_0708,
                original_length: 66,
                bytes: &packet[..captured],
                flags: Flags::NONE.with_checksum_not_ready(),
            };
            let mut appended = Vec::new();
            block.encode(&mut appended);
            // Whatever was there before.
            let mut written = vec![0xff; appended.len() + 9];
            assert_eq!(block.write(&mut written), Some(appended.len()));
            assert_eq!(written[..appended.len()], appended[..]);
            assert_eq!(block.write(&mut written[..appended.len() - 1]), None);
        }
    }
}
