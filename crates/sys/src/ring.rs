//! `TPACKET_V3` rings: memory that the kernel fills with frames, a block at a time.
//!
//! The kernel owns a block until it sets the block's status to "user"; then it is ours, whole and
//! unchanging, until we set it back. [`Block`] is that ownership: it gives itself back when it is
//! dropped, and frames borrow from it. Offsets in a block are the kernel's word, and each is
//! checked against the block before it is used.
//!
//! Source: `Documentation/networking/packet_mmap.rst`, `linux/if_packet.h`.

mod assembly;

use std::{
    ffi::c_void,
    fmt,
    os::fd::AsFd,
    ptr::{self, NonNull},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use model::{FrameParts, Hatype, PacketType};
use rustix::mm::{MapFlags, ProtFlags};

pub use self::assembly::Assembly;
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
    /// The largest block: one that stays in a processor's cache while it is read.
    pub const MAX_BLOCK: u32 = 256 * 1024;
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

    /// Whether the kernel has handed over a block that was not taken yet.
    #[must_use]
    pub fn has_block(&self) -> bool {
        let offset = self.next as usize * self.geometry.block_bytes as usize;
        let status = self.mapping.word(offset + BLOCK_STATUS).load(Ordering::Acquire);
        status & libc::TP_STATUS_USER != 0 && status & TAKEN == 0
    }
}

/// Bytes that a processor fetches at a time.
const CACHE_LINE: usize = 64;
/// What of a frame is fetched at once: its header, and the packet of a small one.
const EXPECTED: usize = 2 * CACHE_LINE + 1;

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch(line: &u8) {
    // SAFETY: a hint that reads nothing and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            ptr::from_ref(line).cast(),
        )
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch(_line: &u8) {}

/// Where `ts_last_pkt` stands in a block.
const BLOCK_LAST: usize = 40;

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

/// A block of frames that is ours until it is dropped.
pub struct Block {
    store: Store,
    size: usize,
    losing: bool,
}

/// Where a block's bytes are.
enum Store {
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
        let rest = self.bytes.get(offset as usize..)?;
        let frame = Frame { header: rest.first_chunk::<FRAME_HEADER>()?, data: rest };
        let from = usize::from(frame.half(24));
        let data = rest.get(from..from + frame.word(12) as usize)?;
        Some(Frame { data, ..frame })
    }

    /// Timestamp of the frame at an offset, and the offset of the one behind it.
    #[must_use]
    #[inline(always)]
    pub fn step(&self, offset: u32) -> Option<(u64, u32)> {
        let rest = self.bytes.get(offset as usize..)?;
        let frame = Frame { header: rest.first_chunk::<FRAME_HEADER>()?, data: &[] };
        Some((frame.timestamp(), offset.checked_add(frame.word(0))?))
    }

    /// Tells the processor that the frame at this offset, or what stands there, is read soon. The
    /// kernel wrote it on another processor, so it comes from far away.
    #[inline(always)]
    pub fn expect(&self, offset: u32) {
        let Some(soon) =
            self.bytes.get(offset as usize..).and_then(<[u8]>::first_chunk::<EXPECTED>)
        else {
            return;
        };
        prefetch(&soon[0]);
        prefetch(&soon[CACHE_LINE]);
        prefetch(&soon[EXPECTED - 1]);
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
        self.offset = offset.checked_add(frame.word(0))?;
        Some((offset, frame))
    }
}

/// A frame as the kernel left it in a block.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    header: &'a [u8; FRAME_HEADER],
    data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// All that is told of it.
    #[must_use]
    pub fn parts(&self) -> FrameParts<'a> {
        FrameParts {
            timestamp: self.timestamp(),
            interface: self.interface_index(),
            hatype: self.hatype(),
            protocol: self.protocol(),
            packet_type: self.packet_type(),
            vlan: self.vlan(),
            checksum_not_ready: self.checksum_not_ready(),
            checksum_valid: self.checksum_valid(),
            tcp_segmentation: self.is_tcp_segmentation(),
            address: self.address(),
            network_offset: u16::try_from(self.network_offset()).unwrap_or(u16::MAX),
            original_length: self.original_length(),
            data: self.data(),
        }
    }

    /// The bytes that were kept, from the link-layer header on. A VLAN tag that the kernel took
    /// out is in [`Frame::vlan`].
    #[must_use]
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Length on the wire in bytes.
    #[must_use]
    #[inline]
    pub fn original_length(&self) -> u32 {
        self.word(16)
    }

    /// When the kernel saw it: nanoseconds since 1970.
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> u64 {
        u64::from(self.word(4)) * 1_000_000_000 + u64::from(self.word(8))
    }

    /// Bytes of the link-layer header: where the network header begins in [`Frame::data`].
    #[must_use]
    pub fn network_offset(&self) -> usize {
        usize::from(self.half(26).saturating_sub(self.half(24)))
    }

    /// The VLAN tag that the kernel took out of the frame: tag control word and protocol.
    #[must_use]
    #[inline]
    pub fn vlan(&self) -> Option<(u16, u16)> {
        let status = self.word(20);
        if status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        const ETH_P_8021Q: u16 = 0x8100;
        let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        Some((self.half(32), if known { self.half(36) } else { ETH_P_8021Q }))
    }

    /// The checksum is still to be computed by the hardware, so what stands there is not it.
    #[must_use]
    #[inline]
    pub fn checksum_not_ready(&self) -> bool {
        self.word(20) & libc::TP_STATUS_CSUMNOTREADY != 0
    }

    /// The checksum was found right.
    #[must_use]
    #[inline]
    pub fn checksum_valid(&self) -> bool {
        self.word(20) & libc::TP_STATUS_CSUM_VALID != 0
    }

    /// A TCP segment that is to be cut, or was put together, by segmentation offload.
    #[must_use]
    #[inline]
    pub fn is_tcp_segmentation(&self) -> bool {
        self.word(20) & TP_STATUS_GSO_TCP != 0
    }

    /// Protocol of the payload in host byte order: `ETH_P_IP` …
    #[must_use]
    pub fn protocol(&self) -> u16 {
        u16::from_be(self.half(50))
    }

    /// Index of the interface that it was seen on.
    #[must_use]
    #[inline]
    pub fn interface_index(&self) -> u32 {
        self.word(52)
    }

    /// Hardware type of that interface.
    #[must_use]
    #[inline]
    pub fn hatype(&self) -> Hatype {
        Hatype(self.half(56))
    }

    /// How it reached the tap.
    #[must_use]
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        PacketType::from_raw(self.header[58])
    }

    /// The sender's link-layer address, up to eight bytes of it.
    #[must_use]
    pub fn address(&self) -> &'a [u8] {
        let header: &'a [u8; FRAME_HEADER] = self.header;
        &header[60..60 + usize::from(self.header[59].min(8))]
    }

    #[inline]
    fn word(&self, at: usize) -> u32 {
        let header = self.header;
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    }

    #[inline]
    fn half(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.header[at], self.header[at + 1]])
    }
}

/// `TP_STATUS_GSO_TCP` of `linux/if_packet.h`, since Linux 5.14.
const TP_STATUS_GSO_TCP: u32 = 1 << 8;

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("timestamp", &self.timestamp())
            .field("interface", &self.interface_index())
            .field("kept", &self.data.len())
            .field("original", &self.original_length())
            .finish()
    }
}
