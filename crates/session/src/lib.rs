//! One user request, from its words to its totals.
//!
//! ```text
//!  Request ─► prepare: companions, program, outputs ─► give up rights ─► threads
//!             resolve: selectors ─► targets ─► namespaces ─► opener ─► attachments
//!             supervise: signals, ends of targets, files that are done, the opener's end
//!             ─► Outcome
//! ```
//!
//! [`capture()`] is the whole of it. It never prints and never exits: what happens meanwhile is told
//! to an [`Observer`]. [`inventory`] lists what could be captured, and [`exec`] runs a program
//! inside a target's namespace. While a session runs it answers who asks for its [`status`].

mod command_end;
mod entrance;
mod error;
pub mod exec;
mod follower;
mod helper;
mod interrupt;
pub mod inventory;
mod naming;
mod observer;
mod outcome;
mod recording;
mod request;
mod resolve;
mod rights;
mod rings;
mod rootless;
mod roster;
mod runner;
mod sandboxes;
mod stage;
pub mod status;
mod supervisor;
mod trigger;
mod way;

pub use command_end::CommandEnd;
pub use error::Error;
pub use helper::{ARGV0 as REAPER_ARGV0, Pruned, Reach, Via, prune, serve as serve_reaper};
pub use observer::{Notice, Observer};
pub use outcome::{Failed, Outcome};
pub use recording::{Recording, Spilling};
pub use request::{Output, Request, Sandbox, Selection};
pub use runner::ARGV0 as RUNNER_ARGV0;
pub use runner::serve as serve_runner;
pub use supervisor::capture;
pub use trigger::{BadTrigger, On, Triggers};
pub use way::{is_own_directory, may_connect};

pub use ::capture::{
    Autostop, Blind, Compression, Ending, Error as CaptureError, Format, HeldBytes, Keep, KeepFree,
    Limit, Past, Record, Recorded, ResetLimit, RingBuffer, Rotation, Snapshot, SourceReport,
    SpillTrouble, Trigger,
};
