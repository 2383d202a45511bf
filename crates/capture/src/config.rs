use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use filter::Plan;
use model::LinkType;

use crate::{Autostop, Compression, FileName, RecorderConfig, Rotation, SpillConfig};

/// What a session captures into, and how.
#[derive(Debug)]
pub struct Config {
    /// The expression, composed.
    pub plan: Arc<Plan>,
    /// The expression's text, for the interfaces' descriptions; empty for none.
    pub expression: String,
    /// Where frames go.
    pub destination: Destination,
    /// In which format.
    pub format: Format,
    /// How files, or the stream, are compressed. A size that ends a file counts what it is before.
    pub compression: Compression,
    /// A second stream of everything, for a program that prints it: always pcapng, and never
    /// compressed.
    pub print: Option<File>,
    /// When a file ends and the next one begins.
    pub rotation: Rotation,
    /// When the capture ends.
    pub autostop: Autostop,
    /// Write all frames with this link type: only [`LinkType::LINUX_SLL2`] can be.
    pub link_type: Option<LinkType>,
    /// Bytes that frames may occupy between their ring and a file.
    pub memory: usize,
    /// Room that is left on a file system, of files as of a spill.
    pub keep_free: KeepFree,
    /// Write each frame as soon as it is in order, instead of in chunks.
    pub packet_buffered: bool,
    /// What the section header says.
    pub section: SectionText,
}

/// Where frames go.
#[derive(Debug)]
pub enum Destination {
    /// Into files under this name, one series of them for all captures or one for each.
    Files {
        /// The name.
        name: FileName,
        /// A series for each capture.
        split: bool,
    },
    /// Into memory, and into a file for each target where something happens there: always pcapng.
    Recorder {
        /// The files' name: `{target}` and `{trigger}` are filled in.
        name: FileName,
        /// What is kept, and when it is written.
        recorder: Box<RecorderConfig>,
        /// Where what memory cannot hold goes.
        spill: Option<SpillConfig>,
    },
    /// Into something that is open: a pipe, a FIFO, a device.
    Stream {
        /// It.
        file: File,
        /// What it is called in messages.
        name: PathBuf,
    },
}

/// Format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// pcapng, with everything.
    Pcapng,
    /// Classic pcap with nanoseconds: one link type, and no names or statistics.
    Pcap,
}

/// Room that is left on the file system: the capture ends before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepFree {
    /// Percent of the file system's size.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
}

impl KeepFree {
    /// In bytes, on a file system of `total` bytes.
    #[must_use]
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Percent(percent) => total / 100 * u64::from(percent),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// What the section header of a file says of its origin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SectionText {
    /// The processor.
    pub hardware: String,
    /// The operating system and its version.
    pub os: String,
    /// This program and its version.
    pub application: String,
    /// What was asked for.
    pub comment: String,
    /// The operating system of the machine on which frames are captured.
    pub interface_os: String,
    /// Seconds that readers are to add to each timestamp.
    pub tsoffset: Option<i64>,
}

/// How far the frames of one ring can be out of order: two processors that write into a ring
/// overtake each other by some 60 µs.
pub(crate) const SORT_WINDOW: Duration = Duration::from_millis(1);
/// How long a chunk waits to become full.
pub(crate) const FLUSH_AFTER: Duration = Duration::from_millis(100);
