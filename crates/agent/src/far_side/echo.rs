//! Whether what is captured is the stream by which it travels.
//!
//! The client leaves its own connection out where it knows it as it is seen here. Behind a forwarder
//! or an address translation it does not, and then each frame that is sent becomes frames that are
//! captured and sent. That a flow carries as much as we do proves nothing: so does every download that
//! is captured. So we stop to speak, and see whether the flow falls silent; and speak again, and see
//! whether it comes back. What does so several times in a row, and never otherwise, is ours.
//!
//! ```text
//!  quiet ─much is sent─► counting ─one is suspect─► listening ─► draining ─► silent ─► speaking ─► hearing
//!    ▲                      │ none                     ▲  it goes on: not ours │                        │
//!    └──────────────────────┴──────────────────────────┼───────────────────────┘                        │
//!                                                      └── it came back, once more ─────────────────────┴─► ours
//! ```
//!
//! Whoever comes and goes as regularly as we look does not pass for us either: silences differ by more
//! than all that is not exact about when one has begun and ended, and so none that is always as long
//! fits them all.
//!
//! Nothing is lost by that: what is captured meanwhile waits, as it does for a slow link. Who is
//! found innocent is left alone for a while, which becomes longer each time.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use model::FrameParts;

use super::flow::Flow;

/// From so many bytes a second on, of which this many seconds are looked at, a stream is worth a look.
const RATE: u64 = 64 << 10;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long flows are counted, and how many of them.
const COUNTS: Duration = Duration::from_millis(500);
const MAX_FLOWS: usize = 4096;
/// A suspect carries between a half of what we send and eight times as much (it may pass several
/// interfaces), and a third of all that is captured.
const AT_LEAST: u64 = 2;
const AT_MOST: u64 = 8;
const SHARE: u64 = 3;
/// The suspect must have been heard just before, in this time.
const LISTENS: Duration = Duration::from_millis(100);
/// How long the client may take for what is on its way, before silence begins.
const DRAINS: Duration = Duration::from_millis(550);
/// From the beginning of the silence on, what is still on its way behind our pipe and what answers it
/// are let pass.
const SETTLES: Duration = Duration::from_millis(60);
/// How long silence lasts, each time.
const SILENT: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(1250), Duration::from_millis(500)];
/// How soon the suspect must be heard again.
const SPEAKS: Duration = Duration::from_millis(200);
/// How long blocks take to come out of their rings: twice the longest retire timeout of a session.
const LATE: Duration = Duration::from_millis(130);
const _: () = assert!(
    SILENT[1].as_millis()
        > (SILENT[0].as_millis() + LISTENS.as_millis() + DRAINS.as_millis())
            + (SETTLES.as_millis() + LATE.as_millis() + SPEAKS.as_millis())
);
/// What is silent carries less than this part of what it carried before.
const SILENCE_PART: u64 = 8;
/// What has come back carries at least this part of what was sent meanwhile, which must be something.
const BACK_PART: u64 = 4;
const MIN_SENT: u64 = 4 << 10;
/// How long an innocent flow is left alone, at first and at the most; and of how many this is known.
const ALONE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
const MAX_INNOCENT: usize = 64;

/// What may be said at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// Everything.
    Free,
    /// No frames.
    NoFrames,
    /// Nothing.
    Silence,
}

/// Finds out. Reads no clock: times are since any fixed moment, those of frames by the frames' clock.
#[derive(Debug)]
pub(super) struct Echo {
    phase: Phase,
    /// Bytes written to the line, and of frames: sent, and used by the client.
    carried: u64,
    sent: u64,
    used: u64,
    innocent: VecDeque<Innocent>,
}

#[derive(Debug)]
enum Phase {
    Quiet { since: Duration, carried: u64 },
    Counting { since: Duration, carried: u64, flows: HashMap<Flow, Seen>, all: u64 },
    Probing(Probe),
}

/// Bytes of a flow: on the wire, and as far as they are captured.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    wire: u64,
    captured: u64,
}

#[derive(Debug)]
struct Probe {
    suspect: Flow,
    /// Bytes that it carried in a second.
    rate: u64,
    /// How often it behaved like us.
    proofs: usize,
    step: Step,
    since: Duration,
    /// Bytes of the suspect in frames that were seen in this time (nanoseconds since 1970).
    window: (u64, u64),
    seen: u64,
    /// Bytes written to the line when it began to speak, and then how many it were.
    carried: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The suspect has to be there.
    Listening,
    /// What was sent arrives.
    Draining,
    Silent,
    Speaking,
    /// What was seen meanwhile comes out of the rings.
    Hearing,
}

#[derive(Debug)]
struct Innocent {
    flow: Flow,
    until: Duration,
    alone: Duration,
}

impl Echo {
    pub(super) fn new(at: Duration) -> Self {
        let phase = Phase::Quiet { since: at, carried: 0 };
        Self { phase, carried: 0, sent: 0, used: 0, innocent: VecDeque::new() }
    }

    /// Whether anybody is interested in frames.
    pub(super) fn listens(&self) -> bool {
        !matches!(self.phase, Phase::Quiet { .. })
    }

    /// What may be said.
    pub(super) fn speech(&self) -> Speech {
        match &self.phase {
            Phase::Probing(Probe { step: Step::Draining, .. }) => Speech::NoFrames,
            Phase::Probing(Probe { step: Step::Silent, .. }) => Speech::Silence,
            _ => Speech::Free,
        }
    }

    /// A batch of so many bytes goes out.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The client has used so many bytes of batches since the beginning.
    pub(super) fn used(&mut self, bytes: u64) {
        self.used = bytes;
    }

    /// A frame was captured.
    pub(super) fn hear(&mut self, frame: &FrameParts<'_>) {
        let wire = u64::from(frame.original_length);
        match &mut self.phase {
            Phase::Quiet { .. } => {}
            Phase::Counting { flows, all, .. } => {
                let captured = frame.data.len() as u64;
                *all += captured;
                let Some(flow) = Flow::of(frame) else { return };
                if flows.len() >= MAX_FLOWS && !flows.contains_key(&flow) {
                    return;
                }
                let seen = flows.entry(flow).or_default();
                seen.wire += wire;
                seen.captured += captured;
            }
            Phase::Probing(probe) => {
                let (from, until) = probe.window;
                if (from..until).contains(&frame.timestamp)
                    && Flow::of(frame).as_ref() == Some(&probe.suspect)
                {
                    probe.seen += wire;
                }
            }
        }
    }

    /// Goes on, and tells what was found. `now` is the clock of frames in nanoseconds since 1970,
    /// `carried` the number of bytes that were ever written to the line.
    pub(super) fn turn(&mut self, at: Duration, now: u64, carried: u64) -> Option<Flow> {
        self.carried = carried;
        match &mut self.phase {
            Phase::Quiet { since, carried: before } => {
                let long = at.saturating_sub(*since);
                if long >= LOOK_EVERY {
                    let rate = u128::from(carried - *before) * 1000 / long.as_millis().max(1);
                    self.phase = if rate >= u128::from(RATE) {
                        Phase::Counting { since: at, carried, flows: HashMap::new(), all: 0 }
                    } else {
                        Phase::Quiet { since: at, carried }
                    };
                }
                None
            }
            Phase::Counting { since, carried: before, flows, all } => {
                let long = at.saturating_sub(*since);
                if long < COUNTS {
                    return None;
                }
                let (sent, all) = (carried - *before, *all);
                let flows = std::mem::take(flows);
                self.phase = match self.suspect(at, flows, sent, all) {
                    Some((suspect, wire)) => {
                        let rate = wire * 1000 / millis(long).max(1);
                        Phase::Probing(Probe::new(suspect, rate, at, now))
                    }
                    None => Phase::Quiet { since: at, carried },
                };
                None
            }
            Phase::Probing(probe) => match probe.turn(at, now, carried, self.used >= self.sent) {
                None => None,
                Some(Found::Ours) => Some(probe.suspect),
                Some(found) => {
                    let suspect = probe.suspect;
                    self.leave_alone(suspect, at, found);
                    self.phase = Phase::Quiet { since: at, carried };
                    None
                }
            },
        }
    }

    /// Until when nothing changes by itself.
    pub(super) fn timeout(&self, at: Duration) -> Option<Duration> {
        let Phase::Probing(probe) = &self.phase else { return None };
        Some((probe.since + probe.long()).saturating_sub(at))
    }

    /// The clock of frames was set, or it does not matter any more.
    pub(super) fn give_up(&mut self, at: Duration) {
        self.phase = Phase::Quiet { since: at, carried: self.carried };
    }

    /// What carries about as much as we do, and most of what is captured.
    fn suspect(
        &self,
        at: Duration,
        flows: HashMap<Flow, Seen>,
        sent: u64,
        all: u64,
    ) -> Option<(Flow, u64)> {
        let is_alone = |flow: &Flow| {
            self.innocent.iter().any(|innocent| innocent.flow == *flow && at < innocent.until)
        };
        let is_suspect = |(flow, seen): &(Flow, Seen)| {
            seen.wire.saturating_mul(AT_LEAST) >= sent
                && seen.wire <= sent.saturating_mul(AT_MOST)
                && seen.captured.saturating_mul(SHARE) >= all
                && !is_alone(flow)
        };
        let most = flows.into_iter().filter(is_suspect).max_by_key(|(_, seen)| seen.wire)?;
        Some((most.0, most.1.wire))
    }

    fn leave_alone(&mut self, flow: Flow, at: Duration, found: Found) {
        let known = self.innocent.iter().position(|innocent| innocent.flow == flow);
        let known = known.and_then(|known| self.innocent.remove(known));
        let alone = match (known, found) {
            (Some(Innocent { alone, .. }), Found::NotOurs) => (2 * alone).min(ALONE.1),
            // Nothing is known of it.
            (Some(Innocent { alone, .. }), _) => alone,
            (None, _) => ALONE.0,
        };
        if self.innocent.len() >= MAX_INNOCENT {
            self.innocent.pop_front();
        }
        self.innocent.push_back(Innocent { flow, until: at + alone, alone });
    }
}

/// What a probe has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Ours,
    NotOurs,
    Nothing,
}

impl Probe {
    fn new(suspect: Flow, rate: u64, at: Duration, now: u64) -> Self {
        let mut probe = Self {
            suspect,
            rate,
            proofs: 0,
            step: Step::Listening,
            since: at,
            window: (0, 0),
            seen: 0,
            carried: 0,
        };
        probe.begin(Step::Listening, at, (now, now + nanos(LISTENS)));
        probe
    }

    /// Begins a step, in which frames of this time are counted.
    fn begin(&mut self, step: Step, at: Duration, window: (u64, u64)) {
        (self.step, self.since, self.window, self.seen) = (step, at, window, 0);
    }

    /// Begins a step in which frames of the last one's time are counted on: blocks come late.
    fn go_on(&mut self, step: Step, at: Duration) {
        (self.step, self.since) = (step, at);
    }

    /// How long this silence lasts.
    fn silence(&self) -> Duration {
        SILENT[self.proofs.min(SILENT.len() - 1)]
    }

    /// How long a step lasts, if nothing ends it earlier.
    fn long(&self) -> Duration {
        match self.step {
            Step::Listening => LISTENS,
            Step::Draining => DRAINS,
            Step::Silent => SETTLES + self.silence() + LATE,
            Step::Speaking => SPEAKS,
            Step::Hearing => LATE,
        }
    }

    fn turn(&mut self, at: Duration, now: u64, carried: u64, is_drained: bool) -> Option<Found> {
        let long = at.saturating_sub(self.since);
        let is_over = long >= self.long();
        match self.step {
            Step::Listening if is_over => self.go_on(Step::Draining, at),
            Step::Draining if is_drained && long >= LATE => {
                if self.seen == 0 {
                    return Some(Found::Nothing);
                }
                self.begin(Step::Silent, at, (now + nanos(SETTLES), u64::MAX));
            }
            // The link is too slow, or somebody here waits for somebody else.
            Step::Draining if is_over => return Some(Found::Nothing),
            Step::Silent
                if self.seen > self.rate * millis(self.silence()) / 1000 / SILENCE_PART =>
            {
                return Some(Found::NotOurs);
            }
            Step::Silent if is_over => {
                self.carried = carried;
                self.begin(Step::Speaking, at, (now, now + nanos(SPEAKS)));
            }
            Step::Speaking if is_over => {
                self.carried = carried - self.carried;
                self.go_on(Step::Hearing, at);
            }
            Step::Hearing if is_over => {
                if self.carried < MIN_SENT || self.seen * BACK_PART < self.carried {
                    return Some(Found::Nothing);
                }
                self.proofs += 1;
                if self.proofs == SILENT.len() {
                    return Some(Found::Ours);
                }
                self.begin(Step::Listening, at, (now, now + nanos(LISTENS)));
            }
            _ => {}
        }
        None
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
