//! whaletap-agent: the program that whaletap runs in a helper container.
//!
//! A container of an image with nothing but this file in it: so it is linked statically, and has few
//! dependencies. On an engine of this machine it is an opener and no more: it enters namespaces,
//! opens sockets there, and hands them to its client through a socket in a directory that both have.
//! The frames never pass through it.
//!
//! Not for people: `whaletap` starts it, and it ends with its client.

use std::{env, ffi::OsString, io::Write, path::Path, process::ExitCode};

/// What stands in the file for those who cannot run it: `docker::HelperProgram` looks for it.
const RELEASE: &str = concat!("whaletap-agent release ", env!("CARGO_PKG_VERSION"), "\n");

const USAGE: &str = "\
usage: whaletap-agent opener SOCKET   serve openings over that socket
       whaletap-agent version
whaletap starts this program in helper containers; there is nothing to be typed.
";

/// The exit code for words that make no sense.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    match words.as_slice() {
        ["opener", socket] => ended(opener::serve_at(Path::new(socket))),
        ["version"] => match std::io::stdout().write_all(RELEASE.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        _ => {
            say(USAGE);
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn ended(served: Result<(), sys::Error>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("whaletap-agent: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Says it where somebody may be attached.
fn say(text: &str) {
    // Nobody is left to be told when this fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
