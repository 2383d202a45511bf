//! Signals as a descriptor: `signalfd(2)`.

use std::{
    ffi::c_int,
    io, mem,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use crate::Error;

/// The signals that whaletap acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// ^C.
    Interrupt,
    /// What `kill` sends.
    Terminate,
    /// The terminal went away.
    HangUp,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
}

impl Signal {
    const ALL: [Self; 5] =
        [Self::Interrupt, Self::Terminate, Self::HangUp, Self::User1, Self::User2];
    /// Those that ask for the end.
    const ENDS: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::HangUp];

    pub(crate) fn number(self) -> c_int {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::HangUp => libc::SIGHUP,
            Self::User1 => libc::SIGUSR1,
            Self::User2 => libc::SIGUSR2,
        }
    }
}

/// A signal that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Which one.
    pub signal: Signal,
    /// The kernel sent it, as it does for a key of the terminal (`SI_KERNEL` of `sigaction(2)`):
    /// the other processes of the terminal's foreground group have it, too.
    pub by_kernel: bool,
}

/// Signals that are held back from their default action and read here instead.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Begins to hold back the signals of [`Signal`], but for SIGHUP where it is ignored
    /// (`nohup`).
    ///
    /// Call it before any thread exists: threads inherit it. So do children, unless they are
    /// started by [`crate::process::spawn_unmasked`].
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn take() -> Result<Self, Error> {
        let set = set_of(Signal::ALL.into_iter().filter(|signal| !stays_ignored(*signal)));
        // SAFETY: an initialised set; the old one is not wanted.
        let done =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        if done != 0 {
            return Err(Error::call("pthread_sigmask")(io::Error::from_raw_os_error(done)));
        }
        // SAFETY: an initialised set.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::call("signalfd")(io::Error::last_os_error()));
        }
        // SAFETY: the call just gave us this descriptor, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal that has arrived, if one has.
    #[must_use]
    pub fn next(&self) -> Option<Signal> {
        self.arrived().map(|arrival| arrival.signal)
    }

    /// The same with its sender.
    #[must_use]
    pub fn arrived(&self) -> Option<Arrival> {
        let mut record = [0_u8; mem::size_of::<libc::signalfd_siginfo>()];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut record));
        if read.ok()? != record.len() {
            return None;
        }
        // ssi_signo, ssi_errno and ssi_code (signalfd(2)).
        let number = c_int::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        let code = c_int::from_ne_bytes([record[8], record[9], record[10], record[11]]);
        let signal = Signal::ALL.into_iter().find(|signal| signal.number() == number)?;
        Some(Arrival { signal, by_kernel: code == libc::SI_KERNEL })
    }

    /// Whether a signal has arrived and was not taken that asks for the end: SIGINT, SIGTERM, SIGHUP.
    /// It can still be taken.
    #[must_use]
    pub fn asks_for_end(&self) -> bool {
        // SAFETY: plain numbers, for which zero is a value.
        let mut set: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: valid for writes; it cannot fail otherwise.
        unsafe { libc::sigpending(&raw mut set) };
        Signal::ENDS.into_iter().any(|signal| {
            // SAFETY: an initialised set, and a number that is a signal.
            unsafe { libc::sigismember(&raw const set, signal.number()) == 1 }
        })
    }

    /// Gives signals that ask for the end their default action back, on the calling thread: from here on
    /// one of them ends the process at once, also one that has arrived and was not taken. The others
    /// stay held back.
    pub fn release(self) {
        let set = set_of(Signal::ENDS);
        // SAFETY: an initialised set; the old one is not wanted. It fails for no set that there is.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn set_of(signals: impl IntoIterator<Item = Signal>) -> libc::sigset_t {
    // SAFETY: plain numbers, for which zero is a value.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: valid for writes.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in signals {
        // SAFETY: an initialised set, and a number that is a signal.
        unsafe { libc::sigaddset(&raw mut set, signal.number()) };
    }
    set
}

/// Who starts us with `nohup` wants us to outlive the terminal. A shell ignores the others for its
/// background jobs, and there they are sent on purpose.
fn stays_ignored(signal: Signal) -> bool {
    signal == Signal::HangUp && is_ignored(signal)
}

fn is_ignored(signal: Signal) -> bool {
    // SAFETY: plain numbers and a pointer, for which zero is a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: asks only, into memory that is valid for writes.
    unsafe { libc::sigaction(signal.number(), ptr::null(), &raw mut action) };
    action.sa_sigaction == libc::SIG_IGN
}
