//! Connections over which no answer is longer than a bound: what a request's answer brings is kept
//! until its end, and who answers without one would have all of the memory until the deadline.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::{
    Uri,
    rt::{Read, ReadBuf, ReadBufCursor, Write},
};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;

/// The most that an engine may say in answer to one request, in bytes: a list of some 50,000
/// containers.
pub(crate) const MAX_ANSWER: u64 = 128 << 20;

/// What is read at once, in bytes.
const PIECE: usize = 16 << 10;

/// What connects, with the bound.
#[derive(Clone)]
pub(crate) struct Bounded<C>(pub(crate) C);

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = BoundedConnection<C::Response>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            Ok(BoundedConnection { connection: connecting.await?, answered: 0, max: MAX_ANSWER })
        })
    }
}

/// A connection that breaks where an answer is too long.
pub(crate) struct BoundedConnection<T> {
    connection: T,
    /// Bytes that came since something was asked last.
    answered: u64,
    max: u64,
}

impl<T: Read + Unpin> Read for BoundedConnection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // How much was put into somebody else's cursor cannot be asked.
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let length = into.remaining().min(PIECE);
        let mut piece = ReadBuf::uninit(&mut piece[..length]);
        ready!(Pin::new(&mut self.connection).poll_read(context, piece.unfilled()))?;
        self.answered += piece.filled().len() as u64;
        if self.answered > self.max {
            let what = format!("an answer is longer than {} MiB", self.max >> 20);
            return Poll::Ready(Err(io::Error::other(what)));
        }
        into.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for BoundedConnection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answered = 0;
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answered = 0;
        Pin::new(&mut self.connection).poll_write_vectored(context, pieces)
    }
}

impl<T: Connection> Connection for BoundedConnection<T> {
    fn connected(&self) -> Connected {
        self.connection.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn each_answer_has_the_whole_bound() {
        let (near, mut far) = duplex(100);
        let mut connection =
            BoundedConnection { connection: TokioIo::new(near), answered: 0, max: 4 };
        for (answer, length) in [("abc", Some(3)), ("defg", Some(4)), ("hijkl", None)] {
            poll_fn(|context| Pin::new(&mut connection).poll_write(context, b"?")).await.unwrap();
            far.write_all(answer.as_bytes()).await.unwrap();
            let mut into = [0; 50];
            let mut into = ReadBuf::new(&mut into);
            let read =
                poll_fn(|context| Pin::new(&mut connection).poll_read(context, into.unfilled()));
            let read = read.await.map(|()| into.filled().len());
            assert_eq!(read.ok(), length);
        }
    }
}
