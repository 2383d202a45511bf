use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, net::unix::pipe::Receiver};

/// The standard errors of so many connections are kept, the newest.
const KEPT: usize = 4;

/// The most of a complaint that is read, in bytes.
const MAX_COMPLAINT: u64 = 16 * 1024;

/// How long a program that has hung up may take to say why.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the programs behind an engine's connections write to their standard error: why there is no
/// connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Complaints(Arc<Mutex<VecDeque<OwnedFd>>>);

impl Complaints {
    /// Keeps one more.
    pub(crate) fn keep(&self, complaints: OwnedFd) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front(complaints);
    }

    /// The last line that any of them has written, the newest first, once; `None` where there was
    /// no program, or it said nothing.
    pub(crate) async fn last(&self) -> Option<String> {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for complaints in kept {
            let Ok(pipe) = Receiver::from_owned_fd(complaints) else { continue };
            let mut bytes = Vec::new();
            // What was read before the time was up is kept.
            let mut limited = pipe.take(MAX_COMPLAINT);
            let _ = tokio::time::timeout(PATIENCE, limited.read_to_end(&mut bytes)).await;
            let text = String::from_utf8_lossy(&bytes);
            let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
            if let Some(line) = line {
                return Some(line.to_owned());
            }
        }
        None
    }
}
