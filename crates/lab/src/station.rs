use std::net::{Ipv4Addr, Ipv6Addr};

/// One of the parties whose frames are made: its addresses on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Station {
    /// Its hardware address, locally administered.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
    /// Its UDP and TCP port.
    pub port: u16,
}

impl Station {
    /// The first namespace's side of [`Net::pair`](crate::Net::pair).
    pub const A: Self = Self::numbered(1);
    /// The second namespace's side of [`Net::pair`](crate::Net::pair).
    pub const B: Self = Self::numbered(2);
    /// A station that is on no link: frames to it are seen by taps and taken by nobody, so that
    /// no answer stands between a test's frames.
    pub const NOBODY: Self = Self::numbered(99);

    /// The station `10.7.0.n`, `fd07::n`, port `7000 + n`.
    #[must_use]
    pub const fn numbered(n: u8) -> Self {
        Self {
            mac: [0x02, 0x07, 0, 0, 0, n],
            ipv4: Ipv4Addr::new(10, 7, 0, n),
            ipv6: Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, n as u16),
            port: 7000 + n as u16,
        }
    }

    /// Its hardware address as people write it.
    #[must_use]
    pub fn mac_text(&self) -> String {
        Self::text_of(self.mac)
    }

    pub(crate) fn text_of(mac: [u8; 6]) -> String {
        mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}
