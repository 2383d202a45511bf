//! The runner: the companion that runs the user's commands.
//!
//! It is started before rights are given up and becomes the user, so that commands run with the
//! user's uid, outside of Landlock, and without our descriptors.

use std::{
    ffi::OsStr,
    fs::File,
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use sys::{
    channel::Channel,
    companion,
    poll::{Poller, Trigger},
    privileges::{self, User},
    process,
};

use crate::Error;

/// `argv[0]` of the runner process.
pub const ARGV0: &str = "whaletap-runner";

/// The most words of a command, and bytes of one: a message has 64 KiB.
const MAX_WORDS: usize = 256;
/// How long the end waits for what becomes of the last command.
const LAST_COMPLAINTS: Duration = Duration::from_millis(250);
/// How often ended commands are collected.
const REAP: Duration = Duration::from_millis(100);
/// First word of the first message: the user to become follows, or nobody.
const USER: &str = "user";
/// First word of a message that is a command in the background.
const BACKGROUND: &[u8] = b"background";
/// The same for a command that reads from a pipe and writes to an output that come along.
const READING: &[u8] = b"reading";

/// A running runner process. It ends when this is dropped; the commands go on.
#[derive(Debug)]
pub(crate) struct Runner {
    channel: Channel,
    _child: Child,
}

impl Runner {
    /// Starts it. Its first message is the user to become.
    pub(crate) fn start(user: Option<&User>) -> Result<Self, Error> {
        let (child, channel) = companion::start(OsStr::new(ARGV0))?;
        let mut first = String::from(USER);
        for id in
            user.iter().flat_map(|user| [user.uid, user.gid].into_iter().chain(user.groups.clone()))
        {
            first += &format!(" {id}");
        }
        channel.send(first.as_bytes(), &[])?;
        Ok(Self { channel, _child: child })
    }

    /// Runs a command with the lowest priority. What becomes of it is told by
    /// [`Runner::complaint`].
    pub(crate) fn run(&self, command: &[&str]) -> Result<(), Error> {
        Ok(self.channel.send(&message(BACKGROUND, command), &[])?)
    }

    /// Runs a command that reads from `stdin` and writes to our standard output.
    pub(crate) fn run_reading(&self, command: &[&str], stdin: &File) -> Result<(), Error> {
        // The runner's own standard output leads nowhere.
        let stdout = std::io::stdout();
        Ok(self.channel.send(&message(READING, command), &[stdin.as_fd(), stdout.as_fd()])?)
    }

    /// What to wait on for [`Runner::complaint`].
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// What is complained of within a moment after the last command. Commands that run longer go
    /// on by themselves, and nobody is left to hear of them.
    pub(crate) fn last_complaints(&self) -> Vec<(String, String)> {
        let mut complaints = Vec::new();
        let Ok(mut poller) = Poller::new() else { return complaints };
        if poller.add(&self.channel, 0, Trigger::Level).is_err() {
            return complaints;
        }
        while poller.wait(Some(LAST_COMPLAINTS)).is_ok_and(|keys| !keys.is_empty()) {
            match self.complaint() {
                Some(complaint) => complaints.push(complaint),
                None => break,
            }
        }
        complaints
    }

    /// A command that failed: the command, and how. To be called when the channel is readable;
    /// `None` when the runner has ended.
    pub(crate) fn complaint(&self) -> Option<(String, String)> {
        let message = self.channel.receive().ok()?;
        let text = String::from_utf8_lossy(&message.bytes).into_owned();
        let (command, what) = text.split_once('\0')?;
        Some((command.to_owned(), what.to_owned()))
    }
}

fn message(kind: &[u8], command: &[&str]) -> Vec<u8> {
    let mut bytes = kind.to_vec();
    for word in command {
        bytes.push(0);
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes
}

/// The runner's main: runs commands until the client closes its end.
///
/// # Errors
/// When the process was not started as a runner, or cannot become the user.
pub fn serve() -> Result<(), sys::Error> {
    let channel = companion::inherited()?;
    let first = channel.receive()?;
    if let Some(user) = parse_user(&first.bytes)? {
        privileges::become_user(user.uid, user.gid, &user.groups)?;
        privileges::drop_all_capabilities()?;
    }
    process::die_with_parent()?;
    let mut poller = Poller::new()?;
    poller.add(&channel, 0, Trigger::Level)?;
    let mut running: Vec<(String, Child)> = Vec::new();
    loop {
        let timeout = (!running.is_empty()).then_some(REAP);
        let asked = !poller.wait(timeout)?.is_empty();
        running.retain_mut(|(name, child)| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) if status.success() => false,
            Ok(Some(status)) => complain(&channel, name, &status.to_string()),
            Err(error) => complain(&channel, name, &error.to_string()),
        });
        if !asked {
            continue;
        }
        let message = match channel.receive() {
            Ok(message) => message,
            Err(sys::Error::PeerGone) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some((kind, words)) = parse_command(&message.bytes) else {
            return Err(sys::Error::Malformed { what: "a command that does not read" });
        };
        let mut descriptors = message.descriptors.into_iter();
        let started = if kind == BACKGROUND {
            Command::new("nice").args(["-n", "19"]).args(&words).stdin(Stdio::null()).spawn()
        } else {
            let (Some(stdin), Some(stdout)) = (descriptors.next(), descriptors.next()) else {
                return Err(sys::Error::Malformed { what: "a reading command without its pipes" });
            };
            Command::new(&words[0]).args(&words[1..]).stdin(stdin).stdout(stdout).spawn()
        };
        match started {
            Ok(child) => running.push((words.join(" "), child)),
            Err(error) => {
                complain(&channel, &words.join(" "), &error.to_string());
            }
        }
    }
}

/// Tells of a failure. `false`, as the command is no longer running.
fn complain(channel: &Channel, command: &str, what: &str) -> bool {
    // Who has gone away does not care.
    let _ = channel.send(format!("{command}\0{what}").as_bytes(), &[]);
    false
}

fn parse_user(bytes: &[u8]) -> Result<Option<User>, sys::Error> {
    let wrong = sys::Error::Malformed { what: "a user that does not read" };
    let Some(text) = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_prefix(USER))
    else {
        return Err(wrong);
    };
    let ids: Result<Vec<u32>, _> = text.split_whitespace().map(str::parse).collect();
    match ids.as_deref() {
        Ok([]) => Ok(None),
        Ok([uid, gid, groups @ ..]) => {
            Ok(Some(User { uid: *uid, gid: *gid, groups: groups.to_vec() }))
        }
        _ => Err(wrong),
    }
}

fn parse_command(bytes: &[u8]) -> Option<(&[u8], Vec<String>)> {
    let mut parts = bytes.split(|byte| *byte == 0);
    let kind = parts.next().filter(|kind| *kind == BACKGROUND || *kind == READING)?;
    let words: Option<Vec<String>> =
        parts.map(|word| String::from_utf8(word.to_vec()).ok()).collect();
    words.filter(|words| !words.is_empty() && words.len() <= MAX_WORDS).map(|words| (kind, words))
}
