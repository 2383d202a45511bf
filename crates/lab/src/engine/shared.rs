use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    process,
    sync::{Once, OnceLock},
    time::Duration,
};

use crate::{
    Container, ContainerSpec, DockerNetwork, Error, Finished, Program,
    engine::{LABEL, image::Image},
    name,
};

/// Where an engine answers when nobody says otherwise.
const USUAL: &str = "unix:///var/run/docker.sock";
/// How long docker may take for one command, on a busy machine.
const COMMAND: Duration = Duration::from_secs(60);
/// How long an engine may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(10);

/// An engine, by its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    host: String,
}

impl Engine {
    /// The engine that all tests share: `DOCKER_HOST`, or the usual socket. The first call of a
    /// process removes what dead tests left there.
    ///
    /// # Errors
    ///
    /// [`Error::NoEngine`] when none answers.
    pub fn shared() -> Result<Self, Error> {
        static ANSWERED: OnceLock<Engine> = OnceLock::new();
        static SWEPT: Once = Once::new();
        let engine = match ANSWERED.get() {
            Some(engine) => engine,
            None => {
                let engine = Self::at(Self::endpoint());
                if !engine.answers() {
                    return Err(Error::NoEngine { tried: engine.host });
                }
                ANSWERED.get_or_init(|| engine)
            }
        };
        SWEPT.call_once(|| engine.sweep());
        Ok(engine.clone())
    }

    /// An engine by its endpoint, such as `unix:///run/docker.sock`; nobody is asked.
    #[must_use]
    pub fn at(host: impl Into<String>) -> Self {
        Self { host: host.into() }
    }

    /// The endpoint that [`Engine::shared`] uses.
    #[must_use]
    pub fn endpoint() -> String {
        env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()).unwrap_or(USUAL.to_owned())
    }

    /// Its endpoint: what `--host` and `DOCKER_HOST` take.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether somebody answers there.
    #[must_use]
    pub fn answers(&self) -> bool {
        let version = ["version", "--format", "{{.Server.APIVersion}}"];
        self.docker().args(version).limit(ANSWER).run().is_ok()
    }

    /// The group whose members may connect to it, by its number.
    ///
    /// # Errors
    ///
    /// [`Error::NoGroup`] where only root may.
    pub fn group(&self) -> Result<u32, Error> {
        let path = self.host.strip_prefix("unix://").unwrap_or(&self.host);
        let found = fs::metadata(path).map_err(Error::file(path))?;
        match (found.gid(), found.mode() & 0o060) {
            (group, 0o060) if group != 0 => Ok(group),
            _ => Err(Error::NoGroup { host: self.host.clone() }),
        }
    }

    /// `docker --host …`, to be given a command.
    pub fn docker(&self) -> Program {
        Program::new("docker").args(["--host", &self.host]).limit(COMMAND)
    }

    /// Makes the test image there, unless it is there already.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] and [`Error::File`].
    pub fn image(&self) -> Result<(), Error> {
        Image::of_tests()?.import(self)
    }

    /// Makes the image with tcpdump there ([`TCPDUMP_IMAGE`](super::TCPDUMP_IMAGE)), unless it is there
    /// already.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], [`Error::Missing`] and [`Error::File`].
    pub fn tcpdump_image(&self) -> Result<(), Error> {
        Image::of_tcpdump()?.import(self)
    }

    /// Starts a container of the test image.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn run(&self, spec: ContainerSpec) -> Result<Container, Error> {
        self.image()?;
        Container::start(self, spec)
    }

    /// Runs a container of the test image to its end, at most for so long, and removes it. What it
    /// printed is what the answer has.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when it ended with another code than 0, or with what docker said, and
    /// [`Error::TimedOut`].
    pub fn run_to_end(&self, spec: ContainerSpec, limit: Duration) -> Result<Finished, Error> {
        spec.run_to_end(self, limit)
    }

    /// Makes a bridge network with a unique name.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn network(&self, name: &str) -> Result<DockerNetwork, Error> {
        DockerNetwork::create(self, name, &[])
    }

    /// A label for what this process makes: `whaletap.test=PID`.
    pub(super) fn own_label() -> String {
        format!("{LABEL}={}", process::id())
    }

    /// Removes containers and networks of tests that are dead.
    pub fn sweep(&self) {
        let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
        let filter = format!("label={LABEL}");
        for (list, remove) in [
            (&["ps", "--all"][..], &["rm", "--force", "--volumes"][..]),
            (&["network", "ls"][..], &["network", "rm"][..]),
        ] {
            let listed = self
                .docker()
                .args(list)
                .args(["--no-trunc", "--filter", &filter, "--format", &format])
                .run();
            let stale = listed.map(|finished| stale(&finished)).unwrap_or_default();
            if !stale.is_empty() {
                // Another sweep may have been faster: nothing to be done about it.
                let _ = self.docker().args(remove).args(stale).run();
            }
        }
    }
}

/// The ids in a list of `ID PID` whose process is gone.
fn stale(list: &Finished) -> Vec<String> {
    list.stdout_text()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, owner)| owner.parse().is_ok_and(name::is_gone))
        .map(|(id, _)| id.to_owned())
        .collect()
}
