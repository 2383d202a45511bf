//! In the place of the program of helper containers: says what stands at its own end to whoever speaks
//! to it. See the module `agent` of the library.

#![expect(clippy::print_stderr, reason = "a program speaks to its caller")]

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match whaletap_lab::agent::stand_in(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("whaletap-stand-in: {error}");
            ExitCode::FAILURE
        }
    }
}
