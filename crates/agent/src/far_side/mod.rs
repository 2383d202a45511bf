mod attaching;
mod echo;
mod flow;
mod looking;
mod sending;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use capture::far::{Outgoing, Patience, StepWatch, now};
use opener::Opener;
use sys::poll::{Poller, Trigger};
use wire::{
    Attach, Clock, Counts, Ended, HEARTBEAT, Hello, Host, Notice, Order, Report, SILENCE, Settings,
};

use self::{
    echo::{Echo, Speech},
    flow::Flow,
};
use crate::{
    error::Error,
    line::{Incoming, Input, Line},
    opening,
    station::{Concern, Station},
};

/// The most captures at once.
const MAX_CAPTURES: usize = 1024;
/// The most bytes of frames that wait, whatever is asked for.
const MAX_MEMORY: u64 = 1 << 30;
/// The shortest and the longest that frames wait for others, whatever is asked for.
const LINGER: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// The longest that they wait for the link, whatever is asked for.
const MAX_PATIENCE: Duration = Duration::from_secs(60);
/// How frames are sent when nothing was said.
const SETTINGS: Settings =
    Settings { compress: false, memory: 32 << 20, linger: 50, patience: 2000 };
/// From so many orders to attach that wait on no more orders are read.
const MAX_ATTACHES: usize = 64;
/// How often counters are read and told.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How often those hear how far they are settled who do not wait for it.
const SETTLE_RARELY: Duration = Duration::from_secs(1);
/// How often it is looked at namespaces that are known by path only.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often frames that wait for the link are looked at for their age.
const EXPIRE_EVERY: Duration = Duration::from_millis(50);
/// Between two looks at rings that are drained, and the shortest wait for anything.
const MIN_SLEEP: Duration = Duration::from_millis(2);
/// How long the rest may take at the end, beyond the patience.
const END_GRACE: Duration = Duration::from_secs(10);

const KEY_INPUT: u64 = 0;
const KEY_OUTPUT: u64 = 1;
/// Rings all have one.
const KEY_RING: u64 = 2;
/// From here on two of each capture: its interfaces, and its process.
const KEY_STATION: u64 = 4;

/// The far side of a session: rings in, batches out. One thread, which waits for all of it at once.
#[derive(Debug)]
pub(crate) struct FarSide {
    line: Line,
    poller: Poller,
    /// What is in the poller: the input while orders are read, the output while it is full.
    waits_for: (bool, bool),
    opener: Opener,
    build: &'static str,
    host: Host,
    greeted: bool,
    /// The client will say no more.
    is_told_all: bool,
    attached: bool,
    outgoing: Outgoing,
    linger: Duration,
    patience: Duration,
    stations: BTreeMap<u32, Station>,
    /// Orders to be carried out.
    attaches: Vec<Attach>,
    /// The latest timestamp of any frame.
    newest: u64,
    /// Since when frames wait.
    waiting: Option<Instant>,
    /// More of them could have been sent.
    has_more: bool,
    step_watch: StepWatch,
    echo: Echo,
    /// Why it ends by itself: its client is told at the end.
    verdict: Option<String>,
    began: Instant,
    heard: Instant,
    spoke: Instant,
    counted: Instant,
    /// Counters were read and are to be told.
    counts_are_new: bool,
    looked: Instant,
    ending: Option<Instant>,
    ended: bool,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Another,
    Last,
}

impl FarSide {
    /// # Errors
    /// When the line cannot be waited for.
    pub(crate) fn new(
        line: Line,
        opener: Opener,
        build: &'static str,
        host: Host,
    ) -> Result<Self, Error> {
        let began = Instant::now();
        let mut side = Self {
            line,
            poller: Poller::new()?,
            waits_for: (false, false),
            opener,
            build,
            host,
            greeted: false,
            is_told_all: false,
            attached: false,
            outgoing: Outgoing::new(Patience { memory: 0, time: Duration::ZERO }, false),
            linger: Duration::ZERO,
            patience: Duration::ZERO,
            stations: BTreeMap::new(),
            attaches: Vec::new(),
            newest: 0,
            waiting: None,
            has_more: false,
            step_watch: StepWatch::new(),
            echo: Echo::new(Duration::ZERO),
            verdict: None,
            began,
            heard: began,
            spoke: began,
            counted: began,
            counts_are_new: false,
            looked: began,
            ending: None,
            ended: false,
        };
        side.set(&SETTINGS);
        Ok(side)
    }

    /// Serves the client until it ends, or says that it wants no more.
    ///
    /// # Errors
    /// Whatever keeps from going on. The client is told, where it can be.
    pub(crate) fn serve(mut self) -> Result<(), Error> {
        loop {
            match self.turn() {
                Ok(Turn::Another) => {}
                Ok(Turn::Last) => return Ok(()),
                Err(error) => {
                    if self.greeted {
                        let text = Some(error.to_string());
                        // Nobody may be left to be told.
                        let _ = self.line.tell_behind(&Report::Ended(Ended { text }));
                    }
                    let _ = self.line.flush();
                    return Err(error);
                }
            }
        }
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> Result<Turn, Error> {
        self.wait_for_line()?;
        let timeout = self.timeout();
        let keys = self.poller.wait(Some(timeout))?;
        // Before any ring is looked at.
        let now = now();
        for key in keys {
            if key == KEY_INPUT && self.read()? == Turn::Last {
                return Ok(Turn::Last);
            }
            self.turn_to(key);
        }
        self.open_some()?;
        self.watch_clock()?;
        self.take_in(now);
        self.hear_ourselves(now);
        self.look()?;
        self.let_go(now)?;
        self.send(now)?;
        self.end()
    }

    /// The poller tells of the line as long as something can be done there, so it is in there only
    /// while that is wanted.
    fn wait_for_line(&mut self) -> Result<(), Error> {
        let listens = self.line.listens() && self.attaches.len() < MAX_ATTACHES;
        let wanted = (listens && !self.is_told_all, !self.line.is_idle());
        for (is, wants, fd, key, trigger) in [
            (self.waits_for.0, wanted.0, self.line.input(), KEY_INPUT, Trigger::Level),
            (self.waits_for.1, wanted.1, self.line.output(), KEY_OUTPUT, Trigger::Room),
        ] {
            match (is, wants) {
                (false, true) => self.poller.add(fd, key, trigger)?,
                (true, false) => self.poller.remove(fd)?,
                _ => {}
            }
        }
        self.waits_for = wanted;
        Ok(())
    }

    /// Until when nothing has to be done if nothing happens.
    fn timeout(&self) -> Duration {
        let silence = SILENCE.saturating_sub(self.heard.elapsed());
        let mut timeout = silence.min(HEARTBEAT.saturating_sub(self.spoke.elapsed()));
        let mut at_most = |duration: Duration| timeout = timeout.min(duration);
        let is_behind = !self.attaches.is_empty() || self.has_more;
        if is_behind || self.stations.values().any(Station::has_block) {
            return Duration::ZERO;
        }
        if !self.stations.is_empty() {
            at_most(COUNT_EVERY.saturating_sub(self.counted.elapsed()));
        }
        if self.stations.values().any(Station::is_draining) || self.ending.is_some() {
            at_most(MIN_SLEEP);
        }
        if self.stations.values().any(Station::is_known_by_path) {
            at_most(LOOK_EVERY.saturating_sub(self.looked.elapsed()).max(MIN_SLEEP));
        }
        if let Some(waiting) = self.waiting {
            at_most(EXPIRE_EVERY);
            let left = self.linger.saturating_sub(waiting.elapsed());
            if !left.is_zero() {
                at_most(left.max(MIN_SLEEP));
            }
        }
        if let Some(changes) = self.echo.timeout(self.began.elapsed()) {
            at_most(changes.max(MIN_SLEEP));
        }
        if self.line.is_idle() && self.echo.speech() != Speech::Silence {
            let every = self.settle_every();
            for (capture, station) in &self.stations {
                // Where frames wait it is settled when they go.
                if self.outgoing.oldest(*capture).is_none() {
                    let settles = station.settles_in(self.newest, every, SETTLE_RARELY);
                    at_most(settles.max(MIN_SLEEP));
                }
            }
        }
        timeout
    }

    fn read(&mut self) -> Result<Turn, Error> {
        if self.line.read()? == Input::Ended {
            self.line.end()?;
            self.is_told_all = true;
            // Who wanted the rest may still want it.
            return Ok(if self.ending.is_some() { Turn::Another } else { Turn::Last });
        }
        while let Some(incoming) = self.line.next()? {
            self.heard = Instant::now();
            match incoming {
                Incoming::Hello(_) if self.greeted => {
                    return Err(Error::OutOfTurn { what: "a second greeting" });
                }
                Incoming::Hello(bytes) => {
                    self.line.greet(&Hello::new(self.build, Some(self.host.clone())))?;
                    Hello::read(&bytes, self.build)?;
                    self.greeted = true;
                }
                Incoming::Order(_) if !self.greeted => {
                    return Err(Error::OutOfTurn { what: "an order before its greeting" });
                }
                Incoming::Order(order) => self.obey(order)?,
            }
        }
        Ok(Turn::Another)
    }

    fn obey(&mut self, order: Order) -> Result<(), Error> {
        match order {
            Order::Settings(_) if self.attached => {
                return Err(Error::OutOfTurn { what: "settings behind its first attachment" });
            }
            Order::Settings(settings) => self.set(&settings),
            Order::Attach(attach) => {
                self.attached = true;
                let capture = attach.capture;
                if self.stations.contains_key(&capture)
                    || self.attaches.iter().any(|other| other.capture == capture)
                {
                    return Err(Error::OutOfTurn { what: "the number of a capture twice" });
                }
                if self.ending.is_some() {
                    let text = "the far side is about to end".to_owned();
                    self.line.tell(&opening::refused_here(capture, text))?;
                } else if self.stations.len() + self.attaches.len() >= MAX_CAPTURES {
                    let text = format!("more than {MAX_CAPTURES} captures at once");
                    self.line.tell(&opening::refused_here(capture, text))?;
                } else {
                    self.attaches.push(*attach);
                }
            }
            Order::Detach(detach) => {
                while !self.attaches.is_empty() {
                    self.open_some()?;
                }
                // One that has ended by itself is told of already.
                if let Some(station) = self.stations.get_mut(&detach.capture) {
                    station.refuse(&self.poller);
                }
            }
            Order::Acknowledge(acknowledge) => {
                self.echo.used(acknowledge.bytes);
                self.outgoing.acknowledged(acknowledge.bytes, self.began.elapsed());
            }
            Order::Clock(question) => {
                self.line.tell(&Report::Clock(Clock { number: question.number, now: now() }))?;
                self.line.flush()?;
            }
            Order::Look(look) => self.look_into(look)?,
            Order::Heartbeat => {}
            Order::End => {
                while !self.attaches.is_empty() {
                    self.open_some()?;
                }
                self.begin_to_end();
            }
        }
        Ok(())
    }

    /// Refuses everything from now on: what there is by now is sent.
    fn begin_to_end(&mut self) {
        self.ending.get_or_insert_with(Instant::now);
        for station in self.stations.values_mut() {
            station.refuse(&self.poller);
        }
    }

    fn set(&mut self, settings: &Settings) {
        let milliseconds = |number: u32| Duration::from_millis(number.into());
        self.linger = milliseconds(settings.linger).clamp(LINGER.0, LINGER.1);
        self.patience = milliseconds(settings.patience).min(MAX_PATIENCE);
        let memory = usize::try_from(settings.memory.min(MAX_MEMORY)).unwrap_or(usize::MAX);
        let patience = Patience { memory, time: self.patience };
        self.outgoing = Outgoing::new(patience, settings.compress);
    }

    fn turn_to(&mut self, key: u64) {
        let Some((capture, concern)) = concern_of(key) else { return };
        let Some(station) = self.stations.get_mut(&capture) else { return };
        match concern {
            Concern::Interfaces => station.hear(&self.poller),
            Concern::End => station.refuse(&self.poller),
            // Rings are all looked at in any case.
            Concern::Frames => {}
        }
    }

    fn watch_clock(&mut self) -> Result<(), Error> {
        if let Some(nanoseconds) = self.step_watch.check() {
            self.newest = 0;
            self.stations.values_mut().for_each(Station::forget_time);
            self.echo.give_up(self.began.elapsed());
            let text = format!("the clock was set by {} ms", nanoseconds / 1_000_000);
            self.line.tell(&Report::Notice(Notice { capture: None, text }))?;
        }
        Ok(())
    }

    fn take_in(&mut self, now: u64) {
        for station in self.stations.values_mut() {
            station.take(now, &mut self.outgoing, |block| {
                if self.echo.listens() {
                    block.frames().for_each(|(_, frame)| self.echo.hear(&frame.parts()));
                }
            });
            self.newest = self.newest.max(station.newest());
        }
        if self.counted.elapsed() >= COUNT_EVERY {
            self.counted = Instant::now();
            self.stations.values_mut().for_each(Station::count);
            self.counts_are_new = true;
        }
        self.outgoing.expire(now);
        if self.outgoing.waiting() == 0 {
            self.waiting = None;
        } else {
            self.waiting.get_or_insert_with(Instant::now);
        }
    }

    /// Ends where what is captured is the stream by which it travels.
    fn hear_ourselves(&mut self, now: u64) {
        let at = self.began.elapsed();
        if self.ending.is_some() {
            self.echo.give_up(at);
        } else if let Some(flow) = self.echo.turn(at, now, self.line.carried()) {
            self.verdict = Some(own_stream(&flow));
            self.begin_to_end();
        }
    }

    /// Looks at namespaces whose end nobody tells.
    fn look(&mut self) -> Result<(), Error> {
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        for station in self.stations.values_mut().filter(|station| station.is_known_by_path()) {
            if !station.is_there(&self.opener) {
                station.refuse(&self.poller);
            }
        }
        Ok(())
    }

    /// Closes what is drained, and ends what is closed and sent.
    fn let_go(&mut self, now: u64) -> Result<(), Error> {
        for station in self.stations.values_mut().filter(|station| station.is_draining()) {
            station.close_if_drained(now, &mut self.outgoing, &self.poller);
        }
        let is_over = |capture: &u32, station: &Station| {
            station.is_closed() && self.outgoing.counts(*capture).waiting == 0
        };
        let over: Vec<u32> = self
            .stations
            .iter()
            .filter(|(capture, station)| is_over(capture, station))
            .map(|(capture, _)| *capture)
            .collect();
        for capture in over {
            let Some(station) = self.stations.remove(&capture) else { continue };
            let stats = station.last_stats(self.outgoing.forget(capture));
            let counts = Counts { capture, stats };
            // What ends with all of us has not ended by itself.
            let is_ours = self.verdict.is_some();
            let last = if is_ours { Report::Counts(counts) } else { Report::Detached(counts) };
            self.line.tell_behind(&last)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Turn, Error> {
        if self.heard.elapsed() >= SILENCE {
            return Err(Error::Silence(SILENCE));
        }
        let Some(ending) = self.ending else { return Ok(Turn::Another) };
        if self.stations.is_empty() && !self.ended {
            self.ended = true;
            self.line.tell_behind(&Report::Ended(Ended { text: self.verdict.clone() }))?;
            self.line.flush()?;
        }
        if self.ended && self.line.is_idle() {
            return Ok(Turn::Last);
        }
        let limit = self.patience + END_GRACE;
        if ending.elapsed() > limit { Err(Error::NotTaken(limit)) } else { Ok(Turn::Another) }
    }
}

fn own_stream(flow: &Flow) -> String {
    format!(
        "it captured the stream by which whaletap hears of what it captures, {flow}: leave that out \
         by an expression such as '{}'",
        flow.expression()
    )
}

fn key_of(capture: u32, concern: Concern) -> u64 {
    let own = KEY_STATION + 2 * u64::from(capture);
    match concern {
        Concern::Frames => KEY_RING,
        Concern::Interfaces => own,
        Concern::End => own + 1,
    }
}

fn concern_of(key: u64) -> Option<(u32, Concern)> {
    let own = key.checked_sub(KEY_STATION)?;
    let concern = if own % 2 == 0 { Concern::Interfaces } else { Concern::End };
    Some((u32::try_from(own / 2).ok()?, concern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        for capture in [0, 1, u32::MAX] {
            for concern in [Concern::Interfaces, Concern::End] {
                assert_eq!(concern_of(key_of(capture, concern)), Some((capture, concern)));
            }
            assert_eq!(concern_of(key_of(capture, Concern::Frames)), None);
        }
        assert_eq!(concern_of(KEY_INPUT), None);
        assert_eq!(concern_of(KEY_OUTPUT), None);
    }
}
