use std::{sync::Arc, time::Duration};

use filter::Plan;

use super::ResetLimit;

/// How much of each target is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Everything that is no older than this.
    Time(Duration),
    /// So many bytes of file.
    Bytes(u64),
}

/// What a recorder keeps, when it writes, and how much.
#[derive(Debug, Clone)]
pub struct RecorderConfig {
    /// The window before a trigger.
    pub keep: Keep,
    /// How long a file goes on behind its trigger.
    pub after: Duration,
    /// How long behind a file's end a target's triggers are counted and nothing is written.
    pub cooldown: Duration,
    /// The most files; behind that triggers are counted and nothing is written.
    pub max_files: Option<u32>,
    /// The most bytes of all files together, before they are compressed.
    pub max_bytes: Option<u64>,
    /// TCP resets that are a trigger.
    pub resets: Vec<ResetLimit>,
    /// A target's frames that are lost, to the kernel or to us, are a trigger.
    pub drops: bool,
    /// Expressions that make each frame which they accept a trigger, with their text.
    pub matches: Vec<(String, Arc<Plan>)>,
}

impl RecorderConfig {
    /// Whether every frame has to be looked at.
    pub(crate) fn watches_frames(&self) -> bool {
        !self.resets.is_empty() || !self.matches.is_empty()
    }
}

/// Something that happened, for which a window is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// One word, which goes into the file's name: `die`, `signal`.
    pub name: String,
    /// What exactly, for people; empty when the name says it all.
    pub detail: String,
    /// When, in nanoseconds since 1970.
    pub at: u64,
}
