use std::{
    collections::HashMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use pcap_parser::{
    Block, EnhancedPacketBlock, InterfaceDescriptionBlock, OptionCode, PcapBlockOwned, PcapError,
    create_reader, traits::PcapNGPacketBlock,
};

use crate::{Error, Tag};

/// Bytes that the parser may hold: more than a GSO frame and its block.
const PARSER_BUFFER: usize = 1 << 20;
/// `epb_flags` of the pcapng draft.
const EPB_FLAGS: u16 = 2;
/// `epb_dropcount` of the pcapng draft.
const EPB_DROPCOUNT: u16 = 4;
/// Bytes of a frame that a difference shows.
const SHOWN: usize = 96;

/// A frame as a capture file holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The name of its interface; `None` in classic pcap.
    pub interface: Option<String>,
    /// Its interface's number within the file's current section; 0 in classic pcap.
    pub interface_id: u32,
    /// The `LINKTYPE_` of its interface.
    pub link_type: u16,
    /// Nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// Bytes that the frame had.
    pub original_len: u32,
    /// The bytes that were kept.
    pub data: Vec<u8>,
    /// `epb_flags`.
    pub flags: Option<u32>,
    /// `epb_dropcount`.
    pub dropped: Option<u64>,
    /// `opt_comment`, each.
    pub comments: Vec<String>,
}

/// The frames of a capture file, pcapng or classic pcap, read with the crate pcap-parser.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records {
    /// In the file's order.
    pub all: Vec<Record>,
}

impl Records {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`Error::File`], and [`Error::Format`] when it is no capture file or is cut short.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = fs::File::open(path).map_err(Error::file(path))?;
        let format = |reason: String| Error::Format { path: PathBuf::from(path), reason };
        let mut reader =
            create_reader(PARSER_BUFFER, file).map_err(|error| format(format!("{error:?}")))?;
        let mut interfaces: Vec<Interface> = Vec::new();
        let mut all = Vec::new();
        loop {
            match reader.next() {
                Ok((length, block)) => {
                    match block {
                        PcapBlockOwned::LegacyHeader(header) => {
                            interfaces = vec![Interface::classic(
                                header.network.0,
                                header.is_nanosecond_precision(),
                            )];
                        }
                        PcapBlockOwned::Legacy(packet) => {
                            let interface = interfaces
                                .first()
                                .ok_or_else(|| format("a packet before the header".to_owned()))?;
                            let ticks = u64::from(packet.ts_sec) * interface.ticks_per_second
                                + u64::from(packet.ts_usec);
                            all.push(Record {
                                interface: None,
                                interface_id: 0,
                                link_type: interface.link_type,
                                timestamp_ns: interface.nanoseconds(ticks),
                                original_len: packet.origlen,
                                data: packet.data.to_vec(),
                                flags: None,
                                dropped: None,
                                comments: Vec::new(),
                            });
                        }
                        PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
                        PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                            interfaces.push(Interface::described(&block));
                        }
                        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                            let interface = usize::try_from(packet.if_id)
                                .ok()
                                .and_then(|id| interfaces.get(id))
                                .ok_or_else(|| {
                                    format(format!("no interface block {}", packet.if_id))
                                })?;
                            all.push(interface.record(&packet));
                        }
                        PcapBlockOwned::NG(_) => {}
                    }
                    reader.consume(length);
                }
                Err(PcapError::Eof) => return Ok(Self { all }),
                Err(PcapError::Incomplete(_)) => {
                    if reader.reader_exhausted() {
                        return Err(format("it ends within a block".to_owned()));
                    }
                    reader.refill().map_err(|error| format(format!("{error:?}")))?;
                }
                Err(error) => return Err(format(format!("{error:?}"))),
            }
        }
    }

    /// How many frames there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The frames' bytes, in order.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.all.iter().map(|record| record.data.as_slice())
    }

    /// Those of one interface.
    #[must_use]
    pub fn of(&self, interface: &str) -> Self {
        let all = self.all.iter().filter(|record| record.interface.as_deref() == Some(interface));
        Self { all: all.cloned().collect() }
    }

    /// Those that carry a tag of this run.
    #[must_use]
    pub fn of_run(&self, run: u32) -> Self {
        let all = self.all.iter().filter(|r| Tag::find(&r.data).is_some_and(|tag| tag.run == run));
        Self { all: all.cloned().collect() }
    }

    /// The numbers of a run's tags, in the file's order.
    #[must_use]
    pub fn numbers(&self, run: u32) -> Vec<u64> {
        let tags = self.all.iter().filter_map(|record| Tag::find(&record.data));
        tags.filter(|tag| tag.run == run).map(|tag| tag.number).collect()
    }

    /// How many records have a timestamp before the one in front of them.
    #[must_use]
    pub fn inversions(&self) -> usize {
        self.all.windows(2).filter(|pair| pair[1].timestamp_ns < pair[0].timestamp_ns).count()
    }

    /// Sorted by timestamp; records of one nanosecond keep their order. For comparing files whose
    /// writers sort differently.
    #[must_use]
    pub fn by_time(mut self) -> Self {
        self.all.sort_by_key(|record| record.timestamp_ns);
        self
    }

    /// Compares the bytes of frames with those that were expected, in order.
    ///
    /// # Errors
    ///
    /// The first [`Difference`].
    pub fn same_bytes<E: AsRef<[u8]>>(
        &self,
        expected: impl IntoIterator<Item = E>,
    ) -> Result<(), Difference> {
        let expected: Vec<E> = expected.into_iter().collect();
        let found: Vec<&[u8]> = self.frames().collect();
        let wanted: Vec<&[u8]> = expected.iter().map(AsRef::as_ref).collect();
        Difference::between(&wanted, &found)
    }

    /// Compares the bytes of frames with those that were expected, in any order.
    ///
    /// # Errors
    ///
    /// The first [`Difference`] of the two in sorted order.
    pub fn same_bytes_in_any_order<E: AsRef<[u8]>>(
        &self,
        expected: impl IntoIterator<Item = E>,
    ) -> Result<(), Difference> {
        let expected: Vec<E> = expected.into_iter().collect();
        let mut found: Vec<&[u8]> = self.frames().collect();
        let mut wanted: Vec<&[u8]> = expected.iter().map(AsRef::as_ref).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        Difference::between(&wanted, &found)
    }

    /// Compares with another file: bytes and original lengths, in order, and timestamps which may
    /// be `within_ns` apart.
    ///
    /// # Errors
    ///
    /// The first [`Difference`].
    pub fn same_as(&self, expected: &Self, within_ns: u64) -> Result<(), Difference> {
        self.same_bytes(expected.frames())?;
        for (index, (found, wanted)) in self.all.iter().zip(&expected.all).enumerate() {
            if found.original_len != wanted.original_len {
                return Err(Difference::at(
                    index,
                    format!("{} bytes originally", wanted.original_len),
                    format!("{} bytes originally", found.original_len),
                ));
            }
            if found.timestamp_ns.abs_diff(wanted.timestamp_ns) > within_ns {
                return Err(Difference::at(
                    index,
                    format!("{} ns, give or take {within_ns}", wanted.timestamp_ns),
                    format!("{} ns", found.timestamp_ns),
                ));
            }
        }
        Ok(())
    }
}

/// Where two captures part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Difference {
    /// The first position at which they differ.
    pub index: usize,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// How many frames were expected and how many are there, where that differs.
    pub counts: Option<(usize, usize)>,
    /// How many of the expected frames are nowhere, and how many that are there nobody expected.
    pub missing_and_extra: (usize, usize),
}

impl Difference {
    fn at(index: usize, expected: String, found: String) -> Self {
        Self { index, expected, found, counts: None, missing_and_extra: (0, 0) }
    }

    fn between(expected: &[&[u8]], found: &[&[u8]]) -> Result<(), Self> {
        let first = expected.iter().zip(found).position(|(a, b)| a != b);
        let same_count = expected.len() == found.len();
        let index = match first {
            Some(index) => index,
            None if same_count => return Ok(()),
            None => expected.len().min(found.len()),
        };
        let mut balance: HashMap<&[u8], isize> = HashMap::new();
        for frame in expected {
            *balance.entry(frame).or_default() += 1;
        }
        for frame in found {
            *balance.entry(frame).or_default() -= 1;
        }
        let missing = balance.values().filter(|n| **n > 0).map(|n| n.unsigned_abs()).sum();
        let extra = balance.values().filter(|n| **n < 0).map(|n| n.unsigned_abs()).sum();
        Err(Self {
            index,
            expected: shown(expected.get(index), found.get(index)),
            found: shown(found.get(index), expected.get(index)),
            counts: (!same_count).then_some((expected.len(), found.len())),
            missing_and_extra: (missing, extra),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((expected, found)) = self.counts {
            write!(f, "{found} frames where {expected} were expected, ")?;
        }
        let (missing, extra) = self.missing_and_extra;
        write!(f, "{missing} missing, {extra} too many; first difference at frame {}", self.index)?;
        write!(f, "\n  expected {}\n     found {}", self.expected, self.found)
    }
}

/// A frame for people: its length, where it parts from the other, and its first bytes.
fn shown(frame: Option<&&[u8]>, other: Option<&&[u8]>) -> String {
    let Some(frame) = frame else { return "nothing".to_owned() };
    let parts = other.and_then(|other| frame.iter().zip(other.iter()).position(|(a, b)| a != b));
    let mut text = format!("{} bytes", frame.len());
    if let Some(at) = parts {
        text.push_str(&format!(", differs at byte {at}"));
    }
    if let Some(tag) = Tag::find(frame) {
        text.push_str(&format!(", run {} number {}", tag.run, tag.number));
    }
    text.push_str(": ");
    for byte in frame.iter().take(SHOWN) {
        text.push_str(&format!("{byte:02x}"));
    }
    if frame.len() > SHOWN {
        text.push('…');
    }
    text
}

struct Interface {
    name: Option<String>,
    link_type: u16,
    ticks_per_second: u64,
    offset_s: u64,
}

impl Interface {
    fn classic(link_type: i32, nanoseconds: bool) -> Self {
        Self {
            name: None,
            link_type: u16::try_from(link_type).unwrap_or(u16::MAX),
            ticks_per_second: if nanoseconds { 1_000_000_000 } else { 1_000_000 },
            offset_s: 0,
        }
    }

    fn described(block: &InterfaceDescriptionBlock<'_>) -> Self {
        Self {
            name: block.if_name().and_then(Result::ok).map(str::to_owned),
            link_type: u16::try_from(block.linktype.0).unwrap_or(u16::MAX),
            ticks_per_second: block.ts_resolution().unwrap_or(1_000_000),
            offset_s: u64::try_from(block.ts_offset()).unwrap_or(0),
        }
    }

    fn nanoseconds(&self, ticks: u64) -> u64 {
        let nanoseconds =
            u128::from(ticks) * 1_000_000_000 / u128::from(self.ticks_per_second.max(1));
        u64::try_from(nanoseconds).unwrap_or(u64::MAX) + self.offset_s * 1_000_000_000
    }

    fn record(&self, packet: &EnhancedPacketBlock<'_>) -> Record {
        let mut record = Record {
            interface: self.name.clone(),
            interface_id: packet.if_id,
            link_type: self.link_type,
            timestamp_ns: self
                .nanoseconds(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low)),
            original_len: packet.origlen,
            data: packet.packet_data().to_vec(),
            flags: None,
            dropped: None,
            comments: Vec::new(),
        };
        for option in &packet.options {
            // Options are in the section's byte order; the lab's files are this machine's.
            match option.code {
                OptionCode::Comment => {
                    record.comments.extend(option.as_str().ok().map(str::to_owned));
                }
                OptionCode(EPB_FLAGS) => {
                    record.flags = number(option.value()).and_then(|n| u32::try_from(n).ok());
                }
                OptionCode(EPB_DROPCOUNT) => record.dropped = number(option.value()),
                _ => {}
            }
        }
        record
    }
}

/// A number of four or eight bytes; padding behind it is ignored.
fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        8 => bytes.try_into().ok().map(u64::from_ne_bytes),
        4 => bytes.try_into().ok().map(u32::from_ne_bytes).map(u64::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_tells_where_and_how_many() {
        let expected: [&[u8]; 3] = [b"one", b"two", b"three"];
        assert_eq!(Difference::between(&expected, &expected), Ok(()));
        let difference = Difference::between(&expected, &[b"one", b"twa"]).unwrap_err();
        assert_eq!(difference.index, 1);
        assert_eq!(difference.counts, Some((3, 2)));
        assert_eq!(difference.missing_and_extra, (2, 1));
        assert!(difference.to_string().contains("differs at byte 2"), "{difference}");
    }
}
