use std::{net::IpAddr, os::fd::OwnedFd, time::Duration};

use model::NetnsId;
use sys::{packet::PacketSocket, ring::Geometry};

use crate::{Hold, far::Arrivals};

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
    /// Told at the first frame, or with the statistics where none comes: since when this is
    /// captured, and what is missing before.
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
    /// How its frames come.
    pub means: Means,
    /// The kernel runs the short program, so the expression is evaluated here.
    pub program_refused: bool,
    /// Interfaces that are described in the file before they have spoken: all that are up when
    /// `None`.
    pub only: Option<Vec<String>>,
    /// The capture of the same target in the namespace that it had before. Interfaces of the same
    /// device name are linked to that one's, and where each target has its own file that one's goes
    /// on, unless it was given up: see [`crate::Pipeline::suspend`].
    pub follows: Option<CaptureId>,
    /// What was missed before, where that is known.
    pub blind: Option<Blind>,
    /// What has held up others for the sake of its frames; over when it is attached.
    pub hold: Option<Hold>,
}

/// How the frames of a capture come, and news of its interfaces.
#[derive(Debug)]
pub enum Means {
    /// From this machine.
    Here(Sockets),
    /// From another one.
    Far(Arrivals),
}

/// Sockets inside a namespace of this machine.
#[derive(Debug)]
pub struct Sockets {
    /// Bound packet sockets with a ring each, and the interface that each listens on, `None` for
    /// all.
    pub packet: Vec<(Option<u32>, PacketSocket)>,
    /// The rings' geometry.
    pub geometry: Geometry,
    /// Netlink sockets: one to ask, one to be told of changes.
    pub netlink: [OwnedFd; 2],
}

/// What a capture missed at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blind {
    /// From the making of the namespace until it was captured.
    pub time: Duration,
    /// Frames that its interfaces had counted when it was captured.
    pub frames: u64,
}
