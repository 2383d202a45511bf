//! From selectors to targets.

use std::{io, net::IpAddr, os::unix::net::UnixStream, sync::Arc};

use docker::{Dial, Endpoint, Engine, Line, PathDial};
use model::{Container, Origin, Selector, Target};
use opener::Opener;

use crate::{Error, Selection, error::NoSuchTarget, way::RunnerDial};

/// What selectors came to.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Each once, in the order in which selectors took them.
    pub(crate) targets: Vec<Target>,
    /// Taken, and not running: with the engine's word for what they do.
    pub(crate) not_running: Vec<Container>,
    /// Exclusions that took nothing.
    pub(crate) idle_exclusions: Vec<Selector>,
    /// Names of all containers' addresses.
    pub(crate) names: Vec<(IpAddr, String)>,
}

impl Selection {
    /// Whether an engine has to be asked.
    pub(crate) fn needs_engine(&self) -> bool {
        self.selectors.iter().any(Selector::needs_engine)
    }
}

/// Connects to the engine.
#[derive(Debug)]
pub(crate) enum EngineDial {
    /// Through the opener, which has the right to.
    Opener(Arc<Opener>),
    /// From here: a user who has no other rights keeps this one.
    Path(PathDial),
    /// From here, to a rootless engine of this user's.
    Rootless {
        /// Its socket.
        path: PathDial,
        /// Where it keeps namespaces, if that is known.
        directory: Option<String>,
    },
    /// Through a program that reaches it.
    Program(RunnerDial),
}

impl EngineDial {
    /// The engine's own socket, where it has one on this machine.
    pub(crate) fn socket(&self) -> io::Result<UnixStream> {
        match self {
            Self::Path(PathDial(path)) | Self::Rootless { path: PathDial(path), .. } => {
                UnixStream::connect(path)
            }
            Self::Program(_) => Err(io::ErrorKind::Unsupported.into()),
            Self::Opener(opener) => opener.dial().map_err(|error| match error {
                opener::Error::Refused { errno: Some(errno), .. } => {
                    io::Error::from_raw_os_error(errno)
                }
                other => io::Error::other(other),
            }),
        }
    }
}

impl Dial for EngineDial {
    fn dial(&self) -> io::Result<Line> {
        match self {
            Self::Program(program) => program.dial(),
            Self::Opener(_) | Self::Path(_) | Self::Rootless { .. } => {
                self.socket().map(Line::from)
            }
        }
    }
}

/// On which machine targets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    This,
    /// That of an engine elsewhere.
    Another,
}

impl Machine {
    /// That of an engine's targets, also of those that take no engine to be found.
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        if endpoint.is_socket() { Self::This } else { Self::Another }
    }
}

/// Targets of selectors that need no engine.
pub(crate) fn plain(selectors: &[Selector], machine: Machine) -> Vec<Target> {
    let mut targets = Vec::new();
    for selector in selectors {
        let origin = match selector {
            Selector::Pid(pid) => Origin::Process { pid: *pid },
            Selector::Netns(path) => Origin::Netns { path: path.clone() },
            Selector::Host => Origin::Host,
            _ => continue,
        };
        let name = match &origin {
            Origin::Process { pid } => process_name(*pid, machine),
            Origin::Netns { path } => netns_name(path),
            _ => "host".to_owned(),
        };
        let target = Target { name, origin };
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}

/// `nginx.4711`; `pid.4711` where the process does not tell its name, or not here.
fn process_name(pid: u32, machine: Machine) -> String {
    let comm = match machine {
        Machine::This => std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default(),
        Machine::Another => String::new(),
    };
    let comm = comm.trim_end();
    if comm.is_empty() { format!("pid.{pid}") } else { format!("{comm}.{pid}") }
}

/// The file's own name.
fn netns_name(path: &str) -> String {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path).to_owned()
}

/// What selectors have to come to, or it is a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Each to something that runs, or to some of it where it is a pattern.
    Running,
    /// Each to something that is there, whatever it does.
    Existing,
    /// The same, and all of it may be excluded again.
    Known,
    /// They may come to nothing as yet.
    Nothing,
}

/// Resolves a selection. `engine` is needed where [`Selection::needs_engine`] says so.
pub(crate) async fn targets(
    engine: Option<&Engine>,
    machine: Machine,
    selection: &Selection,
    demand: Demand,
) -> Result<Resolved, Error> {
    let targets = plain(&selection.selectors, machine);
    let mut resolved = Resolved { targets, ..Resolved::default() };
    let Some(engine) = engine else { return Ok(resolved) };
    let mut containers = engine.list(&[], true).await?;
    resolved.names = docker::address_names(&containers);
    if !selection.filters.is_empty() {
        let passing = engine.list(&selection.filters, true).await?;
        containers.retain(|container| passing.iter().any(|other| other.id == container.id));
    }
    let resolution = docker::resolve(&selection.selectors, &selection.exclude, &containers);
    let lines = mistakes(&resolution, selection, demand);
    if !lines.is_empty() {
        return Err(NoSuchTarget { lines }.into());
    }
    resolved.not_running = resolution.not_running.iter().map(|not| not.container.clone()).collect();
    resolved.idle_exclusions =
        resolution.unmatched_exclusions.iter().map(|un| un.selector.clone()).collect();
    let ids: Vec<&str> = resolution.chosen.iter().map(|chosen| &*chosen.id).collect();
    for container in engine.inspect_each(&ids).await? {
        resolved.targets.push(Target::container(container));
    }
    Ok(resolved)
}

const ALL_EXCLUDED: &str = "every container that was taken is excluded again";

/// A line for each selector that does not lead to a target.
fn mistakes(
    resolution: &docker::Resolution<'_>,
    selection: &Selection,
    demand: Demand,
) -> Vec<String> {
    let mut lines = Vec::new();
    let unmatched: &[_] = if demand == Demand::Nothing { &[] } else { &resolution.unmatched };
    for unmatched in unmatched {
        let what =
            if unmatched.selector.is_pattern() { "takes no container" } else { "is no container" };
        let among =
            if selection.filters.is_empty() { "" } else { " among those that pass --filter" };
        let mut line = format!("`{}` {what}{among}", unmatched.selector);
        if !unmatched.nearest.is_empty() {
            let nearest: Vec<String> =
                unmatched.nearest.iter().map(|name| format!("`{name}`")).collect();
            line += &format!("; did you mean {}?", nearest.join(" or "));
        }
        lines.push(line);
    }
    for ambiguous in &resolution.ambiguous {
        let names: Vec<String> = ambiguous
            .candidates
            .iter()
            .map(|container| format!("{} ({})", container.name, container.short_id()))
            .collect();
        lines.push(format!(
            "`{}` fits several containers: {}",
            ambiguous.selector,
            names.join(", ")
        ));
    }
    if matches!(demand, Demand::Known | Demand::Nothing) {
        return lines;
    }
    let nothing_runs =
        resolution.chosen.is_empty() && !selection.selectors.iter().any(|s| !s.needs_engine());
    if demand == Demand::Existing {
        if lines.is_empty() && nothing_runs && resolution.not_running.is_empty() {
            lines.push(ALL_EXCLUDED.to_owned());
        }
        return lines;
    }
    for not_running in &resolution.not_running {
        if !not_running.selector.is_pattern() || nothing_runs {
            lines.push(format!(
                "`{}` does not run: {} is {}",
                not_running.selector, not_running.container.name, not_running.state
            ));
        }
    }
    if lines.is_empty() && nothing_runs {
        lines.push(ALL_EXCLUDED.to_owned());
    }
    lines
}
