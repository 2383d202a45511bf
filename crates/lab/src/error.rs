use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// What went wrong in the lab.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program's name.
        program: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A program ended with another status than success.
    #[error("{program} ended with {status}: {stderr}")]
    Failed {
        /// The program and its arguments.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A program lived longer than it may and was killed.
    #[error("{program} was killed after {limit:?}; it had said: {stderr}")]
    TimedOut {
        /// The program and its arguments.
        program: String,
        /// Its limit.
        limit: Duration,
        /// What it had said until then.
        stderr: String,
    },
    /// A program did not say what was waited for.
    #[error("{program} did not say {wanted:?} within {limit:?}; it said: {stderr}")]
    NotSaid {
        /// The program and its arguments.
        program: String,
        /// The text that was waited for.
        wanted: String,
        /// The limit of the wait.
        limit: Duration,
        /// What it said instead.
        stderr: String,
    },
    /// A program said something that was not expected.
    #[error("{program} said what cannot be understood: {text}")]
    Unexpected {
        /// The program's name.
        program: String,
        /// What it said.
        text: String,
    },
    /// A tool read a file, but not without a word.
    #[error("{program} warned about {path}: {warning}")]
    Warned {
        /// The tool.
        program: String,
        /// The file that it read.
        path: PathBuf,
        /// Its words.
        warning: String,
    },
    /// A system call failed.
    #[error("{call} failed on {subject}")]
    Call {
        /// The call's name.
        call: &'static str,
        /// What it was used on.
        subject: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A file could not be read, written or made.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A capture file breaks its format.
    #[error("{path} is not a capture file: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// No Docker engine answers.
    #[error(
        "no Docker engine answers on {tried}; run the tests through `cargo run -p whaletap-lab \
         --bin whaletap-lab -- engine -- COMMAND`, which starts one"
    )]
    NoEngine {
        /// The endpoint that was tried.
        tried: String,
    },
    /// An engine to which only root may connect.
    #[error("the socket of the engine on {host} has no group that may connect to it")]
    NoGroup {
        /// Its endpoint.
        host: String,
    },
    /// The private engine did not become ready.
    #[error("the private engine was not ready within {limit:?}; its log ends with: {log}")]
    EngineNotReady {
        /// The limit.
        limit: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// The command line of one of the lab's programs is wrong.
    #[error("{argument}: {reason}")]
    Usage {
        /// The argument.
        argument: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Programs that the lab needs are not installed.
    #[error("not installed: {}", missing.join(", "))]
    Missing {
        /// The programs, each with the package that has it.
        missing: Vec<String>,
    },
}

impl Error {
    /// Wraps a file's error with its path.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// Wraps a system call's error with what it was used on.
    pub(crate) fn call<E: Into<io::Error>>(
        call: &'static str,
        subject: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let subject = subject.into();
        move |source| Self::Call { call, subject, source: source.into() }
    }
}
