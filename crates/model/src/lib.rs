//! The words of whaletap as plain types.
//!
//! Everything here is data: no I/O, no system call, no Docker JSON. Each word has one file, and
//! every other crate uses these words and no synonyms. `ARCHITECTURE.md` has the table of words.

mod connection;
mod container;
mod direction;
mod frame;
mod interface;
mod link_type;
mod netns_id;
mod program;
mod selector;
mod snaplen;
mod stats;
mod target;

pub use connection::Connection;
pub use container::{Compose, Container, ContainerState, Endpoint, Swarm};
pub use direction::{Direction, PacketType};
pub use frame::FrameParts;
pub use interface::{Hatype, Interface, MacAddress, Network};
pub use link_type::LinkType;
pub use netns_id::NetnsId;
pub use program::{Instruction, Program};
pub use selector::{ParseSelectorError, Selector};
pub use snaplen::Snaplen;
pub use stats::Stats;
pub use target::{Origin, Target};
