//! Exit codes, and what a person is told when something fails.

use std::{error::Error as StdError, io::Write};

use opener::Reason;
use session::CaptureError;

use crate::terminal::{mark, safe};

/// The documented exit codes. They do not change without notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Finished, or stopped by the user, a limit, a closed pipe.
    Success = 0,
    /// A failure, or a bug.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No such target.
    NoSuchTarget = 3,
    /// A right is missing.
    NotPermitted = 4,
    /// Some targets failed, or packets were lost and that matters.
    Partial = 5,
    /// The engine does not answer.
    EngineUnreachable = 6,
    /// The capture expression does not compile.
    Expression = 7,
    /// `--run`: whaletap itself failed, with whatever code that would have had without.
    OwnFailure = 125,
    /// `exec`, `--run`: the program is there, and cannot be run.
    CannotRun = 126,
    /// `exec`, `--run`: the program is not there.
    NotFound = 127,
    /// A second signal, or a first one before there was anything to end.
    Interrupted = 130,
}

impl Exit {
    /// All of them, with the words of the help.
    const ALL: [(Self, &'static str); 12] = [
        (Self::Success, "finished, or stopped by you, by a limit, or by a closed pipe"),
        (Self::Failure, "failure, or a bug"),
        (Self::Usage, "the command line makes no sense"),
        (Self::NoSuchTarget, "no such target"),
        (Self::NotPermitted, "not permitted"),
        (
            Self::Partial,
            "some targets failed, a recorder's file was not written, or packets were lost and \
             --fail-on-drop",
        ),
        (Self::EngineUnreachable, "the engine cannot be reached"),
        (Self::Expression, "the expression does not compile"),
        (Self::OwnFailure, "--run: whaletap itself failed; otherwise the code is the command's"),
        (Self::CannotRun, "exec, --run: the program cannot be run"),
        (Self::NotFound, "exec, --run: there is no such program"),
        (Self::Interrupted, "ended at once by a second signal, or by one before the capture began"),
    ];

    /// As the system takes it.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

/// The exit codes for the help.
pub(crate) fn table() -> String {
    let mut table = "Exit codes:".to_owned();
    for (exit, when) in Exit::ALL {
        table.push_str(&format!("\n  {:<3}  {when}", exit.code()));
    }
    table
}

/// Why a command did not do what it was asked: what is told, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What failed and why, a line each. Not yet safe for a terminal.
    pub(crate) lines: Vec<String>,
    /// The expression and the byte offset that are at fault.
    pub(crate) place: Option<(String, usize)>,
    /// What to do now.
    pub(crate) hint: Option<String>,
}

const SUDO: &str = "run it with sudo (as root of the machine itself, not of a container), or as a member \
                    of the group that owns the engine's socket (docker): then a container that the \
                    engine starts does what takes rights";
const LIST: &str = "`whaletap ls` lists the containers that there are";
const LANGUAGE: &str = "pcap-filter(7) has the language; options stand before `--`";
const UNKNOWN_HOST: &str = "names are looked up on this machine, which does not know its containers': \
                            `whaletap ls` has their addresses";
const NO_ENGINE: &str = "pid:N, netns:PATH and host of this machine need no engine";
const ELSEWHERE: &str = "does `docker version` reach it in the same way? pid:N, netns:PATH and host \
                         are that machine's, too, and are reached through its engine";
const BUG: &str = "this should not happen and is a bug in whaletap: please report it with the \
                   command line and the output of `whaletap version`";

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, lines: vec![what.into()], place: None, hint: None }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what).with_hint(hint)
    }

    /// A failure that nobody but us can mend.
    pub(crate) fn bug(what: impl Into<String>) -> Self {
        Self::new(Exit::Failure, what).with_hint(BUG)
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Tells it: `whaletap: what: why`, a mark below an expression, and what to do.
    pub(crate) fn tell(&self, out: &mut dyn Write) {
        // Nobody is left to be told when this fails.
        let _ = self.write(out);
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        for line in &self.lines {
            writeln!(out, "whaletap: {}", safe(line))?;
        }
        if let Some((expression, position)) = &self.place {
            for line in mark(expression, *position) {
                writeln!(out, "{line}")?;
            }
        }
        if let Some(hint) = &self.hint {
            writeln!(out, "hint: {}", safe(hint))?;
        }
        Ok(())
    }
}

/// An error and everything that is behind it, each thing said once, without the numbers that the
/// standard library puts behind the system's words.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = error.source();
    }
    without_numbers(text)
}

fn without_numbers(mut text: String) -> String {
    const BEGIN: &str = " (os error ";
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(BEGIN)) {
        let (begin, number) = (from + at, from + at + BEGIN.len());
        let end = text[number..].find(|c: char| !c.is_ascii_digit()).map(|end| number + end);
        match end {
            Some(end) if text[end..].starts_with(')') => text.replace_range(begin..=end, ""),
            _ => from = number,
        }
    }
    text
}

impl From<&docker::Error> for Failure {
    fn from(error: &docker::Error) -> Self {
        use docker::Error as E;
        let exit = match error {
            E::ConflictingOptions
            | E::SeveralHosts { .. }
            | E::BadHost { origin: docker::Source::HostOption, .. }
            | E::FilterForm { .. }
            | E::FilterKey { .. }
            // A filter's value that the engine does not understand.
            | E::Api { status: 400, .. } => Exit::Usage,
            E::NoSuchContainer { .. } => Exit::NoSuchTarget,
            E::PermissionDenied { .. } => Exit::NotPermitted,
            E::Api { .. } => Exit::Failure,
            _ => Exit::EngineUnreachable,
        };
        let hint = match error {
            E::NoSuchContainer { .. } => Some(LIST),
            other => other.hint(),
        };
        let hint = hint.map(str::to_owned).or_else(|| match exit {
            Exit::EngineUnreachable if error.is_elsewhere() => Some(ELSEWHERE.to_owned()),
            Exit::EngineUnreachable => Some(NO_ENGINE.to_owned()),
            _ => None,
        });
        Self { exit, lines: vec![chain(error)], place: None, hint }
    }
}

impl From<&CaptureError> for Failure {
    fn from(error: &CaptureError) -> Self {
        let what = chain(error);
        match error {
            CaptureError::Kernel(kernel) if kernel.is_permission() => {
                Self::new(Exit::NotPermitted, what).with_hint(SUDO)
            }
            CaptureError::Open { source, .. } | CaptureError::Write { source, .. } => {
                output(what, source.kind())
            }
            CaptureError::LinkTypesDiffer { .. } => Self::new(Exit::Failure, what).with_hint(
                "use pcapng (-F pcapng), one kind of interface (-i eth0), or --linktype sll2",
            ),
            CaptureError::FileName { .. } => Self::new(Exit::Usage, what),
            CaptureError::Panicked { .. } => Self::bug(what),
            _ => Self::new(Exit::Failure, what),
        }
    }
}

/// A file or directory that cannot be written.
fn output(what: String, kind: std::io::ErrorKind) -> Failure {
    use std::io::ErrorKind as K;
    let hint = match kind {
        K::NotFound => "the output directory is not made: make it, or name another with -w",
        K::PermissionDenied => {
            "files are written as who you are (behind sudo as that person, as root without the right to pass \
             over permissions), and below the directory of -w only: name a place of that user's with -w"
        }
        K::StorageFull | K::QuotaExceeded => {
            "what was written until then can be read; -s, an expression, -C with -W need less room"
        }
        _ => return Failure::new(Exit::Failure, what),
    };
    Failure::new(Exit::Failure, what).with_hint(hint)
}

impl From<&opener::Error> for Failure {
    fn from(error: &opener::Error) -> Self {
        let what = chain(error);
        if matches!(error, opener::Error::Unreadable) {
            return Self::bug(what);
        }
        match error.reason() {
            Reason::NotPermitted => Self::new(Exit::NotPermitted, what).with_hint(SUDO),
            Reason::NotFound => Self::new(Exit::NoSuchTarget, what).with_hint(LIST),
            Reason::NotTheOne => Self::new(Exit::Failure, what).with_hint(
                "the engine's containers are not on this machine, but in a virtual machine or \
                 behind a tunnel: run whaletap there",
            ),
            Reason::NotReady | Reason::Failed => Self::new(Exit::Failure, what),
        }
    }
}

impl From<&session::Error> for Failure {
    fn from(error: &session::Error) -> Self {
        use session::Error as E;
        let what = chain(error);
        match error {
            E::NoSuchTarget(error) => Self {
                exit: Exit::NoSuchTarget,
                lines: error.lines.clone(),
                place: None,
                hint: None,
            }
            .with_hint(LIST),
            E::NotPermitted { missing, .. } if missing.contains("group") => {
                Self::new(Exit::NotPermitted, what)
                    .with_hint("run it with sudo, or as a member of that group")
            }
            E::NotPermitted { .. } => Self::new(Exit::NotPermitted, what).with_hint(SUDO),
            E::Engine(error) => error.into(),
            E::Expression { expression, source } => {
                let place = source.position().map(|position| (expression.clone(), position));
                let what = match &place {
                    Some(_) => format!("cannot compile the expression: {source}"),
                    None => what,
                };
                Self {
                    exit: Exit::Expression,
                    lines: vec![what],
                    place,
                    hint: Some(if source.is_unknown_host() { UNKNOWN_HOST } else { LANGUAGE }.to_owned()),
                }
            }
            E::Opener { target, source } => {
                let mut failure = Self::from(source);
                for line in &mut failure.lines {
                    *line = format!("{target}: {line}");
                }
                failure
            }
            E::StartOpener { source } => Self { lines: vec![what], ..Self::from(source) },
            E::OtherRelease { .. } => Self::new(Exit::Failure, what).with_hint(
                "whaletap and whaletap-agent are installed together: install both of one release, or \
                 let WHALETAP_AGENT name the one of this release",
            ),
            E::HostElsewhere { .. } => Self::new(Exit::Usage, what)
                .with_hint("--via helper, or leave --via away; or run whaletap there"),
            E::ProgramElsewhere { .. } => Self::new(Exit::Usage, what).with_hint(
                "--image names an image that has the program, and runs it there; or run whaletap there",
            ),
            E::Interrupted => Self::new(Exit::Interrupted, what),
            // No right of this machine would help.
            E::Far { .. } => match error.told_elsewhere() {
                Some(Reason::NotPermitted) => Self::new(Exit::NotPermitted, what),
                Some(Reason::NotFound) => Self::new(Exit::NoSuchTarget, what).with_hint(LIST),
                _ => Self::new(Exit::Failure, what),
            },
            E::NoInterface { .. } => Self::new(Exit::Failure, what)
                .with_hint("`whaletap ls --interfaces` lists what is inside"),
            E::Capture(error) => error.into(),
            E::Kernel(source) | E::Enter { source, .. } if source.is_permission() => {
                Self::new(Exit::NotPermitted, what).with_hint(SUDO)
            }
            E::Output { source, .. } => output(what, source.kind()),
            E::Spill { .. } => Self::new(Exit::Failure, what)
                .with_hint("name a directory that is there, on a disk, with --spill"),
            E::NoneAttached { not_permitted: true, .. } => {
                Self::new(Exit::NotPermitted, what).with_hint(SUDO)
            }
            E::Exec { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Self::new(Exit::NotFound, what).with_hint(
                    "the program has to be on this host: what is in the container is not looked at",
                )
            }
            E::Command { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Self::new(Exit::NotFound, what)
            }
            E::Exec { .. } | E::Command { .. } => Self::new(Exit::CannotRun, what),
            E::SeveralTargets { .. } => {
                Self::new(Exit::NoSuchTarget, what).with_hint("name one of them")
            }
            _ => Self::new(Exit::Failure, what),
        }
    }
}

/// `?` for what ends a command.
macro_rules! from_owned {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::from(&error)
            }
        }
    )*};
}
from_owned!(docker::Error, CaptureError, session::Error);

#[cfg(test)]
mod tests;
