use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use crate::{Error, Host, Tls, context, tls::Material};

/// The context that is not in the store: `DOCKER_HOST`, or the default socket.
const DEFAULT_CONTEXT: &str = "default";

/// Where engines that run without rights listen, below `XDG_RUNTIME_DIR`: docker's and podman's
/// documentation.
const OF_USERS: [&str; 2] = ["docker.sock", "podman/podman.sock"];

/// How long ssh may take to connect and log in: as long as an answer may take with it.
const SSH_PATIENCE: &str = "ConnectTimeout=10";

/// The first of an endpoint's words for another process.
const SOCKET: &str = "socket";
const PLAIN: &str = "plain";
const VERIFIED: &str = "tls";
const UNVERIFIED: &str = "tls-unverified";

/// docker's global options, as the user wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// `--context`.
    pub context: Option<String>,
    /// `-H/--host`, each time that it was given.
    pub hosts: Vec<String>,
    /// `--config`: docker's own directory.
    pub config: Option<PathBuf>,
    /// `--tls`.
    pub tls: bool,
    /// `--tlsverify`; `None` when it was not given.
    pub tls_verify: Option<bool>,
    /// `--tlscacert`.
    pub tls_ca_cert: Option<PathBuf>,
    /// `--tlscert`.
    pub tls_cert: Option<PathBuf>,
    /// `--tlskey`.
    pub tls_key: Option<PathBuf>,
}

/// Who decided which engine is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `--context`.
    ContextOption,
    /// `--host`.
    HostOption,
    /// `DOCKER_HOST`.
    HostVariable,
    /// `DOCKER_CONTEXT`.
    ContextVariable,
    /// `currentContext` of docker's config.json.
    CurrentContext,
    /// Nobody, and the usual one is not this user's: it is their own.
    RuntimeDirectory,
    /// Nobody.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ContextOption => "from --context",
            Self::HostOption => "from --host",
            Self::HostVariable => "from DOCKER_HOST",
            Self::ContextVariable => "from DOCKER_CONTEXT",
            Self::CurrentContext => "from currentContext of config.json",
            Self::RuntimeDirectory => "found in XDG_RUNTIME_DIR",
            Self::Default => "the default",
        })
    }
}

/// Which engine is meant, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub host: Host,
    /// The context that said so, unless it is docker's `default`.
    pub context: Option<String>,
    /// TLS, where the host is TCP and TLS was asked for.
    pub tls: Option<Tls>,
    /// Who decided.
    pub source: Source,
    /// What is in the files of `tls`, once it was read.
    pub(crate) material: Option<Material>,
}

impl Endpoint {
    /// How many words [`Endpoint::to_words`] makes.
    pub const WORDS: usize = 6;

    /// Variables by which docker's CLI takes any host for one with TLS.
    pub const TLS_VARIABLES: [&str; 2] = ["DOCKER_TLS", "DOCKER_TLS_VERIFY"];

    /// Where nobody named an engine, and the usual socket is not there or not this user's to use: the
    /// one that this user runs without rights, rootless docker before podman, by its socket in
    /// `XDG_RUNTIME_DIR`. `may_connect` says whether this user can connect to a socket.
    ///
    /// docker's CLI does not look there: rootless docker's setup makes a context, or says what to put
    /// into `DOCKER_HOST`.
    #[must_use]
    pub fn or_of_this_user(
        self,
        runtime_directory: Option<&Path>,
        may_connect: impl Fn(&Path) -> bool,
    ) -> Self {
        let usual = Self::new(Host::default_for(false), None, None, Source::Default);
        let (Some(directory), true) = (runtime_directory, self == usual) else { return self };
        if may_connect(Path::new(Host::DEFAULT_SOCKET)) {
            return self;
        }
        let own = OF_USERS.map(|socket| directory.join(socket));
        match own.into_iter().find(|socket| may_connect(socket)) {
            Some(socket) => Self { source: Source::RuntimeDirectory, ..Self::unix(socket) },
            None => self,
        }
    }

    /// Which engine docker's CLI would talk to: `--context` or `--host`, then `DOCKER_HOST`, then
    /// `DOCKER_CONTEXT`, then `currentContext` of config.json, then the default socket.
    ///
    /// `env` looks up a variable of the environment, so that tests need no environment; docker's
    /// directory is `--config`, `DOCKER_CONFIG` or `$HOME/.docker`.
    ///
    /// The order is the CLI's (`resolveContextName` of docker/cli, tried with 28.2.2), not that of
    /// its reference page. The context `default` means `DOCKER_HOST` where it is set, also when
    /// `--context default` says so. Where the CLI warns about a broken config.json and goes on with
    /// the default engine we stop: it might be the wrong one.
    ///
    /// # Errors
    ///
    /// Contradicting options, an address that is none, a context that is not there, a file of
    /// docker's that cannot be read.
    pub fn resolve(
        options: &EndpointOptions,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        let variable = |name: &'static str| match env(name).map(OsString::into_string) {
            None => Ok(None),
            // docker takes a variable without content for one that is not set.
            Some(Ok(value)) => Ok(Some(value).filter(|value| !value.is_empty())),
            Some(Err(_)) => Err(Error::BadVariable { variable: name }),
        };
        let path_variable = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);

        let context = options.context.as_deref().filter(|name| !name.is_empty());
        if context.is_some() && !options.hosts.is_empty() {
            return Err(Error::ConflictingOptions);
        }
        let dir = options
            .config
            .clone()
            .or_else(|| path_variable("DOCKER_CONFIG"))
            .or_else(|| path_variable("HOME").map(|home| home.join(".docker")));
        let tls = flag_tls(options, &path_variable, dir.as_ref());
        let host_variable = variable("DOCKER_HOST")?;

        let (name, source) = if let Some(name) = context {
            (name.to_owned(), Source::ContextOption)
        } else if !options.hosts.is_empty() {
            (DEFAULT_CONTEXT.to_owned(), Source::HostOption)
        } else if host_variable.is_some() {
            (DEFAULT_CONTEXT.to_owned(), Source::HostVariable)
        } else if let Some(name) = variable("DOCKER_CONTEXT")? {
            (name, Source::ContextVariable)
        } else if let Some(name) = dir.as_deref().map(context::current).transpose()?.flatten() {
            (name, Source::CurrentContext)
        } else {
            (DEFAULT_CONTEXT.to_owned(), Source::Default)
        };

        if name != DEFAULT_CONTEXT {
            let stored = context::read(&dir.unwrap_or_default(), &name, source)?;
            let host = parse(&stored.host, source, false)?;
            return Ok(Self::new(host, Some(name), stored.tls, source));
        }
        let (written, source) = match (options.hosts.as_slice(), host_variable) {
            ([], Some(host)) => (host, Source::HostVariable),
            ([], None) => (String::new(), source),
            ([host], _) => (host.clone(), Source::HostOption),
            (hosts, _) => return Err(Error::SeveralHosts { count: hosts.len() }),
        };
        let host = parse(&written, source, tls.is_some())?;
        Ok(Self::new(host, None, tls, source))
    }

    /// The engine at a unix socket's path.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Host::Unix(path.into()), None, None, Source::HostOption)
    }

    /// Reads the files of [`Endpoint::tls`] now, while this process may: otherwise they are read
    /// with each connection.
    ///
    /// # Errors
    ///
    /// [`Error::ReadConfig`], [`Error::TlsFile`].
    pub fn with_secrets(mut self) -> Result<Self, Error> {
        if let Some(tls) = &self.tls {
            let material = tls.read()?;
            // What is wrong with it is told now.
            tls.configuration(&material)?;
            self.material = Some(material);
        }
        Ok(self)
    }

    /// The program whose standard input and output are a connection to this engine, with its
    /// arguments: ssh, which runs `docker system dial-stdio` over there; and for an engine with TLS
    /// docker's CLI, for the case that its TLS is not ours. `None` where no program is needed.
    ///
    /// ssh is given what docker's CLI gives it (`cli/connhelper` of docker/cli), and is kept from
    /// asking for passwords: nobody is there to answer.
    #[must_use]
    pub fn program(&self) -> Option<Vec<OsString>> {
        let mut words: Vec<OsString> = Vec::new();
        let mut say = |said: &[&str]| words.extend(said.iter().map(OsString::from));
        match (&self.host, &self.tls) {
            (Host::Ssh { user, host, port, socket }, _) => {
                say(&["ssh", "-o", "BatchMode=yes", "-o", SSH_PATIENCE, "-T"]);
                if let Some(user) = user {
                    say(&["-l", user]);
                }
                if let Some(port) = port {
                    say(&["-p", &port.to_string()]);
                }
                say(&["--", host, "docker"]);
                if let Some(socket) = socket {
                    // A shell over there reads it.
                    let socket = format!("unix://{}", socket.display());
                    say(&["--host", &format!("'{}'", socket.replace('\'', r"'\''"))]);
                }
            }
            (Host::Tcp { .. }, Some(_)) => {
                say(&["docker"]);
                words.extend(self.host_options());
            }
            _ => return None,
        }
        words.extend(["system", "dial-stdio"].map(OsString::from));
        Some(words)
    }

    /// Global options by which docker's CLI talks to this engine, whoever decided that it is meant.
    /// Without [`Endpoint::TLS_VARIABLES`] in its environment, and with the same directory of docker's
    /// own.
    #[must_use]
    pub fn options(&self) -> Vec<OsString> {
        match &self.context {
            Some(context) => vec!["--context".into(), context.into()],
            None => self.host_options(),
        }
    }

    fn host_options(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--host".into(), self.host.to_string().into()];
        let Some(tls) = &self.tls else { return words };
        let verify = if tls.verify { "--tlsverify" } else { "--tlsverify=false" };
        words.extend(["--tls", verify].map(OsString::from));
        for (option, path) in
            [("--tlscacert", &tls.ca), ("--tlscert", &tls.cert), ("--tlskey", &tls.key)]
        {
            if let Some(path) = path {
                words.extend([option.into(), path.into()]);
            }
        }
        words
    }

    /// Whether it is a socket of this machine, as far as its address tells that.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.socket().is_some()
    }

    /// That socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match &self.host {
            Host::Unix(path) => Some(path),
            _ => None,
        }
    }

    /// This endpoint as words, for another process of this program on this machine, which may read
    /// the files of [`Endpoint::tls`] itself: what is in them is left out.
    #[must_use]
    pub fn to_words(&self) -> [OsString; Self::WORDS] {
        let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default().into_os_string();
        let host = match &self.host {
            // Whatever is in its path.
            Host::Unix(path) => path.clone().into_os_string(),
            host => host.to_string().into(),
        };
        let context = self.context.clone().unwrap_or_default().into();
        match &self.tls {
            Some(tls) => {
                let kind = if tls.verify { VERIFIED } else { UNVERIFIED };
                [kind.into(), host, context, path(&tls.ca), path(&tls.cert), path(&tls.key)]
            }
            None => {
                let kind = if self.is_socket() { SOCKET } else { PLAIN };
                let none = OsString::new;
                [kind.into(), host, context, none(), none(), none()]
            }
        }
    }

    /// What [`Endpoint::to_words`] made words of.
    #[must_use]
    pub fn from_words(words: [OsString; Self::WORDS]) -> Option<Self> {
        let [kind, host, context, ca, cert, key] = words;
        let path = |word: OsString| (!word.is_empty()).then(|| PathBuf::from(word));
        let verify = match kind.to_str()? {
            SOCKET | PLAIN => None,
            VERIFIED => Some(true),
            UNVERIFIED => Some(false),
            _ => return None,
        };
        let tls =
            verify.map(|verify| Tls { ca: path(ca), cert: path(cert), key: path(key), verify });
        let host = match kind.to_str()? {
            SOCKET => Host::Unix(host.into()),
            _ => Host::parse(host.to_str()?).ok()?,
        };
        let context = Some(context.into_string().ok()?).filter(|name| !name.is_empty());
        Some(Self::new(host, context, tls, Source::HostOption))
    }

    fn new(host: Host, context: Option<String>, tls: Option<Tls>, source: Source) -> Self {
        let tls = tls.filter(|_| matches!(host, Host::Tcp { .. }));
        Self { host, context, tls, source, material: None }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.context {
            Some(context) => write!(f, "{} (context {context})", self.host),
            None => self.host.fmt(f),
        }
    }
}

fn parse(written: &str, origin: Source, tls: bool) -> Result<Host, Error> {
    if written.trim().is_empty() {
        return Ok(Host::default_for(tls));
    }
    Host::parse(written).map_err(|reason| Error::BadHost {
        host: written.to_owned(),
        origin,
        reason,
    })
}

/// TLS as options and environment ask for it.
///
/// Source: `cli/flags/options.go` of docker/cli: `--tlsverify`, whatever its value, switches TLS
/// on; a certificate and key of default name are taken only if they are there.
fn flag_tls(
    options: &EndpointOptions,
    path_variable: &impl Fn(&'static str) -> Option<PathBuf>,
    dir: Option<&PathBuf>,
) -> Option<Tls> {
    let set = |name| path_variable(name).is_some();
    let verify = options.tls_verify.unwrap_or_else(|| set("DOCKER_TLS_VERIFY"));
    if !(options.tls || options.tls_verify.is_some() || verify || set("DOCKER_TLS")) {
        return None;
    }
    let dir = path_variable("DOCKER_CERT_PATH").or_else(|| dir.cloned()).unwrap_or_default();
    let existing = |name| Some(dir.join(name)).filter(|path| path.exists());
    Some(Tls {
        ca: Some(options.tls_ca_cert.clone().unwrap_or_else(|| dir.join("ca.pem"))),
        cert: options.tls_cert.clone().or_else(|| existing("cert.pem")),
        key: options.tls_key.clone().or_else(|| existing("key.pem")),
        verify,
    })
}

#[cfg(test)]
mod tests;
