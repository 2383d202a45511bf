use std::time::Duration;

use sys::{
    packet::PacketSocket,
    ring::{Block, Geometry, Ring},
};

/// How far frames of one ring overtake each other, in nanoseconds: processors write into it side by
/// side.
const WINDOW: u64 = 1_000_000;

/// A ring, and how far it has been read.
#[derive(Debug)]
pub(crate) struct Tap {
    ring: Ring,
    /// The latest timestamp that was taken.
    newest: u64,
    /// When it was last seen empty.
    quiet_at: u64,
}

impl Tap {
    /// # Errors
    /// When the socket has no ring of this geometry.
    pub(crate) fn map(socket: &PacketSocket, geometry: Geometry) -> Result<Self, sys::Error> {
        Ok(Self { ring: Ring::map(socket, geometry)?, newest: 0, quiet_at: 0 })
    }

    /// Takes the blocks that the kernel has handed over, once around the ring at the most. `now`
    /// was read before.
    pub(crate) fn take(&mut self, now: u64, mut each: impl FnMut(Block)) {
        for _ in 0..self.ring.geometry().blocks() {
            let Some(block) = self.ring.next_block() else { break };
            if !block.is_empty() {
                self.newest = self.newest.max(block.last_timestamp());
            }
            each(block);
        }
        if self.ring.is_quiet() {
            self.quiet_at = now;
        }
    }

    /// Whether there is another block already.
    pub(crate) fn has_block(&self) -> bool {
        self.ring.has_block()
    }

    /// The latest timestamp that was taken.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// No frame with an earlier timestamp comes out of this ring any more.
    ///
    /// A frame waits in an unfinished block for up to twice the retire timeout.
    pub(crate) fn settled_until(&self, now: u64) -> u64 {
        let twice = u64::try_from(2 * self.retire().as_nanos()).unwrap_or(u64::MAX);
        let by_clock = now.saturating_sub(twice);
        self.newest.max(self.quiet_at).max(by_clock).saturating_sub(WINDOW)
    }

    /// The ring's retire timeout.
    pub(crate) fn retire(&self) -> Duration {
        self.ring.geometry().retire()
    }

    /// The clock was set: stamps from before say nothing about those to come.
    pub(crate) fn forget_time(&mut self) {
        self.newest = 0;
        self.quiet_at = 0;
    }
}

/// The earliest frame of a block whose first one has this timestamp.
pub(crate) fn earliest(first: u64) -> u64 {
    first.saturating_sub(WINDOW)
}
