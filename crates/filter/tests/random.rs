//! Random programs on random frames: the interpreter neither panics nor runs for ever.

use model::{Hatype, Instruction, PacketType, Program};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_oneof, proptest};
use whaletap_filter::{Packet, Verified, VlanTag, check};

/// Every operation of classic BPF.
const CODES: [u16; 46] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0c, 0x14, 0x15, 0x16, 0x1c, 0x1d, 0x20, 0x24,
    0x25, 0x28, 0x2c, 0x2d, 0x30, 0x34, 0x35, 0x3c, 0x3d, 0x40, 0x44, 0x45, 0x48, 0x4c, 0x4d, 0x50,
    0x54, 0x5c, 0x60, 0x61, 0x64, 0x6c, 0x74, 0x7c, 0x80, 0x81, 0x84, 0x87, 0x94, 0xb1,
];

fn operand() -> impl Strategy<Value = u32> {
    let ancillary = prop::sample::select(vec![0u32, 4, 8, 28, 40, 44, 48, 60]);
    prop_oneof![
        4 => 0u32..16,
        2 => 0u32..100,
        1 => ancillary.prop_map(|number| 0xffff_f000 + number),
        1 => (-5i32..0).prop_map(i32::cast_unsigned),
        1 => any::<u32>(),
    ]
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let code = prop_oneof![20 => prop::sample::select(CODES.to_vec()), 1 => any::<u16>()];
    (code, 0u8..4, 0u8..4, operand()).prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k })
}

fn program() -> impl Strategy<Value = Program> {
    prop::collection::vec(instruction(), 0..24).prop_map(|mut instructions| {
        // Enough returns for jumps to land on.
        let ret = |code| Instruction { code, jt: 0, jf: 0, k: 1 };
        instructions.extend([ret(0x06), ret(0x16), ret(0x06), ret(0x16), ret(0x06)]);
        Program(instructions)
    })
}

#[test]
fn most_programs_that_are_tried_are_run() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let runs = (0..1000).filter(|_| {
        let tree = program().new_tree(&mut runner).expect("a tree");
        Verified::new(&proptest::strategy::ValueTree::current(&tree)).is_ok()
    });
    let runs = runs.count();
    assert!(runs > 200, "{runs} of 1000");
}

proptest! {
    #[test]
    fn anything_ends(
        program in program(),
        data in prop::collection::vec(any::<u8>(), 0..80),
        lengths in (any::<u32>(), prop_oneof![0u32..64, any::<u32>()]),
        packet_type in any::<u8>(),
        vlan in prop::option::of((any::<u16>(), any::<u16>())),
    ) {
        let for_kernel = check(&program).is_ok();
        if let Ok(verified) = Verified::new(&program) {
            let packet = Packet {
                data: &data,
                original_length: lengths.0,
                network_offset: lengths.1,
                protocol: 0x0800,
                packet_type: PacketType::from_raw(packet_type),
                interface_index: 3,
                hatype: Hatype::ETHER,
                vlan: vlan.map(|(tci, tpid)| VlanTag { tci, tpid }),
            };
            let _ = verified.run(&packet);
            let _ = verified.run_with_tag_in_frame(&packet);
        } else {
            // What the kernel takes is refused only for loads that none but the kernel can answer.
            let ancillary = |i: &Instruction| i.code & 0xe7 == 0x20 && i.k >= 0xffff_f000;
            prop_assert!(!for_kernel || program.0.iter().any(ancillary));
        }
    }
}
