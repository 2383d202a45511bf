//! Whether rings are emptied before what is ordered is written.
//!
//! Writing a chunk takes several times as long as putting it together. What waits in a full ring costs
//! packets, what waits in memory does not: so where rings fill, reading comes first and chunks pile up.
//! What has piled up is no longer in the processor's cache when it is written, so this is for a rush
//! that passes: in one that does not, chunks are written at once again, and the other thread is
//! called to read meanwhile.

use crate::budget::Budget;

/// The part of a ring that is occupied where reading comes first, in thousandths: a quarter.
pub(crate) const PART: u32 = 250;
/// The part of the memory that may be in use for it: half. The rest is for disks that stall.
const MEMORY: usize = 2;
/// However much memory there is, this much in bytes: what it holds is written late.
const MAX_MEMORY: usize = 32 << 20;

/// What is known of the rush so far.
#[derive(Debug, Default)]
pub(crate) struct Haste {
    /// It lasts for longer than there is memory.
    is_in_vain: bool,
}

impl Haste {
    /// Whether reading comes first, where some ring is this full or none is.
    pub(crate) fn is_due(&mut self, fills: bool, budget: &Budget) -> bool {
        if !fills {
            self.is_in_vain = false;
        } else if budget.in_use() > (budget.total() / MEMORY).min(MAX_MEMORY) {
            self.is_in_vain = true;
        }
        fills && !self.is_in_vain
    }

    /// Whether the rush lasts for longer than there is memory.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.is_in_vain
    }
}

#[cfg(test)]
mod tests {
    use sys::poll::Waker;

    use super::*;

    #[test]
    fn it_ends_with_the_memory_and_begins_anew_with_the_next_rush() {
        let budget = Budget::new(4 << 20, 1, Waker::new().unwrap());
        let mut haste = Haste::default();
        assert!(!haste.is_due(false, &budget));
        assert!(haste.is_due(true, &budget));
        let mut chunks = Vec::new();
        while haste.is_due(true, &budget) {
            chunks.push(budget.take_chunk().unwrap());
        }
        assert_eq!(chunks.len(), (2 << 20) / budget.chunk_size() + 1);
        // It was for nothing, and what comes free does not change that.
        chunks.drain(..).for_each(|chunk| budget.give_back(chunk));
        assert!(!haste.is_due(true, &budget));
        assert!(!haste.is_due(false, &budget));
        assert!(haste.is_due(true, &budget));
    }
}
