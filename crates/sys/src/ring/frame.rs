use std::fmt;

use model::{FrameParts, Hatype, PacketType};

use super::FRAME_HEADER;

/// A frame as the kernel left it in a block.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    header: &'a [u8; FRAME_HEADER],
    data: &'a [u8],
}

/// An interface by its index, and its hardware type: two numbers that are compared as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device(u64);

impl Device {
    /// The interface of this index, of this hardware type.
    #[must_use]
    pub fn new(index: u32, hatype: Hatype) -> Self {
        let ([a, b, c, d], [e, f]) = (index.to_ne_bytes(), hatype.0.to_ne_bytes());
        Self(u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]))
    }
}

impl<'a> Frame<'a> {
    /// The frame at an offset of a block's bytes; `None` where no whole frame stands.
    #[inline(always)]
    pub(super) fn at(block: &'a [u8], offset: u32) -> Option<Self> {
        let rest = block.get(offset as usize..)?;
        let frame = Self { header: rest.first_chunk::<FRAME_HEADER>()?, data: rest };
        let from = usize::from(frame.half(24));
        let data = rest.get(from..from + frame.word(12) as usize)?;
        Some(Self { data, ..frame })
    }

    /// Timestamp of the frame at an offset, and the offset of the one behind it.
    #[inline(always)]
    pub(super) fn step(block: &[u8], offset: u32) -> Option<(u64, u32)> {
        let rest = block.get(offset as usize..)?;
        let frame = Frame { header: rest.first_chunk::<FRAME_HEADER>()?, data: &[] };
        Some((frame.timestamp(), offset.checked_add(frame.stride())?))
    }

    /// Bytes from its beginning to that of the next.
    #[inline]
    pub(super) fn stride(&self) -> u32 {
        self.word(0)
    }

    /// All that is told of it.
    #[must_use]
    pub fn parts(&self) -> FrameParts<'a> {
        FrameParts {
            timestamp: self.timestamp(),
            interface: self.interface_index(),
            hatype: self.hatype(),
            protocol: self.protocol(),
            packet_type: self.packet_type(),
            vlan: self.vlan(),
            checksum_not_ready: self.checksum_not_ready(),
            checksum_valid: self.checksum_valid(),
            tcp_segmentation: self.is_tcp_segmentation(),
            address: self.address(),
            network_offset: u16::try_from(self.network_offset()).unwrap_or(u16::MAX),
            original_length: self.original_length(),
            data: self.data(),
        }
    }

    /// The bytes that were kept, from the link-layer header on. A VLAN tag that the kernel took
    /// out is in [`Frame::vlan`].
    #[must_use]
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Length on the wire in bytes.
    #[must_use]
    #[inline]
    pub fn original_length(&self) -> u32 {
        self.word(16)
    }

    /// When the kernel saw it: nanoseconds since 1970.
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> u64 {
        u64::from(self.word(4)) * 1_000_000_000 + u64::from(self.word(8))
    }

    /// Bytes of the link-layer header: where the network header begins in [`Frame::data`].
    #[must_use]
    pub fn network_offset(&self) -> usize {
        usize::from(self.half(26).saturating_sub(self.half(24)))
    }

    /// The VLAN tag that the kernel took out of the frame: tag control word and protocol.
    #[must_use]
    #[inline]
    pub fn vlan(&self) -> Option<(u16, u16)> {
        let status = self.word(20);
        if status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        const ETH_P_8021Q: u16 = 0x8100;
        let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        Some((self.half(32), if known { self.half(36) } else { ETH_P_8021Q }))
    }

    /// The checksum is still to be computed by the hardware, so what stands there is not it.
    #[must_use]
    #[inline]
    pub fn checksum_not_ready(&self) -> bool {
        self.word(20) & libc::TP_STATUS_CSUMNOTREADY != 0
    }

    /// The checksum was found right.
    #[must_use]
    #[inline]
    pub fn checksum_valid(&self) -> bool {
        self.word(20) & libc::TP_STATUS_CSUM_VALID != 0
    }

    /// A TCP segment that is to be cut, or was put together, by segmentation offload.
    #[must_use]
    #[inline]
    pub fn is_tcp_segmentation(&self) -> bool {
        self.word(20) & TP_STATUS_GSO_TCP != 0
    }

    /// Protocol of the payload in host byte order: `ETH_P_IP` …
    #[must_use]
    pub fn protocol(&self) -> u16 {
        u16::from_be(self.half(50))
    }

    /// Index of the interface that it was seen on.
    #[must_use]
    #[inline]
    pub fn interface_index(&self) -> u32 {
        self.word(52)
    }

    /// That interface and its hardware type.
    #[must_use]
    #[inline]
    pub fn device(&self) -> Device {
        let header = self.header;
        let [a, b, c, d] = [header[52], header[53], header[54], header[55]];
        Device(u64::from_ne_bytes([a, b, c, d, header[56], header[57], 0, 0]))
    }

    /// Hardware type of that interface.
    #[must_use]
    #[inline]
    pub fn hatype(&self) -> Hatype {
        Hatype(self.half(56))
    }

    /// How it reached the tap.
    #[must_use]
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        PacketType::from_raw(self.header[58])
    }

    /// The sender's link-layer address, up to eight bytes of it.
    #[must_use]
    pub fn address(&self) -> &'a [u8] {
        let header: &'a [u8; FRAME_HEADER] = self.header;
        &header[60..60 + usize::from(self.header[59].min(8))]
    }

    #[inline]
    fn word(&self, at: usize) -> u32 {
        let header = self.header;
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    }

    #[inline]
    fn half(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.header[at], self.header[at + 1]])
    }
}

/// `TP_STATUS_GSO_TCP` of `linux/if_packet.h`, since Linux 5.14.
pub(super) const TP_STATUS_GSO_TCP: u32 = 1 << 8;

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("timestamp", &self.timestamp())
            .field("interface", &self.interface_index())
            .field("kept", &self.data.len())
            .field("original", &self.original_length())
            .finish()
    }
}
