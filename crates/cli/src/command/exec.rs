use std::{io::IsTerminal as _, process::ExitCode};

use session::exec::{ExecRequest, Image, run as become_program};

use crate::{
    exit::{Exit, Failure},
    flags::{ExecFlags, GlobalFlags},
    high::{Surroundings, endpoint, runtime_directory},
};

/// `whaletap exec`: returns only when the program could not be started.
pub(super) fn run(
    flags: ExecFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<ExitCode, Failure> {
    let endpoint = endpoint(global, [&flags.target], surroundings)?;
    let image = flags.image.map(|name| image(name, global, surroundings)).transpose()?;
    let has_image = image.is_some();
    let request = ExecRequest {
        endpoint,
        selector: flags.target,
        runtime_directory: runtime_directory(surroundings),
        command: flags.command,
        image,
    };
    match become_program(&request) {
        Ok(never) => match never {},
        Err(error) => {
            // An image takes the engine, too.
            let is_engines = matches!(error, session::Error::Engine(_));
            let failure = Failure::from(error);
            Err(if has_image || is_engines { failure } else { or_by_image(failure) })
        }
    }
}

fn image(
    name: String,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<Image, Failure> {
    let docker = surroundings.program("docker").ok_or_else(|| {
        let what = "--image takes docker's own command line, and there is no docker in PATH";
        Failure::new(Exit::CannotRun, what)
    })?;
    let terminal = std::io::stdin().is_terminal();
    Ok(Image { name, docker, config: global.config.clone(), terminal })
}

/// What is done for captures by a helper container cannot be done for a program of this host.
fn or_by_image(failure: Failure) -> Failure {
    const HINT: &str = "run it with sudo; where only the engine's socket is yours, --image names an \
                        image that has the program";
    match failure.exit {
        Exit::NotPermitted => Failure { hint: Some(HINT.to_owned()), ..failure },
        _ => failure,
    }
}
