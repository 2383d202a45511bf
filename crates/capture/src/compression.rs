//! Compressed output: independent frames, so that whatever is whole can be read.
//!
//! A zstd file is any number of frames, one behind the other (RFC 8878, section 3.1). A frame here
//! has at most 125 KiB of what is written, its length and a checksum, and needs no other frame to
//! be read. So a file that ends early loses its last frame at most. A single frame for all of the
//! file would compress somewhat better, and would have no end that can be told from a cut.
//!
//! Where frames may stand is for Wireshark's sake. Its reader (`wiretap/file_wrappers.c`; seen in
//! 4.0, gone in later ones) takes a file [`SEGMENT`] bytes at a time, and when a frame has ended it
//! looks for the next one's magic number not where that frame begins, but at the beginning of what
//! it has read last; without it the rest is taken for a file that is not compressed. So each
//! segment begins with a frame, and no frame reaches from one into the next. What is left of a
//! segment is filled with a skippable frame (RFC 8878, section 3.1.2), which readers pass over.

use std::{fmt, io};

use zstd::{
    bulk::Compressor,
    zstd_safe::{CParameter, compress_bound},
};

/// How hard zstd tries. On captured traffic level 3 takes up to twice the time of level 1, and its
/// files are 3 to 4 % smaller: see `docs/benchmarks.md`.
const LEVEL: i32 = 1;

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// zstd, in independent frames with checksums (RFC 8878).
    Zstd,
}

impl Compression {
    /// The compression that a file of this name has: zstd behind `.zst`.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        if name.ends_with(Self::Zstd.suffix()) { Self::Zstd } else { Self::None }
    }

    /// What stands behind the names of such files.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zstd => ".zst",
        }
    }
}

/// What Wireshark reads in one go, in bytes: `ZSTD_DStreamInSize()`, that is a block of the longest
/// kind and its header.
const SEGMENT: usize = 131_075;
/// The most bytes in a frame. However little they compress, the frame fits into a segment.
const MAX_PIECE: usize = 125 << 10;
/// Room in a segment that is not worth a frame, in bytes.
const NO_ROOM: usize = 4 << 10;
/// Header of a skippable frame, and so the shortest one: its magic number, and its length.
const SKIPPABLE: [u8; 4] = 0x184d_2a50_u32.to_le_bytes();
const SKIPPABLE_HEADER: usize = 8;
/// Memory that is kept between two writes, in bytes: a chunk that does not compress at all.
const KEPT: usize = 512 << 10;

/// Makes frames. What it needs for that is made at the first one and used again for all others.
#[derive(Default)]
pub(crate) struct Packer {
    compressor: Option<Compressor<'static>>,
    /// One frame.
    frame: Vec<u8>,
    /// All that are to be written now.
    frames: Vec<u8>,
    /// Bytes before and behind compression, of the last frame.
    last: Option<(usize, usize)>,
}

impl Packer {
    /// Frames with these bytes, for a file in which `position` bytes of frames stand already.
    pub(crate) fn pack(&mut self, bytes: &[u8], position: u64) -> io::Result<&[u8]> {
        self.frames.clear();
        self.frames.shrink_to(KEPT);
        let begin = usize::try_from(position % SEGMENT as u64).unwrap_or_default();
        let (mut rest, mut is_second_try) = (bytes, false);
        while !rest.is_empty() {
            let room = SEGMENT - (begin + self.frames.len()) % SEGMENT;
            if room < NO_ROOM {
                self.skip(room);
                continue;
            }
            let (piece, others) = rest.split_at(self.guess(room).min(rest.len()));
            self.compress(piece)?;
            // What is left behind it has to have room for a skippable frame, or not to be there.
            if self.frame.len() != room && self.frame.len() + SKIPPABLE_HEADER > room {
                if !std::mem::replace(&mut is_second_try, true) {
                    // Now it is known better how much of it would have had room.
                    continue;
                }
                self.skip(room);
            }
            self.frames.extend_from_slice(&self.frame);
            (rest, is_second_try) = (others, false);
        }
        Ok(&self.frames)
    }

    /// How many bytes will have room there, by what became of the last ones.
    fn guess(&self, room: usize) -> usize {
        let (before, behind) = self.last.unwrap_or((1, 1));
        // A little less: a frame that does not fit leaves all of the room empty.
        let fits = (room - NO_ROOM / 2).saturating_mul(before) / behind.max(1);
        (fits / 16 * 15).clamp(1, MAX_PIECE)
    }

    /// Makes a frame of these bytes.
    fn compress(&mut self, piece: &[u8]) -> io::Result<()> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(compressor()?),
        };
        self.frame.clear();
        self.frame.reserve(compress_bound(MAX_PIECE));
        compressor.compress_to_buffer(piece, &mut self.frame)?;
        self.last = Some((piece.len(), self.frame.len()));
        Ok(())
    }

    /// Fills so many bytes with a skippable frame.
    fn skip(&mut self, room: usize) {
        let length = u32::try_from(room - SKIPPABLE_HEADER).unwrap_or_default();
        let end = self.frames.len() + room;
        self.frames.extend_from_slice(&SKIPPABLE);
        self.frames.extend_from_slice(&length.to_le_bytes());
        self.frames.resize(end, 0);
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").field("last", &self.last).finish_non_exhaustive()
    }
}

fn compressor() -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::budget::CHUNK;

    const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

    /// Bytes that do not compress.
    fn noise(seed: u32, length: usize) -> Vec<u8> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(next).collect()
    }

    /// Bytes of which about one in `each` is news.
    fn traffic(seed: u32, length: usize, each: usize) -> Vec<u8> {
        let news = noise(seed, length / each + 1);
        (0..length).map(|at| if at % each == 0 { news[at / each] } else { 7 }).collect()
    }

    /// Pieces as a file has them: repetitive, noisy, tiny, and longer than a chunk.
    fn pieces() -> Vec<Vec<u8>> {
        let mut pieces = vec![b"section".to_vec(), noise(1, 1000), vec![0]];
        for round in 0..12 {
            pieces.push(traffic(round, CHUNK - 1000, 4));
            pieces.push(traffic(round, 700 * round as usize + 1, 2));
            pieces.push(noise(round, CHUNK / 3));
        }
        pieces.extend([noise(2, CHUNK), noise(3, 4 * CHUNK + 5000), b"the end".to_vec()]);
        pieces
    }

    /// A file of these pieces, and their text.
    fn file(pieces: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
        let mut packer = Packer::default();
        let mut file = Vec::new();
        for piece in pieces {
            let frames = packer.pack(piece, file.len() as u64).unwrap();
            file.extend_from_slice(frames);
        }
        (file, pieces.concat())
    }

    /// Where each frame begins, taken apart by zstd, and what is in it.
    fn frames(file: &[u8]) -> Vec<(usize, &[u8])> {
        let mut at = 0;
        let mut frames = Vec::new();
        while at < file.len() {
            let length = zstd::zstd_safe::find_frame_compressed_size(&file[at..]).unwrap();
            frames.push((at, &file[at..at + length]));
            at += length;
        }
        frames
    }

    /// Everything that can be read, and whether it ended where it should.
    fn read(file: &[u8]) -> (Vec<u8>, bool) {
        let mut text = Vec::new();
        let done = zstd::Decoder::new(file).unwrap().read_to_end(&mut text);
        (text, done.is_ok())
    }

    #[test]
    fn a_file_that_is_cut_can_be_read_to_its_last_whole_frame() {
        let (file, text) = file(&pieces());
        assert!(read(&file) == (text.clone(), true));
        let mut before = 0;
        for (begin, frame) in frames(&file) {
            let (alone, is_whole) = read(frame);
            assert!(is_whole && alone == text[before..before + alone.len()], "alone at {begin}");
            if frame.starts_with(&SKIPPABLE) {
                assert!(alone.is_empty());
                continue;
            }
            // In the middle of the frame: nothing of it, and by itself no end that looks like one.
            for cut in [1, frame.len() / 2, frame.len() - 1] {
                let (seen, is_whole) = read(&frame[..cut]);
                assert!(!is_whole && seen == alone[..seen.len()], "cut at {begin} + {cut}");
            }
            before += alone.len();
        }
        assert_eq!(before, text.len());
        // And with what stands before it.
        let third = frames(&file)[frames(&file).len() / 3].0;
        for (cut, is_end) in [(third, true), (third + 1, false), (third + 5, false)] {
            let (seen, is_whole) = read(&file[..cut]);
            assert!(is_whole == is_end && seen == text[..seen.len()] && !seen.is_empty());
        }
    }

    #[test]
    fn each_segment_begins_with_a_frame_and_little_is_left_empty() {
        // Alike in itself, and texts between pictures.
        let mixed = |seed: u32| traffic(seed, 40_000, if seed.is_multiple_of(2) { 1 } else { 64 });
        for each in [1, 2, 8, 64, 0] {
            let piece = |seed: u32| match each {
                0 => (8 * seed..8 * seed + 8).flat_map(mixed).collect(),
                each => traffic(seed, CHUNK - 100, each),
            };
            let pieces: Vec<Vec<u8>> = (0..16).map(piece).collect();
            let (file, text) = file(&pieces);
            assert!(file.len() > 2 * SEGMENT || each == 64, "{each}");
            for segment in file.chunks(SEGMENT) {
                assert!(segment.starts_with(&MAGIC), "{each}");
            }
            let ends = |at: usize, length: usize| (at / SEGMENT, (at + length - 1) / SEGMENT);
            let frames = frames(&file);
            assert!(frames.iter().all(|(at, frame)| {
                let (first, last) = ends(*at, frame.len());
                first == last
            }));
            let skipped = frames.iter().filter(|(_, frame)| frame.starts_with(&SKIPPABLE));
            let skipped: usize = skipped.map(|(_, frame)| frame.len()).sum();
            assert!(skipped * 10 < file.len(), "{each}: {skipped} of {}", file.len());
            assert_eq!(read(&file).0.len(), text.len());
        }
    }

    #[test]
    fn a_byte_that_was_changed_is_noticed() {
        let mut packer = Packer::default();
        // What cannot be compressed stands in the frame as it is, so no code notices but the sum.
        let noise = noise(1, 1000);
        let mut frame = packer.pack(&noise, 0).unwrap().to_vec();
        assert!(frame.len() > noise.len());
        let middle = frame.len() / 2;
        frame[middle] ^= 1;
        assert!(!read(&frame).1);
    }

    #[test]
    fn memory_for_a_long_piece_is_not_kept() {
        let mut packer = Packer::default();
        packer.pack(&noise(1, 4 * CHUNK), 0).unwrap();
        packer.pack(b"short", 5).unwrap();
        assert!(packer.frames.capacity() <= KEPT && packer.frame.capacity() <= 2 * MAX_PIECE);
        let place = packer.frames.as_ptr();
        packer.pack(&noise(1, CHUNK), 7).unwrap();
        assert_eq!(packer.frames.as_ptr(), place, "the same memory is used again");
    }

    #[test]
    fn names_say_how_files_are_compressed() {
        for (name, compression) in [
            ("a.pcapng.zst", Compression::Zstd),
            ("a.zst", Compression::Zstd),
            ("a.zst.pcapng", Compression::None),
            ("azst", Compression::None),
            ("a.pcapng", Compression::None),
        ] {
            assert_eq!(Compression::of_name(name), compression, "{name}");
        }
    }
}
