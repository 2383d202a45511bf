//! The test lab: private namespaces, traffic, real engines and the tools that judge; never shipped.
//!
//! Nothing here is built out of whaletap's own crates. A test that used our ring to check our
//! ring, or our pcapng reader to check our pcapng writer, would agree with any mistake that both
//! share; so frames are made by hand ([`Frames`]), captured by tcpdump and dumpcap
//! ([`Reference`]), and read by other people's parsers ([`Records`], [`judge`]).
//!
//! | part | what it is |
//! |---|---|
//! | [`Net`], [`Namespace`] | private network namespaces with links between them, removed on drop |
//! | [`Program`], [`Running`] | a child process with a limit on its life, inside a namespace or not |
//! | [`Frames`] | byte-exact frames of every kind, each numbered |
//! | [`traffic`] | what the program `whaletap-traffic` does, and where a test finds it |
//! | [`agent`] | where a test finds the program of helper containers |
//! | [`Reference`] | tcpdump or dumpcap at work on an interface |
//! | [`Records`], [`judge`] | a capture file as other people's tools see it |
//! | [`Engine`], [`Container`] | a real Docker engine, shared by all tests or private to one |
//! | [`Swarm`], [`Service`] | several engines that look like several machines, and are one cluster |
//! | [`PlayedEngine`], [`Relay`] | what no real engine does on demand: lies, silence, lost events |
//! | [`Visitors`] | containers that come, ask one thing, and go |
//! | [`Footprint`], [`Census`] | what a program holds of the machine, and how many namespaces there are |
//! | [`FarHost`] | an engine on a host of its own, behind TLS and ssh |
//!
//! Nothing that the lab makes has a default route: no packet of a test leaves the machine.
//! Everything is named after the process that made it (`wt-<pid>-<n>`), so that a later run can
//! sweep what a killed one left.
//!
//! # Privileges
//!
//! root, on a machine (or in a container) that may create network namespaces.

pub mod agent;
mod census;
pub mod engine;
mod error;
mod footprint;
mod frames;
pub mod judge;
mod name;
mod namespace;
mod net;
mod output;
mod program;
mod records;
mod reference;
mod static_program;
mod station;
mod tag;
pub mod traffic;

pub use census::Census;
pub use engine::{
    Certificates, Container, ContainerSpec, DockerNetwork, Engine, Exchange, FarHost,
    PlayedContainer, PlayedEngine, PrivateEngine, Relay, Rootless, Service, Swarm, Visit, Visitors,
    Visits,
};
pub use error::Error;
pub use footprint::Footprint;
pub use frames::Frames;
pub use namespace::Namespace;
pub use net::{Address, Net};
pub use program::{Finished, Program, Running};
pub use records::{Difference, Record, Records};
pub use reference::{Counts, Reference};
pub use station::Station;
pub use tag::Tag;
