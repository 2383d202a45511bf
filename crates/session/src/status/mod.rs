//! What a running session says of itself, and who hears it.
//!
//! A session listens on a socket of its own, whose name is in no file system and goes with its
//! process, however that ends. Each connection is answered with one JSON object, a [`Report`], and
//! closed; nothing is read from it. Anybody in the network namespace can listen under such a name
//! and connect to one, so both ends ask the kernel who the other is: only the session's user and root
//! are answered, and which process a report is of, and whose, is the kernel's word.
//!
//! ```text
//!  supervisor ── Listener ─── @whaletap/PID/RANDOM ◄── ask() ── whaletap status
//!                               found in /proc/net/unix
//! ```

mod ask;
mod listener;
mod name;
mod report;

pub use ask::{Found, MAX_REPORT, Silent, ask};
pub use report::{BlindWindow, EngineState, Held, Netns, Owner, Report, State, TargetReport};

pub(crate) use listener::Listener;
pub(crate) use report::{About, now};
