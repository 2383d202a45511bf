//! The first part of a session, as long as there are rights and one thread.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use capture::{Config, Destination, FileName, Rotation, SectionText};
use docker::Engine;
use filter::{Expression, Plan};
use model::LinkType;
use sys::{machine, privileges, signals::Signals};

use crate::{
    Error, Notice, Observer, Output, Request,
    entrance::{Entrance, Far},
    helper::{Door, Helper, Open, OpenFar, OpenHere, Way},
    resolve::{self, Demand, EngineDial, Machine, Resolved},
    rights,
    runner::Runner,
    status::{About, Listener, Owner, now},
};

/// Descriptors of a capture: sockets, netlink, pidfd, epoll's own.
const DESCRIPTORS_PER_TARGET: u64 = 8;
/// Descriptors of everything else.
const DESCRIPTORS: u64 = 128;

/// What is left of the stage when the pipeline runs.
pub(crate) struct Parts {
    pub(crate) entrance: Entrance,
    pub(crate) dial: Arc<EngineDial>,
    pub(crate) runner: Option<Runner>,
    pub(crate) signals: Signals,
    pub(crate) status: Option<Listener>,
    pub(crate) about: About,
    pub(crate) request: Request,
}

/// What is ready when rights are gone and threads are not there yet.
pub(crate) struct Stage {
    pub(crate) request: Request,
    pub(crate) entrance: Entrance,
    pub(crate) dial: Arc<EngineDial>,
    pub(crate) runner: Option<Runner>,
    pub(crate) signals: Signals,
    pub(crate) plan: Arc<Plan>,
    pub(crate) destination: Destination,
    pub(crate) print: Option<File>,
    pub(crate) status: Option<Listener>,
    pub(crate) about: About,
}

/// Prepares a session. The helper, where there is one, is to be kept until its end.
pub(crate) fn prepare(
    request: Request,
    observer: &mut dyn Observer,
) -> Result<(Stage, Option<Box<Helper>>), Error> {
    let way = Way::decide(&request.reach, &request.endpoint, "capturing")?;
    let person = rights::person()?;
    let user = person.as_ref().map(|(_, user)| user);
    let needs_engine = request.selection.needs_engine();
    let door = Door::prepare(way, &request.reach, &request.endpoint, needs_engine, user)?;
    let executes = request.recording.as_ref().is_some_and(|recording| recording.exec.is_some());
    let needs_runner = request.post_rotate.is_some() || request.print.is_some() || executes;
    let runner = if request.run.is_some() {
        Some(Runner::start_for_foreground(user)?)
    } else if needs_runner {
        Some(Runner::start(user)?)
    } else {
        None
    };
    let plan = compile(&request, observer)?;
    let (destination, directories) = destination(&request)?;
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
    // Whoever records writes when something has happened, and would only then learn that it cannot.
    let to_record = if request.recording.is_some() { directories.clone() } else { Vec::new() };
    rights::give_up(user, directories, request.sandbox, observer)?;
    let status = Listener::open(observer);
    for path in to_record {
        machine::require_writable(&path).map_err(|source| Error::Output {
            what: "cannot write recorded files in",
            path,
            source,
        })?;
    }
    let name = person.as_ref().filter(|_| user.is_some()).map(|(sudo, _)| sudo.name.clone());
    let about = About {
        version: request.application.clone(),
        command_line: request.command_line.clone(),
        since: now(),
        user: Owner { uid: privileges::own_uid(), name },
    };
    // What is followed is not known before it comes.
    let only = (needs_engine && !request.follow).then_some(&request.selection);
    let (entrance, dial, helper) =
        match door.open(&request.endpoint, only, Some(&signals), observer)? {
            Open::Here(OpenHere { opener, dial, helper }) => (Entrance::Here(opener), dial, helper),
            Open::Far(OpenFar { stream, dial, helper }) => {
                let far = Far::start(stream, helper, request.memory)?;
                (Entrance::Far(Box::new(far)), dial, None)
            }
        };
    let plan = match entrance.left_out() {
        Some(connection) => plan.without(&connection),
        None => plan,
    };
    let plan = Arc::new(plan);
    let stage =
        Stage { request, entrance, dial, runner, signals, plan, destination, print, status, about };
    Ok((stage, helper))
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
    if let Some(recording) = &request.recording {
        let recorder = Box::new(recording.config()?);
        let spill = recording.spill.as_ref();
        let spill = spill.map(|spill| spill.open(&request.directory)).transpose()?;
        return Ok((Destination::Recorder { name, recorder, spill }, vec![directory]));
    }
    Ok((Destination::Files { name, split: request.split }, vec![directory]))
}

fn start_printing(command: &[String], runner: &Runner) -> Result<File, Error> {
    let (reader, writer) = std::io::pipe().map_err(sys::Error::call("pipe2"))?;
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    runner.run_reading(&words, &File::from(OwnedFd::from(reader)))?;
    Ok(OwnedFd::from(writer).into())
}

impl Stage {
    /// The targets of the start.
    pub(crate) async fn resolve(&self) -> Result<Resolved, Error> {
        let selection = &self.request.selection;
        let demand = match (self.request.follow, self.request.wait) {
            (true, true) => Demand::Nothing,
            (true, false) => Demand::Existing,
            (false, _) => Demand::Running,
        };
        let machine = Machine::of(&self.request.endpoint);
        if !selection.needs_engine() {
            return resolve::targets(None, machine, selection, demand).await;
        }
        let dial = Arc::<EngineDial>::clone(&self.dial);
        let engine =
            Engine::connect_through(&self.request.endpoint, dial, docker::DEADLINE).await?;
        resolve::targets(Some(&engine), machine, selection, demand).await
    }

    /// What the pipeline is told, and what is left for the supervisor.
    pub(crate) fn into_parts(self) -> (Config, Parts) {
        let Self {
            request,
            entrance,
            dial,
            runner,
            signals,
            plan,
            destination,
            print,
            status,
            about,
        } = self;
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
                comment: entrance.comment(&request.command_line),
                interface_os: entrance.os(),
                tsoffset: entrance.tsoffset().filter(|_| request.align_clock),
            },
        };
        (config, Parts { entrance, dial, runner, signals, status, about, request })
    }
}
