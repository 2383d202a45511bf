use std::{error::Error as StdError, fmt, future::Future, io, sync::Arc, time::Duration};

use bollard::{
    Docker,
    errors::Error as ApiError,
    query_parameters::{InspectContainerOptions, ListContainersOptions},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use model::Container;

use crate::{
    Dial, Endpoint, Error, Filter, Happenings, Host, Node, PathDial, ProgramDial, Version,
    api::{self, Described},
    complaints::Complaints,
    tls::is_beyond_us,
    transport::{self, AgreedVersion, Streams},
};

/// How long an engine may take for one answer, connecting included.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How many inspect requests of [`Engine::containers`] are under way at once.
pub const INSPECT_CONCURRENCY: usize = 8;

/// The most of an engine's error message that is kept, in characters.
const MAX_MESSAGE: usize = 512;

/// A connection to an engine. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Engine {
    pub(crate) docker: Docker,
    pub(crate) api: AgreedVersion,
    pub(crate) streams: Streams,
    /// Its address, for messages.
    pub(crate) endpoint: Arc<str>,
    pub(crate) deadline: Duration,
    /// The program behind its connections, and what it complains.
    program: Option<(Arc<str>, Complaints)>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("endpoint", &self.endpoint)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Connects with the rights of this process and [`DEADLINE`].
    ///
    /// # Errors
    ///
    /// As [`Engine::connect_through`].
    ///
    /// # Privileges
    ///
    /// Write access to the socket: root, or its group (docker).
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, Error> {
        let dial: Arc<dyn Dial> = match (&endpoint.host, endpoint.program()) {
            (Host::Unix(path), _) => Arc::new(PathDial(path.clone())),
            (_, Some(words)) => Arc::new(ProgramDial(words)),
            (_, None) => Arc::new(PathDial(std::path::PathBuf::new())),
        };
        Self::connect_through(endpoint, dial, DEADLINE).await
    }

    /// Connects, and agrees with the engine on an API version. Connections to a unix socket, and
    /// those that take a program ([`Endpoint::program`]), are made by `dial`, also later ones;
    /// `deadline` is for each request, connecting included.
    ///
    /// Where an engine's TLS is of a kind that rustls refuses and docker's may not (a certificate of
    /// an unusual form, an old version), docker's CLI is tried.
    ///
    /// # Errors
    ///
    /// One variant of [`Error`] for each reason why there is no engine: absent socket, permission,
    /// refused, hanging, TLS, what ssh said, something else answers.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    pub async fn connect_through(
        endpoint: &Endpoint,
        dial: Arc<dyn Dial>,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let tls = match (&endpoint.host, &endpoint.tls) {
            (Host::Tcp { .. }, Some(tls)) => tls,
            _ => return Self::open(endpoint, Some(dial), None, deadline).await,
        };
        let read;
        let material = match &endpoint.material {
            Some(material) => material,
            None => {
                read = tls.read()?;
                &read
            }
        };
        let configuration = tls.configuration(material)?;
        let error = match Self::open(endpoint, None, Some(configuration), deadline).await {
            Err(error @ Error::Tls { .. }) => error,
            other => return other,
        };
        let beyond = chain(&error).find_map(tls_error).is_some_and(is_beyond_us);
        if beyond && let Ok(engine) = Self::open(endpoint, Some(dial), None, deadline).await {
            return Ok(engine);
        }
        Err(error)
    }

    /// Connects in one way: with TLS where that is configured; through `dial` otherwise, unless
    /// the way is plain TCP.
    async fn open(
        endpoint: &Endpoint,
        dial: Option<Arc<dyn Dial>>,
        tls: Option<rustls::ClientConfig>,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let name: Arc<str> = endpoint.to_string().into();
        let mut program = None;
        let (docker, api, streams) = match (&endpoint.host, tls, dial, endpoint.program()) {
            (Host::Unix(_), _, Some(dial), _) => transport::over_unix(dial, deadline),
            (_, None, Some(dial), Some(words)) => {
                let complaints = Complaints::default();
                let first = words.first().map(|word| word.to_string_lossy().into_owned());
                program = Some((first.unwrap_or_default().into(), complaints.clone()));
                transport::over_program(dial, complaints, deadline)
            }
            (host, Some(tls), _, _) => transport::over_tls(&host.authority(), tls, deadline),
            (host, None, _, _) => transport::over_tcp(&host.authority(), deadline),
        }
        .map_err(|error| classify(&name, error))?;
        let engine = Self { docker, api, streams, endpoint: name, deadline, program };
        engine.within_deadline(engine.docker.ping()).await?;
        match engine.api.get() {
            Some(_) => Ok(engine),
            None => Err(Error::NoApiVersion { endpoint: engine.endpoint.to_string() }),
        }
    }

    /// Its address, as messages give it.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it says about itself.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not as an engine.
    pub async fn version(&self) -> Result<Version, Error> {
        let said = self.within_deadline(self.docker.version()).await?;
        Ok(Version::from_api(said, self.api.get().unwrap_or_default()))
    }

    /// The machine that it runs on.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not as an engine.
    pub async fn node(&self) -> Result<Node, Error> {
        Ok(Node::from_api(self.within_deadline(self.docker.info()).await?))
    }

    /// Its containers, the newest first: live ones, or `all`. One request, so cheap, and without
    /// what only an inspection tells: `pid`, `sandbox_key` and aliases are empty, and `image` is an
    /// id where the tag was moved to another image since.
    ///
    /// # Errors
    ///
    /// When it does not answer, or refuses a filter's value.
    pub async fn list(&self, filters: &[Filter], all: bool) -> Result<Vec<Container>, Error> {
        let described = self.describe_all(filters, all).await?;
        Ok(described.into_iter().map(|described| described.container).collect())
    }

    /// As [`Engine::list`], with what following takes.
    pub(crate) async fn describe_all(
        &self,
        filters: &[Filter],
        all: bool,
    ) -> Result<Vec<Described>, Error> {
        let filters = (!filters.is_empty()).then(|| Filter::to_api(filters));
        let options = ListContainersOptions { all, filters, ..ListContainersOptions::default() };
        let listed = self.within_deadline(self.docker.list_containers(Some(options))).await?;
        Ok(listed.into_iter().filter_map(api::listed).collect())
    }

    /// Everything about the container with this name, id or unique id prefix.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchContainer`], or when the engine does not answer.
    pub async fn inspect(&self, id: &str) -> Result<Container, Error> {
        Ok(self.describe(id).await?.container)
    }

    /// As [`Engine::inspect`], with what following takes.
    pub(crate) async fn describe(&self, id: &str) -> Result<Described, Error> {
        let absent = || Error::NoSuchContainer { id: id.to_owned() };
        // An empty word, or one with a slash, would be another path of the API.
        if id.is_empty() || id.contains(['/', '?', '#', '%']) || matches!(id, "." | "..") {
            return Err(absent());
        }
        let request = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        match self.within_deadline(request).await {
            Ok(said) => api::inspected(said).ok_or_else(absent),
            Err(Error::Api { status: 404, .. }) => Err(absent()),
            Err(error) => Err(error),
        }
    }

    /// Its containers with everything about them, the newest first: a list, and an inspection of
    /// each, [`INSPECT_CONCURRENCY`] at once. One that vanishes in between is left out.
    ///
    /// # Errors
    ///
    /// As [`Engine::list`] and [`Engine::inspect`].
    pub async fn containers(&self, filters: &[Filter], all: bool) -> Result<Vec<Container>, Error> {
        let listed = self.list(filters, all).await?;
        let ids: Vec<&str> = listed.iter().map(|container| &*container.id).collect();
        self.inspect_each(&ids).await
    }

    /// Everything about each of these containers, in this order, [`INSPECT_CONCURRENCY`] at once.
    /// One that has vanished is left out.
    ///
    /// # Errors
    ///
    /// As [`Engine::inspect`].
    pub async fn inspect_each(&self, ids: &[&str]) -> Result<Vec<Container>, Error> {
        // Owned, so that the future can move between threads.
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        stream::iter(ids)
            .map(async |id: String| match self.inspect(&id).await {
                Ok(container) => Ok(Some(container)),
                Err(Error::NoSuchContainer { .. }) => Ok(None),
                Err(error) => Err(error),
            })
            .buffered(INSPECT_CONCURRENCY)
            .try_filter_map(async |container| Ok(container))
            .try_collect()
            .await
    }

    /// What happens to its containers from now on; with `since` also what happened from then on
    /// (nanoseconds since the epoch by the engine's clock), as far as the engine still knows:
    /// engines keep their last 256 events, and none over a restart. Whoever lists containers and
    /// does not want anything to fall in between asks for the events first.
    ///
    /// # Errors
    ///
    /// When it does not begin to answer within the deadline, or refuses.
    pub async fn happenings(&self, since: Option<u64>) -> Result<Happenings, Error> {
        let path = Happenings::path(since);
        let opened = self.within_deadline(self.streams.open(&self.api, &path)).await?;
        Ok(Happenings::new(Arc::clone(&self.endpoint), opened))
    }

    /// Waits for a whole answer, but no longer than the deadline.
    pub(crate) async fn within_deadline<T>(
        &self,
        request: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, Error> {
        let request = async {
            request.await.map_err(|error| match error {
                ApiError::RequestTimeoutError => self.timeout(self.deadline),
                error => self.classify(error),
            })
        };
        self.within(self.deadline, request).await
    }

    /// Waits for what takes several answers, but no longer than this.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let error = match tokio::time::timeout(limit, work).await {
            Ok(Ok(done)) => return Ok(done),
            Err(_) => self.timeout(limit),
            Ok(Err(error)) => error,
        };
        // The program behind the connection knows better.
        if !error.is_connection() {
            return Err(error);
        }
        Err(self.complaint().await.unwrap_or(error))
    }

    /// What the program behind the connections to this engine has to say about one that has ended,
    /// once: [`Error::Program`]. `None` where there is no program, or it says nothing. Takes half a
    /// second for each program that runs on.
    pub async fn complaint(&self) -> Option<Error> {
        let (program, complaints) = self.program.as_ref()?;
        let said = complaints.last().await?;
        Some(Error::Program {
            endpoint: self.endpoint.to_string(),
            program: program.to_string(),
            said: said.chars().take(MAX_MESSAGE).collect(),
        })
    }

    fn timeout(&self, after: Duration) -> Error {
        Error::Timeout { endpoint: self.endpoint.to_string(), after }
    }

    pub(crate) fn classify(&self, error: ApiError) -> Error {
        classify(&self.endpoint, error)
    }
}

/// What an error of the API client means to the user.
pub(crate) fn classify(endpoint: &str, error: ApiError) -> Error {
    let endpoint = endpoint.to_owned();
    // It may come with any request: that our certificate is refused is told late.
    if let Some(tls) = chain(&error).find_map(tls_error) {
        return Error::Tls { endpoint, source: Box::new(tls.clone()) };
    }
    match error {
        // `net/http` of Go, in which engines are written.
        ApiError::DockerResponseServerError { status_code: 400, message }
            if message.contains("HTTP request to an HTTPS server") =>
        {
            Error::WantsTls { endpoint }
        }
        ApiError::DockerResponseServerError { status_code, message } => Error::Api {
            endpoint,
            status: status_code,
            message: message.trim_end().chars().take(MAX_MESSAGE).collect(),
        },
        ApiError::HyperLegacyError { err } if err.is_connect() => match io_error(&err) {
            Some(error) => match error.kind() {
                io::ErrorKind::NotFound => Error::SocketAbsent { endpoint },
                io::ErrorKind::PermissionDenied => Error::PermissionDenied { endpoint },
                io::ErrorKind::ConnectionRefused => Error::Refused { endpoint },
                // An io::Error cannot be cloned, and is owned by its chain.
                kind => Error::Unreachable {
                    endpoint,
                    source: match error.raw_os_error() {
                        Some(code) => io::Error::from_raw_os_error(code),
                        None => io::Error::new(kind, error.to_string()),
                    },
                },
            },
            None => Error::Unreachable { endpoint, source: io::Error::other(err) },
        },
        other if breaks(&other) => Error::Broken { endpoint, source: Box::new(other) },
        other => Error::NotAnEngine { endpoint, source: Box::new(other) },
    }
}

/// Whether the connection was at fault, and not what came over it.
fn breaks(error: &ApiError) -> bool {
    chain(error).any(|link| {
        link.downcast_ref::<hyper::Error>().is_some_and(|error| {
            !error.is_parse() && (error.is_incomplete_message() || error.is_closed())
        }) || link.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            )
        })
    })
}

/// What TLS said, where this link of a chain holds it. An `io::Error` passes over what it holds when
/// it is asked for its source, and the TLS client puts one into another.
fn tls_error<'a>(link: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut link = link;
    while let Some(held) = link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        link = held;
    }
    link.downcast_ref()
}

fn io_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    chain(error).find_map(|link| link.downcast_ref::<io::Error>())
}

/// An error and its sources.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |link| -> Option<&'a (dyn StdError + 'static)> {
        (*link).source()
    })
}
