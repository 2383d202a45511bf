//! The client's side of the opener.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::Child,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use model::NetnsId;
use sys::{
    channel::Channel,
    companion,
    inotify::Watch,
    packet::PacketSocket,
    poll::{Poller, Trigger},
    process::{PidFd, is_container_id},
    ring::Geometry,
    userns::UserNs,
};

use crate::{
    codec::Decoder,
    directories::MAX_NAMES,
    error::{Error, Refusal},
    open::MAX_SOCKETS,
    proof,
    request::{EngineAt, MAX_PLACES, Place, Request, Spec},
    server::ARGV0,
};

/// How long an opener in a container may take for the answer to its greeting.
const GREETS_WITHIN: Duration = Duration::from_secs(10);
/// How long the opener may take to end.
const END_LIMIT: Duration = Duration::from_millis(500);

/// A running opener process. It ends when this is dropped.
#[derive(Debug)]
pub struct Opener {
    /// One request at a time: an answer has no number.
    channel: Mutex<Option<Channel>>,
    process: Process,
    /// The container in whose network namespace it is, and beyond which it cannot reach.
    inside: Option<String>,
}

/// The opener's process.
#[derive(Debug)]
enum Process {
    /// A child of this one.
    Child(Child),
    /// Somebody else's, by its number; 0 where it is in no pid namespace of ours.
    Other(u32),
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
    /// Readable once the process through which the namespace was found has ended; for a
    /// [`Place::Sandbox`] the process that named the container.
    pub pidfd: Option<OwnedFd>,
    /// The container to which a [`Place::Sandbox`] belongs, by its whole id: what stands in the
    /// cgroup of the process that entered the namespace last. `None` when no such process was
    /// found (yet): [`Opener::look`] asks again. Whether it is a container of this engine is for
    /// the engine to say.
    pub container: Option<String>,
    /// When the namespace was made, in nanoseconds since the epoch, as exactly as the system tells;
    /// `None` for the host.
    ///
    /// The kernel keeps no time of birth. What it keeps is since when a namespace has been mounted
    /// on a file or held open. For an engine's sandbox that is the moment at which the engine
    /// mounted it, exact to the timer interrupt: up to 10 ms too early. The namespace itself may be
    /// older, as docker makes it with the container's first process and mounts it 50 to 200 ms
    /// later, but no interface is in it before. A file's or directory's own times tell less: the
    /// file is hidden by what is mounted on it, and the directory's change with every other file.
    ///
    /// A namespace that has been mounted nowhere, and that was found through a process, was made
    /// when that process was started, or before: it is up to 10 ms too early as well. One that was
    /// mounted nowhere and found through a path of `/proc` has the moment of this very look.
    pub created: Option<u64>,
    /// Frames that the namespace's interfaces, loopback aside, had received and sent when the
    /// sockets were about to be bound: these were missed.
    pub frames_before: u64,
    /// When the sockets had been bound, in nanoseconds since the epoch.
    pub attached: u64,
}

impl Opened {
    fn take(
        from: &mut Decoder<'_>,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
        retire: Duration,
    ) -> Option<Self> {
        let Identity { netns, created, container, has_pidfd } = Identity::take(from)?;
        let program_refused = from.bool()?;
        let geometry = Geometry::from_parts(from.u32()?, from.u32()?, retire)?;
        let (frames_before, attached) = (from.u64()?, from.u64()?);
        let indices = from.each(MAX_SOCKETS, Decoder::u32)?;
        let missing = from.each(MAX_SOCKETS, Decoder::text)?;
        let netlink = [descriptors.next()?, descriptors.next()?];
        let pidfd = if has_pidfd { Some(descriptors.next()?) } else { None };
        let sockets = indices
            .into_iter()
            .map(|index| {
                let socket = PacketSocket::from_fd(descriptors.next()?);
                Some(((index != 0).then_some(index), socket))
            })
            .collect::<Option<_>>()?;
        Some(Self {
            netns,
            sockets,
            geometry,
            program_refused,
            missing,
            netlink,
            pidfd,
            container,
            created,
            frames_before,
            attached,
        })
    }
}

/// A look at a namespace, without a capture.
#[derive(Debug)]
pub struct Seen {
    /// The namespace.
    pub netns: NetnsId,
    /// A netlink socket of it.
    pub netlink: OwnedFd,
    /// As [`Opened::pidfd`].
    pub pidfd: Option<OwnedFd>,
    /// As [`Opened::container`], by the process that has been there for longest: by now another
    /// container may have joined the namespace.
    pub container: Option<String>,
    /// As [`Opened::created`].
    pub created: Option<u64>,
}

/// A directory of the engine that is watched.
#[derive(Debug)]
pub struct Watched {
    /// What happens in it. Docker makes a sandbox's file when the namespace is about to be mounted
    /// on it, and removes it within a minute after it unmounted the namespace: that a container has
    /// ended is told sooner by [`Opened::pidfd`], and by [`Opener::look`], which is refused then.
    pub watch: Watch,
    /// Its number, for [`Place::Sandbox`].
    pub directory: u32,
    /// Files that were there already, at most 2,048. One that came at the same time is told by the
    /// watch as well.
    pub names: Vec<String>,
}

/// What an answer tells of a namespace.
#[derive(Debug)]
struct Identity {
    netns: NetnsId,
    created: Option<u64>,
    container: Option<String>,
    has_pidfd: bool,
}

impl Identity {
    fn take(from: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            netns: take_netns(from)?,
            created: from.option(Decoder::u64)?,
            container: from.option(|from| from.text().filter(|id| is_container_id(id)))?,
            has_pidfd: from.bool()?,
        })
    }
}

impl Opener {
    /// Starts the opener with the rights that this process has now: to be called before any
    /// thread exists, and before rights are given up.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(engine_socket: Option<&str>) -> Result<Self, Error> {
        let (child, channel) = companion::start(OsStr::new(ARGV0)).map_err(Error::Channel)?;
        let opener = Self::new(channel, Process::Child(child));
        let engine = match engine_socket {
            Some(path) => EngineAt::Socket(path.to_owned()),
            None => EngineAt::Unknown,
        };
        opener.ask(&Request::Hello { engine })?;
        Ok(opener)
    }

    /// The same in a user namespace that is this user's, for what a rootless engine runs: the opener
    /// has no right outside of it.
    ///
    /// # Errors
    /// When the process cannot be started; [`Error::Refused`] where the user namespace cannot be
    /// joined.
    ///
    /// # Privileges
    /// None, for the owner of the user namespace.
    pub fn start_among(users: &UserNs, engine: EngineAt) -> Result<Self, Error> {
        let (child, channel) = companion::start(OsStr::new(ARGV0)).map_err(Error::Channel)?;
        let opener = Self::new(channel, Process::Child(child));
        opener.ask_with(None, &Request::Join, &[users.as_fd()])?;
        opener.ask(&Request::Hello { engine })?;
        Ok(opener)
    }

    /// Takes an opener that runs already, in a helper container, and has connected to us. Whether it
    /// is the one that was meant is for the caller to find out first.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is of another release; [`Error::Gone`] when it has ended;
    /// [`Error::Silent`].
    pub fn over(channel: Channel, engine: EngineAt) -> Result<Self, Error> {
        let pid = sys::process::peer(&channel).map_err(Error::Channel)?.unwrap_or(0);
        let opener = Self::new(channel, Process::Other(pid));
        opener.ask_with(Some(GREETS_WITHIN), &Request::Hello { engine }, &[])?;
        Ok(opener)
    }

    /// The same with an opener that is inside of one container's network namespace, and has no right
    /// to enter any other: it opens in a [`Place::Container`] of this whole id and nowhere else. That
    /// the container's process is the one that the engine named is proved here.
    ///
    /// # Errors
    /// As for [`Opener::over`].
    pub fn over_inside(channel: Channel, container: String) -> Result<Self, Error> {
        let mut opener = Self::over(channel, EngineAt::Unknown)?;
        opener.inside = Some(container);
        Ok(opener)
    }

    fn new(channel: Channel, process: Process) -> Self {
        Self { channel: Mutex::new(Some(channel)), process, inside: None }
    }

    /// Its process id; 0 where it is in no pid namespace of ours.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Other(pid) => *pid,
        }
    }

    /// Opens packet sockets in a namespace.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason; [`Error::Gone`] when the opener has ended.
    pub fn open(&self, place: Place, spec: Spec) -> Result<Opened, Error> {
        let Some(inside) = &self.inside else {
            return self.open_all(vec![place], spec)?.pop().ok_or(Error::Unreadable)?;
        };
        let process = proof::process_inside(&place, inside)?;
        let opened = self.open_all(vec![Place::Host], spec)?.pop().ok_or(Error::Unreadable)??;
        Ok(Opened { pidfd: Some(process.into()), ..opened })
    }

    /// Opens packet sockets in several namespaces at once, sixteen at a time, and answers in their
    /// order. That takes hardly longer than one: making a ring is waiting for the kernel, 1 to
    /// 30 ms, and all of them wait together.
    ///
    /// # Errors
    /// [`Error::Gone`] when the opener has ended. What became of each is in the list, as for
    /// [`Opener::open`]: one for whose sockets there was no room in the answer is
    /// [`Reason::NotReady`](crate::Reason::NotReady).
    pub fn open_all(
        &self,
        places: Vec<Place>,
        spec: Spec,
    ) -> Result<Vec<Result<Opened, Error>>, Error> {
        let mut opened = Vec::with_capacity(places.len());
        for places in places.chunks(MAX_PLACES) {
            let request = Request::Open { places: places.to_vec(), spec: spec.clone() };
            let answer = self.ask(&request)?;
            let mut descriptors = answer.descriptors.into_iter();
            let retire = spec.geometry.retire();
            opened.extend(each_of(&answer.bytes, places.len(), |from| {
                Opened::take(from, &mut descriptors, retire)
            })?);
        }
        Ok(opened)
    }

    /// Tells which namespaces these are now, in their order, and looks at nothing else.
    ///
    /// # Errors
    /// As for [`Opener::open_all`].
    pub fn identify_all(&self, places: &[Place]) -> Result<Vec<Result<NetnsId, Error>>, Error> {
        let mut identities = Vec::with_capacity(places.len());
        // Half of them have room even where each path is the longest.
        for places in places.chunks(MAX_PLACES / 2) {
            let answer = self.ask(&Request::Identify { places: places.to_vec() })?;
            identities.extend(each_of(&answer.bytes, places.len(), take_netns)?);
        }
        Ok(identities)
    }

    /// Looks at a namespace: its identity, and a netlink socket to ask for its interfaces.
    ///
    /// # Errors
    /// As for [`Opener::open`].
    pub fn look(&self, place: Place) -> Result<Seen, Error> {
        let answer = self.ask(&Request::Look { place })?;
        let mut from = Decoder::new(&answer.bytes);
        let identity = Identity::take(&mut from).and_then(|identity| from.finish(identity));
        let Identity { netns, created, container, has_pidfd } =
            identity.ok_or(Error::Unreadable)?;
        let mut descriptors = answer.descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(Error::Unreadable);
        let netlink = next()?;
        let pidfd = if has_pidfd { Some(next()?) } else { None };
        Ok(Seen { netns, netlink, pidfd, container, created })
    }

    /// Watches the directory in which the engine keeps its sandboxes' files, a path that ends in
    /// `/netns`, as the engine sees it: looked up below the root directory of the process that
    /// listens on the engine's socket, which may have mounts of its own. Where that process is not
    /// to be seen, or no engine's socket is known, it is the opener's own root directory.
    ///
    /// Where systemd made the socket it is systemd's root: a service without mounts of its own,
    /// which docker's is, sees the same.
    ///
    /// A directory that is watched again is looked up anew under the same number: to be done when
    /// the engine came back, or [`sys::inotify::Event::Gone`] was told.
    ///
    /// # Errors
    /// As for [`Opener::open`]; when 8 other directories are watched already.
    pub fn watch(&self, directory: &str) -> Result<Watched, Error> {
        let answer = self.ask(&Request::Watch { directory: directory.to_owned() })?;
        let mut from = Decoder::new(&answer.bytes);
        let body = (|| {
            let directory = from.u32()?;
            let names = from.each(MAX_NAMES, Decoder::text)?;
            from.finish((directory, names))
        })();
        let (directory, names) = body.ok_or(Error::Unreadable)?;
        let watch = answer.descriptors.into_iter().next().map(Watch::from_fd);
        Ok(Watched { watch: watch.ok_or(Error::Unreadable)?, directory, names })
    }

    /// Waits for a directory that [`Opener::watch`] found missing: what is given back is readable
    /// once it is worth to call that again. Docker makes its directory with its first container.
    ///
    /// Only the last component of the path may be missing.
    ///
    /// # Errors
    /// As for [`Opener::open`]; when 8 others are waited for already.
    pub fn expect(&self, directory: &str) -> Result<OwnedFd, Error> {
        let answer = self.ask(&Request::Expect { directory: directory.to_owned() })?;
        answer.descriptors.into_iter().next().ok_or(Error::Unreadable)
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
        self.ask_with(None, request, &[])
    }

    /// The same with descriptors; where there is a limit, no longer than that is waited.
    fn ask_with(
        &self,
        limit: Option<Duration>,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<sys::channel::Message, Error> {
        let gone = |error| match error {
            sys::Error::PeerGone => Error::Gone,
            other => Error::Channel(other),
        };
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = channel.as_ref().ok_or(Error::Gone)?;
        channel.send(&request.encode(), descriptors).map_err(gone)?;
        if let Some(limit) = limit {
            let mut poller = Poller::new().map_err(Error::Channel)?;
            poller.add(channel, 0, Trigger::Level).map_err(Error::Channel)?;
            if poller.wait(Some(limit)).map_err(Error::Channel)?.is_empty() {
                return Err(Error::Silent { limit });
            }
        }
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

/// An answer that tells of so many places, of each what was asked for or why not.
fn each_of<T>(
    bytes: &[u8],
    count: usize,
    mut take: impl FnMut(&mut Decoder<'_>) -> Option<T>,
) -> Result<Vec<Result<T, Error>>, Error> {
    let mut from = Decoder::new(bytes);
    let all = from.each(count, |from| {
        if from.bool()? {
            take(from).map(Ok)
        } else {
            Refusal::take(from).map(|refusal| Err(refusal.into()))
        }
    });
    let all = all.and_then(|all| from.finish(all)).ok_or(Error::Unreadable)?;
    if all.len() == count { Ok(all) } else { Err(Error::Unreadable) }
}

fn take_netns(from: &mut Decoder<'_>) -> Option<NetnsId> {
    Some(NetnsId { dev: from.u64()?, ino: from.u64()? })
}

fn refusal(bytes: &[u8]) -> Option<Error> {
    let mut from = Decoder::new(bytes);
    let refusal = Refusal::take(&mut from)?;
    from.finish(refusal.into())
}

impl Drop for Opener {
    fn drop(&mut self) {
        // Not a signal: it may be another user's process by now. The end of the channel ends it.
        self.channel.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Process::Child(child) = &mut self.process else { return };
        // One that is stopped is left behind: it ends with us.
        let ended = PidFd::open(child.id()).and_then(|pidfd| {
            let mut poller = Poller::new()?;
            poller.add(&pidfd, 0, Trigger::Level)?;
            Ok(!poller.wait(Some(END_LIMIT))?.is_empty())
        });
        if matches!(ended, Ok(true)) {
            let _ = child.wait();
        }
    }
}
