use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    mem,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    param::clock_ticks_per_second,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    time::ClockId,
};

use super::{
    NANOSECONDS, cgroup_contains, container_of, nanoseconds, parent_of, peer, start_ticks,
};
use crate::{Error, netns::Netns, signals};

/// What is said of a `/proc/PID/stat` that is none.
const UNREADABLE_STATUS: Error = Error::Malformed { what: "the status of a process does not read" };

/// A socket option that libc does not name everywhere (`asm-generic/socket.h`).
const SO_PEERPIDFD: libc::c_int = 77;

/// How much of a command line is read, in bytes.
const WORDS: u64 = 64 * 1024;

/// How much of an environment is read, in bytes.
const ENVIRONMENT: u64 = 1024 * 1024;

/// A process, held: while it has not ended, its number means this process and no other.
///
/// The descriptor becomes readable when the process has ended, also before its parent has asked
/// for its status.
///
/// # Minimum kernel version
/// 5.3.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
    pid: u32,
}

impl PidFd {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// `ESRCH` when there is none, `EINVAL` for 0 and for what is no number of a process.
    pub fn open(pid: u32) -> Result<Self, Error> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or(Errno::INVAL).map_err(Error::call("pidfd_open"))?;
        let fd = pidfd_open(number, PidfdFlags::empty()).map_err(Error::call("pidfd_open"))?;
        Ok(Self { fd, pid })
    }

    /// Takes hold of the process at the other end of a socket, see [`peer`]; `None` when it is in no
    /// pid namespace of ours. It is that process, also where it has ended since and another has its
    /// number.
    ///
    /// # Errors
    /// When it has ended.
    ///
    /// # Minimum kernel version
    /// 6.5. Before, it is whichever process has the number now.
    pub fn of_peer(socket: impl AsFd) -> Result<Option<Self>, Error> {
        let Some(pid) = peer(&socket)? else { return Ok(None) };
        match peer_pidfd(socket.as_fd()) {
            Ok(fd) => Ok(Some(Self { fd, pid })),
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                Self::open(pid).map(Some)
            }
            Err(error) => Err(Error::call("getsockopt(SO_PEERPIDFD)")(error)),
        }
    }

    /// Whether it runs, and in the pid namespace that /proc shows and not in one below: containers
    /// have one of their own, unless the machine's was given to them. Is told of every process,
    /// whatever /proc hides.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn is_in_own_pid_namespace(&self) -> Result<bool, Error> {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd());
        let text = fs::read_to_string(&path).map_err(Error::path("read", path))?;
        Ok(numbers(&text).is_some_and(|numbers| numbers == [i64::from(self.pid)]))
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended.
    ///
    /// What was read under its number before this says `true` was about this process.
    ///
    /// # Errors
    /// When the descriptor cannot be polled.
    pub fn is_alive(&self) -> Result<bool, Error> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let ended = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)))
            .map_err(Error::call("poll(pidfd)"))?;
        Ok(ended == 0)
    }

    /// Whether it runs inside the container, see [`cgroup_contains`].
    ///
    /// # Errors
    /// `ESRCH` when the process has ended; when /proc cannot be read.
    pub fn is_in_container(&self, container_id: &str) -> Result<bool, Error> {
        let contains = cgroup_contains(self.pid, container_id);
        self.require_alive()?;
        contains
    }

    /// The container that it runs inside, see [`container_of`].
    ///
    /// # Errors
    /// As for [`PidFd::is_in_container`].
    pub fn container(&self) -> Result<Option<String>, Error> {
        let container = container_of(self.pid);
        self.require_alive()?;
        container
    }

    /// When it was started, in nanoseconds since the epoch, by the clock as it is set now.
    ///
    /// The kernel tells it in hundredths of a second: the true moment is up to 10 ms later.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended; when /proc cannot be read.
    pub fn started(&self) -> Result<u64, Error> {
        let ticks = start_ticks(&self.stat()?).ok_or(UNREADABLE_STATUS)?;
        let since_boot =
            u128::from(ticks) * NANOSECONDS / u128::from(clock_ticks_per_second().max(1));
        let boot = nanoseconds(ClockId::Realtime).saturating_sub(nanoseconds(ClockId::Boottime));
        Ok(u64::try_from(boot + since_boot).unwrap_or(u64::MAX))
    }

    /// The process that it is a child of, held: the one that started it, or whoever takes the place
    /// of one that has ended. `None` where that is in no pid namespace of ours.
    ///
    /// # Errors
    /// `ESRCH` when either has ended; when /proc cannot be read.
    pub fn parent(&self) -> Result<Option<Self>, Error> {
        let Some(pid) = self.parent_pid()? else { return Ok(None) };
        let parent = Self::open(pid)?;
        // Still the same: the number is that of the process which is held.
        if self.parent_pid()? == Some(pid) { Ok(Some(parent)) } else { Err(gone()) }
    }

    fn parent_pid(&self) -> Result<Option<u32>, Error> {
        let stat = self.stat()?;
        let pid = parent_of(&stat).ok_or(UNREADABLE_STATUS)?;
        Ok(Some(pid).filter(|pid| *pid != 0))
    }

    /// What the kernel calls it: the beginning of its program's name, unless it has given itself
    /// another one (`PR_SET_NAME`).
    ///
    /// # Errors
    /// `ESRCH` when the process has ended; when /proc cannot be read.
    pub fn name(&self) -> Result<String, Error> {
        let path = format!("/proc/{}/comm", self.pid);
        let name = fs::read(&path).map_err(Error::path("read", path));
        self.require_alive()?;
        Ok(String::from_utf8_lossy(&name?).trim_end().to_owned())
    }

    /// The words that it was started with, as it shows them: what a program writes over its own is
    /// up to it. At most 64 KiB.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended; when /proc cannot be read.
    pub fn words(&self) -> Result<Vec<String>, Error> {
        let path = format!("/proc/{}/cmdline", self.pid);
        let mut line = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(WORDS).read_to_end(&mut line));
        self.require_alive()?;
        read.map_err(Error::path("read", path))?;
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        Ok(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    /// A variable of the environment in which it was started. Of an environment longer than 1 MiB the
    /// rest is not looked at.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended; when it may not be looked at.
    ///
    /// # Privileges
    /// `CAP_SYS_PTRACE` for the processes of other users.
    pub fn variable(&self, name: &str) -> Result<Option<OsString>, Error> {
        let path = format!("/proc/{}/environ", self.pid);
        let mut variables = Vec::new();
        let read =
            File::open(&path).and_then(|file| file.take(ENVIRONMENT).read_to_end(&mut variables));
        self.require_alive()?;
        read.map_err(Error::path("read", path))?;
        let value = |entry: &[u8]| {
            entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec)
        };
        Ok(variables.split(|byte| *byte == 0).find_map(value).map(OsString::from_vec))
    }

    /// Whether it sees the same mounts as another process, or as one of that one's threads: whether
    /// it is in one mount namespace with it. Threads may have left the others: podman lends its own,
    /// also the first, to other namespaces.
    ///
    /// # Errors
    /// `ESRCH` when either has ended; when one may not be looked at.
    ///
    /// # Privileges
    /// `CAP_SYS_PTRACE` for the processes of other users, but for those in a user namespace that is
    /// the caller's.
    pub fn shares_mounts_with(&self, other: &Self) -> Result<bool, Error> {
        let at = |path: PathBuf| {
            let stat = rustix::fs::stat(&path).map_err(Error::path("stat", path))?;
            Ok::<_, Error>((stat.st_dev, stat.st_ino))
        };
        let own = at(format!("/proc/{}/ns/mnt", self.pid).into());
        self.require_alive()?;
        let own = own?;
        let tasks = format!("/proc/{}/task", other.pid);
        let threads = fs::read_dir(&tasks).map_err(Error::path("open", tasks));
        let shares = threads.map(|threads| {
            let mut of_threads = threads.flatten().map(|thread| at(thread.path().join("ns/mnt")));
            of_threads.any(|of_thread| of_thread.is_ok_and(|of_thread| of_thread == own))
        });
        other.require_alive()?;
        shares
    }

    fn stat(&self) -> Result<String, Error> {
        let path = format!("/proc/{}/stat", self.pid);
        let stat = fs::read(&path).map_err(Error::path("read", path));
        self.require_alive()?;
        Ok(String::from_utf8_lossy(&stat?).into_owned())
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended; when the namespace may not be opened.
    ///
    /// # Privileges
    /// `CAP_SYS_PTRACE` for the processes of other users.
    pub fn netns(&self) -> Result<Netns, Error> {
        let netns = Netns::of_process(self.pid);
        self.require_alive()?;
        netns
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `ESRCH` when it has ended; `EPERM` when it is another user's by now.
    ///
    /// # Minimum kernel version
    /// 5.1.
    pub fn send(&self, signal: signals::Signal) -> Result<(), Error> {
        let signal = match signal {
            signals::Signal::Interrupt => Signal::INT,
            signals::Signal::Terminate => Signal::TERM,
            signals::Signal::HangUp => Signal::HUP,
            signals::Signal::User1 => Signal::USR1,
            signals::Signal::User2 => Signal::USR2,
        };
        pidfd_send_signal(&self.fd, signal).map_err(Error::call("pidfd_send_signal"))
    }

    pub(crate) fn require_alive(&self) -> Result<(), Error> {
        if self.is_alive()? { Ok(()) } else { Err(gone()) }
    }
}

fn gone() -> Error {
    Error::call("pidfd_open")(Errno::SRCH)
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(pidfd: PidFd) -> Self {
        pidfd.fd
    }
}

fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut fd: RawFd = -1;
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&fd)).unwrap_or(0);
    // SAFETY: both pointers are valid for writes, and length tells the size of fd.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has opened it for us, with close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The numbers that the process of a pidfd has, from the namespace of /proc down to its own; -1 when it
/// has ended (`/proc/self/fdinfo/FD`, `proc_pid_fdinfo(5)`).
fn numbers(text: &str) -> Option<Vec<i64>> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = fields.find(|(name, _)| *name == "NSpid")?;
    numbers.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_of_another_pid_namespace_is_known() {
        let is_here = |pid| PidFd::open(pid).unwrap().is_in_own_pid_namespace().unwrap();
        assert!(is_here(std::process::id()));
        // What unshare has forked is killed with it.
        let words = ["--pid", "--fork", "--kill-child", "sleep", "20"];
        let mut unshare = Command::new("unshare").args(words).spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let below: u32 = loop {
            if let Ok(child) = fs::read_to_string(&children).unwrap().trim().parse() {
                break child;
            }
        };
        assert!(is_here(unshare.id()) && !is_here(below));
        let ended = PidFd::open(unshare.id()).unwrap();
        unshare.kill().unwrap();
        unshare.wait().unwrap();
        assert!(!ended.is_in_own_pid_namespace().unwrap());
    }

    #[test]
    fn the_other_end_of_a_socket_is_held() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = PidFd::of_peer(&a).unwrap().unwrap();
        assert_eq!(peer.pid(), std::process::id());
        assert!(peer.is_alive().unwrap() && peer.is_in_own_pid_namespace().unwrap());
        assert_eq!(numbers("Pid:\t7\nNSpid:\t7\t1\n"), Some(vec![7, 1]));
        assert_eq!(numbers("Pid:\t-1\nNSpid:\t-1\n"), Some(vec![-1]));
    }
}
