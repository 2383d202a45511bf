//! The part that needs libpcap: from text to programs.

mod expression;
mod libpcap;
mod position;
mod token;

pub use expression::{Expression, LiveJob, LiveProgram};
