//! A watch at work on a thread of its own, and what it told.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use model::Container;
use tokio::sync::oneshot;
use whaletap_docker::{Endpoint, Engine, Filter, Happening, News, PathDial, What, watch};

/// For what must come; generous, because the machine may be busy.
pub(crate) const PATIENT: Duration = Duration::from_secs(30);

/// Ends with it.
pub(crate) struct Following {
    news: Receiver<News>,
    /// What was told so far, for messages.
    told: Vec<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Following {
    /// Follows the engine behind a socket.
    pub(crate) fn start(socket: &str, deadline: Duration, filters: &[&str]) -> Self {
        let endpoint = Endpoint::unix(socket);
        let filters: Vec<Filter> = filters.iter().map(|text| text.parse().unwrap()).collect();
        let (sender, news) = channel();
        let (stop, stopped) = oneshot::channel();
        let socket = socket.to_owned();
        let thread = std::thread::spawn(move || {
            let connect = || {
                let dial = std::sync::Arc::new(PathDial(socket.clone().into()));
                Engine::connect_through(&endpoint, dial, deadline)
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let tell = |news| drop(sender.send(news));
                tokio::select! {
                    never = watch(connect, &filters, tell) => match never {},
                    _ = stopped => {}
                }
            });
        });
        Self { news, told: Vec::new(), stop: Some(stop), thread: Some(thread) }
    }

    /// The first news for which `wanted` has an answer.
    pub(crate) fn until<T>(&mut self, limit: Duration, wanted: impl Fn(&News) -> Option<T>) -> T {
        let end = Instant::now() + limit;
        loop {
            match self.news.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(news) => {
                    self.told.push(summary(&news));
                    if let Some(answer) = wanted(&news) {
                        return answer;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("not told within {limit:?}; but:\n{}", self.told.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the watch has ended"),
            }
        }
    }

    /// The next list of all.
    pub(crate) fn listed(&mut self, limit: Duration) -> Vec<Container> {
        self.until(limit, |news| match news {
            News::Listed { live } => Some(live.clone()),
            _ => None,
        })
    }

    /// The next list of all that has, or lacks, this container.
    pub(crate) fn listed_with(&mut self, id: &str, has: bool, limit: Duration) -> Vec<Container> {
        self.until(limit, |news| match news {
            News::Listed { live } if live.iter().any(|c| c.id == id) == has => Some(live.clone()),
            _ => None,
        })
    }

    /// The next event of this kind about a container.
    pub(crate) fn happened(&mut self, id: &str, wanted: impl Fn(&What) -> bool) -> Happening {
        self.until(PATIENT, |news| match news {
            News::Happened(happening)
                if happening.container.id == id && wanted(&happening.what) =>
            {
                Some(happening.clone())
            }
            _ => None,
        })
    }

    /// The next inspection of this container.
    pub(crate) fn inspected(&mut self, id: &str) -> Container {
        self.until(PATIENT, |news| match news {
            News::Inspected(container) if container.id == id => Some(container.clone()),
            _ => None,
        })
    }

    /// The next loss: what the error is called.
    pub(crate) fn lost(&mut self) -> String {
        self.until(PATIENT, |news| match news {
            News::Lost(error) => Some(format!("{error:?}")),
            _ => None,
        })
    }

    /// What was told, in order, a line each.
    pub(crate) fn told(&self) -> &[String] {
        &self.told
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the watch panicked");
    }
}

fn summary(news: &News) -> String {
    let short = |container: &Container| {
        format!(
            "{} {} {} {:?}",
            container.short_id(),
            container.name,
            container.state,
            container.pid
        )
    };
    match news {
        News::Connected { .. } => "connected".to_owned(),
        News::Listed { live } => {
            let live: Vec<String> = live.iter().map(short).collect();
            format!("listed [{}]", live.join("; "))
        }
        News::Happened(happening) => {
            format!("happened {:?}: {}", happening.what, short(&happening.container))
        }
        News::Inspected(container) => format!("inspected {}", short(container)),
        News::Lost(error) => format!("lost: {error}"),
    }
}
