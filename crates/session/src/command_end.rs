use std::io;

/// What became of the command of `--run`.
#[derive(Debug)]
pub enum CommandEnd {
    /// It ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended it.
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// It could not be started: by its kind the source tells one that was not found from one that
    /// cannot be run.
    NotStarted {
        /// Why not.
        source: io::Error,
    },
    /// The runner has ended before it, so that nobody heard.
    Unknown,
}
