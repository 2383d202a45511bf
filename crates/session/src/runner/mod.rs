//! The runner: the companion that runs the user's commands.
//!
//! It is started before rights are given up and becomes the user, so that commands run with the
//! user's uid, outside of Landlock, and without our descriptors.
//!
//! ```text
//!  whaletap ── orders, descriptors ──► runner ──► -z COMMAND FILE   lowest priority, no input
//!           ◄────────── news ─────────        ──► --print           reads from a pipe of ours
//!                                             ──► --run             the caller's own three streams
//!                                             ──► ssh, docker       a line to an engine
//! ```
//!
//! The command of `--run` is the caller's in everything: environment, working directory, umask,
//! terminal and process group, so that a ^C reaches it as it would without us. For its sake the
//! runner then stays in the caller's session, and holds the terminal's signals back for itself. The
//! commands of `-z` and `--print` have no terminal.

mod client;
mod message;
mod server;

pub(crate) use client::Runner;
pub(crate) use message::{News, parse_user, user as user_words};
pub use server::serve;

/// `argv[0]` of the runner process.
pub const ARGV0: &str = "whaletap-runner";
