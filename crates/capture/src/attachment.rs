use std::{net::IpAddr, os::fd::OwnedFd};

use model::NetnsId;
use sys::{packet::PacketSocket, ring::Geometry};

/// The number under which a capture is known for the life of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaptureId(pub u32);

/// What a namespace is called, in files and in reports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// What stands before the device's name: `web` in `web/eth0`.
    pub name: String,
    /// Id, image, node, coordinates: one line.
    pub description: String,
    /// Names of the networks that addresses inside belong to, for the interfaces' descriptions.
    pub networks: Vec<(IpAddr, String)>,
    /// Told at the first frame: since when this is captured, and what is missing before.
    pub note: Option<String>,
}

/// Everything that it takes to capture a namespace.
#[derive(Debug)]
pub struct Attachment {
    /// Its number.
    pub id: CaptureId,
    /// Its name.
    pub identity: Identity,
    /// The namespace.
    pub netns: NetnsId,
    /// Bound packet sockets with a ring each, and the interface that each listens on, `None` for
    /// all.
    pub sockets: Vec<(Option<u32>, PacketSocket)>,
    /// The rings' geometry.
    pub geometry: Geometry,
    /// The kernel runs the short program, so the expression is evaluated here.
    pub program_refused: bool,
    /// Netlink sockets of the namespace: one to ask, one to be told of changes.
    pub netlink: [OwnedFd; 2],
    /// Interfaces that are described in the file before they have spoken: all that are up when
    /// `None`.
    pub only: Option<Vec<String>>,
}
