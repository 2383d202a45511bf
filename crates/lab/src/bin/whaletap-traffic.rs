//! The traffic program of the lab; its modes are those of the module `traffic` of the library.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its caller")]

use std::{env, error::Error, process::ExitCode};

use whaletap_lab::traffic::{self, Options};

fn main() -> ExitCode {
    match run() {
        Ok(Some(report)) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("whaletap-traffic: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            match error {
                whaletap_lab::Error::Usage { .. } => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run() -> Result<Option<traffic::Report>, whaletap_lab::Error> {
    let mut arguments = env::args().skip(1);
    let Some(mode) = arguments.next() else {
        return Err(whaletap_lab::Error::Usage {
            argument: "MODE".to_owned(),
            reason: "is needed: send, inject, clock, udp, udp-echo, udp-serve, udp-ask, udp-ping, \
                     tcp-sink, tcp-send, tun, silent",
        });
    };
    traffic::run(&mode, Options::parse(arguments)?)
}
