//! Processes: holding one so that its number cannot come to mean another, proving whose it is,
//! ending with one's parent, and not keeping descriptors by accident.

use std::{
    fs, io, mem,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
    ptr,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal,
        set_parent_process_death_signal,
    },
};

use crate::{Error, netns::Netns, signals};

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

    fn require_alive(&self) -> Result<(), Error> {
        if self.is_alive()? { Ok(()) } else { Err(Error::call("pidfd_open")(Errno::SRCH)) }
    }
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

/// Whether a process runs inside a container: whether the container's id stands in its cgroup,
/// as a whole word between separators (`cgroups(7)`, "/proc files").
///
/// The id has to be the whole one. Known are the forms of docker (`/docker/ID`,
/// `docker-ID.scope`), podman (`libpod-ID.scope`), containerd and cri-o (`cri-containerd-ID.scope`,
/// `slice:cri-containerd:ID`, `crio-ID.scope`), also beneath another container's. A monitor outside
/// the container (`libpod-conmon-ID.scope`) is not inside.
///
/// Hold a [`PidFd`] and ask it afterwards whether the process is still alive, or ask
/// [`PidFd::is_in_container`].
///
/// # Errors
/// When /proc/PID/cgroup cannot be read: `ENOENT` where there is no such process.
pub fn cgroup_contains(pid: u32, container_id: &str) -> Result<bool, Error> {
    let path = format!("/proc/{pid}/cgroup");
    let cgroups = fs::read(&path).map_err(Error::path("read", path))?;
    Ok(names_container(&String::from_utf8_lossy(&cgroups), container_id))
}

fn names_container(cgroups: &str, id: &str) -> bool {
    !id.is_empty()
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && cgroups
            .lines()
            // hierarchy:controllers:path, and the path may have colons of its own.
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .flat_map(|path| path.split('/'))
            .any(|component| component_names(component, id))
}

fn component_names(component: &str, id: &str) -> bool {
    let mut before = "";
    for word in component.split(|c: char| !c.is_alphanumeric()) {
        if word == id && before != "conmon" {
            return true;
        }
        before = word;
    }
    false
}

/// Ends this process (`SIGKILL`) when its parent ends, for callers whose parent holds the other
/// end of a channel: one that has ended before is noticed there.
///
/// The parent is the *thread* that started this process: start it from one that stays. Changing
/// the user clears the setting, so this comes after (`prctl(2)`, `PR_SET_PDEATHSIG`).
///
/// # Errors
/// [`Error::PeerGone`] when the parent has just ended; when the kernel refuses.
pub fn die_with_parent() -> Result<(), Error> {
    die_with(Pid::as_raw(getppid()))
}

/// Like [`die_with_parent`], for callers that know their parent's number: a parent that ended
/// before the call is noticed, too.
///
/// # Errors
/// [`Error::PeerGone`] when this process's parent is another one (by now).
pub fn parent_death_signal(parent: u32) -> Result<(), Error> {
    die_with(i32::try_from(parent).map_err(|_| Error::call("getppid")(Errno::INVAL))?)
}

fn die_with(parent: i32) -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(Error::call("prctl(PR_SET_PDEATHSIG)"))?;
    if Pid::as_raw(getppid()) == parent { Ok(()) } else { Err(Error::PeerGone) }
}

/// Starts a command that has no signal held back: children inherit what their parent holds back.
///
/// # Errors
/// When it cannot be started, like `Command::spawn`.
pub fn spawn_unmasked(command: &mut Command) -> io::Result<Child> {
    // SAFETY: between fork and exec only system calls are made, and none of them allocates.
    unsafe { command.pre_exec(unmask) };
    command.spawn()
}

fn unmask() -> io::Result<()> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut none: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: valid for writes.
    unsafe { libc::sigemptyset(&raw mut none) };
    // SAFETY: an initialised set; the old one is not wanted.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// The descriptors above 2 that would pass into a program that is started: those without
/// close-on-exec.
///
/// # Errors
/// When /proc is not mounted.
pub fn inheritable_descriptors() -> Result<Vec<RawFd>, Error> {
    const DESCRIPTORS: &str = "/proc/self/fd";
    let entries = fs::read_dir(DESCRIPTORS).map_err(Error::path("open", DESCRIPTORS))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::path("read", DESCRIPTORS))?;
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok())
        else {
            continue;
        };
        // SAFETY: asks about a number; a closed one answers EBADF.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if fd > 2 && flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            found.push(fd);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Closes the descriptors that this process was given at its start and does not know: all above
/// 2 without close-on-exec, but those of `keep`.
///
/// What was opened here is safe from it. A descriptor that came through exec has no close-on-exec,
/// and everything that Rust's library and this crate open has it: so no owner in this process loses
/// its descriptor. For the beginning of a companion's main.
///
/// # Errors
/// When /proc is not mounted.
pub fn close_other_descriptors(keep: &[RawFd]) -> Result<(), Error> {
    for fd in inheritable_descriptors()? {
        if !keep.contains(&fd) {
            // SAFETY: it came through exec, so nothing in this process owns it (see above).
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9d0c1b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";

    #[test]
    fn a_container_is_known_by_every_engines_form() {
        for path in [
            "/docker/ID",
            "/docker/ID/init.scope",
            "/system.slice/docker-ID.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/libpod_parent/libpod-ID",
            "/kubepods/besteffort/pod8c1f/ID",
            "/kubepods.slice/kubepods-pod8c1f.slice/cri-containerd-ID.scope",
            "/system.slice/containerd.service/kubepods-pod8c1f.slice:cri-containerd:ID",
            "/kubepods.slice/crio-ID.scope",
            "/../../docker/ID",
            "/docker/ID (deleted)",
        ] {
            let path = path.replace("ID", ID);
            for line in [format!("0::{path}"), format!("9:name=systemd:{path}\n0::/")] {
                assert!(names_container(&line, ID), "{line}");
            }
        }
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        let other = ID.replace('3', "4");
        for path in [
            "/".to_owned(),
            format!("/docker/{other}"),
            format!("/docker/{ID}0"),
            format!("/docker/a{ID}"),
            format!("/docker/{ID}x"),
            format!("/docker/{}", &ID[..63]),
            format!("/docker/{}/{}", &ID[..32], &ID[32..]),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/kubepods.slice/crio-conmon-{ID}.scope"),
        ] {
            assert!(!names_container(&format!("0::{path}"), ID), "{path}");
        }
        let controllers = format!("3:{ID}:/\n0:{ID}");
        assert!(!names_container(&controllers, ID), "the controllers are not the path");
        for id in ["", "docker", "/", "-", "..", "docker-3f2a"] {
            assert!(!names_container("0::/docker-3f2a//-.scope", id), "{id:?} is no id");
        }
    }

    #[test]
    fn this_process_is_alive_and_in_its_own_namespace() {
        let this = PidFd::open(std::process::id()).unwrap();
        assert!(this.is_alive().unwrap());
        assert_eq!(this.netns().unwrap().id(), Netns::of_process(this.pid()).unwrap().id());
        assert!(!this.is_in_container(ID).unwrap());
    }

    #[test]
    fn numbers_that_are_no_process_are_refused() {
        for pid in [0, u32::MAX, 0x7fff_fffe] {
            let error = PidFd::open(pid).unwrap_err();
            assert!(matches!(error, Error::Call { call: "pidfd_open", .. }), "{pid}: {error}");
        }
    }
}
