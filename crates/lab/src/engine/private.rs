use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open},
};

use crate::{
    Engine, Error, Namespace, Net, Program, Running,
    engine::home::{Home, kill_trees},
};

/// How long an engine may take until it answers.
const READY: Duration = Duration::from_secs(30);
/// How long an engine may live: longer than any test.
const LIFE: Duration = Duration::from_secs(1800);
/// How long an engine may take to stop when asked.
const STOP: Duration = Duration::from_secs(15);

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
    home: Home,
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
        let home = Home::new()?;
        let host = format!("unix://{}", home.at("docker.sock").display());
        let mut engine = Self {
            engine: Engine::at(host),
            dockerd: None,
            options: Vec::new(),
            holder: None,
            home,
            _net: None,
        };
        engine.options = options(engine.home.path())?;
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
        self.home.at("docker.sock")
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
        self.home.path()
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
        let file = self.home.at("exec/containerd/containerd.pid");
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
        let at = |name: &str| self.home.at(name);
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
        let Some(holder) = self.holder.take() else { return };
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
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
