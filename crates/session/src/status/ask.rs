use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use sys::{
    local::{self, Reached},
    privileges,
};

use super::{Report, place};

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

/// Asks every session of this user, or the one of this process only; root asks everybody's.
/// `runtime` is `XDG_RUNTIME_DIR`. Sockets that ended sessions have left are removed on the way.
#[must_use]
pub fn ask(runtime: Option<&Path>, only: Option<u32>) -> Found {
    let mut found = Found::default();
    let ends = Instant::now() + ALL_WITHIN;
    for directory in place::all(runtime, privileges::own_uid()) {
        for (pid, path) in place::sockets(&directory) {
            if only.is_some_and(|only| only != pid) {
                continue;
            }
            let answer = match local::connect(&path) {
                Ok(Reached::Somebody(stream)) => read(stream, ends),
                Ok(Reached::Busy) => Err(io::ErrorKind::TimedOut.into()),
                Ok(Reached::Nobody) => {
                    place::sweep_one(pid, &path);
                    continue;
                }
                // Somebody else's.
                Err(error) if error.is_permission() => continue,
                Err(error) => Err(io::Error::other(error)),
            };
            match answer {
                Ok(report) => found.reports.push(report),
                // It has ended meanwhile.
                Err(_) if !path.exists() => {}
                Err(why) => found.silent.push(Silent { pid, why }),
            }
        }
    }
    found.reports.sort_by_key(|report| (report.since, report.pid));
    found
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
