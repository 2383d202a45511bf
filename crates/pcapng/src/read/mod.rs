//! A lenient reader of both formats, in both byte orders.
//!
//! [`SliceReader`] walks a file in memory, [`Reader`] any [`std::io::Read`] with a buffer of at most
//! one block. Both give typed [`Block`]s that borrow from the file's bytes; options are looked at
//! when they are asked for.
//!
//! Lenient means: what is not known is stepped over, an error in one block costs that block, and a
//! file that was cut in the middle of a block gives all whole blocks before it and then
//! [`End::Truncated`]. Only where the next block cannot be found does reading end early, with an
//! error and [`End::Failed`]. So a caller goes on until there is no further block:
//!
//! ```
//! use whaletap_pcapng::{PacketBlock, InterfaceBlock, Section, read};
//!
//! let mut file = Vec::new();
//! Section::default().encode(&mut file);
//! InterfaceBlock { link_type: 1, name: "web/eth0", ..Default::default() }.encode(&mut file);
//! PacketBlock { timestamp: 5, parts: &[b"frame"], ..Default::default() }.encode(&mut file);
//! file.extend_from_slice(&[6, 0, 0]); // the writer was killed here
//!
//! let mut packets = 0;
//! let mut reader = read::SliceReader::new(&file);
//! for block in &mut reader {
//!     if let Ok(read::Block::Packet(packet)) = block {
//!         assert_eq!((packet.timestamp, packet.bytes), (Some(5), &b"frame"[..]));
//!         packets += 1;
//!     }
//! }
//! assert_eq!(packets, 1);
//! assert!(matches!(reader.end(), Some(read::End::Truncated { bytes: 3, .. })));
//! ```
//!
//! A classic pcap file appears as one interface without a name, then packets.

mod block;
mod clock;
mod decoder;
mod fields;
mod interface;
mod names;
mod options;
mod packet;
mod section;
mod slice;
mod statistics;
mod stream;

pub use block::Block;
pub use clock::Resolution;
pub use decoder::{End, MAX_INTERFACES};
pub use fields::ByteOrder;
pub use interface::Interface;
pub use names::{Name, NamedAddress, Names};
pub use options::{OptionField, Options};
pub use packet::Packet;
pub use section::Section;
pub use slice::SliceReader;
pub use statistics::Statistics;
pub use stream::Reader;
