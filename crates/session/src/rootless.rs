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
    io::{Read, Write},
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
/// How those are called who listen on their sockets.
const DOCKERD: &str = "dockerd";
const PODMAN: &str = "podman";
const SYSTEMD: &str = "systemd";
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
        let name = program(&listener);
        let found = namespaces(listener, &name, runtime_directory, connection);
        Ok(found.map(|(users, process)| {
            let below = if name == DOCKERD { DOCKERS } else { PODMANS };
            let directory = directory_of(&process, runtime_directory);
            let directory = directory.and_then(|it| it.join(below).to_str().map(str::to_owned));
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

/// The user namespace that leads to all that an engine runs, and a process with the engine's mounts.
fn namespaces(
    listener: PidFd,
    name: &str,
    runtime_directory: Option<&Path>,
    connection: UnixStream,
) -> Option<(UserNs, PidFd)> {
    let directory = directory_of(&listener, runtime_directory);
    let kept = || {
        let process = pause(directory.as_deref()?)?;
        Some((own_users(&process)?, process))
    };
    match own_users(&listener) {
        // Podman's service may be started anew: then the one that keeps its namespaces lives on.
        Some(users) => match kept() {
            Some((same, process)) if same.id() == users.id() => Some((same, process)),
            _ => Some((users, listener)),
        },
        // Whoever listens until there is a service.
        None if name == PODMAN || name.starts_with(SYSTEMD) => kept().or_else(|| {
            awake(connection);
            kept()
        }),
        None => None,
    }
}

/// The user namespace of a process, if it is one that this user made.
fn own_users(process: &PidFd) -> Option<UserNs> {
    let users = UserNs::of(process).ok()?.beneath_own().ok()??;
    users.owner().is_ok_and(|owner| owner == privileges::own_uid()).then_some(users)
}

/// The `XDG_RUNTIME_DIR` of a process; this user's where that is not to be seen.
fn directory_of(process: &PidFd, otherwise: Option<&Path>) -> Option<PathBuf> {
    let theirs = process.variable("XDG_RUNTIME_DIR").ok().flatten().map(PathBuf::from);
    theirs.or_else(|| otherwise.map(Path::to_owned))
}

/// The process that keeps podman's namespaces.
fn pause(directory: &Path) -> Option<PidFd> {
    let pid = fs::read_to_string(directory.join(PAUSE)).ok()?;
    PidFd::open(pid.trim().parse().ok()?).ok()
}

/// Waits until an engine answers that is started by being connected to: before, it has no namespaces.
/// One that does not is told of when it is asked something.
fn awake(mut connection: UnixStream) {
    let _ = connection
        .set_nonblocking(false)
        .and_then(|()| connection.set_read_timeout(Some(STARTS_WITHIN)))
        .and_then(|()| connection.write_all(b"GET /_ping HTTP/1.0\r\n\r\n"))
        .and_then(|()| connection.read(&mut [0; 16]));
}

/// What a process was started as, without the way to it.
fn program(process: &PidFd) -> String {
    let words = process.words().unwrap_or_default();
    let first = words.first().map(Path::new).and_then(Path::file_name);
    match first {
        Some(name) => name.to_string_lossy().into_owned(),
        // It is about to become what we have made systemd start.
        None => process.name().unwrap_or_default(),
    }
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
