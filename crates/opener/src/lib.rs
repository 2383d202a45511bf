//! The opener: the small privileged process.
//!
//! It enters network namespaces, opens packet and netlink sockets there, and hands the descriptors
//! back to the process that asked, which has no rights itself. It keeps only the capabilities that
//! this takes, reads nothing but the requests of [`request`], and ends with its client.
//!
//! A crate of its own so that the compiler keeps Docker's JSON, file formats and everything async
//! out of the process that has rights.

mod client;
mod codec;
mod directories;
mod engine;
mod error;
mod expected;
mod monitor;
mod open;
mod proof;
pub mod request;
mod resident;
mod server;

pub use client::{Opened, Opener, Seen, Watched};
pub use error::{Error, Reason};
pub use proof::{Proved, prove};
pub use request::{EngineAt, MAX_INTERFACES, PROTOCOL, Place, Scope, Spec};
pub use server::{ARGV0, serve, serve_at, serve_machine};
