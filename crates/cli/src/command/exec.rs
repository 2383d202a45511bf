use std::process::ExitCode;

use session::exec::{ExecRequest, run as become_program};

use crate::{
    exit::Failure,
    flags::{ExecFlags, GlobalFlags},
    high::{Surroundings, endpoint},
};

/// `whaletap exec`: returns only when the program could not be started.
pub(super) fn run(
    flags: ExecFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<ExitCode, Failure> {
    let endpoint = endpoint(global, [&flags.target], surroundings)?;
    let request = ExecRequest { endpoint, selector: flags.target, command: flags.command };
    match become_program(&request)? {}
}
