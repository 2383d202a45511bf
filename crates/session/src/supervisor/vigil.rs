//! The end of the one container that a helper elsewhere is inside of.

use std::sync::Arc;

use docker::{News, What};
use model::Container;
use sys::poll::Waker;

use super::Supervisor;
use crate::{Error, Notice, follower::Follower, stage::Parts};

/// Hears of it from the engine: whoever is inside of one namespace sees none of its processes, and keeps
/// it alive.
#[derive(Debug)]
pub(super) struct Vigil {
    follower: Follower,
    container: String,
    pid: Option<u32>,
    /// The engine does not answer.
    is_lost: bool,
}

impl Vigil {
    /// Begins to listen. What has happened since that container was looked at is told as well: the
    /// first list shows it.
    pub(super) fn start(stage: &Parts, container: &Container) -> Result<Self, Error> {
        let filter = format!("id={}", container.id).parse()?;
        let dial = Arc::clone(&stage.dial);
        let follower = Follower::start(stage.request.endpoint.clone(), dial, vec![filter])?;
        Ok(Self { follower, container: container.id.clone(), pid: container.pid, is_lost: false })
    }

    /// Readable when there is news.
    pub(super) fn waker(&self) -> &Waker {
        self.follower.waker()
    }

    /// Whether this is news of its end.
    fn is_end(&self, news: &News) -> bool {
        let is_over = |container: &Container| {
            let is_another = container.pid.is_some() && container.pid != self.pid;
            !container.state.is_live() || is_another
        };
        match news {
            News::Happened(happening) => {
                let is_its = happening.container.id == self.container;
                is_its && matches!(happening.what, What::Died { .. } | What::Destroyed)
            }
            News::Listed { live } => {
                live.iter().find(|it| it.id == self.container).is_none_or(is_over)
            }
            News::Inspected(container) => container.id == self.container && is_over(container),
            News::Connected { .. } | News::Lost(_) => false,
        }
    }
}

impl Supervisor<'_> {
    /// Hears what becomes of that container.
    pub(super) fn keep_vigil(&mut self) -> Result<(), Error> {
        let Some(vigil) = &mut self.vigil else { return Ok(()) };
        vigil.waker().reset();
        let mut has_ended = false;
        while let Some(news) = vigil.follower.next() {
            has_ended |= vigil.is_end(&news);
            match news {
                News::Lost(why) => {
                    vigil.is_lost = true;
                    let text = format!("{why}: the end of the container is noticed late");
                    self.observer.notice(Notice::Remark { text: &text });
                }
                News::Connected { .. } if std::mem::take(&mut vigil.is_lost) => {
                    self.observer.notice(Notice::EngineBack);
                }
                _ => {}
            }
        }
        if has_ended {
            self.poller.remove(vigil.waker())?;
            self.vigil = None;
            self.end_all()?;
        }
        Ok(())
    }

    /// Lets everything go that the helper holds.
    fn end_all(&mut self) -> Result<(), Error> {
        let ids: Vec<u32> = self.groups.keys().copied().collect();
        for id in ids {
            let ends = self.groups.get_mut(&id).map(|group| std::mem::take(&mut group.pidfds));
            for end in ends.into_iter().flatten() {
                self.poller.remove(&end)?;
            }
            self.end_if_over(id);
        }
        Ok(())
    }
}
