use super::{Interface, Names, Packet, Section, Statistics};

/// A block of a file.
#[derive(Debug, Clone, Copy)]
pub enum Block<'a> {
    /// A section begins: the interfaces before are forgotten.
    Section(Section<'a>),
    /// An interface. A classic file has one, made of its header.
    Interface(Interface<'a>),
    /// A packet: of an Enhanced, a Simple or an obsolete Packet Block, or of a classic record.
    Packet(Packet<'a>),
    /// Names for addresses.
    Names(Names<'a>),
    /// Statistics of an interface.
    Statistics(Statistics<'a>),
    /// A block that this reader does not know. Step over it.
    Unknown {
        /// Its type.
        block_type: u32,
        /// Its body, padding included.
        body: &'a [u8],
    },
}
