use std::{
    ffi::OsString,
    fs::File,
    io::Write as _,
    os::{
        fd::OwnedFd,
        unix::{
            fs::MetadataExt as _,
            process::{CommandExt, ExitStatusExt},
        },
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use model::Connection;
use sys::{
    channel::Channel,
    companion, connections,
    poll::{Poller, Trigger, is_unread},
    privileges::{self, Account},
    process::{self, PidFd, spawn_leashed, spawn_unmasked},
    signals::Signals,
};

use super::{
    News,
    message::{self, MAX_COMMAND, Order},
};
use crate::CommandEnd;

/// How often ended commands of the background are collected.
const REAP: Duration = Duration::from_millis(100);

const KEY_CHANNEL: u64 = 0;
const KEY_ENDED: u64 = 1;
const KEY_LET_GO: u64 = 2;

/// The runner's main: runs commands until the client closes its end.
///
/// # Errors
/// When the process was not started as a runner, or cannot become the user.
pub fn serve() -> Result<(), sys::Error> {
    let channel = companion::inherited()?;
    // Where it shares the caller's terminal a ^C is for the command; our end comes with the
    // channel's.
    let _held_back = Signals::take()?;
    let first = channel.receive()?;
    let user = message::parse_user(&first.bytes);
    let Some(user) = user else {
        return Err(sys::Error::Malformed { what: "a user that does not read" });
    };
    let mut account = None;
    if let Some(user) = user {
        privileges::become_user(user.uid, user.gid, &user.groups)?;
        privileges::drop_all_capabilities()?;
        account = Account::of(user.uid);
    }
    process::die_with_parent()?;
    run_commands(&channel, account.as_ref())
}

/// Runs commands until the client closes its end. They get the environment of `account`: sudo has given
/// us another user's.
pub(super) fn run_commands(channel: &Channel, account: Option<&Account>) -> Result<(), sys::Error> {
    let mut poller = Poller::new()?;
    poller.add(channel, KEY_CHANNEL, Trigger::Level)?;
    let mut jobs: Vec<Job> = Vec::new();
    let mut words = Vec::new();
    loop {
        let looks = jobs.iter().any(|job| job.pidfd.is_none());
        let keys = poller.wait(looks.then_some(REAP))?;
        if keys.contains(&KEY_LET_GO) {
            jobs.iter_mut().for_each(Job::end_if_let_go);
        }
        jobs.retain_mut(|job| !job.has_ended(channel));
        if !keys.contains(&KEY_CHANNEL) {
            continue;
        }
        let message = match channel.receive() {
            Ok(message) => message,
            Err(sys::Error::PeerGone) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some((order, text)) = Order::parse(&message.bytes) else {
            return Err(sys::Error::Malformed { what: "an order that does not read" });
        };
        if order == Order::Trace {
            let Some(stream) = std::str::from_utf8(text).ok().and_then(|it| it.parse().ok()) else {
                return Err(sys::Error::Malformed { what: "a stream's number that does not read" });
            };
            let connection = trace(stream, &jobs);
            tell(channel, &News::Traced { stream, connection });
            continue;
        }
        if order == Order::Signal {
            let foreground = jobs.iter().find(|job| job.order == Order::Foreground);
            if let (Some(signal), Some(Job { pidfd: Some(pidfd), .. })) =
                (message::parse_signal(text), foreground)
            {
                // It has just ended, or is another user's by now: either is its own affair.
                let _ = pidfd.send(signal);
            }
            continue;
        }
        words.extend_from_slice(text);
        if words.len() > MAX_COMMAND {
            return Err(sys::Error::Malformed { what: "a command above the bound" });
        }
        if order == Order::Words {
            continue;
        }
        let Some(words) = message::split(&std::mem::take(&mut words)) else {
            return Err(sys::Error::Malformed { what: "a command that does not read" });
        };
        let job = Job::start(order, &words, message.descriptors, account);
        match job {
            Ok(job) => {
                if let Some(pidfd) = &job.pidfd {
                    poller.add(pidfd, KEY_ENDED, Trigger::Level)?;
                }
                if let Some(held) = &job.held {
                    poller.add(held, KEY_LET_GO, Trigger::Level)?;
                }
                if order == Order::Foreground {
                    tell(channel, &News::Started { pid: job.child.id() });
                }
                jobs.push(job);
            }
            Err(source) if order == Order::Foreground => {
                tell(channel, &News::Ended(CommandEnd::NotStarted { source }));
            }
            // Whoever waits for it was told where it would have spoken.
            Err(_) if order == Order::Dialling => {}
            Err(error) => {
                tell(channel, &complaint(&name(&words), &error.to_string()));
                if order == Order::Reading {
                    tell(channel, &News::PrintingEnded);
                }
            }
        }
    }
}

/// The connection of the program whose input has this number, and of what it has started, if there is
/// exactly one: ssh with a master of connections has none, and who asks is told that nothing is known.
fn trace(line: u64, jobs: &[Job]) -> Option<Connection> {
    let job = jobs.iter().find(|job| job.line == Some(line))?;
    match connections::of_group(job.child.id()).ok()?.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// A command that runs.
#[derive(Debug)]
struct Job {
    order: Order,
    name: String,
    child: Child,
    /// Tells of its end at once, where somebody waits for that.
    pidfd: Option<PidFd>,
    /// Where a printing program writes to.
    stdout: Option<OwnedFd>,
    /// Of one that leads to an engine: nobody needs it when this has no reader.
    held: Option<OwnedFd>,
    /// The number of its input.
    line: Option<u64>,
}

impl Drop for Job {
    fn drop(&mut self) {
        // We end, and nobody is at the other end of its streams; others go on by themselves.
        if self.held.is_some() {
            let _ = self.child.kill();
        }
    }
}

impl Job {
    fn start(
        order: Order,
        words: &[OsString],
        descriptors: Vec<OwnedFd>,
        account: Option<&Account>,
    ) -> std::io::Result<Self> {
        let without = || std::io::Error::other("it came without its streams");
        let mut descriptors = descriptors.into_iter();
        let mut stream = || descriptors.next().ok_or_else(without);
        let mut command;
        let (mut kept, mut held) = (None, None);
        let (mut complains_to, mut number) = (None, None);
        match order {
            Order::Foreground => {
                command = Command::new(&words[0]);
                command.args(&words[1..]).stdin(stream()?).stdout(stream()?).stderr(stream()?);
            }
            Order::Reading => {
                command = Command::new(&words[0]);
                let (stdin, stdout) = (stream()?, stream()?);
                kept = Some(stdout.try_clone()?);
                command.args(&words[1..]).stdin(stdin).stdout(stdout);
            }
            Order::Dialling => {
                command = Command::new(&words[0]);
                let (line, stderr) = (File::from(stream()?), stream()?);
                number = Some(line.metadata()?.ino());
                held = Some(stream()?);
                complains_to = Some(File::from(stderr.try_clone()?));
                command.args(&words[1..]).stdin(line.try_clone()?).stdout(line).stderr(stderr);
                command.process_group(0);
            }
            _ => {
                command = Command::new("nice");
                let stdin = stream().map_or_else(|_| Stdio::null(), Stdio::from);
                command.args(["-n", "19"]).args(words).stdin(stdin);
                // Where we have the caller's terminal, its keys are not for this one.
                command.process_group(0);
            }
        }
        set_account(&mut command, account);
        // One that leads to an engine must not outlive us, whatever ends us: what is at its other end
        // may never say anything again, and it would wait for that.
        let spawn = if held.is_some() { spawn_leashed } else { spawn_unmasked };
        let child = spawn(&mut command).inspect_err(|error| {
            if let Some(complaints) = &mut complains_to {
                // Who does not listen any more does not care.
                let _ = writeln!(complaints, "cannot run {}: {error}", words[0].display());
            }
        })?;
        let watched = order != Order::Background;
        // Its number is its own until it is collected. Without one it is looked at now and then.
        let pidfd = watched.then(|| PidFd::open(child.id()).ok()).flatten();
        Ok(Self { order, name: name(words), child, pidfd, stdout: kept, held, line: number })
    }

    /// Kills it where nobody needs it any more. Its end is told like any other's.
    fn end_if_let_go(&mut self) {
        if self.held.as_ref().is_some_and(|held| is_unread(held).unwrap_or(true)) {
            self.held = None;
            let _ = self.child.kill();
        }
    }

    /// Whether it has ended, which is told then.
    fn has_ended(&mut self, channel: &Channel) -> bool {
        let ended = match self.child.try_wait() {
            Ok(None) => return false,
            Ok(Some(status)) => Ok(status),
            Err(error) => Err(error),
        };
        if self.order == Order::Dialling {
            self.held = None;
            return true;
        }
        if self.order == Order::Foreground {
            tell(channel, &News::Ended(ended.map_or(CommandEnd::Unknown, command_end)));
            return true;
        }
        let what = match ended {
            Ok(status) if status.success() => None,
            // Who looked at it has seen enough, as with `| head`.
            Ok(_) if self.stdout.as_ref().is_some_and(|out| is_unread(out).unwrap_or(false)) => {
                None
            }
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(what) = what {
            tell(channel, &complaint(&self.name, &what));
        }
        if self.order == Order::Reading {
            tell(channel, &News::PrintingEnded);
        }
        true
    }
}

/// Gives a program the environment of the user that we are: sudo has given us another one's.
fn set_account(command: &mut Command, account: Option<&Account>) {
    if let Some(account) = account {
        command.env("HOME", &account.home);
        command.env("USER", &account.name).env("LOGNAME", &account.name);
    }
}

fn command_end(status: ExitStatus) -> CommandEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => CommandEnd::Exited { code },
        (None, Some(signal)) => CommandEnd::Killed { signal },
        (None, None) => CommandEnd::Unknown,
    }
}

fn complaint(command: &str, what: &str) -> News {
    News::Complaint { command: command.to_owned(), what: what.to_owned() }
}

fn name(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn tell(channel: &Channel, news: &News) {
    // Who has gone away does not care.
    let _ = channel.send(&news.to_bytes(), &[]);
}
