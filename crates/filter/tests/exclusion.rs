//! A plan without a connection: its frames are refused, in whatever they come, and no others.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod frames;

use model::{Connection, Direction, Hatype, Instruction, LinkType, Program, Snaplen};
use whaletap_filter::{Compiled, Packet, Plan, TagPlace, Verdict, Verified, VlanTag, check};

const HATYPES: [u16; 9] = [1, 772, 519, 768, 769, 776, 0xfffe, 801, 0];
/// No segment is shorter than these headers, Ethernet's included.
const SHORTEST: [usize; 2] = [14 + 40, 14 + 60];

fn connection(here: &str, there: &str) -> Connection {
    Connection::between(here.parse().unwrap(), there.parse().unwrap()).unwrap()
}

/// Connections, and the names of the packets that are theirs.
fn connections() -> [(Connection, &'static [&'static str]); 6] {
    // The first fragment has ports, and the others none.
    let v4: &[_] = &["tcp syn", "http request", "http reply", "tcp first fragment"];
    let v6: &[_] = &["tcp6 syn", "http6 reply"];
    [
        (connection("10.0.0.1:40000", "10.0.0.2:80"), v4),
        (connection("10.0.0.2:80", "10.0.0.1:40000"), v4),
        (connection("[2001:db8::1]:40000", "[2001:db8::2]:80"), v6),
        (connection("10.0.0.1:80", "10.0.0.2:40000"), &[]),
        (connection("10.0.0.1:40000", "10.0.0.3:80"), &[]),
        (connection("[2001:db8::1]:40000", "[2001:db8:1::2]:80"), &[]),
    ]
}

fn without(connection: &Connection) -> Plan {
    let plan = Plan::compose(&Compiled::everything(Snaplen::MAX), Direction::InOut).unwrap();
    plan.without(connection)
}

/// What is behind the addresses of an Ethernet frame, as the kernel tells it.
fn ethertype(bytes: &[u8]) -> u16 {
    bytes.get(12..14).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The name of a packet, and the tags that stand before it.
fn name(frame: &frames::Frame) -> (&str, &str) {
    let (name, tags) = frame.name.split_once(" [").unwrap_or((&frame.name, ""));
    (name, tags.trim_end_matches(']'))
}

#[test]
fn only_the_connection_is_left_out_whatever_its_frames_come_in() {
    let ethernet = frames::ethernet();
    let raw = frames::raw();
    for (connection, its) in connections() {
        let plan = without(&connection);
        for program in [plan.kernel(), plan.prologue()] {
            check(program).unwrap();
            let program = Verified::new(program).unwrap();
            let mut refused = 0;
            for frame in &ethernet {
                let (name, tags) = name(frame);
                let has_one_tag = tags.matches('(').count() == 1 && !tags.contains("9100");
                let is_its = its.contains(&name) && (tags.is_empty() || has_one_tag);
                let protocol = ethertype(&frame.bytes);
                for hatype in HATYPES {
                    let packet =
                        Packet { hatype: Hatype(hatype), protocol, ..Packet::new(&frame.bytes) };
                    let is_ethernet = LinkType::of(packet.hatype) == Some(LinkType::ETHERNET);
                    let expected = !(is_its && is_ethernet);
                    assert_eq!(program.run(&packet) > 0, expected, "{connection}: {}", frame.name);
                    refused += u32::from(!expected);
                    // With a tag that the kernel has taken off, before whatever stands in the frame.
                    let vlan = Some(VlanTag { tci: 7, tpid: 0x8100 });
                    let tagged = Packet { vlan, ..packet };
                    assert_eq!(program.run(&tagged) > 0, expected, "{connection}: {}", frame.name);
                }
            }
            for frame in &raw {
                let protocol = if frame.bytes[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
                for hatype in HATYPES {
                    let packet =
                        Packet { hatype: Hatype(hatype), protocol, ..Packet::new(&frame.bytes) };
                    let is_raw = LinkType::of(packet.hatype) == Some(LinkType::RAW);
                    let expected = !(its.contains(&&*frame.name) && is_raw);
                    assert_eq!(program.run(&packet) > 0, expected, "{connection}: {}", frame.name);
                    refused += u32::from(!expected);
                }
            }
            // Whatever a device's own header is, nothing is looked for behind it.
            for frame in frames::cooked() {
                let packet = Packet { hatype: Hatype(801), ..Packet::new(&frame.bytes) };
                assert!(program.run(&packet) > 0, "{connection}: {}", frame.name);
            }
            assert_eq!(refused == 0, its.is_empty(), "{connection}");
        }
    }
}

/// A program that loads what is not there has refused the frame.
#[test]
fn what_is_too_short_to_be_of_any_connection_is_let_pass() {
    let whole = [frames::ethernet(), frames::raw()].concat();
    for (connection, _) in connections() {
        let plan = without(&connection);
        let program = Verified::new(plan.kernel()).unwrap();
        let shortest = SHORTEST[usize::from(connection.here.is_ipv6())];
        for frame in &whole {
            for length in 0..shortest.min(frame.bytes.len()) {
                let bytes = &frame.bytes[..length];
                for protocol in [0x0800, 0x86dd, 0x8100, 0x88a8] {
                    let packet = Packet { protocol, ..Packet::new(bytes) };
                    assert!(program.run(&packet) > 0, "{connection}: {length} of {}", frame.name);
                }
            }
        }
    }
}

#[test]
fn an_expression_that_leaves_no_room_is_evaluated_in_user_space_without_the_connection() {
    let connection = connection("10.0.0.1:40000", "10.0.0.2:80");
    let add = Instruction { code: 0x04, jt: 0, jf: 0, k: 1 };
    let plan = |length| {
        let long = Program([vec![add; length], vec![Instruction { code: 0x16, ..add }]].concat());
        let verdict = Verdict::Program { program: long, tag: TagPlace::Metadata };
        let compiled = Compiled {
            snaplen: Snaplen::MAX,
            verdicts: vec![(LinkType::ETHERNET, verdict)],
            vlan_in_user_space: None,
        };
        Plan::compose(&compiled, Direction::InOut).unwrap()
    };
    for (length, fits) in [(4000, true), (4060, false)] {
        assert!(plan(length).kernel_decides(Hatype::ETHER));
        let plan = plan(length).without(&connection);
        assert_eq!(plan.kernel_decides(Hatype::ETHER), fits, "{length}");
        let program = Verified::new(plan.kernel()).unwrap();
        for (wanted, expected) in [("http request", false), ("http reply", false), ("ping", true)] {
            let frames = frames::ethernet();
            let frame = frames.iter().find(|frame| name(frame) == (wanted, "")).unwrap();
            let packet = Packet { protocol: 0x0800, ..Packet::new(&frame.bytes) };
            assert_eq!(program.run(&packet) > 0, expected, "{length} {wanted}");
        }
    }
}
