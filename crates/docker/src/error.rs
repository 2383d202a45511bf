use std::{error::Error as StdError, io, path::PathBuf, time::Duration};

use crate::{Filter, Source};

/// What can go wrong between us and an engine.
///
/// An `endpoint` field is the engine's address as [`crate::Endpoint`] displays it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `--host` and `--context` at once.
    #[error("conflicting options: --host and --context both name an engine")]
    ConflictingOptions,
    /// `--host` more than once.
    #[error("--host was given {count} times, and one engine is asked at a time")]
    SeveralHosts {
        /// How many there were.
        count: usize,
    },
    /// An address that no engine can have.
    #[error("`{host}` ({origin}) is not the address of an engine: {reason}")]
    BadHost {
        /// What was written.
        host: String,
        /// Where it came from.
        origin: Source,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A variable of the environment that is not UTF-8.
    #[error("{variable} is not valid UTF-8")]
    BadVariable {
        /// Its name.
        variable: &'static str,
    },
    /// A context that is not in docker's store.
    #[error("no context `{context}` ({origin}): {} does not exist", path.display())]
    NoSuchContext {
        /// Its name.
        context: String,
        /// Who asked for it.
        origin: Source,
        /// The file that would describe it.
        path: PathBuf,
    },
    /// A context that was made for something else than docker.
    #[error("context `{context}` has no docker endpoint")]
    NoDockerEndpoint {
        /// Its name.
        context: String,
    },
    /// One of docker's own files could not be read.
    #[error("cannot read {}", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// One of docker's own files is not what docker writes.
    #[error("{} is not valid JSON", path.display())]
    ParseConfig {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file of TLS material that holds something else.
    #[error("cannot use {} for TLS", path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The two sides could not agree who the other is, or how to speak.
    #[error("{endpoint}: TLS failed")]
    Tls {
        /// The engine's address.
        endpoint: String,
        /// What was wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The engine speaks TLS only, and it was not asked for.
    #[error("{endpoint}: the engine wants TLS")]
    WantsTls {
        /// The engine's address.
        endpoint: String,
    },
    /// The program that leads to the engine failed.
    #[error("{endpoint}: {program} failed: {said}")]
    Program {
        /// The engine's address.
        endpoint: String,
        /// `ssh`, `docker`.
        program: String,
        /// The last line that it wrote, cut to 512 characters. Text from outside: not safe for a
        /// terminal.
        said: String,
    },
    /// There is no socket at the engine's path.
    #[error("{endpoint}: no such socket")]
    SocketAbsent {
        /// The engine's address.
        endpoint: String,
    },
    /// The engine's socket may not be opened.
    #[error("{endpoint}: permission denied")]
    PermissionDenied {
        /// The engine's address.
        endpoint: String,
    },
    /// Nobody listens at the engine's address.
    #[error("{endpoint}: connection refused")]
    Refused {
        /// The engine's address.
        endpoint: String,
    },
    /// No connection, for another reason.
    #[error("{endpoint}: cannot connect")]
    Unreachable {
        /// The engine's address.
        endpoint: String,
        /// What the system said.
        source: io::Error,
    },
    /// The engine did not answer in time.
    #[error("{endpoint}: no answer within {} s", after.as_secs_f64())]
    Timeout {
        /// The engine's address.
        endpoint: String,
        /// The deadline that passed.
        after: Duration,
    },
    /// The connection ended in the middle of an answer.
    #[error("{endpoint}: the connection broke")]
    Broken {
        /// The engine's address.
        endpoint: String,
        /// What the HTTP client said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The engine ended its stream of events, as one that shuts down does.
    #[error("{endpoint}: the engine ended its stream of events")]
    StreamEnded {
        /// The engine's address.
        endpoint: String,
    },
    /// What answers there does not speak the engine's API.
    #[error("{endpoint}: the answer is not a Docker engine's")]
    NotAnEngine {
        /// The engine's address.
        endpoint: String,
        /// What could not be read.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// What answers there speaks HTTP, but names no version of the engine's API.
    #[error("{endpoint}: the answer is not a Docker engine's: it names no API version")]
    NoApiVersion {
        /// The engine's address.
        endpoint: String,
    },
    /// The engine refused a request.
    #[error("{endpoint}: the engine answered {status}: {message}")]
    Api {
        /// The engine's address.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// The engine's words, cut to 512 characters. Text from outside: not safe for a terminal.
        message: String,
    },
    /// A container that is not there, or not any more.
    #[error("no such container: {id}")]
    NoSuchContainer {
        /// The name or id that was asked for.
        id: String,
    },
    /// The program of helper containers cannot be used.
    #[error("cannot use {} as the program of helper containers: {reason}", path.display())]
    HelperProgram {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The program of helper containers is for other machines.
    #[error(
        "{endpoint} runs on {engine}, and the program of helper containers that is here on {program}"
    )]
    OtherArchitecture {
        /// The engine's address.
        endpoint: String,
        /// Its architecture in its own words. Text from outside.
        engine: String,
        /// That of the program.
        program: &'static str,
    },
    /// An image that the engine does not have.
    #[error("no such image: {image}")]
    NoSuchImage {
        /// Its name.
        image: String,
    },
    /// A directory that is to be mounted is not there, as the engine sees it.
    #[error("the engine does not see a directory of this machine: {message}")]
    NoMount {
        /// The engine's words. Text from outside.
        message: String,
    },
    /// The engine cannot confine a container to some system calls.
    #[error("the engine does not filter a container's system calls: {message}")]
    CallsRefused {
        /// The engine's words. Text from outside.
        message: String,
    },
    /// A `--filter` that is not `key=value`.
    #[error("filter `{filter}` is not of the form key=value")]
    FilterForm {
        /// What was written.
        filter: String,
    },
    /// A `--filter` key that docker does not have for containers.
    #[error("unknown filter `{key}`: use one of {}", Filter::KEYS.join(", "))]
    FilterKey {
        /// What was written.
        key: String,
    },
}

impl Error {
    /// Whether it is the connection that failed, and not what was asked over it.
    pub(crate) fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Broken { .. }
                | Self::NotAnEngine { .. }
        )
    }

    /// Whether an engine was spoken to, or was to be, that is not behind a socket of this machine.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        match self {
            Self::Tls { endpoint, .. }
            | Self::WantsTls { endpoint }
            | Self::Program { endpoint, .. }
            | Self::SocketAbsent { endpoint }
            | Self::PermissionDenied { endpoint }
            | Self::Refused { endpoint }
            | Self::Unreachable { endpoint, .. }
            | Self::Timeout { endpoint, .. }
            | Self::Broken { endpoint, .. }
            | Self::StreamEnded { endpoint }
            | Self::NotAnEngine { endpoint, .. }
            | Self::NoApiVersion { endpoint }
            | Self::Api { endpoint, .. }
            | Self::OtherArchitecture { endpoint, .. } => !endpoint.starts_with("unix:"),
            _ => false,
        }
    }

    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::PermissionDenied { .. } => {
                Some("run it with sudo, or as a member of the group that owns the socket (docker)")
            }
            Self::SocketAbsent { .. } => Some(
                "is Docker installed and its engine started? `--host` and `--context` name another",
            ),
            Self::Refused { endpoint } if endpoint.starts_with("tcp:") => {
                Some("does the engine over there listen on TCP, and on this port?")
            }
            Self::Refused { .. } => Some("the engine is not running: `systemctl start docker`"),
            Self::Timeout { .. } if self.is_elsewhere() => {
                Some("is the machine reachable from here, and does its engine answer there?")
            }
            Self::Timeout { .. } => Some(
                "the engine accepts connections but hangs: `docker version` would hang as well",
            ),
            Self::Tls { .. } => Some(
                "--tlscacert, --tlscert and --tlskey name the files, or the context has them; does \
                 `docker version` work with the same?",
            ),
            Self::WantsTls { .. } => Some("--tlsverify asks for it, or a context with its files"),
            Self::Program { said, .. } if said.contains("Host key verification") => Some(
                "ssh does not know that machine by this key: connect with ssh yourself once, and \
                 compare",
            ),
            Self::Program { said, .. } if said.contains("ermission denied") => Some(
                "ssh is not asked for passwords here: it takes a key without a passphrase, or an \
                 agent",
            ),
            Self::Program { program, .. } if program == "ssh" => {
                Some("does `ssh MACHINE docker version` work?")
            }
            Self::HelperProgram { .. } => Some(
                "it is whaletap-agent, which stands beside whaletap; WHALETAP_AGENT names another one",
            ),
            Self::OtherArchitecture { .. } => Some(
                "one that `make build` made on such a machine goes beside whaletap-agent, with the \
                 architecture behind its name: whaletap-agent-arm64",
            ),
            Self::NoSuchContext { .. } => Some("`docker context ls` lists what there is"),
            _ => None,
        }
    }
}
