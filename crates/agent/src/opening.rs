//! What the client orders, as the opener is asked for it, and the other way round.

use std::time::Duration;

use sys::ring::Geometry;
use wire::{Refused, Report};

/// The shortest and the longest retire timeout of a ring.
const RETIRE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// Where the opener finds a namespace. The host's is the one that we are in: a helper that is to
/// reach it has been started there.
pub(crate) fn place(place: wire::Place) -> opener::Place {
    match place {
        wire::Place::Container(wire::ContainerPlace { pid, id, sandbox_key }) => {
            opener::Place::Container { pid, id, sandbox_key }
        }
        wire::Place::Process(pid) => opener::Place::Process { pid },
        wire::Place::Netns(path) => opener::Place::Netns { path },
        wire::Place::Host | wire::Place::Own => opener::Place::Host,
    }
}

/// How the opener sets sockets up.
pub(crate) fn spec(spec: wire::Spec) -> opener::Spec {
    let retire = Duration::from_micros(spec.retire.into()).clamp(RETIRE.0, RETIRE.1);
    opener::Spec {
        program: spec.program,
        fallback: spec.fallback,
        geometry: Geometry::of_size(spec.ring, retire),
        scope: match spec.scope {
            wire::Scope::Namespace => opener::Scope::Namespace,
            wire::Scope::EachInterface => opener::Scope::EachInterface,
            wire::Scope::Named(names) => opener::Scope::Named(names),
        },
        promiscuous: spec.promiscuous,
    }
}

/// Why a namespace is not captured.
pub(crate) fn refused(capture: u32, error: &opener::Error) -> Report {
    Report::Refused(why(capture, error))
}

/// Why a namespace cannot be looked into.
pub(crate) fn unseen(number: u32, error: &opener::Error) -> Report {
    Report::Unseen(why(number, error))
}

fn why(number: u32, error: &opener::Error) -> Refused {
    let reason = match error.reason() {
        opener::Reason::NotPermitted => wire::Reason::NotPermitted,
        opener::Reason::NotFound => wire::Reason::NotFound,
        opener::Reason::NotTheOne => wire::Reason::NotTheOne,
        opener::Reason::NotReady => wire::Reason::NotReady,
        opener::Reason::Failed => wire::Reason::Failed,
    };
    let errno = match error {
        opener::Error::Refused { errno, .. } => *errno,
        _ => None,
    };
    Refused { number, reason, errno, text: error.to_string() }
}

/// Why a namespace is not captured, for a reason of our own.
pub(crate) fn refused_here(capture: u32, text: String) -> Report {
    Report::Refused(why_here(capture, text))
}

/// Why a namespace cannot be looked into, for a reason of our own.
pub(crate) fn unseen_here(number: u32, text: String) -> Report {
    Report::Unseen(why_here(number, text))
}

fn why_here(number: u32, text: String) -> Refused {
    Refused { number, reason: wire::Reason::Failed, errno: None, text }
}
