//! The kernel's side: network namespaces, packet sockets and their rings, netlink, descriptor
//! passing, and giving up privileges.
//!
//! The only crate with `unsafe` code. It knows nothing of Docker, of file formats or of policy:
//! it offers safe handles on what Linux has, and everything above is safe Rust.

mod error;
pub mod netns;

pub use error::Error;
