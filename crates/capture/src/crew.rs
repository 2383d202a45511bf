//! The two threads of a pipeline: one leads, one stands by.
//!
//! The leader reads the rings, and writes each full chunk itself: what it has just put together is
//! still in its processor's cache, which a thread of its own for writing would give away (about a
//! fifth of the processor time, measured on 64-byte packets). A disk may make it wait, though. So
//! each write sets an alarm; the other thread hears it when the write takes longer, and leads;
//! whoever was stuck writes what has piled up meanwhile, and then stands by. Where rings fill, the
//! leader reads on and leaves chunks for later: see [`haste`](crate::haste).
//!
//! ```text
//!   lead ──chunk full──► write ──done──► lead            (nobody else leads: go on)
//!                          │    ──done──► stand by        (somebody does)
//!   stand by ──the other's write is stuck──► lead
//! ```

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::Receiver;
use sys::poll::{Alarm, Poller, Trigger, Waker};

use crate::{
    Error, Report, Snapshot,
    reader::Reader,
    writer::{Order, Pen},
};

/// How long a write may take before the other thread leads.
const STUCK_AFTER: Duration = Duration::from_millis(5);
/// The same where one thread is not enough.
const AT_ONCE: Duration = Duration::from_micros(100);
const KEY_ALARM: u64 = 0;
const KEY_DONE: u64 = 1;

/// What the two threads share.
#[derive(Debug)]
pub(crate) struct Crew {
    /// Who holds it leads. `None` once it is over.
    reader: Mutex<Option<Reader>>,
    /// Who holds it writes.
    pen: Mutex<Pen>,
    queue: Receiver<Order>,
    /// Rings when a write is stuck.
    alarm: Alarm,
    is_over: AtomicBool,
    /// Wakes the one who stands by when it is over.
    done: Waker,
    report: Mutex<Option<Result<Report, Error>>>,
    /// Where everything stood when nobody led any more.
    last: Mutex<Option<Snapshot>>,
    /// Called when it is over.
    listener: Waker,
}

impl Crew {
    pub(crate) fn new(
        reader: Reader,
        pen: Pen,
        queue: Receiver<Order>,
        listener: Waker,
    ) -> Result<Self, sys::Error> {
        Ok(Self {
            reader: Mutex::new(Some(reader)),
            pen: Mutex::new(pen),
            queue,
            alarm: Alarm::new()?,
            is_over: AtomicBool::new(false),
            done: Waker::new()?,
            report: Mutex::new(None),
            last: Mutex::new(None),
            listener,
        })
    }

    /// The life of a thread that begins by leading.
    pub(crate) fn lead_first(&self) {
        let _over = OverAtPanic(self);
        while self.lead() && self.stand_by() {}
    }

    /// The life of a thread that begins by standing by.
    pub(crate) fn stand_by_first(&self) {
        let _over = OverAtPanic(self);
        while self.stand_by() && self.lead() {}
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// How it ended; `None` before, and when a thread panicked.
    pub(crate) fn take_report(&self) -> Option<Result<Report, Error>> {
        lock(&self.report).take()
    }

    /// Where everything stood at the end; `None` before.
    pub(crate) fn last(&self) -> Option<Snapshot> {
        lock(&self.last).clone()
    }

    /// Leads until somebody else does. `false`: it is over.
    fn lead(&self) -> bool {
        let mut is_rung = true;
        while let Some(mut reader) = try_lock(&self.reader) {
            if std::mem::take(&mut is_rung) {
                self.alarm.set(Duration::ZERO);
            }
            loop {
                let Some(leading) = reader.as_mut() else { return false };
                match leading.turn() {
                    Ok(false) if self.queue.is_empty() || leading.puts_off_writing() => {}
                    Ok(false) => {
                        if let Some(pen) = try_lock(&self.pen) {
                            let patience =
                                if leading.needs_another_thread() { AT_ONCE } else { STUCK_AFTER };
                            drop(reader);
                            self.write(pen, patience);
                            break;
                        }
                        // Somebody is stuck with the pen, and looks at the queue behind that.
                    }
                    Ok(true) => {
                        *lock(&self.last) = Some(leading.finish());
                        let done = reader.take();
                        drop(reader);
                        self.end(done.ok_or(Error::Panicked { thread: "reader" }));
                        return false;
                    }
                    Err(error) => {
                        // What holds the queue's other end has to go for the files to be closed.
                        reader.take();
                        drop(reader);
                        self.end(Err(error));
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Writes what is ordered, all of it unless rings fill meanwhile. What takes long is one stuck
    /// write, or very many: a recorder's window is thousands of chunks.
    fn write<'a>(&'a self, mut pen: MutexGuard<'a, Pen>, patience: Duration) {
        loop {
            self.alarm.set(patience);
            let is_interrupted = self.carry_out(&mut pen);
            self.alarm.set(Duration::ZERO);
            drop(pen);
            if is_interrupted || self.queue.is_empty() {
                return;
            }
            // Who has ordered this while we still held the pen left it to us.
            let Some(again) = try_lock(&self.pen) else { return };
            pen = again;
        }
    }

    /// `true`: rings fill, and nobody looks at them.
    fn carry_out(&self, pen: &mut Pen) -> bool {
        while let Ok(order) = self.queue.try_recv() {
            pen.carry_out(order);
            if !self.queue.is_empty()
                && let Some(mut reader) = try_lock(&self.reader)
                && reader.as_mut().is_some_and(Reader::interrupts_writing)
            {
                return true;
            }
        }
        false
    }

    /// Stands by until the leader's write is stuck. `false`: it is over.
    fn stand_by(&self) -> bool {
        let Ok(mut poller) = self.poller() else { return false };
        while !self.is_over() {
            match poller.wait(None) {
                // It rings until somebody leads: the one who writes may just be looking at the rings.
                Ok(keys) if keys.contains(&KEY_ALARM) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }

    fn poller(&self) -> Result<Poller, sys::Error> {
        let poller = Poller::new()?;
        poller.add(&self.alarm, KEY_ALARM, Trigger::Level)?;
        poller.add(&self.done, KEY_DONE, Trigger::Level)?;
        Ok(poller)
    }

    fn end(&self, done: Result<Reader, Error>) {
        // Whoever is stuck with the pen has to be waited for: what is ordered is written.
        self.write(lock(&self.pen), STUCK_AFTER);
        *lock(&self.report) = Some(done.map(Reader::report));
        self.over();
    }

    fn over(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.done.wake();
        self.listener.wake();
    }
}

/// Ends everything when a thread panics, so that nobody waits for it.
struct OverAtPanic<'a>(&'a Crew);

impl Drop for OverAtPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.over();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
