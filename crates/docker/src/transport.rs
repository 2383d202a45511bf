use std::{
    error::Error as StdError,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error as ApiError};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::{Body as _, Incoming},
    header::{CONNECTION, UPGRADE},
    http::uri::PathAndQuery,
    rt::{Read, Write},
    upgrade::{self, Upgraded},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{self, Connect, HttpConnector, HttpInfo},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use model::Connection as TcpConnection;
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::{
    Dial,
    bounded::Bounded,
    complaints::Complaints,
    dial::dial,
    line::{Trace, Wire},
};

/// How long an idle connection is kept. Shorter than any engine's own patience, and long enough to
/// serve a list and its inspects.
const IDLE: Duration = Duration::from_secs(30);

/// How many idle connections are kept.
const MAX_IDLE: usize = 8;

/// The most of a refusal's body that is read, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// What TCP makes of a peer that is gone without a word: a question after 15 s of silence, again
/// every 5 s, and the end after three without an answer.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// How many requests are under way at once where each connection takes a program. Behind ssh they
/// are also log-ins, of which a server takes few at once (`MaxStartups` of `sshd_config(5)`).
const THROUGH_PROGRAMS: usize = 3;

/// Requests by bollard, the version that they name, and requests whose answers never end.
type Connection = (Docker, AgreedVersion, Streams);

/// What a client connects with when connections are dialled.
#[derive(Clone)]
struct Dialer {
    dial: Arc<dyn Dial>,
    complaints: Complaints,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (dialling, complaints) = (dial(Arc::clone(&self.dial)), self.complaints.clone());
        Box::pin(async move {
            let (wire, program) = dialling.await?.into_async()?;
            if let Some(program) = program {
                complaints.keep(program);
            }
            Ok(TokioIo::new(wire))
        })
    }
}

/// The API version that both sides speak, agreed on by the engine's first answer.
///
/// Every answer of an engine names its newest API in the header `Api-Version`, also those that
/// refuse, so the cheapest request will do: `GET /_ping` takes 0.7 ms where `GET /version` takes
/// 15 ms (engine 20.10 runs its runtimes to ask for their versions).
///
/// Bollard 0.21 sends requests without a version, which means the engine's newest, whatever that
/// will be; so it is put in front of the path here.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgreedVersion(Arc<OnceLock<(u32, u32)>>);

impl AgreedVersion {
    /// The version in the API's spelling, `1.41`; `None` before the first answer.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.get().map(|(major, minor)| format!("{major}.{minor}"))
    }

    /// Learns from an answer.
    fn learn(&self, headers: &HeaderMap) {
        let theirs = headers.get("api-version").and_then(|value| value.to_str().ok());
        if let Some(theirs) = theirs.and_then(read_version) {
            let ours = (
                newest(API_DEFAULT_VERSION.major_version),
                newest(API_DEFAULT_VERSION.minor_version),
            );
            self.0.get_or_init(|| theirs.min(ours));
        }
    }

    /// A path and query with the version before it.
    fn path(&self, path: &str) -> String {
        let version = self.get().map(|version| format!("/v{version}")).unwrap_or_default();
        format!("{version}{path}")
    }

    /// Puts the version before a request's path.
    fn apply(&self, request: BollardRequest) -> Result<BollardRequest, ApiError> {
        let Some(version) = self.get() else { return Ok(request) };
        let (mut head, body) = request.into_parts();
        let mut uri = head.uri.into_parts();
        let path = uri.path_and_query.as_ref().map_or("/", PathAndQuery::as_str);
        uri.path_and_query = Some(format!("/v{version}{path}").parse()?);
        head.uri = Uri::from_parts(uri)?;
        Ok(BollardRequest::from_parts(head, body))
    }
}

/// Requests whose answers go on for as long as somebody listens, each on a connection of its own,
/// which is closed when the answer is dropped.
///
/// Not bollard's: it keeps an answer's line, or a frame of an attached stream, in memory whatever its
/// length, and reads all of a line again with each piece that arrives.
#[derive(Clone)]
pub(crate) struct Streams(Arc<dyn Fn(Request<String>) -> Opening + Send + Sync>);

type Opening = Pin<Box<dyn Future<Output = Result<Response<Incoming>, ApiError>> + Send>>;

impl Streams {
    /// `base` is what stands before a request's path.
    fn over<C>(connector: C, base: &str) -> Self
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        let client: Client<C, String> =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let base = base.to_owned();
        Self(Arc::new(move |mut request: Request<String>| {
            let (client, uri) = (client.clone(), format!("{base}{}", request.uri()));
            Box::pin(async move {
                *request.uri_mut() = uri.parse()?;
                Ok(client.request(request).await?)
            })
        }))
    }

    /// Begins to read the answer about a path and query.
    pub(crate) async fn open(&self, api: &AgreedVersion, path: &str) -> Result<Incoming, ApiError> {
        let request = Request::get(api.path(path)).body(String::new())?;
        let answer = (self.0)(request).await?;
        if answer.status().is_success() {
            Ok(answer.into_body())
        } else {
            Err(refusal(answer).await?)
        }
    }

    /// Asks for something behind which the connection is no longer HTTP's: from then on it carries
    /// what both sides say, each whenever it likes. Beside it, the TCP connection by which it leads to
    /// the engine, if that is known.
    pub(crate) async fn take_over(
        &self,
        api: &AgreedVersion,
        path: &str,
    ) -> Result<(TokioIo<Upgraded>, Option<TcpConnection>), ApiError> {
        let request = Request::post(api.path(path))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "tcp")
            .body(String::new())?;
        let answer = (self.0)(request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(answer).await?);
        }
        let connection = connection(&answer);
        Ok((TokioIo::new(upgrade::on(answer).await?), connection))
    }
}

/// The TCP connection by which an answer came: our own, or that of the program behind the line.
fn connection(answer: &Response<Incoming>) -> Option<TcpConnection> {
    let beside = answer.extensions();
    let own = beside.get::<HttpInfo>().map(|own| (own.local_addr(), own.remote_addr()));
    match own {
        Some((here, there)) => TcpConnection::between(here, there),
        None => beside.get::<Trace>()?.follow(),
    }
}

/// What an engine says that does not do what it is asked for.
async fn refusal(answer: Response<Incoming>) -> Result<ApiError, ApiError> {
    let status_code = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(frame) = next_frame(&mut body).await
        && text.len() < MAX_REFUSAL
    {
        text.extend_from_slice(&frame?.into_data().unwrap_or_default());
    }
    let message = match serde_json::from_slice(&text) {
        Ok(Refusal { message }) => message,
        Err(_) => String::from_utf8_lossy(&text).into_owned(),
    };
    Ok(ApiError::DockerResponseServerError { status_code, message })
}

/// The next piece of an answer; `None` behind its end. Nothing is lost when it is dropped.
pub(crate) async fn next_frame(
    body: &mut Incoming,
) -> Option<Result<hyper::body::Frame<hyper::body::Bytes>, hyper::Error>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// How engines say no.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Bollard's numbers are small, and as wide as a pointer.
fn newest(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// `1.41`.
fn read_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A client whose connections come from `dial`, and are as many as are wanted.
pub(crate) fn over_unix(dial: Arc<dyn Dial>, limit: Duration) -> Result<Connection, ApiError> {
    // The host is what stands in the `Host` header: engines ignore it.
    over(Dialer { dial, complaints: Complaints::default() }, "http://localhost", limit, None)
}

/// A client whose connections come from `dial` and have a program behind each, whose complaints
/// are kept.
pub(crate) fn over_program(
    dial: Arc<dyn Dial>,
    complaints: Complaints,
    limit: Duration,
) -> Result<Connection, ApiError> {
    let connector = Dialer { dial, complaints };
    over(connector, "http://localhost", limit, Some(THROUGH_PROGRAMS))
}

/// A client that connects to `authority` (`host:port`) over TCP without TLS.
pub(crate) fn over_tcp(authority: &str, limit: Duration) -> Result<Connection, ApiError> {
    over(tcp(), &format!("http://{authority}"), limit, None)
}

/// A client that connects to `authority` (`host:port`) with TLS.
pub(crate) fn over_tls(
    authority: &str,
    configuration: ClientConfig,
    limit: Duration,
) -> Result<Connection, ApiError> {
    let mut tcp = tcp();
    tcp.enforce_http(false);
    let connector = HttpsConnector::from((tcp, configuration));
    over(connector, &format!("https://{authority}"), limit, None)
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    let (idle, interval, retries) = KEEPALIVE;
    connector.set_keepalive(Some(idle));
    connector.set_keepalive_interval(Some(interval));
    connector.set_keepalive_retries(Some(retries));
    connector
}

/// `limit` is only bollard's own, on the head of an answer: [`crate::Engine`] has the deadline that
/// counts, on whole answers.
fn over<C>(
    connector: C,
    base: &str,
    limit: Duration,
    at_once: Option<usize>,
) -> Result<Connection, ApiError>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + connect::Connection + Unpin + Send + 'static,
    C::Error: Into<Box<dyn StdError + Send + Sync>>,
    C::Future: Unpin + Send + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MAX_IDLE)
        .build(Bounded(connector.clone()));
    let agreed = AgreedVersion::default();
    let version = agreed.clone();
    let turns = at_once.map(|at_once| Arc::new(Semaphore::new(at_once)));
    let transport = move |request: BollardRequest| {
        let (client, version, turns) = (client.clone(), version.clone(), turns.clone());
        async move {
            // Nobody closes it.
            let _turn = match &turns {
                Some(turns) => turns.acquire().await.ok(),
                None => None,
            };
            let answer = client.request(version.apply(request)?).await?;
            version.learn(answer.headers());
            Ok(answer)
        }
    };
    let seconds = limit.as_secs().saturating_add(1);
    let docker =
        Docker::connect_with_custom_transport(transport, Some(base), seconds, API_DEFAULT_VERSION)?;
    Ok((docker, agreed, Streams::over(connector, base)))
}
