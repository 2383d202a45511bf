use std::{io, path::PathBuf};

use model::NetnsId;

/// Why the kernel's side of a capture failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{call}: {source}")]
    Call {
        /// The call, and the option that it was about: `setsockopt(PACKET_RX_RING)`.
        call: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A system call on a file failed.
    #[error("{call} {path}: {source}", path = path.display())]
    Path {
        /// The call.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Where a file is to be created something stands that is no file.
    #[error("create {path}: what stands there is no file", path = path.display())]
    NotFile {
        /// What stands there.
        path: PathBuf,
    },
    /// A file that should be a network namespace is none.
    #[error("{path} is not a network namespace", path = path.display())]
    NotNetns {
        /// The file.
        path: PathBuf,
    },
    /// A name led to another namespace than it should.
    #[error("expected namespace {expected}, found {found}")]
    OtherNetns {
        /// What it should have been.
        expected: NetnsId,
        /// What it was.
        found: NetnsId,
    },
    /// The kernel refused a program for its length: option memory is bounded.
    #[error("the kernel refuses a program of {instructions} instructions")]
    ProgramTooLong {
        /// Its length.
        instructions: usize,
    },
    /// A dedicated thread ended without an answer.
    #[error("the thread that entered a namespace ended without an answer")]
    ThreadDied,
    /// The peer of a socketpair closed its end.
    #[error("the peer closed the connection")]
    PeerGone,
    /// A message was longer than its bound, or came without the descriptors it announced.
    #[error("malformed message from the peer: {what}")]
    Malformed {
        /// What was wrong with it.
        what: &'static str,
    },
    /// Netlink answered something that could not be read.
    #[error("netlink: {what}")]
    Netlink {
        /// What was wrong.
        what: &'static str,
    },
    /// A process is not the one it was taken for.
    #[error("process {pid} does not belong to {expected}")]
    OtherProcess {
        /// The process.
        pid: u32,
        /// Whose process it should have been.
        expected: String,
    },
    /// Rights could not be given up.
    #[error("rights are still held after giving them up: {what}")]
    StillPrivileged {
        /// What is still held, and by which thread.
        what: String,
    },
    /// Landlock was demanded, and is not there or not complete.
    #[error("the kernel does not enforce landlock: {why}")]
    NotEnforced {
        /// Why.
        why: String,
    },
}

impl Error {
    /// Turns an `io::Error` or rustix `Errno` into an [`Error::Call`]:
    /// `.map_err(Error::call("setns"))`.
    pub fn call<E: Into<io::Error>>(call: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::Call { call, source: source.into() }
    }

    /// The same for a call on a file.
    pub fn path<E: Into<io::Error>>(
        call: &'static str,
        path: impl Into<PathBuf> + Clone,
    ) -> impl Fn(E) -> Self {
        move |source| Self::Path { call, path: path.clone().into(), source: source.into() }
    }

    /// What the kernel answered, where it was asked.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Call { source, .. } | Self::Path { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether a missing right is the reason.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        self.io().is_some_and(|source| source.kind() == io::ErrorKind::PermissionDenied)
    }
}
