/// How much a message matters: docker's words for `--log-level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, clap::ValueEnum)]
pub(crate) enum Level {
    /// What happens inside.
    Debug,
    /// What is captured, and what changes meanwhile.
    #[default]
    Info,
    /// What may not be what was meant.
    Warn,
    /// What failed.
    Error,
    /// What ends the command: always told.
    Fatal,
}
