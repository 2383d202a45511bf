//! The second way to namespaces: a helper container, for somebody who has the engine's socket and no
//! rights here.
//!
//! On an engine of this machine the helper is an opener and nothing else. It connects to a socket in
//! a directory of ours that is mounted into it, and from then on everything is as with an opener of
//! our own: descriptors come, rings are mapped here, and no frame passes through the container.
//!
//! ```text
//!  main ── make, start ─► engine ── runs ──► helper: whaletap-agent opener
//!    │  ◄──────────── packet and netlink fd ────┘        (SCM_RIGHTS, in a mounted directory)
//!    └─ holds ─► reaper: removes helper and directory when main is gone
//! ```
//!
//! On an engine elsewhere none of this works, and the helper does more: see `far`.
//!
//! That the engine is on this machine is shown by the same step: an engine elsewhere cannot mount the
//! directory, and its helper would not find our socket in it.

mod calls;
mod door;
mod far;
mod programs;
mod prune;
mod reaper;
mod seat;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use docker::{Calls, Dial, Endpoint, Engine, HelperSpec, Host, Shape};
use model::{Container, Origin, Target};
use opener::{EngineAt, Opener};
use sys::{
    channel::Channel,
    lifetime::Lifetime,
    local::{self, Reached},
    process,
    signals::Signals,
};
use tokio::runtime::{self, Runtime};

use self::{
    calls::with_calls,
    programs::Programs,
    reaper::{Charge, Reaper},
    seat::Seat,
};
use crate::{
    Error, Selection,
    interrupt::unless_interrupted,
    resolve::{self, Demand, Machine},
    rights,
    rootless::Rootless,
};

pub(crate) use self::{
    door::{Door, Open, OpenFar, OpenHere},
    far::{FarHelper, FarMeans},
};
pub use self::{
    prune::{Pruned, prune},
    reaper::{ARGV0, serve},
};

/// Where the helper finds our directory.
const DIRECTORY: &str = "/run/whaletap";
/// How long an engine may take for one answer: making and starting a container is work.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a helper may take to connect once it was started.
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks whether it still runs meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// By which way namespaces are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Via {
    /// From here where the rights for that are there, or the engine is a rootless one of this
    /// user's; otherwise through a helper.
    #[default]
    Auto,
    /// From here.
    Host,
    /// Through a helper container.
    Helper,
}

/// How namespaces are to be reached.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// By which way.
    pub via: Via,
    /// The program of helper containers (`WHALETAP_AGENT`); the one beside this program when `None`.
    pub program: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, where the socket for the helper is made; the directory for temporary files
    /// when `None` or not its user's.
    pub runtime_directory: Option<PathBuf>,
}

/// The way that is taken.
#[derive(Debug)]
pub(crate) enum Way {
    /// With the rights of this process.
    Host,
    /// With the rights that this user has in the user namespace of a rootless engine.
    Rootless(Box<Rootless>),
    /// Through a helper, with what that takes.
    Helper(Box<Means>),
    /// Through a helper on an engine elsewhere, which does there what is done here otherwise: all
    /// targets are the other machine's.
    Far(Box<FarMeans>),
}

/// What a helper takes, and was found.
#[derive(Debug)]
pub(crate) struct Means {
    programs: Programs,
    /// The engine's socket.
    socket: PathBuf,
    /// The engine's process.
    engine: EngineAt,
    /// Why the other way is not taken; `None` where the user said so.
    pub(crate) instead_of: Option<String>,
}

impl Way {
    /// Decides. `what` is what is about to be done, for messages.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when rights are missing and no helper can be had either;
    /// [`Error::HostElsewhere`].
    pub(crate) fn decide(reach: &Reach, endpoint: &Endpoint, what: &str) -> Result<Self, Error> {
        if !endpoint.is_socket() {
            return Self::elsewhere(reach, endpoint).map(Box::new).map(Self::Far);
        }
        if reach.via == Via::Helper {
            return Ok(Self::Helper(Box::new(Means::find(reach, endpoint)?)));
        }
        let missing = rights::missing()?;
        if missing.is_empty() {
            return Ok(Self::Host);
        }
        let directory = reach.runtime_directory.as_deref();
        if let Some(rootless) = Rootless::find(endpoint, directory, what)? {
            return Ok(Self::Rootless(Box::new(rootless)));
        }
        if reach.via == Via::Host {
            return rights::require(what).map(|()| Self::Host);
        }
        let missing = format!("missing {missing}");
        match Means::find(reach, endpoint) {
            Ok(means) => Ok(Self::Helper(Box::new(Means { instead_of: Some(missing), ..means }))),
            Err(why) => Err(Error::NotPermitted {
                what: what.to_owned(),
                missing: format!("{missing}, and there can be no helper container: {why}"),
            }),
        }
    }

    /// No right of this machine leads to another one.
    fn elsewhere(reach: &Reach, endpoint: &Endpoint) -> Result<FarMeans, Error> {
        let instead_of = match reach.via {
            Via::Host => return Err(Error::HostElsewhere { endpoint: endpoint.to_string() }),
            Via::Helper => None,
            Via::Auto => Some(format!("{endpoint} is another machine's")),
        };
        FarMeans::find(reach, instead_of)
    }
}

impl Means {
    /// Looks whether there can be a helper, as far as that can be seen from here.
    fn find(reach: &Reach, endpoint: &Endpoint) -> Result<Self, Error> {
        let name = || endpoint.to_string();
        let Host::Unix(socket) = &endpoint.host else {
            return Err(Error::HostElsewhere { endpoint: name() });
        };
        let engine = match local::connect(socket) {
            // With socket activation it is systemd, whose root directory is the same.
            Ok(Reached::Somebody(engine)) => match process::peer(&engine)? {
                Some(pid) => EngineAt::Process(pid),
                None => EngineAt::Unknown,
            },
            Ok(Reached::Busy) => EngineAt::Unknown,
            Ok(Reached::Nobody) => {
                return Err(docker::Error::SocketAbsent { endpoint: name() }.into());
            }
            Err(error) if error.is_permission() => {
                return Err(docker::Error::PermissionDenied { endpoint: name() }.into());
            }
            Err(error) => return Err(error.into()),
        };
        let programs = Programs::find(reach)?;
        Ok(Self { programs, socket: socket.clone(), engine, instead_of: None })
    }
}

/// A helper of this session. When this is dropped the helper is ended and removed, with everything
/// that was made for it, and that is waited for.
#[derive(Debug)]
pub(crate) struct Helper {
    means: Means,
    name: String,
    owner: Lifetime,
    seat: Seat,
    /// Whatever the engine has yet to answer when the helper has connected.
    runtime: Option<Runtime>,
    reaper: Reaper,
}

impl Helper {
    /// Makes what has to be there before this process gives up its rights and has threads: who tidies
    /// up, and then what there will be to tidy up.
    pub(crate) fn prepare(means: Means, reach: &Reach) -> Result<Self, Error> {
        let owner = Lifetime::own()?;
        let name = container_name(&owner);
        let directory = Seat::place(reach.runtime_directory.as_deref(), &owner);
        let charge = Charge {
            endpoint: Endpoint::unix(&means.socket),
            user: None,
            container: name.clone(),
            directory: Some(directory.clone()),
        };
        let reaper = Reaper::start(&charge)?;
        let seat = Seat::make(directory)?;
        Ok(Self { means, name, owner, seat, runtime: None, reaper })
    }

    /// The image that it is made of.
    fn image(&self) -> String {
        self.means.programs.usual().image()
    }

    /// Why namespaces are not reached from here.
    pub(crate) fn instead_of(&self) -> Option<&str> {
        self.means.instead_of.as_deref()
    }

    /// Makes and starts the container, and waits until it has connected. `only` says what is to be
    /// opened, if that is known and is all.
    pub(crate) fn start(
        &mut self,
        endpoint: &Endpoint,
        dial: Arc<dyn Dial>,
        only: Option<&Selection>,
        signals: Option<&Signals>,
    ) -> Result<Opener, Error> {
        let runtime = runtime()?;
        let work = async {
            let engine = Engine::connect_through(endpoint, dial, DEADLINE).await?;
            let inside = match only {
                Some(selection) => only_one(&engine, Machine::This, selection).await,
                None => None,
            };
            let (engine, shape) = (Arc::new(engine), shape(inside.as_ref()));
            let connected = with_calls(&engine, &self.name, async |calls| {
                let id = self.make(&engine, &shape, calls).await?;
                let channel = self.connected(Arc::clone(&engine), &id).await?;
                self.prove(&channel, &id)?;
                Ok(channel)
            });
            let channel = connected.await?;
            Ok::<_, Error>((shape, channel))
        };
        let (shape, channel) = runtime.block_on(unless_interrupted(signals, work))?;
        self.runtime = Some(runtime);
        self.reaper.runs();
        let opener = match shape {
            Shape::Inside(container) => Opener::over_inside(channel, container),
            Shape::Host => Opener::over(channel, self.means.engine.clone()),
        };
        opener.map_err(|source| Error::StartOpener { source })
    }

    /// Starts it, and waits until it has connected. It does that before the engine has said that it
    /// runs: engines have more to do at a container's start than to start it.
    async fn connected(&self, engine: Arc<Engine>, id: &str) -> Result<Channel, Error> {
        let starts = {
            let (engine, id) = (Arc::clone(&engine), id.to_owned());
            // Not ended when nobody waits for it any more: an engine might give up with it.
            tokio::spawn(async move { engine.start_helper(&id).await })
        };
        let comes = self.seat.accept();
        tokio::pin!(comes);
        tokio::select! {
            channel = &mut comes => return channel,
            started = starts => started.map_err(|_| self.silent())??,
        }
        let until = Instant::now() + CONNECTS_WITHIN;
        loop {
            if let Ok(channel) = tokio::time::timeout(LOOK_EVERY, &mut comes).await {
                return channel;
            }
            if !engine.is_helper_live(id).await? || Instant::now() >= until {
                return Err(self.silent());
            }
        }
    }

    fn silent(&self) -> Error {
        Error::HelperSilent { name: self.name.clone() }
    }

    async fn make(&self, engine: &Engine, shape: &Shape, calls: Calls) -> Result<String, Error> {
        let spec = HelperSpec {
            name: self.name.clone(),
            owner: self.owner.to_string(),
            image: self.image(),
            shape: shape.clone(),
            calls,
            words: vec!["opener".to_owned(), format!("{DIRECTORY}/{}", Seat::SOCKET)],
            mounts: vec![(self.seat.mounted(), PathBuf::from(DIRECTORY))],
            attached: false,
        };
        // From here on there may be one, whatever becomes of this process.
        self.reaper.makes();
        self.means.programs.make(engine, spec).await
    }

    /// Whoever has connected is root in the container that was made: nobody else could have, and
    /// nobody else is listened to.
    fn prove(&self, channel: &Channel, id: &str) -> Result<(), Error> {
        let uid = local::peer_uid(channel)?;
        let pid = process::peer(channel)?.ok_or_else(|| self.silent())?;
        let is_its = process::PidFd::open(pid)?.is_in_container(id)?;
        if uid == 0 && is_its { Ok(()) } else { Err(self.silent()) }
    }
}

/// What engines are spoken to with.
fn runtime() -> Result<Runtime, Error> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Kernel(sys::Error::call("epoll_create")(source)))
}

/// The one container in whose namespace everything is that is asked for: then the least is enough, and a
/// helper is made inside of it. What selectors that come to nothing have to say is said later.
async fn only_one(engine: &Engine, machine: Machine, selection: &Selection) -> Option<Container> {
    let resolved = resolve::targets(Some(engine), machine, selection, Demand::Running).await;
    let targets: [Target; 1] = resolved.ok()?.targets.try_into().ok()?;
    let [Target { origin: Origin::Container(container), .. }] = targets else { return None };
    // One that shares another's network has none that could be joined.
    let is_joined = container.is_host_network() || container.network_mode.contains(':');
    (!is_joined).then_some(*container)
}

/// A helper inside of that container, or one that reaches all.
fn shape(inside: Option<&Container>) -> Shape {
    inside.map_or(Shape::Host, |container| Shape::Inside(container.id.clone()))
}

/// `whaletap-4711-81723-3f2a9d0c`: nobody else's, also not another machine's or another day's.
fn container_name(owner: &Lifetime) -> String {
    format!("whaletap-{}", owner.short())
}
