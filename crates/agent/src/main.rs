//! whaletap-agent: the program that whaletap runs in a helper container.
//!
//! A container of an image with nothing but this file in it: so it is linked statically, and has few
//! dependencies. On an engine of this machine it is an opener and no more: it enters namespaces,
//! opens sockets there, and hands them to its client through a socket in a directory that both have.
//! The frames never pass through it.
//!
//! On an engine elsewhere it is the far side of a session: it captures there, and speaks the
//! protocol of the crate `wire` over its standard input and output.
//!
//! ```text
//!  stdin ─► line ─► orders ─► far side ─► opener (this program again) ─► sockets
//! stdout ◄─ line ◄─ batches, reports ◄─ outgoing ◄─ stations ◄─ taps ◄─ rings
//! ```
//!
//! Not for people: `whaletap` starts it, and it ends with its client.

mod error;
mod far_side;
mod line;
mod opening;
mod station;
mod stdio;
mod tap;

use std::{env, ffi::OsString, fmt::Display, io::Write, path::Path, process::ExitCode};

/// What stands in the file for those who cannot run it: `docker::HelperProgram` looks for it.
const RELEASE: &str = concat!("whaletap-agent release ", env!("CARGO_PKG_VERSION"), "\n");

const USAGE: &str = "\
usage: whaletap-agent opener SOCKET   serve openings over that socket
       whaletap-agent stdio           capture here for who is at the other end of stdin and stdout
       whaletap-agent version
whaletap starts this program in helper containers; there is nothing to be typed.
";

/// The exit code for words that make no sense.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    if env::args_os().next().is_some_and(|name| name == opener::ARGV0) {
        return ended(opener::serve_machine());
    }
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    match words.as_slice() {
        ["opener", socket] => ended(opener::serve_at(Path::new(socket))),
        ["stdio"] => ended(stdio::serve()),
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

fn ended<E: Display>(served: Result<(), E>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Words of strangers may be in it.
            let text = error.to_string().replace(|c: char| c.is_control(), "\u{fffd}");
            say(&format!("whaletap-agent: {text}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Says it where somebody may be attached.
fn say(text: &str) {
    // Nobody is left to be told when this fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
