//! Any bytes as a program and a frame: the interpreter must not panic and must come to an end.
//!
//! The first byte is the number of instructions, each of eight bytes as in `struct sock_filter`;
//! what is left is the frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use whaletap_filter::{Packet, VlanTag, interpret};
use whaletap_model::{Instruction, Program};

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
    // A program that is refused is as good as one that runs; only a panic is not.
    let untagged = interpret(&program, &Packet::new(frame));
    let tag = VlanTag { tci: 7, tpid: 0x8100 };
    let tagged = interpret(&program, &Packet { vlan: Some(tag), ..Packet::new(frame) });
    assert_eq!(untagged.is_ok(), tagged.is_ok(), "whether a program is valid depends on the frame");
});
