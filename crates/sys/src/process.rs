//! Processes: holding one so that its number cannot come to mean another, proving whose it is,
//! ending with one's parent, and not keeping descriptors by accident.

mod pidfd;

use std::{
    fs, io, mem,
    os::{
        fd::{AsFd, AsRawFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
    ptr,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, getppid, set_parent_process_death_signal},
    time::{ClockId, clock_gettime},
};

pub use self::pidfd::PidFd;
use crate::Error;

/// The length of a container's whole id, in hexadecimal digits.
const CONTAINER_ID: usize = 64;

/// Where `starttime` stands in `/proc/PID/stat`, counted from the field behind the program's name
/// (`proc_pid_stat(5)`: field 22, and that one is field 3).
const START_FIELD: usize = 19;

/// Where `pgrp` stands there: field 5.
const GROUP_FIELD: usize = 2;

/// Where `ppid` stands there: field 4.
const PARENT_FIELD: usize = 1;

/// In a second.
const NANOSECONDS: u128 = 1_000_000_000;

/// The most processes that are listed.
const LISTED: usize = 65_536;

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

/// The whole id of the container that a process runs inside, by the same forms of cgroups as
/// [`cgroup_contains`]: the innermost one, where an engine runs in another's container. `None`
/// when it is in none.
///
/// What is an id is told by its form alone, 64 lower-case hexadecimal digits: ask the engine
/// whether it knows it.
///
/// # Errors
/// As for [`cgroup_contains`].
pub fn container_of(pid: u32) -> Result<Option<String>, Error> {
    let path = format!("/proc/{pid}/cgroup");
    let cgroups = fs::read(&path).map_err(Error::path("read", path))?;
    Ok(named_container(&String::from_utf8_lossy(&cgroups)).map(str::to_owned))
}

/// Whether a text has the form of a container's whole id.
#[must_use]
pub fn is_container_id(text: &str) -> bool {
    text.len() == CONTAINER_ID && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn names_container(cgroups: &str, id: &str) -> bool {
    !id.is_empty()
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && paths(cgroups).flat_map(words).any(|word| word == id)
}

fn named_container(cgroups: &str) -> Option<&str> {
    paths(cgroups).find_map(|path| words(path).filter(|word| is_container_id(word)).last())
}

/// The paths of `/proc/PID/cgroup`: `hierarchy:controllers:path`, and a path may have colons of its
/// own.
fn paths(cgroups: &str) -> impl Iterator<Item = &str> {
    cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// The words of a path that can be what its process runs inside.
fn words(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').flat_map(|component| {
        let mut before = "";
        component.split(|c: char| !c.is_alphanumeric()).filter(move |word| {
            let of_monitor = before == "conmon";
            before = *word;
            !of_monitor
        })
    })
}

/// The processes of this machine, the newest first: numbers are given out in a circle, and the
/// kernel tells the last one. At most 65,536.
///
/// # Errors
/// When /proc cannot be read.
pub fn newest() -> Result<Vec<u32>, Error> {
    const LOAD: &str = "/proc/loadavg";
    const PROCESSES: &str = "/proc";
    let load = fs::read_to_string(LOAD).map_err(Error::path("read", LOAD))?;
    let last = load.split_ascii_whitespace().last().and_then(|last| last.parse().ok());
    let entries = fs::read_dir(PROCESSES).map_err(Error::path("open", PROCESSES))?;
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .take(LISTED)
        .collect();
    sort_by_age(&mut pids, last.unwrap_or(u32::MAX));
    Ok(pids)
}

/// The number of a process's group; `None` when it has ended.
#[must_use]
pub fn group(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    field(&String::from_utf8_lossy(&stat), GROUP_FIELD)?.parse().ok()
}

/// Puts the newest first, where `last` is the number that was given out last.
fn sort_by_age(pids: &mut [u32], last: u32) {
    pids.sort_unstable_by_key(|pid| last.wrapping_sub(*pid));
}

pub(crate) fn start_ticks(stat: &str) -> Option<u64> {
    field(stat, START_FIELD)?.parse().ok()
}

fn parent_of(stat: &str) -> Option<u32> {
    field(stat, PARENT_FIELD)?.parse().ok()
}

fn field(stat: &str, number: usize) -> Option<&str> {
    // A program's name may hold anything, brackets and blanks too.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(number)
}

fn nanoseconds(clock: ClockId) -> u128 {
    let now = clock_gettime(clock);
    let seconds = u128::try_from(now.tv_sec).unwrap_or(0);
    seconds * NANOSECONDS + u128::try_from(now.tv_nsec).unwrap_or(0)
}

/// The process at the other end of a socket: the one that connected it, or that began to listen.
/// With socket activation the latter is systemd, not the service. `None` when it is in no pid
/// namespace of ours.
///
/// Its number may mean another process by now. `SO_PEERCRED` of `unix(7)`.
///
/// # Errors
/// When the kernel does not tell.
pub fn peer(socket: impl AsFd) -> Result<Option<u32>, Error> {
    // Not by rustix, whose number of a process cannot be 0.
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&peer)).unwrap_or(0);
    // SAFETY: both pointers are valid for writes, and length tells the size of peer.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(Error::call("getsockopt(SO_PEERCRED)")(io::Error::last_os_error()));
    }
    Ok(u32::try_from(peer.pid).ok().filter(|pid| *pid != 0))
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

/// Like [`spawn_unmasked`], for a command that is of no use without us: it is killed when the thread
/// that starts it ends, unless it gains rights by what it is (`prctl(2)`, `PR_SET_PDEATHSIG`).
///
/// # Errors
/// When it cannot be started, like `Command::spawn`.
pub fn spawn_leashed(command: &mut Command) -> io::Result<Child> {
    let leash = || set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from);
    // SAFETY: between fork and exec only system calls are made, and none of them allocates.
    unsafe { command.pre_exec(leash) };
    spawn_unmasked(command)
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
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::netns::Netns;

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
    fn a_container_is_found_by_its_form() {
        let other = ID.replace('3', "4");
        for (path, found) in [
            ("/docker/ID".to_owned(), true),
            ("/system.slice/docker-ID.scope".to_owned(), true),
            ("/machine.slice/libpod-ID.scope/container".to_owned(), true),
            (format!("/docker/{other}/docker/ID"), true),
            (format!("/docker/{other}/kubelet.slice/cri-containerd-ID.scope"), true),
            ("/machine.slice/libpod-conmon-ID.scope".to_owned(), false),
            ("/docker/IDx/0ID".to_owned(), false),
            (format!("/docker/{}", ID.to_uppercase()), false),
            ("/user.slice".to_owned(), false),
        ] {
            let path = path.replace("ID", ID);
            for lines in
                [format!("0::{path}"), format!("9:pids:{path}\n0::/"), format!("0::/\n{path}")]
            {
                let expected = (found && !lines.starts_with("0::/\n")).then_some(ID);
                assert_eq!(named_container(&lines), expected, "{lines}");
            }
        }
        assert!(container_of(std::process::id()).is_ok());
        assert!(container_of(u32::MAX).is_err());
    }

    #[test]
    fn the_newest_process_comes_first() {
        let mut child = std::process::Command::new("sleep").arg("20").spawn().unwrap();
        let pids = newest().unwrap();
        let place = |pid| pids.iter().position(|one| *one == pid).unwrap();
        assert!(place(child.id()) < place(std::process::id()), "{pids:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        // A circle of numbers.
        let mut pids = [300, 5, 32_000, 7];
        sort_by_age(&mut pids, 8);
        assert_eq!(pids, [7, 5, 32_000, 300]);
    }

    #[test]
    fn a_process_tells_when_it_was_started() {
        let before = nanoseconds(ClockId::Realtime);
        let mut child = std::process::Command::new("sleep").arg("20").spawn().unwrap();
        let after = nanoseconds(ClockId::Realtime);
        let started = u128::from(PidFd::open(child.id()).unwrap().started().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!((before - 20_000_000..=after).contains(&started), "{before} {started} {after}");
        let named = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(start_ticks(named), Some(4711));
        assert_eq!(start_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn the_other_end_of_a_socket_is_known() {
        let (a, _b) = UnixStream::pair().unwrap();
        assert_eq!(peer(&a).unwrap(), Some(std::process::id()));
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
