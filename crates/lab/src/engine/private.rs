use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Once,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

use crate::{Engine, Error, Namespace, Net, Program, Running, name};

/// How long an engine may take until it answers.
const READY: Duration = Duration::from_secs(30);
/// How long an engine may live: longer than any test.
const LIFE: Duration = Duration::from_secs(1800);
/// How long an engine may take to stop when asked.
const STOP: Duration = Duration::from_secs(15);
/// How often, and with what pause between, a directory is tried to be removed whose mounts are
/// about to go with the last process of their namespace.
const REMOVE: (u32, Duration) = (20, Duration::from_millis(50));
/// What the directories of private engines begin with, behind their unique name.
const SUFFIX: &str = "-engine";

/// An engine of a test's own, which may be killed and started again.
///
/// It lives in a network, a mount and a UTS namespace of its own, so that its bridge, its
/// firewall rules and its `/run/docker` are nobody else's: to the rest of the machine it looks
/// like another host. Its containers' namespaces are seen through `/proc/<pid>/root`.
///
/// ```text
///   wt-7-0 ── dockerd ── docker0 ── containers
/// ```
///
/// # Privileges
///
/// root.
#[derive(Debug)]
pub struct PrivateEngine {
    engine: Engine,
    dockerd: Option<Running>,
    options: Vec<String>,
    // Keeps the mount namespace, with the namespace files in it, while dockerd is dead.
    holder: Option<Running>,
    directory: PathBuf,
    // Last: the network goes after those who live in it.
    _net: Option<Net>,
}

impl PrivateEngine {
    /// Starts an engine in a network namespace of its own, which keeps its containers alive
    /// while it is down (`--live-restore`).
    ///
    /// # Errors
    ///
    /// [`Error::Start`], and [`Error::EngineNotReady`] with the end of its log.
    pub fn start() -> Result<Self, Error> {
        let mut net = Net::new();
        let namespace = net.namespace()?;
        let mut engine = Self::start_in(&namespace, namespace.name(), true)?;
        engine._net = Some(net);
        Ok(engine)
    }

    /// Starts an engine as the host `hostname` in a namespace that stands for the host's network.
    /// An engine that is to join a Swarm must not have `live_restore`.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], and [`Error::EngineNotReady`] with the end of its log.
    pub fn start_in(
        namespace: &Namespace,
        hostname: &str,
        live_restore: bool,
    ) -> Result<Self, Error> {
        let options = live_restore.then(|| "--live-restore".to_owned());
        Self::start_with(namespace, hostname, |_| Ok(options.into_iter().collect()))
    }

    /// As [`PrivateEngine::start_in`], with options of dockerd's that may be about files in the
    /// engine's own directory.
    pub(super) fn start_with(
        namespace: &Namespace,
        hostname: &str,
        options: impl FnOnce(&Path) -> Result<Vec<String>, Error>,
    ) -> Result<Self, Error> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let directory = std::env::temp_dir().join(name::unique() + SUFFIX);
        fs::create_dir(&directory).map_err(Error::file(&directory))?;
        let host = format!("unix://{}", directory.join("docker.sock").display());
        let mut engine = Self {
            engine: Engine::at(host),
            dockerd: None,
            options: Vec::new(),
            holder: None,
            directory,
            _net: None,
        };
        engine.options = options(&engine.directory)?;
        // Not `ip netns exec`: it mounts a new /sys, and dockerd finds no cgroups there.
        // And without its copies of other people's namespace files: they would keep the
        // namespaces of other engines' containers for as long as this engine lives.
        let script = "set -e; hostname \"$1\"; \
                      grep -F ' - nsfs ' /proc/self/mountinfo | while read -r _ _ _ _ file _; do \
                      umount -l \"$file\" || :; done; \
                      for d in /run/docker /run/containerd; do \
                      mkdir -p $d; mount -t tmpfs none $d; done; echo ready >&2; exec sleep 1800";
        let mut holder = Program::new("unshare")
            .args(["--mount", "--uts", "--propagation", "private"])
            .args(["sh", "-c", script, "holder", hostname])
            .inside(namespace)
            .limit(LIFE)
            .start()?;
        let ready = holder.wait_for_line("ready", READY);
        engine.holder = Some(holder);
        ready?;
        engine.start_again()?;
        Ok(engine)
    }

    /// The engine, for containers and networks.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// A program that runs in the engine's own network, mounts and host name.
    pub(super) fn inside(&self, program: &str) -> Program {
        let holder = self.holder.as_ref().map(Running::pid).unwrap_or_default();
        Program::new("nsenter").args([
            "--target",
            &holder.to_string(),
            "--mount",
            "--uts",
            "--net",
            "--",
            program,
        ])
    }

    /// A directory that goes with the engine.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// dockerd's process id; `None` while it is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.dockerd.as_ref().map(Running::pid)
    }

    /// Sends dockerd a signal, such as SIGSTOP for an engine that hangs.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] when it is down.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        match &self.dockerd {
            Some(dockerd) => dockerd.signal(signal),
            None => Err(Error::call("pidfd_send_signal", "dockerd")(io::Error::from(
                rustix::io::Errno::SRCH,
            ))),
        }
    }

    /// Kills dockerd without a warning. With live restore its containers live on.
    pub fn kill(&mut self) {
        if let Some(dockerd) = self.dockerd.take() {
            dockerd.kill();
            self.forget_containerd();
        }
    }

    /// containerd dies with its dockerd. As long as nobody has collected it the next dockerd
    /// takes its pid for a living one's, and waits for a socket that never answers.
    fn forget_containerd(&self) {
        let file = self.directory.join("exec/containerd/containerd.pid");
        let pid = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let pidfd = pid.and_then(Pid::from_raw).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        if let Some(Ok(pidfd)) = pidfd {
            let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
            let _ = poll(&mut ended, Timespec::try_from(STOP).ok().as_ref());
        }
        let _ = fs::remove_file(&file);
    }

    /// Asks dockerd to stop and waits for its end.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when it had to be killed.
    pub fn stop(&mut self) -> Result<(), Error> {
        let Some(dockerd) = self.dockerd.take() else { return Ok(()) };
        dockerd.signal(Signal::TERM)?;
        dockerd.wait_at_most(STOP).map(drop)
    }

    /// Starts dockerd, which is down, and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], and [`Error::EngineNotReady`] with the end of its log.
    pub fn start_again(&mut self) -> Result<(), Error> {
        if self.holder.is_none() {
            return Ok(());
        }
        let at = |name: &str| self.directory.join(name);
        // A killed one leaves its pid file, and its successor would believe it.
        let _ = fs::remove_file(at("pid"));
        let mut dockerd = self
            .inside("dockerd")
            .args(["--host", self.engine.host(), "--data-root"])
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .args(&self.options)
            .own_group()
            .limit(LIFE)
            .start()?;
        let ready = dockerd.wait_for_line("API listen on", READY);
        let log = dockerd.stderr();
        self.dockerd = Some(dockerd);
        match ready {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::EngineNotReady { limit: READY, log: last_lines(&log) }),
        }
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        let Some(holder) = self.holder.take() else { return remove(&self.directory) };
        if self.dockerd.is_some() && self.signal(Signal::CONT).is_ok() {
            let listed = self.engine.docker().args(["ps", "--all", "--quiet"]).run();
            let ids = listed.map(|finished| finished.stdout_text()).unwrap_or_default();
            if !ids.is_empty() {
                let _ = self.engine.docker().args(["rm", "--force"]).args(ids.lines()).run();
            }
            let _ = self.stop();
        }
        let mount = fs::read_link(format!("/proc/{}/ns/mnt", holder.pid())).ok();
        kill_trees(|process| {
            mount.is_some() && fs::read_link(process.join("ns/mnt")).ok() == mount
        });
        // The holder was among them: this only collects it.
        holder.kill();
        remove(&self.directory);
    }
}

/// Kills engines, and what they started, whose tests are dead.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(owned) = file_name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else {
            continue;
        };
        if !name::is_stale(owned) {
            continue;
        }
        let directory = entry.path();
        let wanted = directory.to_string_lossy().into_owned();
        kill_trees(|process| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&wanted)
        });
        remove(&directory);
    }
}

/// Kills the processes that `root` chooses by their directory in /proc, and all their
/// descendants: a container outlives the shim above it.
fn kill_trees(root: impl Fn(&Path) -> bool) {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let mut pending = Vec::new();
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name before may hold blanks and brackets; behind its last bracket stand the state
        // and the parent (proc_pid_stat(5)).
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
        if root(&entry.path()) {
            pending.push(pid);
        }
    }
    let mut killed = HashSet::new();
    while let Some(pid) = pending.pop() {
        if killed.insert(pid) {
            pending.extend(children.get(&pid).into_iter().flatten());
            if let Some(pid) = Pid::from_raw(pid) {
                // It may have ended with its parent.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn remove(directory: &Path) {
    let (tries, pause) = REMOVE;
    for _ in 0..tries {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => thread::sleep(pause),
            _ => return,
        }
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
