//! Where the frames of a lane come from.

use std::time::Duration;

use sys::ring::{Block, Ring};

use crate::far::{Arrivals, Receipt};

/// A ring of this machine, or what arrives of one of another.
#[derive(Debug)]
pub(crate) enum Feed {
    Ring(Ring),
    Far {
        arrivals: Arrivals,
        /// As it was when all that had arrived was taken.
        settled: u64,
    },
}

/// Frames that came together.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) block: Block,
    /// How many were lost before them, where that came with them.
    pub(crate) lost: Option<u64>,
    /// To be dropped when they are used.
    pub(crate) receipt: Option<Receipt>,
}

impl Feed {
    /// The capture of another machine.
    pub(crate) fn far(arrivals: Arrivals) -> Self {
        Self::Far { arrivals, settled: 0 }
    }

    pub(crate) fn next(&mut self) -> Option<Taken> {
        match self {
            Self::Ring(ring) => {
                let block = ring.next_block()?;
                Some(Taken { block, lost: None, receipt: None })
            }
            Self::Far { arrivals, settled } => match arrivals.take() {
                Ok(arrived) => Some(Taken {
                    block: arrived.block,
                    lost: Some(arrived.lost),
                    receipt: Some(arrived.receipt),
                }),
                Err(until) => {
                    *settled = until;
                    None
                }
            },
        }
    }

    /// The ring, where there is one here.
    pub(crate) fn ring(&self) -> Option<&Ring> {
        match self {
            Self::Ring(ring) => Some(ring),
            Self::Far { .. } => None,
        }
    }

    /// How long a block may stay open.
    pub(crate) fn retire(&self) -> Duration {
        self.ring().map_or(Duration::ZERO, |ring| ring.geometry().retire())
    }
}
