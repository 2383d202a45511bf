//! Any bytes as a program and a frame: the interpreter must not panic and must come to an end.
//!
//! The first byte is the number of instructions, each of eight bytes as in `struct sock_filter`;
//! what is left is the frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use whaletap_filter::{Packet, Verified, VlanTag, check};
use whaletap_model::{Instruction, Program};

/// The first ancillary load of the kernel, some of which the interpreter refuses.
const ANCILLARY: u32 = 0xffff_f000;

fuzz_target!(|bytes: &[u8]| {
    let Some((count, rest)) = bytes.split_first() else { return };
    let length = (usize::from(*count) * 8).min(rest.len() / 8 * 8);
    let (instructions, frame) = rest.split_at(length);
    let instruction = |it: &[u8]| Instruction {
        code: u16::from_ne_bytes([it[0], it[1]]),
        jt: it[2],
        jf: it[3],
        k: u32::from_ne_bytes([it[4], it[5], it[6], it[7]]),
    };
    let program = Program(instructions.chunks_exact(8).map(instruction).collect());
    let Ok(verified) = Verified::new(&program) else {
        let for_kernel = check(&program).is_ok();
        let ancillary = program.0.iter().any(|it| it.k >= ANCILLARY);
        assert!(!for_kernel || ancillary, "the kernel takes what the interpreter refuses");
        return;
    };
    let untagged = Packet::new(frame);
    let tagged = Packet { vlan: Some(VlanTag { tci: 7, tpid: 0x8100 }), ..untagged };
    let _ = verified.run(&tagged);
    let _ = verified.run_with_tag_in_frame(&tagged);
    // Without a tag there is nothing to put back.
    assert_eq!(verified.run(&untagged), verified.run_with_tag_in_frame(&untagged));
});
