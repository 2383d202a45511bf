use std::{
    fmt, slice,
    sync::{Arc, atomic::Ordering},
};

use super::{
    BLOCK_FIRST, BLOCK_FRAMES, BLOCK_HEADER, BLOCK_LAST, BLOCK_STATUS, BLOCK_USED, Mapping,
    frame::Frame,
};

/// Bytes that a processor fetches at a time.
const CACHE_LINE: usize = 64;
/// What of a frame is fetched at once: its header, and the packet of a small one.
const EXPECTED: usize = 2 * CACHE_LINE + 1;

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch(line: *const u8) {
    // SAFETY: a hint that reads nothing and never faults, whatever the address.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch(_line: *const u8) {}

/// A block of frames that is ours until it is dropped.
pub struct Block {
    pub(super) store: Store,
    pub(super) size: usize,
    pub(super) losing: bool,
}

/// Where a block's bytes are.
pub(super) enum Store {
    Ring { mapping: Arc<Mapping>, start: usize },
    Heap(Box<[u8]>),
}

impl Block {
    /// Whether the kernel had dropped frames for want of room when it handed this block over.
    #[must_use]
    pub fn is_losing(&self) -> bool {
        self.losing
    }

    /// Bytes of it that are in use, headers included.
    #[must_use]
    pub fn used(&self) -> usize {
        (self.word(BLOCK_USED) as usize).clamp(BLOCK_HEADER, self.size)
    }

    /// Copies its bytes to memory of our own and gives the ring's back, so that the kernel can go
    /// on where this block has to wait for its turn. Does nothing the second time.
    pub fn copy_out(&mut self) {
        if let Store::Ring { .. } = self.store {
            let bytes: Box<[u8]> = self.bytes()[..self.used()].into();
            self.give_back();
            self.size = bytes.len();
            self.store = Store::Heap(bytes);
        }
    }

    /// Whether it still occupies the ring.
    #[must_use]
    pub fn is_in_ring(&self) -> bool {
        matches!(self.store, Store::Ring { .. })
    }

    /// How many frames it has.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.word(BLOCK_FRAMES)
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Timestamp of the frame that stands last in it.
    #[must_use]
    pub fn last_timestamp(&self) -> u64 {
        u64::from(self.word(BLOCK_LAST)) * 1_000_000_000 + u64::from(self.word(BLOCK_LAST + 4))
    }

    /// Offset of the first frame, for [`Block::frame`].
    #[must_use]
    pub fn first_offset(&self) -> u32 {
        self.word(BLOCK_FIRST)
    }

    /// The frames in the order in which they stand, each with its offset for [`Block::frame`].
    pub fn frames(&self) -> Frames<'_> {
        Frames { block: self, offset: self.word(BLOCK_FIRST), left: self.len() }
    }

    /// Its bytes, for many looks at once: where they are is asked once.
    #[must_use]
    #[inline]
    pub fn view(&self) -> View<'_> {
        View { bytes: self.bytes() }
    }

    /// The frame at an offset that [`Block::frames`] gave; `None` where no whole frame stands.
    #[must_use]
    #[inline]
    pub fn frame(&self, offset: u32) -> Option<Frame<'_>> {
        self.view().frame(offset)
    }

    /// Timestamp of the frame at an offset, and the offset of the one behind it.
    #[must_use]
    #[inline]
    pub fn step(&self, offset: u32) -> Option<(u64, u32)> {
        self.view().step(offset)
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        let (mapping, start) = match &self.store {
            Store::Ring { mapping, start } => (mapping, *start),
            Store::Heap(bytes) => return bytes,
        };
        // SAFETY: the block lies inside the mapping, which self holds alive.
        let start = unsafe { mapping.start.add(start) };
        // SAFETY: initialised by the kernel, which does not write to it before we give it back,
        // and that takes dropping self, from which the slice borrows.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.size) }
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self.bytes();
        u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }
}

impl Block {
    fn give_back(&self) {
        if let Store::Ring { mapping, start } = &self.store {
            mapping.word(start + BLOCK_STATUS).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("in_ring", &self.is_in_ring())
            .field("frames", &self.len())
            .finish()
    }
}

/// The bytes of a block: see [`Block::view`].
#[derive(Clone, Copy)]
pub struct View<'a> {
    bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// The frame at an offset that [`Block::frames`] gave; `None` where no whole frame stands.
    #[must_use]
    #[inline(always)]
    pub fn frame(&self, offset: u32) -> Option<Frame<'a>> {
        Frame::at(self.bytes, offset)
    }

    /// Timestamp of the frame at an offset, and the offset of the one behind it.
    #[must_use]
    #[inline(always)]
    pub fn step(&self, offset: u32) -> Option<(u64, u32)> {
        Frame::step(self.bytes, offset)
    }

    /// Tells the processor that what stands at this offset, of the block or of what is behind it, is
    /// read soon. The kernel wrote it on another processor, so it comes from far away.
    #[inline(always)]
    pub fn expect(&self, offset: usize) {
        let soon = self.bytes.as_ptr().wrapping_add(offset);
        prefetch(soon);
        prefetch(soon.wrapping_add(CACHE_LINE));
        prefetch(soon.wrapping_add(EXPECTED - 1));
    }

    /// Size of the block in bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("bytes", &self.bytes.len()).finish()
    }
}

/// The frames of a block: see [`Block::frames`].
#[derive(Debug)]
pub struct Frames<'a> {
    block: &'a Block,
    offset: u32,
    left: u32,
}

impl<'a> Iterator for Frames<'a> {
    type Item = (u32, Frame<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let (offset, frame) = (self.offset, self.block.frame(self.offset)?);
        self.left -= 1;
        self.offset = offset.checked_add(frame.stride())?;
        Some((offset, frame))
    }
}
