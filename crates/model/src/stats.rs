use std::ops::AddAssign;

/// What became of a namespace's frames. Every field counts frames.
///
/// `received = captured + dropped_by_kernel + dropped_by_us + refused + discarded` holds for every
/// namespace once its capture has ended; [`Stats::adds_up`] says whether it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Accepted by the kernel's program: tcpdump's "received by filter" (`tp_packets`).
    pub received: u64,
    /// Handed to a sink.
    pub captured: u64,
    /// No room in the ring (`tp_drops`).
    pub dropped_by_kernel: u64,
    /// No room in our own buffers, because a sink was too slow or failed.
    pub dropped_by_us: u64,
    /// Refused by an expression that was evaluated in user space, or by `-i`.
    pub refused: u64,
    /// Still in the ring when the capture ended at a limit.
    pub discarded: u64,
    /// Captured, but shorter than both the frame and the snaplen because a ring block was too
    /// small. Part of `captured`.
    pub truncated: u64,
    /// Written behind a frame with a later timestamp. Part of `captured`.
    pub out_of_order: u64,
    /// Times that the kernel found the ring full and froze it (`tp_freeze_q_cnt`).
    pub freezes: u64,
}

impl Stats {
    /// Whether every received frame is accounted for exactly once.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.received == self.accounted()
    }

    /// Frames whose fate is known.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.captured + self.dropped_by_kernel + self.dropped_by_us + self.refused + self.discarded
    }

    /// Frames that were wanted and lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.dropped_by_kernel + self.dropped_by_us
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.captured += other.captured;
        self.dropped_by_kernel += other.dropped_by_kernel;
        self.dropped_by_us += other.dropped_by_us;
        self.refused += other.refused;
        self.discarded += other.discarded;
        self.truncated += other.truncated;
        self.out_of_order += other.out_of_order;
        self.freezes += other.freezes;
    }
}
