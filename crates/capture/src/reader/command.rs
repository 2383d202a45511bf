use std::sync::Weak;

use crossbeam_channel::Sender;
use model::Interface;
use sys::{
    packet::PacketSocket,
    ring::{Geometry, Ring},
};

use crate::{Attachment, CaptureId, Error, Identity, Snapshot, recorder, source::Place};

/// What the reader is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// With its interfaces, where they were asked for.
    Attach(Box<Attachment>, Option<Vec<Interface>>, Sender<Result<(), Error>>),
    /// One will be attached: what is told of it until then is for later.
    Announce(CaptureId),
    /// It will not.
    Renounce(CaptureId),
    /// One that was announced.
    AttachAnnounced(Box<Attachment>, Option<Vec<Interface>>),
    Hold {
        id: u64,
        since: u64,
    },
    Watch {
        id: u64,
        rings: Weak<Vec<Ring>>,
    },
    Release {
        id: u64,
    },
    Extend(CaptureId, Vec<(Option<u32>, PacketSocket)>, Geometry),
    Detach(CaptureId, Place),
    Forget(CaptureId),
    Rename(CaptureId, Identity),
    Names(Vec<(std::net::IpAddr, String)>),
    Snapshot(Sender<Snapshot>),
    Trigger(Option<CaptureId>, recorder::Trigger),
    Flush,
    Stop,
}

impl Command {
    /// The capture that has to be attached before this can be obeyed.
    pub(super) fn waits_for(&self) -> Option<CaptureId> {
        match self {
            Self::AttachAnnounced(attachment, _) => attachment.follows,
            Self::Extend(id, ..)
            | Self::Detach(id, _)
            | Self::Forget(id)
            | Self::Rename(id, _)
            | Self::Trigger(Some(id), _) => Some(*id),
            _ => None,
        }
    }
}
