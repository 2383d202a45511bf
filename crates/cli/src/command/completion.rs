use std::{path::Path, process::ExitCode};

use clap::CommandFactory;
use clap_complete::Shell;

use super::to_stdout;
use crate::{
    exit::{Exit, Failure},
    flags::Whaletap,
};

/// `whaletap completion`.
pub(super) fn completion(shell: Shell) -> Result<ExitCode, Failure> {
    // Into memory first: the generator panics when its output does not take everything.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Whaletap::command(), "whaletap", &mut script);
    to_stdout(&String::from_utf8_lossy(&script), Exit::Success)
}

/// `whaletap man`.
pub(super) fn man(directory: &Path) -> Result<ExitCode, Failure> {
    clap_mangen::generate_to(Whaletap::command(), directory).map_err(|error| {
        let what = format!("cannot write man pages into {}: {error}", directory.display());
        Failure::new(Exit::Failure, what)
    })?;
    Ok(Exit::Success.code().into())
}
