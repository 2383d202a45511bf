use std::{
    fmt, io,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use super::spill::Stored;
use crate::{budget::Budget, chunk::Chunk};

/// What a held chunk occupies beside its bytes, rounded up: its own fields, its place in a window,
/// and its order where it is to be written.
pub(crate) const OVERHEAD: usize = 256;
/// Size in bytes of the chunks that windows are made of. With what is around it a chunk occupies
/// 64 KiB: a hundred targets that are silent but for a frame take a tenth of the default memory.
pub(crate) const CHUNK: usize = (64 << 10) - OVERHEAD;

/// A chunk that is not filled any more, in memory or on disk. Windows, the pen and the spill hold it
/// together; what it occupies comes free when the last of them lets go.
#[derive(Debug)]
pub(crate) struct Held {
    len: usize,
    /// Locked for a moment only, never while anybody reads or writes.
    place: Mutex<Place>,
}

#[derive(Debug)]
enum Place {
    Memory(Arc<Kept>),
    Disk(Arc<Stored>),
}

/// A chunk in memory, and its share of the budget.
pub(crate) struct Kept {
    chunk: Chunk,
    /// Bytes that were taken out of the budget for it; 0 for one of the budget's own chunks.
    cost: usize,
    budget: Arc<Budget>,
}

/// Blocks that can be written.
#[derive(Debug)]
pub(crate) enum Bytes<'a> {
    Kept(Arc<Kept>),
    Read(&'a [u8]),
}

impl Held {
    fn new(chunk: Chunk, cost: usize, budget: &Arc<Budget>) -> Self {
        let len = chunk.len();
        let kept = Kept { chunk, cost, budget: Arc::clone(budget) };
        Self { len, place: Mutex::new(Place::Memory(Arc::new(kept))) }
    }

    /// A chunk as it was filled, which came from [`Held::room_for`].
    pub(crate) fn filled(chunk: Chunk, budget: &Arc<Budget>) -> Self {
        let cost = if chunk.size() == budget.chunk_size() {
            0
        } else {
            chunk.size().saturating_add(OVERHEAD)
        };
        Self::new(chunk, cost, budget)
    }

    /// These bytes, copied into memory of their size. `None`: there is none.
    pub(crate) fn copied(bytes: &[u8], budget: &Arc<Budget>) -> Option<Self> {
        let cost = bytes.len() + OVERHEAD;
        budget.reserve_held(cost).then(|| Self::new(bytes.to_vec().into(), cost, budget))
    }

    /// An empty chunk for at least `bytes` bytes. `None`: there is no memory.
    pub(crate) fn room_for(bytes: usize, budget: &Budget) -> Option<Chunk> {
        if bytes <= budget.chunk_size() {
            return budget.take_chunk();
        }
        budget.reserve_held(bytes + OVERHEAD).then(|| Chunk::with_room(bytes))
    }

    /// Bytes of its blocks.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Its blocks, where they are in memory.
    pub(crate) fn kept(&self) -> Option<Arc<Kept>> {
        match &*self.place.lock().unwrap_or_else(PoisonError::into_inner) {
            Place::Memory(kept) => Some(Arc::clone(kept)),
            Place::Disk(_) => None,
        }
    }

    /// Its blocks are on disk: their memory comes free.
    pub(crate) fn settle(&self, stored: Stored) {
        let stored = Place::Disk(Arc::new(stored));
        let place = &mut *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        *place = stored;
    }

    /// Its blocks; `buffer` is where they are read into when they are on disk.
    pub(crate) fn bytes<'a>(&self, buffer: &'a mut Vec<u8>) -> io::Result<Bytes<'a>> {
        let stored = match &*self.place.lock().unwrap_or_else(PoisonError::into_inner) {
            Place::Memory(kept) => return Ok(Bytes::Kept(Arc::clone(kept))),
            Place::Disk(stored) => Arc::clone(stored),
        };
        stored.read(buffer)?;
        Ok(Bytes::Read(buffer))
    }
}

impl Kept {
    /// Its blocks.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.chunk.as_slice()
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("len", &self.chunk.len()).finish_non_exhaustive()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.cost == 0 {
            self.budget.give_back(std::mem::take(&mut self.chunk));
        } else {
            self.budget.release_held(self.cost);
        }
    }
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Kept(kept) => kept.as_slice(),
            Self::Read(bytes) => bytes,
        }
    }
}
