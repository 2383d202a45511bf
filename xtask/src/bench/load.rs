use std::{fs, time::Duration};

use anyhow::{Result, bail};
use lab::{Namespace, Net, Program, Running, Station, traffic::Report};

use super::group::Group;

/// The core that sends. One core: the load is what one sender can do, and the same in each run.
const SENDER_CORE: &str = "0";
/// How long a sender may run.
const SENDING: Duration = Duration::from_secs(120);
/// How long the hog may run, should nobody stop it.
const HOG: Duration = Duration::from_secs(180);
/// Where a stream is read, and where nobody reads datagrams.
const SINK_PORT: u16 = 9;
/// How long the reader of a stream may take until it listens.
const LISTENING: Duration = Duration::from_secs(5);
/// Headers of Ethernet, IPv4 and UDP.
const HEADERS: u64 = 42;
/// What a file has around a frame, at the most.
const BLOCK: u64 = 48;

/// What a sender sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frames {
    /// The shortest of Ethernet.
    Of64,
    /// Nearly the longest.
    Of1400,
    /// A TCP stream, whose segments come in bundles of up to 64 KiB that nobody has cut.
    Gso,
}

/// Frames that are offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) frames: Frames,
    /// Frames (of a stream: bytes) in a second; without it as many as one core can.
    pub(super) rate: Option<u64>,
    /// Frames (of a stream: bytes) in all.
    pub(super) count: u64,
}

impl Load {
    /// `64 bytes, 280 kpps`.
    pub(super) fn words(&self) -> String {
        let frames = match self.frames {
            Frames::Of64 => "64 bytes",
            Frames::Of1400 => "1400 bytes",
            Frames::Gso => "TCP with GSO",
        };
        match (self.rate, self.frames) {
            (None, _) => format!("{frames}, full speed"),
            (Some(rate), Frames::Gso) => format!("{frames}, {} MB/s", rate / 1_000_000),
            (Some(rate), _) => format!("{frames}, {} k/s", rate / 1000),
        }
    }

    /// Bytes of a file with all of it, at least.
    pub(super) fn bytes(&self) -> u64 {
        match self.frames {
            Frames::Of64 => self.count * (64 + BLOCK),
            Frames::Of1400 => self.count * (1400 + BLOCK),
            // Bundles are large, and few acknowledgements come back.
            Frames::Gso => self.count + self.count / 20,
        }
    }

    /// The traffic program's words.
    fn arguments(&self) -> Vec<String> {
        // The longest bundle is 65,507 bytes.
        let (mode, to, size, segments) = match self.frames {
            Frames::Of64 => ("udp", Station::NOBODY.ipv4, 64 - HEADERS, Some(64)),
            Frames::Of1400 => ("udp", Station::NOBODY.ipv4, 1400 - HEADERS, Some(47)),
            Frames::Gso => ("tcp-send", Station::B.ipv4, 64 << 10, None),
        };
        let mut words = vec![mode.to_owned(), "--to".to_owned(), format!("{to}:{SINK_PORT}")];
        let values = [
            ("size", Some(size)),
            ("segments", segments),
            ("count", Some(self.count)),
            ("rate", self.rate),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                words.extend([format!("--{name}"), value.to_string()]);
            }
        }
        words
    }
}

/// Two namespaces and a veth: one sends, the other looks on. Datagrams go to a station that nobody
/// is: no stack answers, and no socket takes what was looked at.
#[derive(Debug)]
pub(super) struct Wire {
    near: Namespace,
    far: Namespace,
    _net: Net,
}

impl Wire {
    /// Makes them.
    pub(super) fn new() -> Result<Self> {
        let (mut net, near, far) = Net::pair()?;
        net.neighbour(&near, "eth0", Station::NOBODY.ipv4.into(), Station::NOBODY.mac)?;
        Ok(Self { near, far, _net: net })
    }

    /// Where frames arrive.
    pub(super) fn far(&self) -> &Namespace {
        &self.far
    }

    /// Starts the sender in a group of its own.
    pub(super) fn send(&self, load: &Load, group: &Group) -> Result<Running> {
        // Bundles are cut in front of a device that cannot take them: the fastest way to frames.
        self.near.offload("eth0", &["tx-udp-segmentation"], false)?;
        let program = lab::traffic::program()?;
        let program = program.to_string_lossy();
        let arguments = load.arguments();
        let mut command = vec!["taskset", "--cpu-list", SENDER_CORE, &program];
        command.extend(arguments.iter().map(String::as_str));
        Ok(group.program(&command).inside(&self.near).limit(SENDING).start()?)
    }

    /// Starts the reader of a stream, where the load is one.
    pub(super) fn sink(&self, load: &Load) -> Result<Option<Running>> {
        if load.frames != Frames::Gso {
            return Ok(None);
        }
        let seconds = SENDING.as_secs();
        let words = format!("tcp-sink --listen 0.0.0.0:{SINK_PORT} --seconds {seconds}");
        let mut sink = self.far.traffic(&words)?;
        sink.wait_for_line("listening on", LISTENING)?;
        Ok(Some(sink))
    }

    /// Frames that have passed the far end until now, either way, by the device's own counters.
    pub(super) fn passed(&self) -> Result<u64> {
        let text = self.far.enter(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
        let numbers: Vec<u64> = line
            .map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
            .unwrap_or_default();
        // Received: bytes, packets and six more; then the same of what was sent (proc_pid_net(5)).
        let (Some(received), Some(sent)) = (numbers.get(1), numbers.get(9)) else {
            bail!("eth0 does not count: {text}");
        };
        Ok(received + sent)
    }
}

/// The end of a sender.
pub(super) fn finished(sender: Running) -> Result<Report> {
    Ok(Report::of(sender.wait()?)?)
}

/// A process that only burns CPU time. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Hog {
    // In this order: a group goes when it is empty.
    _process: Running,
    group: Group,
}

impl Hog {
    /// Starts it.
    pub(super) fn start() -> Result<Self> {
        let group = Group::new()?;
        // A limit of its own, should we be killed.
        let limit = format!("ulimit -t {}; while :; do :; done", HOG.as_secs());
        let process = group.program(&["sh", "-c", &limit]).limit(HOG).start()?;
        Ok(Self { _process: process, group })
    }

    /// CPU seconds that it has burnt.
    pub(super) fn cpu(&self) -> Result<f64> {
        self.group.cpu()
    }
}

/// A sender of a fleet's hub; see [`Fleet`](super::fleet::Fleet).
pub(super) fn from_device(namespace: &Namespace, words: &str) -> Result<Program> {
    Ok(here(words)?.inside(namespace).limit(SENDING))
}

/// The traffic program on the sender's core, in this machine's own namespace.
pub(super) fn here(words: &str) -> Result<Program> {
    let program = lab::traffic::program()?;
    Ok(Program::new("taskset")
        .args(["--cpu-list", SENDER_CORE])
        .arg(program)
        .args(words.split_whitespace()))
}
