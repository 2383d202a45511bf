//! The client's side of the opener.

use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Child,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use model::NetnsId;
use sys::{
    channel::Channel,
    companion,
    packet::PacketSocket,
    poll::{Poller, Trigger},
    process::PidFd,
    ring::Geometry,
};

use crate::{
    codec::Decoder,
    error::{Error, Reason},
    open::MAX_SOCKETS,
    request::{Place, Request, Spec},
    server::ARGV0,
};

/// How long the opener may take to end.
const END_LIMIT: Duration = Duration::from_millis(500);

/// A running opener process. It ends when this is dropped.
#[derive(Debug)]
pub struct Opener {
    /// One request at a time: an answer has no number.
    channel: Mutex<Option<Channel>>,
    child: Child,
}

/// Sockets in a namespace.
#[derive(Debug)]
pub struct Opened {
    /// The namespace.
    pub netns: NetnsId,
    /// Bound packet sockets with a ring each, and the interface that each listens on, `None` for
    /// all.
    pub sockets: Vec<(Option<u32>, PacketSocket)>,
    /// The rings' geometry.
    pub geometry: Geometry,
    /// The kernel refused the program for its length and runs the fallback.
    pub program_refused: bool,
    /// Interfaces that were named and are not there.
    pub missing: Vec<String>,
    /// Netlink sockets of the namespace: one to ask, one to be told of changes.
    pub netlink: [OwnedFd; 2],
    /// Readable once the process through which the namespace was found has ended.
    pub pidfd: Option<OwnedFd>,
}

/// A look at a namespace, without a capture.
#[derive(Debug)]
pub struct Seen {
    /// The namespace.
    pub netns: NetnsId,
    /// A netlink socket of it.
    pub netlink: OwnedFd,
}

impl Opener {
    /// Starts the opener with the rights that this process has now: to be called before any
    /// thread exists, and before rights are given up.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(engine_socket: Option<&str>) -> Result<Self, Error> {
        let (child, channel) = companion::start(OsStr::new(ARGV0)).map_err(Error::Channel)?;
        let opener = Self { channel: Mutex::new(Some(channel)), child };
        let hello = Request::Hello { engine_socket: engine_socket.map(str::to_owned) };
        opener.ask(&hello)?;
        Ok(opener)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Opens packet sockets in a namespace.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason; [`Error::Gone`] when the opener has ended.
    pub fn open(&self, place: Place, spec: Spec) -> Result<Opened, Error> {
        let retire = spec.geometry.retire();
        let answer = self.ask(&Request::Open { place, spec })?;
        let mut from = Decoder::new(&answer.bytes);
        let head = (|| {
            let netns = NetnsId { dev: from.u64()?, ino: from.u64()? };
            let program_refused = from.bool()?;
            let geometry = Geometry::from_parts(from.u32()?, from.u32()?, retire)?;
            let has_pidfd = from.bool()?;
            let indices = from.each(MAX_SOCKETS, Decoder::u32)?;
            let missing = from.each(MAX_SOCKETS, Decoder::text)?;
            from.finish((netns, program_refused, geometry, has_pidfd, indices, missing))
        })();
        let (netns, program_refused, geometry, has_pidfd, indices, missing) =
            head.ok_or(Error::Unreadable)?;
        let mut descriptors = answer.descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(Error::Unreadable);
        let netlink = [next()?, next()?];
        let pidfd = if has_pidfd { Some(next()?) } else { None };
        let sockets = indices
            .into_iter()
            .map(|index| Ok(((index != 0).then_some(index), PacketSocket::from_fd(next()?))))
            .collect::<Result<_, Error>>()?;
        Ok(Opened { netns, sockets, geometry, program_refused, missing, netlink, pidfd })
    }

    /// Looks at a namespace: its identity, and a netlink socket to ask for its interfaces.
    ///
    /// # Errors
    /// As for [`Opener::open`].
    pub fn look(&self, place: Place) -> Result<Seen, Error> {
        let answer = self.ask(&Request::Look { place })?;
        let mut from = Decoder::new(&answer.bytes);
        let netns = (|| {
            let netns = NetnsId { dev: from.u64()?, ino: from.u64()? };
            from.finish(netns)
        })();
        let netlink = answer.descriptors.into_iter().next().ok_or(Error::Unreadable)?;
        Ok(Seen { netns: netns.ok_or(Error::Unreadable)?, netlink })
    }

    /// Connects to the engine's socket, with the rights that this process gave up.
    ///
    /// # Errors
    /// As for [`Opener::open`].
    pub fn dial(&self) -> Result<UnixStream, Error> {
        let answer = self.ask(&Request::Dial)?;
        answer.descriptors.into_iter().next().map(UnixStream::from).ok_or(Error::Unreadable)
    }

    /// Asks, waits for the answer, and splits off its first byte.
    fn ask(&self, request: &Request) -> Result<sys::channel::Message, Error> {
        let gone = |error| match error {
            sys::Error::PeerGone => Error::Gone,
            other => Error::Channel(other),
        };
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = channel.as_ref().ok_or(Error::Gone)?;
        channel.send(&request.encode(), &[]).map_err(gone)?;
        let mut answer = channel.receive().map_err(gone)?;
        let rest = answer.bytes.split_off(1.min(answer.bytes.len()));
        match answer.bytes.first() {
            Some(1) => {
                answer.bytes = rest;
                Ok(answer)
            }
            Some(0) => Err(refusal(&rest).unwrap_or(Error::Unreadable)),
            _ => Err(Error::Unreadable),
        }
    }
}

fn refusal(bytes: &[u8]) -> Option<Error> {
    let mut from = Decoder::new(bytes);
    let reason = Reason::from_code(from.u8()?)?;
    let errno = i32::try_from(from.u32()?).ok().filter(|errno| *errno != 0);
    let message = from.text()?;
    from.finish(Error::Refused { reason, message, errno })
}

impl Drop for Opener {
    fn drop(&mut self) {
        // Not a signal: it may be another user's process by now. The end of the channel ends it.
        self.channel.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // One that is stopped is left behind: it ends with us.
        let ended = PidFd::open(self.child.id()).and_then(|pidfd| {
            let mut poller = Poller::new()?;
            poller.add(&pidfd, 0, Trigger::Level)?;
            Ok(!poller.wait(Some(END_LIMIT))?.is_empty())
        });
        if matches!(ended, Ok(true)) {
            let _ = self.child.wait();
        }
    }
}
