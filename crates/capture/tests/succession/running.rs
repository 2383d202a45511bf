//! A pipeline at work on namespaces of the lab, and what stands in its files.

use std::{
    convert::Infallible,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use filter::{Expression, LiveJob, Plan};
use lab::{Frames, Namespace, Net, Station, traffic::RawSender};
use model::{Direction, NetnsId, Snaplen};
use pcapng::read::{Block, SliceReader};
use sys::{netlink, packet::PacketSocket, poll::Waker, ring::Geometry};
use whaletap_capture::{
    Attachment, Autostop, Blind, CaptureId, Compression, Config, Destination, Error, Event,
    FileName, Format, Identity, KeepFree, Means, Pipeline, Report, Rotation, SectionText, Sockets,
    SourceReport,
};

/// How long anything may take that should take a moment.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const RETIRE: Duration = Duration::from_millis(8);
const RING: u32 = 512 << 10;

/// The geometry of every ring here.
pub(crate) fn geometry() -> Geometry {
    Geometry::of_size(RING, RETIRE)
}

/// A pipeline that writes below a directory of its own.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pipeline: Pipeline,
    events: Receiver<Event>,
    directory: tempfile::TempDir,
}

impl Running {
    /// Into `NAME` below the directory, a file for each target or one for all.
    pub(crate) fn start(name: &str, split: bool, rotation: Rotation) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        let here = |job: LiveJob<'_>| Ok::<_, Infallible>(job.run());
        let compiled = Expression::new("").compile(Snaplen::MAX, here).unwrap();
        let config = Config {
            plan: Arc::new(Plan::compose(&compiled, Direction::InOut).unwrap()),
            expression: String::new(),
            destination: Destination::Files {
                name: FileName::new(path.to_str().unwrap(), "host").unwrap(),
                split,
            },
            format: Format::Pcapng,
            compression: Compression::None,
            print: None,
            rotation,
            autostop: Autostop::default(),
            link_type: None,
            memory: 8 << 20,
            keep_free: KeepFree::Bytes(0),
            packet_buffered: false,
            section: SectionText::default(),
        };
        let (pipeline, events) = Pipeline::start(config, 1, Waker::new().unwrap()).unwrap();
        Self { pipeline, events, directory }
    }

    /// Where a file is.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The names of all files, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits for the end of a capture: everything of it is written then.
    pub(crate) fn detached(&self) -> SourceReport {
        let ends = Instant::now() + LIMIT;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if let Event::Detached(report) = self.events.recv_timeout(left).unwrap() {
                return report;
            }
        }
    }

    /// Waits until it is told that a capture could not be attached.
    pub(crate) fn not_attached(&self) -> CaptureId {
        let ends = Instant::now() + LIMIT;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if let Event::NotAttached { id, .. } = self.events.recv_timeout(left).unwrap() {
                return id;
            }
        }
    }

    /// Waits until a file is complete.
    pub(crate) fn file_done(&self) -> PathBuf {
        let ends = Instant::now() + LIMIT;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if let Event::FileDone { path, .. } = self.events.recv_timeout(left).unwrap() {
                return path;
            }
        }
    }

    /// Waits until so many packets are in files or on their way there.
    pub(crate) fn wait_for(&self, packets: u64) {
        let ends = Instant::now() + LIMIT;
        while self.pipeline.snapshot().unwrap().packets < packets {
            assert!(Instant::now() < ends, "{packets} packets: {:?}", self.pipeline.snapshot());
            std::thread::sleep(RETIRE);
        }
    }

    /// Ends it; the files stay as long as what is given back.
    pub(crate) fn stop(self) -> (Report, tempfile::TempDir) {
        self.pipeline.stop();
        (self.pipeline.join().unwrap(), self.directory)
    }
}

/// What a container is to the pipeline.
pub(crate) fn identity(name: &str) -> Identity {
    Identity {
        name: name.to_owned(),
        description: format!("container {name}"),
        networks: Vec::new(),
        note: Some(format!("{name}: the capture begins here")),
    }
}

/// Sockets in a namespace, ready to be attached under this number and name.
pub(crate) fn attachment(namespace: &Namespace, id: u32, name: &str) -> Attachment {
    attachment_with(namespace, id, name, geometry())
}

/// The same with a ring of this geometry.
pub(crate) fn attachment_with(
    namespace: &Namespace,
    id: u32,
    name: &str,
    geometry: Geometry,
) -> Attachment {
    let open = || -> Result<(PacketSocket, [OwnedFd; 2]), sys::Error> {
        let netlink = [netlink::open()?, netlink::open()?];
        let socket = PacketSocket::open()?;
        socket.make_ring(&geometry)?;
        socket.bind(None)?;
        Ok((socket, netlink))
    };
    let (socket, netlink) = namespace.enter(open).unwrap().unwrap();
    let (dev, ino) = namespace.id().unwrap();
    Attachment {
        id: CaptureId(id),
        identity: identity(name),
        netns: NetnsId { dev, ino },
        means: Means::Here(Sockets { packet: vec![(None, socket)], geometry, netlink }),
        program_refused: false,
        only: None,
        follows: None,
        blind: None,
        hold: None,
    }
}

/// The same in place of an earlier capture.
pub(crate) fn following(namespace: &Namespace, id: u32, name: &str, follows: u32) -> Attachment {
    let blind = Some(Blind { time: RETIRE, frames: 3 });
    let follows = Some(CaptureId(follows));
    Attachment { follows, blind, ..attachment(namespace, id, name) }
}

/// Attaches, which has to succeed.
pub(crate) fn attach(running: &Running, attachment: Attachment) {
    let attached: Result<(), Error> = running.pipeline.attach(attachment);
    attached.unwrap();
}

/// Who sends into a namespace: the other end of its only veth.
#[derive(Debug)]
pub(crate) struct Peer {
    _net: Net,
    sender: RawSender,
    frames: Frames,
    pub(crate) namespace: Namespace,
}

impl Peer {
    /// A namespace with `lo` and `eth0`, and its peer.
    pub(crate) fn new() -> Self {
        let (net, a, b) = Net::pair().unwrap();
        let sender = a.enter(|| RawSender::open("eth0")).unwrap().unwrap();
        let frames = Frames::new(1, Station::A, Station::NOBODY);
        Self { _net: net, sender, frames, namespace: b }
    }

    /// How many packet sockets its namespace has.
    pub(crate) fn sockets(&self) -> usize {
        let list = || fs::read_to_string("/proc/thread-self/net/packet");
        self.namespace.enter(list).unwrap().unwrap().lines().count() - 1
    }

    /// Sends so many frames.
    pub(crate) fn send(&mut self, count: usize) {
        self.send_of(100, count);
    }

    /// Sends so many frames of this length.
    pub(crate) fn send_of(&mut self, length: usize, count: usize) {
        for _ in 0..count {
            self.sender.send(&self.frames.udp4(length)).unwrap();
        }
    }
}

/// An interface block, with what refers to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) comments: Vec<String>,
    pub(crate) packets: u64,
    /// Statistics blocks, their `isb_usrdeliv`, and their comments.
    pub(crate) statistics: Vec<(u64, Vec<String>)>,
    /// Comments on packets.
    pub(crate) notes: Vec<String>,
}

/// The interfaces of a file, which has to be readable to its end.
pub(crate) fn interfaces(path: impl AsRef<Path>) -> Vec<Described> {
    let bytes = fs::read(path).unwrap();
    let mut found: Vec<Described> = Vec::new();
    for block in SliceReader::new(&bytes) {
        match block.unwrap() {
            Block::Interface(interface) => found.push(Described {
                name: interface.name().unwrap().into_owned(),
                description: interface.description().unwrap_or_default().into_owned(),
                comments: interface.comments().map(Into::into).collect(),
                ..Described::default()
            }),
            Block::Packet(packet) => {
                let interface = &mut found[packet.interface as usize];
                interface.packets += 1;
                interface.notes.extend(packet.comments().map(String::from));
            }
            Block::Statistics(statistics) => {
                let comments = statistics.comments().map(String::from).collect();
                let count = statistics.usrdeliv().unwrap();
                found[statistics.interface as usize].statistics.push((count, comments));
            }
            _ => {}
        }
    }
    found
}

/// Waits until something is so that nobody tells of.
pub(crate) fn eventually(mut is_so: impl FnMut() -> bool) {
    let ends = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < ends, "not so within {LIMIT:?}");
        std::thread::sleep(RETIRE);
    }
}
