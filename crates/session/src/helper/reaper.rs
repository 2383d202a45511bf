//! The reaper: a small process that waits for the end of its client, by whatever way, and removes the
//! client's helper then.
//!
//! It is the same program again, started before anything is made that would have to be removed. Where
//! both are killed at once, the reaper of a later session finds what is left ([`sweep`]).

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::Child,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use docker::{Endpoint, Engine, LeftContainer, Purpose};
use sys::{
    channel::Channel,
    companion,
    lifetime::{Lifetime, State},
    poll::{Poller, Trigger},
    privileges::{self, User},
    process::PidFd,
};

use super::{far, runtime, seat};
use crate::{Error, runner};

/// `argv[0]` of the reaper process.
pub const ARGV0: &str = "whaletap-reaper";

/// How long a client waits at its end until its helper is gone.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long an engine may take to make a container for a client that did not live to hear of it.
const MADE_WITHIN: Duration = Duration::from_secs(5);
/// How long an engine may not answer before a helper is left to a later session.
const REMOVED_WITHIN: Duration = Duration::from_secs(60);
/// Between two attempts at an engine of this machine, and at one elsewhere: each may be a log-in.
const TRY_EVERY: Duration = Duration::from_millis(50);
const TRY_ELSEWHERE_EVERY: Duration = Duration::from_millis(500);
/// How long a session has to last until it looks for what others have left: its own start comes first. A
/// shorter one looks at its end.
const SWEEPS_AFTER: Duration = Duration::from_secs(1);
/// The age at which a helper that does not run, and whose client nobody here can judge, is left over.
const STALE: Duration = Duration::from_secs(600);

/// The client's words.
const MAKES: &[u8] = b"makes";
const RUNS: &[u8] = b"runs";
const MADE_NONE: &[u8] = b"made none";

/// What is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Charge {
    /// The engine.
    pub(super) endpoint: Endpoint,
    /// Who the client is going to be, where the way to the engine depends on that: with ssh it is that
    /// person's keys which open it.
    pub(super) user: Option<User>,
    /// The container's name.
    pub(super) container: String,
    /// Our directory, where there is one.
    pub(super) directory: Option<PathBuf>,
}

impl Charge {
    /// No word has a NUL in it.
    fn encode(&self) -> Vec<u8> {
        let Self { endpoint, user, container, directory } = self;
        let mut words = endpoint.to_words().to_vec();
        words.push(runner::user_words(user.as_ref()).into());
        words.push(container.into());
        words.push(directory.clone().unwrap_or_default().into());
        words.join(OsStr::from_bytes(&[0])).as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.split(|byte| *byte == 0);
        let mut word = || words.next().map(|word| OsStr::from_bytes(word).to_owned());
        let mut endpoint = [const { OsString::new() }; Endpoint::WORDS];
        for place in &mut endpoint {
            *place = word()?;
        }
        let (user, container, directory) = (word()?, word()?, word()?);
        Some(Self {
            endpoint: Endpoint::from_words(endpoint)?,
            user: runner::parse_user(user.as_bytes())?,
            container: container.into_string().ok()?,
            directory: Some(PathBuf::from(directory)).filter(|path| !path.as_os_str().is_empty()),
        })
    }

    /// Gives up the rights of this process but for what the way to the engine takes.
    fn as_its_user(&mut self) -> Result<(), Error> {
        // Files that the client's user may not read are read while that is possible. What is wrong
        // with them is told by the client.
        if let Ok(endpoint) = self.endpoint.clone().with_secrets() {
            self.endpoint = endpoint;
        }
        if let Some(User { uid, gid, groups }) = &self.user {
            privileges::become_user(*uid, *gid, groups)?;
        }
        privileges::drop_all_capabilities()?;
        // A program that leads to the engine is the user's business, also what it runs itself.
        if self.endpoint.program().is_none() {
            privileges::no_new_privs()?;
        }
        Ok(())
    }

    /// How long to wait before the engine is asked again.
    fn pause(&self) -> Duration {
        if self.endpoint.is_socket() { TRY_EVERY } else { TRY_ELSEWHERE_EVERY }
    }
}

/// The client's side. When this is dropped everything is removed, and that is waited for.
#[derive(Debug)]
pub(super) struct Reaper {
    child: Child,
    channel: Option<Channel>,
}

impl Reaper {
    /// Starts the process: to be called while this one has a single thread.
    pub(super) fn start(charge: &Charge) -> Result<Self, Error> {
        let (child, channel) = companion::start(OsStr::new(ARGV0))?;
        channel.send(&charge.encode(), &[])?;
        Ok(Self { child, channel: Some(channel) })
    }

    /// From now on there may be a container.
    pub(super) fn makes(&self) {
        self.tell(MAKES);
    }

    /// From now on there is one.
    pub(super) fn runs(&self) {
        self.tell(RUNS);
    }

    /// The engine has said that there is none, and will be none.
    pub(super) fn made_none(&self) {
        self.tell(MADE_NONE);
    }

    /// A reaper that has been ended is not told to the user: what it would have done is done by the
    /// next session's.
    fn tell(&self, word: &[u8]) {
        if let Some(channel) = &self.channel {
            let _ = channel.send(word, &[]);
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.channel.take();
        // One that cannot reach the engine is left behind, and goes on trying.
        let ended = PidFd::open(self.child.id()).and_then(|pidfd| {
            let mut poller = Poller::new()?;
            poller.add(&pidfd, 0, Trigger::Level)?;
            Ok(!poller.wait(Some(END_LIMIT))?.is_empty())
        });
        if matches!(ended, Ok(true)) {
            let _ = self.child.wait();
        }
    }
}

/// What a client may have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No container.
    Nothing,
    /// Perhaps one, perhaps a moment later.
    Making,
    /// One.
    Running,
}

/// The reaper's main.
///
/// # Errors
/// When the process was not started as a reaper, or rights could not be given up.
pub fn serve() -> Result<(), Error> {
    let channel = companion::inherited()?;
    let Ok(first) = channel.receive() else { return Ok(()) };
    let Some(mut charge) = Charge::decode(&first.bytes) else { return Ok(()) };
    charge.as_its_user()?;
    let (stage, has_to_sweep) = attend(&channel, &charge.endpoint)?;
    if let Some(directory) = &charge.directory {
        seat::remove(directory);
    }
    let since = Instant::now();
    while stage != Stage::Nothing && since.elapsed() < REMOVED_WITHIN {
        match asked(remove(&charge, stage, has_to_sweep)) {
            Ok(Ok(true)) => break,
            Ok(Ok(false)) if stage == Stage::Running || since.elapsed() >= MADE_WITHIN => break,
            _ => thread::sleep(charge.pause()),
        }
    }
    Ok(())
}

/// Hears the client until its end. Gives what it may have left, and whether there was no time yet to
/// look for what others have.
fn attend(channel: &Channel, endpoint: &Endpoint) -> Result<(Stage, bool), Error> {
    let mut poller = Poller::new()?;
    poller.add(channel, 0, Trigger::Level)?;
    let (mut stage, mut sweeps_at) = (Stage::Nothing, None);
    loop {
        let left = sweeps_at.map(|at: Instant| at.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            sweeps_at = None;
            // It is nobody's business whether that succeeds.
            let _ = asked(async { sweep(&Engine::connect(endpoint).await?).await });
        }
        if poller.wait(left).is_ok_and(|ready| ready.is_empty()) {
            continue;
        }
        match channel.receive() {
            Ok(word) if word.bytes == MAKES => stage = Stage::Making,
            Ok(word) if word.bytes == MADE_NONE => stage = Stage::Nothing,
            Ok(word) if word.bytes == RUNS => {
                stage = Stage::Running;
                sweeps_at = Some(Instant::now() + SWEEPS_AFTER);
            }
            Ok(_) => {}
            Err(_) => return Ok((stage, sweeps_at.is_some())),
        }
    }
}

/// Does something with the engine, and leaves no connection behind: with ssh it would be a log-in
/// that stays for hours.
fn asked<T>(
    work: impl Future<Output = Result<T, docker::Error>>,
) -> Result<Result<T, docker::Error>, Error> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    // Not waiting for a look-up of the engine's own name.
    runtime.shutdown_background();
    Ok(done)
}

/// Removes a helper. `false`: there is none.
pub(super) async fn remove(
    charge: &Charge,
    stage: Stage,
    has_to_sweep: bool,
) -> Result<bool, docker::Error> {
    let engine = Engine::connect(&charge.endpoint).await?;
    let removed = match stage {
        Stage::Making if !charge.endpoint.is_socket() => {
            remove_unstarted(&engine, &charge.container).await
        }
        _ => engine.remove_helper(&charge.container).await,
    };
    if has_to_sweep {
        let _ = sweep(&engine).await;
    }
    removed
}

/// Removes a helper that perhaps was never started, and whose client perhaps was attached to it. To an
/// engine that lasts until the program ends, also when the container is gone that has never been
/// started, and with it the connection and what leads to it over there. A program whose input has ended
/// ends at once.
async fn remove_unstarted(engine: &Engine, name: &str) -> Result<bool, docker::Error> {
    // What cannot be started either is removed all the same.
    let _ = engine.start_helper(name).await;
    engine.remove_helper(name).await
}

/// Removes containers of ours whose clients are gone.
pub(super) async fn sweep(engine: &Engine) -> Result<(), docker::Error> {
    for left in engine.left_containers().await? {
        // The others may be removed all the same.
        let _ = remove_left_over(engine, &left).await;
    }
    Ok(())
}

/// Removes a container of ours whose client is gone. `false`: it is not, or the container is none of
/// ours, or not there any more.
pub(super) async fn remove_left_over(
    engine: &Engine,
    left: &LeftContainer,
) -> Result<bool, docker::Error> {
    if !is_left_over(left, SystemTime::now()) {
        return Ok(false);
    }
    match engine.purpose(&left.id).await? {
        None => Ok(false),
        // The only one that has a client attached. What others would run is not to be run by nobody.
        Some(Purpose::Helper { words }) if words == [far::WORDS] && !left.is_live => {
            remove_unstarted(engine, &left.id).await
        }
        Some(_) => engine.remove_helper(&left.id).await,
    }
}

/// Whether a container's client is gone. Of clients on other machines, in other pid namespaces and of
/// days before the last start of the machine nobody here knows that: their containers end by themselves,
/// so only what was made and never started is left of them.
fn is_left_over(left: &LeftContainer, now: SystemTime) -> bool {
    let state = left.owner.parse::<Lifetime>().and_then(|lifetime| lifetime.state());
    match state {
        Ok(State::Runs) => false,
        Ok(State::Over) => true,
        Ok(State::Elsewhere) | Err(_) => {
            let made = Duration::from_secs(u64::try_from(left.created).unwrap_or(0));
            let age = now.duration_since(UNIX_EPOCH + made).unwrap_or_default();
            !left.is_live && age >= STALE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_reads_back() {
        let charge = Charge {
            endpoint: Endpoint::unix("/run/docker sock"),
            user: None,
            container: "whaletap-1-2-3".into(),
            directory: Some("/tmp/x".into()),
        };
        assert_eq!(Charge::decode(&charge.encode()), Some(charge.clone()));
        let options = docker::EndpointOptions {
            hosts: vec!["tcp://far:2376".to_owned()],
            tls: true,
            tls_key: Some("/keys/key.pem".into()),
            ..docker::EndpointOptions::default()
        };
        let elsewhere = Charge {
            endpoint: Endpoint::resolve(&options, |_| None).unwrap(),
            user: Some(User { uid: 1000, gid: 100, groups: vec![4] }),
            directory: None,
            ..charge
        };
        assert_eq!(Charge::decode(&elsewhere.encode()), Some(elsewhere));
        assert_eq!(Charge::decode(b"a\0b"), None);
    }

    #[test]
    fn only_what_is_left_over_is_removed() {
        let own = Lifetime::own().unwrap().to_string();
        let (world, start) = own.rsplit_once('.').unwrap();
        let over = format!("{world}.{}", start.parse::<u64>().unwrap() + 1);
        let elsewhere = format!("00000000{}", &own[8..]);
        let now = SystemTime::now();
        let seconds = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let left = |owner: &str, is_live, age: u64| {
            let created = i64::try_from(seconds - age).unwrap();
            let (id, owner) = ("ab".to_owned(), owner.to_owned());
            is_left_over(&LeftContainer { id, owner, is_live, created }, now)
        };
        assert!(!left(&own, true, 9999) && !left(&own, false, 9999), "a client that runs");
        assert!(left(&over, true, 0) && left(&over, false, 0), "one that has ended");
        for unknown in [&*elsewhere, "whoever"] {
            assert!(!left(unknown, true, 9999), "{unknown}: it may be in use");
            assert!(!left(unknown, false, 60), "{unknown}: it may be about to be started");
            assert!(left(unknown, false, 9999), "{unknown}: it was never started");
        }
    }
}
