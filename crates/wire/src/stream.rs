use crate::Error;

/// What each side says before its first message: it takes no luck to tell us from a shell's
/// greeting or its complaint that there is no such program.
pub const PREAMBLE: &[u8; 8] = b"whaletap";

/// The longest message in bytes, kind and payload: a full batch, or interfaces with thousands of
/// addresses.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// Bytes of a message's length.
const LENGTH: usize = 4;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`crate::Hello`].
    Hello,
    /// [`crate::Order`].
    Order,
    /// [`crate::Report`].
    Report,
    /// [`crate::Batch`].
    Batch,
}

impl Kind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Hello => 0,
            Self::Order => 1,
            Self::Report => 2,
            Self::Batch => 3,
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        [Self::Hello, Self::Order, Self::Report, Self::Batch]
            .into_iter()
            .find(|kind| kind.to_byte() == byte)
    }
}

/// What stands before a message's payload on its way.
///
/// # Errors
///
/// [`Error::TooLong`].
pub fn envelope(kind: Kind, payload: &[u8]) -> Result<[u8; 5], Error> {
    let length = payload.len() + 1;
    let Some(short) = u32::try_from(length).ok().filter(|_| length <= MAX_MESSAGE) else {
        return Err(Error::TooLong { length });
    };
    let [a, b, c, d] = short.to_le_bytes();
    Ok([a, b, c, d, kind.to_byte()])
}

/// Cuts what arrives into messages.
///
/// Behind an error there is no going on: where the next message begins is not known.
#[derive(Debug, Default)]
pub struct Stream {
    bytes: Vec<u8>,
    /// What stands before was taken.
    taken: usize,
    /// The preamble was there.
    begun: bool,
}

impl Stream {
    /// Takes what has arrived.
    pub fn feed(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next message, once all of it is there. To be called until there is none before
    /// [`Stream::feed`] is called again: then it never holds more than one message and one piece.
    ///
    /// # Errors
    ///
    /// [`Error::Stranger`], [`Error::TooLong`], [`Error::Malformed`].
    pub fn next_message(&mut self) -> Result<Option<(Kind, &[u8])>, Error> {
        if !self.begun {
            let begin = &self.bytes[..self.bytes.len().min(PREAMBLE.len())];
            if !PREAMBLE.starts_with(begin) {
                let begin = self.bytes[..self.bytes.len().min(MAX_BEGIN)].to_vec();
                return Err(Error::Stranger { begin });
            }
            if begin.len() < PREAMBLE.len() {
                return Ok(None);
            }
            (self.begun, self.taken) = (true, PREAMBLE.len());
        }
        let Some((length, rest)) = self.bytes[self.taken..].split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_MESSAGE {
            return Err(Error::TooLong { length });
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let Some((kind, payload)) = message.split_first() else {
            return Err(Error::Malformed { what: "an empty message" });
        };
        let kind = Kind::of_byte(*kind).ok_or(Error::Malformed { what: "a kind of message" })?;
        self.taken += LENGTH + length;
        Ok(Some((kind, payload)))
    }

    /// The other side has ended.
    ///
    /// # Errors
    ///
    /// [`Error::CutShort`] where that was in the middle of something.
    pub fn end(&self) -> Result<(), Error> {
        if self.bytes.len() == self.taken { Ok(()) } else { Err(Error::CutShort) }
    }
}

/// How much of what a stranger says is kept, in bytes.
const MAX_BEGIN: usize = 80;

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, prop_assert_eq, proptest},
        sample::select,
    };

    use super::*;

    fn taken(stream: &mut Stream) -> Result<Vec<(Kind, Vec<u8>)>, Error> {
        let mut all = Vec::new();
        while let Some((kind, payload)) = stream.next_message()? {
            all.push((kind, payload.to_vec()));
        }
        Ok(all)
    }

    #[test]
    fn strangers_are_known_by_their_first_bytes() {
        let mut stream = Stream::default();
        stream.feed(b"wh");
        assert_eq!(stream.next_message(), Ok(None));
        stream.feed(b"at? \x1b[2J");
        let error = stream.next_message().unwrap_err();
        assert_eq!(error, Error::Stranger { begin: b"what? \x1b[2J".to_vec() });
        assert!(error.to_string().ends_with("`what? \\x1b[2J`"), "{error}");
    }

    #[test]
    fn bounds_are_kept() {
        assert!(matches!(
            envelope(Kind::Batch, &vec![0; MAX_MESSAGE]),
            Err(Error::TooLong { length }) if length == MAX_MESSAGE + 1
        ));
        let longest = vec![7; MAX_MESSAGE - 1];
        let mut stream = Stream::default();
        stream.feed(PREAMBLE);
        stream.feed(&envelope(Kind::Batch, &longest).unwrap());
        assert_eq!(taken(&mut stream), Ok(vec![]));
        assert_eq!(stream.end(), Err(Error::CutShort));
        stream.feed(&longest);
        assert_eq!(taken(&mut stream), Ok(vec![(Kind::Batch, longest)]));
        assert_eq!(stream.end(), Ok(()));
        for (bytes, error) in [
            (&[0, 0, 0x10, 1, 0][..], Error::TooLong { length: 0x0110_0000 }),
            (&[0, 0, 0, 0], Error::Malformed { what: "an empty message" }),
            (&[1, 0, 0, 0, 9], Error::Malformed { what: "a kind of message" }),
        ] {
            let mut stream = Stream::default();
            stream.feed(PREAMBLE);
            stream.feed(bytes);
            assert_eq!(taken(&mut stream), Err(error));
        }
    }

    proptest! {
        #[test]
        fn messages_do_not_depend_on_the_pieces(
            messages in vec((select(&[Kind::Order, Kind::Batch][..]), vec(any::<u8>(), 0..40)), 0..9),
            piece in 1..30_usize,
        ) {
            let mut bytes = PREAMBLE.to_vec();
            for (kind, payload) in &messages {
                bytes.extend_from_slice(&envelope(*kind, payload).unwrap());
                bytes.extend_from_slice(payload);
            }
            let mut stream = Stream::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(piece) {
                stream.feed(piece);
                found.extend(taken(&mut stream).unwrap());
            }
            prop_assert_eq!(found, messages);
            prop_assert_eq!(stream.end(), Ok(()));
        }
    }
}
