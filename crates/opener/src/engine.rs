//! The engine, as far as its client has told where it is.

use std::{os::unix::net::UnixStream, path::Path};

use sys::{
    mount::Root,
    process::{self, PidFd},
};

use crate::{
    error::{Reason, Refusal},
    request::EngineAt,
};

/// Whose namespaces they are.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    at: EngineAt,
    /// A process that was named, held: its number may be another's before it is used.
    named: Option<PidFd>,
}

impl Engine {
    /// What is at `at` now.
    pub(crate) fn new(at: EngineAt) -> Self {
        let named = match at {
            EngineAt::Process(pid) => PidFd::open(pid).ok(),
            EngineAt::Unknown | EngineAt::Socket(_) => None,
        };
        Self { at, named }
    }

    /// Its process, held; `None` where it is nobody on this machine.
    ///
    /// A process that was named and has ended is refused: what it showed is not to be had of another.
    pub(crate) fn process(&self) -> Result<Option<PidFd>, Refusal> {
        let pid = match &self.at {
            EngineAt::Unknown => return Ok(None),
            EngineAt::Socket(path) => match process::peer(dial(path)?)? {
                Some(pid) => pid,
                None => return Ok(None),
            },
            EngineAt::Process(pid) => *pid,
        };
        let process = PidFd::open(pid).ok();
        match (&self.at, &self.named) {
            (EngineAt::Process(_), Some(named)) if named.is_alive()? => Ok(process),
            (EngineAt::Process(_), _) => {
                let message = "the engine's process has ended, and what it runs is not to be seen \
                               without it: an engine that was started anew takes a new session";
                Err(Refusal::new(Reason::NotFound, message))
            }
            // One that began to listen and has ended since has left the socket to another.
            _ => Ok(process),
        }
    }

    /// The root directory as it sees it; our own where it is nobody on this machine.
    pub(crate) fn root(&self) -> Result<Root, Refusal> {
        match self.process()? {
            Some(process) => Ok(Root::of(&process)?),
            None => Ok(Root::own()?),
        }
    }

    /// A connection to it.
    pub(crate) fn dial(&self) -> Result<UnixStream, Refusal> {
        match &self.at {
            EngineAt::Socket(path) => dial(path),
            _ => Err(Refusal::new(Reason::Failed, "no engine socket was named")),
        }
    }

    /// Its socket, where it was named by that.
    pub(crate) fn socket(&self) -> Option<&Path> {
        match &self.at {
            EngineAt::Socket(path) => Some(Path::new(path)),
            _ => None,
        }
    }
}

fn dial(path: &str) -> Result<UnixStream, Refusal> {
    UnixStream::connect(Path::new(path))
        .map_err(|source| sys::Error::Path { call: "connect", path: path.into(), source }.into())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn whoever_was_named_is_not_another_later() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let engine = Engine::new(EngineAt::Process(child.id()));
        assert!(engine.process().unwrap().is_some_and(|process| process.pid() == child.id()));
        assert!(engine.root().is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(engine.process().is_err() && engine.root().is_err());
        assert!(Engine::new(EngineAt::Process(child.id())).root().is_err());
        assert!(Engine::default().process().unwrap().is_none() && Engine::default().root().is_ok());
    }
}
