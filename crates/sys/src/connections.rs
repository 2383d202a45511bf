//! TCP connections of processes, as /proc tells them (`proc_pid_fd(5)`, `proc_pid_net(5)`).

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use model::Connection;

use crate::{Error, process};

/// The state of a connection that both sides have (`TCP_ESTABLISHED`).
const ESTABLISHED: &str = "01";
/// Where a connection's ends, its state and its socket's number stand in `/proc/PID/net/tcp`.
const LOCAL: usize = 1;
const REMOTE: usize = 2;
const STATE: usize = 3;
const INODE: usize = 9;
/// How much of a table is read, in bytes: some 110,000 connections.
const MAX_TABLE: u64 = 16 << 20;

/// The connections of a group of processes, each once. Processes that may not be looked at, or have
/// ended meanwhile, have none.
///
/// # Errors
/// When /proc cannot be read.
///
/// # Privileges
/// None for processes of the own user whose rights are no more than the caller's, unless the caller
/// is under Landlock; otherwise `CAP_SYS_PTRACE`.
pub fn of_group(group: u32) -> Result<Vec<Connection>, Error> {
    let members = process::newest()?.into_iter().filter(|pid| process::group(*pid) == Some(group));
    let (mut all, mut networks) = (HashSet::new(), HashMap::new());
    for pid in members {
        all.extend(sockets(pid));
        // The tables are a namespace's, and the same for all who are in it.
        if let Ok(network) = fs::read_link(format!("/proc/{pid}/ns/net")) {
            networks.entry(network).or_insert(pid);
        }
    }
    let mut found = Vec::new();
    for pid in networks.into_values() {
        for table in ["tcp", "tcp6"] {
            let Ok(file) = File::open(format!("/proc/{pid}/net/{table}")) else { continue };
            let lines = BufReader::new(file.take(MAX_TABLE)).lines().map_while(Result::ok);
            for connection in lines.filter_map(|line| connection(&line, &all)) {
                if !found.contains(&connection) {
                    found.push(connection);
                }
            }
        }
    }
    Ok(found)
}

/// The numbers of a process's sockets, in decimal.
fn sockets(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let number = |entry: fs::DirEntry| {
        let link = fs::read_link(entry.path()).ok()?;
        let number = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(number.to_owned())
    };
    entries.flatten().filter_map(number).collect()
}

/// The connection of a line of the kernel's table, if it is of one of these sockets.
fn connection(line: &str, sockets: &HashSet<String>) -> Option<Connection> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let field = |at: usize| fields.get(at).copied();
    if field(STATE)? != ESTABLISHED || !sockets.contains(field(INODE)?) {
        return None;
    }
    Connection::between(end(field(LOCAL)?)?, end(field(REMOTE)?)?)
}

/// `0107070A:1F90`: the words of an address as this machine has them in memory, and a port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut octets = Vec::new();
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let octets = octets.as_slice();
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).into());
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|it| Ipv6Addr::from(it).into()));
    Some(SocketAddr::new(ip.ok()?, port))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, TcpStream},
        os::{fd::OwnedFd, unix::process::CommandExt as _},
        process::{Command, Stdio},
    };

    use super::*;

    /// A program that has a connection, behind another program as with a proxy's command, and says
    /// so.
    #[test]
    fn a_groups_connections_are_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let ends = (ours.local_addr().unwrap(), ours.peer_addr().unwrap());
            let mut command = Command::new("sh");
            // What is behind the sleep keeps the shell from becoming it.
            command.args(["-c", "echo; sleep 60; true"]).process_group(0).stdout(Stdio::piped());
            let mut child = command.stdin(OwnedFd::from(ours)).spawn().unwrap();
            drop(command);
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            let found = of_group(child.id()).unwrap();
            assert_eq!(found, [Connection::between(ends.0, ends.1).unwrap()]);
            let none = of_group(u32::MAX).unwrap();
            assert_eq!(none, []);
            // The group: its sleep would outlive it.
            let group = format!("-{}", child.id());
            assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
            child.wait().unwrap();
        }
    }
}
