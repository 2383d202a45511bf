//! How the engine is reached by a process that has given up its rights.

use std::{
    ffi::OsString,
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{fs::MetadataExt as _, net::UnixStream},
    },
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use docker::{Dial, Endpoint, Line};
use opener::Opener;
use sys::{
    local::{self, Reached},
    privileges::{self, User},
};

use crate::{Error, resolve::EngineDial, runner::Runner};

/// Who makes the connections to an engine: the opener where it is a socket of this machine; a
/// runner of its own, which becomes `user`, where it takes a program, so that ssh has the user's
/// keys and neither our Landlock nor our lack of rights.
///
/// To be called before there are threads and before rights are given up.
pub(crate) fn way(
    endpoint: &Endpoint,
    opener: &Arc<Opener>,
    user: Option<&User>,
) -> Result<EngineDial, Error> {
    let program = through_program(endpoint, user)?;
    Ok(program.unwrap_or_else(|| EngineDial::Opener(Arc::clone(opener))))
}

/// Whether somebody listens on a socket of this machine, to whom this process may connect.
#[must_use]
pub fn may_connect(socket: &Path) -> bool {
    matches!(local::connect(socket), Ok(Reached::Somebody(_) | Reached::Busy))
}

/// Whether a directory is this user's own: another one's, of a variable that has survived `su` or
/// `sudo`, is not to be believed.
#[must_use]
pub fn is_own_directory(path: &Path) -> bool {
    let is_own = |found: Metadata| found.is_dir() && found.uid() == privileges::own_uid();
    path.is_absolute() && path.metadata().is_ok_and(is_own)
}

/// The same as [`way`] where it takes a program, and nothing where it does not.
pub(crate) fn through_program(
    endpoint: &Endpoint,
    user: Option<&User>,
) -> Result<Option<EngineDial>, Error> {
    let Some(words) = endpoint.program() else { return Ok(None) };
    let runner = Arc::new(Mutex::new(Runner::start(user)?));
    Ok(Some(EngineDial::Program(RunnerDial { runner, words })))
}

/// Connects through a program that a runner starts.
#[derive(Debug)]
pub(crate) struct RunnerDial {
    /// Nobody else gives it orders.
    runner: Arc<Mutex<Runner>>,
    words: Vec<OsString>,
}

impl Dial for RunnerDial {
    fn dial(&self) -> io::Result<Line> {
        let (ours, theirs) = UnixStream::pair()?;
        let (complaints, stderr) = io::pipe()?;
        let (leash, held) = io::pipe()?;
        let runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        runner
            .run_dialling(&self.words, theirs.as_fd(), stderr.as_fd(), held.as_fd())
            .map_err(io::Error::other)?;
        let (asked, number) =
            (Arc::clone(&self.runner), File::from(OwnedFd::from(theirs)).metadata()?.ino());
        let trace = move || asked.lock().unwrap_or_else(PoisonError::into_inner).trace(number);
        Ok(Line::through(ours, complaints, leash).traced(trace))
    }
}
