use std::os::fd::OwnedFd;

use model::{NetnsId, Target};
use opener::Place;

use crate::{entrance::Entered, naming::joined};

/// A namespace that is captured, and whose it is.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) netns: NetnsId,
    pub(super) targets: Vec<Target>,
    /// Processes through which it was found and that have not ended.
    pub(super) pidfds: Vec<OwnedFd>,
    /// Paths through which it was found, and that still lead to it.
    pub(super) paths: Vec<Place>,
    /// It has no end of its own: the host.
    pub(super) endless: bool,
    /// Where a socket for a further interface is opened.
    pub(super) place: Place,
    /// Bytes of its rings.
    pub(super) ring_bytes: u64,
}

impl Group {
    /// The group of a target whose namespace was opened.
    pub(super) fn new(target: Target, place: Place, opened: &mut Entered) -> Self {
        Self {
            netns: opened.netns,
            targets: vec![target],
            pidfds: opened.pidfd.take().into_iter().collect(),
            paths: is_path(&place).then(|| place.clone()).into_iter().collect(),
            endless: matches!(place, Place::Host),
            place,
            ring_bytes: opened.ring_bytes,
        }
    }

    /// Takes in another target that has the same namespace.
    pub(super) fn join(&mut self, target: Target, place: Place, pidfd: Option<OwnedFd>) {
        self.targets.push(target);
        self.pidfds.extend(pidfd);
        self.endless |= matches!(place, Place::Host);
        self.paths.extend(is_path(&place).then_some(place));
    }

    /// Whether nothing is left of it that could send or receive.
    pub(super) fn is_over(&self) -> bool {
        self.pidfds.is_empty() && self.paths.is_empty() && !self.endless
    }

    /// `a+b` where several share it.
    pub(super) fn name(&self) -> String {
        joined(&self.targets)
    }

    /// The target that is this container.
    pub(super) fn container_mut(&mut self, id: &str) -> Option<&mut Target> {
        self.targets
            .iter_mut()
            .find(|target| target.as_container().is_some_and(|container| container.id == id))
    }

    /// Whether it has this container, in the run whose first process this is.
    pub(super) fn has_run(&self, id: &str, pid: Option<u32>) -> bool {
        self.targets.iter().filter_map(Target::as_container).any(|container| {
            container.id == id && (container.pid == pid || pid.is_none() || container.pid.is_none())
        })
    }

    /// Whether a container or a host's is among its targets that has the host's own network.
    pub(super) fn is_host_network(&self) -> bool {
        self.targets.iter().filter_map(Target::as_container).any(model::Container::is_host_network)
    }
}

fn is_path(place: &Place) -> bool {
    matches!(place, Place::Netns { .. })
}
