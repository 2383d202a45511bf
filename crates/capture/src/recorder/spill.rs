//! What memory cannot hold of the windows: a file that has no name.
//!
//! The file is opened while there are rights, and its name, where it ever had one, is gone before
//! anything is written: whatever ends the process, nothing is left of it. It is no log. Each chunk
//! has its own place in it, which is used again when the chunk has left its window; so its length
//! is bounded by what is held at once, and not by how long the recorder runs.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    held::OVERHEAD,
    space::{Extent, Space, whole_units},
};
use crate::{KeepFree, budget::Budget};

/// Where windows go on that memory cannot hold.
#[derive(Debug)]
pub struct SpillConfig {
    /// A file for reading and writing, which nobody else has: see [`sys::disk::nameless`].
    pub file: File,
    /// Where it is, for messages.
    pub directory: PathBuf,
    /// The most bytes that it may have.
    pub size: u64,
}

/// What is known of a chunk on disk may take one part in so many of the memory.
const MEMORY_SHARE: usize = 4;
/// Free blocks that are not given back to the file system: at least so many bytes, and one part in
/// so many of what is in use. They are used again soon where traffic is steady.
const SPARE: u64 = 1 << 20;
const SPARE_SHARE: u64 = 8;

/// The file, and how much of it may be used. The reader reserves, the spill's thread writes, the pen
/// reads, and whoever holds a chunk last gives its place back.
#[derive(Debug)]
pub(crate) struct Spill {
    file: File,
    pub(crate) directory: PathBuf,
    size: u64,
    keep_free: KeepFree,
    budget: Arc<Budget>,
    space: Mutex<Space>,
    /// What may be used at present: less than `size` where the file system has less room.
    limit: AtomicU64,
    /// What is used, or will be by chunks that are on their way.
    reserved: AtomicU64,
    /// Chunks of these.
    chunks: AtomicU64,
    /// Bytes that are on disk.
    stored: AtomicU64,
    /// Bytes that are on their way.
    leaving: AtomicU64,
    /// Parts of the file can be given back to the file system.
    gives_back: AtomicBool,
}

/// Room for a chunk on disk, and memory for what has to be known of it.
#[derive(Debug)]
pub(crate) struct Reserved {
    spill: Arc<Spill>,
    bytes: u64,
}

/// A chunk on disk.
#[derive(Debug)]
pub(crate) struct Stored {
    reserved: Reserved,
    extents: Box<[Extent]>,
    len: usize,
}

/// Why a chunk was not written.
#[derive(Debug)]
pub(crate) enum NotStored {
    /// The file system has no room, or less than is to be left.
    Full,
    /// Something else.
    Failed(io::Error),
}

impl Spill {
    pub(crate) fn new(config: SpillConfig, keep_free: KeepFree, budget: &Arc<Budget>) -> Arc<Self> {
        let spill = Self {
            file: config.file,
            directory: config.directory,
            size: config.size,
            keep_free,
            budget: Arc::clone(budget),
            space: Mutex::default(),
            limit: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            chunks: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            gives_back: AtomicBool::new(true),
        };
        spill.look();
        Arc::new(spill)
    }

    /// Bytes that may be used at present.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// The file system has less room than was asked for.
    pub(crate) fn is_short_of_room(&self) -> bool {
        self.limit() < self.size
    }

    /// More is used than may be.
    pub(crate) fn is_over(&self) -> bool {
        self.reserved.load(Ordering::Relaxed) > self.limit()
    }

    /// Bytes on disk.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Bytes on their way there.
    pub(crate) fn leaving(&self) -> u64 {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Room for a chunk of so many bytes. `None`: there is none, unless another one goes. For the
    /// reader alone: nobody else makes it more.
    pub(crate) fn reserve(self: &Arc<Self>, len: usize) -> Option<Reserved> {
        let bytes = whole_units(len);
        let chunks = self.chunks.load(Ordering::Relaxed) + 1;
        let has_memory = chunks * OVERHEAD as u64 <= (self.budget.total() / MEMORY_SHARE) as u64;
        let has_room = self.reserved.load(Ordering::Relaxed) + bytes <= self.limit();
        if !has_memory || !has_room || !self.budget.reserve_held(OVERHEAD) {
            return None;
        }
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        self.chunks.fetch_add(1, Ordering::Relaxed);
        Some(Reserved { spill: Arc::clone(self), bytes })
    }

    /// So many bytes are on their way.
    pub(crate) fn depart(&self, len: usize) {
        self.leaving.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// They have arrived, or never will.
    pub(crate) fn arrive(&self, len: usize) {
        self.leaving.fetch_sub(len as u64, Ordering::Relaxed);
    }

    /// Writes a chunk into the room that was reserved for it.
    pub(crate) fn store(&self, bytes: &[u8], reserved: Reserved) -> Result<Stored, NotStored> {
        let grows = self.space().spare() >= reserved.bytes || self.may_grow(reserved.bytes);
        let Some(extents) = self.space().take(reserved.bytes, grows) else {
            self.shrink_limit();
            return Err(NotStored::Full);
        };
        match self.write(bytes, &extents) {
            Ok(()) => {
                self.stored.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(Stored { reserved, extents, len: bytes.len() })
            }
            Err(error) => {
                // A part of it may have got blocks, which are wanted elsewhere.
                for extent in &extents {
                    self.punch(*extent);
                }
                self.space().give_hole(&extents);
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull
                        | io::ErrorKind::QuotaExceeded
                        | io::ErrorKind::FileTooLarge
                ) {
                    self.shrink_limit();
                    return Err(NotStored::Full);
                }
                Err(NotStored::Failed(error))
            }
        }
    }

    fn write(&self, bytes: &[u8], extents: &[Extent]) -> io::Result<()> {
        let mut rest = bytes;
        for extent in extents {
            let len = usize::try_from(extent.len).unwrap_or(usize::MAX).min(rest.len());
            let (part, others) = rest.split_at(len);
            self.file.write_all_at(part, extent.begin)?;
            rest = others;
        }
        Ok(())
    }

    /// How much may be used, by what room there is now; and blocks go back that nobody needs.
    pub(crate) fn look(&self) {
        let blocks = self.space().blocks();
        let limit = match self.spare_room() {
            Some(spare) => blocks.saturating_add(spare).min(self.size),
            None => self.size,
        };
        self.limit.store(limit, Ordering::Relaxed);
        let used = self.reserved.load(Ordering::Relaxed);
        if self.gives_back.load(Ordering::Relaxed) {
            let surplus = self.space().surplus(SPARE.max(used / SPARE_SHARE));
            for extent in surplus {
                if self.punch(extent) {
                    self.space().give_hole(&[extent]);
                } else {
                    self.space().give(&[extent]);
                }
            }
        }
    }

    /// Whether so many bytes more may be taken of the file system.
    fn may_grow(&self, bytes: u64) -> bool {
        self.spare_room().is_none_or(|spare| spare >= bytes)
    }

    /// Bytes of the file system beyond those that are to be left; `None` where it does not say.
    fn spare_room(&self) -> Option<u64> {
        let room = sys::disk::room(&self.file).ok().flatten()?;
        Some(room.free.saturating_sub(self.keep_free.bytes(room.total)))
    }

    /// There is no more than there is, until somebody looks again.
    pub(crate) fn shrink_limit(&self) {
        let blocks = self.space().blocks();
        self.limit.fetch_min(blocks, Ordering::Relaxed);
    }

    /// Gives a part back to the file system. Where that cannot be done it is not tried again: what
    /// is free is used again all the same.
    fn punch(&self, extent: Extent) -> bool {
        let done = sys::disk::punch(&self.file, extent.begin, extent.len).unwrap_or(false);
        if !done {
            self.gives_back.store(false, Ordering::Relaxed);
        }
        done
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored {
    /// Reads it back.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.resize(self.len, 0);
        let mut rest = &mut buffer[..];
        for extent in &self.extents {
            let len = usize::try_from(extent.len).unwrap_or(usize::MAX).min(rest.len());
            let (part, others) = rest.split_at_mut(len);
            self.reserved.spill.file.read_exact_at(part, extent.begin)?;
            rest = others;
        }
        Ok(())
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let spill = &self.reserved.spill;
        spill.stored.fetch_sub(self.len as u64, Ordering::Relaxed);
        spill.space().give(&self.extents);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.spill.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
        self.spill.chunks.fetch_sub(1, Ordering::Relaxed);
        self.spill.budget.release_held(OVERHEAD);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use sys::poll::Waker;

    use super::*;
    use crate::{MIN_MEMORY, recorder::Held};

    fn spill(size: u64, keep_free: KeepFree) -> (Arc<Spill>, Arc<Budget>) {
        let budget = Arc::new(Budget::for_windows(MIN_MEMORY, Waker::new().unwrap()));
        let file = tempfile::tempfile().unwrap();
        let config = SpillConfig { file, directory: "/tmp".into(), size };
        (Spill::new(config, keep_free, &budget), budget)
    }

    /// A chunk of its own bytes.
    fn held(byte: u8, len: usize, budget: &Arc<Budget>) -> Held {
        Held::copied(&vec![byte; len], budget).unwrap()
    }

    fn store(spill: &Arc<Spill>, held: &Held) -> bool {
        let Some(reserved) = spill.reserve(held.len()) else { return false };
        let kept = held.kept().unwrap();
        held.settle(spill.store(kept.as_slice(), reserved).unwrap());
        true
    }

    #[test]
    fn what_is_stored_is_read_back_and_its_memory_is_free() {
        let (spill, budget) = spill(1 << 20, KeepFree::Bytes(0));
        let lens = [1, 4096, 10_000, 65_280, 70_000];
        let all: Vec<Held> = (0_u8..).zip(lens).map(|(at, len)| held(at, len, &budget)).collect();
        assert!(all.iter().all(|held| store(&spill, held)));
        assert_eq!(budget.in_use(), all.len() * OVERHEAD);
        assert_eq!(spill.stored(), lens.iter().sum::<usize>() as u64);
        let mut buffer = Vec::new();
        for (at, held) in (0_u8..).zip(&all) {
            assert!(held.kept().is_none());
            assert_eq!(*held.bytes(&mut buffer).unwrap(), vec![at; held.len()]);
        }
        // Whoever reads what is in memory still, reads it from there.
        let kept = held(9, 5, &budget);
        assert_eq!(*kept.bytes(&mut buffer).unwrap(), [9; 5]);
        drop((all, kept));
        assert_eq!((budget.in_use(), spill.stored(), spill.is_over()), (0, 0, false));
    }

    #[test]
    fn it_is_full_at_its_size_and_has_room_again() {
        let (spill, budget) = spill(128 << 10, KeepFree::Bytes(0));
        let all: Vec<Held> = (0..3).map(|at| held(at, 60 << 10, &budget)).collect();
        assert!(store(&spill, &all[0]) && store(&spill, &all[1]) && !store(&spill, &all[2]));
        assert!(!spill.is_short_of_room());
        let mut all = all.into_iter();
        drop(all.next());
        assert!(store(&spill, &all.nth(1).unwrap()));
        assert_eq!(spill.file.metadata().unwrap().len(), 120 << 10, "the same place again");
    }

    #[test]
    fn room_that_is_to_be_left_is_left() {
        let (spill, budget) = spill(1 << 40, KeepFree::Percent(99));
        assert!(spill.is_short_of_room());
        let limit = spill.limit();
        // A file system that is nearly empty has some for us; what it has not cannot be reserved.
        let room = sys::disk::room(&spill.file).unwrap().unwrap();
        assert!(limit <= room.total / 100 + (64 << 20), "{limit} of {room:?}");
        let held = held(0, 1000, &budget);
        assert_eq!(store(&spill, &held), limit >= 4096);
    }

    #[test]
    fn blocks_that_nobody_needs_go_back() {
        let (spill, budget) = spill(64 << 20, KeepFree::Bytes(0));
        let all: Vec<Held> = (0..100)
            .map(|at| {
                let held = held(at, 65_280, &budget);
                assert!(store(&spill, &held));
                held
            })
            .collect();
        let blocks = || spill.file.metadata().unwrap().blocks() * 512;
        assert!(blocks() >= 100 << 16);
        drop(all);
        spill.look();
        if spill.gives_back.load(Ordering::Relaxed) {
            assert!(blocks() <= SPARE + (64 << 10), "{}", blocks());
        }
        assert_eq!(spill.space().blocks(), SPARE);
    }
}
