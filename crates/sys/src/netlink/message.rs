use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use model::{Hatype, Interface, MacAddress, Network};
use netlink_packet_core::{
    NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::AddressHeader,
    link::{LinkFlags, LinkHeader},
};

use crate::Error;

/// `struct nlmsghdr`, `struct ifinfomsg` and `struct ifaddrmsg`, in bytes.
const MESSAGE_HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// Messages of a datagram start at multiples of this, in bytes.
const ALIGNMENT: usize = 4;

/// What one message of an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// An object of the type that was asked for, `RTM_NEWLINK` or `RTM_NEWADDR`.
    Object { kind: u16, payload: &'a [u8] },
    /// The end of a dump, or the acknowledgement of a request.
    Done,
    /// The kernel's refusal: an errno.
    Refused(i32),
    /// Nothing.
    Noop,
}

/// One message, with what its header says of the whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) sequence: u32,
    /// What is listed changed while it was listed.
    pub(super) interrupted: bool,
    pub(super) answer: Answer<'a>,
}

/// A request in the kernel's format.
pub(super) fn encode(request: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Takes the first message off a datagram. `None` at its end.
pub(super) fn next<'a>(datagram: &mut &'a [u8]) -> Result<Option<Message<'a>>, Error> {
    let rest: &'a [u8] = datagram;
    if rest.is_empty() {
        return Ok(None);
    }
    let buffer = NetlinkBuffer::new_checked(rest)
        .map_err(|_| Error::Netlink { what: "a message is longer than its datagram" })?;
    let length = rest.len() - rest.len().saturating_sub(MESSAGE_HEADER + buffer.payload_length());
    let payload = rest.get(MESSAGE_HEADER..length).unwrap_or_default();
    *datagram = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    let answer = match buffer.message_type() {
        NLMSG_NOOP => Answer::Noop,
        NLMSG_OVERRUN => return Err(Error::Netlink { what: "messages were lost" }),
        // A dump's end may carry an errno as well, and an acknowledgement is an error 0.
        NLMSG_DONE | NLMSG_ERROR => match errno(payload) {
            Some(0) => Answer::Done,
            Some(errno) => Answer::Refused(errno),
            None if buffer.message_type() == NLMSG_DONE => Answer::Done,
            None => return Err(Error::Netlink { what: "an error message without an error" }),
        },
        kind => Answer::Object { kind, payload },
    };
    let interrupted = buffer.flags() & NLM_F_DUMP_INTR != 0;
    Ok(Some(Message { sequence: buffer.sequence_number(), interrupted, answer }))
}

/// The kernel writes `-errno`.
fn errno(payload: &[u8]) -> Option<i32> {
    let code = payload.first_chunk::<4>()?;
    Some(i32::from_ne_bytes(*code).saturating_neg())
}

/// A refusal as an error of the call `call`.
pub(super) fn refusal(call: &'static str, errno: i32) -> Error {
    Error::Call { call, source: io::Error::from_raw_os_error(errno) }
}

/// Reads a link message: a device, without its addresses.
pub(super) fn interface(payload: &[u8]) -> Result<Interface, Error> {
    const TRUNCATED: Error = Error::Netlink { what: "a link message is cut short" };
    let header = LinkHeader::parse(payload).map_err(|_| TRUNCATED)?;
    let mut interface = Interface {
        index: header.index,
        name: String::new(),
        mac: None,
        addresses: Vec::new(),
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up),
        kind: None,
        hatype: Hatype(header.link_layer_type.into()),
        peer_index: None,
    };
    for attribute in NlasIterator::new(payload.get(LINK_HEADER..).unwrap_or_default()) {
        let attribute = attribute.map_err(|_| TRUNCATED)?;
        let value = attribute.value();
        match attribute.kind() {
            libc::IFLA_IFNAME => interface.name = text(value),
            libc::IFLA_ADDRESS => interface.mac = value.try_into().ok().map(MacAddress),
            libc::IFLA_MTU => interface.mtu = number(value).ok_or(TRUNCATED)?,
            libc::IFLA_LINK => interface.peer_index = number(value).filter(|index| *index != 0),
            libc::IFLA_LINKINFO => interface.kind = link_kind(value),
            _ => {}
        }
    }
    if interface.name.is_empty() {
        return Err(Error::Netlink { what: "a device without a name" });
    }
    Ok(interface)
}

fn link_kind(nested: &[u8]) -> Option<String> {
    NlasIterator::new(nested)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == libc::IFLA_INFO_KIND)
        .map(|attribute| text(attribute.value()))
}

/// Reads an address message: the device's index, and the address.
///
/// `IFA_LOCAL` is the device's own address; where both are there, `IFA_ADDRESS` is the far end of a
/// point-to-point link (`linux/if_addr.h`).
pub(super) fn address(payload: &[u8]) -> Result<Option<(u32, Network)>, Error> {
    const TRUNCATED: Error = Error::Netlink { what: "an address message is cut short" };
    let header = AddressHeader::parse(payload).map_err(|_| TRUNCATED)?;
    let (mut local, mut address) = (None, None);
    for attribute in NlasIterator::new(payload.get(ADDRESS_HEADER..).unwrap_or_default()) {
        let attribute = attribute.map_err(|_| TRUNCATED)?;
        match attribute.kind() {
            libc::IFA_LOCAL => local = ip(attribute.value()),
            libc::IFA_ADDRESS => address = ip(attribute.value()),
            _ => {}
        }
    }
    Ok(local
        .or(address)
        .map(|address| (header.index, Network { address, prefix: header.prefix_len })))
}

/// Gives each device its addresses, in the kernel's order. Addresses of a device that is not
/// listed (it came after the list was made) are left out.
pub(super) fn assign(interfaces: &mut [Interface], addresses: Vec<(u32, Network)>) {
    let mut by_index: HashMap<u32, Vec<Network>> = HashMap::new();
    for (index, network) in addresses {
        by_index.entry(index).or_default().push(network);
    }
    for interface in interfaces {
        interface.addresses = by_index.remove(&interface.index).unwrap_or_default();
    }
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into())
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// A string that ends with a zero byte. Names are bytes to the kernel: what is not UTF-8 is
/// replaced.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message in the kernel's format.
    fn raw(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(MESSAGE_HEADER + payload.len()).unwrap();
        let mut bytes = Vec::new();
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    fn link_message() -> Vec<u8> {
        let mut bytes = vec![0, 0];
        bytes.extend(1_u16.to_ne_bytes());
        bytes.extend(5_i32.to_ne_bytes());
        bytes.extend(1_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(attribute(libc::IFLA_IFNAME, b"eth0\0"));
        bytes.extend(attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]));
        bytes.extend(attribute(libc::IFLA_MTU, &1500_u32.to_ne_bytes()));
        bytes.extend(attribute(libc::IFLA_LINK, &6_u32.to_ne_bytes()));
        bytes.extend(attribute(libc::IFLA_LINKINFO, &attribute(libc::IFLA_INFO_KIND, b"veth\0")));
        // A kernel of some later year: statistics of a length that nobody knows.
        bytes.extend(attribute(libc::IFLA_STATS64, &[1, 2, 3]));
        bytes
    }

    #[test]
    fn a_link_message_is_read_past_attributes_of_unknown_shape() {
        let interface = interface(&link_message()).unwrap();
        assert_eq!(
            interface,
            Interface {
                index: 5,
                name: "eth0".to_owned(),
                mac: Some(MacAddress([2, 0, 0, 0, 0, 9])),
                addresses: Vec::new(),
                mtu: 1500,
                up: true,
                kind: Some("veth".to_owned()),
                hatype: Hatype::ETHER,
                peer_index: Some(6),
            }
        );
    }

    #[test]
    fn every_cut_of_a_link_message_is_an_error_or_a_shorter_device() {
        let whole = link_message();
        for length in 0..whole.len() {
            let cut = interface(&whole[..length]);
            if length < LINK_HEADER + 4 + b"eth0\0".len() {
                assert!(cut.is_err(), "{length} bytes hold no name: {cut:?}");
            } else if let Ok(interface) = cut {
                assert_eq!((interface.index, interface.name.as_str()), (5, "eth0"));
            }
        }
    }

    #[test]
    fn the_local_address_wins_over_the_far_end() {
        let mut bytes = vec![2, 32, 0, 0];
        bytes.extend(5_u32.to_ne_bytes());
        bytes.extend(attribute(libc::IFA_ADDRESS, &[10, 0, 0, 2]));
        bytes.extend(attribute(libc::IFA_LOCAL, &[10, 0, 0, 1]));
        let network = Network { address: Ipv4Addr::new(10, 0, 0, 1).into(), prefix: 32 };
        assert_eq!(address(&bytes).unwrap(), Some((5, network)));
        assert!(address(&bytes[..5]).is_err());
    }

    #[test]
    fn a_datagram_is_split_into_its_messages() {
        let mut datagram = raw(libc::RTM_NEWLINK, 2, b"five.");
        datagram.extend(raw(libc::RTM_NEWLINK, 2 | NLM_F_DUMP_INTR, b""));
        datagram.extend(raw(NLMSG_ERROR, 0, &(-libc::EPERM).to_ne_bytes()));
        datagram.extend(raw(NLMSG_DONE, 0, &0_i32.to_ne_bytes()));
        datagram.extend(raw(NLMSG_DONE, 0, b""));
        let mut rest = datagram.as_slice();
        let mut seen = Vec::new();
        while let Some(message) = next(&mut rest).unwrap() {
            assert_eq!(message.sequence, 7);
            seen.push((message.interrupted, message.answer));
        }
        let object = |payload| Answer::Object { kind: libc::RTM_NEWLINK, payload };
        assert_eq!(
            seen,
            [
                (false, object(b"five.".as_slice())),
                (true, object(b"")),
                (false, Answer::Refused(libc::EPERM)),
                (false, Answer::Done),
                (false, Answer::Done),
            ]
        );
    }

    #[test]
    fn a_message_longer_than_its_datagram_is_an_error() {
        let whole = raw(libc::RTM_NEWLINK, 2, &link_message());
        for length in 1..whole.len() {
            let mut cut = &whole[..length];
            assert!(next(&mut cut).is_err(), "{length} of {} bytes", whole.len());
        }
        let mut short = raw(NLMSG_ERROR, 0, &[1, 2]);
        short[0] = 18;
        assert!(next(&mut short.as_slice()).is_err(), "an error message without an error");
    }

    #[test]
    fn addresses_of_unlisted_devices_are_left_out() {
        let network = |last| Network { address: Ipv4Addr::new(10, 0, 0, last).into(), prefix: 8 };
        let mut interfaces = vec![interface(&link_message()).unwrap()];
        assign(&mut interfaces, vec![(5, network(1)), (9, network(2)), (5, network(3))]);
        assert_eq!(interfaces[0].addresses, [network(1), network(3)]);
    }
}
