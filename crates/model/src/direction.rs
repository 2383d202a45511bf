/// Which way frames that are wanted travel, seen from the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Received by the interface.
    In,
    /// Sent by the interface.
    Out,
    /// Both.
    #[default]
    InOut,
}

/// How a frame reached the tap: `sll_pkttype` of `packet(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// Addressed to this host.
    Host,
    /// Link-layer broadcast.
    Broadcast,
    /// Link-layer multicast.
    Multicast,
    /// Addressed to another host, seen in promiscuous mode or on a bridge.
    OtherHost,
    /// Sent from this host.
    Outgoing,
    /// A number that this table does not know; the kernel's looped-back copies among them.
    Other(u8),
}

impl PacketType {
    /// From the kernel's number (`PACKET_HOST` … in `linux/if_packet.h`).
    #[must_use]
    pub fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::Host,
            1 => Self::Broadcast,
            2 => Self::Multicast,
            3 => Self::OtherHost,
            4 => Self::Outgoing,
            other => Self::Other(other),
        }
    }

    /// The kernel's number.
    #[must_use]
    pub fn raw(self) -> u8 {
        match self {
            Self::Host => 0,
            Self::Broadcast => 1,
            Self::Multicast => 2,
            Self::OtherHost => 3,
            Self::Outgoing => 4,
            Self::Other(raw) => raw,
        }
    }
}
