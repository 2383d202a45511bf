use std::iter::FusedIterator;

use super::{
    Block, End,
    decoder::{Decoder, Extent},
};
use crate::Error;

/// Reads a file that is in memory. The blocks borrow from the file, not from the reader.
///
/// An iterator: it goes on after errors that cost only one block, and ends where
/// [`end`](Self::end) says. It allocates nothing but what it remembers of interfaces.
#[derive(Debug)]
pub struct SliceReader<'a> {
    file: &'a [u8],
    at: usize,
    decoder: Decoder,
    end: Option<End>,
}

impl<'a> SliceReader<'a> {
    /// A reader at the beginning of `file`.
    #[must_use]
    pub fn new(file: &'a [u8]) -> Self {
        Self { file, at: 0, decoder: Decoder::new(), end: None }
    }

    /// How the file ended; `None` while it has not.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Where the next block begins, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        u64::try_from(self.at).unwrap_or(u64::MAX)
    }
}

impl<'a> Iterator for SliceReader<'a> {
    type Item = Result<Block<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        let offset = self.offset();
        let rest = &self.file[self.at..];
        match self.decoder.extent(rest, offset) {
            Ok(Extent::Whole(length)) if length <= rest.len() => {
                self.at += length;
                Some(self.decoder.decode(&rest[..length], offset))
            }
            Ok(_) => {
                self.end = Some(self.decoder.end(offset, rest.len()));
                None
            }
            Err(error) => {
                self.end = Some(End::Failed { offset });
                Some(Err(error))
            }
        }
    }
}

impl FusedIterator for SliceReader<'_> {}
