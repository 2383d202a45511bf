//! Names that are in no file system: the abstract addresses of `unix(7)`. They are of one network
//! namespace, and go with the socket that has them, however its process ends.
//!
//! Nothing guards them. Whoever is in the network namespace can take any name and connect to any,
//! root of a container with the host's network too: both ends have to ask who is at the other one.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use rustix::net::SocketAddrUnix;

use super::{Reached, reach};
use crate::Error;

/// The sockets of this process's network namespace.
const SOCKETS: &str = "/proc/thread-self/net/unix";
/// In the column of flags: it listens (`__SO_ACCEPTCON` of `linux/net.h`).
const LISTENS: u32 = 1 << 16;
/// The column of flags.
const FLAGS: usize = 3;
/// The columns before the socket's number, which is before the name.
const COLUMNS: usize = 6;

/// Listens under a name that nobody has. Accepting does not wait.
///
/// # Errors
/// When somebody has the name, or it is longer than 107 bytes.
pub fn listen(name: &str) -> Result<UnixListener, Error> {
    let address = SocketAddr::from_abstract_name(name).map_err(Error::call("bind"))?;
    let listener = UnixListener::bind_addr(&address).map_err(Error::call("bind"))?;
    listener.set_nonblocking(true).map_err(Error::call("fcntl"))?;
    Ok(listener)
}

/// Connects without waiting, like [`connect`](super::connect).
///
/// # Errors
/// When the name is longer than 107 bytes, or there are no descriptors.
pub fn connect(name: &str) -> Result<Reached, Error> {
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes());
    reach(&address.map_err(Error::call("connect"))?, Error::call("connect"))
}

/// The names under which somebody listens that begin with `prefix` and are UTF-8.
///
/// # Errors
/// When /proc is not mounted, or shows processes only.
pub fn listening(prefix: &str) -> Result<Vec<String>, Error> {
    let mut sockets = BufReader::new(File::open(SOCKETS).map_err(Error::path("open", SOCKETS))?);
    let (mut found, mut line) = (Vec::new(), Vec::new());
    while sockets.read_until(b'\n', &mut line).map_err(Error::path("read", SOCKETS))? > 0 {
        let name = std::str::from_utf8(&line).ok().and_then(name_in);
        found.extend(name.filter(|name| name.starts_with(prefix)).map(str::to_owned));
        line.clear();
    }
    Ok(found)
}

/// The abstract name of a socket that listens.
fn name_in(line: &str) -> Option<&str> {
    let mut columns = line.trim_end_matches('\n').splitn(COLUMNS + 1, ' ');
    let flags = u32::from_str_radix(columns.nth(FLAGS)?, 16).ok()?;
    // The number is padded, and the name may have blanks of its own.
    let (_number, name) = columns.last()?.trim_start().split_once(' ')?;
    name.strip_prefix('@').filter(|_| flags & LISTENS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_long_as_somebody_listens() {
        let prefix = format!("whaletap-test/{}/", std::process::id());
        let names = [format!("{prefix}a"), format!("{prefix}b c@d")];
        let seen = || {
            let mut seen = listening(&prefix).unwrap();
            seen.sort();
            seen
        };
        assert!(matches!(connect(&names[0]), Ok(Reached::Nobody)));
        let listeners = names.each_ref().map(|name| listen(name).unwrap());
        listen(&names[0]).unwrap_err();
        let near = connect(&names[1]).unwrap();
        assert!(matches!(near, Reached::Somebody(_)));
        // The accepted end has the name too, and does not listen.
        let far = listeners[1].accept().unwrap();
        assert_eq!(seen(), names);
        drop((listeners, far, near));
        assert_eq!(seen(), [""; 0]);
        assert!(matches!(connect(&names[1]), Ok(Reached::Nobody)));
    }

    #[test]
    fn long_names_are_refused() {
        listen(&"x".repeat(108)).unwrap_err();
        connect(&"x".repeat(108)).unwrap_err();
    }

    #[test]
    fn only_abstract_names_that_listen_are_taken() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01  3086 @whaletap/1/2\n";
        assert_eq!(name_in(line), Some("whaletap/1/2"));
        assert_eq!(name_in(&line.replace("1/2", "1 /@")), Some("whaletap/1 /@"));
        for other in [
            line.replace("00010000", "00000000"),
            line.replace('@', "/run/@"),
            line.replace(" @whaletap/1/2", ""),
            line.replace("01  3086 @whaletap/1/2", ""),
            "Num       RefCount Protocol Flags    Type St Inode Path\n".to_owned(),
            "\n".to_owned(),
        ] {
            assert_eq!(name_in(&other), None, "{other}");
        }
    }
}
