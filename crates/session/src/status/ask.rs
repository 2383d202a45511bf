use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use sys::{
    local::{Reached, abstract_name},
    poll::{Poller, Trigger},
    privileges,
};

use super::{Owner, Report, name, name::Peer};
use crate::Error;

/// The longest report that is read, in bytes.
pub const MAX_REPORT: usize = 16 << 20;
/// The same of all other users' sessions together, where root asks. Nobody knows what they say.
const MAX_OF_OTHERS: usize = 32 << 20;
/// How long sessions may take to answer. They are asked side by side.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long one whose queue is full is tried again, and how often. Whose it is cannot be told, so
/// only who names it waits for all of the time.
const BUSY_FOR: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_millis(20);
/// The most sessions that are asked: the user's own, and all others.
const MAX_OWN: usize = 512;
const MAX_OTHERS: usize = 256;

/// What running sessions say.
#[derive(Debug, Default)]
pub struct Found {
    /// Their reports, the oldest session first.
    pub reports: Vec<Report>,
    /// Sessions that are there and do not answer.
    pub silent: Vec<Silent>,
    /// How many more there are that could not be asked: there are too many, or they take nobody.
    pub unasked: usize,
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
/// When /proc is not mounted, or shows processes only; when there are no descriptors.
pub fn ask(only: Option<u32>) -> Result<Found, Error> {
    let (begun, mut round) = (Instant::now(), Round::new()?);
    let mut names = name::all()?;
    names.retain(|(pid, _)| only.is_none_or(|only| only == *pid));
    let patience = if only.is_some() { ANSWER_WITHIN } else { BUSY_FOR };
    loop {
        let mut busy = Vec::new();
        for (pid, name) in names {
            match abstract_name::connect(&name) {
                Ok(Reached::Somebody(stream)) => round.begin(pid, stream)?,
                Ok(Reached::Busy) => busy.push((pid, name)),
                Ok(Reached::Nobody) => {}
                // A stranger's, of whom something keeps us away.
                Err(error) if error.is_permission() => {}
                Err(error) => return Err(error.into()),
            }
        }
        names = busy;
        if begun.elapsed() >= patience {
            round.found.unasked += names.len();
            names.clear();
        }
        let left = ANSWER_WITHIN.saturating_sub(begun.elapsed());
        if left.is_zero() || (round.is_over() && names.is_empty()) {
            break;
        }
        round.listen(if names.is_empty() { left } else { left.min(AGAIN) })?;
    }
    round.found.unasked += names.len();
    Ok(round.end())
}

/// Those that are asked.
struct Round {
    own: u32,
    poller: Poller,
    asked: Vec<Option<Asked>>,
    found: Found,
    own_count: usize,
    others: usize,
    /// What other users' sessions may still say, in bytes.
    left_for_others: usize,
}

/// A session that was asked.
struct Asked {
    peer: Peer,
    stream: UnixStream,
    text: Vec<u8>,
}

impl Round {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            own: privileges::own_uid(),
            poller: Poller::new()?,
            asked: Vec::new(),
            found: Found::default(),
            own_count: 0,
            others: 0,
            left_for_others: MAX_OF_OTHERS,
        })
    }

    /// Waits for an answer, where a session of this process listens. Anybody can listen under any
    /// name.
    fn begin(&mut self, pid: u32, stream: UnixStream) -> Result<(), Error> {
        let Some(peer) = name::peer(&stream).filter(|peer| peer.pid == pid) else { return Ok(()) };
        let (count, max) = match peer.uid {
            uid if uid == self.own => (&mut self.own_count, MAX_OWN),
            _ if self.own == 0 => (&mut self.others, MAX_OTHERS),
            _ => return Ok(()),
        };
        if *count == max {
            self.found.unasked += 1;
            return Ok(());
        }
        *count += 1;
        self.poller.add(&stream, self.asked.len() as u64, Trigger::Level)?;
        self.asked.push(Some(Asked { peer, stream, text: Vec::new() }));
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.asked.iter().all(Option::is_none)
    }

    /// Reads what comes meanwhile.
    fn listen(&mut self, time: Duration) -> Result<(), Error> {
        for key in self.poller.wait(Some(time))? {
            let Some(slot) = usize::try_from(key).ok().and_then(|key| self.asked.get_mut(key))
            else {
                continue;
            };
            let Some(asked) = slot else { continue };
            let before = asked.text.len();
            let done = asked.read();
            let is_ours = asked.peer.uid == self.own;
            let more = if is_ours { 0 } else { asked.text.len() - before };
            let over = self.left_for_others.checked_sub(more);
            self.left_for_others = over.unwrap_or(0);
            let done = match over {
                None => Some(Err(io::ErrorKind::FileTooLarge.into())),
                Some(_) => done,
            };
            if let Some(done) = done
                && let Some(asked) = slot.take()
            {
                match done.and_then(|()| asked.report()) {
                    Ok(report) => self.found.reports.push(report),
                    Err(why) => self.found.silent.push(Silent { pid: asked.peer.pid, why }),
                }
            }
        }
        Ok(())
    }

    fn end(mut self) -> Found {
        let late = self.asked.into_iter().flatten();
        self.found.silent.extend(
            late.map(|asked| Silent { pid: asked.peer.pid, why: io::ErrorKind::TimedOut.into() }),
        );
        self.found.reports.sort_by_key(|report| (report.since, report.pid));
        self.found.silent.sort_by_key(|silent| silent.pid);
        self.found
    }
}

impl Asked {
    /// Reads what is there; `None` while more is to come.
    fn read(&mut self) -> Option<io::Result<()>> {
        let mut piece = [0; 16 << 10];
        // The others are to be heard as well.
        for _ in 0..64 {
            match self.stream.read(&mut piece) {
                Ok(0) => return Some(Ok(())),
                Ok(length) => self.text.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => return Some(Err(error)),
            }
            if self.text.len() > MAX_REPORT {
                return Some(Err(io::ErrorKind::FileTooLarge.into()));
            }
        }
        None
    }

    /// What it says. What the kernel knows of it is not for it to say.
    fn report(&self) -> io::Result<Report> {
        if self.text.is_empty() {
            return Err(io::Error::other("it says nothing: it refuses, or has just ended"));
        }
        let report: Result<Report, _> = serde_json::from_slice(&self.text);
        // What serde says of it has whole words of it.
        let mut report = report.map_err(|_| io::Error::other("its answer does not read"))?;
        report.pid = self.peer.pid;
        if report.user.uid != self.peer.uid {
            report.user = Owner { uid: self.peer.uid, name: None };
        }
        Ok(report)
    }
}
