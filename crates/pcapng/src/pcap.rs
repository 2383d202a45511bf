use crate::{
    field,
    packet_block::{append_parts, cut_len},
};

/// First field of a file whose timestamps have microseconds.
pub(crate) const MAGIC_MICROSECONDS: u32 = 0xA1B2_C3D4;
/// First field of a file whose timestamps have nanoseconds.
pub(crate) const MAGIC_NANOSECONDS: u32 = 0xA1B2_3C4D;

/// Bytes before a packet: time, captured and original length.
const RECORD_HEAD_LEN: usize = 16;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// The header of a classic pcap file with nanosecond timestamps. All its packets have one link
/// type, and it knows no interfaces.
///
/// Source: draft-ietf-opsawg-pcap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PcapHeader {
    /// `LINKTYPE_` value of all packets.
    pub link_type: u16,
    /// Most bytes kept of a packet; some readers refuse 0.
    pub snaplen: u32,
}

impl PcapHeader {
    /// The header's size in bytes.
    pub const ENCODED_LEN: usize = 24;

    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC_NANOSECONDS.to_ne_bytes());
        out.extend_from_slice(&2_u16.to_ne_bytes());
        out.extend_from_slice(&4_u16.to_ne_bytes());
        // Time zone and accuracy of timestamps: always 0.
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.snaplen.to_ne_bytes());
        out.extend_from_slice(&u32::from(self.link_type).to_ne_bytes());
    }
}

/// One packet of a classic pcap file.
///
/// Source: draft-ietf-opsawg-pcap, "Packet Record".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PcapRecord<'a> {
    /// Nanoseconds since 1970. The format ends in 2106: later ones become its last second.
    pub timestamp: u64,
    /// Bytes that the packet had before anything was cut off; at least the length of `parts` is
    /// written.
    pub original_length: u32,
    /// The packet's bytes as slices that are written one after the other.
    pub parts: &'a [&'a [u8]],
}

impl PcapRecord<'_> {
    /// A record's size in bytes for a packet of `captured` bytes.
    #[must_use]
    pub const fn encoded_len_of(captured: usize) -> usize {
        RECORD_HEAD_LEN + cut_len(captured)
    }

    /// The size in bytes of this record: what [`encode`](Self::encode) will append.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        Self::encoded_len_of(self.parts.iter().map(|part| part.len()).sum())
    }

    /// Appends the record to `out`. Of a packet longer than
    /// [`MAX_CAPTURED_LEN`](crate::MAX_CAPTURED_LEN) the beginning is written.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let captured = self.captured();
        out.reserve(RECORD_HEAD_LEN + captured);
        out.extend_from_slice(&self.head(captured));
        append_parts(out, self.parts, captured);
    }

    /// Writes the same record to the beginning of `out` and gives its length; `None` where it does
    /// not fit. For memory that is initialised already this is the cheaper way.
    #[inline]
    #[must_use]
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let captured = self.captured();
        let (front, mut rest) = out.split_first_chunk_mut::<RECORD_HEAD_LEN>()?;
        *front = self.head(captured);
        let mut left = captured;
        for part in self.parts {
            let part = &part[..part.len().min(left)];
            let (here, behind) = rest.split_at_mut_checked(part.len())?;
            here.copy_from_slice(part);
            (rest, left) = (behind, left - part.len());
        }
        Some(RECORD_HEAD_LEN + captured)
    }

    fn captured(&self) -> usize {
        cut_len(self.parts.iter().map(|part| part.len()).sum())
    }

    #[inline]
    fn head(&self, captured: usize) -> [u8; RECORD_HEAD_LEN] {
        let length = field(captured);
        let (seconds, nanoseconds) = split(self.timestamp);
        let mut head = [0; RECORD_HEAD_LEN];
        head[..4].copy_from_slice(&seconds.to_ne_bytes());
        head[4..8].copy_from_slice(&nanoseconds.to_ne_bytes());
        head[8..12].copy_from_slice(&length.to_ne_bytes());
        head[12..].copy_from_slice(&self.original_length.max(length).to_ne_bytes());
        head
    }
}

/// Seconds and the nanoseconds within them, the last representable instant at most.
fn split(timestamp: u64) -> (u32, u32) {
    let seconds = u32::try_from(timestamp / NANOSECONDS_PER_SECOND);
    let nanoseconds = u32::try_from(timestamp % NANOSECONDS_PER_SECOND);
    match (seconds, nanoseconds) {
        (Ok(seconds), Ok(nanoseconds)) => (seconds, nanoseconds),
        _ => (u32::MAX, 999_999_999),
    }
}

#[cfg(test)]
mod tests {
    use super::{PcapHeader, PcapRecord};

    #[test]
    fn header_and_record() {
        let mut out = Vec::new();
        PcapHeader { link_type: 101, snaplen: 262_144 }.encode(&mut out);
        assert_eq!(out.len(), PcapHeader::ENCODED_LEN);
        let record = PcapRecord {
            timestamp: 1_700_000_000_000_000_009,
            original_length: 1500,
            parts: &[b"ab", b"c"],
        };
        record.encode(&mut out);
        assert_eq!(out.len(), PcapHeader::ENCODED_LEN + record.encoded_len());

        let mut expected = Vec::new();
        expected.extend_from_slice(&0xA1B2_3C4D_u32.to_ne_bytes());
        expected.extend_from_slice(&2_u16.to_ne_bytes());
        expected.extend_from_slice(&4_u16.to_ne_bytes());
        for word in [0_u32, 0, 262_144, 101, 1_700_000_000, 9, 3, 1500] {
            expected.extend_from_slice(&word.to_ne_bytes());
        }
        expected.extend_from_slice(b"abc");
        assert_eq!(out, expected);
    }

    #[test]
    fn times_after_the_formats_end_become_its_last_second() {
        let mut out = Vec::new();
        PcapRecord { timestamp: u64::MAX, ..PcapRecord::default() }.encode(&mut out);
        assert_eq!(out[..4], u32::MAX.to_ne_bytes());
        assert_eq!(out[4..8], 999_999_999_u32.to_ne_bytes());
    }

    #[test]
    fn both_ways_to_encode_write_the_same() {
        let record = PcapRecord { timestamp: 7, original_length: 9, parts: &[b"ab", b"", b"cde"] };
        let mut appended = Vec::new();
        record.encode(&mut appended);
        let mut written = vec![0xff; appended.len() + 1];
        assert_eq!(record.write(&mut written), Some(appended.len()));
        assert_eq!(written[..appended.len()], appended[..]);
        assert_eq!(record.write(&mut written[..appended.len() - 1]), None);
    }
}
