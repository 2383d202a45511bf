//! What is written: frames with their tag put back or under a cooked header, cut to the snaplen;
//! and the blocks around them.

use std::net::IpAddr;

use model::{Interface, LinkType, PacketType, Snaplen};
use pcapng::{
    Flags, InterfaceBlock, NameBlock, PacketDirection, Reception, Section, StatisticsBlock,
};
use sys::ring::Frame;

use crate::{Identity, config::SectionText, source::Source};

/// Bytes of a VLAN tag.
const TAG: usize = 4;
/// Where the tag stands in an Ethernet frame: behind the two addresses.
const TAG_OFFSET: usize = 12;
/// Bytes of the Linux cooked header, version 2.
const COOKED: usize = 20;

/// Bytes that are written and do not stand in the ring.
pub(crate) type Scratch = [u8; COOKED + TAG];

/// A frame's bytes as they go to a file, in up to three pieces.
#[derive(Debug)]
pub(crate) struct Shape<'a> {
    parts: [&'a [u8]; 3],
    count: usize,
    /// Length of all pieces in bytes.
    pub(crate) captured: usize,
    /// Length on the wire in bytes, of what is written.
    pub(crate) original: u32,
}

impl<'a> Shape<'a> {
    /// The shape of `frame` under `link_type`, of at most `snaplen` bytes.
    #[inline]
    pub(crate) fn of(
        frame: &Frame<'a>,
        link_type: LinkType,
        snaplen: usize,
        scratch: &'a mut Scratch,
    ) -> Self {
        if link_type == LinkType::LINUX_SLL2 {
            return Self::cooked(frame, snaplen, scratch);
        }
        let (data, original) = (frame.data(), frame.original_length());
        match frame.vlan() {
            Some((tci, tpid)) if data.len() >= TAG_OFFSET => {
                let [a, b] = tpid.to_be_bytes();
                let [c, d] = tci.to_be_bytes();
                scratch[..TAG].copy_from_slice(&[a, b, c, d]);
                let parts = [&data[..TAG_OFFSET], &scratch[..TAG], &data[TAG_OFFSET..]];
                Self::cut(parts, original.saturating_add(4), snaplen)
            }
            _ => {
                let data = &data[..data.len().min(snaplen)];
                Self { parts: [data, &[], &[]], count: 1, captured: data.len(), original }
            }
        }
    }

    /// Under a Linux cooked header, version 2.
    ///
    /// Source: <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>.
    fn cooked(frame: &Frame<'a>, snaplen: usize, scratch: &'a mut Scratch) -> Self {
        let header = frame.network_offset().min(frame.data().len());
        let payload = &frame.data()[header..];
        let original = frame.original_length();
        let original = original.saturating_sub(u32::try_from(header).unwrap_or(0));
        let address = frame.address();
        let protocol = frame.vlan().map_or(frame.protocol(), |(_, tpid)| tpid);
        scratch[0..2].copy_from_slice(&protocol.to_be_bytes());
        scratch[2..4].fill(0);
        scratch[4..8].copy_from_slice(&frame.interface_index().to_be_bytes());
        scratch[8..10].copy_from_slice(&frame.hatype().0.to_be_bytes());
        scratch[10] = frame.packet_type().raw();
        scratch[11] = u8::try_from(address.len()).unwrap_or(8);
        scratch[12..COOKED].fill(0);
        scratch[12..12 + address.len()].copy_from_slice(address);
        let mut length = COOKED;
        if let Some((tci, _)) = frame.vlan() {
            scratch[COOKED..COOKED + 2].copy_from_slice(&tci.to_be_bytes());
            scratch[COOKED + 2..].copy_from_slice(&frame.protocol().to_be_bytes());
            length += TAG;
        }
        let original = original.saturating_add(u32::try_from(length).unwrap_or(0));
        Self::cut([&scratch[..length], payload, &[]], original, snaplen)
    }

    fn cut(mut parts: [&'a [u8]; 3], original: u32, snaplen: usize) -> Self {
        let mut left = snaplen;
        for part in &mut parts {
            *part = &part[..part.len().min(left)];
            left -= part.len();
        }
        Self { parts, count: 3, captured: snaplen - left, original }
    }

    /// The pieces.
    #[inline]
    pub(crate) fn parts(&self) -> &[&'a [u8]] {
        &self.parts[..self.count]
    }

    /// All pieces in one, for who needs them so.
    pub(crate) fn joined(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

/// What the kernel told beside the bytes.
#[inline(always)]
pub(crate) fn flags(frame: &Frame<'_>) -> Flags {
    const IN: Flags = Flags::NONE.with_direction(PacketDirection::Inbound);
    let mut flags = match frame.packet_type() {
        PacketType::Host => IN.with_reception(Reception::Unicast),
        PacketType::Multicast => IN.with_reception(Reception::Multicast),
        PacketType::Broadcast => IN.with_reception(Reception::Broadcast),
        PacketType::OtherHost => IN.with_reception(Reception::Promiscuous),
        PacketType::Outgoing => Flags::NONE.with_direction(PacketDirection::Outbound),
        PacketType::Other(_) => IN,
    };
    if frame.checksum_not_ready() {
        flags = flags.with_checksum_not_ready();
    }
    if frame.checksum_valid() {
        flags = flags.with_checksum_valid();
    }
    if frame.is_tcp_segmentation() {
        flags = flags.with_segmentation_offloaded();
    }
    flags
}

/// The section header.
pub(crate) fn section(text: &SectionText, out: &mut Vec<u8>) {
    section_about(text, "", out);
}

/// The same with a further comment.
pub(crate) fn section_about(text: &SectionText, about: &str, out: &mut Vec<u8>) {
    let comments: Vec<&str> = given(&text.comment).into_iter().chain(given(about)).collect();
    Section {
        hardware: given(&text.hardware),
        os: given(&text.os),
        application: given(&text.application),
        comments: &comments,
    }
    .encode(out);
}

/// The names of addresses.
pub(crate) fn names(names: &[(IpAddr, String)], out: &mut Vec<u8>) {
    let names: Vec<(IpAddr, &str)> = names.iter().map(|(ip, name)| (*ip, &**name)).collect();
    NameBlock { names: &names, comments: &[] }.encode(out);
}

/// `web/eth0`.
pub(crate) fn full_name(identity: &Identity, interface: &Interface) -> String {
    format!("{}/{}", identity.name, interface.name)
}

/// What an interface block says of an interface beside its name: whose it is, and its networks.
pub(crate) fn description(identity: &Identity, interface: &Interface) -> String {
    let mut description = identity.description.clone();
    let is_inside = |ip: &IpAddr| interface.addresses.iter().any(|network| network.address == *ip);
    let mut networks: Vec<&str> =
        identity.networks.iter().filter(|(ip, _)| is_inside(ip)).map(|(_, name)| &**name).collect();
    networks.dedup();
    for network in networks {
        description.push_str(", network ");
        description.push_str(network);
    }
    description
}

/// The interface block that a block takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// An earlier description of the interface.
    Description(u32),
    /// The interface of the same name in the target's earlier namespace.
    Namespace(u32),
}

/// The interface block of a slot. `earlier` is the block that it takes the place of.
pub(crate) fn interface_block(
    source: &Source,
    slot: usize,
    earlier: Option<Earlier>,
    snaplen: Snaplen,
    expression: &str,
    text: &SectionText,
    out: &mut Vec<u8>,
) {
    let slot = &source.slots[slot];
    let interface = &slot.interface;
    let description = description(&source.identity, interface);
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for network in &interface.addresses {
        match network.address {
            IpAddr::V4(address) => ipv4.push((address, network.prefix)),
            IpAddr::V6(address) => ipv6.push((address, network.prefix)),
        }
    }
    let earlier = earlier.map(|earlier| match earlier {
        Earlier::Description(number) => format!(
            "from here on in place of interface {number} of this file: what describes it changed"
        ),
        Earlier::Namespace(number) => format!(
            "from here on in place of interface {number} of this file: the same target, which has \
             another namespace now"
        ),
    });
    let comments: Vec<&str> = earlier.as_deref().into_iter().collect();
    InterfaceBlock {
        link_type: slot.link_type.0,
        snaplen: snaplen.bytes(),
        name: &full_name(&source.identity, interface),
        description: given(&description),
        ipv4: &ipv4,
        ipv6: &ipv6,
        mac: interface.mac.map(|mac| mac.0),
        filter: given(expression),
        os: given(&text.interface_os),
        hardware: interface.kind.as_deref(),
        tsoffset: text.tsoffset,
        comments: &comments,
    }
    .encode(out);
}

/// The interface block of a file that has none.
pub(crate) fn no_interface(snaplen: Snaplen, out: &mut Vec<u8>) {
    InterfaceBlock {
        link_type: LinkType::ETHERNET.0,
        snaplen: snaplen.bytes(),
        name: "none",
        description: Some("nothing was captured while this file was written"),
        ..InterfaceBlock::default()
    }
    .encode(out);
}

/// The statistics blocks of a source's interfaces. The kernel counts drops for a namespace and not
/// for an interface, so they stand once, at the first; and so do the notes that no packet came for.
pub(crate) fn statistics(source: &Source, which: usize, notes: &[String], out: &mut Vec<u8>) {
    let stats = &source.stats;
    let sum = format!(
        "namespace of {}: received {} = captured {} + dropped by kernel {} + dropped by whaletap {} \
         + refused in user space {} + discarded at stop {}; drops are the whole namespace's",
        source.identity.name,
        stats.received,
        stats.captured,
        stats.dropped_by_kernel,
        stats.dropped_by_us,
        stats.refused,
        stats.discarded,
    );
    let comments: Vec<&str> = notes.iter().map(|note| &**note).chain([&*sum]).collect();
    let mut first = true;
    for slot in &source.slots {
        let Some(interface) = slot.numbers[which] else { continue };
        let is_first = std::mem::take(&mut first);
        StatisticsBlock {
            interface,
            timestamp: source.until,
            starttime: Some(source.since),
            endtime: Some(source.until),
            ifrecv: Some(slot.received),
            ifdrop: None,
            filteraccept: Some(slot.received),
            osdrop: is_first.then_some(stats.dropped_by_kernel),
            usrdeliv: Some(slot.captured),
            comments: if is_first { &comments } else { &[] },
        }
        .encode(out);
    }
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
