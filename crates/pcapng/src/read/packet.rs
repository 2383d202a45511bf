use std::borrow::Cow;

use super::Options;
use crate::Flags;

/// A packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Number of its interface within the section.
    pub interface: u32,
    /// Nanoseconds since 1970; `None` in a Simple Packet Block, which has no time.
    pub timestamp: Option<u64>,
    /// Bytes that the packet had before anything was cut off, as the file says.
    pub original_length: u32,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// Packets lost since the one before on this interface: `epb_dropcount`, or the field of an
    /// obsolete Packet Block.
    pub dropcount: Option<u64>,
    /// All options, uninterpreted.
    pub options: Options<'a>,
}

impl<'a> Packet<'a> {
    /// Link-layer flags (`epb_flags`).
    #[must_use]
    pub fn flags(&self) -> Option<Flags> {
        self.options.u32(2).map(Flags::from_bits)
    }

    /// The number that this packet has at every interface that saw it (`epb_packetid`).
    #[must_use]
    pub fn packet_id(&self) -> Option<u64> {
        self.options.u64(5)
    }

    /// The device's queue (`epb_queue`).
    #[must_use]
    pub fn queue(&self) -> Option<u32> {
        self.options.u32(6)
    }

    /// Comments, in their order.
    pub fn comments(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.options.comments()
    }
}
