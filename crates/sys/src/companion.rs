//! Companions: processes of the same binary that are started before rights are given up, talk to
//! us over a channel, and end with us.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
};

use crate::{Error, channel::Channel};

/// The descriptor on which a companion finds its end of the channel.
const CHANNEL_FD: RawFd = 3;

/// Starts this very binary again under another `argv[0]`, with one end of a channel.
///
/// The companion is in a session of its own, so that a ^C in the terminal reaches it only through
/// us. It ends when our end of the channel closes.
///
/// # Errors
/// When the process cannot be started.
pub fn start(name: &OsStr) -> Result<(Child, Channel), Error> {
    start_in(Session::Own, name)
}

/// Like [`start`], for a companion whose own children are to have our terminal: it stays in our
/// session and process group. It has to hold the terminal's signals back itself
/// ([`Signals::take`](crate::signals::Signals::take)).
///
/// # Errors
/// When the process cannot be started.
pub fn start_in_our_session(name: &OsStr) -> Result<(Child, Channel), Error> {
    start_in(Session::Ours, name)
}

/// Whose terminal a companion has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Own,
    Ours,
}

fn start_in(session: Session, name: &OsStr) -> Result<(Child, Channel), Error> {
    let (ours, theirs) = Channel::pair()?;
    let fd = theirs.as_fd().as_raw_fd();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: between fork and exec only system calls are made, and none of them allocates.
    unsafe { command.pre_exec(move || hand_over(fd, session)) };
    let child = command.spawn().map_err(Error::call("exec(/proc/self/exe)"))?;
    Ok((child, ours))
}

/// In a companion: its end of the channel, once. Every other inherited descriptor is closed.
///
/// # Errors
/// When the descriptor is not there: the process was not started by [`start`].
pub fn inherited() -> Result<Channel, Error> {
    // SAFETY: asks about a number only.
    let flags = unsafe { libc::fcntl(CHANNEL_FD, libc::F_SETFD, libc::FD_CLOEXEC) };
    if flags < 0 {
        return Err(Error::call("fcntl(channel)")(io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is open, was put there for us by `start`, and is taken once, at the
    // beginning of a companion's main.
    let channel = Channel::from_fd(unsafe { OwnedFd::from_raw_fd(CHANNEL_FD) });
    crate::process::close_other_descriptors(&[0, 1, 2, CHANNEL_FD])?;
    Ok(channel)
}

fn hand_over(fd: RawFd, session: Session) -> io::Result<()> {
    if session == Session::Own {
        // SAFETY: takes nothing.
        unsafe { libc::setsid() };
    }
    // dup2 onto itself would keep close-on-exec.
    let done = if fd == CHANNEL_FD {
        // SAFETY: numbers only.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }
    } else {
        // SAFETY: numbers only; what stood at 3 is the child's copy, and not ours to keep.
        unsafe { libc::dup2(fd, CHANNEL_FD) }
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
