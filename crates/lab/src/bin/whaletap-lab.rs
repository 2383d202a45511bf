//! The lab's own command: what tests need around them.
//!
//! ```text
//! whaletap-lab check                 fails with the list of programs that are not installed
//! whaletap-lab traffic               builds the traffic program and prints its path
//! whaletap-lab agent                 the same with the program of helper containers
//! whaletap-lab engine [--] COMMAND…  runs a command with an engine, which is started if none answers
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its caller")]

use std::{
    env,
    error::Error,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitCode, ExitStatus},
};

use whaletap_lab::{agent, engine::Borrowed, judge, traffic};

const USAGE: &str = "usage: whaletap-lab check | traffic | agent | engine [--] COMMAND…";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let done = match mode.to_str() {
        Some("check") => judge::installed().map(|()| ExitCode::SUCCESS),
        Some("traffic") => traffic::program().map(|path| tell(&path)),
        Some("agent") => agent::program().map(|path| tell(&path)),
        Some("engine") => {
            let mut command: Vec<_> = arguments.collect();
            if command.first().is_some_and(|first| first == "--") {
                command.remove(0);
            }
            match command.split_first() {
                Some((program, arguments)) => with_engine(Command::new(program).args(arguments)),
                None => return usage(),
            }
        }
        _ => return usage(),
    };
    done.unwrap_or_else(|error| {
        eprint!("whaletap-lab: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            eprint!(": {cause}");
            source = cause.source();
        }
        eprintln!();
        ExitCode::FAILURE
    })
}

fn tell(path: &Path) -> ExitCode {
    println!("{}", path.display());
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Runs the command and ends with its code.
fn with_engine(command: &mut Command) -> Result<ExitCode, whaletap_lab::Error> {
    let engine = Borrowed::engine()?;
    if engine.is_own() {
        eprintln!("whaletap-lab: started an engine on {}", engine.get().host());
    }
    // Built and imported once, before the tests ask for it side by side.
    engine.get().image()?;
    command.env("DOCKER_HOST", engine.get().host());
    command.env("WHALETAP_TRAFFIC", traffic::program()?);
    command.env(agent::VARIABLE, agent::program()?);
    let status = command.status().map_err(|source| whaletap_lab::Error::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    Ok(code(status))
}

/// The command's code, or the shell's for a signal: 128 and its number.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
