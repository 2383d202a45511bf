use std::{net::IpAddr, path::PathBuf, time::Duration};

use crate::{DockerNetwork, Engine, Error, Finished, Program, engine::IMAGE, name};

/// A container to be started of the test image.
#[derive(Debug, Clone)]
#[must_use]
pub struct ContainerSpec {
    name: String,
    options: Vec<String>,
    command: Vec<String>,
}

impl ContainerSpec {
    /// A container whose name ends with `name` and is unique; it sleeps if nothing else is said.
    pub fn new(name: &str) -> Self {
        Self::named(format!("{}-{name}", name::unique()))
    }

    /// A container with exactly this name; the test sees to it that it is free.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), options: Vec::new(), command: Vec::new() }
    }

    /// What it runs; words, not a shell's line.
    pub fn command<A: Into<String>>(mut self, words: impl IntoIterator<Item = A>) -> Self {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// Runs the traffic program with these arguments (separated by blanks).
    pub fn traffic(self, arguments: &str) -> Self {
        self.command(["whaletap-traffic"].into_iter().chain(arguments.split_whitespace()))
    }

    /// Puts it on a network.
    pub fn network(self, network: &DockerNetwork) -> Self {
        self.option("--network", network.name())
    }

    /// Its network as `docker run --network` has it: `none`, `host`, a name.
    pub fn network_mode(self, mode: &str) -> Self {
        self.option("--network", mode)
    }

    /// Puts it into another container's namespace.
    pub fn sharing(self, other: &Container) -> Self {
        let mode = format!("container:{}", other.id());
        self.option("--network", &mode)
    }

    /// A label; its value may hold anything.
    pub fn label(self, key: &str, value: &str) -> Self {
        self.option("--label", &format!("{key}={value}"))
    }

    /// Any option of `docker run` with its value.
    pub fn option(mut self, option: &str, value: &str) -> Self {
        self.options.push(format!("{option}={value}"));
        self
    }

    /// `docker run` with all that every container of ours has, and with `more` before it.
    fn run(self, engine: &Engine, more: &[&str]) -> Program {
        engine
            .docker()
            .arg("run")
            .args(more)
            .args(["--name", &self.name, "--label", &Engine::own_label()])
            // What a container prints would be kept as JSON on the host's disk. And nothing in
            // the image heeds SIGTERM as process 1.
            .args(["--log-driver", "none", "--stop-timeout", "1"])
            .args(self.options)
            .arg(IMAGE)
            .args(self.command)
    }

    /// Runs it to its end, and removes it.
    pub(super) fn run_to_end(self, engine: &Engine, limit: Duration) -> Result<Finished, Error> {
        let name = self.name.clone();
        let ended = self.run(engine, &["--rm"]).limit(limit).run();
        if ended.is_err() {
            // One that was made and could not be started stays otherwise.
            let _ = engine.docker().args(["rm", "--force", &name]).run();
        }
        ended
    }
}

/// A container. Dropping it kills and removes it.
#[derive(Debug)]
pub struct Container {
    engine: Engine,
    id: String,
    name: String,
}

impl Container {
    pub(super) fn start(engine: &Engine, spec: ContainerSpec) -> Result<Self, Error> {
        let name = spec.name.clone();
        match spec.run(engine, &["--detach"]).run() {
            Ok(finished) => Ok(Self {
                engine: engine.clone(),
                id: finished.stdout_text().trim().to_owned(),
                name,
            }),
            Err(error) => {
                // A container that was made and could not be started stays otherwise.
                let _ = engine.docker().args(["rm", "--force", &name]).run();
                Err(error)
            }
        }
    }

    /// Its full id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name, without docker's slash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What `docker inspect` tells with a Go template such as `{{.State.Pid}}`.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn inspect(&self, format: &str) -> Result<String, Error> {
        let inspect = ["inspect", "--type", "container", "--format", format, &self.id];
        Ok(self.engine.docker().args(inspect).run()?.stdout_text().trim().to_owned())
    }

    /// The process id of its first process; 0 when it does not run.
    ///
    /// # Errors
    ///
    /// Those of [`Container::inspect`], and [`Error::Unexpected`].
    pub fn pid(&self) -> Result<u32, Error> {
        self.parsed("{{.State.Pid}}")
    }

    /// The file of its network namespace, as the engine sees it.
    ///
    /// # Errors
    ///
    /// Those of [`Container::inspect`].
    pub fn sandbox_key(&self) -> Result<PathBuf, Error> {
        Ok(PathBuf::from(self.inspect("{{.NetworkSettings.SandboxKey}}")?))
    }

    /// Its address on the one network that it is on.
    ///
    /// # Errors
    ///
    /// Those of [`Container::inspect`], and [`Error::Unexpected`] when it is on none or several.
    pub fn address(&self) -> Result<IpAddr, Error> {
        self.parsed("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
    }

    fn parsed<T: std::str::FromStr>(&self, format: &str) -> Result<T, Error> {
        let text = self.inspect(format)?;
        text.parse().map_err(|_| Error::Unexpected { program: "docker inspect".to_owned(), text })
    }

    /// `docker exec` with these words, to be run or started.
    pub fn exec<A: AsRef<str>>(&self, words: impl IntoIterator<Item = A>) -> Program {
        let mut program = self.engine.docker().args(["exec", &self.id]);
        for word in words {
            program = program.arg(word.as_ref());
        }
        program
    }

    /// Runs a program of this machine in the container's network namespace.
    ///
    /// # Errors
    ///
    /// Those of [`Container::pid`].
    pub fn enter(&self, program: Program) -> Result<Program, Error> {
        Ok(program.inside_path(format!("/proc/{}/ns/net", self.pid()?)))
    }

    /// `docker COMMAND ID`: `kill`, `stop`, `start`, `restart`, `pause`, `unpause` …
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn order(&self, command: &str) -> Result<(), Error> {
        self.engine.docker().args([command, &self.id]).run().map(drop)
    }

    /// Kills its processes; the container stays, stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn kill(&self) -> Result<(), Error> {
        self.order("kill")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What stays is swept by a later run.
        let _ = self.engine.docker().args(["rm", "--force", "--volumes", &self.id]).run();
    }
}
