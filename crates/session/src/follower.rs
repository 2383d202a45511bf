//! The thread that hears what becomes of the engine's containers.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, unbounded};
use docker::{Endpoint, Engine, Filter, News};
use sys::poll::Waker;
use tokio::sync::oneshot;

use crate::{Error, resolve::EngineDial};

/// A running thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    news: Receiver<News>,
    waker: Waker,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Follows the containers that pass `filters`.
    pub(crate) fn start(
        endpoint: Endpoint,
        dial: Arc<EngineDial>,
        filters: Vec<Filter>,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Capture(capture::Error::Thread { source });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (outbox, news) = unbounded();
        let (stop, stopped) = oneshot::channel();
        let waker = Waker::new()?;
        let bell = waker.clone();
        let work = move || {
            let tell = |news| {
                // Nobody listens any more when the session has ended.
                let _ = outbox.send(news);
                bell.wake();
            };
            let connect = || {
                let dial: Arc<dyn docker::Dial> = Arc::<EngineDial>::clone(&dial);
                Engine::connect_through(&endpoint, dial, docker::DEADLINE)
            };
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    never = docker::watch(connect, &filters, tell) => match never {},
                }
            });
            // A question that nobody answers must not hold up the end.
            runtime.shutdown_background();
        };
        let thread =
            thread::Builder::new().name("engine".to_owned()).spawn(work).map_err(failed)?;
        Ok(Self { news, waker, stop: Some(stop), thread: Some(thread) })
    }

    /// Readable when there is news.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// The next news, if there is any.
    pub(crate) fn next(&self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It has ended by itself only in a panic.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
