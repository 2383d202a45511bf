use std::{ffi::OsString, path::PathBuf};

use capture::{Autostop, Compression, Format, KeepFree, Rotation};
use docker::Endpoint;
use model::{Direction, Selector, Snaplen};

use crate::{Reach, Recording};

/// Which targets are meant.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A union of these.
    pub selectors: Vec<Selector>,
    /// But not these.
    pub exclude: Vec<Selector>,
    /// And only what passes these.
    pub filters: Vec<docker::Filter>,
}

/// Where frames go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Into files of this name, see [`capture::FileName`].
    Files(String),
    /// The same under a name that was not given: never over a file that is there.
    Chosen(String),
    /// To standard output.
    Stdout,
}

/// How much of the sandbox is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sandbox {
    /// No Landlock.
    Off,
    /// As much as the kernel has.
    #[default]
    Auto,
    /// All of it, or no capture.
    Strict,
}

/// A capture as it was asked for: every default is filled in.
#[derive(Debug, Clone)]
pub struct Request {
    /// The engine, for selectors that need one.
    pub endpoint: Endpoint,
    /// How namespaces are reached.
    pub reach: Reach,
    /// What to capture.
    pub selection: Selection,
    /// Take what comes to match later, too, and wait for it when nothing is left.
    pub follow: bool,
    /// Begin although selectors match nothing yet; only with `follow`.
    pub wait: bool,
    /// A command that is run while the capture lasts, which ends with it (`--run`); only with
    /// `wait`.
    pub run: Option<Vec<OsString>>,
    /// Interfaces inside the targets; all when empty.
    pub interfaces: Vec<String>,
    /// pcap-filter(7) expression; empty for everything.
    pub expression: String,
    /// Which way frames travel.
    pub direction: Direction,
    /// Bytes kept of a frame.
    pub snaplen: Snaplen,
    /// Put interfaces into promiscuous mode.
    pub promiscuous: bool,
    /// Where frames go.
    pub output: Output,
    /// A series of files for each target.
    pub split: bool,
    /// Keep it in memory, and write files under `output` when something happens: always pcapng.
    pub recording: Option<Recording>,
    /// In which format.
    pub format: Format,
    /// How files, or standard output, are compressed. Names of files get its suffix where they have
    /// it not.
    pub compression: Compression,
    /// Write every frame with a Linux cooked header, so that all have one link type.
    pub cooked: bool,
    /// When files change.
    pub rotation: Rotation,
    /// When it ends.
    pub autostop: Autostop,
    /// Ring size of each namespace in bytes; its share of `ring_memory` when `None`.
    pub ring: Option<u32>,
    /// Bytes of all rings together.
    pub ring_memory: u32,
    /// Bytes that frames may occupy between ring and file.
    pub memory: usize,
    /// Room that is left on the file system.
    pub keep_free: KeepFree,
    /// Write each frame as soon as it is in order.
    pub packet_buffered: bool,
    /// A command that is run with each file that is done (`-z`).
    pub post_rotate: Option<String>,
    /// Show frames on standard output too.
    pub print: Option<Vec<String>>,
    /// Let readers move the times of a far side's clock to this machine's, by whole seconds.
    pub align_clock: bool,
    /// Landlock.
    pub sandbox: Sandbox,
    /// A socket for each interface, as kernels before 6.15 need it; found out when `None`.
    pub socket_per_interface: Option<bool>,
    /// The command line, for the section header's comment.
    pub command_line: String,
    /// This program and its version, likewise.
    pub application: String,
    /// The working directory, where relative file names begin.
    pub directory: PathBuf,
}

impl Request {
    /// Whether targets are followed: it is the engine that tells of those that come and go.
    pub(crate) fn follows(&self) -> bool {
        self.follow && self.selection.needs_engine()
    }
}
