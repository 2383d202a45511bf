use clap::{Args, Subcommand};

/// `whaletap helper`.
#[derive(Debug, Clone, Args)]
pub(crate) struct HelperFlags {
    #[command(subcommand)]
    pub(crate) command: HelperCommand,
}

/// What is to be done about helper containers.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum HelperCommand {
    /// Remove the images of helper containers, and containers that were left behind
    Prune,
}
