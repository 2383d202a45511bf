/// Why what has arrived cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first bytes are not [`crate::PREAMBLE`]: something else speaks there.
    #[error("it does not speak whaletap's protocol: it begins with `{}`", begin.escape_ascii())]
    Stranger {
        /// What came first.
        begin: Vec<u8>,
    },
    /// The other side is of another version.
    #[error(
        "its version is {theirs} (protocol {their_protocol}), and ours is {ours} (protocol \
         {our_protocol}): both sides have to be of one build"
    )]
    Version {
        /// Its build. Text from outside: not safe for a terminal.
        theirs: String,
        /// Its protocol.
        their_protocol: u32,
        /// Our build.
        ours: String,
        /// Our protocol.
        our_protocol: u32,
    },
    /// A message longer than any.
    #[error("a message of {length} bytes, where the longest has {}", crate::MAX_MESSAGE)]
    TooLong {
        /// What it says of itself.
        length: usize,
    },
    /// A message that does not read.
    #[error("{what} that does not read")]
    Malformed {
        /// What it was taken for.
        what: &'static str,
    },
    /// The other side ended in the middle of a message.
    #[error("it ended in the middle of a message")]
    CutShort,
}
