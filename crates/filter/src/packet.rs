use model::{Hatype, PacketType};

/// A VLAN tag that the kernel took out of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanTag {
    /// Priority, drop eligibility and VLAN id (`tp_vlan_tci`).
    pub tci: u16,
    /// Protocol of the tag: 0x8100 or 0x88A8 (`tp_vlan_tpid`).
    pub tpid: u16,
}

impl VlanTag {
    /// Where the tag stands in an Ethernet frame, in bytes.
    pub(crate) const OFFSET: usize = 12;
    /// Its length in bytes.
    pub(crate) const LENGTH: usize = 4;

    pub(crate) fn bytes(self) -> [u8; Self::LENGTH] {
        let ([a, b], [c, d]) = (self.tpid.to_be_bytes(), self.tci.to_be_bytes());
        [a, b, c, d]
    }
}

/// A frame with all that a program can ask of it, as a packet socket delivers it.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The captured bytes, link-layer header first, without the tag that is in `vlan`.
    pub data: &'a [u8],
    /// Length on the wire in bytes (`tp_len`), without the tag that is in `vlan`.
    pub original_length: u32,
    /// Offset of the network header in `data` (`tp_net − tp_mac`).
    pub network_offset: u32,
    /// EtherType, in host order.
    pub protocol: u16,
    /// How the frame reached the tap.
    pub packet_type: PacketType,
    /// Index of the interface.
    pub interface_index: u32,
    /// Hardware type of the interface.
    pub hatype: Hatype,
    /// The tag that the kernel took out.
    pub vlan: Option<VlanTag>,
}

impl<'a> Packet<'a> {
    /// A whole, untagged Ethernet frame to this host, of which nothing else is known.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            original_length: u32::try_from(data.len()).unwrap_or(u32::MAX),
            network_offset: 14,
            protocol: 0,
            packet_type: PacketType::Host,
            interface_index: 0,
            hatype: Hatype::ETHER,
            vlan: None,
        }
    }
}
