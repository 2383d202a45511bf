use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use model::Interface;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::AddressMessage,
    link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink,
        recvfrom, sendto, socket_with,
    },
};

use super::message::{self, Answer};
use crate::Error;

/// The kernel answers within this, or the request has failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How often a list that changed while it was made is made again.
const LIST_ATTEMPTS: u32 = 16;

/// A datagram longer than this is refused, in bytes. The kernel's own are of 32 KiB at most, except
/// for a device with very many virtual functions.
const DATAGRAM_LIMIT: usize = 1024 * 1024;

/// Room that the kernel may fill with one datagram of a list, in bytes (`netlink_recvmsg` sizes the
/// next one by what was offered, up to 32 KiB).
const DATAGRAM_ROOM: usize = 32 * 1024;

/// Opens a netlink socket in the calling thread's network namespace, which it then speaks for.
///
/// # Errors
/// When there is no memory or no descriptor left.
pub fn open() -> Result<OwnedFd, Error> {
    // No protocol is protocol 0: NETLINK_ROUTE.
    socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .map_err(Error::call("socket(AF_NETLINK)"))
}

/// Questions to a network namespace about its devices.
#[derive(Debug)]
pub struct Netlink {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// A socket of one's own, in the calling thread's network namespace.
    ///
    /// # Errors
    /// As for [`open`].
    pub fn open() -> Result<Self, Error> {
        open().map(Self::from_fd)
    }

    /// Takes a socket that [`open`] made, here or in another process and namespace.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd, sequence: 0, buffer: Vec::new() }
    }

    /// All devices of the namespace, in the kernel's order, with their addresses.
    ///
    /// # Errors
    /// When the kernel refuses or does not answer within 5 s, when an answer cannot be read, and
    /// when the devices change during 16 attempts in a row.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        for _ in 0..LIST_ATTEMPTS {
            if let Some(interfaces) = self.list(deadline)? {
                return Ok(interfaces);
            }
        }
        Err(Error::Netlink { what: "the devices change faster than they can be listed" })
    }

    /// Brings a device up (`IFF_UP`).
    ///
    /// # Errors
    /// When there is no such device, or the right is missing.
    ///
    /// # Privileges
    /// `CAP_NET_ADMIN` over the namespace, of this process and of the one that opened the socket.
    pub fn set_up(&mut self, index: u32) -> Result<(), Error> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        let request = RouteNetlinkMessage::SetLink(link);
        let deadline = Instant::now() + ANSWER_LIMIT;
        self.ask("netlink(RTM_SETLINK)", request, NLM_F_ACK, deadline, |_, _| Ok(())).map(drop)
    }

    /// One attempt. `None` when the devices changed meanwhile.
    fn list(&mut self, deadline: Instant) -> Result<Option<Vec<Interface>>, Error> {
        let mut link = LinkMessage::default();
        // Statistics are half of a link message, and nobody reads them here.
        link.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let request = RouteNetlinkMessage::GetLink(link);
        let mut interfaces = Vec::new();
        let steady =
            self.ask("netlink(RTM_GETLINK)", request, NLM_F_DUMP, deadline, |kind, payload| {
                if kind == libc::RTM_NEWLINK {
                    interfaces.push(message::interface(payload)?);
                }
                Ok(())
            })?;
        if !steady {
            return Ok(None);
        }
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut addresses = Vec::new();
        let steady =
            self.ask("netlink(RTM_GETADDR)", request, NLM_F_DUMP, deadline, |kind, payload| {
                if kind == libc::RTM_NEWADDR {
                    addresses.extend(message::address(payload)?);
                }
                Ok(())
            })?;
        message::assign(&mut interfaces, addresses);
        Ok(steady.then_some(interfaces))
    }

    /// Sends a request and reads its answer to the end. Whether nothing changed while it was made.
    ///
    /// The answer is read to its end even when `each` fails: the rest of it would stand before the
    /// next answer.
    fn ask(
        &mut self,
        call: &'static str,
        request: RouteNetlinkMessage,
        flags: u16,
        deadline: Instant,
        mut each: impl FnMut(u16, &[u8]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = message::encode(request, NLM_F_REQUEST | flags, self.sequence);
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::io::retry_on_intr(|| sendto(&self.fd, &request, SendFlags::empty(), &kernel))
            .map_err(Error::call(call))?;
        let mut steady = true;
        let mut outcome = Ok(());
        loop {
            self.receive(deadline)?;
            let mut datagram = self.buffer.as_slice();
            while let Some(message) = message::next(&mut datagram)? {
                if message.sequence != self.sequence {
                    // The rest of an answer that was given up earlier.
                    continue;
                }
                steady &= !message.interrupted;
                match message.answer {
                    Answer::Object { kind, payload } if outcome.is_ok() => {
                        outcome = each(kind, payload);
                    }
                    Answer::Object { .. } | Answer::Noop => {}
                    Answer::Refused(errno) => return Err(message::refusal(call, errno)),
                    Answer::Done => return outcome.map(|()| steady),
                }
            }
        }
    }

    /// Reads the kernel's next datagram, whole, into the buffer.
    fn receive(&mut self, deadline: Instant) -> Result<(), Error> {
        loop {
            await_readable(self.fd.as_fd(), deadline)?;
            let peek = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
            let length = match recvfrom(&self.fd, &mut [0; 0], peek) {
                Ok((_, length, _)) if length > DATAGRAM_LIMIT => {
                    return Err(Error::Netlink { what: "a datagram of more than 1 MiB" });
                }
                Ok((_, length, _)) => length,
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(errno) => return Err(Error::call("recv(AF_NETLINK)")(errno)),
            };
            self.buffer.resize(length.max(DATAGRAM_ROOM), 0);
            match recvfrom(&self.fd, self.buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                // A privileged process of the target can send to this socket, too: only the
                // kernel is believed.
                Ok((_, length, Some(sender))) if is_kernel(sender.clone()) => {
                    self.buffer.truncate(length);
                    return Ok(());
                }
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(Error::call("recv(AF_NETLINK)")(errno)),
            }
        }
    }
}

impl From<Netlink> for OwnedFd {
    fn from(netlink: Netlink) -> Self {
        netlink.fd
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a datagram's sender is the kernel: port 0.
pub(super) fn is_kernel(sender: rustix::net::SocketAddrAny) -> bool {
    SocketAddrNetlink::try_from(sender).is_ok_and(|sender| sender.pid() == 0)
}

fn await_readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<(), Error> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let source = io::Error::from(io::ErrorKind::TimedOut);
            return Err(Error::Call { call: "recv(AF_NETLINK)", source });
        }
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], left.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(Error::call("poll")(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Child, Command, Stdio},
        thread,
    };

    use super::*;
    use crate::netns::in_private_namespace;

    /// `ip` with these lines as its commands, in the calling thread's namespace.
    fn ip(commands: &str) -> Child {
        let mut ip =
            Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        ip.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        ip
    }

    #[test]
    fn a_list_that_changed_meanwhile_is_made_again() {
        in_private_namespace(|| {
            // Enough for a list of many datagrams.
            let many: String = (0..2000)
                .map(|n| format!("addr add 10.{}.{}.1/32 dev lo\n", n / 250, n % 250))
                .collect();
            assert!(ip(&many).wait().unwrap().success());
            let mut netlink = Netlink::open().unwrap();
            netlink.interfaces().unwrap();
            assert_eq!(netlink.sequence, 2, "a list takes two questions");

            let churn = "addr add 10.99.0.1/32 dev lo\naddr del 10.99.0.1/32 dev lo\n".repeat(2000);
            thread::scope(|scope| {
                let churning = scope.spawn(|| ip(&churn).wait().unwrap().success());
                let mut lists = 1;
                while netlink.sequence == 2 * lists && !churning.is_finished() {
                    match netlink.interfaces() {
                        Ok(interfaces) => assert!(interfaces[0].addresses.len() >= 2001),
                        // Sixteen attempts in vain are allowed, too.
                        Err(Error::Netlink { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    lists += 1;
                }
                assert!(netlink.sequence > 2 * lists, "{lists} lists, none made again");
                assert!(churning.join().unwrap());
            });
        })
        .unwrap();
    }
}
