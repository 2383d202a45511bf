use std::{
    io::{self, Read},
    ops::Range,
};

use super::{
    Block, End,
    decoder::{Decoder, Extent, MAX_UNIT_LEN},
};
use crate::Error;

/// Bytes that are asked for at once, and the size that the buffer begins with.
const CHUNK_LEN: usize = 64 << 10;

/// Reads a file, a pipe or anything else, with a buffer that grows to one block at most.
///
/// It never waits for more than the block that it is about to give, so that a pipe can be
/// followed live.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// What of the buffer is read and not yet given out.
    filled: Range<usize>,
    offset: u64,
    end: Option<End>,
}

impl<R: Read> Reader<R> {
    /// A reader at the beginning of a capture.
    #[must_use]
    pub fn new(source: R) -> Self {
        let (decoder, buffer) = (Decoder::new(), Vec::new());
        Self { source, decoder, buffer, filled: 0..0, offset: 0, end: None }
    }

    /// The next block; `None` at the end, of which [`end`](Self::end) says what it was.
    ///
    /// # Errors
    ///
    /// After an error that cost only one block the next call goes on behind it; after any other
    /// it gives `None`. So a caller may always go on until there is `None`.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>, Error> {
        if self.end.is_some() {
            return Ok(None);
        }
        let offset = self.offset;
        let length = match self.await_block() {
            Ok(Some(length)) => length,
            Ok(None) => {
                self.end = Some(self.decoder.end(offset, self.filled.len()));
                return Ok(None);
            }
            Err(error) => {
                self.end = Some(End::Failed { offset });
                return Err(error);
            }
        };
        let start = self.filled.start;
        self.filled.start += length;
        self.offset += u64::try_from(length).unwrap_or(u64::MAX);
        self.decoder.decode(&self.buffer[start..start + length], offset).map(Some)
    }

    /// How the capture ended; `None` while it has not.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Where the next block begins, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads until a whole block is in the buffer, and gives its length; `None` if the source
    /// ends before.
    fn await_block(&mut self) -> Result<Option<usize>, Error> {
        loop {
            let input = &self.buffer[self.filled.clone()];
            let (needed, whole) = match self.decoder.extent(input, self.offset)? {
                Extent::Whole(length) => (length, true),
                Extent::Unknown(length) => (length, false),
            };
            let enough =
                self.fill(needed).map_err(|source| Error::Read { offset: self.offset, source })?;
            match (enough, whole) {
                (false, _) => return Ok(None),
                (true, true) => return Ok(Some(needed)),
                (true, false) => {}
            }
        }
    }

    /// Reads until `needed` bytes are there; `false` if the source ends before.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        while self.filled.len() < needed {
            self.make_room(needed);
            match self.source.read(&mut self.buffer[self.filled.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.filled.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Makes sure that there is free space behind what is filled. The buffer doubles as bytes
    /// arrive: a length field alone does not make it large.
    fn make_room(&mut self, needed: usize) {
        if self.filled.start > 0 && self.buffer.len() - self.filled.start < needed {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        if self.filled.end == self.buffer.len() {
            let length = (self.buffer.len() * 2).clamp(CHUNK_LEN, MAX_UNIT_LEN);
            self.buffer.resize(length, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::{CHUNK_LEN, End, Reader};
    use crate::{Error, PacketBlock, Section, read::Block};

    /// A source that gives one byte at a time and is interrupted before each.
    struct Trickle<'a> {
        bytes: &'a [u8],
        interrupted: bool,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let end = buffer.len().min(1);
            self.bytes.read(&mut buffer[..end])
        }
    }

    fn packets(count: usize, length: usize) -> Vec<u8> {
        let bytes = vec![0x5A; length];
        let mut file = Vec::new();
        Section::default().encode(&mut file);
        crate::InterfaceBlock::default().encode(&mut file);
        for _ in 0..count {
            PacketBlock { parts: &[&bytes], ..PacketBlock::default() }.encode(&mut file);
        }
        file
    }

    #[test]
    fn bytes_may_trickle_in() {
        let file = packets(3, 100);
        let mut reader = Reader::new(Trickle { bytes: &file, interrupted: false });
        let mut count = 0;
        while let Some(block) = reader.next_block().unwrap() {
            count += usize::from(matches!(block, Block::Packet(_)));
        }
        assert_eq!(count, 3);
        assert_eq!(reader.end(), Some(End::Complete));
        assert_eq!(reader.offset(), u64::try_from(file.len()).unwrap());
    }

    #[test]
    fn the_buffer_grows_with_what_arrives_and_not_with_what_is_announced() {
        let mut file = packets(1000, 1500);
        file.extend_from_slice(&6_u32.to_ne_bytes());
        file.extend_from_slice(&(16_u32 << 20).to_ne_bytes());
        let mut reader = Reader::new(file.as_slice());
        let mut count = 0;
        while let Some(block) = reader.next_block().unwrap() {
            count += usize::from(matches!(block, Block::Packet(_)));
        }
        assert_eq!(count, 1000);
        assert!(matches!(reader.end(), Some(End::Truncated { bytes: 8, .. })));
        assert_eq!(reader.buffer.len(), CHUNK_LEN);
    }

    #[test]
    fn a_source_that_fails_ends_the_capture_with_its_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let file = packets(1, 10);
        let mut reader = Reader::new(file.as_slice().chain(Broken));
        for _ in 0..3 {
            assert!(reader.next_block().unwrap().is_some());
        }
        assert!(matches!(reader.next_block(), Err(Error::Read { .. })));
        assert_eq!(reader.end(), Some(End::Failed { offset: reader.offset() }));
        assert!(reader.next_block().unwrap().is_none());
    }
}
