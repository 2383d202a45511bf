use std::{
    cell::Cell,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    Engine, Error, Net, Program, Running,
    engine::home::{Home, kill_trees},
};

/// How long an engine may take until it answers.
const READY: Duration = Duration::from_secs(30);
/// How long an engine may live: longer than any test.
const LIFE: Duration = Duration::from_secs(1800);
/// How often, and with what pause between, its processes are killed: podman's monitors start others
/// when their containers end.
const KILL: (u32, Duration) = (100, Duration::from_millis(20));
/// The first number of a user, and how many of them have numbers before they are used again.
const USERS: (u32, u32) = (4_000_000, 4_000_000);
/// The first number of those that a user may lend to containers, and how many each has.
const LENT: (u32, u32) = (100_000_000, 1000);
/// A script that shows the machine as an installed one, with an account for the user: in mounts of
/// its own, so that the machine stays as it is. Its arguments are the user, the directory, and the
/// first number of those that may be lent, and how many.
const ACCOUNT: &str = "set -e; user=$1 home=$2 first=$3 count=$4; etc=$home/etc; mkdir $etc; \
    cp /etc/passwd /etc/group $etc; \
    echo \"wt$user:x:$user:$user::$home/home:/bin/sh\" >> $etc/passwd; \
    echo \"wt$user:x:$user:\" >> $etc/group; \
    echo \"wt$user:$first:$count\" | tee $etc/subuid > $etc/subgid; \
    for file in passwd group subuid subgid; do mount --bind $etc/$file /etc/$file; done; \
    mkdir -m 755 $home/dev; mknod -m 666 $home/dev/tun c 10 200; \
    mount --bind $home/dev/tun /dev/net/tun; echo ready >&2; exec sleep 1800";
/// Podman's settings. Its usual runtime, crun, refuses cgroups of version 1 and 2 side by side; and
/// overlays take a device that not every machine has.
const CONTAINERS: &str = "[engine]\nruntime = \"runc\"\n";
const STORAGE: &str = "[storage]\ndriver = \"vfs\"\n";
/// Docker's own script, and where Debian has it.
const DOCKERS: [&str; 2] =
    ["/usr/share/docker.io/contrib/dockerd-rootless.sh", "/usr/bin/dockerd-rootless.sh"];

/// A rootless engine: of a user that no other test has, who has no rights and no group.
///
/// It has a network namespace for its machine's, without a way out of it. The user's account is to be
/// seen by the engine alone.
///
/// ```text
///   wt-7-0 (no route) ── slirp4netns ── the engine's user namespace: bridge ── containers
/// ```
///
/// # Privileges
///
/// root, to become another user.
#[derive(Debug)]
pub struct Rootless {
    engine: Engine,
    user: u32,
    kind: Kind,
    server: Option<Running>,
    // Keeps the mounts.
    holder: Option<Running>,
    home: Home,
    // Last: the network goes after those who live in it.
    _net: Net,
}

/// Whose engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Podman,
    Docker,
}

impl Rootless {
    /// Podman's.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], and [`Error::EngineNotReady`] with the end of its log.
    pub fn podman() -> Result<Self, Error> {
        let mut podman = Self::prepare(Kind::Podman)?;
        podman.start()?;
        Ok(podman)
    }

    /// Podman's behind a socket that somebody else listens on until the first connection, as systemd
    /// does for it.
    ///
    /// # Errors
    ///
    /// Those of [`Rootless::podman`].
    pub fn podman_by_activation() -> Result<Self, Error> {
        let mut podman = Self::prepare(Kind::Podman)?;
        let listen = format!("--listen={}", podman.socket().display());
        let server = podman.of_user("systemd-socket-activate").arg(listen);
        // It hands down a variable only when it is told to.
        let server = server.arg("--setenv=XDG_RUNTIME_DIR");
        podman.serve(server.args(["podman", "system", "service", "--time=0"]), "Listening on")?;
        Ok(podman)
    }

    /// Docker's, in rootlesskit.
    ///
    /// # Errors
    ///
    /// Those of [`Rootless::podman`].
    pub fn docker() -> Result<Self, Error> {
        let mut docker = Self::prepare(Kind::Docker)?;
        docker.start()?;
        Ok(docker)
    }

    fn prepare(kind: Kind) -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let index = process::id().wrapping_mul(4) + COUNT.fetch_add(1, Ordering::Relaxed) % 4;
        let index = index % USERS.1;
        let user = USERS.0 + index;
        let (first, count) = (LENT.0 + index * LENT.1, LENT.1);
        let home = Home::new()?;
        for (directory, mode) in [("home", 0o755), ("run", 0o700), ("run/podman", 0o755)] {
            own_directory(&home.at(directory), user, mode)?;
        }
        let settings = home.at("home/.config/containers");
        fs::create_dir_all(&settings).map_err(Error::file(&settings))?;
        for (name, text) in [("containers.conf", CONTAINERS), ("storage.conf", STORAGE)] {
            let file = settings.join(name);
            fs::write(&file, text).map_err(Error::file(&file))?;
        }
        Program::new("chown").arg("-R").arg(user.to_string()).arg(home.at("home")).run()?;
        let socket = home.at(match kind {
            Kind::Podman => "run/podman/podman.sock",
            Kind::Docker => "run/docker.sock",
        });
        let mut net = Net::new();
        let namespace = net.namespace()?;
        let mut holder = Program::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", ACCOUNT, "holder"])
            .arg(user.to_string())
            .arg(home.path())
            .args([first, count].map(|number| number.to_string()))
            .inside(&namespace)
            .limit(LIFE)
            .start()?;
        let ready = holder.wait_for_line("ready", READY);
        let engine = Engine::at(format!("unix://{}", socket.display()));
        let holder = Some(holder);
        let rootless = Self { engine, user, kind, server: None, holder, home, _net: net };
        ready.map(|_| rootless)
    }

    /// The engine, for containers and networks.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(self.engine.host().strip_prefix("unix://").unwrap_or_default())
    }

    /// The number of its user, and of that one's group.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.user
    }

    /// Makes a directory of the user's.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.home.at("home").join(name);
        own_directory(&path, self.user, 0o755)?;
        Ok(path)
    }

    /// A program as the user runs it who is logged in, and has nothing but that: no group, no
    /// capability. `DOCKER_HOST` is not set.
    pub fn as_user(&self, program: impl AsRef<std::ffi::OsStr>) -> Program {
        let user = self.user;
        Program::new("setpriv")
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"])
            .arg(program)
            .env("HOME", self.home.at("home"))
            .env("XDG_RUNTIME_DIR", self.home.at("run"))
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
    }

    /// Kills the engine without a warning, and the processes that it has itself. Podman's
    /// containers live on, docker's end with its namespaces.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            let own = server.pid().to_string();
            kill_trees(|process| process.file_name().is_some_and(|pid| pid == &*own));
            server.kill();
        }
        // Whoever is next does not believe it.
        let _ = fs::remove_file(self.home.at("run/docker.pid"));
        if self.kind == Kind::Podman {
            let _ = fs::remove_file(self.socket());
        }
    }

    /// Starts the engine, which is down, and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], and [`Error::EngineNotReady`] with the end of its log.
    pub fn start(&mut self) -> Result<(), Error> {
        match self.kind {
            Kind::Podman => {
                let server = self.of_user("podman").args(["--log-level=info", "system", "service"]);
                let server = server.arg("--time=0").arg(self.engine.host());
                self.serve(server, "API service listening on")
            }
            Kind::Docker => {
                let script = DOCKERS.into_iter().find(|script| Path::new(script).exists());
                let script = script.ok_or_else(|| Error::Missing {
                    missing: vec!["dockerd-rootless.sh (package docker.io)".to_owned()],
                })?;
                let server = self.of_user("sh").args([script, "--storage-driver", "vfs"]);
                self.serve(server, "API listen on")
            }
        }
    }

    fn serve(&mut self, server: Program, ready: &str) -> Result<(), Error> {
        let mut server = server.own_group().limit(LIFE).start()?;
        let said = server.wait_for_line(ready, READY);
        let log = server.stderr();
        self.server = Some(server);
        said.map(drop).map_err(|_| Error::EngineNotReady { limit: READY, log })
    }

    /// A program of the user's where their account is to be seen.
    fn of_user(&self, program: &str) -> Program {
        let holder = self.holder.as_ref().map(Running::pid).unwrap_or_default().to_string();
        let user = self.user;
        Program::new("nsenter")
            .args(["--target", &holder, "--mount", "--net", "--", "setpriv"])
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .args(["--clear-groups", "--inh-caps=-all", "--", program])
            .env("HOME", self.home.at("home"))
            .env("XDG_RUNTIME_DIR", self.home.at("run"))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
            .env_remove("DOCKER_HOST")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .current_dir(self.home.at("home"))
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        let Some(holder) = self.holder.take() else { return };
        let (tries, pause) = KILL;
        for _ in 0..tries {
            let is_any_left = Cell::new(false);
            // Some of its processes have another user's number inside of containers, but no other
            // parent.
            kill_trees(|process| {
                let is_own = runs_as(process, self.user);
                is_any_left.set(is_any_left.get() || is_own);
                is_own
            });
            if !is_any_left.get() {
                break;
            }
            thread::sleep(pause);
        }
        if let Some(server) = self.server.take() {
            server.kill();
        }
        let _ = holder.signal(Signal::KILL);
        holder.kill();
    }
}

/// Whether a process, by its directory in /proc, has not ended and is this user's.
fn runs_as(process: &Path, user: u32) -> bool {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.split_whitespace().next())
    };
    field("Uid:") == Some(&user.to_string()) && !matches!(field("State:"), Some("Z" | "X"))
}

fn own_directory(path: &Path, user: u32, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir(path).map_err(Error::file(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::file(path))?;
    chown(path, Some(user), Some(user)).map_err(Error::file(path))
}
