//! The pcapng and classic pcap formats: a block writer and a lenient reader.
//!
//! Writing: each block is a plain struct of borrowed fields, with an `encode` that appends the
//! whole block to the caller's `Vec<u8>`. Nothing is allocated but what the vector needs to grow,
//! nothing fails, and no state is kept: the caller counts interfaces (the first
//! [`InterfaceBlock`] after a [`Section`] is number 0) and decides when a file begins. A writer
//! object that owned a file and numbered the interfaces was the alternative; rotation repeats the
//! same blocks in each file and the hot path encodes straight into output chunks, which such an
//! object would only stand in the way of.
//!
//! Reading: [`read`] takes apart files of either format and either byte order, skips what it does
//! not know, and gives every whole block of a file that was cut short.
//!
//! # Bounds
//!
//! | constant | bytes or count | what |
//! |---|---|---|
//! | [`MAX_BLOCK_LEN`] | 16 MiB | longest block that is written, and that the reader accepts |
//! | [`MAX_CAPTURED_LEN`] | 8 MiB | longest packet that is written; the rest is cut off |
//! | [`MAX_STRING_LEN`] | 65,535 | longest option string; the rest is cut off |
//! | [`MAX_COMMENTS_LEN`] | 1 MiB | all comments of one block; further ones are left out |
//! | [`MAX_ADDRESSES`] | 16,384 | addresses of each family in one interface block |
//! | [`MAX_NAMES_LEN`] | 1 MiB | records of one name block; the next block takes the others |
//! | [`read::MAX_INTERFACES`] | 65,536 | interfaces of one section that the reader remembers |
//!
//! # Sources
//!
//! draft-ietf-opsawg-pcapng (version 1.0 of the format) and draft-ietf-opsawg-pcap.

mod error;
mod flags;
mod interface_block;
mod name_block;
mod option_list;
mod packet_block;
mod pcap;
pub mod read;
mod section;
mod statistics_block;

pub use error::Error;
pub use flags::{Flags, PacketDirection, Reception};
pub use interface_block::{InterfaceBlock, MAX_ADDRESSES};
pub use name_block::{MAX_NAMES_LEN, NameBlock};
pub use option_list::{MAX_COMMENTS_LEN, MAX_STRING_LEN};
pub use packet_block::{PacketBlock, PlainPacketBlock};
pub use pcap::{PcapHeader, PcapRecord};
pub use section::Section;
pub use statistics_block::StatisticsBlock;

/// Longest block in bytes: none longer is written, and the reader accepts none longer.
///
/// It is the bound of Wireshark and libpcap too, so that they read what we write.
pub const MAX_BLOCK_LEN: usize = 16 << 20;

/// Longest packet in bytes that a packet block or record carries. What is longer is cut to this
/// length; the original length still tells the truth.
pub const MAX_CAPTURED_LEN: usize = 8 << 20;

/// Block type of a Section Header Block.
const SECTION_HEADER: u32 = 0x0A0D_0D0A;
/// Block type of an Interface Description Block.
const INTERFACE_DESCRIPTION: u32 = 1;
/// Block type of the obsolete Packet Block.
const OBSOLETE_PACKET: u32 = 2;
/// Block type of a Simple Packet Block.
const SIMPLE_PACKET: u32 = 3;
/// Block type of a Name Resolution Block.
const NAME_RESOLUTION: u32 = 4;
/// Block type of an Interface Statistics Block.
const INTERFACE_STATISTICS: u32 = 5;
/// Block type of an Enhanced Packet Block.
const ENHANCED_PACKET: u32 = 6;

/// First field of a section, by which the byte order is recognized.
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;

/// `length` rounded up to the 32-bit boundary that fields, options and blocks end on.
const fn padded(length: usize) -> usize {
    (length + 3) & !3
}

/// A length that one of the bounds above keeps far below `u32::MAX`.
fn field(length: usize) -> u32 {
    debug_assert!(length <= MAX_BLOCK_LEN, "a length escaped its bound");
    u32::try_from(length).unwrap_or(u32::MAX)
}
