//! The kernel's side: network namespaces, packet sockets and their rings, netlink, descriptor
//! passing, and giving up privileges.
//!
//! The only crate with `unsafe` code. It knows nothing of Docker, of file formats or of policy:
//! it offers safe handles on what Linux has, and everything above is safe Rust.

pub mod channel;
pub mod companion;
pub mod connections;
pub mod disk;
mod error;
pub mod inotify;
pub mod landlock;
pub mod lifetime;
pub mod local;
pub mod machine;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod packet;
pub mod poll;
pub mod privileges;
pub mod process;
pub mod ring;
pub mod signals;
pub mod userns;

pub use error::Error;
