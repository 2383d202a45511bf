/// Which way a packet went, seen from the interface: bits 0 and 1 of `epb_flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketDirection {
    /// Received by the interface.
    Inbound,
    /// Sent by the interface.
    Outbound,
}

/// How a packet was addressed: bits 2 to 4 of `epb_flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reception {
    /// To the interface's own address.
    Unicast,
    /// To a group.
    Multicast,
    /// To everyone.
    Broadcast,
    /// To somebody else, seen in promiscuous mode.
    Promiscuous,
}

/// The link-layer flags of a packet, as the `epb_flags` option carries them.
///
/// Source: draft-ietf-opsawg-pcapng, "Enhanced Packet Block Flags Word"; bit 0 is the least
/// significant one.
///
/// ```
/// use whaletap_pcapng::{Flags, PacketDirection, Reception};
///
/// let flags = Flags::NONE
///     .with_direction(PacketDirection::Inbound)
///     .with_reception(Reception::Broadcast);
/// assert_eq!(flags.bits(), 0b011_01);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u32);

impl Flags {
    /// Nothing is known.
    pub const NONE: Self = Self(0);

    const DIRECTION: u32 = 0b11;
    const RECEPTION: u32 = 0b111 << 2;
    const CHECKSUM_NOT_READY: u32 = 1 << 9;
    const CHECKSUM_VALID: u32 = 1 << 10;
    const SEGMENTATION_OFFLOADED: u32 = 1 << 11;

    /// The flags of an option's value, unknown bits included.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The option's value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// These flags with the direction set, in place of any that was.
    #[must_use]
    pub const fn with_direction(self, direction: PacketDirection) -> Self {
        let bits = match direction {
            PacketDirection::Inbound => 0b01,
            PacketDirection::Outbound => 0b10,
        };
        Self(self.0 & !Self::DIRECTION | bits)
    }

    /// These flags with the reception type set, in place of any that was.
    #[must_use]
    pub const fn with_reception(self, reception: Reception) -> Self {
        let bits = match reception {
            Reception::Unicast => 1 << 2,
            Reception::Multicast => 2 << 2,
            Reception::Broadcast => 3 << 2,
            Reception::Promiscuous => 4 << 2,
        };
        Self(self.0 & !Self::RECEPTION | bits)
    }

    /// These flags, and: the checksum is left to the device (bit 9), so a wrong one is no error.
    #[must_use]
    pub const fn with_checksum_not_ready(self) -> Self {
        Self(self.0 | Self::CHECKSUM_NOT_READY)
    }

    /// These flags, and: the checksum was verified on the way in (bit 10).
    #[must_use]
    pub const fn with_checksum_valid(self) -> Self {
        Self(self.0 | Self::CHECKSUM_VALID)
    }

    /// These flags, and: several packets of the wire in one, by TCP segmentation offload (bit 11).
    #[must_use]
    pub const fn with_segmentation_offloaded(self) -> Self {
        Self(self.0 | Self::SEGMENTATION_OFFLOADED)
    }

    /// The direction, where it is known.
    #[must_use]
    pub const fn direction(self) -> Option<PacketDirection> {
        match self.0 & Self::DIRECTION {
            0b01 => Some(PacketDirection::Inbound),
            0b10 => Some(PacketDirection::Outbound),
            _ => None,
        }
    }

    /// The reception type, where it is known.
    #[must_use]
    pub const fn reception(self) -> Option<Reception> {
        match (self.0 & Self::RECEPTION) >> 2 {
            1 => Some(Reception::Unicast),
            2 => Some(Reception::Multicast),
            3 => Some(Reception::Broadcast),
            4 => Some(Reception::Promiscuous),
            _ => None,
        }
    }

    /// Whether the checksum was left to the device.
    #[must_use]
    pub const fn checksum_not_ready(self) -> bool {
        self.0 & Self::CHECKSUM_NOT_READY != 0
    }

    /// Whether the checksum was verified on the way in.
    #[must_use]
    pub const fn checksum_valid(self) -> bool {
        self.0 & Self::CHECKSUM_VALID != 0
    }

    /// Whether this is several packets of the wire in one.
    #[must_use]
    pub const fn segmentation_offloaded(self) -> bool {
        self.0 & Self::SEGMENTATION_OFFLOADED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Flags, PacketDirection, Reception};

    #[test]
    fn bits_are_where_the_draft_puts_them() {
        let bits = |flags: Flags| flags.bits();
        assert_eq!(bits(Flags::NONE.with_direction(PacketDirection::Inbound)), 0x1);
        assert_eq!(bits(Flags::NONE.with_direction(PacketDirection::Outbound)), 0x2);
        assert_eq!(bits(Flags::NONE.with_reception(Reception::Unicast)), 0x4);
        assert_eq!(bits(Flags::NONE.with_reception(Reception::Multicast)), 0x8);
        assert_eq!(bits(Flags::NONE.with_reception(Reception::Broadcast)), 0xC);
        assert_eq!(bits(Flags::NONE.with_reception(Reception::Promiscuous)), 0x10);
        assert_eq!(bits(Flags::NONE.with_checksum_not_ready()), 0x200);
        assert_eq!(bits(Flags::NONE.with_checksum_valid()), 0x400);
        assert_eq!(bits(Flags::NONE.with_segmentation_offloaded()), 0x800);
    }

    #[test]
    fn a_later_word_replaces_an_earlier_one_and_leaves_the_rest() {
        let flags = Flags::from_bits(0xFF00_0000)
            .with_checksum_valid()
            .with_reception(Reception::Broadcast)
            .with_reception(Reception::Promiscuous)
            .with_direction(PacketDirection::Inbound)
            .with_direction(PacketDirection::Outbound);
        assert_eq!(flags.direction(), Some(PacketDirection::Outbound));
        assert_eq!(flags.reception(), Some(Reception::Promiscuous));
        assert!(flags.checksum_valid());
        assert!(!flags.checksum_not_ready() && !flags.segmentation_offloaded());
        assert_eq!(flags.bits() >> 24, 0xFF);
    }

    #[test]
    fn reserved_combinations_say_nothing() {
        assert_eq!(Flags::from_bits(0b11).direction(), None);
        assert_eq!(Flags::from_bits(0b111 << 2).reception(), None);
    }
}
