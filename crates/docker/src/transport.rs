use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connect, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tower_service::Service;

use crate::{Dial, dial::dial};

/// How long an idle connection is kept. Shorter than any engine's own patience, and long enough to
/// serve a list and its inspects.
const IDLE: Duration = Duration::from_secs(30);

/// How many idle connections are kept.
const MAX_IDLE: usize = 8;

/// What a client connects with when the engine listens on a unix socket.
#[derive(Clone)]
struct Dialer(Arc<dyn Dial>);

impl Service<hyper::Uri> for Dialer {
    type Response = TokioIo<tokio::net::UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: hyper::Uri) -> Self::Future {
        let stream = dial(Arc::clone(&self.0));
        Box::pin(async move { Ok(TokioIo::new(stream.await?)) })
    }
}

/// A client whose connections come from `dialer`.
pub(crate) fn over_unix(
    dialer: Arc<dyn Dial>,
    limit: Duration,
) -> Result<Docker, bollard::errors::Error> {
    // The host is what stands in the `Host` header: engines ignore it.
    over(Dialer(dialer), "http://localhost", limit)
}

/// A client that connects to `authority` (`host:port`) over TCP without TLS.
pub(crate) fn over_tcp(authority: &str, limit: Duration) -> Result<Docker, bollard::errors::Error> {
    over(HttpConnector::new(), &format!("http://{authority}"), limit)
}

/// `limit` is only bollard's own, on the head of an answer: [`crate::Engine`] has the deadline that
/// counts, on whole answers.
fn over<C>(connector: C, base: &str, limit: Duration) -> Result<Docker, bollard::errors::Error>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MAX_IDLE)
        .build(connector);
    let transport = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { Ok(answer.await?) }
    };
    let seconds = limit.as_secs().saturating_add(1);
    Docker::connect_with_custom_transport(transport, Some(base), seconds, API_DEFAULT_VERSION)
}
