//! The line between a client and a helper elsewhere: a thread that carries bytes.

use std::{
    os::unix::net::UnixStream,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use docker::{AttachedInput, AttachedOutput, Engine, Piece};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    runtime::Runtime,
    sync::oneshot,
    time::timeout,
};

use super::{Shared, locked, tail::Tail};
use crate::Error;

/// The most that is carried at once from the client, in bytes. The other way it is the engine's frames,
/// or a part of one.
const PIECE: usize = 64 << 10;
/// How long a helper may take to end by itself when its client wants nothing more.
const ENDS_WITHIN: Duration = Duration::from_secs(3);
/// How long an end that nobody has explained is asked about: programs behind a connection that has
/// broken say why.
const EXPLAINED_WITHIN: Duration = Duration::from_secs(1);

/// The thread between a client's socket and a helper's streams.
#[derive(Debug)]
pub(super) struct Line {
    thread: JoinHandle<()>,
    /// When this is dropped the client wants nothing more.
    wanted: oneshot::Sender<()>,
    words: Shared<Tail>,
}

impl Line {
    /// Starts it: on the runtime by which the engine was asked for the streams, because the connection
    /// lives there. Gives the client's end.
    pub(super) fn start(
        runtime: Runtime,
        engine: Engine,
        attached: (AttachedInput, AttachedOutput),
    ) -> Result<(Self, UnixStream), Error> {
        let (ours, clients) = UnixStream::pair().map_err(sys::Error::call("socketpair"))?;
        ours.set_nonblocking(true).map_err(sys::Error::call("fcntl(O_NONBLOCK)"))?;
        let (wanted, unwanted) = oneshot::channel();
        let words = Shared::<Tail>::default();
        let work = {
            let words = Arc::clone(&words);
            move || {
                runtime.block_on(async {
                    let Ok(stream) = tokio::net::UnixStream::from_std(ours) else { return };
                    let (read, write) = stream.into_split();
                    let carrier = Carrier { words: &words, engine: &engine };
                    carrier.carry((read, write), attached, unwanted).await;
                });
                // Not waiting for a look-up of the engine's own name.
                runtime.shutdown_background();
            }
        };
        let thread = thread::Builder::new().name("line".to_owned()).spawn(work);
        let thread = thread.map_err(sys::Error::call("clone"))?;
        Ok((Self { thread, wanted, words }, clients))
    }

    /// What the helper's program has said last.
    pub(super) fn last_words(&self) -> Option<String> {
        locked(&self.words).text()
    }

    /// Waits until the helper's program has ended, for which its client's end has to be closed; but not
    /// for long: behind this the connection is gone.
    pub(super) fn end(self) {
        drop(self.wanted);
        // A thread that has panicked has ended.
        let _ = self.thread.join();
    }
}

/// What both directions have to do with.
struct Carrier<'a> {
    words: &'a Shared<Tail>,
    engine: &'a Engine,
}

impl Carrier<'_> {
    /// Carries bytes both ways until the helper's program has ended or the connection breaks; and for
    /// a while behind the moment at which the client wants no more.
    async fn carry(
        &self,
        (read, mut write): (OwnedReadHalf, OwnedWriteHalf),
        (input, output): (AttachedInput, AttachedOutput),
        unwanted: oneshot::Receiver<()>,
    ) {
        let both = async {
            let back = self.back(output, &mut write);
            tokio::pin!(back);
            tokio::select! {
                ended = &mut back => self.explain(ended.err()).await,
                there = self.there(read, input) => match there {
                    // The program has yet to end, and its last words to come.
                    Ok(_input) => {
                        if let Err(error) = back.await {
                            self.explain(Some(error)).await;
                        }
                    }
                    Err(error) => {
                        let ended = timeout(ENDS_WITHIN, back).await;
                        let error = ended.ok().and_then(Result::err).unwrap_or(error);
                        self.explain(Some(error)).await;
                    }
                },
            }
        };
        tokio::pin!(both);
        tokio::select! {
            () = &mut both => {}
            _ = unwanted => {
                let _ = timeout(ENDS_WITHIN, both).await;
            }
        }
        // The client's end shows the end when this one is closed, here, and everything is known.
    }

    /// From the client to the program. What is given back is to be kept for as long as the program's
    /// output is wanted.
    async fn there(
        &self,
        mut from: OwnedReadHalf,
        mut to: AttachedInput,
    ) -> Result<AttachedInput, docker::Error> {
        let mut piece = vec![0; PIECE].into_boxed_slice();
        // A socket pair does not fail; it ends.
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            to.write(&piece[..length]).await?;
        }
        to.finish().await?;
        Ok(to)
    }

    /// From the program to the client. Who is not read any more may end all the same.
    async fn back(
        &self,
        mut from: AttachedOutput,
        to: &mut OwnedWriteHalf,
    ) -> Result<(), docker::Error> {
        let mut is_read = true;
        while let Some(piece) = from.next().await? {
            match piece {
                Piece::Output(bytes) if is_read => is_read = to.write_all(bytes).await.is_ok(),
                Piece::Output(_) => {}
                Piece::Errors(bytes) => locked(self.words).push(bytes),
            }
        }
        Ok(())
    }

    /// Keeps why it has ended although the client did not want that, where the program itself has not
    /// said why.
    async fn explain(&self, error: Option<docker::Error>) {
        if locked(self.words).text().is_some() {
            return;
        }
        let complaint = timeout(EXPLAINED_WITHIN, self.engine.complaint()).await.ok().flatten();
        if let Some(error) = complaint.or(error) {
            locked(self.words).push(with_sources(&error).as_bytes());
        }
    }
}

/// An error and what is behind it.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
