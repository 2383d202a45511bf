use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    time::Duration,
};

use rustix::process::Signal;

use crate::{Engine, Error, Program, Running, engine::home::Home, judge};

/// How long a new engine may take until it answers.
const READY: Duration = Duration::from_secs(60);
/// How long an engine may live: a whole test run.
const LIFE: Duration = Duration::from_secs(4 * 3600);
/// The bridge that an engine makes in this machine's own namespace.
const BRIDGE: &str = "docker0";

/// Whoever knows a name in the directory may use it.
const PASSABLE: u32 = 0o711;
/// The socket's group where this machine has none for it.
const GROUP: u32 = 64_999;

/// The tables that an engine writes to, as they are where nobody has touched them.
const UNTOUCHED: [(&str, &str); 2] = [
    ("*filter", ":INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"),
    ("*nat", ":PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n"),
];

/// An engine for a whole test run: the one that answers already, or one that is started here,
/// in this machine's own namespaces, and taken down with what it changed when this is dropped.
#[derive(Debug)]
pub struct Borrowed {
    engine: Engine,
    started: Option<Started>,
}

#[derive(Debug)]
struct Started {
    dockerd: Option<Running>,
    // The rules before the engine added its own, for `iptables-restore`.
    rules: Option<String>,
    had_bridge: bool,
    // Last: its mounts are dockerd's.
    home: Home,
}

impl Borrowed {
    /// Takes the engine that answers, or starts one.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], and [`Error::NotSaid`] with the log of an engine that did not come up.
    ///
    /// # Privileges
    ///
    /// root, where one has to be started.
    pub fn engine() -> Result<Self, Error> {
        let engine = Engine::at(Engine::endpoint());
        if engine.answers() {
            return Ok(Self { engine, started: None });
        }
        let home = Home::new()?;
        let host = format!("unix://{}", home.at("docker.sock").display());
        let rules = judge::find("iptables-save").and_then(|save| Program::new(save).run().ok());
        let mut started = Started {
            dockerd: None,
            rules: rules.map(|finished| complete(finished.stdout_text())),
            had_bridge: has_bridge(),
            home,
        };
        let mut dockerd = Program::new("dockerd")
            .arg("--data-root")
            .arg(started.home.at("data"))
            .arg("--exec-root")
            .arg(started.home.at("exec"))
            .arg("--pidfile")
            .arg(started.home.at("pid"))
            .args(["--host", &host])
            // The terminal's SIGINT is for the tests: the engine goes when they have ended.
            .own_group()
            .limit(LIFE)
            .start()?;
        let ready = dockerd.wait_for_line("API listen on", READY);
        started.dockerd = Some(dockerd);
        ready?;
        open_to_group(&started)?;
        Ok(Self { engine: Engine::at(host), started: Some(started) })
    }

    /// The engine's endpoint.
    #[must_use]
    pub fn get(&self) -> &Engine {
        &self.engine
    }

    /// Whether it was started here.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.started.is_some()
    }
}

/// Lets the members of the socket's group through to it, and gives it one where this machine has no
/// group docker: a number without a name will do.
fn open_to_group(started: &Started) -> Result<(), Error> {
    let directory = started.home.path();
    fs::set_permissions(directory, Permissions::from_mode(PASSABLE))
        .map_err(Error::file(directory))?;
    let socket = started.home.at("docker.sock");
    if fs::metadata(&socket).map_err(Error::file(&socket))?.gid() == 0 {
        chown(&socket, None, Some(GROUP)).map_err(Error::file(&socket))?;
    }
    Ok(())
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if self.started.is_some() {
            let listed = self.engine.docker().args(["ps", "--all", "--quiet"]).run();
            let ids = listed.map(|finished| finished.stdout_text()).unwrap_or_default();
            if !ids.is_empty() {
                let _ = self.engine.docker().args(["rm", "--force"]).args(ids.lines()).run();
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(dockerd) = self.dockerd.take() {
            let _ = dockerd.signal(Signal::TERM);
            let _ = dockerd.wait_at_most(Duration::from_secs(20));
        }
        if !self.had_bridge {
            let _ = Program::new("ip").args(["link", "delete", BRIDGE]).run();
        }
        if let (Some(rules), Some(restore)) = (self.rules.take(), judge::find("iptables-restore")) {
            let _ = Program::new(restore).input(rules).run();
        }
    }
}

/// Asks `ip`: /sys shows the devices of the namespace in which it was mounted.
fn has_bridge() -> bool {
    Program::new("ip").args(["link", "show", BRIDGE]).run().is_ok()
}

/// Saved rules with the tables that did not exist yet: to restore nothing would leave them.
fn complete(mut rules: String) -> String {
    for (table, untouched) in UNTOUCHED {
        if !rules.lines().any(|line| line == table) {
            rules.push_str(&format!("{table}\n{untouched}"));
        }
    }
    rules
}
