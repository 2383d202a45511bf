use std::{
    ffi::OsString,
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Child, Command},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::Line;

/// Makes connections to an engine: to its unix socket, or through a program
/// ([`crate::Endpoint::program`]).
///
/// A process that gave up the right to do so itself implements this by asking one that kept it.
pub trait Dial: Send + Sync {
    /// A fresh connection. May block: it is called on a thread of its own.
    ///
    /// # Errors
    ///
    /// What the system said. The kind of the error is what the user is told about: a dialer that
    /// asks another process must carry it over (`io::Error::from_raw_os_error`).
    fn dial(&self) -> io::Result<Line>;
}

/// Connects to a path, with the rights of this process.
#[derive(Debug, Clone)]
pub struct PathDial(pub PathBuf);

impl Dial for PathDial {
    fn dial(&self) -> io::Result<Line> {
        UnixStream::connect(&self.0).map(Line::from)
    }
}

/// Connects through a program that is a child of this process, with its rights.
#[derive(Debug, Clone)]
pub struct ProgramDial(pub Vec<OsString>);

impl Dial for ProgramDial {
    fn dial(&self) -> io::Result<Line> {
        let mut words = self.0.iter();
        let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
        let (ours, theirs) = UnixStream::pair()?;
        let (complaints, stderr) = io::pipe()?;
        let theirs = OwnedFd::from(theirs);
        let mut command = Command::new(program);
        command.args(words).stdin(theirs.try_clone()?).stdout(theirs).stderr(stderr);
        // A ^C in the terminal is for us.
        let child = command.process_group(0).spawn().map_err(|error| {
            let program = program.to_string_lossy();
            io::Error::other(format!("cannot run {program}: {error}"))
        })?;
        Ok(Line::through(ours, complaints, Leash(child)))
    }
}

/// Ends a program.
struct Leash(Child);

impl Drop for Leash {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Dials on a thread, so that neither an engine whose backlog is full nor a busy opener stops the
/// runtime. Not on the runtime's blocking pool: its shutdown would wait for a dial that hangs.
pub(crate) async fn dial(dial: Arc<dyn Dial>) -> io::Result<Line> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("engine-dial".to_owned()).spawn(move || {
        // Nobody listens any more when the deadline has passed.
        let _ = sender.send(dial.dial());
    })?;
    receiver.await.map_err(|_| io::Error::other("the thread that dials has panicked"))?
}
