//! What a running session says of itself, and who hears it.
//!
//! A session listens on a socket of its own, `PID.sock` in a directory that is its user's alone.
//! Each connection is answered with one JSON object, a [`Report`], and closed; nothing is read from
//! it. Only the session's user and root are answered. The file goes when the session ends in good
//! order; one that a session had to leave behind is removed by whoever comes by next.
//!
//! ```text
//!  supervisor ── Listener ─── $XDG_RUNTIME_DIR/whaletap/PID.sock ◄── ask() ── whaletap status
//!                             /run/whaletap-UID/PID.sock
//! ```

mod ask;
mod listener;
mod place;
mod report;

pub use ask::{Found, MAX_REPORT, Silent, ask};
pub use report::{BlindWindow, EngineState, Held, Netns, Owner, Report, State, TargetReport};

pub(crate) use listener::Listener;
pub(crate) use report::{About, now};
