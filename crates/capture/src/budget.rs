//! The memory that frames may occupy between their ring and a file.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use sys::poll::Waker;

use crate::{chunk::Chunk, recorder};

/// The least memory that a session works with, in bytes.
pub const MIN_MEMORY: usize = 2 << 20;
/// Size of an output chunk in bytes: no more than stays in a processor's cache until it is
/// written, and room for the longest frame with its block.
pub(crate) const CHUNK: usize = 320 << 10;

/// A bounded amount of memory: chunks that are being filled or written, and frames that wait
/// outside of their ring.
#[derive(Debug)]
pub(crate) struct Budget {
    total: AtomicUsize,
    /// Size of a chunk in bytes.
    chunk: usize,
    used: AtomicUsize,
    /// Chunks that were written. The last one given back is the first taken: it is still in cache.
    free: Mutex<Vec<Chunk>>,
    wanted: AtomicBool,
    waker: Waker,
}

impl Budget {
    /// A budget of `total` bytes, and at least what `outputs` outputs take. `waker` is called when memory that was
    /// wanted in vain comes free.
    pub(crate) fn new(total: usize, outputs: usize, waker: Waker) -> Self {
        let budget = Self::of_chunks(total, CHUNK, waker);
        budget.provide_for(outputs);
        budget
    }

    /// A budget of `total` bytes for windows: chunks are small, and no more than what was asked for
    /// is used however many windows there are.
    pub(crate) fn for_windows(total: usize, waker: Waker) -> Self {
        Self::of_chunks(total, recorder::CHUNK, waker)
    }

    fn of_chunks(total: usize, chunk: usize, waker: Waker) -> Self {
        Self {
            total: AtomicUsize::new(total.max(MIN_MEMORY)),
            chunk,
            used: AtomicUsize::new(0),
            free: Mutex::new(Vec::new()),
            wanted: AtomicBool::new(false),
            waker,
        }
    }

    /// Makes it no less than what so many outputs take: each has a chunk that is being filled, and
    /// there has to be one to go on with.
    pub(crate) fn provide_for(&self, outputs: usize) {
        self.total.fetch_max((outputs + 2) * CHUNK, Ordering::Relaxed);
    }

    /// All of it in bytes.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// An empty chunk, if there is memory for one.
    pub(crate) fn take_chunk(&self) -> Option<Chunk> {
        if let Some(chunk) = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Some(chunk);
        }
        if self.reserve(self.chunk) {
            return Some(Chunk::with_room(self.chunk));
        }
        self.wanted.store(true, Ordering::SeqCst);
        // Between the two tries the last chunk may have come back without a call.
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Gives a chunk back. One that is not of the budget's size was made outside of it.
    pub(crate) fn give_back(&self, mut chunk: Chunk) {
        if chunk.size() != self.chunk {
            return;
        }
        chunk.clear();
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(chunk);
        self.call();
    }

    /// Wakes whoever wanted memory in vain.
    fn call(&self) {
        if self.wanted.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Size of its chunks in bytes.
    pub(crate) fn chunk_size(&self) -> usize {
        self.chunk
    }

    /// Takes `bytes` out of the budget for frames that are held in memory of their own size, at the
    /// cost of chunks that nobody uses.
    pub(crate) fn reserve_held(&self, bytes: usize) -> bool {
        loop {
            if self.reserve(bytes) {
                return true;
            }
            let unused = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if unused.is_none() {
                self.wanted.store(true, Ordering::SeqCst);
                // What came back between the two tries came without a call.
                return self.reserve(bytes);
            }
            self.release(self.chunk);
        }
    }

    /// Gives back what [`Budget::reserve_held`] took.
    pub(crate) fn release_held(&self, bytes: usize) {
        self.release(bytes);
        self.call();
    }

    /// Bytes taken out, but for chunks that nobody uses.
    pub(crate) fn in_use(&self) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.used.load(Ordering::Relaxed).saturating_sub(free * self.chunk)
    }

    /// Takes `bytes` out of the budget for frames that wait outside of their ring: at most half of
    /// it, so that there is always something left to write with.
    pub(crate) fn reserve_waiting(&self, bytes: usize) -> bool {
        self.in_use() + bytes <= self.total() / 2 && self.reserve_held(bytes)
    }

    /// Gives back what [`Budget::reserve_waiting`] took.
    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn reserve(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.total())
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_and_comes_back() {
        let budget = Budget::new(4 << 20, 1, Waker::new().unwrap());
        let mut chunks: Vec<_> = std::iter::from_fn(|| budget.take_chunk()).collect();
        assert_eq!(chunks.len(), (4 << 20) / CHUNK);
        budget.give_back(chunks.pop().unwrap());
        assert!(budget.take_chunk().is_some());
        assert!(budget.take_chunk().is_none());
    }

    #[test]
    fn waiting_frames_take_no_more_than_half() {
        let budget = Budget::new(4 << 20, 1, Waker::new().unwrap());
        assert!(budget.reserve_waiting(2 << 20));
        assert!(!budget.reserve_waiting(1));
        budget.release(2 << 20);
        assert!(budget.reserve_waiting(1));
    }

    #[test]
    fn chunks_that_nobody_uses_make_room_for_waiting_frames() {
        let budget = Budget::new(4 << 20, 1, Waker::new().unwrap());
        let chunks: Vec<_> = std::iter::from_fn(|| budget.take_chunk()).collect();
        assert!(!budget.reserve_waiting(1));
        chunks.into_iter().for_each(|chunk| budget.give_back(chunk));
        assert!(budget.reserve_waiting(2 << 20));
        assert!(!budget.reserve_waiting(1));
        assert!(budget.take_chunk().is_some());
    }
}
