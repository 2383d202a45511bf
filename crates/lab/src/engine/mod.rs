//! Real Docker engines: the one that all tests share, private ones that a test may kill, one on a
//! host that can only be reached over the network, and rootless ones, podman's too ([`Rootless`]).
//!
//! Tests use what answers on `DOCKER_HOST` or on the usual socket. Where nothing answers they
//! are run through `whaletap-lab engine -- COMMAND…`, which starts one, says so in `DOCKER_HOST`,
//! and takes it down afterwards ([`Borrowed`]).
//!
//! Where a real one does not do what is to be shown there are one that is played
//! ([`PlayedEngine`]), and a socket in front of a real one through which not everything goes
//! ([`Relay`]).
//!
//! No registry is needed: the images are made here, one out of Debian's busybox and the traffic program,
//! one out of its tcpdump.

mod borrowed;
mod certificates;
mod container;
mod far;
mod home;
mod image;
mod network;
mod played;
mod private;
mod relay;
mod rootless;
mod shared;
mod swarm;
mod visitors;

pub use borrowed::Borrowed;
pub use certificates::Certificates;
pub use container::{Container, ContainerSpec};
pub use far::FarHost;
pub use image::{IMAGE, TCPDUMP_IMAGE};
pub use network::DockerNetwork;
pub use played::{PlayedContainer, PlayedEngine};
pub use private::PrivateEngine;
pub use relay::{Events, Relay};
pub use rootless::Rootless;
pub use shared::Engine;
pub use swarm::{Service, Swarm};
pub use visitors::{Exchange, Visit, Visitors, Visits};

/// The label of everything that tests make: its value is the id of the test's process.
pub const LABEL: &str = "whaletap.test";
