use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use sys::{
    local::{self, Reached, abstract_name},
    privileges,
    process::Status,
};

use super::{Report, name};
use crate::Error;

/// The longest report that is read, in bytes.
pub const MAX_REPORT: u64 = 16 << 20;
/// How long a session may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long all of them may take together; who comes later is not waited for.
const ALL_WITHIN: Duration = Duration::from_secs(10);

/// What running sessions say.
#[derive(Debug, Default)]
pub struct Found {
    /// Their reports, the oldest session first.
    pub reports: Vec<Report>,
    /// Sessions that are there and do not answer.
    pub silent: Vec<Silent>,
}

/// A session that does not answer.
#[derive(Debug)]
pub struct Silent {
    /// Its process.
    pub pid: u32,
    /// What happened instead.
    pub why: io::Error,
}

/// Asks every session of this user, or the one of this process only; root asks everybody's. They
/// are those of this network namespace.
///
/// # Errors
/// When /proc is not mounted, or shows processes only.
pub fn ask(only: Option<u32>) -> Result<Found, Error> {
    let mut found = Found::default();
    let ends = Instant::now() + ALL_WITHIN;
    for (pid, name) in name::all()? {
        if only.is_some_and(|only| only != pid) {
            continue;
        }
        let answer = match abstract_name::connect(&name)? {
            Reached::Somebody(stream) if is_ours(&stream) => read(stream, ends),
            Reached::Busy if Status::of(pid).is_ok_and(|status| is_own(status.uid)) => {
                Err(io::ErrorKind::TimedOut.into())
            }
            // Somebody else's, or it has ended meanwhile.
            Reached::Somebody(_) | Reached::Busy | Reached::Nobody => continue,
        };
        match answer {
            Ok(report) => found.reports.push(report),
            Err(_) if matches!(abstract_name::connect(&name), Ok(Reached::Nobody)) => {}
            Err(why) => found.silent.push(Silent { pid, why }),
        }
    }
    found.reports.sort_by_key(|report| (report.since, report.pid));
    Ok(found)
}

/// Whether a session is this user's. Anybody can listen under such a name.
fn is_ours(stream: &UnixStream) -> bool {
    local::peer_uid(stream).is_ok_and(is_own) && name::is_from_here(stream)
}

fn is_own(uid: u32) -> bool {
    let own = privileges::own_uid();
    own == 0 || uid == own
}

fn read(mut stream: UnixStream, ends: Instant) -> io::Result<Report> {
    let ends = ends.min(Instant::now() + ANSWER_WITHIN);
    stream.set_nonblocking(false)?;
    let mut text = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => return serde_json::from_slice(&text).map_err(io::Error::other),
            Ok(length) => text.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
        if text.len() as u64 > MAX_REPORT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}
