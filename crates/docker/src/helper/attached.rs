//! The streams of a helper's program, over a connection to its engine.
//!
//! What goes to the program is the connection's bytes as they are. What comes from it is cut into
//! frames, because its output and its errors share the connection: which of the two, three zeros,
//! and how many bytes follow. Source: "Attach to a container" of the engine's API.

use std::{fmt, io, sync::Arc};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use model::Connection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};

use crate::Error;

/// The most that is read at once, in bytes, and so the most that is kept here: a frame may be longer,
/// and is given piece by piece.
const PIECE: usize = 64 << 10;

/// What stands before each frame, in bytes.
const HEADER: usize = 8;

/// Both directions of a connection that the engine has left to us.
pub(super) fn attached(
    stream: TokioIo<Upgraded>,
    connection: Option<Connection>,
    endpoint: Arc<str>,
) -> (AttachedInput, AttachedOutput) {
    let (read, write) = split(stream);
    let input = AttachedInput { stream: write, endpoint: Arc::clone(&endpoint) };
    let output = AttachedOutput {
        stream: read,
        connection,
        endpoint,
        buffer: vec![0; PIECE].into_boxed_slice(),
        at: 0,
        end: 0,
        frames: Frames::default(),
    };
    (input, output)
}

/// What a helper's program reads. When this and the output are dropped its input ends.
pub struct AttachedInput {
    stream: WriteHalf<TokioIo<Upgraded>>,
    endpoint: Arc<str>,
}

impl fmt::Debug for AttachedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachedInput").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl AttachedInput {
    /// Writes all of it, and waits as long as the program does not read.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| broken(&self.endpoint, error))
    }

    /// Ends the program's input. Its output goes on.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.stream.shutdown().await.map_err(|error| broken(&self.endpoint, error))
    }
}

/// What a helper's program writes. What is not read here stays where it is, until the program has to
/// wait.
pub struct AttachedOutput {
    stream: ReadHalf<TokioIo<Upgraded>>,
    connection: Option<Connection>,
    endpoint: Arc<str>,
    buffer: Box<[u8]>,
    /// What is in the buffer and has not been looked at yet.
    at: usize,
    end: usize,
    frames: Frames,
}

impl fmt::Debug for AttachedOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachedOutput").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl AttachedOutput {
    /// The TCP connection that both directions have, as this machine sees it. `None` where there is
    /// none, or it is that of a program that has not exactly one.
    #[must_use]
    pub fn connection(&self) -> Option<Connection> {
        self.connection
    }

    /// What comes next; `None` when the program has ended, or has closed both of its outputs. Where
    /// a program leads to the engine its end looks the same ([`Engine::complaint`]).
    ///
    /// [`Engine::complaint`]: crate::Engine::complaint
    ///
    /// # Errors
    /// [`Error::Broken`]; [`Error::NotAnEngine`] when it is not cut as engines do.
    pub async fn next(&mut self) -> Result<Option<Piece<'_>>, Error> {
        let (kind, from, to) = loop {
            let (used, found) = self.frames.next(&self.buffer[self.at..self.end]);
            let found = found.map_err(|source| Error::NotAnEngine {
                endpoint: self.endpoint.to_string(),
                source: source.into(),
            })?;
            self.at += used;
            if let Some((kind, length)) = found {
                break (kind, self.at - length, self.at);
            }
            let read = self.stream.read(&mut self.buffer).await;
            (self.at, self.end) = (0, read.map_err(|error| broken(&self.endpoint, error))?);
            if self.end == 0 {
                if self.frames.is_inside() {
                    let cut = io::ErrorKind::UnexpectedEof;
                    return Err(broken(&self.endpoint, cut.into()));
                }
                return Ok(None);
            }
        };
        let bytes = &self.buffer[from..to];
        Ok(Some(match kind {
            Kind::Output => Piece::Output(bytes),
            Kind::Errors => Piece::Errors(bytes),
        }))
    }
}

/// A piece of what a program has written, of 64 KiB at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// To its standard output.
    Output(&'a [u8]),
    /// To its standard error, or by the engine about itself. Text from outside.
    Errors(&'a [u8]),
}

fn broken(endpoint: &str, source: io::Error) -> Error {
    Error::Broken { endpoint: endpoint.to_owned(), source: Box::new(source) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Output,
    Errors,
}

/// Where in the frames we are.
#[derive(Debug, Default)]
struct Frames {
    /// The next frame's header, as far as it is known.
    header: [u8; HEADER],
    known: usize,
    /// What this frame is of, and how much of it is still to come.
    kind: Kind,
    left: usize,
}

impl Frames {
    /// Looks at some bytes: how many of them are done with, and what the last of these are, and how
    /// many. Without a piece all are done with.
    fn next(&mut self, bytes: &[u8]) -> (usize, Result<Option<(Kind, usize)>, io::Error>) {
        let mut used = 0;
        while self.left == 0 {
            let Some(byte) = bytes.get(used) else { return (used, Ok(None)) };
            used += 1;
            self.header[self.known] = *byte;
            self.known += 1;
            if self.known == HEADER {
                self.known = 0;
                if let Err(error) = self.begin() {
                    return (used, Err(error));
                }
            }
        }
        let length = self.left.min(bytes.len() - used);
        if length == 0 {
            return (used, Ok(None));
        }
        self.left -= length;
        (used + length, Ok(Some((self.kind, length))))
    }

    /// Reads a header.
    fn begin(&mut self) -> Result<(), io::Error> {
        let [stream, zeros @ .., a, b, c, d] = self.header;
        self.kind = match (stream, zeros) {
            // Its input is never told, but has a number.
            (0 | 1, [0, 0, 0]) => Kind::Output,
            // By 3 the engine speaks itself.
            (2 | 3, [0, 0, 0]) => Kind::Errors,
            _ => return Err(io::Error::other("an attached stream that does not read")),
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        self.left = usize::try_from(length).map_err(io::Error::other)?;
        Ok(())
    }

    /// Whether something is missing that was begun.
    fn is_inside(&self) -> bool {
        self.left > 0 || self.known > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, proptest},
        prop_assert, prop_assert_eq,
    };

    use super::*;

    fn frame(stream: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&[stream, 0, 0, 0], &length.to_be_bytes()[..], bytes].concat()
    }

    /// What comes out of these pieces: output, errors.
    fn read(pieces: &[&[u8]]) -> io::Result<[Vec<u8>; 2]> {
        let mut frames = Frames::default();
        let mut found = [Vec::new(), Vec::new()];
        for mut piece in pieces.iter().copied() {
            loop {
                let (used, next) = frames.next(piece);
                match next? {
                    Some((kind, length)) => {
                        let into = &mut found[usize::from(kind == Kind::Errors)];
                        into.extend_from_slice(&piece[used - length..used]);
                    }
                    None => {
                        assert_eq!(used, piece.len());
                        break;
                    }
                }
                piece = &piece[used..];
            }
        }
        if frames.is_inside() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(found) }
    }

    #[test]
    fn output_and_errors_are_told_apart() {
        let stream =
            [frame(1, b"one"), frame(2, b"oh"), frame(1, b""), frame(3, b"!"), frame(1, b"two")];
        let stream = stream.concat();
        assert_eq!(read(&[&stream]).unwrap(), [b"onetwo".to_vec(), b"oh!".to_vec()]);
        assert_eq!(read(&[]).unwrap(), [b"", b""]);
        for cut in [stream.len() - 1, 11 + 3] {
            let error = read(&[&stream[..cut]]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }

    #[test]
    fn a_terminal_is_not_taken_for_frames() {
        for wrong in [&b"whatever it says"[..], b"\x01\0\0\x01\0\0\0\x01x", b"\x04\0\0\0\0\0\0\0"] {
            assert_eq!(read(&[wrong]).unwrap_err().kind(), io::ErrorKind::Other, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_the_pieces(
            parts in vec((1_u8..3, vec(any::<u8>(), 0..20)), 0..9),
            size in 1_usize..30,
        ) {
            let stream: Vec<u8> = parts.iter().flat_map(|(of, bytes)| frame(*of, bytes)).collect();
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            let all = |kind: u8| {
                let of_kind = parts.iter().filter(|(of, _)| *of == kind);
                of_kind.flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>()
            };
            prop_assert_eq!(read(&pieces).unwrap(), [all(1), all(2)]);
        }

        #[test]
        fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..64)) {
            let (used, _) = Frames::default().next(&bytes);
            prop_assert!(used <= bytes.len());
        }
    }
}
