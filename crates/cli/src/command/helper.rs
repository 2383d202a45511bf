use std::{io::Write as _, process::ExitCode};

use session::prune;

use super::{text, to_stdout};
use crate::{
    exit::{Exit, Failure},
    flags::{GlobalFlags, HelperCommand, HelperFlags},
    high::{Surroundings, endpoint},
    terminal::safe,
};

/// `whaletap helper`.
pub(super) fn run(
    flags: &HelperFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<ExitCode, Failure> {
    let HelperCommand::Prune = flags.command;
    let anything = [model::Selector::Name("*".to_owned())];
    let pruned = prune(&endpoint(global, &anything, surroundings)?)?;
    let containers = pruned.containers.iter().map(|id| format!("container {id}"));
    let images = pruned.images.iter().map(|name| format!("image {}", safe(name)));
    let lines: Vec<String> = containers.chain(images).collect();
    let exit = if pruned.failed.is_empty() { Exit::Success } else { Exit::Partial };
    let code = to_stdout(&text(&lines), exit)?;
    let mut err = anstream::stderr().lock();
    for error in &pruned.failed {
        Failure::from(error).tell(&mut err);
    }
    // Nobody is left to be told when this fails.
    let _ = err.flush();
    Ok(code)
}
