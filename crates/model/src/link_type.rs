use std::fmt;

use crate::Hatype;

/// The `LINKTYPE_` value that files carry; not the `DLT_` number of libpcap's API.
///
/// Source: <https://www.tcpdump.org/linktypes.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

impl LinkType {
    /// Ethernet; loopback devices too, whose frames carry an Ethernet header of zeros.
    pub const ETHERNET: Self = Self(1);
    /// Raw IP: the frame begins with an IPv4 or IPv6 header.
    pub const RAW: Self = Self(101);
    /// Linux cooked capture, version 2: what frames without a mapping are written as.
    pub const LINUX_SLL2: Self = Self(276);

    /// The link type of a device's frames as a `SOCK_RAW` packet socket sees them; `None` where
    /// the header has no `LINKTYPE_` of its own and the frame is written as
    /// [`LinkType::LINUX_SLL2`].
    #[must_use]
    pub fn of(hatype: Hatype) -> Option<Self> {
        match hatype {
            Hatype::ETHER | Hatype::LOOPBACK => Some(Self::ETHERNET),
            Hatype::NONE | Hatype::RAWIP => Some(Self::RAW),
            Hatype::TUNNEL | Hatype::TUNNEL6 | Hatype::SIT => Some(Self::RAW),
            _ => None,
        }
    }

    /// The name that `tcpdump -L` and capinfos give, without its prefix.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::ETHERNET => Some("EN10MB"),
            Self::RAW => Some("RAW"),
            Self::LINUX_SLL2 => Some("LINUX_SLL2"),
            _ => None,
        }
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "LINKTYPE {}", self.0),
        }
    }
}
