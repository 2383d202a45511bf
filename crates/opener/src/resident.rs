//! Who lives in a network namespace: the container of a process that is in it.

use std::cell::OnceCell;

use model::NetnsId;
use sys::{
    netns,
    process::{self, PidFd},
};

use crate::{engine::Engine, monitor};

/// The most processes that are looked at for the newest one, which has just been started. Each
/// takes some 10 µs.
const NEWEST: usize = 1024;

/// The most processes that are looked at for the oldest one.
const OLDEST: usize = 8192;

/// A process that is in a namespace, and in a container.
#[derive(Debug)]
pub(crate) struct Resident {
    pub(crate) process: PidFd,
    /// The container's whole id.
    pub(crate) container: String,
}

/// Who of a namespace is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// The one that was started last: of a namespace that was made a moment ago.
    Newest,
    /// The one that has been there for longest: another container may have joined meanwhile.
    Oldest,
}

/// Finds a process in a namespace whose cgroup names a container, or whose monitor does. `None` when
/// there is none (yet), and when /proc does not tell.
pub(crate) fn find(netns: NetnsId, age: Age, engine: &Engine) -> Option<Resident> {
    let pids = process::newest().ok()?;
    let is_there = |pid: &u32| netns::identity_of_process(*pid).is_ok_and(|id| id == netns);
    let asked = OnceCell::new();
    let prove = |pid: u32| {
        let process = PidFd::open(pid).ok()?;
        // Anybody can be in a namespace, without being in a container: an engine's own helpers are.
        let container = match process.container().ok()? {
            Some(container) => container,
            None => {
                let engine = asked.get_or_init(|| engine.process().ok().flatten());
                monitor::container_of(&process, engine.as_ref()?)?
            }
        };
        let is_there = process.netns().is_ok_and(|found| found.id() == netns);
        is_there.then_some(Resident { process, container })
    };
    match age {
        Age::Newest => pids.into_iter().take(NEWEST).filter(is_there).find_map(prove),
        Age::Oldest => pids.into_iter().rev().take(OLDEST).filter(is_there).find_map(prove),
    }
}
