//! Numbers of classic BPF: `linux/bpf_common.h` and `linux/filter.h`.

/// Load into the accumulator.
pub(crate) const LD: u16 = 0x00;
/// Load into the index register.
pub(crate) const LDX: u16 = 0x01;
/// Store the accumulator.
pub(crate) const ST: u16 = 0x02;
/// Store the index register.
pub(crate) const STX: u16 = 0x03;
/// Arithmetic on the accumulator.
pub(crate) const ALU: u16 = 0x04;
/// Jump.
pub(crate) const JMP: u16 = 0x05;
/// End.
pub(crate) const RET: u16 = 0x06;

/// 32 bits.
pub(crate) const W: u16 = 0x00;
/// 16 bits; 8 bits are the other value.
pub(crate) const H: u16 = 0x08;

/// The operand itself.
pub(crate) const IMM: u16 = 0x00;
/// The frame, at the operand.
pub(crate) const ABS: u16 = 0x20;
/// The frame, at index register plus operand.
pub(crate) const IND: u16 = 0x40;
/// A cell of scratch memory.
pub(crate) const MEM: u16 = 0x60;
/// The frame's length.
pub(crate) const LEN: u16 = 0x80;
/// Four times the low nibble of a byte of the frame: an IPv4 header's length.
pub(crate) const MSH: u16 = 0xa0;

/// Operand: the constant.
pub(crate) const K: u16 = 0x00;
/// Operand: the index register.
pub(crate) const X: u16 = 0x08;
/// Result of a program: the accumulator.
pub(crate) const A: u16 = 0x10;

pub(crate) const ADD: u16 = 0x00;
pub(crate) const SUB: u16 = 0x10;
pub(crate) const MUL: u16 = 0x20;
pub(crate) const DIV: u16 = 0x30;
pub(crate) const OR: u16 = 0x40;
pub(crate) const AND: u16 = 0x50;
pub(crate) const LSH: u16 = 0x60;
pub(crate) const RSH: u16 = 0x70;
pub(crate) const NEG: u16 = 0x80;
pub(crate) const MOD: u16 = 0x90;
pub(crate) const XOR: u16 = 0xa0;

pub(crate) const JA: u16 = 0x00;
pub(crate) const JEQ: u16 = 0x10;
pub(crate) const JGT: u16 = 0x20;
pub(crate) const JGE: u16 = 0x30;
pub(crate) const JSET: u16 = 0x40;

pub(crate) const TXA: u16 = 0x80;

/// Cells of scratch memory (`BPF_MEMWORDS`).
pub(crate) const MEMORY_CELLS: usize = 16;

/// Absolute loads from here on read what the kernel knows of a frame, not its bytes
/// (`SKF_AD_OFF`, −0x1000).
pub(crate) const ANCILLARY: u32 = 0xffff_f000;
/// Loads from here on are relative to the network header (`SKF_NET_OFF`, −0x100000).
pub(crate) const NETWORK: u32 = 0xfff0_0000;
/// Loads from here on are relative to the link-layer header (`SKF_LL_OFF`, −0x200000).
pub(crate) const LINK: u32 = 0xffe0_0000;

pub(crate) const AD_PROTOCOL: u32 = 0;
pub(crate) const AD_PKTTYPE: u32 = 4;
pub(crate) const AD_IFINDEX: u32 = 8;
pub(crate) const AD_HATYPE: u32 = 28;
pub(crate) const AD_ALU_XOR_X: u32 = 40;
pub(crate) const AD_VLAN_TAG: u32 = 44;
pub(crate) const AD_VLAN_TAG_PRESENT: u32 = 48;
pub(crate) const AD_VLAN_TPID: u32 = 60;
/// The ancillary loads that the kernel knows end here (`SKF_AD_MAX`); each is a multiple of four.
pub(crate) const AD_END: u32 = 64;
