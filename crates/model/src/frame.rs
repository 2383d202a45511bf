use crate::{Hatype, PacketType};

/// A frame, and what a kernel's ring tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameParts<'a> {
    /// When it was seen: nanoseconds since 1970, by the clock of the machine that saw it.
    pub timestamp: u64,
    /// Index of the interface.
    pub interface: u32,
    /// Hardware type of it.
    pub hatype: Hatype,
    /// Protocol of the payload in host byte order: `ETH_P_IP` …
    pub protocol: u16,
    /// How it reached the tap.
    pub packet_type: PacketType,
    /// The VLAN tag that the kernel took out: control word and protocol.
    pub vlan: Option<(u16, u16)>,
    /// The checksum is still to be computed.
    pub checksum_not_ready: bool,
    /// The checksum was found right.
    pub checksum_valid: bool,
    /// Cut, or put together, by TCP segmentation offload.
    pub tcp_segmentation: bool,
    /// The sender's link-layer address, of which eight bytes are kept: only needed where frames have no
    /// Ethernet header, which has it.
    pub address: &'a [u8],
    /// Where the network header begins in `data`.
    pub network_offset: u16,
    /// Length on the wire in bytes.
    pub original_length: u32,
    /// The bytes that were kept, from the link-layer header on.
    pub data: &'a [u8],
}
