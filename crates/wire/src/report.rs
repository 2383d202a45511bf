use model::{Interface, NetnsId, Stats};

use crate::{
    Error,
    field::{Field, Reader, fields_of, kinds_of},
};

/// What a far side tells, beside [frames](crate::Batch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A namespace is captured from now on.
    Attached(Attached),
    /// A namespace is not captured: it could not be, or its far side gave it up.
    Refused(Refused),
    /// The interfaces of a namespace, whenever something about them has changed.
    Interfaces(Interfaces),
    /// Everything of a capture that is older was sent.
    Settled(Settled),
    /// Where a capture's frames went until now.
    Counts(Counts),
    /// A capture was let go, and everything of it was sent: the last that is told of it.
    Detached(Counts),
    /// The answer to a [`crate::Question`].
    Clock(Clock),
    /// Words for people.
    Notice(Notice),
    /// The far side is there.
    Heartbeat,
    /// It ends.
    Ended(Ended),
    /// What is in a namespace that was to be looked into.
    Seen(Seen),
    /// It could not be looked into: the number is the [look](crate::Look)'s.
    Unseen(Refused),
}

/// A namespace that is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its capture.
    pub capture: u32,
    /// Its identity over there.
    pub netns: NetnsId,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// The kernel runs the short program, so each frame is to be judged by who gets it.
    pub program_refused: bool,
    /// When, by the far side's clock: nanoseconds since 1970.
    pub since: u64,
    /// Interfaces that were named and are not there.
    pub missing: Vec<String>,
    /// When the namespace was made, by the same clock; `None` where that is not known.
    pub created: Option<u64>,
    /// Frames that its interfaces had counted before it was captured.
    pub frames_before: u64,
}

/// A namespace that is not, or cannot be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The number of what was asked for.
    pub number: u32,
    /// What kind of failure it is.
    pub reason: Reason,
    /// `errno(3)`, where a system call failed.
    pub errno: Option<i32>,
    /// What failed. Text from outside: not safe for a terminal.
    pub text: String,
}

/// Kinds of failure: those of the opener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A right is missing over there.
    NotPermitted,
    /// There is no such process or file.
    NotFound,
    /// It is there, and another one than was meant.
    NotTheOne,
    /// It is not there yet.
    NotReady,
    /// Something else.
    Failed,
}

/// A look into a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The look's number.
    pub number: u32,
    /// The namespace's identity over there.
    pub netns: NetnsId,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
}

/// The interfaces of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// The capture.
    pub capture: u32,
    /// All that are there.
    pub interfaces: Vec<Interface>,
}

/// How far a capture is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The capture.
    pub capture: u32,
    /// No frame with an earlier timestamp follows: nanoseconds since 1970 by the far side's clock.
    pub until: u64,
}

/// Where frames went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// The capture.
    pub capture: u32,
    /// Since its beginning. `captured` is what was sent; what had no room on the far side is
    /// `dropped_by_us`.
    pub stats: Stats,
}

/// The time over there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// The question's number.
    pub number: u64,
    /// The clock that frames are stamped by: nanoseconds since 1970.
    pub now: u64,
}

/// Words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The capture that it is about, if it is about one.
    pub capture: Option<u32>,
    /// Text from outside: not safe for a terminal.
    pub text: String,
}

/// Why a far side ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What went wrong; `None` where it was asked to.
    pub text: Option<String>,
}

fields_of! {
    Attached {
        capture: u32,
        netns: NetnsId,
        interfaces: Vec<Interface>,
        program_refused: bool,
        since: u64,
        missing: Vec<String>,
        created: Option<u64>,
        frames_before: u64,
    }
    Seen { number: u32, netns: NetnsId, interfaces: Vec<Interface> }
    Refused { number: u32, reason: Reason, errno: Option<i32>, text: String }
    Interfaces { capture: u32, interfaces: Vec<Interface> }
    Settled { capture: u32, until: u64 }
    Counts { capture: u32, stats: Stats }
    Clock { number: u64, now: u64 }
    Notice { capture: Option<u32>, text: String }
    Ended { text: Option<String> }
}
kinds_of!(Reason { 0 NotPermitted, 1 NotFound, 2 NotTheOne, 3 NotReady, 4 Failed });
kinds_of!(Report {
    1 Attached(Attached),
    2 Refused(Refused),
    3 Interfaces(Interfaces),
    4 Settled(Settled),
    5 Counts(Counts),
    6 Detached(Counts),
    7 Clock(Clock),
    8 Notice(Notice),
    9 Heartbeat,
    10 Ended(Ended),
    11 Seen(Seen),
    12 Unseen(Refused),
});

impl Report {
    /// As a message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        Reader::whole(bytes).ok_or(Error::Malformed { what: "a report" })
    }
}
