/// Why an expression or a program is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The expression compiles for no link type.
    #[error("{message}")]
    Expression {
        /// libpcap's words.
        message: String,
        /// Where in the text, as a byte offset; the length of the text when something is missing
        /// at its end. `None` when no place can be named.
        position: Option<usize>,
    },
    /// `ip broadcast`: the netmask differs between the namespaces of one capture.
    #[error(
        "`ip broadcast` depends on a netmask, and targets have different ones; name the address \
         (`dst host 192.0.2.255`) or use `ether broadcast`"
    )]
    IpBroadcast {
        /// Where in the text, as a byte offset.
        position: usize,
    },
    /// A NUL byte in the text.
    #[error("a capture expression cannot contain a NUL byte")]
    Nul {
        /// Where in the text, as a byte offset.
        position: usize,
    },
    /// libpcap failed in a way that has nothing to do with the expression.
    #[error("libpcap: {message}")]
    Libpcap {
        /// libpcap's words.
        message: String,
    },
    /// A program without instructions, or with more than the kernel takes.
    #[error("a program has 1 to 4096 instructions, this one {length}")]
    Length {
        /// Number of instructions.
        length: usize,
    },
    /// An operation that classic BPF does not have.
    #[error("instruction {at}: unknown operation {code:#06x}")]
    Opcode {
        /// Index of the instruction.
        at: usize,
        /// Its operation.
        code: u16,
    },
    /// A jump past the end.
    #[error("instruction {at}: jumps out of the program")]
    Jump {
        /// Index of the instruction.
        at: usize,
    },
    /// A constant that its operation forbids: a division by 0, a shift by 32 or more, a scratch
    /// cell past the last.
    #[error("instruction {at}: operand {operand} is out of range")]
    Operand {
        /// Index of the instruction.
        at: usize,
        /// Its operand.
        operand: u32,
    },
    /// A load from a scratch cell that may not have been stored to.
    #[error("instruction {at}: reads scratch cell {cell} before it is written")]
    Uninitialised {
        /// Index of the instruction.
        at: usize,
        /// The cell.
        cell: u32,
    },
    /// An ancillary load that the kernel, or the interpreter, does not know.
    #[error("instruction {at}: unknown ancillary load {number}")]
    Ancillary {
        /// Index of the instruction.
        at: usize,
        /// `SKF_AD_` number.
        number: u32,
    },
    /// The last instruction is not a return.
    #[error("the program does not end in a return")]
    NoReturn,
}

impl Error {
    /// Where in the expression's text the error lies, as a byte offset, if a place can be named.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::Expression { position, .. } => *position,
            Self::IpBroadcast { position } | Self::Nul { position } => Some(*position),
            _ => None,
        }
    }

    /// Whether a name in the expression is of no host that this machine knows.
    #[must_use]
    pub fn is_unknown_host(&self) -> bool {
        matches!(self, Self::Expression { message, .. } if message.starts_with("unknown host"))
    }
}
