//! Rings that hold others up, because nobody has said yet whose they are.
//!
//! A namespace is opened before it is known whether it is to be captured, and until then its frames
//! wait in its ring. What others send meanwhile must not be written before them: the file would be
//! out of order there. So nobody goes on behind the first frame of such a ring, for a while.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use sys::{
    packet::PacketSocket,
    poll::Waker,
    ring::{Geometry, Ring},
};

use crate::{Error, clock::nanoseconds, config::SORT_WINDOW, reader::Command};

/// For how long a ring holds up others, from the first frame in it.
const HOLD_LIMIT: Duration = Duration::from_secs(2);

/// Holds up what is not older than something that is about to be captured, until it is: by
/// [`Attachment::hold`](crate::Attachment::hold), which takes it over, or until this is dropped.
///
/// Of rings that are not opened yet nothing is known, so all that is not older than the hold waits.
/// Once [`Hold::watch`] has shown them, nobody waits as long as they are empty. In both cases frames
/// wait for 2 s at the most: then they are written, and what comes out of order behind them is
/// counted. Where each target has its own file nobody waits.
///
/// To be dropped before the sockets are: it maps their rings, and what is mapped is not closed.
#[derive(Debug)]
pub struct Hold {
    id: u64,
    /// Here and not with the reader: who lets go of the last of a socket waits for the kernel.
    rings: Option<Arc<Vec<Ring>>>,
    commands: Sender<Command>,
    waker: Waker,
}

impl Hold {
    pub(crate) fn new(id: u64, since: u64, commands: Sender<Command>, waker: Waker) -> Self {
        let hold = Self { id, rings: None, commands, waker };
        hold.tell(Command::Hold { id, since });
        hold
    }

    /// These are the sockets that it is about. Asked again it does nothing.
    ///
    /// # Errors
    /// When their rings cannot be mapped: nothing is known of them, as before.
    pub fn watch<'a>(
        &mut self,
        sockets: impl IntoIterator<Item = &'a PacketSocket>,
        geometry: Geometry,
    ) -> Result<(), Error> {
        if self.rings.is_none() {
            let rings = sockets.into_iter().map(|socket| Ring::map(socket, geometry));
            let rings = Arc::new(rings.collect::<Result<Vec<_>, _>>()?);
            self.tell(Command::Watch { id: self.id, rings: Arc::downgrade(&rings) });
            self.rings = Some(rings);
        }
        Ok(())
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The rings, if they were shown: nothing was taken from them.
    pub(crate) fn take_rings(&mut self) -> Option<Vec<Ring>> {
        Arc::into_inner(self.rings.take()?)
    }

    fn tell(&self, command: Command) {
        // Who has ended holds nothing any more.
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.tell(Command::Release { id: self.id });
    }
}

/// All holds, as the reader knows them.
#[derive(Debug)]
pub(crate) struct Holds {
    /// Frames of different targets meet in an output.
    is_needed: bool,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    id: u64,
    /// `None` as long as nothing is known of them.
    rings: Option<Weak<Vec<Ring>>>,
    /// No frame in them is older, in nanoseconds since the epoch.
    since: u64,
    /// Until when others wait, where there is, or may be, a frame in them.
    until: Option<Instant>,
}

impl Held {
    fn holds_up(&self, timestamp: u64) -> Option<Instant> {
        self.until.filter(|until| self.since < timestamp && Instant::now() < *until)
    }
}

impl Holds {
    pub(crate) fn new(is_needed: bool) -> Self {
        Self { is_needed, held: Vec::new() }
    }

    pub(crate) fn begin(&mut self, id: u64, since: u64) {
        let until = Some(Instant::now() + HOLD_LIMIT);
        self.held.push(Held { id, rings: None, since, until });
    }

    pub(crate) fn watch(&mut self, id: u64, rings: Weak<Vec<Ring>>) {
        if let Some(held) = self.held.iter_mut().find(|held| held.id == id) {
            (held.rings, held.until) = (Some(rings), None);
        }
    }

    /// Ends a hold.
    pub(crate) fn release(&mut self, id: u64) {
        self.held.retain(|held| held.id != id);
    }

    /// Nobody is held up any more: nothing else will be attached.
    pub(crate) fn release_all(&mut self) {
        self.held.clear();
    }

    /// Looks at the rings. `now` was read before.
    pub(crate) fn look(&mut self, now: u64) {
        for held in &mut self.held {
            // One that is being released is not waited for, and not gone behind either.
            let rings = held.rings.as_ref().filter(|_| held.until.is_none());
            let Some(rings) = rings.and_then(Weak::upgrade) else { continue };
            if rings.iter().all(Ring::is_quiet) {
                // What comes is stamped a moment before it is there.
                held.since = now.saturating_sub(nanoseconds(SORT_WINDOW));
            } else {
                held.until = Some(Instant::now() + HOLD_LIMIT);
            }
        }
    }

    /// What is later than this has to wait.
    pub(crate) fn settled_until(&self) -> u64 {
        let now = Instant::now();
        let holds = |held: &&Held| held.until.is_none_or(|until| now < until);
        let since = self.held.iter().filter(holds).map(|held| held.since).min();
        since.filter(|_| self.is_needed).unwrap_or(u64::MAX)
    }

    /// Until when a frame has to wait if nobody is told anything.
    pub(crate) fn settles(&self, timestamp: u64) -> Option<Instant> {
        let held = self.held.iter().filter(|_| self.is_needed);
        held.filter_map(|held| held.holds_up(timestamp)).max()
    }

    /// The clock was set by so many nanoseconds.
    pub(crate) fn shift(&mut self, nanoseconds: i64) {
        for held in &mut self.held {
            held.since = held.since.saturating_add_signed(nanoseconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_holds_up_until_it_is_released() {
        let mut holds = Holds::new(true);
        assert_eq!(holds.settled_until(), u64::MAX);
        holds.begin(1, 50);
        holds.begin(2, 30);
        holds.look(100);
        assert_eq!(holds.settled_until(), 30);
        assert!(holds.settles(31).is_some() && holds.settles(30).is_none());
        holds.release(2);
        assert_eq!(holds.settled_until(), 50);
        holds.shift(-20);
        assert_eq!(holds.settled_until(), 30);
        // One that nobody knows any more.
        holds.release(2);
        holds.release_all();
        assert_eq!(holds.settled_until(), u64::MAX);
    }

    #[test]
    fn who_takes_too_long_holds_up_nobody() {
        let mut holds = Holds::new(true);
        holds.begin(1, 50);
        holds.begin(2, 60);
        holds.held[0].until = Some(Instant::now());
        assert_eq!(holds.settled_until(), 60);
        assert!(holds.settles(55).is_none());
        assert!(holds.settles(70).is_some());
    }

    #[test]
    fn where_targets_do_not_meet_nobody_waits() {
        let mut holds = Holds::new(false);
        holds.begin(1, 50);
        assert_eq!((holds.settled_until(), holds.settles(60)), (u64::MAX, None));
    }
}
