//! Packet sockets: `packet(7)`.

use std::{
    ffi::c_int,
    fs::File,
    io::{self, Read},
    mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use model::{Instruction, Program};

use crate::{Error, ring::Geometry};

/// `ETH_P_ALL` of `linux/if_ether.h`.
const ETH_P_ALL: u16 = 0x0003;
/// `TPACKET_V3`, of an enumeration without a width.
const TPACKET_V3: c_int = 2;
/// `AF_PACKET` in the width of `sll_family`.
const AF_PACKET: u16 = 17;
/// `PACKET_MR_PROMISC` in the width of `mr_type`.
const PACKET_MR_PROMISC: u16 = 1;
const _: () = assert!(libc::AF_PACKET == 17 && libc::PACKET_MR_PROMISC == 1);
/// The packet sockets of the calling thread's namespace.
const LIST: &str = "/proc/thread-self/net/packet";
/// How much of the list is read, in bytes: some 900 sockets, which is more than anybody has of
/// their own.
const LIST_BOUND: u64 = 64 * 1024;

// The kernel reads the instructions of a program as `struct sock_filter`.
const _: () = {
    assert!(mem::size_of::<Instruction>() == mem::size_of::<libc::sock_filter>());
    assert!(mem::offset_of!(Instruction, code) == mem::offset_of!(libc::sock_filter, code));
    assert!(mem::offset_of!(Instruction, jt) == mem::offset_of!(libc::sock_filter, jt));
    assert!(mem::offset_of!(Instruction, jf) == mem::offset_of!(libc::sock_filter, jf));
    assert!(mem::offset_of!(Instruction, k) == mem::offset_of!(libc::sock_filter, k));
};
const _: () = assert!(mem::size_of::<libc::tpacket_req3>() == 28);
const _: () = assert!(mem::size_of::<libc::tpacket_stats_v3>() == 12);
const _: () = assert!(mem::size_of::<libc::sockaddr_ll>() == 20);

/// A packet socket of the namespace in which it was opened.
///
/// It receives nothing before [`PacketSocket::bind`], so that a program and a ring set before
/// never see a frame that the program would have refused.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// What the kernel counted on a packet socket since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames that the program accepted, dropped ones included.
    pub received: u32,
    /// Of these, frames for which the ring had no room.
    pub dropped: u32,
    /// Times that the ring was found full.
    pub freezes: u32,
}

impl PacketSocket {
    /// Opens a socket in the calling thread's namespace, deaf until it is bound: raw frames with
    /// their link-layer headers, ring format `TPACKET_V3`. Each frame has a stamp in nanoseconds,
    /// of the moment at which this socket was given it ([`PacketSocket::share_stamps`]).
    ///
    /// # Errors
    /// When the kernel refuses one of these.
    ///
    /// # Privileges
    /// `CAP_NET_RAW` in the namespace's user namespace.
    ///
    /// # Minimum kernel version
    /// 3.2
    pub fn open() -> Result<Self, Error> {
        // SAFETY: takes three numbers and returns a descriptor or -1.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(Error::call("socket(AF_PACKET)")(io::Error::last_os_error()));
        }
        // SAFETY: the call just gave us this descriptor, and nobody else has it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        let version: c_int = TPACKET_V3;
        set(&socket.0, libc::SOL_PACKET, libc::PACKET_VERSION, &version)
            .map_err(Error::call("setsockopt(PACKET_VERSION)"))?;
        Ok(socket)
    }

    /// Lets all packet sockets give one and the same stamp to an incoming frame, for as long as
    /// this one lives (`SO_TIMESTAMPNS` of `socket(7)`).
    ///
    /// Without it each socket stamps a frame for itself, and two that watch one namespace differ by
    /// some hundred nanoseconds. With it set on any socket, and in whatever namespace, the kernel
    /// stamps *every* frame that this machine receives as soon as it arrives, and all sockets take
    /// that stamp. To traffic that nobody captures this costs some 3 %, so it is for a socket that
    /// is not alone ([`PacketSocket::is_accompanied`]): it takes effect for those that came earlier
    /// as well. The kernel switches over within some milliseconds.
    ///
    /// Frames that are sent are stamped when they are copied for the sockets, either way.
    ///
    /// # Errors
    /// When the descriptor is no socket.
    pub fn share_stamps(&self) -> Result<(), Error> {
        set(&self.0, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)
            .map_err(Error::call("setsockopt(SO_TIMESTAMPNS)"))
    }

    /// Whether [`PacketSocket::share_stamps`] was called on it.
    ///
    /// # Errors
    /// When the descriptor is no socket.
    pub fn shares_stamps(&self) -> Result<bool, Error> {
        let mut value: c_int = 0;
        let mut length = length_of(&value);
        // SAFETY: both pointers are valid for writes, and length tells the size of value.
        let done = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        if done != 0 {
            return Err(Error::call("getsockopt(SO_TIMESTAMPNS)")(io::Error::last_os_error()));
        }
        Ok(value != 0)
    }

    /// Whether the calling thread's namespace has packet sockets other than these, whoever's they
    /// are and whether they are bound yet or not.
    ///
    /// Of two that open their sockets first and ask afterwards, at least one hears of the other.
    ///
    /// # Errors
    /// When /proc is not mounted, or a descriptor is no socket.
    pub fn is_accompanied(own: &[&Self]) -> Result<bool, Error> {
        let own = own
            .iter()
            .map(|socket| rustix::fs::fstat(socket).map(|stat| stat.st_ino))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::call("fstat(AF_PACKET)"))?;
        let mut list = String::new();
        File::open(LIST)
            .and_then(|file| file.take(LIST_BOUND).read_to_string(&mut list))
            .map_err(Error::path("read", LIST))?;
        Ok(has_others(&list, &own))
    }

    /// Takes a descriptor that another process opened with [`PacketSocket::open`].
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Gives the descriptor away.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Puts a program in place, in one step even while frames arrive.
    ///
    /// # Errors
    /// [`Error::ProgramTooLong`] when the kernel has not the memory for it
    /// (`/proc/sys/net/core/optmem_max`), another error when it finds it wrong.
    pub fn attach(&self, program: &Program) -> Result<(), Error> {
        let instructions = program.0.len();
        let Ok(len) = u16::try_from(instructions) else {
            return Err(Error::ProgramTooLong { instructions });
        };
        // The kernel only reads through this pointer.
        let filter = program.0.as_ptr().cast_mut().cast::<libc::sock_filter>();
        let program = libc::sock_fprog { len, filter };
        match set(&self.0, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) {
            Err(source) if source.raw_os_error() == Some(libc::ENOMEM) => {
                Err(Error::ProgramTooLong { instructions })
            }
            other => other.map_err(Error::call("setsockopt(SO_ATTACH_FILTER)")),
        }
    }

    /// Makes the ring. It is mapped with [`crate::ring::Ring::map`], by whoever has the socket.
    ///
    /// # Errors
    /// When the kernel has not the memory, or finds the geometry wrong.
    pub fn make_ring(&self, geometry: &Geometry) -> Result<(), Error> {
        set(&self.0, libc::SOL_PACKET, libc::PACKET_RX_RING, &geometry.request())
            .map_err(Error::call("setsockopt(PACKET_RX_RING)"))
    }

    /// Begins to receive: from the interface with this index, or from all of the namespace.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn bind(&self, interface: Option<u32>) -> Result<(), Error> {
        // SAFETY: plain numbers and bytes, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = AF_PACKET;
        address.sll_protocol = ETH_P_ALL.to_be();
        address.sll_ifindex = to_ifindex(interface.unwrap_or(0))?;
        // SAFETY: the address is valid for its stated length and only read.
        let done = unsafe {
            libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), length_of(&address))
        };
        if done == 0 { Ok(()) } else { Err(Error::call("bind")(io::Error::last_os_error())) }
    }

    /// Puts an interface into promiscuous mode for as long as the socket lives.
    ///
    /// # Errors
    /// When there is no such interface.
    ///
    /// # Privileges
    /// `CAP_NET_ADMIN` is not needed: `CAP_NET_RAW` opened the socket, and that suffices.
    pub fn set_promiscuous(&self, interface: u32) -> Result<(), Error> {
        let membership = libc::packet_mreq {
            mr_ifindex: to_ifindex(interface)?,
            mr_type: PACKET_MR_PROMISC,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set(&self.0, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
            .map_err(Error::call("setsockopt(PACKET_ADD_MEMBERSHIP)"))
    }

    /// What was counted since the last call: the kernel starts anew at each.
    ///
    /// # Errors
    /// When the descriptor is no packet socket.
    pub fn take_counts(&self) -> Result<Counts, Error> {
        // SAFETY: plain numbers, for which zero is a value.
        let mut stats: libc::tpacket_stats_v3 = unsafe { mem::zeroed() };
        let mut length = length_of(&stats);
        // SAFETY: both pointers are valid for writes, and length tells the size of stats.
        let done = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        };
        if done != 0 {
            return Err(Error::call("getsockopt(PACKET_STATISTICS)")(io::Error::last_os_error()));
        }
        Ok(Counts {
            received: stats.tp_packets,
            dropped: stats.tp_drops,
            freezes: stats.tp_freeze_q_cnt,
        })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a list of packet sockets has an inode that is not among these. The first line is a
/// heading, the inode stands last (`packet_seq_show` of `net/packet/af_packet.c`).
fn has_others(list: &str, own: &[u64]) -> bool {
    let inodes = list.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().last());
    inodes.into_iter().any(|inode| inode.parse().is_ok_and(|inode| !own.contains(&inode)))
}

fn to_ifindex(index: u32) -> Result<c_int, Error> {
    c_int::try_from(index).map_err(|_| Error::Malformed { what: "interface index above 2^31" })
}

/// The length of a value that is handed to the kernel.
fn length_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of_val(value)).unwrap_or(libc::socklen_t::MAX)
}

/// `setsockopt(2)` with a value of plain C layout.
fn set<T>(fd: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = length_of(value);
    // SAFETY: the pointer is valid for length bytes, which the kernel copies.
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::in_private_namespace;

    #[test]
    fn a_socket_knows_whether_it_is_alone() {
        in_private_namespace(|| {
            let ours = [PacketSocket::open().unwrap(), PacketSocket::open().unwrap()];
            let [a, b] = &ours;
            b.bind(None).unwrap();
            assert!(!PacketSocket::is_accompanied(&[a, b]).unwrap());
            assert!(PacketSocket::is_accompanied(&[a]).unwrap());
            assert!(PacketSocket::is_accompanied(&[]).unwrap());
            let elsewhere = in_private_namespace(|| PacketSocket::is_accompanied(&[]).unwrap());
            assert!(!elsewhere.unwrap(), "sockets of another namespace are no company");
            drop(ours);
            assert!(!PacketSocket::is_accompanied(&[]).unwrap());
        })
        .unwrap();
    }

    #[test]
    fn stamps_are_shared_only_when_asked_for() {
        in_private_namespace(|| {
            let socket = PacketSocket::open().unwrap();
            assert!(!socket.shares_stamps().unwrap());
            socket.share_stamps().unwrap();
            assert!(socket.shares_stamps().unwrap());
        })
        .unwrap();
    }

    #[test]
    fn a_list_of_sockets_is_read() {
        const LIST: &str = "\
            sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
            0000000000000000 3      3    0003   0     1 0      0      4711  \n\
            0000000000000000 3      3    0000   2     0 0      1000   815   \n";
        assert!(!has_others(LIST, &[815, 4711]));
        assert!(has_others(LIST, &[815]));
        assert!(has_others(LIST, &[4711, 47, 11]));
        for nothing in ["", LIST.lines().next().unwrap()] {
            assert!(!has_others(nothing, &[]));
        }
    }
}
