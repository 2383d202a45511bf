//! What whaletap and its far side say to each other: messages, batches of frames, and how much of
//! them may be under way. No sockets: bytes come in, bytes go out.
//!
//! ```text
//!  client                                              far side (`agent stdio`)
//!  PREAMBLE, Hello                ──────────────────►
//!                                 ◄──────────────────  PREAMBLE, Hello
//!  Attach, Detach, Acknowledge …  ── Order ──────────►
//!                                 ◄────────── Report ─  Attached, Interfaces, Counts …
//!                                 ◄─────────── Batch ─  frames
//!  Look                           ── Order ──────────►
//!                                 ◄────────── Report ─  Seen, or Unseen
//! ```
//!
//! A message is its length (4 bytes, little-endian, without itself), a byte for its kind, and its
//! fields one behind the other: numbers little-endian, texts and lists behind their count. Whatever
//! does not read to its very end is refused, and nothing that arrives makes a reader panic, or take
//! more memory than a few times the message's own.
//!
//! Both ends come from one build, so there is one version and no negotiation: [`PROTOCOL`] and the
//! build are compared first of all, in a form that does not change ([`Hello`]), and whoever differs
//! is told by both versions. `schema/` has the form of every message for each version; a test
//! compares.
//!
//! The rejected alternative was protobuf (prost, with protox to do without `protoc`). Its strength
//! is that old and new can talk to each other, which is not wanted here; it brings some forty
//! packages into the build, and frames would travel beside it in one `bytes` field all the same.

mod allowance;
mod batch;
mod error;
mod field;
mod hello;
mod order;
mod report;
#[cfg(test)]
mod schema;
mod stream;

pub use allowance::{Allowance, MAX_ALLOWANCE};
pub use batch::{BATCH, Batch, BatchWriter, Frames, MAX_BATCH};
pub use error::Error;
pub use hello::{Hello, Host};
pub use order::{
    Acknowledge, Attach, ContainerPlace, Detach, Look, Order, Place, Question, Scope, Settings,
    Spec,
};
pub use report::{
    Attached, Clock, Counts, Ended, Interfaces, Notice, Reason, Refused, Report, Seen, Settled,
};
pub use stream::{Kind, MAX_MESSAGE, PREAMBLE, Stream, envelope};

/// The version of everything in this crate. A change of the form of a message, or of what one
/// means, is a new version; `schema/` then gets a new file.
pub const PROTOCOL: u32 = 2;

/// How often each side says that it is there.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(5);

/// How long the far side goes on without a word of the client.
pub const SILENCE: std::time::Duration = std::time::Duration::from_secs(15);
