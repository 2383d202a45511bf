use std::{fmt, time::Duration};

use crate::codec::{Decoder, Encoder};

/// The most characters of a refusal: a path that was asked for stands in it.
const MAX_MESSAGE: usize = 512;

/// Why the opener did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It tried, and this is why it failed.
    #[error("{message}")]
    Refused {
        /// The kind of failure.
        reason: Reason,
        /// What was tried, and the kernel's answer.
        message: String,
        /// The kernel's answer as a number.
        errno: Option<i32>,
    },
    /// The opener process has ended.
    #[error("the opener process has ended, so nothing new can be attached")]
    Gone,
    /// It was asked, and does not answer.
    #[error("the opener does not answer within {} s", .limit.as_secs())]
    Silent {
        /// How long it was waited for.
        limit: Duration,
    },
    /// The opener process could not be started, or the channel to it failed.
    #[error(transparent)]
    Channel(sys::Error),
    /// The opener's answer does not read.
    #[error("the opener's answer does not read")]
    Unreadable,
}

impl Error {
    /// The kind of failure.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused { reason, .. } => *reason,
            Self::Gone | Self::Silent { .. } | Self::Channel(_) | Self::Unreadable => {
                Reason::Failed
            }
        }
    }
}

/// Kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A right is missing.
    NotPermitted,
    /// The process, path or interface is not there (any more).
    NotFound,
    /// It is there, and is not what it was said to be.
    NotTheOne,
    /// The file is there, and no namespace is mounted on it: not yet, which is worth another try a
    /// moment later, or not any more. Docker unmounts a dead container's namespace at once and
    /// removes its file within a minute.
    NotReady,
    /// Anything else.
    Failed,
}

impl Reason {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::NotPermitted => 0,
            Self::NotFound => 1,
            Self::NotTheOne => 2,
            Self::Failed => 3,
            Self::NotReady => 4,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::NotPermitted, Self::NotFound, Self::NotTheOne, Self::Failed, Self::NotReady]
            .into_iter()
            .find(|reason| reason.code() == code)
    }
}

/// A failure on the opener's side, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) errno: Option<i32>,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl fmt::Display) -> Self {
        Self { reason, message: message.to_string(), errno: None }
    }
}

impl Refusal {
    pub(crate) fn put(&self, out: Encoder) -> Encoder {
        let message: String = self.message.chars().take(MAX_MESSAGE).collect();
        out.u8(self.reason.code()).u32(self.errno.unwrap_or(0).unsigned_abs()).text(&message)
    }

    pub(crate) fn take(from: &mut Decoder<'_>) -> Option<Self> {
        let reason = Reason::from_code(from.u8()?)?;
        let errno = i32::try_from(from.u32()?).ok().filter(|errno| *errno != 0);
        Some(Self { reason, message: from.text()?, errno })
    }
}

impl From<Refusal> for Error {
    fn from(Refusal { reason, message, errno }: Refusal) -> Self {
        Self::Refused { reason, message, errno }
    }
}

impl From<sys::Error> for Refusal {
    fn from(error: sys::Error) -> Self {
        let reason = match &error {
            sys::Error::OtherNetns { .. } | sys::Error::OtherProcess { .. } => Reason::NotTheOne,
            other => match other.io().and_then(std::io::Error::raw_os_error) {
                // EPERM, EACCES
                Some(1 | 13) => Reason::NotPermitted,
                // ENOENT, ESRCH, ENODEV, ENXIO
                Some(2 | 3 | 19 | 6) => Reason::NotFound,
                _ => Reason::Failed,
            },
        };
        let errno = error.io().and_then(std::io::Error::raw_os_error);
        Self { errno, ..Self::new(reason, error) }
    }
}
