//! Sockets of this machine (`unix(7)`), as far as the standard library lacks something: a connection
//! that waits for nobody, who is at its other end, and names that are in no file system.

pub mod abstract_name;

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt::socket_peercred},
};

use crate::Error;

/// What stands behind the name of a socket.
#[derive(Debug)]
pub enum Reached {
    /// Somebody listens, and will accept this connection. It does not wait when it is read.
    Somebody(UnixStream),
    /// Somebody listens, and has not accepted those before.
    Busy,
    /// Nobody listens any more, or there is no socket.
    Nobody,
}

/// Connects to a socket in the file system without waiting: a queue that is full (`EAGAIN`) is not
/// stood in.
///
/// # Errors
/// When the calling user may not connect, or the name is longer than 107 bytes.
pub fn connect(path: &Path) -> Result<Reached, Error> {
    let address = SocketAddrUnix::new(path).map_err(Error::path("connect", path))?;
    reach(&address, Error::path("connect", path))
}

fn reach(address: &SocketAddrUnix, failed: impl FnOnce(Errno) -> Error) -> Result<Reached, Error> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(Error::call("socket"))?;
    match rustix::net::connect(&socket, address) {
        Ok(()) => Ok(Reached::Somebody(socket.into())),
        Err(Errno::AGAIN) => Ok(Reached::Busy),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(Reached::Nobody),
        Err(errno) => Err(failed(errno)),
    }
}

/// The user at the other end of a connection, as the kernel saw them when it was made
/// (`SO_PEERCRED`).
///
/// # Errors
/// When it is no connected unix socket.
pub fn peer_uid(connection: impl AsFd) -> Result<u32, Error> {
    let credentials =
        socket_peercred(connection).map_err(Error::call("getsockopt(SO_PEERCRED)"))?;
    Ok(credentials.uid.as_raw())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn who_listens_is_reached_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        assert!(matches!(connect(&path), Ok(Reached::Nobody)), "there is no socket");
        let listener = UnixListener::bind(&path).unwrap();
        let Ok(Reached::Somebody(mut near)) = connect(&path) else { panic!("somebody listens") };
        let mut byte = [0];
        let waits = near.read(&mut byte).unwrap_err();
        assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
        let (far, _) = listener.accept().unwrap();
        let me = fs::metadata("/proc/self").map(|me| std::os::unix::fs::MetadataExt::uid(&me));
        assert_eq!(peer_uid(&far).unwrap(), me.unwrap());
        // Who never accepts is busy, sooner or later, and nobody waits for it.
        let mut held = Vec::new();
        let is_busy = (0..100_000).any(|_| match connect(&path).unwrap() {
            Reached::Somebody(stream) => {
                held.push(stream);
                false
            }
            Reached::Busy => true,
            Reached::Nobody => panic!("somebody listens"),
        });
        assert!(is_busy);
        drop((listener, held));
        assert!(matches!(connect(&path), Ok(Reached::Nobody)), "nobody listens any more");
        fs::remove_file(&path).unwrap();
    }
}
