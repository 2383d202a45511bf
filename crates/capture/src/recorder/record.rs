use std::{path::PathBuf, time::Duration};

use super::{Keep, Trigger};

/// A file that a recorder wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The file.
    pub path: PathBuf,
    /// The target's name.
    pub target: String,
    /// Why it was begun.
    pub trigger: Trigger,
    /// Triggers that came while it was written, and made it longer.
    pub further: u64,
    /// The window that was asked for.
    pub asked: Keep,
    /// The time before the trigger of which every frame was there.
    pub held: Duration,
    /// The window is shorter than asked for, because memory, and the spill where there is one, was
    /// used up. It may be shorter without that where the target was not recorded for so long.
    pub short: bool,
    /// Frames in the file.
    pub packets: u64,
    /// Bytes of the file, before it is compressed.
    pub bytes: u64,
}

/// What a recorder did for one target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorded {
    /// The target's name.
    pub target: String,
    /// Triggers.
    pub triggers: u64,
    /// Of these, such as made a file longer that was being written.
    pub further: u64,
    /// And such as were only counted: shortly behind a file, or because a limit was reached.
    pub ignored: u64,
    /// Files that were written.
    pub files: u32,
    /// Files that could not be written.
    pub failed: u32,
    /// Frames in files; one that is in two files counts twice.
    pub written: u64,
    /// Frames that left the window because they were old enough.
    pub aged: u64,
    /// Frames that left the window before, because memory, or the spill, was used up.
    pub evicted: u64,
    /// Frames in the window.
    pub held: u64,
}

/// Where that is what a recorder holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldBytes {
    /// In memory.
    pub memory: u64,
    /// On disk.
    pub disk: u64,
}
