//! The interpreter judged by libpcap: what libpcap's own filter says of a frame, ours says too.
#![cfg(feature = "compile")]

#[path = "frames/expressions.rs"]
mod expressions;
mod frames;

use frames::Frame;
use model::{Direction, LinkType, Snaplen};
use pcap::{Capture, Linktype};
use whaletap_filter::{
    Compiled, Expression, LiveJob, LiveProgram, Packet, Plan, TagPlace, VlanTag,
};

/// Compiled for files, because the namespace is refused.
fn compile_for_files(text: &str) -> Option<Compiled> {
    let refuse = |_: LiveJob<'_>| Err::<LiveProgram, _>("refused");
    Expression::new(text).compile(Snaplen::MAX, refuse).ok()
}

/// Compiled for a socket, on this namespace's loopback.
fn compile_for_sockets(text: &str) -> Compiled {
    let here = |job: LiveJob<'_>| Ok::<_, std::convert::Infallible>(job.run());
    Expression::new(text).compile(Snaplen::MAX, here).expect(text)
}

fn plan(compiled: &Compiled) -> Plan {
    Plan::compose(compiled, Direction::InOut).expect("composes")
}

/// How much of a frame is shown: every length of its headers, and all of it.
fn cuts(frame: &Frame) -> impl Iterator<Item = &[u8]> {
    let headers = frame.bytes.len().min(100);
    (0..=headers).chain([frame.bytes.len()]).map(|length| &frame.bytes[..length])
}

#[test]
fn the_interpreter_agrees_with_libpcap() {
    let worlds = [
        (LinkType::ETHERNET, 1, frames::ethernet()),
        (LinkType::RAW, 12, frames::raw()),
        (LinkType::LINUX_SLL2, 276, frames::cooked()),
    ];
    let mut judged = 0u64;
    let mut one_sided = Vec::new();
    for text in expressions::PLAIN.iter().chain(expressions::VLAN) {
        let compiled = compile_for_files(text).unwrap_or_else(|| panic!("{text} does not compile"));
        let plan = plan(&compiled);
        let (mut accepted, mut refused) = (0, 0);
        for (link_type, dlt, frames) in &worlds {
            let oracle = Capture::dead(Linktype(*dlt)).expect("a handle").compile(text, true);
            let Ok(oracle) = oracle else {
                assert!(plan.program_for(*link_type).is_none(), "{text}: {link_type} compiles");
                continue;
            };
            for frame in frames {
                for bytes in cuts(frame) {
                    let expected = if oracle.filter(bytes) { 262_144 } else { 0 };
                    let got = plan.accepts(*link_type, &Packet::new(bytes));
                    let length = bytes.len();
                    assert_eq!(got, expected, "{text}: {link_type} {}, {length} bytes", frame.name);
                    judged += 1;
                    if expected == 0 { refused += 1 } else { accepted += 1 }
                }
            }
        }
        if accepted == 0 || refused == 0 {
            one_sided.push(*text);
        }
    }
    // An expression that takes all or nothing judges little.
    assert_eq!(
        one_sided,
        ["rarp", "ah", "ether proto 0x88cc", "pppoed", "geneve", "1 = 1", "vlan 20",]
    );
    assert!(judged > 1_000_000, "only {judged} verdicts");
}

#[test]
fn without_vlan_a_socket_needs_no_other_program_than_a_file() {
    let live = Capture::from_device("lo").and_then(|lo| lo.open()).expect("CAP_NET_RAW");
    let dead = Capture::dead(Linktype(1)).expect("a handle");
    let show = |program: pcap::BpfProgram| -> Vec<String> {
        program
            .get_instructions()
            .iter()
            .map(ToString::to_string)
            // The handles' snaplens differ.
            .filter(|instruction| !instruction.starts_with("6 "))
            .collect()
    };
    let others = ["inbound", "outbound", "ifindex 3", "inbound and tcp port 80"];
    for text in expressions::PLAIN.iter().chain(&others) {
        let [live, dead] = [live.compile(text, true), dead.compile(text, true)];
        assert_eq!(show(live.expect(text)), show(dead.expect(text)), "{text}");
    }
}

/// The frame as a packet socket has it: its outermost tag taken out.
fn untag(frame: &[u8]) -> (Vec<u8>, Option<VlanTag>) {
    match *frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, a @ (0x81 | 0x88), b @ (0x00 | 0xa8), c, d, ..] => {
            let tag = VlanTag { tpid: u16::from_be_bytes([a, b]), tci: u16::from_be_bytes([c, d]) };
            ([&frame[..12], &frame[16..]].concat(), Some(tag))
        }
        _ => (frame.to_vec(), None),
    }
}

#[test]
fn vlan_means_the_same_wherever_the_tag_is() {
    for text in expressions::VLAN {
        let for_sockets = compile_for_sockets(text);
        assert_eq!(for_sockets.vlan_in_user_space, None, "{text}");
        let for_sockets = plan(&for_sockets);
        let for_files = plan(&compile_for_files(text).expect(text));
        assert_eq!(for_files.in_user_space(LinkType::ETHERNET), Some("refused"), "{text}");
        let place = |plan: &Plan| plan.program_for(LinkType::ETHERNET).map(|(_, tag)| tag);
        assert_eq!(place(&for_sockets), Some(TagPlace::Metadata));
        assert_eq!(place(&for_files), Some(TagPlace::InFrame));
        let oracle = Capture::dead(Linktype(1)).expect("a handle").compile(text, true);
        let oracle = oracle.expect(text);
        let mut accepted = 0;
        for frame in frames::ethernet() {
            let expected = oracle.filter(&frame.bytes);
            let (data, vlan) = untag(&frame.bytes);
            let packet = Packet { vlan, ..Packet::new(&data) };
            let accepts = |plan: &Plan| plan.accepts(LinkType::ETHERNET, &packet) > 0;
            assert_eq!(accepts(&for_sockets), expected, "{text}: {}, on a socket", frame.name);
            assert_eq!(accepts(&for_files), expected, "{text}: {}, put back", frame.name);
            accepted += u32::from(expected);
        }
        assert!(accepted > 0 || *text == "vlan 20", "{text} takes nothing");
    }
}

#[test]
fn a_tag_beside_the_frame_does_not_hide_the_frame() {
    // In the kernel `tcp port 80` sees tagged frames, because the tag is not in the way.
    let plan = plan(&compile_for_files("tcp port 80").expect("compiles"));
    let tagged = frames::ethernet().into_iter().find(|frame| frame.name == "tcp syn [(8100, 5)]");
    let (data, vlan) = untag(&tagged.expect("exists").bytes);
    assert!(vlan.is_some());
    assert_eq!(plan.accepts(LinkType::ETHERNET, &Packet { vlan, ..Packet::new(&data) }), 262_144);
}
