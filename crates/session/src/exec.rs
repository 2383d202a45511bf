//! Running a program of this host inside a target's network namespace: nsenter with a name.
//!
//! The process becomes the program, so that standard streams, signals, job control and the exit
//! code are the program's own. It keeps the caller's user and capabilities, its directory and its
//! environment; of the target it gets the network, and of a container also the two files that
//! say who is who there: /etc/resolv.conf and /etc/hosts, as copies in a private mount namespace.
//! On the host nothing is created or changed.
//!
//! What stays the host's, and shows:
//!
//! - /sys, so that /sys/class/net has the host's devices (/proc/net has the target's);
//! - /etc/nsswitch.conf and sockets that have a path: where the host's resolver is systemd-resolved
//!   by `nss-resolve`, or nscd, names are still looked up by the host. `dig` and everything else
//!   that reads /etc/resolv.conf asks the container's servers.
//!
//! What a rootless engine of this user's runs is entered as its owner, by joining its user namespace
//! first: the program has all rights in there, none outside, and sees its user as root.
//!
//! Who may not enter, and may use the engine's socket, names an [`Image`] that has the program: then
//! this process becomes docker's command line, which runs it beside the target. Of the target it sees
//! the network, /etc/resolv.conf and /etc/hosts, and of this host nothing. On an engine elsewhere that is
//! the only way.
//!
//! A host without any /etc/resolv.conf (or /etc/hosts) cannot be given one.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use docker::{Endpoint, Engine};
use model::{Origin, Selector, Target};
use opener::{EngineAt, Proved, Reason};
use sys::{
    lifetime::Lifetime,
    mount::{PrivateMounts, Root},
    netns::Netns,
    privileges::{self, Capability},
};

use crate::{
    Error, Selection,
    naming::place,
    resolve::{self, Demand, Machine, Resolved},
    rootless::Rootless,
};

/// Files of the target that the program sees.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// The longest of such files, in bytes. Lists of blocked hosts have some.
const MAX_FILE: u64 = 16 << 20;

/// Where `ip netns` keeps namespaces, under both of its names.
const NAMED: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// How many targets are named when there are too many.
const MAX_NAMES: usize = 5;

/// A program that is to run inside a target.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// The engine, for selectors that need one.
    pub endpoint: Endpoint,
    /// The target: one.
    pub selector: Selector,
    /// `XDG_RUNTIME_DIR`, where a rootless engine of this user's has its files.
    pub runtime_directory: Option<PathBuf>,
    /// The program, looked for in `PATH` as a shell would, and its arguments.
    pub command: Vec<OsString>,
    /// Where the program is to come from instead of this host.
    pub image: Option<Image>,
}

/// An image of which a container is made that has the target's network and nothing else of it: for
/// who may not enter the target from here.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name, for the engine.
    pub name: String,
    /// docker's own command line, which runs it: streams, terminal, signals and the exit code are
    /// its business.
    pub docker: PathBuf,
    /// docker's directory, where another one is meant than docker itself would take.
    pub config: Option<PathBuf>,
    /// Whether there is a terminal.
    pub terminal: bool,
}

/// Becomes the program, inside the target. Returns only when that fails.
///
/// For `netns:PATH` of a namespace that `ip netns` made the files are those of /etc/netns/NAME,
/// where they exist, as `ip netns exec` does it. `pid:` and `host` leave files alone, and for
/// `host` nothing is entered.
///
/// # Errors
/// [`Error::Exec`] when the program could not be started; [`Error::ProgramElsewhere`] where the engine
/// is another machine's, and no image was named; [`Error::SeveralTargets`]; [`Error::NotPermitted`]; and whatever kept the target from being
/// found or entered. The calling thread may be in other namespaces then: end the process.
///
/// # Privileges
/// `CAP_SYS_ADMIN`, and `CAP_SYS_PTRACE` for processes of other users; access to the engine's
/// socket. None where the engine is a rootless one of this user's, or the target's namespace is one's own and no files belong to it.
pub fn run(request: &ExecRequest) -> Result<Infallible, Error> {
    let machine = Machine::of(&request.endpoint);
    if request.image.is_none() && machine == Machine::Another {
        return Err(Error::ProgramElsewhere { endpoint: request.endpoint.to_string() });
    }
    let target = one_target(request)?;
    if let Some(image) = &request.image {
        return in_container(request, image, &target);
    }
    if target.origin != Origin::Host {
        enter(&target, request)?;
    }
    let mut words = request.command.iter();
    let program = words.next().map(OsString::as_os_str).unwrap_or_default();
    // Threads of this process that have not ended yet end here: namespaces were changed for this
    // one, and it is the one that becomes the program.
    let source = Command::new(program).args(words).exec();
    Err(Error::Exec { program: program.to_string_lossy().into_owned(), source })
}

/// Becomes docker's command line, with a container beside the target.
fn in_container(
    request: &ExecRequest,
    image: &Image,
    target: &Target,
) -> Result<Infallible, Error> {
    let Origin::Container(container) = &target.origin else {
        let what = format!("joining {} with a container", target.name);
        return Err(Error::NotPermitted { what, missing: "it is no container".to_owned() });
    };
    let mut words = request.command.iter();
    let program = words.next().map(OsString::as_os_str).unwrap_or_default();
    let mut docker = Command::new(&image.docker);
    for variable in Endpoint::TLS_VARIABLES {
        docker.env_remove(variable);
    }
    if let Some(config) = &image.config {
        docker.arg("--config").arg(config);
    }
    // The same engine, also where nobody has named it but a variable or a file.
    let source = docker
        .args(request.endpoint.options())
        // Without a log: what it prints would be kept on the engine's disk.
        .args(["run", "--rm", "--interactive", "--log-driver", "none"])
        .args(image.terminal.then_some("--tty"))
        .arg(format!("--network=container:{}", container.id))
        // Nobody's target, and known as ours if it should be left behind.
        .arg(format!("--label={}={}", docker::EXEC_LABEL, Lifetime::own()?))
        .arg("--entrypoint")
        .arg(program)
        .arg(&image.name)
        .args(words)
        .exec();
    Err(Error::Exec { program: image.docker.to_string_lossy().into_owned(), source })
}

fn one_target(request: &ExecRequest) -> Result<Target, Error> {
    let selector = request.selector.clone();
    let selection = Selection { selectors: vec![selector.clone()], ..Selection::default() };
    let machine = Machine::of(&request.endpoint);
    let mut targets = if selector.needs_engine() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Kernel(sys::Error::call("epoll_create")(source)))?;
        let resolved: Result<Resolved, Error> = runtime.block_on(async {
            let engine = Engine::connect(&request.endpoint).await?;
            resolve::targets(Some(&engine), machine, &selection, Demand::Running).await
        });
        // Not waiting for a look-up of the engine's own name.
        runtime.shutdown_background();
        resolved?.targets
    } else {
        resolve::plain(&selection.selectors, machine)
    };
    match (targets.pop(), targets.len()) {
        (Some(target), 0) => Ok(target),
        (last, _) => {
            let names = targets.iter().chain(&last).map(|target| &*target.name);
            let mut shown = names.clone().take(MAX_NAMES).collect::<Vec<_>>().join(", ");
            let count = names.count();
            if count > MAX_NAMES {
                shown += ", …";
            }
            Err(Error::SeveralTargets { selector, count, names: shown })
        }
    }
}

/// Moves the calling thread into the target's network namespace, with its files in place.
fn enter(target: &Target, request: &ExecRequest) -> Result<(), Error> {
    let engine = engine(target, request)?;
    let place = place(target)
        .ok_or(io::Error::from(io::ErrorKind::NotFound))
        .map_err(|source| failed(target, sys::Error::call("pidfd_open")(source)))?;
    let proved = opener::prove(&place, &engine).map_err(|source| match source.reason() {
        Reason::NotPermitted => Error::not_permitted(format!("enter {}", target.name), &source),
        _ => Error::Opener { target: target.name.clone(), source },
    })?;
    // Read while the process is held, and in its own mount namespace, before ours changes.
    let files = files(target, &proved).map_err(|error| failed(target, error))?;
    into(&proved.netns, &files).map_err(|error| failed(target, error))
}

/// Where the engine is. Where it is a rootless one of this user's, this process is among its users
/// from then on: there it has all rights.
fn engine(target: &Target, request: &ExecRequest) -> Result<EngineAt, Error> {
    let what = format!("enter {}", target.name);
    // What is no container of the engine's is none of its users' either.
    if target.as_container().is_some() && !privileges::effective()?.contains(Capability::SYS_ADMIN)
    {
        let directory = request.runtime_directory.as_deref();
        if let Some(rootless) = Rootless::find(&request.endpoint, directory, &what)? {
            rootless.users().join().map_err(|error| failed(target, error))?;
            return Ok(rootless.engine());
        }
    }
    let socket = request.endpoint.socket().and_then(Path::to_str);
    Ok(socket.map_or(EngineAt::Unknown, |path| EngineAt::Socket(path.to_owned())))
}

/// A file and what is to stand in it.
type Replacement = (&'static str, Vec<u8>);

fn into(netns: &Netns, files: &[Replacement]) -> Result<(), sys::Error> {
    // To enter one's own takes rights, too, and changes nothing.
    if netns.id() != Netns::current()?.id() {
        netns.enter()?;
    }
    if files.is_empty() {
        return Ok(());
    }
    let mounts = PrivateMounts::enter()?;
    for (path, contents) in files {
        mounts.replace(Path::new(path), contents)?;
    }
    Ok(())
}

/// The files that belong to a target.
fn files(target: &Target, proved: &Proved) -> Result<Vec<Replacement>, sys::Error> {
    let mut files = Vec::new();
    match (&target.origin, &proved.process) {
        (Origin::Container(_), Some(process)) => {
            let root = Root::of(process)?;
            for path in FILES {
                // To a resolver an absent file is an empty one; the host's would be another.
                let contents = root.read(Path::new(path), MAX_FILE)?.unwrap_or_default();
                files.push((path, contents));
            }
        }
        (Origin::Netns { path }, _) => {
            for file in FILES {
                if let Some(own) = named_file(path, file)
                    && let Some(contents) = read_if_there(&own)?
                {
                    files.push((file, contents));
                }
            }
        }
        _ => {}
    }
    Ok(files)
}

/// `/etc/netns/NAME/resolv.conf` for `/run/netns/NAME`: `ip-netns(8)`.
fn named_file(netns: &str, file: &str) -> Option<String> {
    let path = Path::new(netns);
    let parent = path.parent()?.to_str()?;
    let name = path.file_name()?.to_str()?;
    let file = Path::new(file).file_name()?.to_str()?;
    NAMED.contains(&parent).then(|| format!("/etc/netns/{name}/{file}"))
}

fn read_if_there(path: &str) -> Result<Option<Vec<u8>>, sys::Error> {
    match fs::read(path) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(sys::Error::path("read", path)(error)),
    }
}

fn failed(target: &Target, source: sys::Error) -> Error {
    if source.is_permission() {
        Error::not_permitted(format!("enter {}", target.name), &source)
    } else {
        Error::Enter { target: target.name.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_named_namespaces_are_found_as_ip_finds_them() {
        for netns in ["/run/netns/blue", "/var/run/netns/blue"] {
            let file = named_file(netns, "/etc/resolv.conf");
            assert_eq!(file.as_deref(), Some("/etc/netns/blue/resolv.conf"));
        }
        for other in ["/proc/7/ns/net", "/run/netns", "blue", "/run/docker/netns/3f2a", "/"] {
            assert_eq!(named_file(other, "/etc/hosts"), None, "{other}");
        }
    }
}
