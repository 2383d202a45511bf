use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    io::Errno,
    net::{RecvFlags, bind, getsockname, netlink::SocketAddrNetlink, recvfrom},
};

use model::Interface;

use super::{
    message::{self, Answer},
    socket::{is_kernel, open},
};
use crate::Error;

/// What is listened to: devices, IPv4 and IPv6 addresses (`RTMGRP_` of `linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Notifications taken off the queue in one go: more wait for the next.
const BATCH: u32 = 4096;

/// Room for one notification, in bytes: a device's is some 1.5 KiB. Of a longer one the rest is
/// not read.
const DATAGRAM: usize = 16 << 10;

/// News of a namespace's devices and their addresses.
///
/// What there is now is to be asked of [`Netlink::interfaces`](super::Netlink::interfaces): a
/// notification that was lost because the queue was full costs little then. What came and went
/// before anybody asked stands only here.
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
        self.take(|_| {})
    }

    /// The devices that were up at some time since the last call, each as it was told last while it
    /// was, with the addresses that it was told to have been given: also those that are gone by now.
    /// Never waits.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub fn read(&self) -> Result<Vec<Interface>, Error> {
        let mut up: Vec<Interface> = Vec::new();
        let mut given = Vec::new();
        self.take(|mut datagram| {
            // What does not read is left out: the list of devices is what counts.
            while let Ok(Some(message)) = message::next(&mut datagram) {
                let Answer::Object { kind, payload } = message.answer else { continue };
                match kind {
                    libc::RTM_NEWLINK => {
                        let Ok(interface) = message::interface(payload) else { continue };
                        if interface.up {
                            up.retain(|known| known.index != interface.index);
                            up.push(interface);
                        }
                    }
                    libc::RTM_NEWADDR => given.extend(message::address(payload).ok().flatten()),
                    _ => {}
                }
            }
        })?;
        given.dedup();
        message::assign(&mut up, given);
        Ok(up)
    }

    /// Takes what is in the queue, and shows the kernel's datagrams.
    fn take(&self, mut each: impl FnMut(&[u8])) -> Result<bool, Error> {
        let mut changed = false;
        let mut space = vec![0; DATAGRAM];
        for _ in 0..BATCH {
            match recvfrom(&self.fd, &mut space[..], RecvFlags::DONTWAIT) {
                Ok((length, _, sender)) => {
                    if sender.is_some_and(is_kernel) {
                        changed = true;
                        each(space.get(..length).unwrap_or_default());
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => changed = true,
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(Error::call("recv(AF_NETLINK)")(errno)),
            }
        }
        Ok(changed)
    }
}

impl From<Changes> for OwnedFd {
    fn from(changes: Changes) -> Self {
        changes.fd
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
