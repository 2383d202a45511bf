use std::{fmt, net::IpAddr};

use crate::LinkType;

/// Hardware type of a device: `ARPHRD_` of `linux/if_arp.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hatype(pub u16);

impl Hatype {
    /// Ethernet, and everything that looks like it (veth, bridge, macvlan, tap, vxlan).
    pub const ETHER: Self = Self(1);
    /// Raw IP of a modem.
    pub const RAWIP: Self = Self(519);
    /// IPv4 in IPv4.
    pub const TUNNEL: Self = Self(768);
    /// Anything in IPv6.
    pub const TUNNEL6: Self = Self(769);
    /// Loopback.
    pub const LOOPBACK: Self = Self(772);
    /// IPv6 in IPv4.
    pub const SIT: Self = Self(776);
    /// No link layer: tun, WireGuard.
    pub const NONE: Self = Self(0xFFFE);
}

/// A link-layer address of six bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address with the length of its prefix, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    /// The address itself, host bits included.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A device in a network namespace, as netlink tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Index, unique within its namespace.
    pub index: u32,
    /// Name, unique within its namespace: `eth0`.
    pub name: String,
    /// Link-layer address, where the device has one of six bytes.
    pub mac: Option<MacAddress>,
    /// IPv4 and IPv6 addresses, in the kernel's order.
    pub addresses: Vec<Network>,
    /// Largest packet in bytes, link-layer header excluded.
    pub mtu: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// The driver's word for itself: `veth`, `bridge`, `tun`; `None` for lo and hardware.
    pub kind: Option<String>,
    /// Hardware type.
    pub hatype: Hatype,
    /// Index of the other end of a veth, in the peer's namespace; of the lower device otherwise.
    pub peer_index: Option<u32>,
}

impl Interface {
    /// The link type that this device's frames are written with.
    #[must_use]
    pub fn link_type(&self) -> LinkType {
        LinkType::of(self.hatype).unwrap_or(LinkType::LINUX_SLL2)
    }
}
