/// One classic BPF instruction, laid out as `struct sock_filter` of `linux/filter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump offset when the condition holds.
    pub jt: u8,
    /// Jump offset when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A classic BPF program: what a capture expression becomes.
///
/// It returns how many bytes of a frame are kept, 0 for a frame that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program(pub Vec<Instruction>);

impl Program {
    /// The most instructions that the kernel takes (`BPF_MAXINSNS`).
    pub const MAX_INSTRUCTIONS: usize = 4096;

    /// The program that returns `bytes` for every frame; `ret(0)` refuses everything.
    #[must_use]
    pub fn ret(bytes: u32) -> Self {
        // BPF_RET | BPF_K
        Self(vec![Instruction { code: 0x06, jt: 0, jf: 0, k: bytes }])
    }
}
