use std::{io, os::unix::net::UnixStream, path::PathBuf, sync::Arc};

use tokio::sync::oneshot;

/// Makes connections to an engine's unix socket.
///
/// A process that gave up the right to open the socket implements this by asking one that kept it.
pub trait Dial: Send + Sync {
    /// A fresh connection. May block: it is called on a thread of its own.
    ///
    /// # Errors
    ///
    /// What the system said. The kind of the error is what the user is told about: a dialer that
    /// asks another process must carry it over (`io::Error::from_raw_os_error`).
    fn dial(&self) -> io::Result<UnixStream>;
}

/// Connects to a path, with the rights of this process.
#[derive(Debug, Clone)]
pub struct PathDial(pub PathBuf);

impl Dial for PathDial {
    fn dial(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.0)
    }
}

/// Dials on a thread, so that neither an engine whose backlog is full nor a busy opener stops the
/// runtime. Not on the runtime's blocking pool: its shutdown would wait for a dial that hangs.
pub(crate) async fn dial(dial: Arc<dyn Dial>) -> io::Result<tokio::net::UnixStream> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("engine-dial".to_owned()).spawn(move || {
        // Nobody listens any more when the deadline has passed.
        let _ = sender.send(dial.dial());
    })?;
    let stream =
        receiver.await.map_err(|_| io::Error::other("the thread that dials has panicked"))??;
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}
