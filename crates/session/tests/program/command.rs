//! A session's smaller faces as a command, for tests: what they do to their process cannot be done
//! to a test's.
//!
//! ```text
//! whaletap-session-command exec SOCKET SELECTOR COMMAND…
//! whaletap-session-command ls SOCKET [-a] [-i] [SELECTOR…]
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its caller")]

use std::{env, ffi::OsString, io::ErrorKind, process::ExitCode};

use docker::Endpoint;
use whaletap_session::{
    Error, Reach, Selection, Via,
    exec::{self, ExecRequest},
    inventory::{self, Entry, Query},
};

/// Exit codes in the words of shells and of docker.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
const OWN_FAILURE: u8 = 125;

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    if arguments.next().is_some_and(|name| name == opener::ARGV0) {
        return match opener::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error.to_string(), 1),
        };
    }
    let face = arguments.next().unwrap_or_default();
    let endpoint = Endpoint::unix(arguments.next().unwrap_or_default());
    let outcome = match face.to_str() {
        Some("exec") => exec(endpoint, arguments),
        Some("ls") => list(endpoint, arguments),
        _ => return failed("exec or ls?", 2),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = match &error {
                Error::Exec { source, .. } if source.kind() == ErrorKind::NotFound => NOT_FOUND,
                Error::Exec { .. } => NOT_EXECUTABLE,
                _ => OWN_FAILURE,
            };
            failed(&format!("{error}\n{error:?}"), code)
        }
    }
}

fn failed(why: &str, code: u8) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(code)
}

fn exec(endpoint: Endpoint, mut arguments: impl Iterator<Item = OsString>) -> Result<(), Error> {
    let selector = arguments
        .next()
        .unwrap_or_default()
        .to_string_lossy()
        .parse()
        .unwrap_or_else(|error: model::ParseSelectorError| panic!("{error}"));
    let command = arguments.collect();
    let request = ExecRequest { endpoint, selector, runtime_directory: None, command, image: None };
    match exec::run(&request)? {}
}

fn list(endpoint: Endpoint, arguments: impl Iterator<Item = OsString>) -> Result<(), Error> {
    let mut selection = Selection::default();
    let (mut all, mut interfaces) = (false, false);
    for argument in arguments {
        match argument.to_string_lossy().as_ref() {
            "-a" => all = true,
            "-i" => interfaces = true,
            word => match word.strip_prefix('!') {
                Some(word) => selection.exclude.extend(word.parse()),
                None => selection.selectors.extend(word.parse()),
            },
        }
    }
    let reach = Reach { via: Via::Host, ..Reach::default() };
    for entry in inventory::list(&Query { endpoint, reach, selection, all, interfaces })? {
        println!("{}", line(&entry));
    }
    Ok(())
}

/// Fields between tabs: name, state, inode, interfaces with their addresses, problem.
fn line(entry: &Entry) -> String {
    let state = entry.target.as_container().map(|container| container.state.to_string());
    let interfaces: Vec<String> = entry
        .interfaces
        .iter()
        .map(|i| {
            let addresses: Vec<String> = i.addresses.iter().map(ToString::to_string).collect();
            format!("{}[{}]", i.name, addresses.join(" "))
        })
        .collect();
    [
        entry.target.name.clone(),
        state.unwrap_or_default(),
        entry.netns.map(|netns| netns.ino.to_string()).unwrap_or_default(),
        interfaces.join(" "),
        entry.problem.as_ref().map(ToString::to_string).unwrap_or_default(),
    ]
    .join("\t")
}
