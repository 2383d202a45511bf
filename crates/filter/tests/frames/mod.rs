//! Frames for the tests, built by hand, byte by byte.

/// A frame with a name to find it by.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// What it is.
    pub(crate) name: String,
    /// Its bytes, Ethernet header first, tags in place.
    pub(crate) bytes: Vec<u8>,
}

const HERE: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const THERE: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const EVERYBODY: [u8; 6] = [0xff; 6];
const SOME: [u8; 6] = [0x01, 0x00, 0x5e, 0, 0, 0xfb];

/// Tag protocol identifiers and VLAN ids of the tagged variants, outermost first.
const TAGS: [&[(u16, u16)]; 7] = [
    &[],
    &[(0x8100, 5)],
    &[(0x8100, 0x6005)],
    &[(0x8100, 6)],
    &[(0x88a8, 5), (0x8100, 20)],
    &[(0x8100, 5), (0x8100, 20)],
    &[(0x9100, 7)],
];

/// Every packet of [`packets`] with every tag, and whole or in its fragments.
pub(crate) fn ethernet() -> Vec<Frame> {
    let mut frames = Vec::new();
    for (name, destination, ethertype, payload) in packets() {
        for tags in TAGS {
            let mut bytes = [destination, HERE].concat();
            for (tpid, tci) in tags {
                bytes.extend(tpid.to_be_bytes());
                bytes.extend(tci.to_be_bytes());
            }
            bytes.extend(ethertype.to_be_bytes());
            bytes.extend(&payload);
            frames.push(Frame { name: format!("{name} {tags:x?}"), bytes });
        }
    }
    frames
}

/// The untagged IP packets, without link layer.
pub(crate) fn raw() -> Vec<Frame> {
    let is_ip = |ethertype: u16| matches!(ethertype, 0x0800 | 0x86dd);
    let packets = packets().into_iter().filter(|(_, _, ethertype, _)| is_ip(*ethertype));
    packets.map(|(name, _, _, bytes)| Frame { name, bytes }).collect()
}

/// The untagged packets with a Linux cooked header, version 2.
pub(crate) fn cooked() -> Vec<Frame> {
    let cook = |(name, destination, ethertype, payload): Packet| {
        let mut bytes = ethertype.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 0, 0, 3, 0x03, 0x21]);
        bytes.extend([if destination == EVERYBODY { 1 } else { 4 }, 6]);
        bytes.extend(HERE);
        bytes.extend([0, 0]);
        bytes.extend(payload);
        Frame { name, bytes }
    };
    packets().into_iter().map(cook).collect()
}

type Packet = (String, [u8; 6], u16, Vec<u8>);

/// Name, destination, EtherType and payload.
fn packets() -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut add = |name: &str, destination, ethertype, payload| {
        packets.push((name.to_owned(), destination, ethertype, payload));
    };
    let syn = tcp(40000, 80, 0x02, b"");
    let request = tcp(40000, 80, 0x18, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let reply = tcp(80, 40000, 0x18, b"HTTP/1.1 200 OK\r\n\r\n");
    let reset = tcp(22, 51000, 0x04, b"");
    let query = udp(5353, 53, b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00");
    let vxlan = udp(49152, 4789, &[8, 0, 0, 0, 0, 0, 7, 0]);
    let echo = [8, 0, 0, 0, 0, 1, 0, 1, b'p', b'i', b'n', b'g'].to_vec();
    let unreachable = [3, 3, 0, 0, 0, 0, 0, 0].to_vec();
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    add("tcp syn", THERE, 0x0800, ipv4(a, b, 6, 0, 0, &syn));
    add("tcp syn with ip options", THERE, 0x0800, ipv4(a, b, 6, 0, 2, &syn));
    add("http request", THERE, 0x0800, ipv4(a, b, 6, 0x4000, 0, &request));
    add("http reply", THERE, 0x0800, ipv4(b, a, 6, 0x4000, 0, &reply));
    add("tcp reset", THERE, 0x0800, ipv4([192, 168, 7, 9], a, 6, 0, 0, &reset));
    add("tcp first fragment", THERE, 0x0800, ipv4(a, b, 6, 0x2000, 0, &request));
    add("tcp later fragment", THERE, 0x0800, ipv4(a, b, 6, 0x2003, 0, &request));
    add("udp last fragment", THERE, 0x0800, ipv4(a, b, 17, 0x0064, 0, &query));
    add("dns query", THERE, 0x0800, ipv4(a, [10, 0, 0, 53], 17, 0, 0, &query));
    add("vxlan", THERE, 0x0800, ipv4(a, b, 17, 0, 0, &vxlan));
    add("mdns", SOME, 0x0800, ipv4(a, [224, 0, 0, 251], 17, 0, 0, &udp(5353, 5353, b"x")));
    add("dhcp", EVERYBODY, 0x0800, ipv4([0; 4], [255; 4], 17, 0, 0, &udp(68, 67, &[1; 240])));
    add("ping", THERE, 0x0800, ipv4(a, b, 1, 0, 0, &echo));
    add("unreachable", THERE, 0x0800, ipv4(b, a, 1, 0, 0, &unreachable));
    add("igmp", SOME, 0x0800, ipv4(a, [224, 0, 0, 1], 2, 0, 0, &[0x11, 0, 0, 0, 0, 0, 0, 0]));
    add("sctp", THERE, 0x0800, ipv4(a, b, 132, 0, 0, &[0x9c, 0x40, 0, 80, 0, 0, 0, 0]));
    add("to oneself", THERE, 0x0800, ipv4(b, b, 17, 0, 0, &udp(9, 9, b"")));
    add("esp", THERE, 0x0800, ipv4(a, b, 50, 0, 0, &[0; 24]));
    add("long", THERE, 0x0800, ipv4(a, b, 17, 0, 0, &udp(1000, 2000, &[0x55; 1400])));
    let (c, d) = (address6(1), address6(2));
    add("tcp6 syn", THERE, 0x86dd, ipv6(c, d, 6, &syn));
    add("http6 reply", THERE, 0x86dd, ipv6(d, c, 6, &reply));
    add("dns6 query", THERE, 0x86dd, ipv6(c, d, 17, &query));
    add("ping6", THERE, 0x86dd, ipv6(c, d, 58, &[128, 0, 0, 0, 0, 1, 0, 1]));
    let mut nodes = address6(1);
    nodes[..4].copy_from_slice(&[0xff, 0x02, 0, 0]);
    let solicit = ipv6(c, nodes, 58, &[135, 0, 0, 0, 0, 0, 0, 0]);
    add("neighbour", [0x33, 0x33, 0, 0, 0, 1], 0x86dd, solicit);
    let fragment = [&[6, 0, 0, 1, 0, 0, 0, 9], &syn[..]].concat();
    add("tcp6 fragment", THERE, 0x86dd, ipv6(c, d, 44, &fragment));
    let hop_by_hop = [&[6, 0, 1, 4, 0, 0, 0, 0], &syn[..]].concat();
    add("tcp6 behind options", THERE, 0x86dd, ipv6(c, d, 0, &hop_by_hop));
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend(HERE.iter().chain(&a).chain(&[0; 6]).chain(&b));
    add("arp request", EVERYBODY, 0x0806, arp.clone());
    arp[7] = 2;
    add("arp reply", THERE, 0x0806, arp);
    let label = [&[0, 0x01, 0x01, 64], &ipv4(a, b, 6, 0, 0, &syn)[..]].concat();
    add("mpls", THERE, 0x8847, label);
    let session = [&[0x11, 0, 0, 1, 0, 40, 0, 0x21], &ipv4(a, b, 6, 0, 0, &syn)[..]].concat();
    add("pppoe", THERE, 0x8864, session);
    add("llc", THERE, 38, [&[0x42, 0x42, 0x03], &[0; 35][..]].concat());
    add("nonsense", THERE, 0x0800, vec![0xff; 60]);
    packets
}

fn address6(last: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    address[15] = last;
    address
}

fn ipv4(
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    fragment: u16,
    option_words: u8,
    payload: &[u8],
) -> Vec<u8> {
    let header = 20 + 4 * usize::from(option_words);
    let length = u16::try_from(header + payload.len()).unwrap_or(u16::MAX);
    let mut bytes = vec![0x45 + option_words, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0x12, 0x34]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(source);
    bytes.extend(destination);
    bytes.resize(header, 1);
    bytes.extend(payload);
    bytes
}

fn ipv6(source: [u8; 16], destination: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend(source);
    bytes.extend(destination);
    bytes.extend(payload);
    bytes
}

fn tcp(source: u16, destination: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(destination.to_be_bytes());
    bytes.extend(u16::try_from(payload.len() + 8).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}
