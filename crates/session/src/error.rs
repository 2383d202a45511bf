use std::{io, path::PathBuf};

use model::Selector;
use sys::privileges::{self, Capability};

/// Why a session could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Selectors that take nothing, or too much.
    #[error(transparent)]
    NoSuchTarget(#[from] NoSuchTarget),
    /// A right is missing.
    #[error("{what}: not permitted ({missing})")]
    NotPermitted {
        /// What was tried.
        what: String,
        /// The capability or the group that is missing.
        missing: String,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] docker::Error),
    /// The capture expression.
    #[error("cannot compile `{expression}`: {source}")]
    Expression {
        /// The expression.
        expression: String,
        /// Why not.
        source: filter::Error,
    },
    /// The opener, or what it was asked for.
    #[error("{target}: {source}")]
    Opener {
        /// The target.
        target: String,
        /// Why not.
        source: opener::Error,
    },
    /// A far side, or what it was asked for.
    #[error("{target}: {source}")]
    Far {
        /// The target.
        target: String,
        /// Why not.
        source: capture::Error,
    },
    /// The opener process could not be started.
    #[error("cannot start the opener: {source}")]
    StartOpener {
        /// Why not.
        source: opener::Error,
    },
    /// A program of this host is to run in what an engine elsewhere runs.
    #[error(
        "{endpoint} is another machine's engine: a program of this host cannot run in the networks over \
         there"
    )]
    ProgramElsewhere {
        /// The engine's address.
        endpoint: String,
    },
    /// What an engine elsewhere runs is wanted from here.
    #[error(
        "{endpoint} is another machine's engine: what it runs is reached through a helper container \
         there, and not from this host"
    )]
    HostElsewhere {
        /// The engine's address.
        endpoint: String,
    },
    /// The program of helper containers is of another release.
    #[error("{path} is of release {theirs}, and this is {ours}", path = path.display())]
    OtherRelease {
        /// The program.
        path: PathBuf,
        /// Its release.
        theirs: String,
        /// Ours.
        ours: &'static str,
    },
    /// A helper container was started, and nothing is heard of it.
    #[error("the helper container {name} was started and does not answer")]
    HelperSilent {
        /// Its name.
        name: String,
    },
    /// Somebody wants the end, before there is anything to end.
    #[error("interrupted before anything was captured")]
    Interrupted,
    /// None of the interfaces that were named is in a target.
    #[error("{target} has no interface {interfaces}")]
    NoInterface {
        /// The target.
        target: String,
        /// The names.
        interfaces: String,
    },
    /// Files, rings, threads.
    #[error(transparent)]
    Capture(#[from] capture::Error),
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] sys::Error),
    /// The output cannot be prepared.
    #[error("{what} {path}: {source}", path = path.display())]
    Output {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There can be no file for what memory does not hold.
    #[error("cannot spill into {directory}: {source}", directory = directory.display())]
    Spill {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A command could not be started.
    #[error("cannot run {command}: {source}")]
    Command {
        /// The command.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// Every target failed; each was told by itself.
    #[error("none of the {count} targets could be attached")]
    NoneAttached {
        /// How many there were.
        count: usize,
        /// Whether all of them failed for want of rights.
        not_permitted: bool,
    },
    /// A target could not be entered.
    #[error("cannot enter {target}: {source}")]
    Enter {
        /// The target.
        target: String,
        /// Why not.
        source: sys::Error,
    },
    /// A program could not be started inside a target: by its kind the source tells one that was
    /// not found from one that cannot be run.
    #[error("cannot run {program}: {source}")]
    Exec {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// `exec` takes one target.
    #[error("`{selector}` takes {count} targets, and one is needed: {names}")]
    SeveralTargets {
        /// What was written.
        selector: Selector,
        /// How many.
        count: usize,
        /// The first of them.
        names: String,
    },
}

impl Error {
    /// Whether a target was gone when it was to be entered.
    pub(crate) fn is_not_found(&self) -> bool {
        let reason = match self {
            Self::Opener { source, .. } => Some(source.reason()),
            error => error.told_elsewhere(),
        };
        reason == Some(opener::Reason::NotFound)
    }

    /// What kind of failure a far side has told of, if it has: in the opener's words.
    #[must_use]
    pub fn told_elsewhere(&self) -> Option<opener::Reason> {
        use capture::far::Reason;
        let Self::Far {
            source: capture::Error::FarRefused { refused } | capture::Error::FarUnseen { refused },
            ..
        } = self
        else {
            return None;
        };
        Some(match refused.reason {
            Reason::NotPermitted => opener::Reason::NotPermitted,
            Reason::NotFound => opener::Reason::NotFound,
            Reason::NotTheOne => opener::Reason::NotTheOne,
            Reason::NotReady => opener::Reason::NotReady,
            Reason::Failed => opener::Reason::Failed,
        })
    }

    /// A namespace may not be entered: names the capabilities that this process has not, or, where
    /// it has them, what was `said`: one in another user namespace may be missing.
    pub(crate) fn not_permitted(what: String, said: &dyn std::error::Error) -> Self {
        let needed = [Capability::SYS_ADMIN, Capability::SYS_PTRACE];
        let missing = match privileges::effective().map(|effective| effective.missing(&needed)) {
            Ok(missing) if !missing.is_empty() => format!("missing {missing}"),
            _ => said.to_string(),
        };
        Self::NotPermitted { what, missing }
    }
}

/// Selectors that do not lead to targets. All of them are told at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines.join("\n"))]
pub struct NoSuchTarget {
    /// A line for each selector.
    pub lines: Vec<String>,
}
