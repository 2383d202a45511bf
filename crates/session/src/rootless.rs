//! The third way to namespaces: a rootless engine, for its owner.
//!
//! An engine that its user has started without rights (rootless docker, podman) made a user namespace
//! for that, and everything that it runs is in that one or within. Whoever made a user namespace has
//! all rights in it: so an opener of this user's joins it, and does there what takes root otherwise.
//! The engine is asked for nothing but its list, and nothing is started in it.
//!
//! ```text
//!  main: no rights ── sockets ◄── opener: this user, and rights in the engine's user namespace alone
//! ```

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use docker::{Endpoint, Host};
use opener::EngineAt;
use sys::{
    local::{self, Reached},
    privileges,
    process::{self, PidFd},
    userns::{self, UserNs},
};

use crate::Error;

/// Where podman says which of its processes keeps its namespaces, below a directory of its user's.
const PAUSE: &str = "libpod/tmp/pause.pid";
/// How the directories of namespaces are called below that, by engine.
const PODMANS: &str = "netns";
const DOCKERS: &str = "docker/netns";
/// How long an engine that systemd starts may take until it answers.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A rootless engine of this user's.
#[derive(Debug)]
pub(crate) struct Rootless {
    /// The user namespace that leads to all that it runs.
    users: UserNs,
    /// A process with the engine's mounts: its own, or the one that keeps its namespaces.
    process: PidFd,
    /// Where it keeps namespaces, if that is known.
    pub(crate) directory: Option<String>,
}

impl Rootless {
    /// Looks whether the engine is one; `None` where it is root's, or elsewhere, or is not to be
    /// reached. `runtime_directory` is this user's `XDG_RUNTIME_DIR`.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] where it is another user's.
    pub(crate) fn find(
        endpoint: &Endpoint,
        runtime_directory: Option<&Path>,
        what: &str,
    ) -> Result<Option<Self>, Error> {
        let Host::Unix(socket) = &endpoint.host else { return Ok(None) };
        let Ok(Reached::Somebody(connection)) = local::connect(socket) else { return Ok(None) };
        let (uid, pid) = (local::peer_uid(&connection)?, process::peer(&connection)?);
        // One that began to listen and has ended since has left the socket to another.
        let Some(listener) = pid.and_then(|pid| PidFd::open(pid).ok()) else { return Ok(None) };
        if uid != privileges::own_uid() {
            return strangers(endpoint, uid, &listener, what);
        }
        let names = program(&listener);
        let pause = || pause(runtime_directory, &listener);
        let found = match own_users(&listener) {
            // Podman may be started anew: then the other one lives on.
            Some(users) if names == "podman" => {
                let pause = pause().filter(|pause| {
                    own_users(pause).is_some_and(|theirs| theirs.id() == users.id())
                });
                Some((users, pause.unwrap_or(listener)))
            }
            Some(users) => Some((users, listener)),
            // Who listens for it.
            None if matches!(&*names, "systemd" | "podman") => {
                let is_there = pause().is_some();
                if !is_there {
                    awake(connection);
                }
                pause().and_then(|pause| Some((own_users(&pause)?, pause)))
            }
            None => None,
        };
        Ok(found.map(|(users, process)| {
            let below = if names == "dockerd" { DOCKERS } else { PODMANS };
            let theirs = process.variable("XDG_RUNTIME_DIR").ok().flatten().map(PathBuf::from);
            let directory = theirs.as_deref().or(runtime_directory);
            let directory =
                directory.and_then(|directory| Some(directory.join(below).to_str()?.to_owned()));
            Self { users, process, directory }
        }))
    }

    /// The user namespace.
    pub(crate) fn users(&self) -> &UserNs {
        &self.users
    }

    /// Where the engine's mounts are to be seen.
    pub(crate) fn engine(&self) -> EngineAt {
        EngineAt::Process(self.process.pid())
    }
}

/// The user namespace of a process, if it is one that this user made.
fn own_users(process: &PidFd) -> Option<UserNs> {
    let users = UserNs::of(process).ok()?.beneath_own().ok()??;
    users.owner().is_ok_and(|owner| owner == privileges::own_uid()).then_some(users)
}

/// The process that keeps podman's namespaces.
fn pause(runtime_directory: Option<&Path>, listener: &PidFd) -> Option<PidFd> {
    let theirs = listener.variable("XDG_RUNTIME_DIR").ok().flatten().map(PathBuf::from);
    let pid = fs::read_to_string(theirs.as_deref().or(runtime_directory)?.join(PAUSE)).ok()?;
    PidFd::open(pid.trim().parse().ok()?).ok()
}

/// Waits until an engine answers that is started by being connected to: before, it has no namespaces.
/// One that does not is told of when it is asked something.
fn awake(mut connection: UnixStream) {
    let _ = connection
        .set_nonblocking(false)
        .and_then(|()| connection.set_read_timeout(Some(STARTS_WITHIN)))
        .and_then(|()| connection.write_all(b"GET /_ping HTTP/1.0\r\n\r\n"))
        .and_then(|()| match connection.read(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            other => other,
        });
}

/// What a process was started as, without the way to it.
fn program(process: &PidFd) -> String {
    let words = process.words().unwrap_or_default();
    let first = words.first().map(Path::new).and_then(Path::file_name);
    first.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// An engine of somebody else's: root's, or one that nobody but its owner can look into.
fn strangers(
    endpoint: &Endpoint,
    uid: u32,
    listener: &PidFd,
    what: &str,
) -> Result<Option<Rootless>, Error> {
    if uid == 0 || userns::has_our_users(listener).unwrap_or(true) {
        return Ok(None);
    }
    let missing = format!(
        "{endpoint} is a rootless engine of uid {uid}: that user, or root, can enter what it runs, \
         and nobody else"
    );
    Err(Error::NotPermitted { what: what.to_owned(), missing })
}
