//! The opener's own side: read a request, do it, answer.

use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
    thread,
};

use model::NetnsId;
use sys::{
    channel::{Channel, MAX_DESCRIPTORS, MAX_MESSAGE},
    companion,
    mount::Root,
    netns::Netns,
    poll::{Poller, Trigger},
    privileges::{self, Capability},
    process::{self, PidFd},
    userns::UserNs,
};

use crate::{
    codec::Encoder,
    directories::{Begun, Directories},
    engine::Engine,
    error::{Reason, Refusal},
    expected::Expected,
    open::{self, Sockets},
    proof::{self, Paths, Proved},
    request::{PROTOCOL, Place, Request, Spec},
    resident::{self, Age},
};

/// `argv[0]` of the opener process.
pub const ARGV0: &str = "whaletap-opener";

/// What the opener keeps: entering namespaces, opening packet sockets in them, and looking at
/// processes of other users to find them.
const KEPT: [Capability; 3] = [Capability::SYS_ADMIN, Capability::NET_RAW, Capability::SYS_PTRACE];

/// What it keeps beside that where the engine's socket, and the directory in which it has its
/// namespaces, are another user's than its own: a rootless engine's, for root.
const TO_REACH_OTHERS: [Capability; 1] = [Capability::DAC_OVERRIDE];

/// Room for a refusal in an answer, in bytes: its characters, of up to four bytes, and numbers. All
/// of them together never fill it.
const REFUSAL: usize = 3 * 1024;

/// What the opener waits for: requests …
const KEY_REQUEST: u64 = 0;
/// … and news of directories in which one of the engine's is expected.
const KEY_EXPECTED: u64 = 1;

/// The opener's main: serves requests until the client closes its end.
///
/// # Errors
/// When the process was not started as an opener, or could not give up the rights that it does
/// not need.
pub fn serve() -> Result<(), sys::Error> {
    serve_child(|| Paths::Own)
}

/// The same for a client that runs in a container and is asked for what is on its machine: paths are
/// looked up below the root directory of the first process, which is the machine's where the container
/// has its pid namespace. Where that directory may not be looked at, it is our own.
///
/// # Errors
/// As for [`serve`].
pub fn serve_machine() -> Result<(), sys::Error> {
    serve_child(|| {
        let first = PidFd::open(1).ok().filter(|first| Root::of(first).is_ok());
        first.map_or(Paths::Own, |first| Paths::Client(Some(first)))
    })
}

fn serve_child(paths: impl FnOnce() -> Paths) -> Result<(), sys::Error> {
    let channel = companion::inherited()?;
    privileges::keep_capabilities(&[&KEPT[..], &TO_REACH_OTHERS].concat())?;
    privileges::no_new_privs()?;
    process::die_with_parent()?;
    Server::new(paths())?.serve(&channel)
}

/// The main of an opener in a helper container, which has another root directory than its client:
/// connects to the socket on which its client [listens](sys::channel::listen), and serves requests until
/// the client closes its end.
///
/// Of the capabilities that entering namespaces takes it uses those that the container was given: in
/// a target's own namespace `CAP_NET_RAW` is enough for [`Place::Host`].
///
/// # Errors
/// When nobody listens there; when rights that are not needed could not be given up.
pub fn serve_at(socket: &Path) -> Result<(), sys::Error> {
    privileges::keep_capabilities(&KEPT)?;
    privileges::no_new_privs()?;
    let channel = Channel::connect(socket)?;
    let client = process::peer(&channel)?.and_then(|pid| PidFd::open(pid).ok());
    Server::new(Paths::Client(client))?.serve(&channel)
}

/// The body of an answer, and the descriptors that go with it.
#[derive(Debug, Default)]
struct Reply {
    body: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// What the opener remembers from one request to the next.
#[derive(Debug)]
struct Server {
    /// `None` until the client has said where it is, which it says once.
    engine: Option<Engine>,
    directories: Directories,
    paths: Paths,
    expected: Expected,
    news: Poller,
}

impl Server {
    fn new(paths: Paths) -> Result<Self, sys::Error> {
        let (engine, news) = (None, Poller::new()?);
        let (directories, expected) = (Directories::default(), Expected::default());
        Ok(Self { engine, directories, paths, expected, news })
    }

    fn serve(&mut self, channel: &Channel) -> Result<(), sys::Error> {
        self.news.add(channel, KEY_REQUEST, Trigger::Level)?;
        loop {
            let keys = self.news.wait(None)?;
            if keys.contains(&KEY_EXPECTED) {
                self.expected.look();
            }
            if !keys.contains(&KEY_REQUEST) {
                continue;
            }
            let message = match channel.receive() {
                Ok(message) => message,
                Err(sys::Error::PeerGone) => return Ok(()),
                Err(error) => return Err(error),
            };
            let outcome = match Request::decode(&message.bytes) {
                Some(Request::Join) => self.join(message.descriptors),
                Some(request) => self.answer(request),
                None => Err(unreadable(&message.bytes)),
            };
            match send(channel, outcome) {
                Err(sys::Error::PeerGone) => return Ok(()),
                other => other?,
            }
        }
    }

    /// Moves this process into a user namespace. Every right that it has is one in there from then
    /// on.
    fn join(&mut self, descriptors: Vec<OwnedFd>) -> Result<Reply, Refusal> {
        // Of root nothing is to be had in there that it has not already, and whoever has begun to work
        // stays where it is.
        if self.engine.is_some() || privileges::own_uid() == 0 {
            return Err(Refusal::new(Reason::Failed, "this opener joins no user namespace"));
        }
        let users = descriptors.into_iter().next();
        let users = users.ok_or_else(|| Refusal::new(Reason::Failed, "no user namespace came"))?;
        UserNs::from_fd(users)?.join()?;
        privileges::keep_capabilities(&KEPT)?;
        Ok(Reply::default())
    }

    fn answer(&mut self, request: Request) -> Result<Reply, Refusal> {
        match request {
            Request::Join => Err(Refusal::new(Reason::Failed, "no user namespace came")),
            Request::Hello { .. } if self.engine.is_some() => {
                Err(Refusal::new(Reason::Failed, "where the engine is has been told"))
            }
            Request::Hello { engine } => {
                let engine = Engine::new(engine);
                if !is_of_another(&engine) {
                    privileges::keep_capabilities(&KEPT)?;
                }
                self.engine = Some(engine);
                Ok(Reply::default())
            }
            Request::Open { places, spec } => Ok(together(self.open_all(&places, &spec))),
            Request::Look { place } => {
                let found = self.find(&place)?;
                let netlink = visit(&place, &found.netns, sys::netlink::open)??;
                let identity = Identity::of(found, &place, Age::Oldest, self.engine()?);
                let body = identity.put(Encoder::default()).finish();
                let descriptors = [netlink].into_iter().chain(identity.pidfd()).collect();
                Ok(Reply { body, descriptors })
            }
            Request::Identify { places } => {
                let identities = places.iter().map(|place| Ok(named(self.find(place)?.netns.id())));
                Ok(together(identities.collect()))
            }
            Request::Dial => {
                let stream = self.engine()?.dial()?;
                Ok(Reply { body: Vec::new(), descriptors: vec![stream.into()] })
            }
            Request::Watch { directory } => {
                let Begun { watch, directory, names } =
                    self.directories.watch(&directory, told(&self.engine)?)?;
                let body =
                    Encoder::default().u32(directory).each(&names, |out, name| out.text(name));
                Ok(Reply { body: body.finish(), descriptors: vec![watch.into()] })
            }
            Request::Expect { directory } => {
                let news = (&self.news, KEY_EXPECTED);
                let told = self.expected.expect(&directory, told(&self.engine)?, news)?;
                Ok(Reply { body: Vec::new(), descriptors: vec![told.into()] })
            }
        }
    }
}

impl Server {
    /// Opens all at once, because each waits: the kernel lets a grace period of RCU pass before a
    /// ring is there (`packet_set_ring` of `net/packet/af_packet.c`), 1 to 30 ms, and one is enough
    /// for all that wait.
    fn open_all(&self, places: &[Place], spec: &Spec) -> Vec<Result<Reply, Refusal>> {
        if let [place] = places {
            return vec![self.open(place, spec)];
        }
        thread::scope(|scope| {
            let spawn = |place| {
                let work = move || self.open(place, spec);
                thread::Builder::new().spawn_scoped(scope, work).map_err(sys::Error::call("clone"))
            };
            let threads: Vec<_> = places.iter().map(spawn).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err(sys::Error::ThreadDied.into()))
            };
            threads.into_iter().map(|thread| join(thread?)).collect()
        })
    }

    fn open(&self, place: &Place, spec: &Spec) -> Result<Reply, Refusal> {
        let found = self.find(place)?;
        let sockets = visit(place, &found.netns, || open::open(spec))??;
        // Attached first, asked afterwards.
        Ok(opened(Identity::of(found, place, Age::Newest, self.engine()?), sockets))
    }

    fn engine(&self) -> Result<&Engine, Refusal> {
        told(&self.engine)
    }

    /// Finds a namespace in which this process can have rights.
    fn find(&self, place: &Place) -> Result<Proved, Refusal> {
        let found = proof::find(place, &self.directories, &self.paths, self.engine()?)?;
        if found.netns.is_of_our_users() {
            return Ok(found);
        }
        let netns = found.netns.id();
        let message = format_args!(
            "network namespace {netns} is not the engine's, whose rights are all that there is here, \
             but the machine's or somebody else's: entering it takes root"
        );
        Err(Refusal::new(Reason::NotPermitted, message))
    }
}

/// The engine, once it was told where that is.
fn told(engine: &Option<Engine>) -> Result<&Engine, Refusal> {
    let untold = || Refusal::new(Reason::Failed, "where the engine is was not told");
    engine.as_ref().ok_or_else(untold)
}

/// Whether the engine's socket is there, and another user's than this process.
fn is_of_another(engine: &Engine) -> bool {
    let Some(path) = engine.socket() else { return false };
    fs::metadata(path).is_ok_and(|socket| socket.uid() != privileges::own_uid())
}

/// Does something inside a namespace. To enter one's own takes rights, too, which a helper inside of a
/// target does not have.
fn visit<T: Send>(
    place: &Place,
    netns: &Netns,
    work: impl FnOnce() -> T + Send,
) -> Result<T, sys::Error> {
    match place {
        Place::Host => Ok(work()),
        _ => netns.visit(work),
    }
}

/// Why a request does not read.
fn unreadable(bytes: &[u8]) -> Refusal {
    match Request::foreign(bytes) {
        Some(theirs) => Refusal::new(
            Reason::Failed,
            format_args!(
                "the opener speaks version {PROTOCOL} of its protocol, and was asked in version \
                 {theirs}: whaletap and whaletap-agent are of different releases"
            ),
        ),
        None => Refusal::new(Reason::Failed, "the request does not read"),
    }
}

/// One answer of several. What it has no room for is to be asked for again.
fn together(outcomes: Vec<Result<Reply, Refusal>>) -> Reply {
    let mut whole = Encoder::default().count(outcomes.len());
    let mut descriptors = Vec::new();
    // So much is left in the message, with a refusal of each that is still to come.
    let mut room = MAX_MESSAGE.saturating_sub(outcomes.len() * REFUSAL);
    for outcome in outcomes {
        let outcome = outcome.and_then(|reply| {
            let fits = reply.body.len() <= room
                && descriptors.len() + reply.descriptors.len() <= MAX_DESCRIPTORS;
            let full = "the answer has no room for it beside the others";
            if fits { Ok(reply) } else { Err(Refusal::new(Reason::NotReady, full)) }
        });
        whole = match outcome {
            Ok(reply) => {
                room -= reply.body.len();
                descriptors.extend(reply.descriptors);
                whole.bool(true).bytes(&reply.body)
            }
            Err(refusal) => refusal.put(whole.bool(false)),
        };
    }
    Reply { body: whole.finish(), descriptors }
}

/// What an answer tells of a namespace.
#[derive(Debug)]
struct Identity {
    found: Proved,
    container: Option<String>,
}

impl Identity {
    /// Of a namespace that was found without a process, somebody who lives there is looked for.
    fn of(mut found: Proved, place: &Place, age: Age, engine: &Engine) -> Self {
        let mut container = None;
        if matches!(place, Place::Sandbox { .. })
            && let Some(resident) = resident::find(found.netns.id(), age, engine)
        {
            found.process = Some(resident.process);
            container = Some(resident.container);
        }
        Self { found, container }
    }

    fn put(&self, out: Encoder) -> Encoder {
        put_netns(out, self.found.netns.id())
            .option(self.found.created, Encoder::u64)
            .option(self.container.as_deref(), Encoder::text)
            .bool(self.found.process.is_some())
    }

    fn pidfd(self) -> Option<OwnedFd> {
        self.found.process.map(Into::into)
    }
}

fn named(netns: NetnsId) -> Reply {
    Reply { body: put_netns(Encoder::default(), netns).finish(), descriptors: Vec::new() }
}

fn put_netns(out: Encoder, netns: NetnsId) -> Encoder {
    out.u64(netns.dev).u64(netns.ino)
}

fn opened(identity: Identity, sockets: Sockets) -> Reply {
    let body = identity
        .put(Encoder::default())
        .bool(sockets.program_refused)
        .u32(sockets.geometry.block_bytes())
        .u32(sockets.geometry.blocks())
        .u64(sockets.frames_before)
        .u64(sockets.attached)
        .each(&sockets.packet, |out, (index, _)| out.u32(*index))
        .each(&sockets.missing, |out, name| out.text(name))
        .finish();
    let packet = sockets.packet.into_iter().map(|(_, fd)| fd);
    let descriptors = sockets.netlink.into_iter().chain(identity.pidfd()).chain(packet).collect();
    Reply { body, descriptors }
}

fn send(channel: &Channel, outcome: Result<Reply, Refusal>) -> Result<(), sys::Error> {
    match outcome {
        Ok(reply) => {
            let mut bytes = Encoder::default().bool(true).finish();
            bytes.extend_from_slice(&reply.body);
            let descriptors: Vec<_> = reply.descriptors.iter().map(AsFd::as_fd).collect();
            channel.send(&bytes, &descriptors)
        }
        Err(refusal) => channel.send(&refusal.put(Encoder::default().bool(false)).finish(), &[]),
    }
}
