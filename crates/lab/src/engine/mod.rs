//! Real Docker engines: the one that all tests share, and private ones that a test may kill.
//!
//! Tests use what answers on `DOCKER_HOST` or on the usual socket. Where nothing answers they
//! are run through `whaletap-lab engine -- COMMAND…`, which starts one, says so in `DOCKER_HOST`,
//! and takes it down afterwards ([`Borrowed`]).
//!
//! No registry is needed: the image is made here, out of Debian's busybox and the traffic program.

mod borrowed;
mod container;
mod image;
mod network;
mod private;
mod shared;

pub use borrowed::Borrowed;
pub use container::{Container, ContainerSpec};
pub use image::IMAGE;
pub use network::DockerNetwork;
pub use private::PrivateEngine;
pub use shared::Engine;

/// The label of everything that tests make: its value is the id of the test's process.
pub const LABEL: &str = "whaletap.test";
