//! The reader thread: rings on one side, the desk on the other, and the order in between.

mod attaching;
mod command;

pub(crate) use command::Command;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, never, unbounded};
use sys::poll::{Poller, Trigger, Waker};

use crate::{
    CaptureId, Config, Destination, Ending, Error, Event, Identity, Limit, Report, Snapshot,
    budget::Budget,
    clock::{self, StepWatch},
    config::FLUSH_AFTER,
    desk::{Desk, Told},
    haste::{self, Haste},
    hold::Holds,
    lane::Lane,
    merge::{Step, merge},
    nap::{self, Nap},
    recorder::Spiller,
    source::Source,
    writer::{Order, Outcome, Pen},
};

/// How long the rest of a detached namespace may take to come, beyond the retire timeouts.
const DRAIN_GRACE: Duration = Duration::from_millis(250);
/// How often counters are read while frames come, so that they never come near their width.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The shortest sleep while frames wait for their order.
const MIN_SLEEP: Duration = Duration::from_millis(1);
/// How soon a stalled output is tried again when nobody calls.
const RETRY: Duration = Duration::from_millis(50);
/// Epoll keys from here on are sources' netlink sockets; below, rings all have one.
const KEY_WAKER: u64 = 0;
const KEY_RING: u64 = 1;
const KEY_SOURCE: u64 = 2;

/// A capture has another name from this moment on, in nanoseconds since the epoch.
#[derive(Debug)]
struct Renaming {
    at: u64,
    id: CaptureId,
    identity: Identity,
}

#[derive(Debug)]
pub(crate) struct Reader {
    lanes: Vec<Lane>,
    holds: Holds,
    desk: Desk,
    budget: Arc<Budget>,
    outcomes: Receiver<Outcome>,
    commands: Receiver<Command>,
    waker: Waker,
    poller: Poller,
    /// Only the waker: for naps that no ring ends.
    napper: Poller,
    nap: Nap,
    heap: BinaryHeap<Reverse<(u64, usize)>>,
    /// Captures that will be attached, and what was told of them meanwhile.
    announced: HashMap<CaptureId, Vec<Command>>,
    /// What is called otherwise once all that came before is written.
    renames: VecDeque<Renaming>,
    step_watch: StepWatch,
    started: Instant,
    duration: Option<Duration>,
    packet_buffered: bool,
    counted: Instant,
    /// Frames wait because there is no chunk for them.
    stalled: bool,
    /// Frames wait because a full chunk is to be written first, while it is in cache.
    paused: bool,
    /// Writing was interrupted for the next turn, which waits for nothing.
    hurries: bool,
    haste: Haste,
    stopping: bool,
    next_turn: Option<u64>,
}

impl Reader {
    pub(crate) fn new(
        mut config: Config,
        commands: Receiver<Command>,
        events: Sender<Event>,
        waker: Waker,
        listener: Waker,
        outputs: usize,
    ) -> Result<(Self, Pen, Receiver<Order>), Error> {
        let budget = Arc::new(match config.destination {
            Destination::Recorder { .. } => Budget::for_windows(config.memory, waker.clone()),
            _ => Budget::new(config.memory, outputs, waker.clone()),
        });
        let (orders, queue) = unbounded();
        let (outbox, outcomes) = unbounded();
        let spill = match &mut config.destination {
            Destination::Recorder { spill, .. } => spill.take(),
            _ => None,
        };
        let spiller = spill
            .map(|spill| {
                let (outbox, waker) = (outbox.clone(), waker.clone());
                Spiller::start(spill, config.keep_free, &budget, outbox, waker)
            })
            .transpose()?;
        let pen = Pen::new(
            Arc::clone(&budget),
            config.keep_free,
            config.compression,
            outbox,
            waker.clone(),
        );
        let is_split = match &config.destination {
            Destination::Files { split, .. } => *split,
            Destination::Recorder { .. } => true,
            Destination::Stream { .. } => false,
        };
        let holds = Holds::new(!is_split || config.print.is_some());
        let poller = Poller::new()?;
        poller.add(&waker, KEY_WAKER, Trigger::Level)?;
        let napper = Poller::new()?;
        napper.add(&waker, KEY_WAKER, Trigger::Level)?;
        let (duration, packet_buffered) = (config.autostop.duration, config.packet_buffered);
        let told = Told { events, listener };
        let desk = Desk::new(config, Arc::clone(&budget), orders, told, spiller);
        let reader = Self {
            lanes: Vec::new(),
            holds,
            desk,
            budget,
            outcomes,
            commands,
            waker,
            poller,
            napper,
            nap: Nap::new(Instant::now()),
            heap: BinaryHeap::new(),
            announced: HashMap::new(),
            renames: VecDeque::new(),
            step_watch: StepWatch::new(),
            started: Instant::now(),
            duration,
            packet_buffered,
            counted: Instant::now(),
            stalled: false,
            paused: false,
            hurries: false,
            haste: Haste::default(),
            stopping: false,
            next_turn: None,
        };
        Ok((reader, pen, queue))
    }

    /// Waits for something to do, and does it. `true`: it is over, and [`Reader::finish`] is next.
    pub(crate) fn turn(&mut self) -> Result<bool, Error> {
        self.wait()?;
        // Before anybody is heard: who asks to hold something up from a moment on has not been passed
        // by then.
        let now = clock::now();
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.desk.hear(outcome);
        }
        self.hear_of_interfaces();
        self.take_in(now);
        self.emit(now);
        self.next_turn = self.desk.turn_by_clock(now);
        let lanes = &mut self.lanes;
        let minds = self.desk.mind(now, || {
            let settled = lanes.iter().map(|lane| lane.settled_until(now)).min();
            let waiting = lanes.iter_mut().filter_map(Lane::front).min();
            // Without a ring what comes is what may still be attached.
            let settled = settled.filter(|settled| *settled < u64::MAX).unwrap_or(now);
            let settled = settled.min(waiting.map_or(u64::MAX, |front| front - 1));
            settled.min(latest(lanes, now))
        });
        self.next_turn = [self.next_turn, minds].into_iter().flatten().min();
        self.flush();
        self.let_go(now);
        if self.duration.is_some_and(|duration| self.started.elapsed() >= duration) {
            self.desk.ending.get_or_insert(Ending::Limit(Limit::Duration));
        }
        Ok(match &self.desk.ending {
            Some(ending) if ending.writes_the_rest() => {
                self.stop();
                self.lanes.is_empty() && self.announced.is_empty()
            }
            Some(_) => true,
            None => false,
        })
    }

    /// Whether there is more to be put together at once, before what was is written.
    pub(crate) fn puts_off_writing(&mut self) -> bool {
        self.paused && self.hastens()
    }

    /// Whether rings fill, so that the next turn comes before the rest of what is ordered is written.
    pub(crate) fn interrupts_writing(&mut self) -> bool {
        self.hurries = self.hastens();
        self.hurries
    }

    /// Whether rings fill faster than one thread empties them.
    pub(crate) fn needs_another_thread(&self) -> bool {
        self.haste.is_in_vain()
    }

    fn hastens(&mut self) -> bool {
        let fills = || self.lanes.iter().any(|lane| lane.is_occupied_by(haste::PART));
        self.haste.is_due(!self.packet_buffered && fills(), &self.budget)
    }

    fn wait(&mut self) -> Result<(), Error> {
        let timeout = if self.nap()? { Some(Duration::ZERO) } else { self.timeout() };
        for key in self.poller.wait(timeout)? {
            if key == KEY_WAKER {
                self.waker.reset();
                continue;
            }
            // Rings are all looked at in any case.
            let Some(source) = key.checked_sub(KEY_SOURCE) else { continue };
            let Ok(source) = usize::try_from(source) else { continue };
            if self.desk.sources.get(source).and_then(Source::changes).is_some() {
                self.desk.look(source);
            }
        }
        Ok(())
    }

    /// Sleeps whatever comes, until somebody calls or rings fill. `false`: this is no time to sleep.
    fn nap(&mut self) -> Result<bool, Error> {
        if self.paused || self.hurries || self.packet_buffered || self.stopping {
            return Ok(false);
        }
        let mut napped = false;
        for piece in self.nap.pieces(Instant::now()) {
            napped = true;
            if !self.napper.wait(Some(piece))?.is_empty()
                || self.lanes.iter().any(|lane| lane.is_filled_by(nap::PART))
            {
                break;
            }
        }
        Ok(napped)
    }

    /// Until when nothing has to be done if nothing happens; `None`: for ever.
    fn timeout(&mut self) -> Option<Duration> {
        if self.paused || std::mem::take(&mut self.hurries) {
            return Some(Duration::ZERO);
        }
        let now = clock::now();
        let until = |moment: u64| Duration::from_nanos(moment.saturating_sub(now)).max(MIN_SLEEP);
        let front = self.lanes.iter_mut().filter_map(Lane::front).min();
        // Whoever ends a hold sooner says so.
        let held = |moment: u64| {
            let settles = self.holds.settles(moment);
            settles.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
        };
        let waiting = front.map(|front| {
            if self.stalled {
                return RETRY;
            }
            let settles = self.lanes.iter().map(|lane| lane.settles_at(front)).max().unwrap_or(0);
            until(settles).max(held(front))
        });
        let draining = self.sources().filter_map(Source::looks_again_in).min();
        let flush = self.desk.outputs.iter().filter_map(|output| output.chunk_since).min();
        let flush = flush.map(|since| FLUSH_AFTER.saturating_sub(since.elapsed()).max(MIN_SLEEP));
        let duration = self.duration.map(|all| all.saturating_sub(self.started.elapsed()));
        let turn = self.next_turn.map(until);
        let renaming = self.renames.front().map(|renaming| {
            let settles = self.lanes.iter().map(|lane| lane.settles_at(renaming.at)).max();
            until(settles.unwrap_or(0)).max(held(renaming.at))
        });
        [waiting, draining, flush, duration, turn, renaming].into_iter().flatten().min()
    }

    fn obey(&mut self, command: Command) {
        if let Some(id) = command.waits_for()
            && let Some(later) = self.announced.get_mut(&id)
        {
            later.push(command);
            return;
        }
        match command {
            Command::Announce(id) => {
                self.announced.insert(id, Vec::new());
            }
            Command::Renounce(id) => {
                self.announced.remove(&id);
            }
            Command::AttachAnnounced(attachment, found) => {
                self.attach_announced(*attachment, found);
            }
            Command::Attach(attachment, found, answer) => {
                // Whoever asked may have given up.
                let _ = answer.send(match self.desk.ending {
                    // Nobody would put an end to it.
                    Some(_) => Err(Error::Ended),
                    None => self.attach(*attachment, found),
                });
            }
            Command::Hold { id, since } if self.desk.ending.is_none() => {
                self.holds.begin(id, since);
            }
            Command::Hold { .. } => {}
            Command::Watch { id, rings } => self.holds.watch(id, rings),
            Command::Release { id } => self.holds.release(id),
            Command::Extend(id, sockets, geometry) => {
                // What cannot be mapped is not captured, and the interface has no frames.
                let _ = self.extend(id, sockets, geometry);
            }
            Command::Detach(id, place) => {
                if let Some(source) = self.desk.find(id) {
                    self.desk.keep_place(source, place);
                    self.desk.sources[source].refuse();
                }
            }
            Command::Forget(id) => self.desk.forget(id),
            Command::Rename(id, identity) => {
                self.renames.push_back(Renaming { at: clock::now(), id, identity });
            }
            Command::Names(names) => self.desk.set_names(names),
            Command::Snapshot(answer) => {
                self.count();
                let _ = answer.send(self.desk.snapshot());
            }
            Command::Trigger(id, trigger) => self.desk.trigger(id, &trigger, clock::now()),
            Command::Flush => {
                self.emit_all(u64::MAX);
                self.desk.flush();
            }
            Command::Stop => {
                self.desk.ending.get_or_insert(Ending::Stopped);
            }
        }
    }

    /// Looks at the interfaces of captures elsewhere of which something was told.
    fn hear_of_interfaces(&mut self) {
        for at in 0..self.desk.present.len() {
            let index = self.desk.present[at];
            if self.desk.sources[index].has_news() {
                self.desk.look(index);
            }
        }
    }

    fn take_in(&mut self, now: u64) {
        let mut fill = 0;
        let sources = &mut self.desk.sources;
        for lane in &mut self.lanes {
            let source = &mut sources[lane.source];
            let taken = lane.take_in(now, || source.count());
            source.read += taken.frames;
            fill = fill.max(taken.fill);
        }
        self.nap.took(fill);
        if self.counted.elapsed() >= COUNT_EVERY {
            self.count();
        }
    }

    fn count(&mut self) {
        for index in &self.desk.present {
            let source = &mut self.desk.sources[*index];
            source.lost += source.count();
        }
        self.counted = Instant::now();
    }

    /// Writes every frame whose turn has come. A frame's turn comes when no earlier one can come
    /// from any ring any more.
    fn emit(&mut self, now: u64) {
        self.desk.pressed = self.lanes.iter().any(Lane::is_pressed);
        let step = self.step_watch.check();
        if let Some(nanoseconds) = step
            && self.lanes.iter().any(Lane::is_far)
        {
            // Nobody has set the clock that stamps these frames.
            clock::move_ahead(-nanoseconds);
        } else if let Some(nanoseconds) = step {
            // What was stamped before the step goes now: stamps from before and behind it have no
            // order with each other.
            self.desk.tell(Event::ClockStepped { nanoseconds });
            self.emit_all(u64::MAX);
            for output in &mut self.desk.outputs {
                output.latest = 0;
            }
            self.desk.shift_windows(nanoseconds);
            self.holds.shift(nanoseconds);
            for lane in &mut self.lanes {
                lane.forget_time();
            }
        }
        self.holds.look(now);
        let settled = self.lanes.iter().map(|lane| lane.settled_until(now)).min();
        let held = self.holds.settled_until();
        let is_held_up = settled.is_some_and(|settled| held < settled);
        let latest = latest(&self.lanes, now);
        let settled = settled.map(|settled| settled.min(latest).min(held));
        // Without a ring there is nothing to wait for.
        let renamed_until = settled.unwrap_or(u64::MAX);
        while let Some(Renaming { at, .. }) = self.renames.front()
            && *at <= renamed_until
        {
            // What came before goes under the old name.
            self.emit_until(*at);
            if self.paused || self.stalled {
                break;
            }
            self.rename_next();
        }
        if !self.paused || self.renames.is_empty() {
            self.emit_until(settled.unwrap_or(0));
        }
        if !self.paused && !self.stalled {
            self.lanes.iter_mut().for_each(|lane| lane.acknowledge(&self.budget));
        }
        if !self.paused && is_held_up {
            self.lanes.iter_mut().for_each(|lane| lane.spare(&self.budget));
        }
        // A reader that is merely behind gets on by writing, not by copying.
        if !self.paused && self.lanes.iter().any(Lane::is_pressed) {
            self.relieve();
        }
    }

    fn rename_next(&mut self) {
        if let Some(Renaming { id, identity, .. }) = self.renames.pop_front()
            && let Some(source) = self.desk.find(id)
        {
            self.desk.rename(source, identity);
        }
    }

    /// The same for all frames until `until`, whatever is still to come. Does not pause.
    fn emit_all(&mut self, until: u64) {
        self.emit_until(until);
        while self.paused {
            self.emit_until(until);
        }
    }

    fn emit_until(&mut self, until: u64) {
        let Self { lanes, desk, heap, budget, .. } = self;
        let step = merge(lanes, until, heap, |lane, until| {
            let source = lane.source;
            let gone = lane
                .offer(until, budget, |block, run, lost| desk.deliver(source, block, run, lost));
            if desk.take_ordered() {
                Step::Pause
            } else if gone > 0 {
                Step::Gone
            } else {
                Step::Wait
            }
        });
        self.stalled = step == Step::Wait;
        self.paused = step == Step::Pause;
    }

    /// A ring is more than half full of frames that wait. Make room: by copying them out, else by
    /// letting them go before their time, else by dropping them.
    fn relieve(&mut self) {
        let budget = Arc::clone(&self.budget);
        let mut pressing = None;
        for lane in &mut self.lanes {
            if lane.is_pressed() && !lane.relieve(&budget) {
                pressing = pressing.max(lane.pressing_until());
            }
        }
        let Some(until) = pressing else { return };
        if !self.stalled {
            self.emit_all(until);
        }
        if self.stalled {
            for lane in &mut self.lanes {
                if lane.is_pressed() {
                    let shed = lane.shed(&budget);
                    let source = &mut self.desk.sources[lane.source];
                    source.stats.dropped_by_us += shed;
                    source.lost += shed;
                }
            }
        }
    }

    fn flush(&mut self) {
        let is_due = |since: Instant| self.packet_buffered || since.elapsed() >= FLUSH_AFTER;
        if self.desk.outputs.iter().any(|output| output.chunk_since.is_some_and(is_due)) {
            self.desk.flush();
        }
    }

    /// Lets namespaces go that are drained, and ends their sources when their frames are written.
    fn let_go(&mut self, now: u64) {
        let mut at = 0;
        while let Some(index) = self.desk.present.get(at).copied() {
            at += 1;
            let source = &mut self.desk.sources[index];
            if source.is_draining() {
                let retire = self.lanes.iter().filter(|lane| lane.source == index);
                let retire = retire.map(Lane::retire).max().unwrap_or_default();
                if !source.is_drained(2 * retire + DRAIN_GRACE) {
                    continue;
                }
                for lane in self.lanes.iter_mut().filter(|lane| lane.source == index) {
                    // What came between the last look and the last count.
                    let taken = lane.take_in(now, || 0);
                    source.read += taken.frames;
                    lane.close(&self.budget);
                }
                source.let_go_aside(now);
            }
            let waits = |lane: &Lane| lane.source == index && lane.len() > 0;
            if source.live.is_none() && !self.lanes.iter().any(waits) {
                settle(source);
                self.lanes.retain(|lane| lane.source != index);
                self.desk.end(index);
                // The next one stands where this one stood.
                at -= 1;
            }
        }
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.holds.release_all();
            // What is written from here on is what was asked for before the end.
            self.refuse_all();
        }
    }

    /// The end: the rest of every ring is counted as discarded, files are closed. Tells where
    /// everything stands, and hears nothing any more: who asks has no answer to wait for.
    pub(crate) fn finish(&mut self) -> Snapshot {
        self.refuse_all();
        let now = clock::now();
        for lane in &mut self.lanes {
            lane.clear(&self.budget);
        }
        self.lanes.clear();
        while let Some(index) = self.desk.present.first().copied() {
            let source = &mut self.desk.sources[index];
            source.let_go(now);
            settle(source);
            self.desk.end(index);
        }
        self.desk.close_all();
        let last = self.desk.snapshot();
        self.commands = never();
        last
    }

    /// Those that have not ended.
    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.desk.present.iter().map(|index| &self.desk.sources[*index])
    }

    fn refuse_all(&mut self) {
        for index in &self.desk.present {
            self.desk.sources[*index].refuse();
        }
    }

    /// The last words, once every order is carried out.
    pub(crate) fn report(mut self) -> Report {
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.desk.hear(outcome);
        }
        let ending = self.desk.ending.take().unwrap_or(Ending::Stopped);
        Report { last: self.desk.snapshot(), ending }
    }
}

/// What nobody may write beyond, whatever rings say of themselves: now, by the clock that stamps
/// frames. How another machine's clock goes is known there alone.
fn latest(lanes: &[Lane], now: u64) -> u64 {
    if lanes.iter().any(Lane::is_far) { u64::MAX } else { now }
}

/// What the kernel counted and nobody will see any more was discarded.
fn settle(source: &mut Source) {
    let stats = &mut source.stats;
    stats.discarded += stats.received.saturating_sub(stats.accounted());
}
