//! Processes of other people: held, proved, outlived.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod child;

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use child::alone;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::pipe,
};
use whaletap_sys::{
    Error,
    netns::{self, Netns},
    process::{
        PidFd, cgroup_contains, close_other_descriptors, inheritable_descriptors,
        parent_death_signal, spawn_unmasked,
    },
    signals::{Arrival, Signal, Signals},
};

const LIMIT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

fn becomes_readable(fd: impl AsFd) -> bool {
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&LIMIT)).unwrap() == 1
}

/// A process that lives until it is told to end, and is told when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("cat").stdin(Stdio::piped()).spawn().unwrap())
    }

    fn end(&mut self) {
        drop(self.0.stdin.take());
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.end();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_process_tells_its_parent_its_words_and_its_environment() {
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", "echo; read x"])
        .env("WHALETAP_TEST", "a=b")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It has mounts of its own by then.
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let process = PidFd::open(child.id()).unwrap();
    let this = PidFd::open(std::process::id()).unwrap();
    assert_eq!(process.parent().unwrap().unwrap().pid(), this.pid());
    assert_eq!(process.name().unwrap(), "sh");
    assert_eq!(process.words().unwrap(), ["sh", "-c", "echo; read x"]);
    assert_eq!(process.variable("WHALETAP_TEST").unwrap().unwrap(), "a=b");
    assert_eq!(process.variable("WHALETAP_TES").unwrap(), None);
    assert!(this.shares_mounts_with(&this).unwrap());
    assert!(!process.shares_mounts_with(&this).unwrap());
    drop(child.stdin.take());
    child.wait().unwrap();
    for ended in [process.words().err(), process.parent().err(), process.variable("x").err()] {
        assert_eq!(ended.unwrap().io().unwrap().raw_os_error(), Some(3), "ESRCH");
    }
}

#[test]
fn a_process_is_alive_until_it_ends_even_before_it_is_waited_for() {
    let mut sleeper = Sleeper::start();
    let held = PidFd::open(sleeper.0.id()).unwrap();
    assert!(held.is_alive().unwrap());
    sleeper.end();
    assert!(becomes_readable(&held), "the end is told");
    assert!(!held.is_alive().unwrap());
    // Its number still exists in /proc, so only the descriptor keeps us from believing it.
    assert!(cgroup_contains(held.pid(), "ab").is_ok());
    for gone in [held.is_in_container("ab").map(drop), held.netns().map(drop)] {
        let error = gone.unwrap_err();
        assert_eq!(error.io().and_then(std::io::Error::raw_os_error), Some(libc::ESRCH), "{error}");
    }
    drop(sleeper);
    let error = PidFd::open(held.pid()).unwrap_err();
    assert_eq!(error.io().and_then(std::io::Error::raw_os_error), Some(libc::ESRCH));
    assert!(cgroup_contains(held.pid(), "ab").is_err());
}

#[test]
fn a_process_leads_to_its_own_namespace() {
    // The child of a thread is in that thread's namespace.
    let (sleeper, id) =
        netns::in_private_namespace(|| (Sleeper::start(), Netns::current().unwrap().id())).unwrap();
    let held = PidFd::open(sleeper.0.id()).unwrap();
    assert_eq!(held.netns().unwrap().id(), id);
    assert_ne!(id, Netns::current().unwrap().id());
}

#[test]
fn a_cgroup_proves_its_container() {
    const ID: &str = "5e0f5e0f5e0f5e0f5e0f5e0f5e0f5e0f5e0f5e0f5e0f5e0f5e0f5e0f5e0f5e0f";
    let Some(cgroup) = Cgroup::new(&format!("docker-{ID}.scope")) else {
        panic!("no cgroup hierarchy can be written: run as root on a machine with cgroups");
    };
    let sleeper = Sleeper::start();
    let held = PidFd::open(sleeper.0.id()).unwrap();
    assert!(!held.is_in_container(ID).unwrap());
    cgroup.take(held.pid());
    assert!(held.is_in_container(ID).unwrap());
    assert!(!held.is_in_container(&ID[..12]).unwrap(), "a short id is not enough");
    assert!(!held.is_in_container(&ID.replace('5', "6")).unwrap());
    drop(sleeper);
}

/// A cgroup of the test's own, in the first hierarchy that lets us make one.
struct Cgroup(std::path::PathBuf);

impl Cgroup {
    fn new(name: &str) -> Option<Self> {
        let name = format!("{name}:{}", std::process::id());
        [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/pids",
            "/sys/fs/cgroup/systemd",
        ]
        .into_iter()
        .map(|root| std::path::Path::new(root).join(&name))
        .find(|path| {
            std::fs::create_dir(path).is_ok()
                && (path.join("cgroup.procs").exists() || std::fs::remove_dir(path).is_err())
        })
        .map(Self)
    }

    fn take(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just ended may still be counted for a moment.
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_child_dies_with_its_parent() {
    alone("a_child_dies_with_its_parent", || {
        let (ready, say_ready) = pipe().unwrap();
        // The grandchild holds the writing end for as long as it lives.
        let (end, life) = pipe().unwrap();
        let Some(child) = fork() else {
            drop(end);
            let parent = std::process::id();
            if fork().is_none() {
                parent_death_signal(parent).unwrap();
                rustix::io::write(&say_ready, b"r").unwrap();
                loop {
                    rustix::event::pause();
                }
            }
            // Ends when the grandchild is ready, without a word to it.
            rustix::io::read(&ready, &mut [0_u8; 1]).unwrap();
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(0) };
        };
        drop(life);
        let mut status = 0;
        // SAFETY: waits for our own child.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child ended by itself");
        assert!(becomes_readable(&end), "the grandchild ends by the signal, not by its own limit");
        assert_eq!(rustix::io::read(&end, &mut [0_u8; 1]).unwrap(), 0, "nobody holds it any more");
    });
}

/// A child of a process with one thread, which ends by itself after 20 s. `None` in the child.
fn fork() -> Option<i32> {
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        // SAFETY: takes a number.
        unsafe { libc::alarm(20) };
        return None;
    }
    Some(child)
}

#[test]
fn a_parent_that_is_gone_already_is_noticed() {
    alone("a_parent_that_is_gone_already_is_noticed", || {
        assert!(matches!(parent_death_signal(u32::MAX / 3), Err(Error::PeerGone)));
    });
}

/// Clears close-on-exec, as a careless shell does.
fn leak(fd: &OwnedFd) -> RawFd {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
    fd.as_raw_fd()
}

#[test]
fn inherited_descriptors_are_closed_and_ones_own_are_not() {
    const NAME: &str = "inherited_descriptors_are_closed_and_ones_own_are_not";
    const KEPT: &str = "WHALETAP_SYS_TEST_KEPT";
    if let Ok(kept) = std::env::var(KEPT) {
        // The re-executed side.
        let kept: RawFd = kept.parse().unwrap();
        let own = File::open("/dev/null").unwrap();
        let inherited = inheritable_descriptors().unwrap();
        assert!(inherited.contains(&kept) && inherited.len() >= 2, "{inherited:?}");
        assert!(!inherited.contains(&own.as_raw_fd()));
        close_other_descriptors(&[kept]).unwrap();
        assert_eq!(inheritable_descriptors().unwrap(), [kept]);
        own.metadata().unwrap();
        std::io::stderr().write_all(b"still open\n").unwrap();
        return;
    }
    alone(NAME, || {
        let (reader, writer) = pipe().unwrap();
        let (other, leaked) = pipe().unwrap();
        let kept = leak(&writer);
        leak(&leaked);
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", NAME, "--nocapture", "--test-threads=1"]);
        command.env(KEPT, kept.to_string()).stdin(Stdio::piped()).process_group(0);
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.success());
        drop((writer, leaked));
        assert!(becomes_readable(&reader) && becomes_readable(&other));
    });
}

/// What is held back, as /proc tells it in hexadecimal.
fn held_back(command: &mut Command) -> u64 {
    let mut child = spawn_unmasked(command.stdout(Stdio::piped())).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let mask = text.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

#[test]
fn a_command_has_no_signal_held_back() {
    alone("a_command_has_no_signal_held_back", || {
        let signals = Signals::take().unwrap();
        let mut status = Command::new("cat");
        assert_eq!(held_back(status.arg("/proc/self/status")), 0);
        let this = PidFd::open(std::process::id()).unwrap();
        for signal in [Signal::Terminate, Signal::User2] {
            this.send(signal).unwrap();
            assert_eq!(signals.asks_for_end(), signal == Signal::Terminate);
            // From a process, not from a terminal.
            assert_eq!(signals.arrived(), Some(Arrival { signal, by_kernel: false }));
        }
        assert_eq!((signals.next(), signals.asks_for_end()), (None, false));
    });
}

#[test]
fn a_process_that_is_held_gets_its_signal() {
    let mut child = Command::new("sleep").arg("20").spawn().unwrap();
    let held = PidFd::open(child.id()).unwrap();
    held.send(Signal::Terminate).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    let error = held.send(Signal::Terminate).unwrap_err();
    assert_eq!(error.io().and_then(std::io::Error::raw_os_error), Some(libc::ESRCH), "{error}");
}
