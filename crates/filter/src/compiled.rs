use model::{LinkType, Program, Snaplen};

/// An expression compiled for each link type that we write; not yet a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Bytes kept of an accepted frame.
    pub snaplen: Snaplen,
    /// What the expression means on each link type. Frames of a type that is not here are refused.
    pub verdicts: Vec<(LinkType, Verdict)>,
    /// Why an expression with `vlan` has to be evaluated in user space; `None` when it has not.
    pub vlan_in_user_space: Option<String>,
}

/// What an expression means on one link type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A program decides.
    Program {
        /// The program.
        program: Program,
        /// Where it looks for a VLAN tag.
        tag: TagPlace,
    },
    /// It does not compile, so it matches nothing.
    Never {
        /// libpcap's words.
        message: String,
    },
}

/// Where a program looks for a frame's outermost VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagPlace {
    /// Beside the frame, where a packet socket has it. Such a program can run in the kernel.
    Metadata,
    /// In the frame, where files have it. Such a program runs in user space.
    InFrame,
}

impl Compiled {
    /// Link types that an expression is compiled for.
    pub const LINK_TYPES: [LinkType; 3] = [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL2];

    /// The empty expression: every frame is wanted.
    #[must_use]
    pub fn everything(snaplen: Snaplen) -> Self {
        let program = Program::ret(snaplen.bytes());
        let verdict = Verdict::Program { program, tag: TagPlace::Metadata };
        let verdicts = Self::LINK_TYPES.map(|link_type| (link_type, verdict.clone())).to_vec();
        Self { snaplen, verdicts, vlan_in_user_space: None }
    }

    /// The verdict for a link type.
    #[must_use]
    pub fn verdict(&self, link_type: LinkType) -> Option<&Verdict> {
        self.verdicts.iter().find(|(of, _)| *of == link_type).map(|(_, verdict)| verdict)
    }
}
