use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use model::FrameParts;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// One direction of what two programs say to each other by TCP, or by UDP as tunnels do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    protocol: u8,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
}

impl Flow {
    /// A frame's; `None` where it has none, or less is captured of it than that takes.
    pub(super) fn of(frame: &FrameParts<'_>) -> Option<Self> {
        let at = usize::from(frame.network_offset);
        let packet = frame.data.get(at..)?;
        // A tag that stands in the frame is not looked behind.
        let (protocol, from, to, header) = match frame.protocol {
            ETHERTYPE_IPV4 => {
                let (header, _) = packet.split_first_chunk::<20>()?;
                let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
                if fragment != 0 {
                    return None;
                }
                let address =
                    |at: usize| Ipv4Addr::from_octets([0, 1, 2, 3].map(|n| header[at + n]));
                let length = usize::from(header[0] & 0x0f) * 4;
                (header[9], IpAddr::V4(address(12)), IpAddr::V4(address(16)), length)
            }
            ETHERTYPE_IPV6 => {
                let (header, _) = packet.split_first_chunk::<IPV6_HEADER>()?;
                let address = |at: usize| {
                    let octets = header[at..].first_chunk::<16>();
                    octets.map(|octets| IpAddr::V6(Ipv6Addr::from_octets(*octets)))
                };
                (header[6], address(8)?, address(24)?, IPV6_HEADER)
            }
            _ => return None,
        };
        if protocol != TCP && protocol != UDP {
            return None;
        }
        let ports = packet.get(header..)?.first_chunk::<4>()?;
        let port = |high, low| u16::from_be_bytes([high, low]);
        let (from_port, to_port) = (port(ports[0], ports[1]), port(ports[2], ports[3]));
        Some(Self { protocol, from: (from, from_port), to: (to, to_port) })
    }

    /// An expression that leaves out this and whatever else the same two say by the same port of the
    /// one that sends: the other one's port is another one each time.
    pub(super) fn expression(&self) -> String {
        format!("not (host {} and port {})", self.to.0, self.from.1)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == TCP { "TCP" } else { "UDP" };
        let [from, to] = [self.from, self.to].map(std::net::SocketAddr::from);
        write!(f, "{protocol} from {from} to {to}")
    }
}
