use std::{
    fmt,
    io::{self, PipeReader},
    os::{fd::OwnedFd, unix::net::UnixStream},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use model::Connection as TcpConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection to an engine that a [`crate::Dial`] has made: a socket, and the program behind it
/// where there is one.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    program: Option<Behind>,
}

/// The program behind a connection.
struct Behind {
    /// What it writes to its standard error.
    complaints: PipeReader,
    /// Ends the program when it is dropped.
    leash: Box<dyn Send>,
    trace: Option<Trace>,
}

/// Finds the TCP connection that the program behind a line has made.
#[derive(Clone)]
pub(crate) struct Trace(Arc<dyn Fn() -> Option<TcpConnection> + Send + Sync>);

impl Trace {
    /// The connection, if it is known and the only one. May block for a moment.
    pub(crate) fn follow(&self) -> Option<TcpConnection> {
        (self.0)()
    }
}

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behind").field("complaints", &self.complaints).finish_non_exhaustive()
    }
}

impl Line {
    /// A connection through a program whose standard input and output the other end of `stream`
    /// is, and whose standard error the other end of `complaints`. `leash` is dropped when the
    /// connection is not needed any more: that must end the program.
    #[must_use]
    pub fn through(stream: UnixStream, complaints: PipeReader, leash: impl Send + 'static) -> Self {
        Self { stream, program: Some(Behind { complaints, leash: Box::new(leash), trace: None }) }
    }

    /// The same, of which it can be asked by which TCP connection its program leads to the engine.
    #[must_use]
    pub fn traced(
        mut self,
        by: impl Fn() -> Option<TcpConnection> + Send + Sync + 'static,
    ) -> Self {
        if let Some(behind) = &mut self.program {
            behind.trace = Some(Trace(Arc::new(by)));
        }
        self
    }

    /// For the runtime: the stream, and what the program behind it complains.
    pub(crate) fn into_async(self) -> io::Result<(Wire, Option<OwnedFd>)> {
        self.stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(self.stream)?;
        Ok(match self.program {
            Some(Behind { complaints, leash, trace }) => {
                (Wire { stream, trace, _leash: Some(leash) }, Some(complaints.into()))
            }
            None => (Wire { stream, trace: None, _leash: None }, None),
        })
    }
}

impl From<UnixStream> for Line {
    fn from(stream: UnixStream) -> Self {
        Self { stream, program: None }
    }
}

/// A [`Line`] as the HTTP client takes it.
pub(crate) struct Wire {
    stream: tokio::net::UnixStream,
    trace: Option<Trace>,
    _leash: Option<Box<dyn Send>>,
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        match &self.trace {
            // The client puts it beside each answer.
            Some(trace) => Connected::new().extra(trace.clone()),
            None => Connected::new(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
