use std::borrow::Cow;

use super::{ByteOrder, Options};

/// A section header.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// The byte order of the section's fields.
    pub byte_order: ByteOrder,
    /// Length of the section in bytes, without its header; `None` where it is not said. The
    /// reader does not rely on it.
    pub length: Option<u64>,
    /// All options, uninterpreted.
    pub options: Options<'a>,
}

impl<'a> Section<'a> {
    /// The machine (`shb_hardware`).
    #[must_use]
    pub fn hardware(&self) -> Option<Cow<'a, str>> {
        self.options.string(2)
    }

    /// The operating system (`shb_os`).
    #[must_use]
    pub fn os(&self) -> Option<Cow<'a, str>> {
        self.options.string(3)
    }

    /// The program that captured (`shb_userappl`).
    #[must_use]
    pub fn application(&self) -> Option<Cow<'a, str>> {
        self.options.string(4)
    }

    /// Comments, in their order.
    pub fn comments(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.options.comments()
    }
}
