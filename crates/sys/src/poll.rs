//! Waiting for many descriptors at once: `epoll(7)`, and a waker for other threads.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};

use crate::Error;

/// How a descriptor that is ready is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Each time something new has happened: for rings, which stay readable while a block is held.
    Edge,
    /// As long as it is readable.
    Level,
    /// As long as there is room to write into it.
    Room,
}

/// A set of descriptors to wait for.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

/// The most events that one wait returns; the rest come with the next.
const EVENTS: usize = 64;

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> Result<Self, Error> {
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Error::call("epoll_create1"))?;
        Ok(Self { epoll })
    }

    /// Adds a descriptor under a key. It leaves the set when its last copy is closed.
    ///
    /// # Errors
    /// When the descriptor cannot be waited for, or is in the set already.
    pub fn add(&self, fd: impl AsFd, key: u64, trigger: Trigger) -> Result<(), Error> {
        let flags = match trigger {
            Trigger::Edge => epoll::EventFlags::IN | epoll::EventFlags::ET,
            Trigger::Level => epoll::EventFlags::IN,
            Trigger::Room => epoll::EventFlags::OUT,
        };
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(key), flags)
            .map_err(Error::call("epoll_ctl"))
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// When it is not in the set.
    pub fn remove(&self, fd: impl AsFd) -> Result<(), Error> {
        epoll::delete(&self.epoll, fd).map_err(Error::call("epoll_ctl"))
    }

    /// Waits until a descriptor is ready or `timeout` has passed (`None`: without end), and gives
    /// the keys of those that are.
    ///
    /// # Errors
    /// Only for reasons that are bugs; a signal counts as a timeout.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<u64>, Error> {
        let timeout = timeout.map(to_timespec);
        let mut space = [MaybeUninit::uninit(); EVENTS];
        match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((events, _)) => Ok(events.iter().map(|event| event.data.u64()).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(Error::call("epoll_wait")(errno)),
        }
    }
}

/// A set is readable when something in it is ready, so that a set can be part of another one.
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Wakes the thread that waits in a [`Poller`] in which this was added.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A waker that has not been called.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> Result<Self, Error> {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(|fd| Self(Arc::new(fd)))
            .map_err(Error::call("eventfd"))
    }

    /// Wakes the waiting thread, now or at its next wait.
    pub fn wake(&self) {
        // Fails only when 2^64 calls were not yet heard, and then it is awake.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    /// Forgets the calls that were heard.
    pub fn reset(&self) {
        // Fails only when there was no call.
        let _ = rustix::io::read(&*self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A clock that can be set to ring: readable once the time has passed.
#[derive(Debug)]
pub struct Alarm(OwnedFd);

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> Result<Self, Error> {
        timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map(Self)
            .map_err(Error::call("timerfd_create"))
    }

    /// Sets it to ring once, after `delay`; 0 unsets it. What has rung before is forgotten.
    pub fn set(&self, delay: Duration) {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Itimerspec { it_interval: none, it_value: to_timespec(delay) };
        // Fails for times that no Duration turns into, and for descriptors that are no timers.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &value);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn to_timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// From now on reading and writing do not wait, but fail with `WouldBlock`. Holds for everybody who
/// has this pipe or socket open through the same `open(2)`.
///
/// # Errors
/// When the descriptor is not open.
pub fn never_wait(fd: impl AsFd) -> Result<(), Error> {
    let flags = rustix::fs::fcntl_getfl(&fd).map_err(Error::call("fcntl(F_GETFL)"))?;
    rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)
        .map_err(Error::call("fcntl(F_SETFL)"))
}

/// Whether a descriptor is readable now.
///
/// # Errors
/// Only for reasons that are bugs.
pub fn is_readable(fd: impl AsFd) -> Result<bool, Error> {
    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&now)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(Error::call("poll")(errno)),
    }
}

/// Whether what is written there reaches nobody: a pipe without a reader, a socket whose other end
/// is closed, a terminal that was hung up.
///
/// # Errors
/// Only for reasons that are bugs.
pub fn is_unread(fd: impl AsFd) -> Result<bool, Error> {
    use rustix::event::PollFlags;
    let mut fds = [rustix::event::PollFd::new(&fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&now)) {
        Ok(_) => Ok(fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(Error::call("poll")(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_is_heard_once() {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        poller.add(&waker, 7, Trigger::Level).unwrap();
        let at_once = Some(Duration::ZERO);
        assert_eq!(poller.wait(at_once).unwrap().len(), 0);
        waker.wake();
        waker.wake();
        assert_eq!(poller.wait(None).unwrap(), [7]);
        waker.reset();
        assert_eq!(poller.wait(at_once).unwrap().len(), 0);
    }

    #[test]
    fn who_never_waits_is_told_that_there_is_nothing() {
        use std::io::{ErrorKind, Read, Write};
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        never_wait(&reader).unwrap();
        never_wait(&writer).unwrap();
        let nothing = reader.read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        let full = (0..1024).find_map(|_| writer.write(&[0; 4096]).err()).unwrap();
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        assert_eq!(reader.read(&mut [0]).unwrap(), 1);
    }

    #[test]
    fn a_pipe_is_unread_when_its_reader_is_gone() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(!is_unread(&writer).unwrap());
        drop(reader);
        assert!(is_unread(&writer).unwrap());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_unread(&file).unwrap());
    }
}
