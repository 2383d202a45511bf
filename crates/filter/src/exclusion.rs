use std::net::{IpAddr, SocketAddr};

use model::{Connection, Hatype, Instruction, LinkType};

use crate::opcode as op;

const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_IPV6: u32 = 0x86dd;
/// Tags that stand in a frame: 802.1Q, and 802.1ad.
const ETHERTYPES_VLAN: [u32; 2] = [0x8100, 0x88a8];
const PROTOCOL_TCP: u32 = 6;
const ETHERNET_HEADER: u32 = 14;
const VLAN_TAG: u32 = 4;
/// An IPv4 header without options, and an IPv6 header, each with TCP's behind it: no segment is
/// shorter. In bytes.
const SHORTEST: [u32; 2] = [20 + 20, 40 + 20];

/// Refuses the frames of a connection, in both directions; all others go on behind it.
///
/// ```text
///   hardware type ─┬─ Ethernet, loopback ─ EtherType; behind one VLAN tag in the frame ─┐
///                  ├─ tun, ipip, sit, … ─── EtherType ──────────────────────────────────┤
///                  └─ any other ──► go on       X is where the network header begins ◄──┘
///   IP without options, TCP, whole header, addresses, ports ──► refuse
/// ```
///
/// Loads from the network header (`SKF_NET_OFF`) would do for all link types, but not on every
/// kernel: before 6.16 they end the program where a header is not in the frame's first piece of
/// memory, and a program that is ended so has refused. For the same reason nothing is loaded that is
/// not known to be there.
///
/// A connection of ours has no options in its IP headers, and is not fragmented: TCP cuts its
/// segments to fit.
pub(crate) fn exclusion(connection: &Connection) -> Vec<Instruction> {
    let mut code = Code::default();
    let is_ipv4 = connection.here.is_ipv4();
    let (ethertype, shortest) =
        if is_ipv4 { (ETHERTYPE_IPV4, SHORTEST[0]) } else { (ETHERTYPE_IPV6, SHORTEST[1]) };

    code.push(op::LD | op::W | op::ABS, op::ANCILLARY + op::AD_HATYPE);
    let hatypes = |link_type| {
        let all = (0..=u16::MAX).map(Hatype);
        all.filter(move |hatype| LinkType::of(*hatype) == Some(link_type))
    };
    for hatype in hatypes(LinkType::ETHERNET) {
        code.jump_if_equal(hatype.0.into(), Label::Ethernet);
    }
    for hatype in hatypes(LinkType::RAW) {
        code.jump_if_equal(hatype.0.into(), Label::Raw);
    }
    code.jump(Label::Others);

    // The tag that the kernel took off is not in the EtherType either.
    code.mark(Label::Ethernet);
    code.push(op::LDX | op::IMM, ETHERNET_HEADER);
    code.push(op::LD | op::W | op::ABS, op::ANCILLARY + op::AD_PROTOCOL);
    code.jump_if_equal(ethertype, Label::Network);
    for tag in ETHERTYPES_VLAN {
        code.jump_if_equal(tag, Label::Tagged);
    }
    code.jump(Label::Others);

    code.mark(Label::Tagged);
    code.push(op::LDX | op::IMM, ETHERNET_HEADER + VLAN_TAG);
    code.push(op::LD | op::W | op::LEN, 0);
    code.unless(op::JGE, ETHERNET_HEADER + VLAN_TAG, Label::Others);
    code.push(op::LD | op::H | op::ABS, ETHERNET_HEADER + 2);
    code.jump_if_equal(ethertype, Label::Network);
    code.jump(Label::Others);

    code.mark(Label::Raw);
    code.push(op::LDX | op::IMM, 0);
    code.push(op::LD | op::W | op::ABS, op::ANCILLARY + op::AD_PROTOCOL);
    code.unless(op::JEQ, ethertype, Label::Others);

    code.mark(Label::Network);
    code.push(op::LD | op::W | op::LEN, 0);
    code.push(op::ALU | op::SUB | op::X, 0);
    // More than a frame can have: it ends before its network header.
    code.jump_when(op::JGT, u32::MAX / 2, Label::Others);
    code.unless(op::JGE, shortest, Label::Others);
    if is_ipv4 {
        code.load(B, 0);
        code.unless(op::JEQ, 0x45, Label::Others);
        code.load(B, 9);
        code.unless(op::JEQ, PROTOCOL_TCP, Label::Others);
        code.load(op::H, 6);
        code.jump_when(op::JSET, 0x1fff, Label::Others);
    } else {
        code.load(B, 6);
        code.unless(op::JEQ, PROTOCOL_TCP, Label::Others);
    }
    code.compare(connection.here, connection.there, Label::Reverse);
    code.push(op::RET | op::K, 0);
    code.mark(Label::Reverse);
    code.compare(connection.there, connection.here, Label::Others);
    code.push(op::RET | op::K, 0);
    code.mark(Label::Others);
    code.finish()
}

/// 8 bits.
const B: u16 = 0x10;

/// A place in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Ethernet,
    Tagged,
    Raw,
    Network,
    Reverse,
    Others,
}

/// Instructions whose jumps name where they lead. No jump is as long as 255 instructions.
#[derive(Debug, Default)]
struct Code {
    all: Vec<(Instruction, Option<Way>)>,
    marks: Vec<(Label, usize)>,
}

/// When a conditional jump leaves for its label; otherwise it goes on.
#[derive(Debug, Clone, Copy)]
enum Way {
    When(Label),
    Unless(Label),
}

impl Code {
    fn push(&mut self, code: u16, k: u32) {
        self.all.push((Instruction { code, jt: 0, jf: 0, k }, None));
    }

    fn branch(&mut self, condition: u16, k: u32, way: Way) {
        let code = op::JMP | condition | op::K;
        self.all.push((Instruction { code, jt: 0, jf: 0, k }, Some(way)));
    }

    fn jump_when(&mut self, condition: u16, k: u32, to: Label) {
        self.branch(condition, k, Way::When(to));
    }

    fn jump_if_equal(&mut self, k: u32, to: Label) {
        self.jump_when(op::JEQ, k, to);
    }

    fn unless(&mut self, condition: u16, k: u32, to: Label) {
        self.branch(condition, k, Way::Unless(to));
    }

    /// On every condition: whatever is there is 0 or more.
    fn jump(&mut self, to: Label) {
        self.jump_when(op::JGE, 0, to);
    }

    /// Loads from the network header.
    fn load(&mut self, size: u16, offset: u32) {
        self.push(op::LD | size | op::IND, offset);
    }

    /// Goes on if the frame is from and to these.
    fn compare(&mut self, from: SocketAddr, to: SocketAddr, otherwise: Label) {
        let (mut words, addresses) = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (vec![from.to_bits(), to.to_bits()], 12),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let octets = [from.octets(), to.octets()].concat();
                let (words, _) = octets.as_chunks::<4>();
                (words.iter().map(|word| u32::from_be_bytes(*word)).collect(), 8)
            }
            // `Connection::between` makes none.
            _ => (Vec::new(), 0),
        };
        // Ports stand behind the addresses: there are no options.
        words.push(u32::from(from.port()) << 16 | u32::from(to.port()));
        for (word, offset) in words.into_iter().zip((addresses..).step_by(4)) {
            self.load(op::W, offset);
            self.unless(op::JEQ, word, otherwise);
        }
    }

    fn mark(&mut self, label: Label) {
        self.marks.push((label, self.all.len()));
    }

    fn finish(self) -> Vec<Instruction> {
        let Self { all, marks } = self;
        let place = |label| marks.iter().find(|(of, _)| *of == label).map_or(0, |(_, at)| *at);
        let resolve = |(at, (instruction, way)): (usize, (Instruction, Option<Way>))| {
            let distance = |label| u8::try_from(place(label) - (at + 1)).unwrap_or(u8::MAX);
            match way {
                None => instruction,
                Some(Way::When(label)) => Instruction { jt: distance(label), ..instruction },
                Some(Way::Unless(label)) => Instruction { jf: distance(label), ..instruction },
            }
        };
        all.into_iter().enumerate().map(resolve).collect()
    }
}
