//! Encoded blocks on their way to a file.

/// Whole blocks, one behind the other, in memory that is used again and again.
///
/// All of it is initialised once, when it is made: so a block is written into a slice of known
/// length, and that is a few stores. A `Vec` that grows by each field asks for room at each.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    used: usize,
}

impl Chunk {
    /// An empty chunk with room for so many bytes.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], used: 0 }
    }

    /// Bytes that it can hold, used or not.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that are in use.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Bytes that are not.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// Lets `write` put something behind what is there: it is given the free room, and gives the
    /// number of bytes that it used of it, `None` where they do not suffice.
    pub(crate) fn put(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let mut room = self.room_left();
        if let Some(length) = write(room.free()) {
            room.take(length);
        }
        room.close();
    }

    /// What is not in use, to put many things into it one after the other.
    #[inline]
    pub(crate) fn room_left(&mut self) -> RoomLeft<'_> {
        let size = self.bytes.len();
        let Self { bytes, used } = self;
        RoomLeft { free: bytes.get_mut(*used..).unwrap_or_default(), used, size }
    }

    /// Puts these bytes behind what is there, if there is room for them.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.put(|free| {
            free.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(bytes.len())
        });
    }

    /// What is in it.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Forgets what is in it.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }
}

/// What is not in use of a chunk.
///
/// Where it begins is kept in the processor while it is filled: what was put in belongs to the chunk
/// from [`RoomLeft::close`] on.
#[derive(Debug)]
pub(crate) struct RoomLeft<'a> {
    free: &'a mut [u8],
    used: &'a mut usize,
    size: usize,
}

impl RoomLeft<'_> {
    /// What is left, for a writer that fills it from its beginning.
    #[inline(always)]
    pub(crate) fn free(&mut self) -> &mut [u8] {
        self.free
    }

    /// So many bytes of it were filled.
    #[inline(always)]
    pub(crate) fn take(&mut self, length: usize) {
        let free = std::mem::take(&mut self.free);
        self.free = free.get_mut(length..).unwrap_or_default();
    }

    /// What was put in is the chunk's.
    #[inline]
    pub(crate) fn close(self) {
        *self.used = self.size - self.free.len();
    }
}

/// A chunk of exactly these bytes.
impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self { used: bytes.len(), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::Chunk;

    #[test]
    fn what_does_not_fit_is_not_there() {
        let mut chunk = Chunk::with_room(5);
        chunk.extend(b"abc");
        chunk.extend(b"def");
        assert_eq!((chunk.as_slice(), chunk.len(), chunk.room()), (&b"abc"[..], 3, 2));
        chunk.put(|free| {
            free.fill(b'z');
            Some(1)
        });
        assert_eq!(chunk.as_slice(), b"abcz");
        chunk.clear();
        assert_eq!((chunk.as_slice(), chunk.room(), chunk.size()), (&b""[..], 5, 5));
    }
}
