//! Who writes to the spill: a thread of its own, so that a slow disk makes nobody wait. While a long
//! file is written out of the spill, new chunks go into it.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use sys::poll::Waker;

use super::{
    Held, SpillConfig,
    spill::{NotStored, Reserved, Spill},
};
use crate::{Error, KeepFree, budget::Budget, writer::Outcome};

/// How often the spill's thread looks at the room of its file system.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Memory is made free from here on: so many eighths of all are in use. Frames that wait outside of
/// their ring have up to four.
const FROM_EIGHTHS: usize = 3;
/// The most that is on its way to disk at once, in eighths of the memory: the rest can be evicted
/// while the disk is stuck.
const LEAVING_EIGHTHS: usize = 2;
/// How soon trouble with the disk is told again.
const AGAIN: Duration = Duration::from_secs(60);

/// What is wrong with the spill.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpillTrouble {
    /// The file system has less room than was asked for: what is on disk goes before its time.
    Full {
        /// Bytes that may be on disk now.
        room: u64,
    },
    /// It is slower than frames come: such as had no room went from the middle of a window.
    Slow,
    /// It cannot be written: memory has to do.
    Failed {
        /// Why.
        source: io::Error,
    },
}

/// A chunk for the disk.
#[derive(Debug)]
struct Job {
    held: Arc<Held>,
    reserved: Reserved,
    generation: u32,
}

/// The reader's side of the spill.
#[derive(Debug)]
pub(crate) struct Spiller {
    pub(crate) spill: Arc<Spill>,
    jobs: Sender<Job>,
    /// What is sent in an earlier one than the present is not done any more.
    generation: u32,
    is_broken: bool,
    told_full: Option<Instant>,
    told_slow: Option<Instant>,
}

impl Spiller {
    /// Starts the thread. It ends when this is dropped; nobody waits for it, because what it writes
    /// is of no use by then.
    pub(crate) fn start(
        config: SpillConfig,
        keep_free: KeepFree,
        budget: &Arc<Budget>,
        outbox: Sender<Outcome>,
        waker: Waker,
    ) -> Result<Self, Error> {
        let spill = Spill::new(config, keep_free, budget);
        let (jobs, queue) = unbounded();
        let clerk = Clerk { spill: Arc::clone(&spill), queue, outbox, waker };
        thread::Builder::new()
            .name("spill".to_owned())
            .spawn(move || clerk.work())
            .map_err(|source| Error::Thread { source })?;
        let (told_full, told_slow) = (None, None);
        Ok(Self { spill, jobs, generation: 0, is_broken: false, told_full, told_slow })
    }

    /// Bytes that windows may have in all, where `memory` is what there is of that.
    pub(crate) fn room(&self, memory: u64) -> u64 {
        if self.is_broken {
            return memory;
        }
        self.spill.limit() + memory / 8 * FROM_EIGHTHS as u64
    }

    /// Whether chunks are to go to disk now.
    pub(crate) fn wants_more(&self, budget: &Budget) -> bool {
        let leaving = usize::try_from(self.spill.leaving()).unwrap_or(usize::MAX);
        let eighth = budget.total() / 8;
        !self.is_broken
            && leaving < LEAVING_EIGHTHS * eighth
            && budget.in_use().saturating_sub(leaving) > FROM_EIGHTHS * eighth
    }

    /// Sends a chunk to disk.
    pub(crate) fn send(&self, held: Arc<Held>, reserved: Reserved) {
        self.spill.depart(held.len());
        let job = Job { held, reserved, generation: self.generation };
        // The thread goes on until we close the queue.
        let _ = self.jobs.send(job);
    }

    /// The thread has stopped writing, and does not take up what was sent before this. Says what is
    /// to be told.
    pub(crate) fn stopped(&mut self, why: NotStored) -> Option<SpillTrouble> {
        self.generation += 1;
        match why {
            NotStored::Full => self.is_full(),
            NotStored::Failed(source) => {
                self.is_broken = true;
                Some(SpillTrouble::Failed { source })
            }
        }
    }

    /// Chunks on disk have to go for others. Says what is to be told where that is for want of room.
    pub(crate) fn is_full(&mut self) -> Option<SpillTrouble> {
        if !self.spill.is_short_of_room() || is_told(&mut self.told_full) {
            return None;
        }
        Some(SpillTrouble::Full { room: self.spill.limit() })
    }

    /// A chunk in memory had to go. Says what is to be told where that is the disk's fault.
    pub(crate) fn is_slow(&mut self) -> Option<SpillTrouble> {
        (self.is_writing() && !is_told(&mut self.told_slow)).then_some(SpillTrouble::Slow)
    }

    /// Chunks are on their way to disk.
    pub(crate) fn is_writing(&self) -> bool {
        self.spill.leaving() > 0 && !self.is_broken
    }
}

/// Whether it was told lately; if not, it is now.
fn is_told(at: &mut Option<Instant>) -> bool {
    if at.is_some_and(|at| at.elapsed() < AGAIN) {
        return true;
    }
    *at = Some(Instant::now());
    false
}

/// The thread.
#[derive(Debug)]
struct Clerk {
    spill: Arc<Spill>,
    queue: Receiver<Job>,
    outbox: Sender<Outcome>,
    waker: Waker,
}

impl Clerk {
    fn work(self) {
        let mut looked = Instant::now();
        // The generation whose jobs are not done any more, with those before it.
        let mut refused = None;
        loop {
            match self.queue.recv_timeout(LOOK_EVERY.saturating_sub(looked.elapsed())) {
                Ok(Job { held, reserved, generation }) => {
                    if refused.is_none_or(|refused| generation > refused)
                        && let Err(why) = self.store(&held, reserved)
                    {
                        refused = Some(generation);
                        // Nobody listens any more only once the reader has ended.
                        let _ = self.outbox.send(Outcome::SpillStopped { why });
                        self.waker.wake();
                    }
                    self.spill.arrive(held.len());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.spill.look();
            }
        }
    }

    fn store(&self, held: &Arc<Held>, reserved: Reserved) -> Result<(), NotStored> {
        // Its window may have let go of it meanwhile.
        if Arc::strong_count(held) > 1
            && let Some(kept) = held.kept()
        {
            held.settle(self.spill.store(kept.as_slice(), reserved)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::OwnedFd};

    use super::*;
    use crate::MIN_MEMORY;

    const LIMIT: Duration = Duration::from_secs(20);

    fn spiller(file: File) -> (Spiller, Receiver<Outcome>, Arc<Budget>) {
        let waker = Waker::new().unwrap();
        let budget = Arc::new(Budget::for_windows(MIN_MEMORY, waker.clone()));
        let config = SpillConfig { file, directory: "/tmp".into(), size: 1 << 30 };
        let (outbox, outcomes) = unbounded();
        let keep_free = KeepFree::Bytes(0);
        let spiller = Spiller::start(config, keep_free, &budget, outbox, waker).unwrap();
        (spiller, outcomes, budget)
    }

    /// Sends a chunk, and waits until the thread is done with it.
    fn send(spiller: &Spiller, budget: &Arc<Budget>) -> Arc<Held> {
        let held = Arc::new(Held::copied(&[1; 5000], budget).unwrap());
        let reserved = spiller.spill.reserve(held.len()).unwrap();
        spiller.send(Arc::clone(&held), reserved);
        let ends = Instant::now() + LIMIT;
        while spiller.is_writing() || Arc::strong_count(&held) > 1 {
            assert!(Instant::now() < ends, "nobody takes the chunk");
            thread::yield_now();
        }
        held
    }

    #[test]
    fn chunks_go_to_disk() {
        let (spiller, outcomes, budget) = spiller(tempfile::tempfile().unwrap());
        let held = send(&spiller, &budget);
        assert!(held.kept().is_none() && outcomes.is_empty());
        assert_eq!(*held.bytes(&mut Vec::new()).unwrap(), [1; 5000]);
        assert_eq!(spiller.room(800), (1 << 30) + 300);
    }

    #[test]
    fn a_full_disk_stops_it_until_that_is_heard() {
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        let (mut spiller, outcomes, budget) = spiller(full);
        let held = send(&spiller, &budget);
        assert!(held.kept().is_some(), "what was not written is in memory");
        let Ok(Outcome::SpillStopped { why }) = outcomes.recv_timeout(LIMIT) else { panic!() };
        assert!(matches!(why, NotStored::Full), "{why:?}");
        // What was sent meanwhile is not tried.
        spiller.spill.look();
        send(&spiller, &budget);
        assert!(outcomes.is_empty());
        spiller.spill.shrink_limit();
        let trouble = spiller.stopped(why);
        assert!(matches!(trouble, Some(SpillTrouble::Full { room: 0 })), "{trouble:?}");
        assert!(spiller.stopped(NotStored::Full).is_none(), "told once");
        spiller.spill.look();
        send(&spiller, &budget);
        assert!(outcomes.recv_timeout(LIMIT).is_ok(), "tried again, and told again");
    }

    #[test]
    fn a_disk_that_fails_is_given_up() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let (mut spiller, outcomes, budget) = spiller(OwnedFd::from(writer).into());
        budget.reserve_held(MIN_MEMORY / 2);
        assert!(spiller.wants_more(&budget));
        let held = send(&spiller, &budget);
        assert!(held.kept().is_some());
        let Ok(Outcome::SpillStopped { why }) = outcomes.recv_timeout(LIMIT) else { panic!() };
        assert!(matches!(spiller.stopped(why), Some(SpillTrouble::Failed { .. })));
        assert!(!spiller.wants_more(&budget));
        assert_eq!(spiller.room(800), 800);
        budget.release_held(MIN_MEMORY / 2);
    }

    #[test]
    fn a_slow_disk_is_told_once_in_a_while() {
        let (mut spiller, _outcomes, _budget) = spiller(tempfile::tempfile().unwrap());
        assert!(spiller.is_slow().is_none(), "nothing is on its way");
        spiller.spill.depart(5);
        assert!(matches!(spiller.is_slow(), Some(SpillTrouble::Slow)));
        assert!(spiller.is_slow().is_none());
        spiller.spill.arrive(5);
    }
}
