use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use sys::poll::Waker;
use wire::{Attached, Detach, Order, Refused};

use super::{
    arrivals::Arrivals,
    link::{ANSWERS_WITHIN, FarCapture, Shared},
};
use crate::Error;

/// A namespace that a far side was asked to capture. When this is dropped it is let go again.
#[derive(Debug)]
pub struct Asked {
    shared: Arc<Shared>,
    capture: u32,
    answer: Receiver<Result<Attached, Refused>>,
    bell: Waker,
    since: Instant,
    /// What becomes the capture; `None` once it was taken.
    parts: Option<(Arrivals, OwnedFd)>,
}

/// Who waits for an answer. When this is dropped without one, that is told as well.
#[derive(Debug)]
pub(super) struct Answer {
    sender: Sender<Result<Attached, Refused>>,
    bell: Waker,
}

impl Answer {
    pub(super) fn give(self, answer: Result<Attached, Refused>) {
        // Who has given up has let it go.
        let _ = self.sender.send(answer);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.bell.wake();
    }
}

impl Asked {
    pub(super) fn new(
        shared: Arc<Shared>,
        capture: u32,
        arrivals: Arrivals,
        ended: OwnedFd,
    ) -> Result<(Answer, Self), Error> {
        let bell = Waker::new()?;
        let (sender, answer) = bounded(1);
        let answers = Answer { sender, bell: bell.clone() };
        let (since, parts) = (Instant::now(), Some((arrivals, ended)));
        Ok((answers, Self { shared, capture, answer, bell, since, parts }))
    }

    /// How long the answer may still take.
    #[must_use]
    pub fn left(&self) -> Duration {
        ANSWERS_WITHIN.saturating_sub(self.since.elapsed())
    }

    /// Whether there is nothing more to be waited for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        sys::poll::is_readable(&self.bell).unwrap_or(true) || self.left().is_zero()
    }

    /// The capture. Does not wait for it.
    ///
    /// # Errors
    ///
    /// [`Error::FarRefused`]; [`Error::FarGone`] where there is no answer.
    pub fn take(mut self) -> Result<FarCapture, Error> {
        match (self.answer.try_recv(), self.parts.take()) {
            (Ok(Ok(attached)), Some((arrivals, ended))) => Ok(FarCapture {
                netns: attached.netns,
                program_refused: attached.program_refused,
                since: attached.since,
                missing: attached.missing,
                created: attached.created,
                frames_before: attached.frames_before,
                interfaces: attached.interfaces,
                arrivals,
                ended,
            }),
            (Ok(Err(refused)), _) => Err(Error::FarRefused { refused }),
            (_, parts) => {
                self.parts = parts;
                Err(self.shared.why_gone())
            }
        }
    }
}

/// Readable once there is an answer, or can be none any more.
impl AsFd for Asked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.parts.is_some() {
            self.shared.order(Order::Detach(Detach { capture: self.capture }));
        }
    }
}
