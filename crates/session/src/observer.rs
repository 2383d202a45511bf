use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use capture::{Blind, Keep, Limit, Record, Snapshot, SpillTrouble, Trigger};
use model::{LinkType, NetnsId, Selector};

use crate::Failed;

/// Who watches a session: the terminal. Every method has an empty default.
pub trait Observer {
    /// All targets of the start are attached, or have failed.
    fn started(&mut self, _snapshot: &Snapshot) {}

    /// Something that a person wants to know.
    fn notice(&mut self, _notice: Notice<'_>) {}

    /// Called about once a second when [`Observer::wants_ticks`].
    fn tick(&mut self, _snapshot: &Snapshot) {}

    /// Whether to be called once a second.
    fn wants_ticks(&self) -> bool {
        false
    }

    /// A file is complete and closed.
    fn file_done(&mut self, _path: &Path) {}

    /// SIGUSR1: the user asks for the counts.
    fn counts(&mut self, _snapshot: &Snapshot) {}

    /// A second signal to stop: the process has to end at once. What is written is written.
    fn interrupted_twice(&mut self) {}
}

/// Something that a person wants to know while a session runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// Rights were given up; what was achieved, in words, and why something was not.
    Unprivileged {
        /// The user that the process is now.
        uid: u32,
        /// What Landlock enforces, in words.
        landlock: &'a str,
    },
    /// The person behind sudo cannot write to the output directory, so root's uid stays, without
    /// capabilities.
    StayedRoot {
        /// The directory.
        directory: PathBuf,
        /// Whose it should have been.
        uid: u32,
    },
    /// The engine is a rootless one of this user's, which is all that takes to reach what it runs.
    OfThisUser,
    /// Namespaces are reached through a helper container.
    ThroughHelper {
        /// Why not from here; `None` where the user said so.
        instead_of: Option<&'a str>,
    },
    /// A target could not be attached; the others go on.
    Failed(&'a Failed),
    /// A capture ended because its target did.
    Ended {
        /// Its name.
        name: &'a str,
    },
    /// A target has the host's own network stack: the capture is the whole host's.
    HostNetwork {
        /// Its name.
        name: &'a str,
    },
    /// Several targets share a namespace and are one capture.
    Shared {
        /// Their common name: `a+b`.
        name: &'a str,
        /// The namespace.
        netns: NetnsId,
    },
    /// A container that was taken does not run.
    NotRunning {
        /// Its name.
        name: &'a str,
        /// What it does instead, in the engine's word.
        state: &'a str,
    },
    /// The same where it is captured once it runs.
    WaitedFor {
        /// Its name.
        name: &'a str,
        /// What it does instead, in the engine's word.
        state: &'a str,
    },
    /// A target came while others were captured, or came back.
    Attached {
        /// Its name.
        name: &'a str,
        /// What was missed of it; `None` where nobody knows.
        blind: Option<Blind>,
        /// Since its last end.
        gap: Option<Duration>,
    },
    /// The engine does not answer any more, or tells no events: captures go on, and what is started
    /// is noticed late.
    EngineLost {
        /// Why.
        why: &'a docker::Error,
    },
    /// It answers again.
    EngineBack,
    /// An `--exclude` that takes nothing.
    ExcludesNothing {
        /// It.
        selector: &'a Selector,
    },
    /// Interfaces that were named and are not in a target.
    MissingInterface {
        /// The target.
        name: &'a str,
        /// The interface.
        interface: &'a str,
    },
    /// The expression matches nothing on this link type.
    NeverMatches {
        /// The link type.
        link_type: LinkType,
        /// libpcap's words.
        message: &'a str,
    },
    /// The expression is evaluated in user space.
    InUserSpace {
        /// Why.
        why: &'a str,
    },
    /// The clock was set by so many nanoseconds.
    ClockStepped {
        /// Forward when positive.
        nanoseconds: i64,
    },
    /// The opener has ended: running captures go on, nothing new can be attached.
    OpenerGone,
    /// A command of the user's could not be run or failed.
    Command {
        /// The command.
        command: &'a str,
        /// What happened.
        what: &'a str,
    },
    /// A recorder has written a file.
    Recorded(&'a Record),
    /// A recorder could not write a file, or not all of it.
    NotRecorded {
        /// The target's name.
        target: &'a str,
        /// Why it was to be written.
        trigger: &'a Trigger,
        /// What failed.
        error: &'a capture::Error,
    },
    /// A recorder writes no more files.
    RecorderFull {
        /// The limit that is reached.
        limit: Limit,
    },
    /// The memory, with the spill, does not hold the windows that were asked for, or does again.
    WindowShort {
        /// How long windows are to be.
        asked: Keep,
        /// How long they can be; `None`: as long as they are to be.
        possible: Option<Keep>,
        /// There is a spill.
        spills: bool,
    },
    /// Something is wrong with what a recorder has on disk.
    Spill {
        /// Where it is.
        directory: &'a Path,
        /// What is wrong.
        trouble: &'a SpillTrouble,
    },
    /// Somebody else captures there as well, or the like: something that is no error.
    Remark {
        /// In words.
        text: &'a str,
    },
}
