use std::{io, time::Duration};

/// Why the far side ends before it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The kernel refused something that nothing goes on without.
    #[error(transparent)]
    Kernel(#[from] sys::Error),
    /// There is nobody to open sockets.
    #[error("the opener could not be started: {0}")]
    Opener(opener::Error),
    /// What came in does not read, or is of another version.
    #[error("the client's side: {0}")]
    Wire(#[from] wire::Error),
    /// Nothing can be read.
    #[error("reading orders: {0}")]
    Read(io::Error),
    /// Nothing can be written: most often because nobody reads any more.
    #[error("writing reports: {0}")]
    Write(io::Error),
    /// A message that is not the client's to send, or not at this time.
    #[error("the client sent {what}")]
    OutOfTurn {
        /// What it was.
        what: &'static str,
    },
    /// The client has said nothing for so long.
    #[error("no word of the client for {} s", .0.as_secs())]
    Silence(Duration),
    /// What was there at the end could not be sent.
    #[error("the client did not take the rest within {} s", .0.as_secs())]
    NotTaken(Duration),
}
