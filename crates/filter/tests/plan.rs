//! Composed programs judged by what they are made of.
#![cfg(feature = "compile")]

#[path = "frames/expressions.rs"]
mod expressions;
mod frames;

use std::convert::Infallible;

use model::{Direction, Hatype, Instruction, LinkType, PacketType, Program, Snaplen};
use whaletap_filter::{
    Compiled, Error, Expression, LiveJob, LiveProgram, Packet, Plan, TagPlace, Verdict, Verified,
    check,
};

const SNAPLEN: u32 = 96;
const HATYPES: [u16; 10] = [1, 519, 768, 769, 772, 776, 0xfffe, 280, 801, 0];
const DIRECTIONS: [Direction; 3] = [Direction::In, Direction::Out, Direction::InOut];

fn compile(text: &str) -> Result<Compiled, Error> {
    let here = |job: LiveJob<'_>| Ok::<_, Infallible>(job.run());
    Expression::new(text).compile(Snaplen::new(SNAPLEN).expect("in range"), here)
}

fn compile_refused(text: &str) -> Compiled {
    let refuse = |_: LiveJob<'_>| Err::<LiveProgram, _>("no rights");
    Expression::new(text).compile(Snaplen::MAX, refuse).expect(text)
}

fn plan(text: &str, direction: Direction) -> Plan {
    Plan::compose(&compile(text).expect(text), direction).expect(text)
}

fn packets<'a>(bytes: &'a [u8]) -> impl Iterator<Item = Packet<'a>> {
    HATYPES.into_iter().flat_map(move |hatype| {
        (0..8).map(move |raw| Packet {
            hatype: Hatype(hatype),
            packet_type: PacketType::from_raw(raw),
            ..Packet::new(bytes)
        })
    })
}

/// What design and libpcap say about direction, in words.
fn direction_allows(direction: Direction, packet: &Packet<'_>) -> bool {
    let outgoing = packet.packet_type == PacketType::Outgoing;
    let twin = outgoing && packet.hatype == Hatype::LOOPBACK;
    !twin
        && match direction {
            Direction::In => !outgoing,
            Direction::Out => outgoing,
            Direction::InOut => true,
        }
}

#[test]
fn a_composed_program_says_what_its_parts_say() {
    let ethernet = frames::ethernet();
    let raw = frames::raw();
    let extra = ["inbound", "outbound", "ifindex 0", "inbound and tcp", "not inbound and udp"];
    let all = expressions::PLAIN.iter().chain(expressions::VLAN).chain(&extra);
    for text in all {
        let compiled = compile(text).expect(text);
        for direction in DIRECTIONS {
            let plan = Plan::compose(&compiled, direction).expect(text);
            check(plan.kernel()).expect(text);
            let kernel = Verified::new(plan.kernel()).expect(text);
            let prologue = Verified::new(plan.prologue()).expect(text);
            for frame in ethernet.iter().step_by(11).chain(&raw) {
                for packet in packets(&frame.bytes) {
                    let allowed = direction_allows(direction, &packet);
                    assert_eq!(prologue.run(&packet), if allowed { SNAPLEN } else { 0 });
                    let link_type = LinkType::of(packet.hatype).unwrap_or(LinkType::LINUX_SLL2);
                    let part = match plan.in_user_space(link_type) {
                        Some(_) => SNAPLEN,
                        None => plan.accepts(link_type, &packet),
                    };
                    let expected = if allowed { part } else { 0 };
                    assert_eq!(kernel.run(&packet), expected, "{text} {direction:?} {packet:?}");
                }
            }
        }
    }
}

#[test]
fn an_empty_expression_is_the_prologue() {
    for text in ["", "  \n\t"] {
        for direction in DIRECTIONS {
            let plan = plan(text, direction);
            assert_eq!(plan.kernel(), plan.prologue());
            assert_eq!(plan.never(), []);
            for hatype in HATYPES {
                assert!(plan.kernel_decides(Hatype(hatype)));
            }
            let frame = Packet::new(&[]);
            for link_type in Compiled::LINK_TYPES {
                assert_eq!(plan.accepts(link_type, &frame), SNAPLEN);
                assert_eq!(plan.in_user_space(link_type), None);
            }
        }
    }
}

#[test]
fn what_compiles_for_some_link_types_never_matches_on_the_others() {
    let plan = plan("vlan 5", Direction::InOut);
    let never: Vec<_> = plan.never().iter().map(|never| never.link_type).collect();
    assert_eq!(never, [LinkType::RAW, LinkType::LINUX_SLL2]);
    assert!(plan.never()[0].message.contains("no VLAN support"), "{:?}", plan.never());
    let kernel = Verified::new(plan.kernel()).expect("verifies");
    for hatype in HATYPES {
        assert!(plan.kernel_decides(Hatype(hatype)), "{hatype}");
        let packet = Packet { hatype: Hatype(hatype), ..Packet::new(&[0; 60]) };
        assert_eq!(kernel.run(&packet), 0);
    }
    assert_eq!(plan.accepts(LinkType::RAW, &Packet::new(&[0x45; 60])), 0);
}

#[test]
fn devices_without_a_link_type_are_decided_in_user_space() {
    let plan = plan("tcp port 80", Direction::InOut);
    assert!(!plan.kernel_decides(Hatype(801)));
    assert!(plan.in_user_space(LinkType::LINUX_SLL2).is_some());
    for hatype in [Hatype::ETHER, Hatype::LOOPBACK, Hatype::NONE, Hatype::SIT] {
        assert!(plan.kernel_decides(hatype), "{hatype:?}");
    }
    let by_name = |name: &str| {
        let frame = frames::cooked().into_iter().find(|frame| frame.name == name).expect(name);
        plan.accepts(LinkType::LINUX_SLL2, &Packet::new(&frame.bytes))
    };
    assert_eq!(by_name("tcp syn"), SNAPLEN);
    assert_eq!(by_name("dns query"), 0);
}

#[test]
fn vlan_without_rights_is_left_to_user_space() {
    let plan = Plan::compose(&compile_refused("vlan 5 and tcp"), Direction::In).expect("composes");
    assert_eq!(plan.in_user_space(LinkType::ETHERNET), Some("no rights"));
    assert!(!plan.kernel_decides(Hatype::ETHER));
    let kernel = Verified::new(plan.kernel()).expect("verifies");
    assert_eq!(kernel.run(&Packet::new(&[0; 60])), 262_144, "ethernet passes");
    let raw = Packet { hatype: Hatype::NONE, ..Packet::new(&[0; 60]) };
    assert_eq!(kernel.run(&raw), 0, "raw ip never matches");
}

#[test]
fn only_vlan_asks_for_a_namespace() {
    for text in expressions::PLAIN {
        assert_eq!(compile_refused(text).vlan_in_user_space, None, "{text}");
    }
    assert_eq!(compile_refused("tcp or vlan").vlan_in_user_space.as_deref(), Some("no rights"));
}

#[test]
fn a_loop_is_left_to_user_space() {
    let plan = plan("ip6 protochain 6", Direction::InOut);
    check(plan.kernel()).expect("the kernel takes it");
    let reason = plan.in_user_space(LinkType::ETHERNET).expect("a reason");
    assert!(reason.contains("jumps out of the program"), "{reason}");
    assert!(!plan.kernel_decides(Hatype::ETHER));
}

#[test]
fn long_programs_are_crossed() {
    // libpcap's optimiser takes cubic time: more hosts would be a long test.
    let host = |n: u32| format!("host 10.1.0.{n}");
    let text = (1..=90).map(host).collect::<Vec<_>>().join(" or ");
    let plan = plan(&text, Direction::InOut);
    assert!(plan.kernel().0.len() > 500, "{}", plan.kernel().0.len());
    let kernel = Verified::new(plan.kernel()).expect("verifies");
    // The last host of the list is found, on Ethernet and on raw IP; the one after it is not.
    let mut raw = frames::raw().swap_remove(0).bytes;
    for (last, expected) in [(90, SNAPLEN), (91, 0)] {
        raw[12..16].copy_from_slice(&[10, 1, 0, last]);
        let ethernet = [&[2; 12][..], &[8, 0], &raw].concat();
        assert_eq!(kernel.run(&Packet::new(&ethernet)), expected);
        let tun = Packet { hatype: Hatype::NONE, network_offset: 0, ..Packet::new(&raw) };
        assert_eq!(kernel.run(&tun), expected);
    }
}

#[test]
fn programs_too_long_for_any_kernel_are_left_to_user_space() {
    // Each step adds 1; the sum is how much of the frame is kept.
    let add = Instruction { code: 0x04, jt: 0, jf: 0, k: 1 };
    let long = Program([vec![add; 3000], vec![Instruction { code: 0x16, ..add }]].concat());
    let verdict = Verdict::Program { program: long, tag: TagPlace::Metadata };
    let compiled = Compiled {
        snaplen: Snaplen::MAX,
        verdicts: vec![(LinkType::ETHERNET, verdict.clone()), (LinkType::RAW, verdict)],
        vlan_in_user_space: None,
    };
    let plan = Plan::compose(&compiled, Direction::InOut).expect("composes");
    assert_eq!(plan.kernel(), plan.prologue());
    for (hatype, link_type) in [(Hatype::ETHER, LinkType::ETHERNET), (Hatype::NONE, LinkType::RAW)]
    {
        assert!(!plan.kernel_decides(hatype));
        assert!(plan.in_user_space(link_type).is_some_and(|reason| reason.contains("4096")));
        assert_eq!(plan.accepts(link_type, &Packet::new(&[])), 3000);
    }
    // Without the expression in the kernel nothing is refused there, not even what never matches.
    assert!(!plan.kernel_decides(Hatype(801)));
    assert_eq!(plan.accepts(LinkType::LINUX_SLL2, &Packet::new(&[])), 0);
}

#[test]
fn programs_from_elsewhere_are_checked() {
    let verdict = Verdict::Program { program: Program(Vec::new()), tag: TagPlace::Metadata };
    let compiled = Compiled {
        snaplen: Snaplen::MAX,
        verdicts: vec![(LinkType::ETHERNET, verdict)],
        vlan_in_user_space: None,
    };
    let error = Plan::compose(&compiled, Direction::InOut).expect_err("an empty program");
    assert_eq!(error, Error::Length { length: 0 });
}

#[test]
fn refuse_all_refuses_all() {
    let program = Verified::new(&Plan::refuse_all()).expect("verifies");
    for packet in packets(&[0; 60]) {
        assert_eq!(program.run(&packet), 0);
    }
}
