use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use model::{Interface, Stats};
use sys::{poll::Waker, ring::Block};

/// What has arrived of one capture of the far side, and was not yet taken.
///
/// The link's thread puts it there, the reader takes it: whoever listens is woken for each piece.
#[derive(Clone)]
pub struct Arrivals {
    state: Arc<Mutex<State>>,
    asks: Arc<dyn Asks>,
    capture: u32,
}

/// Who can be asked to let a capture go.
pub(crate) trait Asks: Send + Sync {
    /// Lets it go: its end arrives behind its last frame.
    fn detach(&self, capture: u32);
}

#[derive(Debug, Default)]
struct State {
    blocks: VecDeque<Arrived>,
    /// No frame with an earlier timestamp follows those that wait.
    settled: u64,
    interfaces: Vec<Interface>,
    /// Interfaces were told that nobody has asked for.
    is_news: bool,
    stats: Stats,
    /// Nothing more comes.
    ended: bool,
    /// Nothing more is taken.
    closed: bool,
    listener: Option<Waker>,
}

/// Frames that have arrived together.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) block: Block,
    /// Frames that were lost before these.
    pub(crate) lost: u64,
    pub(crate) receipt: Receipt,
}

/// Tells the far side, when it is dropped, that so much of what it has sent is used: it keeps no more
/// than an allowance ahead of that.
#[derive(Debug)]
pub(crate) struct Receipt {
    weight: u64,
    used: Arc<Used>,
}

/// How much was used of all that has arrived over a link.
#[derive(Debug)]
pub(crate) struct Used {
    weight: AtomicU64,
    waker: Waker,
}

impl Used {
    /// `waker` is woken when there is more to tell.
    pub(crate) fn new(waker: Waker) -> Self {
        Self { weight: AtomicU64::new(0), waker }
    }

    /// The [weights](wire::Batch::weight) of batches together, since the beginning.
    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }
}

impl Receipt {
    /// For a batch of this weight.
    pub(crate) fn new(weight: u64, used: Arc<Used>) -> Self {
        Self { weight, used }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.used.weight.fetch_add(self.weight, Ordering::Relaxed);
        self.used.waker.wake();
    }
}

impl Arrivals {
    pub(crate) fn new(capture: u32, asks: Arc<dyn Asks>) -> Self {
        Self { state: Arc::default(), asks, capture }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes who listens.
    fn put(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if let Some(listener) = &state.listener {
            listener.wake();
        }
    }

    pub(crate) fn put_block(&self, arrived: Arrived) {
        self.put(|state| {
            if !state.closed {
                state.blocks.push_back(arrived);
            }
        });
    }

    pub(crate) fn put_settled(&self, until: u64) {
        // Less than before where somebody has set the clock over there.
        self.put(|state| state.settled = until);
    }

    pub(crate) fn put_interfaces(&self, interfaces: Vec<Interface>) {
        self.put(|state| {
            state.interfaces = interfaces;
            state.is_news = true;
        });
    }

    pub(crate) fn put_stats(&self, stats: Stats) {
        self.put(|state| state.stats = stats);
    }

    pub(crate) fn put_end(&self) {
        self.put(|state| state.ended = true);
    }

    /// Wakes `listener` from now on, and now.
    pub(crate) fn listen(&self, listener: Waker) {
        self.put(|state| state.listener = Some(listener));
    }

    /// What has arrived first; or, where nothing waits, the time until which nothing more comes.
    pub(crate) fn take(&self) -> Result<Arrived, u64> {
        let mut state = self.state();
        let ended = state.ended;
        state.blocks.pop_front().ok_or(if ended { u64::MAX } else { state.settled })
    }

    /// Interfaces, if anything was told of them since the last call.
    pub(crate) fn news(&self) -> bool {
        std::mem::take(&mut self.state().is_news)
    }

    /// The interfaces that are there.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        self.state().interfaces.clone()
    }

    /// What the far side has counted.
    pub(crate) fn stats(&self) -> Stats {
        self.state().stats
    }

    /// Whether all has been taken, and nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        state.ended && state.blocks.is_empty()
    }

    /// Takes nothing any more: what still comes is used by that.
    pub(crate) fn close(&self) {
        let left = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.blocks)
        };
        drop(left);
    }

    /// Lets it go: what is under way still comes.
    pub fn refuse(&self) {
        self.asks.detach(self.capture);
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").field("capture", &self.capture).finish_non_exhaustive()
    }
}
