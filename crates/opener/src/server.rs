//! The opener's own side: read a request, do it, answer.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use sys::{
    channel::Channel,
    companion,
    privileges::{self, Capability},
    process,
};

use crate::{
    codec::Encoder,
    error::{Reason, Refusal},
    open::{self, Sockets},
    proof,
    request::Request,
};

/// `argv[0]` of the opener process.
pub const ARGV0: &str = "whaletap-opener";

/// What the opener keeps: entering namespaces, opening packet sockets in them, and looking at
/// processes of other users to find them.
const KEPT: [Capability; 3] = [Capability::SYS_ADMIN, Capability::NET_RAW, Capability::SYS_PTRACE];

/// The opener's main: serves requests until the client closes its end.
///
/// # Errors
/// When the process was not started as an opener, or could not give up the rights that it does
/// not need.
pub fn serve() -> Result<(), sys::Error> {
    let channel = companion::inherited()?;
    privileges::keep_capabilities(&KEPT)?;
    privileges::no_new_privs()?;
    process::die_with_parent()?;
    let mut engine_socket = None;
    loop {
        let message = match channel.receive() {
            Ok(message) => message,
            Err(sys::Error::PeerGone) => return Ok(()),
            Err(error) => return Err(error),
        };
        let outcome = match Request::decode(&message.bytes) {
            Some(Request::Hello { engine_socket: path }) => {
                engine_socket = path;
                Ok(Reply::default())
            }
            Some(request) => answer(&request, engine_socket.as_deref()),
            None => Err(Refusal::new(Reason::Failed, "the request does not read")),
        };
        match send(&channel, outcome) {
            Err(sys::Error::PeerGone) => return Ok(()),
            other => other?,
        }
    }
}

/// The body of an answer, and the descriptors that go with it.
#[derive(Debug, Default)]
struct Reply {
    body: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

fn answer(request: &Request, engine_socket: Option<&str>) -> Result<Reply, Refusal> {
    match request {
        Request::Hello { .. } => Ok(Reply::default()),
        Request::Open { place, spec } => {
            let found = proof::find(place)?;
            let sockets = found.netns.visit(|| open::open(spec))??;
            Ok(opened(found, sockets))
        }
        Request::Look { place } => {
            let found = proof::find(place)?;
            let descriptors = found.netns.visit(open::look)??.into();
            let id = found.netns.id();
            let body = Encoder::default().u64(id.dev).u64(id.ino).finish();
            Ok(Reply { body, descriptors })
        }
        Request::Dial => dial(engine_socket),
    }
}

fn opened(found: proof::Proved, sockets: Sockets) -> Reply {
    let id = found.netns.id();
    let body = Encoder::default()
        .u64(id.dev)
        .u64(id.ino)
        .bool(sockets.program_refused)
        .u32(sockets.geometry.block_bytes())
        .u32(sockets.geometry.blocks())
        .bool(found.process.is_some())
        .each(&sockets.packet, |out, (index, _)| out.u32(*index))
        .each(&sockets.missing, |out, name| out.text(name))
        .finish();
    let packet = sockets.packet.into_iter().map(|(_, fd)| fd);
    let descriptors =
        sockets.netlink.into_iter().chain(found.process.map(Into::into)).chain(packet).collect();
    Reply { body, descriptors }
}

fn dial(engine_socket: Option<&str>) -> Result<Reply, Refusal> {
    let Some(path) = engine_socket else {
        return Err(Refusal::new(Reason::Failed, "no engine socket was named"));
    };
    let stream = UnixStream::connect(Path::new(path)).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::PermissionDenied => Reason::NotPermitted,
            io::ErrorKind::NotFound => Reason::NotFound,
            _ => Reason::Failed,
        };
        let errno = error.raw_os_error();
        Refusal { errno, ..Refusal::new(reason, format_args!("connect {path}: {error}")) }
    })?;
    Ok(Reply { body: Vec::new(), descriptors: vec![stream.into()] })
}

fn send(channel: &Channel, outcome: Result<Reply, Refusal>) -> Result<(), sys::Error> {
    match outcome {
        Ok(reply) => {
            let mut bytes = Encoder::default().bool(true).finish();
            bytes.extend_from_slice(&reply.body);
            let descriptors: Vec<_> = reply.descriptors.iter().map(AsFd::as_fd).collect();
            channel.send(&bytes, &descriptors)
        }
        Err(Refusal { reason, message, errno }) => {
            let errno = errno.unwrap_or(0).unsigned_abs();
            let out = Encoder::default().bool(false).u8(reason.code()).u32(errno).text(&message);
            channel.send(&out.finish(), &[])
        }
    }
}
