//! What can be captured.
//!
//! One request lists the containers, and only those that are shown and run are inspected, for
//! their process. Then each namespace is looked at: by the opener where this process has the
//! rights, which it gives up before it reads the engine's first word; by a helper, also where the
//! engine is elsewhere; otherwise by this process itself, which gets as far as its user may.

use std::{collections::HashMap, sync::Arc};

use capture::far::Seen;
use docker::{Endpoint, Engine};
use model::{Container, Interface, NetnsId, Origin, Selector, Target};
use opener::{EngineAt, Opener, Place, Reason};
use sys::{
    netlink::{self, Netlink},
    netns::Netns,
    privileges::{self, Capability},
};

use crate::{
    Error, Observer, Reach, Sandbox, Selection, Via,
    entrance::Far,
    error::NoSuchTarget,
    helper::{Door, Helper, Open, OpenFar, OpenHere, Way},
    naming::place,
    resolve::{self, Demand, EngineDial, Machine},
    rights,
    rootless::Rootless,
};

/// A target with what can be learned about it without capturing it.
#[derive(Debug)]
pub struct Entry {
    /// The target.
    pub target: Target,
    /// Its namespace; `None` when it has none now, or may not be looked at.
    pub netns: Option<NetnsId>,
    /// Its interfaces, where they were asked for and may be looked at.
    pub interfaces: Vec<Interface>,
    /// Why it may not be looked at. For a container only where interfaces were asked for.
    pub problem: Option<Error>,
}

impl Entry {
    /// A target of which nothing more is known.
    fn of(target: Target) -> Self {
        Self { target, netns: None, interfaces: Vec::new(), problem: None }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// The engine.
    pub endpoint: Endpoint,
    /// How namespaces are reached. A helper is only made where interfaces are asked for.
    pub reach: Reach,
    /// Which targets; all containers when there is no selector.
    pub selection: Selection,
    /// Containers that do not run, too.
    pub all: bool,
    /// Look into the namespaces.
    pub interfaces: bool,
}

/// Lists targets: first those of `pid:`, `netns:` and `host`, then containers in the order in which
/// selectors took them, or the newest first.
///
/// A container that does not run is listed when it was named, or with [`Query::all`].
///
/// Takes over the process where that has rights: they are given up for good. To be called before
/// any thread exists.
///
/// # Errors
/// [`Error::NoSuchTarget`] for selectors that take nothing; [`Error::Engine`] when the engine is
/// needed and does not answer. What cannot be looked at is an [`Entry::problem`].
///
/// # Privileges
/// Access to the engine's socket. For the namespaces of others `CAP_SYS_ADMIN` and
/// `CAP_SYS_PTRACE`.
pub fn list(query: &Query) -> Result<Vec<Entry>, Error> {
    let needs_engine = query.selection.selectors.is_empty() || query.selection.needs_engine();
    let looker = Looker::start(query, needs_engine)?;
    let machine = Machine::of(&query.endpoint);
    let mut targets = resolve::plain(&query.selection.selectors, machine);
    if needs_engine {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Kernel(sys::Error::call("epoll_create")(source)))?;
        let containers = runtime.block_on(async {
            let engine = looker.connect(&query.endpoint).await?;
            containers(&engine, query).await
        });
        // Not waiting for a look-up of the engine's own name.
        runtime.shutdown_background();
        targets.extend(containers?.into_iter().map(Target::container));
    }
    if machine == Machine::Another && !query.interfaces {
        // Nobody here sees it, and there is no helper for what is by the way.
        return Ok(targets.into_iter().map(Entry::of).collect());
    }
    Ok(looker.entries(targets, query.interfaces))
}

/// The containers that are asked for; those that run with all that is known about them.
async fn containers(engine: &Engine, query: &Query) -> Result<Vec<Container>, Error> {
    let selection = &query.selection;
    if selection.selectors.is_empty() {
        return everything(engine, query).await;
    }
    let machine = Machine::of(&query.endpoint);
    let resolved = resolve::targets(Some(engine), machine, selection, Demand::Known).await?;
    let named = |container: &Container| {
        selection.selectors.iter().any(|s| !s.is_pattern() && docker::takes(s, container))
    };
    let running = resolved.targets.into_iter().filter_map(|target| match target.origin {
        Origin::Container(container) => Some(*container),
        _ => None,
    });
    let stopped = resolved.not_running.into_iter().filter(|c| query.all || named(c));
    Ok(running.chain(stopped).collect())
}

/// All containers, with what passes the filters and is not excluded.
async fn everything(engine: &Engine, query: &Query) -> Result<Vec<Container>, Error> {
    let mut listed = engine.list(&query.selection.filters, query.all).await?;
    let any = [Selector::Name("*".to_owned())];
    let resolution = docker::resolve(&any, &query.selection.exclude, &listed);
    if !resolution.ambiguous.is_empty() {
        let several = |s: &Selector| format!("--exclude `{s}` fits several containers");
        let lines = resolution.ambiguous.iter().map(|a| several(&a.selector)).collect();
        return Err(NoSuchTarget { lines }.into());
    }
    let live: Vec<&str> = resolution.chosen.iter().map(|container| &*container.id).collect();
    let stopped: Vec<String> =
        resolution.not_running.iter().map(|not| not.container.id.clone()).collect();
    let inspected = engine.inspect_each(&live).await?;
    let mut inspected: HashMap<String, Container> =
        inspected.into_iter().map(|container| (container.id.clone(), container)).collect();
    // In the engine's order; what has vanished since is left out.
    listed.retain_mut(|container| match inspected.remove(&container.id) {
        Some(whole) => {
            *container = whole;
            true
        }
        None => stopped.contains(&container.id),
    });
    Ok(listed)
}

/// Who looks at namespaces.
enum Looker {
    /// An opener; this process has no rights, or none any more.
    Opener {
        opener: Arc<Opener>,
        dial: Arc<EngineDial>,
        /// Removed when everything has been looked at.
        _helper: Option<Box<Helper>>,
    },
    /// A helper on the engine's machine.
    Far { far: Box<Far>, dial: Arc<EngineDial> },
    /// This process.
    Here,
}

/// The engine, where it is a rootless one of this user's. Somebody else's is asked all the same.
fn rootless(query: &Query) -> Option<Rootless> {
    let directory = query.reach.runtime_directory.as_deref();
    let find = || Rootless::find(&query.endpoint, directory, "looking into targets").ok()?;
    if query.reach.via == Via::Helper { None } else { find() }
}

/// There is nobody to tell that rights were given up: it costs nothing here.
struct Nobody;

impl Observer for Nobody {}

impl Looker {
    fn start(query: &Query, needs_engine: bool) -> Result<Self, Error> {
        let is_elsewhere = Machine::of(&query.endpoint) == Machine::Another;
        let decide = || Way::decide(&query.reach, &query.endpoint, "looking into targets");
        let way = if query.interfaces && is_elsewhere {
            decide()?
        } else if privileges::effective()?.contains(Capability::SYS_ADMIN)
            && (query.reach.via != Via::Helper || !query.interfaces)
        {
            Way::Host
        } else if let Some(rootless) = needs_engine.then(|| rootless(query)).flatten() {
            Way::Rootless(Box::new(rootless))
        } else if query.interfaces && query.reach.via != Via::Host {
            match decide() {
                // As far as this user gets; what that was not far enough for tells it.
                Err(_) if query.reach.via == Via::Auto => return Ok(Self::Here),
                way => way?,
            }
        } else {
            return Ok(Self::Here);
        };
        let person = rights::person()?;
        let user = person.as_ref().map(|(_, user)| user);
        let door = Door::prepare(way, &query.reach, &query.endpoint, needs_engine, user)?;
        rights::give_up(user, Vec::new(), Sandbox::Auto, &mut Nobody)?;
        Ok(match door.open(&query.endpoint, None, None, &mut Nobody)? {
            Open::Here(OpenHere { opener, dial, helper }) => {
                Self::Opener { opener, dial, _helper: helper }
            }
            Open::Far(OpenFar { stream, dial, helper }) => {
                // No frames wait there.
                Self::Far { far: Box::new(Far::start(stream, helper, 0)?), dial }
            }
        })
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Engine, docker::Error> {
        match self {
            Self::Opener { dial, .. } | Self::Far { dial, .. } => {
                let dial = Arc::<EngineDial>::clone(dial);
                Engine::connect_through(endpoint, dial, docker::DEADLINE).await
            }
            Self::Here => Engine::connect(endpoint).await,
        }
    }

    /// What there is of each target, in their order.
    fn entries(&self, targets: Vec<Target>, interfaces: bool) -> Vec<Entry> {
        let Self::Far { far, .. } = self else {
            return targets.into_iter().map(|it| self.entry(it, interfaces)).collect();
        };
        let places: Vec<_> = targets.iter().map(place).collect();
        let seen = far.look_all(&places);
        let entry = |(target, seen): (Target, Option<Result<Seen, capture::Error>>)| {
            let mut entry = Entry::of(target);
            match seen {
                Some(Ok(Seen { netns, interfaces, .. })) => {
                    (entry.netns, entry.interfaces) = (Some(netns), interfaces);
                }
                Some(Err(source)) => {
                    let target = entry.target.name.clone();
                    entry.problem = Some(Error::Far { target, source });
                }
                None => {}
            }
            entry
        };
        targets.into_iter().zip(seen).map(entry).collect()
    }

    fn entry(&self, target: Target, interfaces: bool) -> Entry {
        let place = place(&target);
        let mut entry = Entry::of(target);
        if let Some(place) = place
            && let Err(error) = self.look(place, interfaces, &mut entry)
            && (interfaces || entry.target.as_container().is_none())
        {
            entry.problem = Some(error);
        }
        entry
    }

    /// Fills in a namespace's identity, and its interfaces where they are asked for.
    fn look(&self, place: Place, interfaces: bool, entry: &mut Entry) -> Result<(), Error> {
        let name = &entry.target.name;
        let what = || format!("look into {name}");
        let refused = |source: opener::Error| match (source.reason(), self) {
            // It has its rights, as far as there were any: what it said is the reason.
            (Reason::NotPermitted, Self::Opener { .. }) => {
                Error::NotPermitted { what: what(), missing: source.to_string() }
            }
            (Reason::NotPermitted, _) => Error::not_permitted(what(), &source),
            _ => Error::Opener { target: name.clone(), source },
        };
        let failed = |source: sys::Error| match source.is_permission() {
            true => Error::not_permitted(what(), &source),
            false => Error::Enter { target: name.clone(), source },
        };
        let socket = match self {
            // Those are not looked into one by one.
            Self::Far { .. } => return Ok(()),
            Self::Opener { opener, .. } => {
                let seen = opener.look(place).map_err(refused)?;
                entry.netns = Some(seen.netns);
                seen.netlink
            }
            Self::Here => {
                let proved = opener::prove(&place, &EngineAt::Unknown);
                let netns = proved.map_err(refused)?.netns;
                entry.netns = Some(netns.id());
                if !interfaces {
                    return Ok(());
                }
                // To enter one's own takes rights, too, and changes nothing.
                if netns.id() == Netns::current().map_err(failed)?.id() {
                    netlink::open().map_err(failed)?
                } else {
                    netns.visit(netlink::open).and_then(|socket| socket).map_err(failed)?
                }
            }
        };
        if interfaces {
            entry.interfaces = Netlink::from_fd(socket).interfaces().map_err(failed)?;
        }
        Ok(())
    }
}
