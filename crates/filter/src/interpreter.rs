//! Runs programs where the kernel cannot.

use model::{Instruction, Program};

use crate::{
    Error, Packet, VlanTag,
    check::{Jumps, check_jumping, jump_back},
    opcode,
};

/// How often a program may jump back before it is taken for endless and refuses the frame.
/// `protochain` does it once for each header, and the largest frame has room for 32,768 headers.
const MAX_JUMPS_BACK: u32 = 32_768;

/// Runs a program once. Who runs it more often keeps a [`Verified`].
///
/// # Errors
/// As for [`Verified::new`].
pub fn interpret(program: &Program, packet: &Packet<'_>) -> Result<u32, Error> {
    Ok(Verified::new(program)?.run(packet))
}

/// A program that was checked and is decoded for the interpreter.
///
/// It behaves as in the kernel: a load outside the frame ends it with 0, and so does a division by
/// zero; a shift takes the low five bits of the index register. Source: the kernel's
/// `Documentation/networking/filter.rst` and `net/core/filter.c`.
///
/// Other than in the kernel, a program may be longer than 4096 instructions, and unconditional
/// jumps may go back, which libpcap's `protochain` needs.
/// It always ends nevertheless: after 32,768 jumps back a frame is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified(Box<[Op]>);

impl Verified {
    /// Checks and decodes a program.
    ///
    /// # Errors
    /// What [`check()`](crate::check()) refuses, save length and jumps back, and ancillary loads that only the kernel can answer: of those the
    /// interpreter knows protocol, packet type, interface index, hardware type, VLAN tag, and
    /// exclusive or with the index register, which is all that libpcap uses and we add.
    pub fn new(program: &Program) -> Result<Self, Error> {
        check_jumping(program, Jumps::Both)?;
        let decode = |(at, instruction): (usize, &Instruction)| Op::decode(at, *instruction);
        program.0.iter().enumerate().map(decode).collect::<Result<_, _>>().map(Self)
    }

    /// Runs the program on a frame whose tag, if it has one, is in [`Packet::vlan`], as in the
    /// kernel. Returns how many bytes to keep; 0 refuses the frame.
    #[must_use]
    pub fn run(&self, packet: &Packet<'_>) -> u32 {
        self.execute(packet, packet.data, packet.original_length).unwrap_or(0)
    }

    /// Runs the program on the frame as it was on the wire, with the tag of [`Packet::vlan`] in its
    /// place: what a program compiled for files expects. Returns as [`Verified::run`].
    #[must_use]
    pub fn run_with_tag_in_frame(&self, packet: &Packet<'_>) -> u32 {
        let (Some(tag), Some((addresses, rest))) =
            (packet.vlan, packet.data.split_at_checked(VlanTag::OFFSET))
        else {
            return self.run(packet);
        };
        let untagged = Packet {
            vlan: None,
            protocol: tag.tpid,
            network_offset: packet.network_offset.saturating_add(4),
            ..*packet
        };
        let frame = TaggedFrame { addresses, tag: tag.bytes(), rest };
        let length = packet.original_length.saturating_add(4);
        self.execute(&untagged, frame, length).unwrap_or(0)
    }

    /// `None` is the kernel's way out of a program that did something impossible.
    fn execute(&self, packet: &Packet<'_>, frame: impl Frame, length: u32) -> Option<u32> {
        let network = packet.network_offset;
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; opcode::MEMORY_CELLS];
        let mut pc = 0usize;
        let mut jumps_back = 0;
        loop {
            let op = self.0.get(pc)?;
            pc += 1;
            match *op {
                Op::Word(at) => a = frame.word(at)?,
                Op::Half(at) => a = frame.half(at)?,
                Op::Byte(at) => a = frame.byte(at)?,
                Op::Network(size, at) => a = frame.load(size, network.checked_add(at)?)?,
                Op::Indirect(size, k) => {
                    let at = match resolve(x.wrapping_add(k)) {
                        Place::Frame(at) => at,
                        Place::Network(at) => network.checked_add(at)?,
                        Place::Nowhere => return None,
                    };
                    a = frame.load(size, at)?;
                }
                Op::Ancillary(what) => a = what.of(packet),
                Op::XorX => a ^= x,
                Op::Fail => return None,
                Op::Imm(k) => a = k,
                Op::Length => a = length,
                Op::Memory(cell) => a = memory[cell],
                Op::IndexImm(k) => x = k,
                Op::IndexLength => x = length,
                Op::IndexMemory(cell) => x = memory[cell],
                Op::IndexHeader(at) => x = (frame.byte(at)? & 0xf) << 2,
                Op::IndexHeaderNetwork(at) => {
                    x = (frame.byte(network.checked_add(at)?)? & 0xf) << 2;
                }
                Op::Store(cell) => memory[cell] = a,
                Op::StoreIndex(cell) => memory[cell] = x,
                Op::Alu(operation, operand) => a = operation.apply(a, operand.value(x))?,
                Op::Negate => a = a.wrapping_neg(),
                Op::Jump(target) => pc = target,
                Op::JumpBack(target) => {
                    jumps_back += 1;
                    if jumps_back > MAX_JUMPS_BACK {
                        return None;
                    }
                    pc = target;
                }
                Op::JumpEqual { k, jt, jf } => pc += usize::from(if a == k { jt } else { jf }),
                Op::JumpIf { condition, operand, jt, jf } => {
                    let holds = condition.holds(a, operand.value(x));
                    pc += usize::from(if holds { jt } else { jf });
                }
                Op::ToIndex => x = a,
                Op::FromIndex => a = x,
                Op::Return(k) => return Some(k),
                Op::ReturnA => return Some(a),
            }
        }
    }
}

/// Where a load's number leads.
enum Place {
    /// An offset into the frame.
    Frame(u32),
    /// An offset behind the network header.
    Network(u32),
    /// Outside of every frame.
    Nowhere,
}

/// Source: `bpf_internal_load_pointer_neg_helper` of the kernel's `kernel/bpf/core.c`.
fn resolve(k: u32) -> Place {
    match k {
        opcode::NETWORK.. => Place::Network(k - opcode::NETWORK),
        // The link-layer header is the first byte of the frame.
        opcode::LINK.. => Place::Frame(k - opcode::LINK),
        0x8000_0000.. => Place::Nowhere,
        _ => Place::Frame(k),
    }
}

/// Bytes that can be loaded from.
trait Frame: Copy {
    fn bytes<const N: usize>(self, at: u32) -> Option<[u8; N]>;

    #[inline]
    fn word(self, at: u32) -> Option<u32> {
        self.bytes(at).map(u32::from_be_bytes)
    }

    #[inline]
    fn half(self, at: u32) -> Option<u32> {
        self.bytes(at).map(u16::from_be_bytes).map(u32::from)
    }

    #[inline]
    fn byte(self, at: u32) -> Option<u32> {
        self.bytes(at).map(|[byte]| u32::from(byte))
    }

    #[inline]
    fn load(self, size: Size, at: u32) -> Option<u32> {
        match size {
            Size::Word => self.word(at),
            Size::Half => self.half(at),
            Size::Byte => self.byte(at),
        }
    }
}

impl Frame for &[u8] {
    #[inline]
    fn bytes<const N: usize>(self, at: u32) -> Option<[u8; N]> {
        self.get(usize::try_from(at).ok()?..)?.first_chunk().copied()
    }
}

/// A frame with its tag back in place, without copying the frame.
#[derive(Clone, Copy)]
struct TaggedFrame<'a> {
    addresses: &'a [u8],
    tag: [u8; VlanTag::LENGTH],
    rest: &'a [u8],
}

impl Frame for TaggedFrame<'_> {
    fn bytes<const N: usize>(self, at: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        for (at, byte) in (usize::try_from(at).ok()?..).zip(&mut bytes) {
            *byte = match at {
                0..12 => *self.addresses.get(at)?,
                12..16 => self.tag[at - VlanTag::OFFSET],
                _ => *self.rest.get(at - VlanTag::OFFSET - VlanTag::LENGTH)?,
            };
        }
        Some(bytes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Word,
    Half,
    Byte,
}

impl Size {
    fn of(code: u16) -> Self {
        match code & 0x18 {
            opcode::W => Self::Word,
            opcode::H => Self::Half,
            _ => Self::Byte,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    K(u32),
    X,
}

impl Operand {
    fn of(code: u16, k: u32) -> Self {
        if code & opcode::X == 0 { Self::K(k) } else { Self::X }
    }

    #[inline]
    fn value(self, x: u32) -> u32 {
        match self {
            Self::K(k) => k,
            Self::X => x,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ancillary {
    Protocol,
    PacketType,
    InterfaceIndex,
    Hatype,
    VlanTci,
    VlanPresent,
    VlanTpid,
}

impl Ancillary {
    fn of(self, packet: &Packet<'_>) -> u32 {
        match self {
            Self::Protocol => u32::from(packet.protocol),
            Self::PacketType => u32::from(packet.packet_type.raw()),
            Self::InterfaceIndex => packet.interface_index,
            Self::Hatype => u32::from(packet.hatype.0),
            Self::VlanTci => packet.vlan.map_or(0, |tag| u32::from(tag.tci)),
            Self::VlanPresent => u32::from(packet.vlan.is_some()),
            Self::VlanTpid => packet.vlan.map_or(0, |tag| u32::from(tag.tpid)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Or,
    And,
    Xor,
    Lsh,
    Rsh,
}

impl Arithmetic {
    #[inline]
    fn apply(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Self::Add => a.wrapping_add(b),
            Self::Sub => a.wrapping_sub(b),
            Self::Mul => a.wrapping_mul(b),
            Self::Div => a.checked_div(b)?,
            Self::Mod => a.checked_rem(b)?,
            Self::Or => a | b,
            Self::And => a & b,
            Self::Xor => a ^ b,
            Self::Lsh => a.wrapping_shl(b),
            Self::Rsh => a.wrapping_shr(b),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

impl Condition {
    #[inline]
    fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
            Self::AnyBit => a & b != 0,
        }
    }
}

/// One instruction, with all that can be decided before a frame is seen decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Word(u32),
    Half(u32),
    Byte(u32),
    Network(Size, u32),
    Indirect(Size, u32),
    Ancillary(Ancillary),
    XorX,
    /// A load that lies outside of every frame.
    Fail,
    Imm(u32),
    Length,
    Memory(usize),
    IndexImm(u32),
    IndexLength,
    IndexMemory(usize),
    IndexHeader(u32),
    IndexHeaderNetwork(u32),
    Store(usize),
    StoreIndex(usize),
    Alu(Arithmetic, Operand),
    Negate,
    Jump(usize),
    JumpBack(usize),
    JumpEqual {
        k: u32,
        jt: u8,
        jf: u8,
    },
    JumpIf {
        condition: Condition,
        operand: Operand,
        jt: u8,
        jf: u8,
    },
    ToIndex,
    FromIndex,
    Return(u32),
    ReturnA,
}

impl Op {
    /// Decodes an instruction that passed the check.
    fn decode(at: usize, instruction: Instruction) -> Result<Self, Error> {
        let Instruction { code, jt, jf, k } = instruction;
        let unknown = Error::Opcode { at, code };
        let cell = || match usize::try_from(k) {
            Ok(cell) if cell < opcode::MEMORY_CELLS => Ok(cell),
            _ => Err(Error::Operand { at, operand: k }),
        };
        Ok(match code & 0x07 {
            opcode::LD => match code & 0xe0 {
                opcode::IMM => Self::Imm(k),
                opcode::ABS => Self::absolute(at, Size::of(code), k)?,
                opcode::IND => Self::Indirect(Size::of(code), k),
                opcode::MEM => Self::Memory(cell()?),
                opcode::LEN => Self::Length,
                _ => return Err(unknown),
            },
            opcode::LDX => match code & 0xe0 {
                opcode::IMM => Self::IndexImm(k),
                opcode::MEM => Self::IndexMemory(cell()?),
                opcode::LEN => Self::IndexLength,
                opcode::MSH => match resolve(k) {
                    Place::Frame(offset) => Self::IndexHeader(offset),
                    Place::Network(offset) => Self::IndexHeaderNetwork(offset),
                    Place::Nowhere => Self::Fail,
                },
                _ => return Err(unknown),
            },
            opcode::ST => Self::Store(cell()?),
            opcode::STX => Self::StoreIndex(cell()?),
            opcode::ALU => {
                let operation = match code & 0xf0 {
                    opcode::ADD => Arithmetic::Add,
                    opcode::SUB => Arithmetic::Sub,
                    opcode::MUL => Arithmetic::Mul,
                    opcode::DIV => Arithmetic::Div,
                    opcode::MOD => Arithmetic::Mod,
                    opcode::OR => Arithmetic::Or,
                    opcode::AND => Arithmetic::And,
                    opcode::XOR => Arithmetic::Xor,
                    opcode::LSH => Arithmetic::Lsh,
                    opcode::RSH => Arithmetic::Rsh,
                    opcode::NEG => return Ok(Self::Negate),
                    _ => return Err(unknown),
                };
                Self::Alu(operation, Operand::of(code, k))
            }
            opcode::JMP => {
                let condition = match code & 0xf0 {
                    opcode::JA => {
                        if let Some(target) = jump_back(at, k) {
                            return Ok(Self::JumpBack(target));
                        }
                        let jump = usize::try_from(k).map_err(|_| Error::Jump { at })?;
                        return Ok(Self::Jump(at + 1 + jump));
                    }
                    opcode::JEQ if code & opcode::X == 0 => {
                        return Ok(Self::JumpEqual { k, jt, jf });
                    }
                    opcode::JEQ => Condition::Equal,
                    opcode::JGT => Condition::Greater,
                    opcode::JGE => Condition::GreaterOrEqual,
                    opcode::JSET => Condition::AnyBit,
                    _ => return Err(unknown),
                };
                Self::JumpIf { condition, operand: Operand::of(code, k), jt, jf }
            }
            opcode::RET if code & 0x18 == opcode::A => Self::ReturnA,
            opcode::RET => Self::Return(k),
            _ if code & 0xf8 == opcode::TXA => Self::FromIndex,
            _ => Self::ToIndex,
        })
    }

    fn absolute(at: usize, size: Size, k: u32) -> Result<Self, Error> {
        let Some(number) = k.checked_sub(opcode::ANCILLARY) else {
            return Ok(match (resolve(k), size) {
                (Place::Frame(offset), Size::Word) => Self::Word(offset),
                (Place::Frame(offset), Size::Half) => Self::Half(offset),
                (Place::Frame(offset), Size::Byte) => Self::Byte(offset),
                (Place::Network(offset), size) => Self::Network(size, offset),
                (Place::Nowhere, _) => Self::Fail,
            });
        };
        // The kernel ignores the size of an ancillary load.
        Ok(Self::Ancillary(match number {
            opcode::AD_PROTOCOL => Ancillary::Protocol,
            opcode::AD_PKTTYPE => Ancillary::PacketType,
            opcode::AD_IFINDEX => Ancillary::InterfaceIndex,
            opcode::AD_HATYPE => Ancillary::Hatype,
            opcode::AD_VLAN_TAG => Ancillary::VlanTci,
            opcode::AD_VLAN_TAG_PRESENT => Ancillary::VlanPresent,
            opcode::AD_VLAN_TPID => Ancillary::VlanTpid,
            opcode::AD_ALU_XOR_X => return Ok(Self::XorX),
            _ => return Err(Error::Ancillary { at, number }),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(code: u16, k: u32) -> Instruction {
        Instruction { code, jt: 0, jf: 0, k }
    }

    /// What a program makes of a frame; `load` is followed by `ret a`.
    fn run(load: &[Instruction], packet: &Packet<'_>) -> u32 {
        let program = Program([load, &[op(0x16, 0)]].concat());
        interpret(&program, packet).unwrap()
    }

    const DATA: [u8; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0, 0x45, 16, 17, 18, 19, 20];

    #[test]
    fn loads_end_with_the_frame() {
        let packet = Packet::new(&DATA);
        for (code, size) in [(0x20, 4), (0x28, 2), (0x30, 1)] {
            assert_ne!(run(&[op(code, 20 - size)], &packet), 0);
            for outside in [21 - size, 20, 0x7fff_ffff, 0x8000_0000, 0xffdf_ffff] {
                assert_eq!(run(&[op(code, outside)], &packet), 0, "{code:#x} {outside:#x}");
            }
        }
        assert_eq!(run(&[op(0x20, 0)], &packet), 0x0102_0304);
        assert_eq!(run(&[op(0x28, 1)], &packet), 0x0203);
        assert_eq!(run(&[op(0x30, 19)], &packet), 20);
    }

    #[test]
    fn indirect_loads_wrap_and_stay_in_the_frame() {
        let packet = Packet::new(&DATA);
        let indirect = |x, k| run(&[op(0x01, x), op(0x50, k)], &packet);
        assert_eq!(indirect(3, 2), 6);
        assert_eq!(indirect(u32::MAX, 3), 3);
        assert_eq!(indirect(19, 1), 0);
        assert_eq!(indirect(opcode::ANCILLARY, 4), 0);
    }

    #[test]
    fn headers_can_be_named() {
        let packet = Packet::new(&DATA);
        assert_eq!(run(&[op(0x30, opcode::NETWORK + 1)], &packet), 16);
        assert_eq!(run(&[op(0x30, opcode::LINK + 2)], &packet), 3);
        assert_eq!(run(&[op(0xb1, 14), op(0x87, 0)], &packet), 20);
        assert_eq!(run(&[op(0xb1, opcode::NETWORK), op(0x87, 0)], &packet), 20);
        assert_eq!(run(&[op(0, 9), op(0xb1, 20)], &packet), 0);
    }

    #[test]
    fn ancillary_loads_tell_what_the_socket_told() {
        let packet = Packet {
            protocol: 0x86dd,
            packet_type: model::PacketType::Outgoing,
            interface_index: 77,
            hatype: model::Hatype::LOOPBACK,
            vlan: Some(VlanTag { tci: 0x2005, tpid: 0x88a8 }),
            ..Packet::new(&DATA)
        };
        let ancillary = |number| run(&[op(0x30, opcode::ANCILLARY + number)], &packet);
        assert_eq!(ancillary(0), 0x86dd);
        assert_eq!(ancillary(4), 4);
        assert_eq!(ancillary(8), 77);
        assert_eq!(ancillary(28), 772);
        assert_eq!(ancillary(44), 0x2005);
        assert_eq!(ancillary(48), 1);
        assert_eq!(ancillary(60), 0x88a8);
        let xor = [op(0x00, 6), op(0x01, 3), op(0x20, opcode::ANCILLARY + 40)];
        assert_eq!(run(&xor, &packet), 5);
        // RANDOM is the kernel's alone.
        let random = Program(vec![op(0x20, opcode::ANCILLARY + 56), op(0x16, 0)]);
        assert_eq!(Verified::new(&random), Err(Error::Ancillary { at: 0, number: 56 }));
    }

    #[test]
    fn arithmetic_is_the_kernels() {
        let packet = Packet::new(&DATA);
        let by_x = |code: u16, a, x| run(&[op(0x00, a), op(0x01, x), op(code | 0x08, 0)], &packet);
        let by_k = |code: u16, a, k| run(&[op(0x00, a), op(code, k)], &packet);
        for (code, a, b, expected) in [
            (0x04, u32::MAX, 2, 1),
            (0x14, 1, 2, u32::MAX),
            (0x24, 0x8000_0001, 2, 2),
            (0x34, 17, 5, 3),
            (0x44, 5, 2, 7),
            (0x54, 7, 10, 2),
            (0x64, 1, 31, 0x8000_0000),
            (0x74, 0x8000_0000, 31, 1),
            (0x94, 17, 5, 2),
            (0xa4, 7, 2, 5),
        ] {
            assert_eq!(by_k(code, a, b), expected, "{code:#x}");
            assert_eq!(by_x(code, a, b), expected, "{code:#x} by x");
        }
        assert_eq!(by_x(0x34, 17, 0), 0);
        assert_eq!(by_x(0x94, 17, 0), 0);
        assert_eq!(by_x(0x64, 1, 33), 2);
        assert_eq!(run(&[op(0x00, 1), op(0x84, 0)], &packet), u32::MAX);
    }

    #[test]
    fn an_endless_program_ends() {
        let program = Program(vec![op(0x05, u32::MAX), op(0x06, 1)]);
        assert_eq!(interpret(&program, &Packet::new(&DATA)), Ok(0));
    }

    #[test]
    fn a_tag_is_put_in_its_place() {
        let whole = [&DATA[..12], &[0x81, 0, 0x20, 5], &DATA[12..]].concat();
        let vlan = Some(VlanTag { tci: 0x2005, tpid: 0x8100 });
        let packet = Packet { vlan, ..Packet::new(&DATA) };
        for code in [0x20, 0x28, 0x30, 0x80] {
            for at in 0..26 {
                let program = Verified::new(&Program(vec![op(code, at), op(0x16, 0)])).unwrap();
                let expected = program.run(&Packet::new(&whole));
                assert_eq!(program.run_with_tag_in_frame(&packet), expected, "{code:#x} {at}");
            }
        }
        // A frame cut before the tag has no place for it.
        let short = Packet { vlan, ..Packet::new(&DATA[..11]) };
        let length = Verified::new(&Program(vec![op(0x80, 0), op(0x16, 0)])).unwrap();
        assert_eq!(length.run_with_tag_in_frame(&short), 11);
    }
}
