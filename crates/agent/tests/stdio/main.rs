//! `whaletap-agent stdio` from the other end of its pipes.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod capturing;
mod client;
mod ends;
mod link;
mod looking;
