//! Network namespaces: naming them, holding them, and working inside them for a moment.
//!
//! A namespace belongs to a thread, so one is entered only on a thread made for it, which ends
//! with the work. What comes back is a value that outlives the visit, a socket mostly: a socket
//! keeps the namespace in which it was opened.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use model::NetnsId;
use rustix::{
    fs::{Mode, OFlags},
    thread::{LinkNameSpaceType, UnshareFlags},
};

use crate::Error;

/// `NSFS_MAGIC` of `linux/magic.h`.
pub(crate) const NSFS_MAGIC: i64 = 0x6e73_6673;

/// A network namespace that is held open, and its identity.
///
/// While it exists the namespace lives, even when its last process has ended: hold it no longer
/// than the visit takes.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    id: NetnsId,
}

impl Netns {
    /// Opens a namespace by a file: `/run/netns/NAME`, `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// When the file cannot be opened, or is no network namespace: a file that is about to become
    /// one (created, not yet mounted over) is [`Error::NotNetns`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::path("open", path))?;
        Self::from_fd(fd, path)
    }

    /// Opens the namespace of a process.
    ///
    /// # Errors
    /// As for [`Netns::open`].
    ///
    /// # Privileges
    /// `CAP_SYS_PTRACE` for the processes of other users.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn current() -> Result<Self, Error> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Takes an open file for a namespace. `path` is for messages.
    ///
    /// # Errors
    /// [`Error::NotNetns`] when it is something else.
    pub fn from_fd(fd: OwnedFd, path: &Path) -> Result<Self, Error> {
        let not_netns = || Error::NotNetns { path: PathBuf::from(path) };
        let kind = rustix::fs::fstatfs(&fd).map_err(Error::path("fstatfs", path))?;
        if kind.f_type as i64 != NSFS_MAGIC || !is_network(&fd) {
            return Err(not_netns());
        }
        let stat = rustix::fs::fstat(&fd).map_err(Error::path("fstat", path))?;
        Ok(Self { id: NetnsId { dev: stat.st_dev, ino: stat.st_ino }, fd })
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Moves the calling thread into the namespace, for a process that is about to become another
    /// program. Everything else visits ([`Netns::visit`]).
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Privileges
    /// `CAP_SYS_ADMIN` in the namespace's user namespace and in one's own.
    pub fn enter(&self) -> Result<(), Error> {
        rustix::thread::move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(Error::call("setns"))
    }

    /// Does `work` inside the namespace, on a thread of its own.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Privileges
    /// `CAP_SYS_ADMIN` in the namespace's user namespace and in one's own.
    pub fn visit<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_own_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }
}

/// Does `work` in a new network namespace that ends with it; its loopback device is up.
///
/// # Errors
/// When no namespace can be made.
///
/// # Privileges
/// `CAP_SYS_ADMIN`.
pub fn in_private_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    on_own_thread(|| {
        unshare_network()?;
        crate::netlink::Netlink::open()?.set_up(1)?;
        Ok(work())
    })
}

/// The identity that a path has now, without keeping it open.
///
/// # Errors
/// As for [`Netns::open`].
pub fn identity(path: &Path) -> Result<NetnsId, Error> {
    Netns::open(path).map(|netns| netns.id)
}

fn unshare_network() -> Result<(), Error> {
    // SAFETY: only the calling thread's view changes, and that thread is ours and ends with the
    // work; CLONE_NEWNET does not touch memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .map_err(Error::call("unshare(CLONE_NEWNET)"))
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, work)
            .map_err(Error::call("clone"))?
            .join()
            .map_err(|_| Error::ThreadDied)?
    })
}

/// Whether a namespace file is of the network kind (`NS_GET_NSTYPE` of `ioctl_ns(2)`).
fn is_network(fd: &OwnedFd) -> bool {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open, and this request takes no argument.
    unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) == libc::CLONE_NEWNET }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_namespace_is_another_one_and_ends() {
        let here = Netns::current().unwrap().id();
        let there = in_private_namespace(|| Netns::current().unwrap().id()).unwrap();
        assert_ne!(here, there);
        assert_eq!(here, Netns::current().unwrap().id(), "the caller's own thread has not moved");
    }

    #[test]
    fn a_visit_goes_in_and_leaves_the_caller_outside() {
        let netns = in_private_namespace(|| Netns::current().unwrap()).unwrap();
        let inside = netns.visit(|| Netns::current().unwrap().id()).unwrap();
        assert_eq!(inside, netns.id());
        assert_ne!(inside, Netns::current().unwrap().id());
    }

    #[test]
    fn other_files_are_no_namespaces() {
        for path in ["/dev/null", "/etc/passwd", "/proc/self/ns/pid"] {
            let error = Netns::open(Path::new(path)).unwrap_err();
            assert!(matches!(error, Error::NotNetns { .. }), "{path}: {error}");
        }
    }
}
