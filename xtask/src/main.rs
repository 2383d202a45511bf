//! Chores of the project, run as `cargo xtask CHORE`.
//!
//! Each chore is a module with one `run`. There are few and they take few words, so the command
//! line is read by hand: a parser here would cost more to build than it saves.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for people: its output is text on the terminal"
)]

use std::{env, process::ExitCode};

mod bench;
mod layers;

const USAGE: &str = "\
Usage: cargo xtask CHORE

Chores:
  layers   check that the crates depend on each other as ARCHITECTURE.md says
  bench    measure against tcpdump and dumpcap into docs/benchmarks.md, as root; --quick only looks
           [--rounds N] [--section cpu|scale|bystander|start|helper|record|stall|first]… [--quick] [--whaletap PATH]
  soak     let 2,000 containers come and go under one session, as root, and look at what it holds
           [--quick] [--whaletap PATH]
";

/// Exit code for a command line that makes no sense.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["layers"] => layers::run(),
        ["bench", options @ ..] => bench::run(options),
        ["soak", options @ ..] => bench::run(&[&["--section", "soak"], options].concat()),
        ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
