//! The command on a real Swarm of three engines: a service that is scaled and rolled over while it
//! is asked, with a capture on each node.
//!
//! ```text
//! cargo nextest run -p whaletap --test swarm
//! ```

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

#[path = "../engine/tap.rs"]
#[expect(dead_code, reason = "shared with the tests on one engine, which ask for more")]
mod tap;

mod logs;
mod scaling;
