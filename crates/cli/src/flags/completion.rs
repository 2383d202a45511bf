use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// `whaletap completion`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompletionFlags {
    /// The shell
    pub(crate) shell: Shell,
}

/// `whaletap man`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManFlags {
    /// Directory to write into
    pub(crate) directory: PathBuf,
}
