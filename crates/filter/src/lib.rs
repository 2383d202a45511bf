//! Capture expressions: from pcap-filter(7) text to a program that the kernel runs.
//!
//! libpcap compiles, because its semantics are what people know: an expression is compiled once
//! for each link type ([`Expression::compile`]), and what comes out is composed into one program
//! for a socket that sees all interfaces of a namespace ([`Plan`]). Where the kernel cannot run a
//! program, the interpreter does ([`Verified`]).
//!
//! A compiler of our own was considered and left: the one that exists in Rust differs from libpcap
//! in a quarter of the expressions of its own test set, and nobody would forgive a capture that
//! silently lacks frames.
//!
//! # VLAN tags
//!
//! The kernel takes the outermost tag out of a frame before a packet socket sees it. libpcap
//! knows, but only with a handle that is open on an interface; with any other it compiles `vlan`
//! for frames as files have them, and such a program finds no tag on a socket. So an expression
//! with `vlan` is compiled on a loopback device in a network namespace of its own ([`LiveJob`]).
//! Where that is not possible, the kernel lets Ethernet frames pass and
//! [`Plan::accepts`] evaluates the expression on the frame with its tag in place.
//! Expressions without `vlan` compile to the same program both ways.
//!
//! # Names
//!
//! libpcap resolves names in expressions (`host db.example`) through the machine's resolver, each
//! time it compiles. The private namespace has no network: an expression with `vlan` and a name
//! that only DNS knows is evaluated in user space.
//!
//! # Features
//!
//! `compile` (on by default) is the part that needs libpcap.

mod check;
#[cfg(feature = "compile")]
mod compile;
mod compiled;
mod error;
mod exclusion;
mod interpreter;
mod opcode;
mod packet;
mod plan;

pub use check::check;
#[cfg(feature = "compile")]
pub use compile::{Expression, LiveJob, LiveProgram};
pub use compiled::{Compiled, TagPlace, Verdict};
pub use error::Error;
pub use interpreter::{Verified, interpret};
pub use packet::{Packet, VlanTag};
pub use plan::{Never, Plan};
