//! Proof that a namespace is the one that was meant.
//!
//! A pid from an engine may be a stranger's here: the engine's socket may lead into a virtual
//! machine or through a tunnel, and pids are used again. So nothing is entered on its word alone.

use std::path::Path;

use sys::{netns::Netns, process::PidFd};

use crate::{
    error::{Error, Reason, Refusal},
    request::Place,
};

/// A namespace that was found to be the right one.
#[derive(Debug)]
pub struct Proved {
    /// The namespace.
    pub netns: Netns,
    /// The process through which it was found, if there is one.
    pub process: Option<PidFd>,
}

/// Finds and proves the namespace of a place with the rights of this very process: for callers
/// that keep them, and need no opener.
///
/// # Errors
/// [`Error::Refused`] with the reason.
///
/// # Privileges
/// `CAP_SYS_PTRACE` for the processes of other users.
pub fn prove(place: &Place) -> Result<Proved, Error> {
    find(place).map_err(|Refusal { reason, message, errno }| Error::Refused {
        reason,
        message,
        errno,
    })
}

/// Finds the namespace of a place.
pub(crate) fn find(place: &Place) -> Result<Proved, Refusal> {
    match place {
        Place::Container { pid, id, sandbox_key } => container(*pid, id, sandbox_key),
        Place::Process { pid } => {
            let pidfd = open_pidfd(*pid)?;
            let netns = pidfd.netns().map_err(|error| gone(error, *pid))?;
            Ok(Proved { netns, process: Some(pidfd) })
        }
        Place::Netns { path } => Ok(Proved { netns: Netns::open(Path::new(path))?, process: None }),
        Place::Host => Ok(Proved { netns: Netns::current()?, process: None }),
    }
}

fn container(pid: u32, id: &str, sandbox_key: &str) -> Result<Proved, Refusal> {
    let pidfd = open_pidfd(pid)?;
    if !pidfd.is_in_container(id).map_err(|error| gone(error, pid))? {
        return Err(Refusal::new(
            Reason::NotTheOne,
            format_args!(
                "process {pid} on this machine does not belong to container {}: the engine runs \
                 elsewhere, or the pid was used again",
                id.get(..12).unwrap_or(id)
            ),
        ));
    }
    let netns = pidfd.netns().map_err(|error| gone(error, pid))?;
    // The file may be in another mount namespace than ours: then the cgroup alone has to do.
    if let Ok(sandbox) = sys::netns::identity(Path::new(sandbox_key))
        && sandbox != netns.id()
    {
        return Err(sys::Error::OtherNetns { expected: sandbox, found: netns.id() }.into());
    }
    Ok(Proved { netns, process: Some(pidfd) })
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
