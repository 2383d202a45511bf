//! Opening sockets inside a namespace.

use std::{os::fd::OwnedFd, time::UNIX_EPOCH};

use model::Interface;
use sys::{
    netlink::{self, Netlink},
    packet::PacketSocket,
    ring::Geometry,
};

use crate::{
    error::{Reason, Refusal},
    request::{Scope, Spec},
};

/// The most sockets that one request opens: an interface each.
pub(crate) const MAX_SOCKETS: usize = 100;

/// What a visit to a namespace brings back.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Packet sockets with the interface that each is bound to, 0 for all.
    pub(crate) packet: Vec<(u32, OwnedFd)>,
    /// The rings' geometry: of each of them.
    pub(crate) geometry: Geometry,
    /// The kernel refused the program, and has the short one.
    pub(crate) program_refused: bool,
    /// Names that were asked for and are not there.
    pub(crate) missing: Vec<String>,
    /// Two netlink sockets: to ask, and to be told of changes.
    pub(crate) netlink: [OwnedFd; 2],
    /// Frames that the devices had counted just before the sockets were bound.
    pub(crate) frames_before: u64,
    /// When the sockets had been bound, in nanoseconds since the epoch.
    pub(crate) attached: u64,
}

/// Opens the sockets of `spec` in the calling thread's namespace.
pub(crate) fn open(spec: &Spec) -> Result<Sockets, Refusal> {
    // The second hears from here on: what comes and goes before somebody reads it is told as well.
    let netlink = [netlink::open()?, netlink::Changes::open()?.into()];
    let mut missing = Vec::new();
    let indices = match &spec.scope {
        Scope::Namespace => vec![0],
        Scope::Index(index) => vec![*index],
        Scope::EachInterface => {
            let found = interfaces()?;
            found.iter().filter(|interface| interface.up).map(|i| i.index).collect()
        }
        Scope::Named(names) => {
            let found = interfaces()?;
            let index_of = |name: &String| found.iter().find(|i| i.name == *name).map(|i| i.index);
            missing = names.iter().filter(|name| index_of(name).is_none()).cloned().collect();
            names.iter().filter_map(index_of).collect()
        }
    };
    if indices.len() > MAX_SOCKETS {
        let message = format!("{} interfaces: more than {MAX_SOCKETS}", indices.len());
        return Err(Refusal::new(Reason::Failed, message));
    }
    let geometry = shared_among(spec.geometry, indices.len());
    let mut program_refused = false;
    let mut sockets = Vec::with_capacity(indices.len());
    for index in indices {
        let (socket, refused) = prepare(index, spec, &geometry)?;
        program_refused |= refused;
        sockets.push((index, socket));
    }
    // One is enough for all. Where it is not known whether others listen, they do.
    let own: Vec<_> = sockets.iter().map(|(_, socket)| socket).collect();
    if let Some(first) = own.first()
        && PacketSocket::is_accompanied(&own).unwrap_or(true)
    {
        first.share_stamps()?;
    }
    let frames_before = sys::netns::frames()?;
    for (index, socket) in &sockets {
        socket.bind((*index != 0).then_some(*index))?;
    }
    let attached = UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
    let attached = u64::try_from(attached).unwrap_or(u64::MAX);
    let packet = sockets.into_iter().map(|(index, socket)| (index, socket.into_fd())).collect();
    Ok(Sockets { packet, geometry, program_refused, missing, netlink, frames_before, attached })
}

fn interfaces() -> Result<Vec<Interface>, sys::Error> {
    Netlink::open()?.interfaces()
}

/// A socket that only has to be bound. In this order nothing is ever in the ring that the program
/// refuses: the socket is deaf until then.
fn prepare(
    index: u32,
    spec: &Spec,
    geometry: &Geometry,
) -> Result<(PacketSocket, bool), sys::Error> {
    let socket = PacketSocket::open()?;
    let refused = match socket.attach(&spec.program) {
        Err(sys::Error::ProgramTooLong { .. }) => {
            socket.attach(&spec.fallback)?;
            true
        }
        other => {
            other?;
            false
        }
    };
    socket.make_ring(geometry)?;
    if spec.promiscuous && index != 0 {
        socket.set_promiscuous(index)?;
    }
    if spec.promiscuous && index == 0 {
        for interface in interfaces()?.iter().filter(|interface| interface.up) {
            socket.set_promiscuous(interface.index)?;
        }
    }
    Ok((socket, refused))
}

/// A namespace's ring memory is divided among its sockets, and never below what works.
fn shared_among(whole: Geometry, sockets: usize) -> Geometry {
    match u32::try_from(sockets) {
        Ok(0 | 1) | Err(_) => whole,
        Ok(sockets) => {
            let bytes = u32::try_from(whole.bytes()).unwrap_or(Geometry::MAX_RING);
            Geometry::of_size(bytes / sockets, whole.retire())
        }
    }
}
