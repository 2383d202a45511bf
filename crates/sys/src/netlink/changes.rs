use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    io::Errno,
    net::{RecvFlags, bind, getsockname, netlink::SocketAddrNetlink, recvfrom},
};

use super::socket::{is_kernel, open};
use crate::Error;

/// What is listened to: devices, IPv4 and IPv6 addresses (`RTMGRP_` of `linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Notifications taken off the queue in one go: more wait for the next.
const BATCH: u32 = 4096;

/// News of a namespace's devices and their addresses.
///
/// It only tells *that* something changed: ask [`Netlink::interfaces`](super::Netlink::interfaces)
/// what there is now. So a notification that was lost because the queue was full costs nothing.
#[derive(Debug)]
pub struct Changes {
    fd: OwnedFd,
}

impl Changes {
    /// Subscribes to the calling thread's network namespace.
    ///
    /// # Errors
    /// As for [`open`].
    pub fn open() -> Result<Self, Error> {
        Self::from_fd(open()?)
    }

    /// Subscribes by a socket that [`open`] made, here or in another process and namespace. It
    /// must be another one than that of a [`Netlink`](super::Netlink): the answers of one would
    /// be taken for the news of the other.
    ///
    /// # Errors
    /// When the descriptor is no netlink socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        // A socket that was used before has a port, and binding must name it again.
        let port = getsockname(&fd)
            .and_then(SocketAddrNetlink::try_from)
            .map_err(Error::call("getsockname(AF_NETLINK)"))?
            .pid();
        bind(&fd, &SocketAddrNetlink::new(port, GROUPS))
            .map_err(Error::call("bind(AF_NETLINK)"))?;
        Ok(Self { fd })
    }

    /// Whether something changed since the last call. Never waits; the descriptor becomes readable
    /// when it is worth calling.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub fn changed(&self) -> Result<bool, Error> {
        let mut changed = false;
        for _ in 0..BATCH {
            match recvfrom(&self.fd, &mut [0; 0], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, _, sender)) => changed |= sender.is_some_and(is_kernel),
                Err(Errno::NOBUFS) => changed = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(Error::call("recv(AF_NETLINK)")(errno)),
            }
        }
        Ok(changed)
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
