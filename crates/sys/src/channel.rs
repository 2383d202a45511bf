//! A message channel between two processes of ours, which also carries descriptors.
//!
//! Messages are bounded, and come whole or not at all (`SOCK_SEQPACKET`); descriptors travel
//! beside them (`SCM_RIGHTS` of `unix(7)`), and arrive close-on-exec.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::Error;

/// The longest message in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// The most descriptors beside one message; the kernel's own bound is 253.
pub const MAX_DESCRIPTORS: usize = 128;

/// One end of a channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What was received.
#[derive(Debug)]
pub struct Message {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The descriptors, in the order in which they were sent.
    pub descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Two ends that are connected with each other; both are close-on-exec.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn pair() -> Result<(Self, Self), Error> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(Error::call("socketpair"))?;
        Ok((Self(a), Self(b)))
    }

    /// Connects to whoever [listens](listen) by the name of its socket.
    ///
    /// # Errors
    /// When nobody listens there, the calling user may not connect, or the name is longer than
    /// 107 bytes.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let address = SocketAddrUnix::new(path).map_err(Error::path("connect", path))?;
        let socket = seqpacket()?;
        rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))
            .map_err(Error::path("connect", path))?;
        Ok(Self(socket))
    }

    /// Takes one end that was inherited.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Gives the descriptor away.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends one message, waiting for room.
    ///
    /// # Errors
    /// [`Error::PeerGone`] when nobody reads any more; [`Error::Malformed`] above a bound.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        if bytes.len() > MAX_MESSAGE || descriptors.len() > MAX_DESCRIPTORS {
            return Err(Error::Malformed { what: "a message above the bound" });
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let sent = rustix::io::retry_on_intr(|| {
            let message = [IoSlice::new(bytes)];
            rustix::net::sendmsg(&self.0, &message, &mut ancillary, SendFlags::NOSIGNAL)
        });
        match sent {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(Error::PeerGone),
            Err(errno) => Err(Error::call("sendmsg")(errno)),
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Error::PeerGone`] when the peer has closed its end; [`Error::Malformed`] when the message
    /// did not come whole.
    pub fn receive(&self) -> Result<Message, Error> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut message = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            rustix::net::recvmsg(&self.0, &mut message, &mut ancillary, flags)
        });
        let received = match received {
            Ok(received) => received,
            Err(rustix::io::Errno::CONNRESET) => return Err(Error::PeerGone),
            Err(errno) => return Err(Error::call("recvmsg")(errno)),
        };
        let descriptors: Vec<OwnedFd> = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(Error::Malformed { what: "a message cut short" });
        }
        if received.bytes == 0 {
            return Err(Error::PeerGone);
        }
        bytes.truncate(received.bytes);
        Ok(Message { bytes, descriptors })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Listens for the other ends of channels under a name where nothing stands yet. Who may connect is up
/// to the permissions of the file and of the directories above it. What is accepted is no stream but a
/// [`Channel`]: std's type is as good for waiting and accepting, which is the same for both.
///
/// # Errors
/// When something stands there, the directory cannot be written, or the name is longer than 107
/// bytes.
pub fn listen(path: &Path) -> Result<UnixListener, Error> {
    let address = SocketAddrUnix::new(path).map_err(Error::path("bind", path))?;
    let socket = seqpacket()?;
    rustix::net::bind(&socket, &address).map_err(Error::path("bind", path))?;
    rustix::net::listen(&socket, 1).map_err(Error::path("listen", path))?;
    Ok(socket.into())
}

fn seqpacket() -> Result<OwnedFd, Error> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
        .map_err(Error::call("socket"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_and_descriptors_arrive_together() {
        let (a, b) = Channel::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        a.send(b"take this", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut message = b.receive().unwrap();
        assert_eq!(message.bytes, b"take this");
        let writer = message.descriptors.pop().unwrap();
        assert!(rustix::io::fcntl_getfd(&writer).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        std::fs::File::from(writer).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_closed_peer_is_told() {
        let (a, b) = Channel::pair().unwrap();
        drop(a);
        assert!(matches!(b.receive().unwrap_err(), Error::PeerGone));
        assert!(matches!(b.send(b"x", &[]).unwrap_err(), Error::PeerGone));
    }

    #[test]
    fn ends_meet_under_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        Channel::connect(&path).unwrap_err();
        let listener = listen(&path).unwrap();
        listen(&path).unwrap_err();
        let far = Channel::connect(&path).unwrap();
        let near = Channel::from_fd(listener.accept().unwrap().0.into());
        far.send(b"hello", &[]).unwrap();
        assert_eq!(near.receive().unwrap().bytes, b"hello");
        assert_eq!(crate::process::peer(&near).unwrap(), Some(std::process::id()));
        drop(far);
        assert!(matches!(near.receive().unwrap_err(), Error::PeerGone));
    }

    #[test]
    fn bounds_are_kept() {
        let (a, _b) = Channel::pair().unwrap();
        let too_long = vec![0; MAX_MESSAGE + 1];
        assert!(matches!(a.send(&too_long, &[]).unwrap_err(), Error::Malformed { .. }));
    }
}
