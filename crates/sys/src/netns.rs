//! Network namespaces: naming them, holding them, and working inside them for a moment.
//!
//! A namespace belongs to a thread, so one is entered only on a thread made for it, which ends
//! with the work. What comes back is a value that outlives the visit, a socket mostly: a socket
//! keeps the namespace in which it was opened.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
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

/// The counters of the calling thread's namespace's devices.
const COUNTERS: &str = "/proc/thread-self/net/dev";

/// How much of them is read, in bytes: some 8,000 devices.
const COUNTERS_BOUND: u64 = 1024 * 1024;

/// A network namespace that is held open, and its identity.
///
/// While it exists the namespace lives, even when its last process has ended: hold it no longer
/// than the visit takes.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    id: NetnsId,
    first_named: u64,
}

impl Netns {
    /// Opens a namespace by a file: `/run/netns/NAME`, `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// When the file cannot be opened, or is no network namespace: a file that is about to become
    /// one (created, not yet mounted over) is [`Error::NotNetns`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(Error::path("open network namespace", path))?;
        Self::from_fd(fd, path)
    }

    /// Opens the namespace that is mounted on a file of an open directory. No link is followed.
    ///
    /// # Errors
    /// As for [`Netns::open`].
    pub fn open_at(directory: impl AsFd, file: &str) -> Result<Self, Error> {
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(directory, file, flags, Mode::empty())
            .map_err(Error::path("open", file))?;
        Self::from_fd(fd, Path::new(file))
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
        let first_named = since_epoch(stat.st_ctime, stat.st_ctime_nsec);
        Ok(Self { id: NetnsId { dev: stat.st_dev, ino: stat.st_ino }, first_named, fd })
    }

    /// Since when a name leads to it, without a break, in nanoseconds since the epoch: since when it
    /// has been mounted on a file, or somebody has had its file open.
    ///
    /// The kernel makes a namespace's inode when it is first looked at, and keeps it no longer than
    /// it is mounted or open (`nsfs_init_inode` of `fs/nsfs.c`). So for a namespace that only has
    /// processes this is the moment at which it was opened here; the namespace itself is never
    /// younger. It is as exact as the kernel's timer interrupt: 1 to 10 ms too early.
    #[must_use]
    pub fn first_named(&self) -> u64 {
        self.first_named
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Whether it belongs to the calling process's user namespace, or to one within: where rights of
    /// this process count at all (`NS_GET_USERNS` of `ioctl_ns(2)`).
    ///
    /// # Minimum kernel version
    /// 4.9.
    #[must_use]
    pub fn is_of_our_users(&self) -> bool {
        const NS_GET_USERNS: libc::c_ulong = 0xb701;
        // SAFETY: the descriptor is open, and this request takes no argument.
        let owner = unsafe { libc::ioctl(self.fd.as_raw_fd(), NS_GET_USERNS) };
        if owner < 0 {
            return false;
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(owner) });
        true
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

/// Whether a path leads to this namespace, without opening it; `None` where it may not be looked at.
#[must_use]
pub fn leads_to(path: &Path, netns: NetnsId) -> Option<bool> {
    match rustix::fs::stat(path) {
        Ok(found) => Some(NetnsId { dev: found.st_dev, ino: found.st_ino } == netns),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => None,
        Err(_) => Some(false),
    }
}

/// The identity of a process's namespace, without opening it.
///
/// # Errors
/// When there is no such process, or it may not be looked at.
///
/// # Privileges
/// `CAP_SYS_PTRACE` for the processes of other users.
pub fn identity_of_process(pid: u32) -> Result<NetnsId, Error> {
    let path = format!("/proc/{pid}/ns/net");
    let stat = rustix::fs::stat(&path).map_err(Error::path("stat", path))?;
    Ok(NetnsId { dev: stat.st_dev, ino: stat.st_ino })
}

/// How many frames the devices of the calling thread's namespace have received and sent so far,
/// `lo` aside.
///
/// Not asked over netlink: a list of devices waits for the lock under which devices are changed
/// everywhere on the machine, which an engine that starts containers holds for up to 90 ms.
///
/// # Errors
/// When /proc is not mounted.
pub fn frames() -> Result<u64, Error> {
    let mut counters = Vec::new();
    File::open(COUNTERS)
        .and_then(|file| file.take(COUNTERS_BOUND).read_to_end(&mut counters))
        .map_err(Error::path("read", COUNTERS))?;
    // Names are any bytes.
    let counters = String::from_utf8_lossy(&counters);
    Ok(counters.lines().filter_map(frames_of).fold(0, u64::saturating_add))
}

/// Received and sent frames of a line of /proc/net/dev: of the numbers behind the device's name
/// the second and the tenth (`proc_pid_net(5)`). A name has no colon, and neither has the heading.
fn frames_of(line: &str) -> Option<u64> {
    let (name, numbers) = line.split_once(':')?;
    let mut numbers = numbers.split_ascii_whitespace().map(str::parse::<u64>);
    let received = numbers.nth(1)?.ok()?;
    let sent = numbers.nth(7)?.ok()?;
    (name.trim_start() != "lo").then(|| received.saturating_add(sent))
}

fn since_epoch(seconds: i64, nanoseconds: impl TryInto<u64>) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.try_into().unwrap_or(0))
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
    fn a_processs_namespace_has_the_same_identity_by_either_way() {
        let pid = std::process::id();
        let opened = Netns::of_process(pid).unwrap();
        assert_eq!(identity_of_process(pid).unwrap(), opened.id());
        assert!(identity_of_process(u32::MAX).is_err());
    }

    #[test]
    fn a_devices_frames_are_its_received_and_sent_ones() {
        let line = "  eth0:  1000 7 0 0 0 0 0 0  2000 5 0 0 0 0 0 0";
        assert_eq!(frames_of(line), Some(12));
        assert_eq!(frames_of(&line.replace("eth0", "lo")), None);
        assert_eq!(frames_of("eth0.7:1 18446744073709551615 0 0 0 0 0 0 1 1"), Some(u64::MAX));
        for other in [
            "Inter-|   Receive                        |  Transmit",
            " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets",
            "eth0: 1 2 3",
            "",
        ] {
            assert_eq!(frames_of(other), None, "{other}");
        }
        assert_eq!(in_private_namespace(|| frames().unwrap()).unwrap(), 0);
    }

    #[test]
    fn a_namespace_is_named_since_it_was_first_opened() {
        let now = || {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap();
            u64::try_from(now.as_nanos()).unwrap()
        };
        in_private_namespace(|| {
            let before = now();
            let held = Netns::current().unwrap();
            let after = now();
            let again = Netns::current().unwrap();
            let named = held.first_named();
            assert!((before - 20_000_000..=after).contains(&named), "{before} {named} {after}");
            assert_eq!(again.first_named(), named, "as long as it is held");
        })
        .unwrap();
    }

    #[test]
    fn a_file_of_a_directory_is_opened_and_no_link() {
        let directory = std::fs::File::open("/proc/self/ns").unwrap();
        let refused = Netns::open_at(&directory, "net").unwrap_err();
        let errno = refused.io().and_then(std::io::Error::raw_os_error);
        assert_eq!(errno, Some(libc::ELOOP), "what stands there is a link: {refused}");
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("empty"), "").unwrap();
        let directory = std::fs::File::open(directory.path()).unwrap();
        let refused = Netns::open_at(&directory, "empty").unwrap_err();
        assert!(matches!(refused, Error::NotNetns { .. }), "{refused}");
        let refused = Netns::open_at(&directory, "absent").unwrap_err();
        assert_eq!(refused.io().unwrap().kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn other_files_are_no_namespaces() {
        for path in ["/dev/null", "/etc/passwd", "/proc/self/ns/pid"] {
            let error = Netns::open(Path::new(path)).unwrap_err();
            assert!(matches!(error, Error::NotNetns { .. }), "{path}: {error}");
        }
    }
}
