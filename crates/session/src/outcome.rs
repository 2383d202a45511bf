use capture::{Ending, Snapshot};

use crate::{CommandEnd, Error};

/// A target that could not be captured.
#[derive(Debug)]
pub struct Failed {
    /// Its name.
    pub name: String,
    /// Why.
    pub error: Error,
}

/// How a session ended.
#[derive(Debug)]
pub struct Outcome {
    /// The totals.
    pub snapshot: Snapshot,
    /// Why it ended.
    pub ending: Ending,
    /// Targets that could not be captured.
    pub failed: Vec<Failed>,
    /// It ended because every target had ended.
    pub all_targets_ended: bool,
    /// What became of the command of `--run`; `None` where there was none.
    pub command: Option<CommandEnd>,
}
