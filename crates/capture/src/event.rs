use std::path::PathBuf;

use model::{NetnsId, Stats};

use crate::{Blind, CaptureId, Error, HeldBytes, Keep, Record, Recorded, SpillTrouble, Trigger};

/// What a pipeline tells while it runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A file is complete: its series goes on with another, or has ended.
    FileDone {
        /// The file.
        path: PathBuf,
        /// Another one follows, or would have if there were no limit of files.
        rotated: bool,
    },
    /// An interface came up in a capture whose sockets listen on single interfaces, and none on
    /// this one: see [`crate::Pipeline::extend`].
    InterfaceCame {
        /// The capture.
        id: CaptureId,
        /// The interface.
        index: u32,
    },
    /// A capture has ended, and everything of it is written, or counted as lost.
    Detached(SourceReport),
    /// Who shows packets beside the files takes no more. The files go on.
    PrintingEnded,
    /// The pipeline ends by itself.
    Ending(Ending),
    /// A recorder has written a file.
    Recorded(Box<Record>),
    /// A recorder could not write a file, or not all of it.
    NotRecorded {
        /// The target's name.
        target: String,
        /// Why it was to be written.
        trigger: Trigger,
        /// What failed.
        error: Error,
    },
    /// A recorder has written as many files, or bytes, as it may: triggers are counted only. Told
    /// once.
    RecorderFull {
        /// The limit.
        limit: Limit,
    },
    /// The memory, with the spill, does not hold the windows that were asked for. Told when that is
    /// known, once a minute while it lasts, and with `possible` empty when it is over.
    WindowShort {
        /// How long windows are to be.
        asked: Keep,
        /// How long they can be.
        possible: Option<Keep>,
        /// There is a spill.
        spills: bool,
    },
    /// Something is wrong with a recorder's spill. Told once a minute.
    Spill {
        /// Where it is.
        directory: PathBuf,
        /// What is wrong.
        trouble: SpillTrouble,
    },
    /// A capture that was to be attached aside is not.
    NotAttached {
        /// Which.
        id: CaptureId,
        /// Why not.
        error: Error,
    },
    /// Somebody set the clock by so many nanoseconds, so that timestamps jump there.
    ClockStepped {
        /// Forward when positive.
        nanoseconds: i64,
    },
}

/// Why a pipeline ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ending {
    /// It was asked to.
    Stopped,
    /// A limit was reached.
    Limit(Limit),
    /// The reader of a pipe went away.
    PipeClosed,
    /// The file system is about to be full.
    NoRoom {
        /// The file that was being written.
        path: PathBuf,
        /// Bytes that were left.
        free: u64,
        /// Bytes that have to be.
        keep: u64,
    },
    /// Something broke.
    Failed(Error),
}

impl Ending {
    /// Whether everything that has arrived is still written: it was asked to stop, or there is no
    /// more time or room. Any other end is behind the last frame that is wanted or can be written.
    pub(crate) fn writes_the_rest(&self) -> bool {
        matches!(self, Self::Stopped | Self::NoRoom { .. } | Self::Limit(Limit::Duration))
    }
}

/// A limit that the user set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many packets.
    Packets(u64),
    /// So many files.
    Files(u32),
    /// So many bytes of file.
    Bytes(u64),
    /// So much time.
    Duration,
}

/// What became of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReport {
    /// Its number.
    pub id: CaptureId,
    /// Its name, as last told.
    pub name: String,
    /// The namespace.
    pub netns: NetnsId,
    /// The counts.
    pub stats: Stats,
    /// Captured bytes.
    pub bytes: u64,
    /// Since when it is captured, in nanoseconds since 1970.
    pub since: u64,
    /// When its namespace was let go, in nanoseconds since 1970; `None` while it is captured.
    pub until: Option<u64>,
    /// What was missed before, where that is known.
    pub blind: Option<Blind>,
    /// It has ended.
    pub ended: bool,
}

/// Captures that are not told of one by one any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    /// How many.
    pub captures: u64,
    /// Their counts together.
    pub stats: Stats,
    /// Captured bytes.
    pub bytes: u64,
}

/// Where a pipeline stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// All captures, and the last that have ended, in the order in which they came.
    pub sources: Vec<SourceReport>,
    /// Those that ended before these.
    pub past: Past,
    /// Packets in files or on their way there.
    pub packets: u64,
    /// Bytes in files or on their way there.
    pub bytes: u64,
    /// The file that was opened last.
    pub file: Option<PathBuf>,
    /// How many files there were.
    pub files: u32,
    /// What a recorder did for each target.
    pub recorded: Vec<Recorded>,
    /// Where a recorder has what it holds; `None` where nothing is recorded.
    pub held: Option<HeldBytes>,
}

impl Snapshot {
    /// The counts of all captures together.
    #[must_use]
    pub fn total(&self) -> Stats {
        let mut total = self.past.stats;
        for source in &self.sources {
            total += source.stats;
        }
        total
    }
}

/// How a pipeline ended.
#[derive(Debug)]
pub struct Report {
    /// The last state.
    pub last: Snapshot,
    /// Why it ended.
    pub ending: Ending,
}
