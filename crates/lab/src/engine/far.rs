use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Address, Certificates, Engine, Error, Namespace, Net, PrivateEngine, Program, Running, judge,
};

/// The far host's address, and that of this side. No other namespace has the link between them.
const FAR: Address = Address::v4(10, 7, 9, 2);
const HERE: Address = Address::v4(10, 7, 9, 1);
/// Where its engine listens with TLS.
const TLS_PORT: u16 = 2376;
/// Where its sshd listens.
const SSH_PORT: u16 = 2222;
/// The directory below the engine's own for everything that this host has and shows.
const KEYS: &str = "keys";
/// The key that `ssh` takes for the far host's, and the one with which it logs in.
const RIGHT: (&str, &str) = ("host-key.pub", "login-key");
const WRONG_HOST_KEY: (&str, &str) = ("other-key.pub", "login-key");
const WRONG_KEY: (&str, &str) = ("host-key.pub", "other-key");
/// How long sshd may take to listen.
const READY: Duration = Duration::from_secs(20);
/// How long it may live: longer than any test.
const LIFE: Duration = Duration::from_secs(1800);

/// A host of its own that can only be reached over the network, with an engine that listens with
/// TLS and an sshd.
///
/// ```text
///   here()  wt-7-1                            wt-7-0  the far host
///           eth0 10.7.9.1/24  ──── veth ────  eth0 10.7.9.2/24
///                                              ├─ dockerd   :2376, TLS for both sides
///                                              ├─ sshd      :2222, root by key
///                                              └─ docker0 ── containers
/// ```
///
/// The file system is everybody's, and by it the engine's unix socket: a test that is to reach the
/// engine over the network takes [`FarHost::tls`] or [`FarHost::ssh`], from inside of
/// [`FarHost::here`].
///
/// # Privileges
///
/// root.
#[derive(Debug)]
pub struct FarHost {
    sshd: Option<Running>,
    engine: PrivateEngine,
    certificates: Certificates,
    here: Namespace,
    far: Namespace,
    // Last: the network goes after those who live in it.
    _net: Net,
}

impl FarHost {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// Those of [`PrivateEngine::start`], and [`Error::NotSaid`] with what sshd said instead of
    /// listening.
    pub fn start() -> Result<Self, Error> {
        let mut net = Net::new();
        let (far, here) = (net.namespace()?, net.namespace()?);
        net.veth((&far, "eth0"), (&here, "eth0"), 1500)?;
        net.address(&far, "eth0", FAR)?;
        net.address(&here, "eth0", HERE)?;
        let engine = PrivateEngine::start_with(&far, "far", |directory| {
            let keys = Certificates::make(directory.join(KEYS), FAR.ip)?;
            let file = |name: &str| keys.at(name).display().to_string();
            Ok(vec![
                format!("--host=tcp://{}:{TLS_PORT}", FAR.ip),
                "--tlsverify".to_owned(),
                format!("--tlscacert={}", file("ca.pem")),
                format!("--tlscert={}", file("engine-cert.pem")),
                format!("--tlskey={}", file("engine-key.pem")),
            ])
        })?;
        let certificates = Certificates::in_directory(engine.directory().join(KEYS));
        let mut host = Self { sshd: None, engine, certificates, here, far, _net: net };
        host.sshd = Some(host.start_sshd()?);
        Ok(host)
    }

    fn start_sshd(&self) -> Result<Running, Error> {
        for name in ["host-key", "login-key", "other-key"] {
            Program::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(self.at(name))
                .run()?;
        }
        for keys in [RIGHT, WRONG_HOST_KEY, WRONG_KEY] {
            self.make_ssh(keys)?;
        }
        let sshd = judge::find("sshd").ok_or_else(|| Error::Missing {
            missing: vec!["sshd (package openssh-server)".to_owned()],
        })?;
        let path = |name: &str| self.at(name).display().to_string();
        // Not over the engine's usual socket: that is the one of this machine's own engine.
        let text = format!(
            "Port {SSH_PORT}\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\n\
             StrictModes no\nPidFile none\nPrintMotd no\nLogLevel VERBOSE\n\
             SetEnv DOCKER_HOST={}\n",
            FAR.ip,
            path("host-key"),
            path("login-key.pub"),
            self.engine.engine().host(),
        );
        self.write("sshd_config", &text)?;
        // What sshd gives up its privileges into; a service would make it.
        fs::create_dir_all("/run/sshd").map_err(Error::file("/run/sshd"))?;
        let mut running = self
            .engine
            .inside(&sshd.display().to_string())
            .args(["-D", "-e", "-f"])
            .arg(self.at("sshd_config"))
            .own_group()
            .limit(LIFE)
            .start()?;
        running.wait_for_line("Server listening on", READY)?;
        Ok(running)
    }

    /// The far engine, through its unix socket: for what a test does there itself.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.engine.engine()
    }

    /// The far engine's process id; `None` while it is down.
    #[must_use]
    pub fn engine_pid(&self) -> Option<u32> {
        self.engine.pid()
    }

    /// Its host's network.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.far
    }

    /// The network from which it can be reached.
    #[must_use]
    pub fn here(&self) -> &Namespace {
        &self.here
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        FAR.ip
    }

    /// `tcp://…`: where the engine listens with TLS.
    #[must_use]
    pub fn tls(&self) -> String {
        format!("tcp://{}:{TLS_PORT}", FAR.ip)
    }

    /// `ssh://…`: where sshd lets root in, for a program that runs with [`FarHost::path`].
    #[must_use]
    pub fn ssh(&self) -> String {
        format!("ssh://root@{}:{SSH_PORT}", FAR.ip)
    }

    /// What the engine takes for a person's certificate, and the certificate itself.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// A `PATH` on which `ssh` has the key that sshd takes, and knows sshd's own key. ssh reads the
    /// home of its user, and nothing else says which keys to use: so this `ssh` is a script that runs
    /// the real one with a configuration of its own.
    #[must_use]
    pub fn path(&self) -> String {
        self.path_of(RIGHT)
    }

    /// The same with an `ssh` that takes the far host for an impostor.
    #[must_use]
    pub fn path_with_wrong_host_key(&self) -> String {
        self.path_of(WRONG_HOST_KEY)
    }

    /// The same with an `ssh` whose key sshd does not take.
    #[must_use]
    pub fn path_with_wrong_key(&self) -> String {
        self.path_of(WRONG_KEY)
    }

    fn path_of(&self, (host_key, login_key): (&str, &str)) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.bin(host_key, login_key).display())
    }

    fn bin(&self, host_key: &str, login_key: &str) -> PathBuf {
        self.at(&format!("bin-{host_key}-{login_key}"))
    }

    /// Once, before anybody runs it: a script that is written cannot be run.
    fn make_ssh(&self, (host_key, login_key): (&str, &str)) -> Result<(), Error> {
        let directory = self.bin(host_key, login_key);
        fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
        let public = fs::read_to_string(self.at(host_key)).map_err(Error::file(host_key))?;
        let known = directory.join("known_hosts");
        write(&known, &format!("[{}]:{SSH_PORT} {public}", FAR.ip))?;
        let configuration = directory.join("config");
        let text = format!(
            "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n\
             GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n",
            self.at(login_key).display(),
            known.display()
        );
        write(&configuration, &text)?;
        let ssh = judge::find("ssh").ok_or_else(|| Error::Missing {
            missing: vec!["ssh (package openssh-client)".to_owned()],
        })?;
        let script = directory.join("ssh");
        let (ssh, configuration) = (ssh.display(), configuration.display());
        write(&script, &format!("#!/bin/sh\nexec {ssh} -F {configuration} \"$@\"\n"))?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&script, executable).map_err(Error::file(&script))
    }

    /// A directory for `DOCKER_CONFIG` in which docker's CLI has made the context `far`, with its TLS
    /// material, and `far-ssh`. None of them is the current one.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn docker_config(&self) -> Result<PathBuf, Error> {
        let directory = self.at("docker");
        let file = |name: &str| self.certificates.at(name).display().to_string();
        let tls = format!(
            "host={},ca={},cert={},key={}",
            self.tls(),
            file("ca.pem"),
            file("cert.pem"),
            file("key.pem")
        );
        let ssh = format!("host={}", self.ssh());
        for (name, endpoint) in [("far", &tls), ("far-ssh", &ssh)] {
            Program::new("docker")
                .env("DOCKER_CONFIG", &directory)
                .env_remove("DOCKER_HOST")
                .env_remove("DOCKER_CONTEXT")
                .args(["context", "create", name, "--docker", endpoint])
                .run()?;
        }
        Ok(directory)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.certificates.at(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        write(&self.at(name), text)
    }
}

impl Drop for FarHost {
    fn drop(&mut self) {
        // Its sessions go with the far host's mount namespace, when the engine is dropped.
        if let Some(sshd) = self.sshd.take() {
            sshd.kill();
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file(path))
}
