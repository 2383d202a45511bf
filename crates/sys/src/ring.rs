//! `TPACKET_V3` rings: memory that the kernel fills with frames, a block at a time.
//!
//! The kernel owns a block until it sets the block's status to "user"; then it is ours, whole and
//! unchanging, until we set it back. [`Block`] is that ownership: it gives itself back when it is
//! dropped, and frames borrow from it. Offsets in a block are the kernel's word, and each is
//! checked against the block before it is used.
//!
//! Source: `Documentation/networking/packet_mmap.rst`, `linux/if_packet.h`.

mod assembly;
mod block;
mod frame;

use std::{
    ffi::c_void,
    os::fd::AsFd,
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::mm::{MapFlags, ProtFlags};

use self::block::Store;
pub use self::{
    assembly::Assembly,
    block::{Block, Frames, View},
    frame::{Device, Frame},
};
use crate::{Error, packet::PacketSocket};

/// Bytes of a ring block's own header (`struct tpacket_block_desc`).
const BLOCK_HEADER: usize = 48;
/// Bytes of `struct tpacket3_hdr` and the `struct sockaddr_ll` behind it.
const FRAME_HEADER: usize = 68;
/// Where `block_status` stands in a block.
const BLOCK_STATUS: usize = 8;
/// Where `num_pkts` stands in a block.
const BLOCK_FRAMES: usize = 12;
/// Where `offset_to_first_pkt` stands in a block.
const BLOCK_FIRST: usize = 16;
/// Where `blk_len` stands in a block.
const BLOCK_USED: usize = 20;
/// Where `ts_last_pkt` stands in a block.
const BLOCK_LAST: usize = 40;

const _: () = assert!(size_of::<libc::tpacket_block_desc>() == BLOCK_HEADER);
const _: () = assert!(size_of::<libc::tpacket3_hdr>() == 48);

/// Size and pace of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    block_bytes: u32,
    blocks: u32,
    retire: Duration,
}

impl Geometry {
    /// The smallest block: a frame of 64 KiB with its headers has room, so that segmentation
    /// offload does not cut frames.
    pub const MIN_BLOCK: u32 = 128 * 1024;
    /// The largest block: one that stays in a processor's cache while it is read, and in which frames of
    /// 64 KiB leave little room that is of no use.
    pub const MAX_BLOCK: u32 = 512 * 1024;
    /// The fewest blocks with which a ring can be read while it is filled.
    pub const MIN_BLOCKS: u32 = 4;
    /// The largest ring in bytes.
    pub const MAX_RING: u32 = 1024 * 1024 * 1024;

    /// A ring of about `bytes`, whose unfinished blocks are handed over after `retire`.
    ///
    /// At least 16 blocks where the size allows it, so that a block waiting for its order does not
    /// hold much of the ring.
    #[must_use]
    pub fn of_size(bytes: u32, retire: Duration) -> Self {
        let bytes = bytes.clamp(Self::MIN_BLOCK * Self::MIN_BLOCKS, Self::MAX_RING);
        let sixteenth = (bytes / 16).max(1);
        let block_bytes = (1 << sixteenth.ilog2()).clamp(Self::MIN_BLOCK, Self::MAX_BLOCK);
        Self { block_bytes, blocks: bytes / block_bytes, retire }
    }

    /// From the numbers of [`Geometry::block_bytes`], [`Geometry::blocks`] and
    /// [`Geometry::retire`]; `None` where they are no ring.
    #[must_use]
    pub fn from_parts(block_bytes: u32, blocks: u32, retire: Duration) -> Option<Self> {
        let whole = block_bytes.checked_mul(blocks)?;
        let sane = block_bytes.is_power_of_two()
            && (Self::MIN_BLOCK..=Self::MAX_BLOCK).contains(&block_bytes)
            && blocks >= 1
            && whole <= Self::MAX_RING;
        sane.then_some(Self { block_bytes, blocks, retire })
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// How many blocks.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// How long a frame waits at the most in an unfinished block, twice over: the kernel's timer
    /// may have just passed it by.
    #[must_use]
    pub fn retire(&self) -> Duration {
        self.retire
    }

    /// Bytes of the whole ring.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.block_bytes as usize * self.blocks as usize
    }

    pub(crate) fn request(&self) -> libc::tpacket_req3 {
        // In version 3 frames have the length that they have: this size is only checked, against
        // the block's.
        let frame = 2048;
        libc::tpacket_req3 {
            tp_block_size: self.block_bytes,
            tp_block_nr: self.blocks,
            tp_frame_size: frame,
            tp_frame_nr: self.block_bytes / frame * self.blocks,
            tp_retire_blk_tov: u32::try_from(self.retire.as_millis()).unwrap_or(u32::MAX).max(1),
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        }
    }
}

/// A ring that is mapped, and the place from which it is read.
#[derive(Debug)]
pub struct Ring {
    mapping: Arc<Mapping>,
    geometry: Geometry,
    next: u32,
}

#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is memory without thread affinity; who may touch which block is decided by
// the block's status word, which is only touched atomically.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared mapping gives no access but through blocks, of which there is one
// each at a time.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and bytes are of the mapping that mmap made, and nothing borrows from it
        // any more: every block holds the mapping alive.
        let done = unsafe { rustix::mm::munmap(self.start.as_ptr().cast::<c_void>(), self.bytes) };
        debug_assert!(done.is_ok(), "munmap of our own mapping");
    }
}

impl Ring {
    /// Maps the ring that `socket` was given with [`PacketSocket::make_ring`].
    ///
    /// # Errors
    /// When the socket has no ring of this geometry.
    pub fn map(socket: &PacketSocket, geometry: Geometry) -> Result<Self, Error> {
        let bytes = geometry.bytes();
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                socket.as_fd(),
                0,
            )
        }
        .map_err(Error::call("mmap(packet ring)"))?;
        let start = NonNull::new(start.cast::<u8>())
            .ok_or(Error::Malformed { what: "a ring mapped at address 0" })?;
        Ok(Self { mapping: Arc::new(Mapping { start, bytes }), geometry, next: 0 })
    }

    /// Its size and pace.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The next block, when the kernel has handed it over.
    ///
    /// Blocks come in the order in which they were filled. At the most [`Geometry::blocks`] exist
    /// at a time: the kernel hands a block over again only when it was given back.
    pub fn next_block(&mut self) -> Option<Block> {
        let index = self.next as usize;
        let size = self.geometry.block_bytes as usize;
        let status = self.mapping.word(index * size + BLOCK_STATUS).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 || status & TAKEN != 0 {
            return None;
        }
        // A block that we hold stays marked "user", so that mark alone would hand it out twice.
        self.mapping.word(index * size + BLOCK_STATUS).store(status | TAKEN, Ordering::Relaxed);
        self.next = (self.next + 1) % self.geometry.blocks;
        Some(Block {
            store: Store::Ring { mapping: Arc::clone(&self.mapping), start: index * size },
            size,
            losing: status & libc::TP_STATUS_LOSING != 0,
        })
    }

    /// Whether no frame stands in the block that the kernel is filling, and none waits to be taken:
    /// then every frame that comes from now on is newer than this call, but for the few
    /// microseconds that a frame takes from its timestamp into the ring.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let offset = self.next as usize * self.geometry.block_bytes as usize;
        let free = || {
            let status = self.mapping.word(offset + BLOCK_STATUS).load(Ordering::Acquire);
            status & (libc::TP_STATUS_USER | TAKEN) == 0
        };
        // The kernel counts a frame before it writes it. Asked again behind the count, because the
        // block may have been handed over between the two.
        free() && self.mapping.word(offset + BLOCK_FRAMES).load(Ordering::Acquire) == 0 && free()
    }

    /// Whether this part of the ring, in thousandths, waits to be taken, or is still held by us: then
    /// the kernel may soon have nowhere to go.
    #[must_use]
    pub fn is_filled_by(&self, part: u32) -> bool {
        let blocks = self.geometry.blocks;
        let last = (blocks.saturating_mul(part) / 1000).clamp(1, blocks) - 1;
        let index = (self.next + last) % blocks;
        let offset = index as usize * self.geometry.block_bytes as usize;
        let status = self.mapping.word(offset + BLOCK_STATUS).load(Ordering::Acquire);
        status & libc::TP_STATUS_USER != 0
    }

    /// Whether the kernel has handed over a block that was not taken yet.
    #[must_use]
    pub fn has_block(&self) -> bool {
        let offset = self.next as usize * self.geometry.block_bytes as usize;
        let status = self.mapping.word(offset + BLOCK_STATUS).load(Ordering::Acquire);
        status & libc::TP_STATUS_USER != 0 && status & TAKEN == 0
    }
}

/// Our own mark in a status word, on a bit that the kernel does not use for blocks.
const TAKEN: u32 = 1 << 30;

impl Mapping {
    /// A word of a block's header that the kernel may change at any time.
    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at + 4 <= self.bytes, "a word outside of the ring");
        // SAFETY: inside the mapping, as just checked.
        let word = unsafe { self.start.add(at) };
        // SAFETY: aligned (blocks by pages, header words by four), alive as long as self, and written
        // by the kernel and by us with single stores only.
        unsafe { AtomicU32::from_ptr(word.cast::<u32>().as_ptr()) }
    }
}
