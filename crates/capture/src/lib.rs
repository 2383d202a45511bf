//! From packet rings to files: ordered, encoded, rotated, limited, and accounted for to the frame.
//!
//! ```text
//!  ring ─► lane ─┐                                       ┌─► file series
//!  ring ─► lane ─┼─► merge ─► encode into chunks ─► pen ─┼─► pipe
//!  ring ─► lane ─┘                                       └─► …
//! ```
//!
//! A [`Pipeline`] is two plain threads. One reads rings, decides about frames, and writes; the
//! other takes its place where a write makes it wait. Between rings and files is a bounded [memory
//! budget](Config::memory). Above is whoever resolves names: it attaches and detaches captures, and
//! hears [`Event`]s.
//!
//! The crate knows nothing of Docker, of flags or of a terminal.

mod attachment;
mod budget;
mod chunk;
mod clock;
mod compression;
mod config;
mod crew;
mod desk;
mod encode;
mod error;
mod estate;
mod event;
pub mod far;
mod feed;
mod file_name;
mod haste;
mod hold;
mod lane;
mod merge;
mod nap;
mod output;
mod pipeline;
mod reader;
mod recorder;
mod rotation;
mod source;
mod writer;

pub use attachment::{Attachment, Blind, CaptureId, Identity, Means, Sockets};
pub use budget::MIN_MEMORY;
pub use compression::Compression;
pub use config::{Config, Destination, Format, KeepFree, SectionText};
pub use error::Error;
pub use event::{Ending, Event, Limit, Past, Report, Snapshot, SourceReport};
pub use file_name::{FileName, Moment};
pub use hold::Hold;
pub use pipeline::Pipeline;
pub use recorder::{
    HeldBytes, Keep, Record, Recorded, RecorderConfig, ResetLimit, SpillConfig, SpillTrouble,
    Trigger,
};
pub use rotation::{Autostop, RingBuffer, Rotation, Series};
