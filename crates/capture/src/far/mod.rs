//! Frames that are captured on one machine and written on another.
//!
//! ```text
//!  far side:  rings ─► blocks ─► Outgoing ─► batches ─┐
//!                        drops, counts ◄── allowance      │  wire
//!  here:      lanes ◄─ blocks ◄─ arrived ◄─────────────┘
//! ```
//!
//! What arrives becomes blocks as a ring has them, in memory of our own: so order, encoding and
//! everything behind it are the same for frames from here and from afar.

mod arrivals;
mod arrived;
mod asked;
mod greeting;
mod link;
mod looks;
mod outbox;
mod outgoing;

pub use arrivals::Arrivals;
pub(crate) use arrivals::Receipt;
pub use arrived::arrived;
pub use asked::Asked;
pub use greeting::Ahead;
pub use link::{FarCapture, Link, MAX_NOTICES};
pub use outgoing::{Counts, Outgoing, Patience};
pub use wire::{ContainerPlace, Host, Place, Reason, Scope, Seen, Settings, Spec};

pub use crate::clock::{StepWatch, own as now};
