//! How large rings are, how often they wake somebody, and what else a socket is asked for with.

use std::time::Duration;

use filter::Plan;
use opener::{Scope, Spec};
use sys::{machine, ring::Geometry};

use crate::Request;

/// The smallest and the largest ring that a share of the ring memory makes, in bytes.
const RING: (u32, u32) = (640 << 10, 16 << 20);
/// The shortest retire timeout, and the longest.
const RETIRE: (Duration, Duration) = (Duration::from_millis(8), Duration::from_millis(128));
/// How much each ring adds to it: each ring costs a timer interrupt for each timeout, so that many rings
/// cost as much as a few.
const RETIRE_PER_RING: Duration = Duration::from_micros(1280);
/// The shortest retire timeout of those that come later: nobody reads their rings until it is known
/// whose they are, and each timeout with a single frame takes a block.
const HELD_RETIRE: Duration = Duration::from_millis(32);
/// So many targets that are still to come have a share of the ring memory kept for them, where
/// targets are followed; as many as there are now, if that is more.
const KEPT_FOR: usize = 4;
/// Since this version of the kernel a socket for a whole namespace costs other namespaces nothing.
const CHEAP_NAMESPACE_TAPS: (u32, u32) = (6, 15);

/// What each target's sockets are made like, and how much ring memory is left.
#[derive(Debug)]
pub(crate) struct Rings {
    /// The geometry is that of the last one.
    pattern: Spec,
    /// Of each ring, where the user said so.
    fixed: Option<u32>,
    /// Bytes of all rings.
    memory: u64,
    /// Bytes of those that are in use.
    used: u64,
    live: usize,
    follow: bool,
}

impl Rings {
    pub(crate) fn new(request: &Request, plan: &Plan) -> Self {
        let each = request.socket_per_interface.unwrap_or_else(|| {
            machine::kernel_version().is_some_and(|version| version < CHEAP_NAMESPACE_TAPS)
        });
        let scope = if !request.interfaces.is_empty() {
            Scope::Named(request.interfaces.clone())
        } else if each {
            Scope::EachInterface
        } else {
            Scope::Namespace
        };
        let pattern = Spec {
            program: plan.kernel().clone(),
            fallback: plan.prologue().clone(),
            geometry: Geometry::of_size(RING.1, RETIRE.0),
            scope,
            promiscuous: request.promiscuous,
        };
        let memory = u64::from(request.ring_memory);
        let follow = request.follows();
        Self { pattern, fixed: request.ring, memory, used: 0, live: 0, follow }
    }

    /// What the opener is asked for, where so many targets are to be attached now.
    pub(crate) fn spec(&self, coming: usize) -> Spec {
        let coming = coming.max(1);
        let left = self.memory.saturating_sub(self.used);
        // Those that come one by one take half of what is left, so that there is always some.
        let share = match (self.follow, self.live) {
            (false, _) => left / coming as u64,
            (true, 0) => left / (coming + coming.max(KEPT_FOR)) as u64,
            (true, _) => left / 2 / coming as u64,
        };
        let share = u32::try_from(share).unwrap_or(u32::MAX).clamp(RING.0, RING.1);
        let rings = u32::try_from(self.live + coming).unwrap_or(u32::MAX);
        let shortest = if self.live > 0 && self.follow { HELD_RETIRE } else { RETIRE.0 };
        let retire = RETIRE_PER_RING.saturating_mul(rings).clamp(shortest, RETIRE.1);
        let geometry = Geometry::of_size(self.fixed.unwrap_or(share), retire);
        Spec { geometry, ..self.pattern.clone() }
    }

    /// Which interfaces are listened on.
    pub(crate) fn scope(&self) -> &Scope {
        &self.pattern.scope
    }

    /// So many bytes of rings are in use from now on.
    pub(crate) fn take(&mut self, bytes: u64) {
        self.used += bytes;
        self.live += 1;
    }

    /// They are free again.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
        self.live = self.live.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings(memory: u64, follow: bool) -> Rings {
        let program = model::Program::ret(0);
        let pattern = Spec {
            program: program.clone(),
            fallback: program,
            geometry: Geometry::of_size(RING.1, RETIRE.0),
            scope: Scope::Namespace,
            promiscuous: false,
        };
        Rings { pattern, fixed: None, memory, used: 0, live: 0, follow }
    }

    #[test]
    fn a_fixed_set_shares_all_of_it() {
        let rings = rings(64 << 20, false);
        assert_eq!(rings.spec(1).geometry.bytes(), 16 << 20);
        assert!(rings.spec(16).geometry.bytes() <= 4 << 20);
        assert_eq!(rings.spec(100).geometry.retire(), RETIRE.1);
    }

    #[test]
    fn those_that_come_later_find_something() {
        let mut rings = rings(64 << 20, true);
        let mut all = 0;
        for _ in 0..12 {
            let bytes = rings.spec(1).geometry.bytes() as u64;
            assert!(bytes >= 512 << 10, "{bytes}");
            rings.take(bytes);
            all += bytes;
        }
        assert!(all <= 72 << 20, "{all}");
        rings.give_back(all);
        assert!(rings.spec(1).geometry.bytes() > 8 << 20);
    }
}
