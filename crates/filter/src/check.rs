use model::{Instruction, Program};

use crate::{Error, opcode};

/// Checks a program as the kernel does before it attaches one.
///
/// Source: `bpf_check_classic` and `check_load_and_stores` of the kernel's `net/core/filter.c`.
///
/// # Errors
/// What the kernel would refuse with `EINVAL`, and where.
pub fn check(program: &Program) -> Result<(), Error> {
    check_jumping(program, Jumps::Forward)?;
    check_scratch(&program.0)
}

/// Where jumps may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jumps {
    /// Towards the end: all that the kernel takes.
    Forward,
    /// Back as well, if they are unconditional: libpcap's `protochain` is a loop. Such a program
    /// is not for the kernel, so its length has no limit either.
    Both,
}

/// [`check()`] without the matter of scratch memory.
pub(crate) fn check_jumping(program: &Program, jumps: Jumps) -> Result<(), Error> {
    let instructions = &program.0;
    let length = instructions.len();
    if length == 0 || (jumps == Jumps::Forward && length > Program::MAX_INSTRUCTIONS) {
        return Err(Error::Length { length });
    }
    for (at, instruction) in instructions.iter().enumerate() {
        check_instruction(at, *instruction, length, jumps)?;
    }
    if instructions.last().is_none_or(|last| last.code & 0x07 != opcode::RET) {
        return Err(Error::NoReturn);
    }
    Ok(())
}

/// The target of an unconditional jump back; `None` when it goes forward, or out of the program.
pub(crate) fn jump_back(at: usize, k: u32) -> Option<usize> {
    let distance = usize::try_from(k.cast_signed().checked_neg()?).ok()?;
    (at + 1).checked_sub(distance).filter(|target| *target <= at)
}

fn check_instruction(
    at: usize,
    instruction: Instruction,
    length: usize,
    jumps: Jumps,
) -> Result<(), Error> {
    let Instruction { code, jt, jf, k } = instruction;
    if !is_known(code) {
        return Err(Error::Opcode { at, code });
    }
    let operand = Error::Operand { at, operand: k };
    match code & 0x07 {
        opcode::ALU if code & opcode::X == 0 => match code & 0xf0 {
            opcode::DIV | opcode::MOD if k == 0 => return Err(operand),
            opcode::LSH | opcode::RSH if k >= 32 => return Err(operand),
            _ => {}
        },
        opcode::LD if code & 0xe0 == opcode::ABS && k >= opcode::ANCILLARY => {
            let number = k - opcode::ANCILLARY;
            if number >= opcode::AD_END || !number.is_multiple_of(4) {
                return Err(Error::Ancillary { at, number });
            }
        }
        opcode::LD | opcode::LDX if code & 0xe0 == opcode::MEM && cell(k).is_none() => {
            return Err(operand);
        }
        opcode::ST | opcode::STX if cell(k).is_none() => return Err(operand),
        opcode::JMP
            if jumps == Jumps::Both && code & 0xf0 == opcode::JA && jump_back(at, k).is_some() => {}
        opcode::JMP => {
            let longest = if code & 0xf0 == opcode::JA { k } else { u32::from(jt.max(jf)) };
            let target = usize::try_from(longest).ok().and_then(|jump| jump.checked_add(at + 1));
            if target.is_none_or(|target| target >= length) {
                return Err(Error::Jump { at });
            }
        }
        _ => {}
    }
    Ok(())
}

/// No cell is read that some way through the program has not written.
fn check_scratch(instructions: &[Instruction]) -> Result<(), Error> {
    // For each instruction the cells that every way leading to it has written. Jumps only go
    // forward, so one pass settles it.
    let mut masks = vec![u16::MAX; instructions.len()];
    let mut written = 0u16;
    for (at, instruction) in instructions.iter().enumerate() {
        let Instruction { code, jt, jf, k } = *instruction;
        written &= masks[at];
        let mut join = |jump: u32| {
            let target = usize::try_from(jump).ok().and_then(|jump| jump.checked_add(at + 1));
            if let Some(mask) = target.and_then(|target| masks.get_mut(target)) {
                *mask &= written;
            }
        };
        match code & 0x07 {
            opcode::ST | opcode::STX => written |= cell(k).unwrap_or(0),
            opcode::LD | opcode::LDX
                if code & 0xe0 == opcode::MEM && written & cell(k).unwrap_or(0) == 0 =>
            {
                return Err(Error::Uninitialised { at, cell: k });
            }
            opcode::JMP => {
                if code & 0xf0 == opcode::JA {
                    join(k);
                } else {
                    join(u32::from(jt));
                    join(u32::from(jf));
                }
                written = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The bit of a scratch cell.
fn cell(k: u32) -> Option<u16> {
    let cells = u32::try_from(opcode::MEMORY_CELLS).ok()?;
    (k < cells).then(|| 1 << k)
}

/// The kernel's list of codes (`chk_code_allowed`).
fn is_known(code: u16) -> bool {
    let source_is_constant = code & opcode::X == 0;
    if code & 0xff00 != 0 {
        return false;
    }
    match code & 0x07 {
        opcode::LD => matches!(
            code,
            0x00 /* imm */ | 0x80 /* len */ | 0x60 /* mem */
            | 0x20 | 0x28 | 0x30 /* abs */ | 0x40 | 0x48 | 0x50 /* ind */
        ),
        opcode::LDX => matches!(code, 0x01 | 0x81 | 0x61 | 0xb1),
        opcode::ST | opcode::STX => code & 0xf8 == 0,
        opcode::ALU => match code & 0xf0 {
            opcode::NEG => source_is_constant,
            operation => operation <= opcode::XOR,
        },
        opcode::JMP => match code & 0xf0 {
            opcode::JA => source_is_constant,
            operation => operation <= opcode::JSET,
        },
        opcode::RET => matches!(code, 0x06 | 0x16),
        _ => matches!(code, 0x07 | 0x87),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    const RET: Instruction = Instruction { code: 0x06, jt: 0, jf: 0, k: 1 };

    fn checked(instructions: &[Instruction]) -> Result<(), Error> {
        check(&Program(instructions.to_vec()))
    }

    #[test]
    fn length_is_bounded() {
        assert_eq!(checked(&[]), Err(Error::Length { length: 0 }));
        assert_eq!(checked(&vec![RET; 4096]), Ok(()));
        assert_eq!(checked(&vec![RET; 4097]), Err(Error::Length { length: 4097 }));
    }

    #[test]
    fn every_way_ends_in_a_return() {
        assert_eq!(checked(&[op(0x00, 0, 0, 0)]), Err(Error::NoReturn));
        assert_eq!(checked(&[op(0x15, 0, 1, 0), RET]), Err(Error::Jump { at: 0 }));
        assert_eq!(checked(&[op(0x15, 1, 0, 0), RET]), Err(Error::Jump { at: 0 }));
        assert_eq!(checked(&[op(0x05, 0, 0, 1), RET]), Err(Error::Jump { at: 0 }));
        assert_eq!(checked(&[op(0x05, 0, 0, u32::MAX), RET]), Err(Error::Jump { at: 0 }));
        assert_eq!(checked(&[op(0x15, 1, 0, 0), RET, RET]), Ok(()));
    }

    #[test]
    fn jumps_back_are_not_for_the_kernel() {
        let back = |k: i32| Program(vec![op(0, 0, 0, 7), op(5, 0, 0, k.cast_unsigned()), RET]);
        for k in [-1, -2] {
            assert_eq!(check(&back(k)), Err(Error::Jump { at: 1 }));
            assert_eq!(check_jumping(&back(k), Jumps::Both), Ok(()));
        }
        for k in [-3, i32::MIN, i32::MAX] {
            assert_eq!(check_jumping(&back(k), Jumps::Both), Err(Error::Jump { at: 1 }));
        }
    }

    #[test]
    fn operands_are_in_range() {
        for (code, bad) in [(0x34, 0), (0x94, 0), (0x64, 32), (0x74, 32), (0x02, 16), (0x61, 16)] {
            assert_eq!(
                checked(&[op(code, 0, 0, bad), RET]),
                Err(Error::Operand { at: 0, operand: bad }),
                "{code:#x}"
            );
        }
        assert_eq!(checked(&[op(0x3c, 0, 0, 0), RET]), Ok(()), "division by X is a matter of X");
    }

    #[test]
    fn unknown_operations_are_refused() {
        for code in [0x08, 0x21, 0x0e, 0x17, 0xb4, 0x8c, 0x0d, 0x55, 0x100, 0xe0] {
            assert_eq!(checked(&[op(code, 0, 0, 1), RET]), Err(Error::Opcode { at: 0, code }));
        }
        assert_eq!(
            checked(&[op(0x20, 0, 0, opcode::ANCILLARY + 64), RET]),
            Err(Error::Ancillary { at: 0, number: 64 })
        );
        assert_eq!(checked(&[op(0x30, 0, 0, opcode::ANCILLARY + 28), RET]), Ok(()));
    }

    #[test]
    fn scratch_cells_are_written_before_they_are_read() {
        let uninitialised = |at| Err(Error::Uninitialised { at, cell: 3 });
        assert_eq!(checked(&[op(0x60, 0, 0, 3), RET]), uninitialised(0));
        assert_eq!(checked(&[op(0x02, 0, 0, 3), op(0x60, 0, 0, 3), RET]), Ok(()));
        // One of two ways does not write it.
        let ways = [op(0x15, 0, 1, 0), op(0x02, 0, 0, 3), op(0x61, 0, 0, 3), RET];
        assert_eq!(checked(&ways), uninitialised(2));
    }
}
