use super::{
    Block, ByteOrder, Interface, Names, Options, Packet, Resolution, Section, Statistics,
    clock::Clock,
    fields::{Fields, index},
};
use crate::{
    BYTE_ORDER_MAGIC, ENHANCED_PACKET, Error, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS,
    MAX_BLOCK_LEN, NAME_RESOLUTION, OBSOLETE_PACKET, PcapHeader, SECTION_HEADER, SIMPLE_PACKET,
    option_list::FRAME_LEN,
    pcap::{MAGIC_MICROSECONDS, MAGIC_NANOSECONDS},
};

/// Most interfaces of one section that the reader remembers. Further ones are errors, so that a
/// file cannot make the reader's memory grow without end.
pub const MAX_INTERFACES: usize = 65_536;

/// Bytes of the longest unit that is asked for: a record is a header and as much as a block.
pub(super) const MAX_UNIT_LEN: usize = RECORD_HEAD_LEN + MAX_BLOCK_LEN;

const RECORD_HEAD_LEN: usize = 16;
/// A section header without options.
const SECTION_LEN: usize = FRAME_LEN + 16;
/// What an obsolete Packet Block says when it does not know how many packets were lost.
const DROPS_UNKNOWN: u16 = 0xFFFF;

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Behind a whole block.
    Complete,
    /// In the middle of a block: the writer was killed, or is not done yet. An empty file counts
    /// as cut off too, since even the shortest begins with a header.
    Truncated {
        /// Where the block that is not whole begins.
        offset: u64,
        /// How many bytes of it there are.
        bytes: u64,
    },
    /// At an error behind which the next block cannot be found.
    Failed {
        /// Where the block with the error begins.
        offset: u64,
    },
}

/// How much of the input the next block or record takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// This many bytes, to be given to [`Decoder::decode`].
    Whole(usize),
    /// Unknown until there are this many bytes.
    Unknown(usize),
}

/// What is remembered of an interface; `None` for one whose block was too short.
type Described = Option<(Clock, u32)>;

#[derive(Debug)]
enum State {
    Start,
    Pcapng { order: ByteOrder, known_version: bool, interfaces: Vec<Described> },
    Pcap { order: ByteOrder, clock: Clock },
}

/// What both readers share: it sees one block at a time and remembers the interfaces.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { state: State::Start }
    }

    /// How the file ends, if `left` is all that is left of it and not a whole block.
    pub(super) fn end(&self, offset: u64, left: usize) -> End {
        if left == 0 && !matches!(self.state, State::Start) {
            End::Complete
        } else {
            End::Truncated { offset, bytes: u64::try_from(left).unwrap_or(u64::MAX) }
        }
    }

    /// How long the next block is that `input` begins with. Errors are final.
    pub(super) fn extent(&self, input: &[u8], offset: u64) -> Result<Extent, Error> {
        let Some(magic) = input.first_chunk::<4>() else { return Ok(Extent::Unknown(4)) };
        let order = match self.state {
            State::Pcap { order, .. } => return record_extent(input, order, offset),
            // The type reads the same in both orders.
            _ if *magic == SECTION_HEADER.to_be_bytes() => match input.get(8..12) {
                Some(magic) => section_order(magic)
                    .ok_or_else(|| Error::ByteOrder { offset, magic: array(magic) })?,
                None => return Ok(Extent::Unknown(12)),
            },
            State::Start => {
                return match pcap_format(*magic) {
                    Some(_) => Ok(Extent::Whole(PcapHeader::ENCODED_LEN)),
                    None => Err(Error::UnknownFormat { magic: *magic }),
                };
            }
            State::Pcapng { order, .. } => order,
        };
        let Some(length) = input.get(4..8) else { return Ok(Extent::Unknown(8)) };
        let length = order.u32(array(length));
        let section = *magic == SECTION_HEADER.to_be_bytes();
        let least = if section { SECTION_LEN } else { FRAME_LEN };
        let whole = index(length);
        if whole < least || whole > MAX_BLOCK_LEN || !whole.is_multiple_of(4) {
            return Err(Error::BlockLength { offset, length });
        }
        Ok(Extent::Whole(whole))
    }

    /// Takes apart a block of the length that [`extent`](Self::extent) found. Errors cost only
    /// this block.
    pub(super) fn decode<'a>(&mut self, unit: &'a [u8], offset: u64) -> Result<Block<'a>, Error> {
        let magic = unit.first_chunk().copied().unwrap_or_default();
        if let State::Pcap { order, clock } = self.state {
            return record(unit, order, clock).ok_or(Error::ShortBlock { offset, block_type: 0 });
        }
        if magic == SECTION_HEADER.to_be_bytes() {
            let order = unit.get(8..12).and_then(section_order).unwrap_or(ByteOrder::Little);
            self.state = State::Pcapng { order, known_version: true, interfaces: Vec::new() };
        }
        let (order, known_version, interfaces) = match &mut self.state {
            State::Pcapng { order, known_version, interfaces } => {
                (*order, known_version, interfaces)
            }
            _ => return self.pcap_header(unit, magic),
        };
        let block_type = order.u32(magic);
        let short = Error::ShortBlock { offset, block_type };
        let Some((body, trailer)) = unit.get(8..).and_then(|rest| rest.split_last_chunk()) else {
            return Err(short);
        };
        // Before the trailer is looked at: a damaged block must not shift the interfaces' numbers.
        let block = match block_type {
            SECTION_HEADER => section(body, order, offset)
                .inspect_err(|error| *known_version = !matches!(error, Error::Version { .. })),
            _ if !*known_version => Ok(Block::Unknown { block_type, body }),
            INTERFACE_DESCRIPTION => interface(Fields::new(body, order), interfaces, offset),
            ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET => {
                packet(block_type, Fields::new(body, order), interfaces, offset)
            }
            NAME_RESOLUTION => Ok(Block::Names(Names::new(body, order))),
            INTERFACE_STATISTICS => statistics(Fields::new(body, order), interfaces, offset),
            _ => Ok(Block::Unknown { block_type, body }),
        };
        let length = order.u32(unit.get(4..8).map_or([0; 4], array));
        let trailer = order.u32(*trailer);
        if trailer != length {
            return Err(Error::Trailer { offset, length, trailer });
        }
        block
    }

    fn pcap_header<'a>(&mut self, unit: &'a [u8], magic: [u8; 4]) -> Result<Block<'a>, Error> {
        let Some((order, resolution)) = pcap_format(magic) else {
            return Err(Error::UnknownFormat { magic });
        };
        self.state = State::Pcap { order, clock: Clock { resolution, offset: 0 } };
        let word = |at: usize| order.u32(unit.get(at..at + 4).map_or([0; 4], array));
        // The upper half of the last word is about frame check sequences.
        let link_type = u16::try_from(word(20) & 0xFFFF).unwrap_or_default();
        Ok(Block::Interface(Interface {
            number: 0,
            link_type,
            snaplen: word(16),
            resolution,
            options: Options::new(&[], order),
        }))
    }
}

/// Bytes of a length that the caller has made sure of.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

fn section_order(magic: &[u8]) -> Option<ByteOrder> {
    if magic == BYTE_ORDER_MAGIC.to_le_bytes() {
        Some(ByteOrder::Little)
    } else if magic == BYTE_ORDER_MAGIC.to_be_bytes() {
        Some(ByteOrder::Big)
    } else {
        None
    }
}

fn pcap_format(magic: [u8; 4]) -> Option<(ByteOrder, Resolution)> {
    let resolution = |magic| match magic {
        MAGIC_MICROSECONDS => Some(Resolution::MICROSECONDS),
        MAGIC_NANOSECONDS => Some(Resolution::NANOSECONDS),
        _ => None,
    };
    let little = resolution(u32::from_le_bytes(magic)).map(|it| (ByteOrder::Little, it));
    little.or_else(|| resolution(u32::from_be_bytes(magic)).map(|it| (ByteOrder::Big, it)))
}

fn record_extent(input: &[u8], order: ByteOrder, offset: u64) -> Result<Extent, Error> {
    let Some(captured) = input.get(8..12) else {
        return Ok(Extent::Unknown(RECORD_HEAD_LEN));
    };
    let length = order.u32(array(captured));
    if index(length) > MAX_BLOCK_LEN {
        return Err(Error::RecordLength { offset, length });
    }
    Ok(Extent::Whole(RECORD_HEAD_LEN + index(length)))
}

fn record(unit: &[u8], order: ByteOrder, clock: Clock) -> Option<Block<'_>> {
    let mut fields = Fields::new(unit, order);
    let (seconds, fraction) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let captured = index(fields.u32()?);
    let original_length = fields.u32()?;
    // A fraction of more than a second is nonsense, but no overflow.
    let timestamp = seconds * 1_000_000_000 + clock.nanoseconds(fraction);
    Some(Block::Packet(Packet {
        interface: 0,
        timestamp: Some(timestamp),
        original_length,
        bytes: fields.bytes(captured)?,
        dropcount: None,
        options: Options::new(&[], order),
    }))
}

fn section(body: &[u8], order: ByteOrder, offset: u64) -> Result<Block<'_>, Error> {
    let mut fields = Fields::new(body, order);
    let mut read = || {
        let _magic = fields.u32()?;
        Some((fields.u16()?, fields.u16()?, fields.u64()?))
    };
    let Some((major, minor, length)) = read() else {
        return Err(Error::ShortBlock { offset, block_type: SECTION_HEADER });
    };
    // Some writers say 1.2 and mean 1.0: the draft tells readers to take it.
    if major != 1 || !matches!(minor, 0 | 2) {
        return Err(Error::Version { offset, major, minor });
    }
    let length = (length != u64::MAX).then_some(length);
    Ok(Block::Section(Section {
        byte_order: order,
        length,
        options: Options::new(fields.rest, order),
    }))
}

fn interface<'a>(
    mut fields: Fields<'a>,
    interfaces: &mut Vec<Described>,
    offset: u64,
) -> Result<Block<'a>, Error> {
    if interfaces.len() >= MAX_INTERFACES {
        return Err(Error::TooManyInterfaces { offset });
    }
    let number = u32::try_from(interfaces.len()).unwrap_or(u32::MAX);
    let mut read = || {
        let link_type = fields.u16()?;
        let _reserved = fields.u16()?;
        Some((link_type, fields.u32()?))
    };
    let Some((link_type, snaplen)) = read() else {
        interfaces.push(None);
        return Err(Error::ShortBlock { offset, block_type: INTERFACE_DESCRIPTION });
    };
    let options = Options::new(fields.rest, fields.order);
    let resolution =
        options.array(9).map_or(Resolution::MICROSECONDS, |[exponent]| Resolution(exponent));
    let interface = Interface { number, link_type, snaplen, resolution, options };
    let clock = Clock { resolution, offset: interface.tsoffset().unwrap_or(0) };
    interfaces.push(Some((clock, snaplen)));
    Ok(Block::Interface(interface))
}

fn described(interfaces: &[Described], interface: u32, offset: u64) -> Result<(Clock, u32), Error> {
    let found = interfaces.get(index(interface)).copied().flatten();
    found.ok_or(Error::UndescribedInterface { offset, interface })
}

fn packet<'a>(
    block_type: u32,
    fields: Fields<'a>,
    interfaces: &[Described],
    offset: u64,
) -> Result<Block<'a>, Error> {
    let packet = match block_type {
        ENHANCED_PACKET => enhanced_packet(fields),
        OBSOLETE_PACKET => obsolete_packet(fields),
        _ => {
            let (_, snaplen) = described(interfaces, 0, offset)?;
            return simple_packet(fields, snaplen)
                .map(Block::Packet)
                .ok_or(Error::ShortBlock { offset, block_type });
        }
    };
    let mut packet = packet.ok_or(Error::ShortBlock { offset, block_type })?;
    let (clock, _) = described(interfaces, packet.interface, offset)?;
    packet.timestamp = packet.timestamp.map(|units| clock.nanoseconds(units));
    Ok(Block::Packet(packet))
}

/// An Enhanced Packet Block, its timestamp still in the interface's units.
fn enhanced_packet(mut fields: Fields<'_>) -> Option<Packet<'_>> {
    let interface = fields.u32()?;
    let timestamp = Some(fields.halves()?);
    let captured = index(fields.u32()?);
    let original_length = fields.u32()?;
    let bytes = fields.padded(captured)?;
    let options = Options::new(fields.rest, fields.order);
    let dropcount = options.u64(4);
    Some(Packet { interface, timestamp, original_length, bytes, dropcount, options })
}

/// An obsolete Packet Block: a 16-bit interface and drop count in place of a 32-bit interface.
fn obsolete_packet(mut fields: Fields<'_>) -> Option<Packet<'_>> {
    let interface = u32::from(fields.u16()?);
    let drops = fields.u16()?;
    let timestamp = Some(fields.halves()?);
    let captured = index(fields.u32()?);
    let original_length = fields.u32()?;
    let bytes = fields.padded(captured)?;
    let options = Options::new(fields.rest, fields.order);
    let dropcount = (drops != DROPS_UNKNOWN).then_some(u64::from(drops));
    Some(Packet { interface, timestamp, original_length, bytes, dropcount, options })
}

/// A Simple Packet Block: neither time nor captured length, the latter follows from the snaplen.
fn simple_packet(mut fields: Fields<'_>, snaplen: u32) -> Option<Packet<'_>> {
    let original_length = fields.u32()?;
    let captured = if snaplen == 0 { original_length } else { original_length.min(snaplen) };
    let bytes = fields.bytes(index(captured))?;
    let options = Options::new(&[], fields.order);
    Some(Packet { interface: 0, timestamp: None, original_length, bytes, dropcount: None, options })
}

fn statistics<'a>(
    mut fields: Fields<'a>,
    interfaces: &[Described],
    offset: u64,
) -> Result<Block<'a>, Error> {
    let mut read = || Some((fields.u32()?, fields.halves()?));
    let Some((interface, timestamp)) = read() else {
        return Err(Error::ShortBlock { offset, block_type: INTERFACE_STATISTICS });
    };
    let (clock, _) = described(interfaces, interface, offset)?;
    let options = Options::new(fields.rest, fields.order);
    let timestamp = clock.nanoseconds(timestamp);
    Ok(Block::Statistics(Statistics { interface, timestamp, options, clock }))
}
