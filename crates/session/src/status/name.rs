//! Under which names sessions listen: `whaletap/PID/RANDOM`. What cannot be guessed nobody has taken
//! before.

use std::os::unix::net::UnixStream;

use sys::{local, local::abstract_name, machine, process::PidFd};

/// What the names of all sessions begin with.
const PREFIX: &str = "whaletap/";

/// A name for this process.
pub(super) fn own() -> Result<String, sys::Error> {
    Ok(of(std::process::id(), machine::random()?))
}

pub(super) fn of(pid: u32, random: u64) -> String {
    format!("{PREFIX}{pid}/{random:016x}")
}

/// The names under which sessions of this network namespace listen, whose ever they are, with their
/// processes.
pub(super) fn all() -> Result<Vec<(u32, String)>, sys::Error> {
    let names = abstract_name::listening(PREFIX)?;
    let mut found: Vec<_> =
        names.into_iter().filter_map(|name| Some((pid(&name)?, name))).collect();
    found.sort();
    Ok(found)
}

fn pid(name: &str) -> Option<u32> {
    let (pid, _random) = name.strip_prefix(PREFIX)?.split_once('/')?;
    pid.parse().ok()
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) pid: u32,
}

/// The one at the other end, by the kernel's word; `None` where it has ended or runs in a container:
/// root of one that has the machine's network is user 0, too.
pub(super) fn peer(stream: &UnixStream) -> Option<Peer> {
    let uid = local::peer_uid(stream).ok()?;
    let process = PidFd::of_peer(stream).ok()??;
    let is_here = process.is_in_own_pid_namespace().is_ok_and(|is_here| is_here);
    is_here.then(|| Peer { uid, pid: process.pid() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_process() {
        assert_eq!(of(4711, 0xab), "whaletap/4711/00000000000000ab");
        assert_eq!(pid(&own().unwrap()), Some(std::process::id()));
        assert_ne!(own().unwrap(), own().unwrap());
        for other in ["whaletap/", "whaletap/x/1", "whaletap/1", "whaletap/-1/1", "other/1/1"] {
            assert_eq!(pid(other), None, "{other}");
        }
    }
}
