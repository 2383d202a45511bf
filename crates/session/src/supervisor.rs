//! The supervisor: the one owner of a session's state.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use capture::{
    Attachment, CaptureId, Config, Destination, Event, FileName, Pipeline, Rotation, SectionText,
};
use crossbeam_channel::Receiver;
use docker::{Engine, Host};
use filter::{Expression, Never, Plan};
use model::{LinkType, NetnsId, Target};
use opener::{Opened, Opener, Place, Reason, Scope, Spec};
use sys::{
    machine,
    netlink::Netlink,
    poll::{Poller, Trigger, Waker},
    privileges,
    process::PidFd,
    ring::Geometry,
    signals::{Signal, Signals},
};

use crate::{
    Error, Failed, Notice, Observer, Outcome, Output, Request,
    naming::{identity, joined, place},
    resolve::{self, OpenerDial, Resolved},
    rights,
    runner::{News, Runner},
    status::{About, Listener, Owner, Report, now},
};

/// Between two looks at namespaces that are known by path only.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two ticks of the observer.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// The smallest and the largest ring that a share of the ring memory makes, in bytes.
const RING: (u32, u32) = (640 << 10, 16 << 20);
/// The shortest retire timeout, and the longest.
const RETIRE: (Duration, Duration) = (Duration::from_millis(8), Duration::from_millis(64));
/// How much each ring adds to it: each ring costs a timer interrupt for each timeout.
const RETIRE_PER_RING: Duration = Duration::from_micros(640);
/// Descriptors of a capture: sockets, netlink, pidfd, epoll's own.
const DESCRIPTORS_PER_TARGET: u64 = 8;
/// Descriptors of everything else.
const DESCRIPTORS: u64 = 128;
/// Since this version of the kernel a socket for a whole namespace costs other namespaces nothing.
const CHEAP_NAMESPACE_TAPS: (u32, u32) = (6, 15);

const KEY_SIGNAL: u64 = 0;
const KEY_PIPELINE: u64 = 1;
const KEY_OPENER: u64 = 2;
const KEY_RUNNER: u64 = 3;
const KEY_STATUS: u64 = 4;
const KEY_TARGET: u64 = 16;

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
/// engine's socket.
pub fn capture(request: Request, observer: &mut dyn Observer) -> Result<Outcome, Error> {
    let stage = prepare(request, observer)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Capture(capture::Error::Thread { source }))?;
    let resolved = runtime.block_on(stage.resolve())?;
    drop(runtime);
    Supervisor::start(stage, resolved, observer)?.run()
}

/// What is ready when rights are gone and threads are not there yet.
struct Stage {
    request: Request,
    opener: Arc<Opener>,
    runner: Option<Runner>,
    signals: Signals,
    plan: Arc<Plan>,
    destination: Destination,
    print: Option<File>,
    status: Option<Listener>,
    about: About,
}

fn prepare(request: Request, observer: &mut dyn Observer) -> Result<Stage, Error> {
    rights::require("capturing")?;
    let person = rights::person()?;
    let user = person.as_ref().map(|(_, user)| user);
    let socket = match &request.endpoint.host {
        Host::Unix(path) if request.selection.needs_engine() => path.to_str(),
        _ => None,
    };
    let opener = Opener::start(socket).map_err(|source| Error::StartOpener { source })?;
    let needs_runner = request.post_rotate.is_some() || request.print.is_some();
    let runner = if needs_runner { Some(Runner::start(user)?) } else { None };
    let plan = compile(&request, observer)?;
    let (destination, mut directories) = destination(&request)?;
    let print = match (&request.print, &runner) {
        (Some(command), Some(runner)) => Some(start_printing(command, runner)?),
        _ => None,
    };
    // Behind everything that a ^C should still end: opening a FIFO waits for its reader.
    let signals = Signals::take()?;
    let targets = request.selection.selectors.len() as u64;
    // The number of targets is not known yet; what the system allows is taken whole.
    privileges::raise_descriptor_limit(DESCRIPTORS + 512 * DESCRIPTORS_PER_TARGET + targets)?;
    let user = rights::future_user(user, &directories, observer);
    let status = Listener::open(request.runtime_directory.as_deref(), user, observer);
    directories.extend(status.iter().map(|status| status.directory().to_owned()));
    rights::give_up(user, directories, request.sandbox, observer)?;
    let name = person.as_ref().filter(|_| user.is_some()).map(|(sudo, _)| sudo.name.clone());
    let about = About {
        version: request.application.clone(),
        command_line: request.command_line.clone(),
        since: now(),
        user: Owner { uid: privileges::own_uid(), name },
    };
    let (opener, plan) = (Arc::new(opener), Arc::new(plan));
    Ok(Stage { request, opener, runner, signals, plan, destination, print, status, about })
}

/// Compiles the expression. Where it has `vlan` this takes a namespace, so it is done while there
/// are rights.
fn compile(request: &Request, observer: &mut dyn Observer) -> Result<Plan, Error> {
    let wrong = |source| Error::Expression { expression: request.expression.clone(), source };
    let compiled = Expression::new(&*request.expression)
        .compile(request.snaplen, |job| sys::netns::in_private_namespace(|| job.run()))
        .map_err(wrong)?;
    let plan = Plan::compose(&compiled, request.direction).map_err(wrong)?;
    if let Some(why) = plan.in_user_space(LinkType::ETHERNET) {
        observer.notice(Notice::InUserSpace { why });
    }
    Ok(plan)
}

/// Where frames go, and the directories that files will be written to.
fn destination(request: &Request) -> Result<(Destination, Vec<std::path::PathBuf>), Error> {
    let text = match &request.output {
        Output::Stdout => {
            let stdout = std::io::stdout().as_fd().try_clone_to_owned();
            let stdout = stdout.map_err(|source| Error::Output {
                what: "cannot write to",
                path: "standard output".into(),
                source,
            })?;
            let name = "standard output".into();
            return Ok((Destination::Stream { file: stdout.into(), name }, Vec::new()));
        }
        Output::Files(text) | Output::Chosen(text) => text,
    };
    let name = FileName::new(text, &machine::hostname())?;
    let name = if matches!(request.output, Output::Chosen(_)) { name.chosen_by_us() } else { name };
    // A FIFO or a device has to be opened while there are rights, and is no file to rotate.
    let path = request.directory.join(text);
    if let Ok(metadata) = path.metadata()
        && !metadata.is_file()
    {
        let file = OpenOptions::new().write(true).open(&path).map_err(|source| Error::Output {
            what: "cannot write to",
            path: path.clone(),
            source,
        })?;
        if request.rotation != Rotation::Off || request.split {
            let source = io::Error::other("it is no file, so there is nothing to rotate or split");
            return Err(Error::Output { what: "cannot write files under", path, source });
        }
        return Ok((Destination::Stream { file, name: path }, Vec::new()));
    }
    let name = name.compressed(request.compression);
    let directory = rights::directory(&request.directory.join(name.directory()))?;
    Ok((Destination::Files { name, split: request.split }, vec![directory]))
}

fn start_printing(command: &[String], runner: &Runner) -> Result<File, Error> {
    let (reader, writer) = std::io::pipe().map_err(sys::Error::call("pipe2"))?;
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    runner.run_reading(&words, &File::from(OwnedFd::from(reader)))?;
    Ok(OwnedFd::from(writer).into())
}

impl Stage {
    async fn resolve(&self) -> Result<Resolved, Error> {
        let selection = &self.request.selection;
        if !selection.needs_engine() {
            return resolve::targets(None, selection, false).await;
        }
        let dial = Arc::new(OpenerDial(Arc::clone(&self.opener)));
        let engine =
            Engine::connect_through(&self.request.endpoint, dial, docker::DEADLINE).await?;
        resolve::targets(Some(&engine), selection, false).await
    }

    /// What the opener is asked for, where `count` namespaces share what there is.
    fn spec(&self, count: usize) -> Spec {
        let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let share = (self.request.ring_memory / count).clamp(RING.0, RING.1);
        let retire = (RETIRE_PER_RING * count).clamp(RETIRE.0, RETIRE.1);
        let each = self.request.socket_per_interface.unwrap_or_else(|| {
            machine::kernel_version().is_some_and(|version| version < CHEAP_NAMESPACE_TAPS)
        });
        let scope = if !self.request.interfaces.is_empty() {
            Scope::Named(self.request.interfaces.clone())
        } else if each {
            Scope::EachInterface
        } else {
            Scope::Namespace
        };
        Spec {
            program: self.plan.kernel().clone(),
            fallback: self.plan.prologue().clone(),
            geometry: Geometry::of_size(self.request.ring.unwrap_or(share), retire),
            scope,
            promiscuous: self.request.promiscuous,
        }
    }
}

/// A namespace that is captured.
#[derive(Debug)]
struct Group {
    netns: NetnsId,
    targets: Vec<Target>,
    /// Processes through which it was found and that have not ended.
    pidfds: Vec<OwnedFd>,
    /// Paths through which it was found, and that still lead to it.
    paths: Vec<Place>,
    /// It has no end of its own: the host.
    endless: bool,
    /// Where a socket for a further interface is opened.
    place: Place,
    running: bool,
}

struct Supervisor<'a> {
    stage: Parts,
    observer: &'a mut dyn Observer,
    pipeline: Pipeline,
    events: Receiver<Event>,
    waker: Waker,
    poller: Poller,
    groups: Vec<Group>,
    failed: Vec<Failed>,
    spec: Spec,
    /// Link types on which the expression matches nothing, as long as that was not told.
    never: Vec<Never>,
    /// The expression, or the kernel, has to leave some link type's frames to us.
    judged_here: bool,
    stopping: bool,
    all_ended: bool,
    opener_gone: bool,
    opener_watch: Option<PidFd>,
}

/// What is left of the stage.
struct Parts {
    opener: Arc<Opener>,
    runner: Option<Runner>,
    signals: Signals,
    post_rotate: Option<String>,
    status: Option<Listener>,
    about: About,
}

impl<'a> Supervisor<'a> {
    fn start(
        stage: Stage,
        resolved: Resolved,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, Error> {
        for selector in &resolved.idle_exclusions {
            observer.notice(Notice::ExcludesNothing { selector });
        }
        for container in &resolved.not_running {
            let state = container.state.to_string();
            observer.notice(Notice::NotRunning { name: &container.name, state: &state });
        }
        let count = resolved.targets.len();
        let spec = stage.spec(count);
        let mut failed = Vec::new();
        let found = open_all(&stage, resolved.targets, &spec, &mut failed);
        for failure in &failed {
            observer.notice(Notice::Failed(failure));
        }
        if found.is_empty() {
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
        let Stage { request, opener, runner, signals, plan, destination, print, status, about } =
            stage;
        let never = plan.never().to_vec();
        let judged_here = [LinkType::ETHERNET, LinkType::RAW]
            .iter()
            .any(|link_type| plan.in_user_space(*link_type).is_some());
        let config = Config {
            plan,
            expression: request.expression.clone(),
            destination,
            format: request.format,
            compression: request.compression,
            print,
            rotation: request.rotation.clone(),
            autostop: request.autostop.clone(),
            link_type: request.cooked.then_some(LinkType::LINUX_SLL2),
            memory: request.memory,
            keep_free: request.keep_free,
            packet_buffered: request.packet_buffered,
            section: SectionText {
                hardware: machine::processor(),
                os: machine::kernel(),
                application: request.application.clone(),
                comment: request.command_line.clone(),
            },
        };
        let (pipeline, events) = Pipeline::start(config, outputs, waker.clone())?;
        let poller = Poller::new()?;
        let mut supervisor = Self {
            stage: Parts {
                opener,
                runner,
                signals,
                post_rotate: request.post_rotate,
                status,
                about,
            },
            observer,
            pipeline,
            events,
            waker,
            poller,
            groups: Vec::new(),
            failed,
            spec,
            never,
            judged_here,
            stopping: false,
            all_ended: false,
            opener_gone: false,
            opener_watch: None,
        };
        supervisor.watch()?;
        for (group, opened) in found {
            supervisor.attach(group, opened)?;
        }
        // Behind the interfaces: what Wireshark takes for a file's encapsulation is what the first
        // blocks say.
        supervisor.pipeline.set_names(resolved.names);
        if let Some(snapshot) = supervisor.pipeline.snapshot() {
            supervisor.observer.started(&snapshot);
        }
        Ok(supervisor)
    }

    fn watch(&mut self) -> Result<(), Error> {
        self.poller.add(&self.stage.signals, KEY_SIGNAL, Trigger::Level)?;
        self.poller.add(&self.waker, KEY_PIPELINE, Trigger::Level)?;
        // An opener that has already ended is told like one that ends later.
        if let Ok(pidfd) = PidFd::open(self.stage.opener.pid()) {
            self.poller.add(&pidfd, KEY_OPENER, Trigger::Level)?;
            self.opener_watch = Some(pidfd);
        }
        if let Some(runner) = &self.stage.runner {
            self.poller.add(runner.channel(), KEY_RUNNER, Trigger::Level)?;
        }
        if let Some(status) = &self.stage.status {
            self.poller.add(status, KEY_STATUS, Trigger::Level)?;
        }
        Ok(())
    }

    fn attach(&mut self, group: Group, opened: Opened) -> Result<(), Error> {
        let name = joined(&group.targets);
        if group.targets.len() > 1 {
            self.observer.notice(Notice::Shared { name: &name, netns: group.netns });
        }
        if group.targets.iter().any(is_host_network) {
            self.observer.notice(Notice::HostNetwork { name: &name });
        }
        for interface in &opened.missing {
            self.observer.notice(Notice::MissingInterface { name: &name, interface });
        }
        if opened.program_refused {
            let why = "the kernel refuses the program for its length (net.core.optmem_max)";
            self.observer.notice(Notice::InUserSpace { why });
        }
        self.tell_never(&opened.netlink[0]);
        let index = self.groups.len();
        for pidfd in &group.pidfds {
            self.poller.add(pidfd, KEY_TARGET + index as u64, Trigger::Level)?;
        }
        let only = match &self.spec.scope {
            Scope::Named(names) => Some(names.clone()),
            _ => None,
        };
        let attached = self.pipeline.attach(Attachment {
            id: CaptureId(u32::try_from(index).unwrap_or(u32::MAX)),
            identity: identity(&group.targets, group.netns, &machine::hostname()),
            netns: opened.netns,
            sockets: opened.sockets,
            geometry: opened.geometry,
            program_refused: opened.program_refused || self.judged_here,
            netlink: opened.netlink,
            only,
            follows: None,
            blind: None,
        });
        match attached {
            // It has ended, by a limit or by a failure: how is told at the end.
            Ok(()) | Err(capture::Error::Ended) => {}
            Err(error) => return Err(error.into()),
        }
        self.groups.push(group);
        Ok(())
    }

    /// Tells of each link type that is there and on which the expression matches nothing.
    fn tell_never(&mut self, netlink: &OwnedFd) {
        if self.never.is_empty() {
            return;
        }
        let interfaces = match netlink.try_clone() {
            Ok(fd) => Netlink::from_fd(fd).interfaces().unwrap_or_default(),
            // Out of descriptors: the capture itself is about to say so.
            Err(_) => return,
        };
        let is_captured = |name: &String| match &self.spec.scope {
            Scope::Named(names) => names.contains(name),
            _ => true,
        };
        self.never.retain(|Never { link_type, message }| {
            let found = interfaces.iter().any(|interface| {
                interface.up && interface.link_type() == *link_type && is_captured(&interface.name)
            });
            if found {
                self.observer.notice(Notice::NeverMatches { link_type: *link_type, message });
            }
            !found
        });
    }

    fn run(mut self) -> Result<Outcome, Error> {
        let mut looked = Instant::now();
        let mut ticked = Instant::now();
        while !self.pipeline.has_ended() {
            let looks = self.groups.iter().any(|group| group.running && !group.paths.is_empty());
            let tick =
                self.observer.wants_ticks().then(|| TICK_EVERY.saturating_sub(ticked.elapsed()));
            let look = looks.then(|| LOOK_EVERY.saturating_sub(looked.elapsed()));
            let timeout = [tick, look].into_iter().flatten().min();
            for key in self.poller.wait(timeout)? {
                self.turn_to(key)?;
            }
            while let Ok(event) = self.events.try_recv() {
                self.hear(event);
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
        let Self { pipeline, events, failed, all_ended, stage, observer, .. } = self;
        let report = pipeline.join()?;
        for event in events.try_iter() {
            if let Event::FileDone { path, rotated } = event {
                file_done(&path, rotated, &stage, observer);
            }
        }
        for news in stage.runner.iter().flat_map(Runner::last_news) {
            if let News::Complaint { command, what } = news {
                observer.notice(Notice::Command { command: &command, what: &what });
            }
        }
        Ok(Outcome {
            snapshot: report.last,
            ending: report.ending,
            failed,
            all_targets_ended: all_ended,
            command: None,
        })
    }

    fn turn_to(&mut self, key: u64) -> Result<(), Error> {
        match key {
            KEY_SIGNAL => {
                while let Some(signal) = self.stage.signals.next() {
                    self.obey(signal);
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
            KEY_STATUS => {
                if let Some(status) = &self.stage.status {
                    status.answer(&|| self.report());
                }
            }
            KEY_RUNNER => {
                if let Some(runner) = &self.stage.runner {
                    match runner.news() {
                        Some(News::Complaint { command, what }) => {
                            self.observer
                                .notice(Notice::Command { command: &command, what: &what });
                        }
                        Some(_) => {}
                        None => {
                            self.poller.remove(runner.channel())?;
                            self.stage.runner = None;
                            let text =
                                "the process that runs commands has ended: none are run any more";
                            self.observer.notice(Notice::Remark { text });
                        }
                    }
                }
            }
            key => {
                if let Ok(index) = usize::try_from(key - KEY_TARGET) {
                    self.process_ended(index)?;
                }
            }
        }
        Ok(())
    }

    fn obey(&mut self, signal: Signal) {
        match signal {
            Signal::Interrupt | Signal::Terminate | Signal::HangUp if self.stopping => {
                // Nobody comes back from there to remove its socket.
                self.stage.status = None;
                self.observer.interrupted_twice();
            }
            Signal::Interrupt | Signal::Terminate | Signal::HangUp => self.stop(),
            Signal::User1 => {
                if let Some(snapshot) = self.pipeline.snapshot() {
                    self.observer.counts(&snapshot);
                }
            }
            Signal::User2 => self.pipeline.flush(),
        }
    }

    /// What is told to who asks for the status.
    fn report(&self) -> Report {
        let snapshot = self.pipeline.snapshot().unwrap_or_default();
        Report::new(&self.stage.about, &snapshot, |source, target| {
            let Some(group) = self.groups.get(source.id.0 as usize) else { return };
            let containers = group.targets.iter().filter_map(Target::as_container);
            target.ids = containers.map(|container| container.id.clone()).collect();
        })
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.pipeline.stop();
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::FileDone { path, rotated } => {
                file_done(&path, rotated, &self.stage, self.observer);
            }
            Event::InterfaceCame { id, index } => self.extend(id, index),
            Event::ClockStepped { nanoseconds } => {
                self.observer.notice(Notice::ClockStepped { nanoseconds });
            }
            _ => {}
        }
    }

    /// A socket for an interface that came up where each has its own.
    fn extend(&mut self, id: CaptureId, index: u32) {
        let Some(group) = self.groups.get(id.0 as usize) else { return };
        let spec = Spec { scope: Scope::Index(index), ..self.spec.clone() };
        match self.stage.opener.open(group.place.clone(), spec) {
            Ok(opened) if opened.netns == group.netns => {
                self.pipeline.extend(id, opened.sockets, opened.geometry);
            }
            // The target is on its way out, which is told elsewhere.
            _ => {}
        }
    }

    /// One of a group's processes has ended.
    fn process_ended(&mut self, index: usize) -> Result<(), Error> {
        let Some(group) = self.groups.get_mut(index) else { return Ok(()) };
        let mut left = Vec::new();
        for pidfd in group.pidfds.drain(..) {
            if sys::poll::is_readable(&pidfd)? {
                self.poller.remove(&pidfd)?;
            } else {
                left.push(pidfd);
            }
        }
        group.pidfds = left;
        self.end_if_over(index);
        Ok(())
    }

    /// Looks whether paths still lead where they led.
    fn look(&mut self) {
        if self.opener_gone {
            return;
        }
        for index in 0..self.groups.len() {
            let group = &mut self.groups[index];
            if !group.running || group.paths.is_empty() {
                continue;
            }
            let (opener, netns) = (&self.stage.opener, group.netns);
            group.paths.retain(|path| match opener.look(path.clone()) {
                Ok(seen) => seen.netns == netns,
                Err(opener::Error::Refused { .. }) => false,
                Err(_) => true,
            });
            self.end_if_over(index);
        }
    }

    fn end_if_over(&mut self, index: usize) {
        let group = &mut self.groups[index];
        let is_over = group.pidfds.is_empty() && group.paths.is_empty() && !group.endless;
        if !group.running || !is_over {
            return;
        }
        group.running = false;
        self.pipeline.detach(CaptureId(u32::try_from(index).unwrap_or(u32::MAX)));
        let name = joined(&self.groups[index].targets);
        self.observer.notice(Notice::Ended { name: &name });
        if self.groups.iter().all(|group| !group.running) && !self.stopping {
            self.all_ended = true;
            self.pipeline.stop();
        }
    }
}

/// A file is complete: its name is told, and where another follows the user's command is run.
fn file_done(path: &Path, rotated: bool, stage: &Parts, observer: &mut dyn Observer) {
    observer.file_done(path);
    let (Some(command), Some(runner), true) = (&stage.post_rotate, &stage.runner, rotated) else {
        return;
    };
    if let Err(error) = runner.run(&[command, &path.to_string_lossy()]) {
        let what = error.to_string();
        observer.notice(Notice::Command { command, what: &what });
    }
}

fn is_host_network(target: &Target) -> bool {
    target.as_container().is_some_and(model::Container::is_host_network)
}

/// Opens every target's namespace. Targets that share one become one group.
fn open_all(
    stage: &Stage,
    targets: Vec<Target>,
    spec: &Spec,
    failed: &mut Vec<Failed>,
) -> Vec<(Group, Opened)> {
    let mut found: Vec<(Group, Opened)> = Vec::new();
    let mut by_netns: HashMap<NetnsId, usize> = HashMap::new();
    for target in targets {
        let name = target.name.clone();
        let mut fail = |error| failed.push(Failed { name: name.clone(), error });
        let Some(place) = place(&target) else {
            fail(
                crate::error::NoSuchTarget { lines: vec![format!("{name} does not run any more")] }
                    .into(),
            );
            continue;
        };
        let opened = match stage.opener.open(place.clone(), spec.clone()) {
            Ok(opened) => opened,
            Err(error) => {
                fail(refused(&name, error));
                continue;
            }
        };
        if opened.sockets.is_empty() {
            let interfaces = opened.missing.join(", ");
            fail(Error::NoInterface { target: name.clone(), interfaces });
            continue;
        }
        let is_path = matches!(place, Place::Netns { .. });
        let endless = matches!(place, Place::Host);
        match by_netns.get(&opened.netns) {
            Some(index) => {
                let group = &mut found[*index].0;
                group.targets.push(target);
                group.pidfds.extend(opened.pidfd);
                group.paths.extend(is_path.then_some(place));
                group.endless |= endless;
            }
            None => {
                by_netns.insert(opened.netns, found.len());
                let mut opened = opened;
                let group = Group {
                    netns: opened.netns,
                    targets: vec![target],
                    pidfds: opened.pidfd.take().into_iter().collect(),
                    paths: is_path.then(|| place.clone()).into_iter().collect(),
                    endless,
                    place,
                    running: true,
                };
                found.push((group, opened));
            }
        }
    }
    found
}

fn refused(target: &str, source: opener::Error) -> Error {
    match source.reason() {
        Reason::NotPermitted => {
            Error::NotPermitted { what: format!("entering {target}"), missing: source.to_string() }
        }
        _ => Error::Opener { target: target.to_owned(), source },
    }
}
