//! Proof that a namespace is the one that was meant.
//!
//! A pid from an engine may be a stranger's here: the engine's socket may lead into a virtual
//! machine or through a tunnel, and pids are used again. So nothing is entered on its word alone.

use std::{
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use sys::{mount::Root, netns::Netns, process::PidFd};

use crate::{
    directories::Directories,
    engine::Engine,
    error::{Error, Reason, Refusal},
    monitor,
    request::{EngineAt, Place},
};

/// The longest time between two interrupts of the kernel's timer, by which times of files are told.
const TICK: Duration = Duration::from_millis(10);

/// A namespace that was found to be the right one.
#[derive(Debug)]
pub struct Proved {
    /// The namespace.
    pub netns: Netns,
    /// The process through which it was found, if there is one.
    pub process: Option<PidFd>,
    /// When it was made, as exactly as the system tells: see
    /// [`Opened::created`](crate::Opened::created).
    pub created: Option<u64>,
}

impl Proved {
    /// By a file on which it is mounted.
    fn by_file(netns: Netns) -> Self {
        Self { created: Some(netns.first_named()), netns, process: None }
    }

    /// By a process. `before` is a moment before the namespace was opened.
    fn by_process(netns: Netns, process: PidFd, before: Duration) -> Self {
        let named = netns.first_named();
        let was_named = Duration::from_nanos(named) + TICK < before;
        // Where it got its name by being opened here, its process knows better.
        let started = if was_named { None } else { process.started().ok() };
        let created = Some(started.map_or(named, |started| started.min(named)));
        Self { netns, process: Some(process), created }
    }
}

/// Finds and proves the namespace of a place with the rights of this very process: for callers
/// that keep them, and need no opener. `engine` is whose containers they are.
///
/// # Errors
/// [`Error::Refused`] with the reason. A [`Place::Sandbox`] is always refused: only an opener knows
/// directories.
///
/// # Privileges
/// `CAP_SYS_PTRACE` for the processes of other users.
pub fn prove(place: &Place, engine: &EngineAt) -> Result<Proved, Error> {
    let engine = Engine::new(engine.clone());
    Ok(find(place, &Directories::default(), &Paths::Own, &engine)?)
}

/// Whose the paths of requests are.
#[derive(Debug, Default)]
pub(crate) enum Paths {
    /// Ours as well.
    #[default]
    Own,
    /// Of a client whose mounts we have not. Only /proc is the same: such an opener is in the
    /// machine's own pid namespace.
    Client(Option<PidFd>),
}

impl Paths {
    fn netns(&self, path: &str) -> Result<Netns, Refusal> {
        let path = Path::new(path);
        match self {
            Self::Client(client) if !path.starts_with("/proc") => {
                let client = client.as_ref().ok_or_else(|| {
                    Refusal::new(Reason::NotFound, "who asks for a path is not to be seen here")
                })?;
                Ok(Root::of(client)?.netns(path)?)
            }
            _ => Ok(Netns::open(path)?),
        }
    }
}

/// Finds the namespace of a place.
pub(crate) fn find(
    place: &Place,
    directories: &Directories,
    paths: &Paths,
    engine: &Engine,
) -> Result<Proved, Refusal> {
    match place {
        Place::Container { pid, id, sandbox_key } => container(*pid, id, sandbox_key, engine),
        Place::Process { pid } => {
            let before = now();
            let pidfd = open_pidfd(*pid)?;
            let netns = pidfd.netns().map_err(|error| gone(error, *pid))?;
            Ok(Proved::by_process(netns, pidfd, before))
        }
        Place::Netns { path } => Ok(Proved::by_file(paths.netns(path)?)),
        Place::Host => Ok(Proved { netns: Netns::current()?, process: None, created: None }),
        Place::Sandbox { directory, file } => {
            Ok(Proved::by_file(directories.open(*directory, file)?))
        }
    }
}

/// The first process of the container that an opener is inside of, held and proved to be the
/// container's: whoever asks has not the rights to look at its namespace.
pub(crate) fn process_inside(place: &Place, inside: &str) -> Result<PidFd, Refusal> {
    match place {
        Place::Container { pid, id, .. } if id == inside => resident(*pid, id, &Engine::default()),
        _ => {
            let message = "the helper container reaches one target, and this is another";
            Err(Refusal::new(Reason::NotPermitted, message))
        }
    }
}

/// A process, held and proved to be a container's: by its cgroup, or by its monitor.
fn resident(pid: u32, id: &str, engine: &Engine) -> Result<PidFd, Refusal> {
    let pidfd = open_pidfd(pid)?;
    if pidfd.is_in_container(id).map_err(|error| gone(error, pid))? {
        return Ok(pidfd);
    }
    if let Ok(Some(engine)) = engine.process()
        && monitor::container_of(&pidfd, &engine).as_deref() == Some(id)
    {
        return Ok(pidfd);
    }
    Err(Refusal::new(
        Reason::NotTheOne,
        format_args!(
            "process {pid} on this machine does not belong to container {}: the engine runs \
             elsewhere, or the pid was used again",
            id.get(..12).unwrap_or(id)
        ),
    ))
}

fn container(pid: u32, id: &str, sandbox_key: &str, engine: &Engine) -> Result<Proved, Refusal> {
    let before = now();
    let pidfd = resident(pid, id, engine)?;
    let netns = pidfd.netns().map_err(|error| gone(error, pid))?;
    // The file may be in another mount namespace than ours: then the cgroup alone has to do.
    if let Ok(sandbox) = sys::netns::identity(Path::new(sandbox_key))
        && sandbox != netns.id()
    {
        return Err(sys::Error::OtherNetns { expected: sandbox, found: netns.id() }.into());
    }
    Ok(Proved::by_process(netns, pidfd, before))
}

fn now() -> Duration {
    UNIX_EPOCH.elapsed().unwrap_or_default()
}

fn open_pidfd(pid: u32) -> Result<PidFd, Refusal> {
    PidFd::open(pid).map_err(|error| gone(error, pid))
}

/// What the kernel says of a process that is not there, in a person's words.
fn gone(error: sys::Error, pid: u32) -> Refusal {
    let refusal = Refusal::from(error);
    match refusal.reason {
        Reason::NotFound => {
            Refusal::new(Reason::NotFound, format_args!("there is no process {pid} (any more)"))
        }
        _ => refusal,
    }
}
