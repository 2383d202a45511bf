//! The commands: from a request to what is told and the exit code.

mod capture;
mod completion;
mod exec;
mod face;
mod helper;
mod list;
mod record;
mod status;

use std::process::ExitCode;

use crate::{
    exit::{Exit, Failure},
    flags::{Command, Whaletap},
    high::Surroundings,
    terminal::{Written, print},
};

/// Does what was asked.
pub(crate) fn run(whaletap: Whaletap) -> Result<ExitCode, Failure> {
    let global = &whaletap.global;
    let surroundings = Surroundings::of_process();
    match whaletap.command {
        Command::Ls(flags) => list::run(&flags, global, &surroundings),
        Command::Capture(flags) => capture::run(*flags, global, &surroundings),
        Command::Record(flags) => record::run(*flags, global, &surroundings),
        Command::Status(flags) => status::run(&flags, global),
        Command::Exec(flags) => exec::run(flags, global, &surroundings),
        Command::Helper(flags) => helper::run(&flags, global, &surroundings),
        Command::Completion(flags) => completion::completion(flags.shell),
        Command::Man(flags) => completion::man(&flags.directory),
        Command::Version => {
            to_stdout(&format!("whaletap {}\n", env!("CARGO_PKG_VERSION")), Exit::Success)
        }
    }
}

/// Writes what a command has to say, and ends with `exit`; with 0 when nobody reads it any more.
fn to_stdout(text: &str, exit: Exit) -> Result<ExitCode, Failure> {
    match print(text.as_bytes()) {
        Ok(Written::All) => Ok(exit.code().into()),
        Ok(Written::NobodyReads) => Ok(Exit::Success.code().into()),
        Err(error) => Err(Failure::new(Exit::Failure, format!("cannot write to stdout: {error}"))),
    }
}

/// Lines as one text.
fn text(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}
