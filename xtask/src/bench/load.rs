use std::{fs, time::Duration};

use anyhow::{Context, Result};
use lab::{Namespace, Net, Program, Running, Station, traffic::Report};

use super::group::Group;

/// The core that sends. One core: the load is what one sender can do, and the same in each run.
const SENDER_CORE: &str = "0";
/// How long a sender may run.
const SENDING: Duration = Duration::from_secs(120);
/// How long the hog may run, should nobody stop it.
const HOG: Duration = Duration::from_secs(180);
/// Headers of Ethernet, IPv4 and UDP.
const HEADERS: u64 = 42;

/// What a sender sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frames {
    /// The shortest of Ethernet.
    Of64,
    /// Nearly the longest.
    Of1400,
    /// Bundles of 1400-byte frames that nobody has cut yet.
    Gso,
}

/// Frames that are offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) frames: Frames,
    /// Frames (of a bundle: its segments) in a second; without it as many as one core can.
    pub(super) rate: Option<u64>,
    /// Frames (of a bundle: its segments) in all.
    pub(super) count: u64,
}

impl Load {
    /// `64 bytes, 280 kpps`.
    pub(super) fn words(&self) -> String {
        let frames = match self.frames {
            Frames::Of64 => "64 bytes",
            Frames::Of1400 => "1400 bytes",
            Frames::Gso => "GSO (47 × 1400)",
        };
        match self.rate {
            None => format!("{frames}, full speed"),
            Some(rate) => format!("{frames}, {} k/s", rate / 1000),
        }
    }

    /// The traffic program's words.
    fn arguments(&self) -> Vec<String> {
        // The longest bundle is 65,507 bytes.
        let (size, segments) = match self.frames {
            Frames::Of64 => (64 - HEADERS, 64),
            Frames::Of1400 | Frames::Gso => (1400 - HEADERS, 47),
        };
        let to = format!("{}:9", Station::NOBODY.ipv4);
        let mut words: Vec<String> = ["udp", "--to", &to].map(str::to_owned).into();
        let mut add =
            |name: &str, value: u64| words.extend([format!("--{name}"), value.to_string()]);
        add("size", size);
        add("segments", segments);
        add("count", self.count);
        if let Some(rate) = self.rate {
            add("rate", rate);
        }
        words
    }
}

/// Two namespaces and a veth: one sends to a station that nobody is, the other looks on. So no
/// stack answers, and no socket takes what was looked at.
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
        let whole = load.frames == Frames::Gso;
        self.near.offload("eth0", &["tx-udp-segmentation"], whole)?;
        let program = lab::traffic::program()?;
        let program = program.to_string_lossy();
        let arguments = load.arguments();
        let mut command = vec!["taskset", "--cpu-list", SENDER_CORE, &program];
        command.extend(arguments.iter().map(String::as_str));
        Ok(group.program(&command).inside(&self.near).limit(SENDING).start()?)
    }

    /// Frames that have arrived until now, by the device's own counter.
    pub(super) fn arrived(&self) -> Result<u64> {
        let text = self.far.enter(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
        // bytes, packets, … received (proc_pid_net(5)).
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        number.with_context(|| format!("eth0 does not count: {text}"))
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
    let program = lab::traffic::program()?;
    Ok(Program::new("taskset")
        .args(["--cpu-list", SENDER_CORE])
        .arg(program)
        .args(words.split_whitespace())
        .inside(namespace)
        .limit(SENDING))
}
