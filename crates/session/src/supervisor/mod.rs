//! The supervisor: the one owner of a session's state.

mod attaching;
mod following;
mod group;
mod vigil;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use capture::{Ending, Event, Pipeline, far::MAX_NOTICES};
use crossbeam_channel::Receiver;
use filter::Never;
use model::{LinkType, Target};
use sys::{
    poll::{Poller, Trigger, Waker},
    process::PidFd,
    signals::{Arrival, Signal},
};

use self::{
    attaching::{Left, open_all},
    following::Following,
    group::Group,
    vigil::Vigil,
};
use crate::{
    CommandEnd, Error, Failed, Notice, Observer, Outcome, Request,
    entrance::Entrance,
    follower::Follower,
    interrupt::unless_interrupted,
    naming::Since,
    resolve::Resolved,
    rings::Rings,
    roster::Roster,
    runner::{News, Runner},
    sandboxes::Sandboxes,
    stage::{Parts, Stage, prepare},
    status::{EngineState, Report},
};

/// Between two looks at namespaces that are known by path only.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Signals that come so soon behind the first are the same request: whoever ends a process and its
/// group, as timeout(1) does, sends two. Nobody presses ^C twice so fast.
const ONE_REQUEST: Duration = Duration::from_millis(100);
/// Between two ticks of the observer.
const TICK_EVERY: Duration = Duration::from_secs(1);

const KEY_SIGNAL: u64 = 0;
const KEY_PIPELINE: u64 = 1;
const KEY_OPENER: u64 = 2;
const KEY_RUNNER: u64 = 3;
const KEY_FOLLOWER: u64 = 4;
const KEY_STATUS: u64 = 5;
const KEY_LINK: u64 = 6;
const KEY_VIGIL: u64 = 7;
const KEY_NOTICED: u64 = 8;
/// From here on a directory of namespaces each.
const KEY_SANDBOXES: u64 = 16;
/// From here on a group each.
const KEY_TARGET: u64 = 32;

/// Captures what `request` asks for, until it ends by itself or by a signal.
///
/// Takes over the process: it gives up rights for good, and holds back signals. To be called
/// before any thread exists.
///
/// # Errors
/// When nothing could be captured. What was told to the observer as a [`Notice`] is no error.
///
/// # Privileges
/// `CAP_SYS_ADMIN`, `CAP_NET_RAW`, and `CAP_SYS_PTRACE` for processes of other users; access to the
/// engine's socket. Through a helper container the last of these alone ([`Reach`](crate::Reach)).
pub fn capture(request: Request, observer: &mut dyn Observer) -> Result<Outcome, Error> {
    let (stage, helper) = prepare(request, observer)?;
    // Before anybody is asked what there is: what comes from here on is seen.
    let sandboxes = stage.request.follows().then(|| match stage.entrance.opener() {
        Some(opener) => Sandboxes::start(opener, &stage.dial),
        None => Sandboxes::default(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Capture(capture::Error::Thread { source }))?;
    let signals = Some(&stage.signals);
    let resolved = runtime.block_on(unless_interrupted(signals, stage.resolve()))?;
    drop(runtime);
    let outcome = Supervisor::start(stage, resolved, sandboxes, observer)?.run();
    // Files are complete by now: what is waited for is the end of the container.
    drop(helper);
    outcome
}

struct Supervisor<'a> {
    stage: Parts,
    observer: &'a mut dyn Observer,
    pipeline: Pipeline,
    events: Receiver<Event>,
    waker: Waker,
    poller: Poller,
    /// What is captured, by the captures' numbers.
    groups: BTreeMap<u32, Group>,
    next_id: u32,
    /// What was captured, by name.
    left: HashMap<String, Left>,
    failed: Vec<Failed>,
    rings: Rings,
    /// The host on which captures are.
    host: String,
    /// Link types on which the expression matches nothing, as long as that was not told.
    never: Vec<Never>,
    /// The expression, or the kernel, has to leave some link type's frames to us.
    judged_here: bool,
    /// What addresses are called, as told last.
    names: Vec<(IpAddr, String)>,
    /// `None` where the set of targets is fixed.
    following: Option<Following>,
    /// `Some` where the helper is inside of the only target.
    vigil: Option<Vigil>,
    /// Nothing new is captured any more.
    stopping: bool,
    /// Since when somebody has asked for the end.
    interrupted: Option<Instant>,
    all_ended: bool,
    opener_gone: bool,
    opener_watch: Option<PidFd>,
    /// The command of `--run` is started as soon as nothing that it makes is missed.
    command_waits: bool,
    /// It has not ended.
    command_runs: bool,
    /// What became of it.
    command: Option<CommandEnd>,
}

impl<'a> Supervisor<'a> {
    fn start(
        stage: Stage,
        resolved: Resolved,
        sandboxes: Option<Sandboxes>,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, Error> {
        for selector in &resolved.idle_exclusions {
            observer.notice(Notice::ExcludesNothing { selector });
        }
        for container in &resolved.not_running {
            let (name, state) = (&*container.name, &*container.state.to_string());
            observer.notice(match sandboxes {
                Some(_) => Notice::WaitedFor { name, state },
                None => Notice::NotRunning { name, state },
            });
        }
        let count = resolved.targets.len();
        let chosen: Vec<_> =
            resolved.targets.iter().filter_map(Target::as_container).cloned().collect();
        let rings = Rings::new(&stage.request, &stage.plan);
        let host = stage.entrance.host();
        let mut failed = Vec::new();
        let entrance = (&stage.entrance, &stage.signals);
        let found = open_all(entrance, resolved.targets, &rings.spec(count), &mut failed)?;
        for failure in &failed {
            observer.notice(Notice::Failed(failure));
        }
        // Whoever waits for what is to come begins with nothing.
        if found.is_empty() && (sandboxes.is_none() || !failed.is_empty()) {
            let not_permitted =
                failed.iter().all(|failure| matches!(failure.error, Error::NotPermitted { .. }));
            if count == 1
                && let Some(only) = failed.pop()
            {
                return Err(only.error);
            }
            return Err(Error::NoneAttached { count, not_permitted });
        }

        let waker = Waker::new()?;
        let outputs = if stage.request.split { found.len() } else { 1 };
        let never = stage.plan.never().to_vec();
        let judged_here = [LinkType::ETHERNET, LinkType::RAW]
            .iter()
            .any(|link_type| stage.plan.in_user_space(*link_type).is_some());
        let (config, stage) = stage.into_parts();
        let (pipeline, events) = Pipeline::start(config, outputs, waker.clone())?;
        let request = &stage.request;
        let following = match sandboxes {
            Some(mut sandboxes) => {
                let not_running = resolved.not_running.iter();
                let ids = chosen.iter().chain(not_running).map(|container| container.id.clone());
                let mut roster = Roster::new(&request.selection, ids);
                for container in &chosen {
                    roster.learn(container);
                    if let Some(opener) = stage.entrance.opener() {
                        sandboxes.learn(&container.sandbox_key, opener);
                    }
                }
                let dial = Arc::clone(&stage.dial);
                let filters = request.selection.filters.clone();
                let follower = Follower::start(request.endpoint.clone(), dial, filters)?;
                Some(Following::new(follower, sandboxes, roster))
            }
            None => None,
        };
        let inside = stage.entrance.inside();
        let vigil = inside.map(|container| Vigil::start(&stage, container)).transpose()?;
        let mut supervisor = Self {
            stage,
            observer,
            pipeline,
            events,
            waker,
            poller: Poller::new()?,
            groups: BTreeMap::new(),
            next_id: 0,
            left: HashMap::new(),
            failed,
            rings,
            host,
            never,
            judged_here,
            names: Vec::new(),
            following,
            vigil,
            stopping: false,
            interrupted: None,
            all_ended: false,
            opener_gone: false,
            opener_watch: None,
            command_waits: false,
            command_runs: false,
            command: None,
        };
        supervisor.command_waits = supervisor.stage.request.run.is_some();
        supervisor.watch()?;
        // Until the last is attached, nobody's frames are written before the others'.
        let hold = supervisor.pipeline.hold(0);
        for (group, opened) in found {
            supervisor.attach(group, opened, Since::Start, None)?;
        }
        drop(hold);
        // Behind the interfaces: what Wireshark takes for a file's encapsulation is what the first
        // blocks say.
        supervisor.pipeline.set_names(resolved.names.clone());
        supervisor.names = resolved.names;
        if let Some(snapshot) = supervisor.pipeline.snapshot() {
            supervisor.observer.started(&snapshot);
        }
        if supervisor.following.is_none() {
            supervisor.start_command()?;
        }
        Ok(supervisor)
    }

    /// Starts the command of `--run`: nothing that it makes is missed from here on.
    fn start_command(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.command_waits) {
            return Ok(());
        }
        if let (Some(command), Some(runner)) = (&self.stage.request.run, &self.stage.runner) {
            runner.start_foreground(command)?;
            self.command_runs = true;
        }
        Ok(())
    }

    fn watch(&mut self) -> Result<(), Error> {
        self.poller.add(&self.stage.signals, KEY_SIGNAL, Trigger::Level)?;
        self.poller.add(&self.waker, KEY_PIPELINE, Trigger::Level)?;
        // An opener that has already ended is told like one that ends later.
        if let Some(opener) = self.stage.entrance.opener()
            && let Ok(pidfd) = PidFd::open(opener.pid())
        {
            self.poller.add(&pidfd, KEY_OPENER, Trigger::Level)?;
            self.opener_watch = Some(pidfd);
        }
        if let Some(link) = self.stage.entrance.link() {
            self.poller.add(link, KEY_LINK, Trigger::Level)?;
        }
        if let Some(noticed) = self.stage.entrance.noticed() {
            self.poller.add(noticed, KEY_NOTICED, Trigger::Level)?;
        }
        if let Some(runner) = &self.stage.runner {
            self.poller.add(runner.channel(), KEY_RUNNER, Trigger::Level)?;
        }
        if let Some(status) = &self.stage.status {
            self.poller.add(status, KEY_STATUS, Trigger::Level)?;
        }
        if let Some(following) = &self.following {
            self.poller.add(following.follower.waker(), KEY_FOLLOWER, Trigger::Level)?;
        }
        if let Some(vigil) = &self.vigil {
            self.poller.add(vigil.waker(), KEY_VIGIL, Trigger::Level)?;
        }
        self.watch_sandboxes()
    }

    fn run(mut self) -> Result<Outcome, Error> {
        let mut looked = Instant::now();
        let mut ticked = Instant::now();
        // A capture that ends early leaves the command running.
        while !self.pipeline.has_ended() || self.command_waits || self.command_runs {
            let looks = self.groups.values().any(|group| !group.paths.is_empty());
            let tick =
                self.observer.wants_ticks().then(|| TICK_EVERY.saturating_sub(ticked.elapsed()));
            let look = looks.then(|| LOOK_EVERY.saturating_sub(looked.elapsed()));
            let sandboxes = self.following.as_ref().and_then(|f| f.sandboxes.timeout());
            let timeout = [tick, look, sandboxes].into_iter().flatten().min();
            for key in self.poller.wait(timeout)? {
                self.turn_to(key)?;
            }
            while let Ok(event) = self.events.try_recv() {
                self.hear(event);
            }
            if sandboxes.is_some() {
                self.turn_to_sandboxes()?;
            }
            if looks && looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look();
            }
            if self.observer.wants_ticks() && ticked.elapsed() >= TICK_EVERY {
                ticked = Instant::now();
                if let Some(snapshot) = self.pipeline.snapshot() {
                    self.observer.tick(&snapshot);
                }
            }
        }
        let Self {
            pipeline,
            events,
            failed,
            all_ended,
            stage,
            observer,
            command,
            following,
            vigil,
            interrupted,
            ..
        } = self;
        // They may be about to ask the opener for a connection.
        drop((following, vigil));
        let mut report = pipeline.join()?;
        if let (Some(error), Ending::Stopped, false) =
            (stage.entrance.gone(), &report.ending, interrupted.is_some())
        {
            report.ending = Ending::Failed(error);
        }
        for event in events.try_iter() {
            if let Event::FileDone { path, rotated } = event {
                file_done(&path, rotated, &stage, observer);
            } else {
                recorded(&event, &stage, observer);
            }
        }
        for news in stage.runner.iter().flat_map(Runner::last_news) {
            if let News::Complaint { command, what } = news {
                observer.notice(Notice::Command { command: &command, what: &what });
            }
        }
        let Parts { entrance, signals, status, .. } = stage;
        if let (Some(since), Entrance::Far(_)) = (interrupted, &entrance) {
            // A far side that says nothing is waited for below, and nobody has to wait for that.
            drop(status);
            while since.elapsed() < ONE_REQUEST && signals.arrived().is_some() {}
            signals.release();
        }
        drop(entrance);
        Ok(Outcome {
            snapshot: report.last,
            ending: report.ending,
            failed,
            all_targets_ended: all_ended,
            command,
        })
    }

    fn turn_to(&mut self, key: u64) -> Result<(), Error> {
        match key {
            KEY_SIGNAL => {
                while let Some(arrival) = self.stage.signals.arrived() {
                    self.obey(arrival);
                }
            }
            KEY_PIPELINE => self.waker.reset(),
            KEY_OPENER => {
                if let Some(pidfd) = self.opener_watch.take() {
                    self.poller.remove(&pidfd)?;
                    self.opener_gone = true;
                    self.observer.notice(Notice::OpenerGone);
                }
            }
            KEY_RUNNER => {
                if let Some(runner) = &self.stage.runner {
                    match runner.news() {
                        Some(News::Complaint { command, what }) => {
                            self.observer
                                .notice(Notice::Command { command: &command, what: &what });
                        }
                        Some(News::Ended(end)) => self.command_ended(end),
                        Some(_) => {}
                        None => {
                            self.poller.remove(runner.channel())?;
                            self.stage.runner = None;
                            let text =
                                "the process that runs commands has ended: none are run any more";
                            self.observer.notice(Notice::Remark { text });
                            if self.command_runs {
                                self.command_ended(CommandEnd::Unknown);
                            }
                        }
                    }
                }
            }
            KEY_STATUS => {
                if let Some(status) = &self.stage.status {
                    status.answer(&|| self.report());
                }
            }
            KEY_LINK => {
                if let Some(link) = self.stage.entrance.link() {
                    self.poller.remove(link)?;
                }
                // What has arrived is written, and the ending says why there is no more.
                self.stop();
            }
            KEY_FOLLOWER => {
                if let Some(following) = &self.following {
                    following.follower.waker().reset();
                    self.hear_news()?;
                }
            }
            KEY_VIGIL => self.keep_vigil()?,
            KEY_NOTICED => {
                // A far side that talks on and on keeps nobody else from being heard.
                let entrance = &self.stage.entrance;
                for text in (0..MAX_NOTICES).map_while(|_| entrance.next_notice()) {
                    self.observer.notice(Notice::Remark { text: &text });
                }
            }
            KEY_SANDBOXES..KEY_TARGET => self.turn_to_sandboxes()?,
            key => {
                if let Ok(id) = u32::try_from(key - KEY_TARGET) {
                    self.process_ended(id)?;
                }
            }
        }
        Ok(())
    }

    fn command_ended(&mut self, end: CommandEnd) {
        self.command_runs = false;
        self.command = Some(end);
        self.stop();
    }

    fn obey(&mut self, Arrival { signal, by_kernel }: Arrival) {
        match signal {
            Signal::Interrupt | Signal::Terminate | Signal::HangUp
                if let Some(since) = self.interrupted =>
            {
                if since.elapsed() < ONE_REQUEST {
                    return;
                }
                self.observer.interrupted_twice();
            }
            Signal::Interrupt | Signal::Terminate | Signal::HangUp if self.command_runs => {
                self.interrupted = Some(Instant::now());
                // The terminal's keys reach the command without us.
                if let (Some(runner), false) = (&self.stage.runner, by_kernel) {
                    // A runner that has gone is told elsewhere.
                    let _ = runner.signal_foreground(signal);
                }
            }
            Signal::Interrupt | Signal::Terminate | Signal::HangUp => {
                self.interrupted = Some(Instant::now());
                self.stop();
            }
            Signal::User1 => {
                if let Some(snapshot) = self.pipeline.snapshot() {
                    self.observer.counts(&snapshot);
                }
            }
            Signal::User2 => match &self.stage.request.recording {
                Some(recording) => {
                    if let Some(trigger) = recording.signalled() {
                        self.pipeline.trigger(None, trigger);
                    }
                }
                None => self.pipeline.flush(),
            },
        }
    }

    /// What is told to who asks for the status.
    fn report(&self) -> Report {
        let snapshot = self.pipeline.snapshot().unwrap_or_default();
        let mut report = Report::new(&self.stage.about, &snapshot, |source, target| {
            let Some(group) = self.groups.get(&source.id.0) else { return };
            let containers = group.targets.iter().filter_map(Target::as_container);
            target.ids = containers.map(|container| container.id.clone()).collect();
        });
        report.engine = self.following.as_ref().map(|following| match following.lost_since {
            None => EngineState::Following,
            Some(since) => EngineState::LostSince(since),
        });
        report
    }

    fn stop(&mut self) {
        self.command_waits = false;
        self.stopping = true;
        self.pipeline.stop();
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::FileDone { path, rotated } => {
                file_done(&path, rotated, &self.stage, self.observer);
            }
            Event::InterfaceCame { id, index } => self.extend(id, index),
            Event::NotAttached { id, error } => self.not_attached(id, error),
            Event::PrintingEnded => {
                let text =
                    "packets are not shown any more, and go on being written: Ctrl-C ends it";
                self.observer.notice(Notice::Remark { text });
            }
            Event::ClockStepped { nanoseconds } => {
                self.observer.notice(Notice::ClockStepped { nanoseconds });
            }
            event => recorded(&event, &self.stage, self.observer),
        }
    }
}

/// What a recorder did.
fn recorded(event: &Event, stage: &Parts, observer: &mut dyn Observer) {
    if let Some(recording) = &stage.request.recording {
        recording.hear(event, &stage.request.directory, stage.runner.as_ref(), observer);
    }
}

/// A file is complete: its name is told, and where another follows the user's command is run.
fn file_done(path: &Path, rotated: bool, stage: &Parts, observer: &mut dyn Observer) {
    observer.file_done(path);
    let (Some(command), Some(runner), true) = (&stage.request.post_rotate, &stage.runner, rotated)
    else {
        return;
    };
    if let Err(error) = runner.run(&[command, &path.to_string_lossy()]) {
        let what = error.to_string();
        observer.notice(Notice::Command { command, what: &what });
    }
}
