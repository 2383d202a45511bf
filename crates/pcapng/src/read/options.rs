use std::{borrow::Cow, iter::FusedIterator};

use super::fields::{ByteOrder, Fields};
use crate::option_list::{COMMENT, END};

/// One option of a block, uninterpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionField<'a> {
    /// What it is; depends on the block, but for 1, a comment.
    pub code: u16,
    /// Its value without padding.
    pub value: &'a [u8],
}

/// The options of a block, in their order. A list that runs over its block ends before the option
/// that does.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    fields: Fields<'a>,
}

impl<'a> Options<'a> {
    pub(super) fn new(bytes: &'a [u8], order: ByteOrder) -> Self {
        Self { fields: Fields::new(bytes, order) }
    }

    pub(super) fn order(self) -> ByteOrder {
        self.fields.order
    }

    /// The value of the first option with this code.
    pub(super) fn value(mut self, code: u16) -> Option<&'a [u8]> {
        self.find(|option| option.code == code).map(|option| option.value)
    }

    /// The value of the first option with this code, if it has the right length.
    pub(super) fn array<const N: usize>(self, code: u16) -> Option<[u8; N]> {
        self.value(code)?.try_into().ok()
    }

    /// The first string with this code.
    pub(super) fn string(self, code: u16) -> Option<Cow<'a, str>> {
        self.value(code).map(text)
    }

    /// The first 64-bit number with this code.
    pub(super) fn u64(self, code: u16) -> Option<u64> {
        Some(self.order().u64(self.array(code)?))
    }

    /// The first 32-bit number with this code.
    pub(super) fn u32(self, code: u16) -> Option<u32> {
        Some(self.order().u32(self.array(code)?))
    }

    /// Every comment.
    pub(super) fn comments(self) -> impl Iterator<Item = Cow<'a, str>> {
        self.filter(|option| option.code == COMMENT).map(|option| text(option.value))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = OptionField<'a>;

    fn next(&mut self) -> Option<OptionField<'a>> {
        let mut read = || {
            let code = self.fields.u16().filter(|code| *code != END)?;
            let length = self.fields.u16()?;
            Some(OptionField { code, value: self.fields.padded(usize::from(length))? })
        };
        let option = read();
        if option.is_none() {
            self.fields.rest = &[];
        }
        option
    }
}

impl FusedIterator for Options<'_> {}

/// A string as it was meant: up to a NUL, with what is not UTF-8 replaced.
pub(super) fn text(value: &[u8]) -> Cow<'_, str> {
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value)
}

#[cfg(test)]
mod tests {
    use super::{ByteOrder, OptionField, Options, text};

    #[test]
    fn a_list_ends_at_its_end_or_where_it_runs_over() {
        let list = |bytes| Options::new(bytes, ByteOrder::Big).collect::<Vec<_>>();
        let a = OptionField { code: 1, value: b"a" };
        assert_eq!(list(b"\0\x01\0\x01a\0\0\0\0\0\0\0\0\x02\0\0"), [a]);
        assert_eq!(list(b"\0\x01\0\x01a\0\0\0"), [a], "the end may be missing");
        assert_eq!(list(b"\0\x01\0\x01a\0\0\0\0\x02\0\x05four"), [a]);
        assert_eq!(list(b"\0\x01\0"), []);
    }

    #[test]
    fn strings_end_at_a_nul_and_need_not_be_utf8() {
        assert_eq!(text(b"eth0\0\0"), "eth0");
        assert_eq!(text(b"a\xffb"), "a\u{FFFD}b");
    }
}
