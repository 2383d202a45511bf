use std::sync::Arc;

use crate::{budget::Budget, chunk::Chunk};

/// What a held chunk occupies beside its bytes, rounded up: its own fields and its place in a
/// window.
const OVERHEAD: usize = 128;
/// Size in bytes of the chunks that windows are made of. With what is around it a chunk occupies
/// 64 KiB: a hundred targets that are silent but for a frame take a tenth of the default memory.
pub(crate) const CHUNK: usize = (64 << 10) - OVERHEAD;

/// A chunk that is not filled any more, and its share of the budget. Windows and the pen hold it
/// together; the memory comes free when the last of them lets go.
#[derive(Debug)]
pub(crate) struct Held {
    chunk: Chunk,
    /// Bytes that were taken out of the budget for it; 0 for one of the budget's own chunks.
    cost: usize,
    budget: Arc<Budget>,
}

impl Held {
    /// A chunk as it was filled, which came from [`Held::room_for`].
    pub(crate) fn filled(chunk: Chunk, budget: &Arc<Budget>) -> Self {
        let cost = if chunk.size() == budget.chunk_size() {
            0
        } else {
            chunk.size().saturating_add(OVERHEAD)
        };
        Self { chunk, cost, budget: Arc::clone(budget) }
    }

    /// These bytes, copied into memory of their size. `None`: there is none.
    pub(crate) fn copied(bytes: &[u8], budget: &Arc<Budget>) -> Option<Self> {
        let cost = bytes.len() + OVERHEAD;
        budget.reserve_held(cost).then(|| Self {
            chunk: bytes.to_vec().into(),
            cost,
            budget: Arc::clone(budget),
        })
    }

    /// An empty chunk for at least `bytes` bytes. `None`: there is no memory.
    pub(crate) fn room_for(bytes: usize, budget: &Budget) -> Option<Chunk> {
        if bytes <= budget.chunk_size() {
            return budget.take_chunk();
        }
        budget.reserve_held(bytes + OVERHEAD).then(|| Chunk::with_room(bytes))
    }

    /// Its blocks.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.chunk.as_slice()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.cost == 0 {
            self.budget.give_back(std::mem::take(&mut self.chunk));
        } else {
            self.budget.release_held(self.cost);
        }
    }
}
