use std::{
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use capture::far::{self, Outgoing};
use model::{Interface, NetnsId, Stats};
use opener::{Opened, Opener, Place, Reason, Scope, Spec};
use sys::{
    netlink::{Changes, Netlink},
    packet::PacketSocket,
    poll::{Poller, Trigger},
    ring::{Block, Geometry},
};

use crate::tap::{Tap, earliest};

/// How long the rest of a capture that was let go may take to come, beyond the retire timeouts.
const DRAIN_GRACE: Duration = Duration::from_millis(250);

/// The most sockets of one capture: an interface each.
const MAX_SOCKETS: usize = 100;

/// The most interfaces that came and went unasked and are remembered until they are told.
const MAX_GONE: usize = 1024;

/// A namespace that is captured, or was and is not all sent.
#[derive(Debug)]
pub(crate) struct Station {
    capture: u32,
    place: Place,
    spec: Spec,
    netns: NetnsId,
    /// Sockets, until all that there is has been read.
    live: Option<Live>,
    /// What the kernel counted.
    stats: Stats,
    /// Frames taken out of the rings.
    taken: u64,
    /// Frames lost that were not told with any others.
    lost: u64,
    /// Something about its interfaces is new.
    has_news: bool,
    /// Interfaces that were up since the last look and may be gone.
    gone: Vec<Interface>,
    /// What was told of it.
    told: Told,
}

#[derive(Debug)]
struct Live {
    sockets: Vec<(Option<u32>, PacketSocket)>,
    taps: Vec<Tap>,
    geometry: Geometry,
    netlink: Netlink,
    changes: Changes,
    /// Of the process through which the namespace was found.
    process: Option<OwnedFd>,
    /// Since when the sockets refuse everything.
    draining: Option<Instant>,
}

#[derive(Debug)]
struct Told {
    settled: u64,
    settled_at: Option<Instant>,
    stats: Option<Stats>,
    interfaces: Vec<Interface>,
}

/// What is waited for of a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concern {
    /// Its rings.
    Frames,
    /// Its interfaces.
    Interfaces,
    /// The end of its process.
    End,
}

impl Station {
    /// Takes what the opener brought, and asks which interfaces there are. `key` is what each of its
    /// concerns is waited for under.
    ///
    /// # Errors
    /// When a ring cannot be mapped, or the process has no descriptors left.
    pub(crate) fn new(
        capture: u32,
        (place, spec): (Place, Spec),
        opened: Opened,
        poller: &Poller,
        key: impl Fn(Concern) -> u64,
    ) -> Result<Self, sys::Error> {
        let [ask, hear] = opened.netlink;
        let mut live = Live {
            sockets: Vec::new(),
            taps: Vec::new(),
            geometry: opened.geometry,
            netlink: Netlink::from_fd(ask),
            changes: Changes::from_fd(hear)?,
            process: None,
            draining: None,
        };
        live.extend(opened.sockets, poller, key(Concern::Frames))?;
        poller.add(&live.changes, key(Concern::Interfaces), Trigger::Level)?;
        if let Some(process) = opened.pidfd {
            poller.add(&process, key(Concern::End), Trigger::Level)?;
            live.process = Some(process);
        }
        let told = Told {
            settled: 0,
            settled_at: None,
            stats: None,
            interfaces: live.netlink.interfaces().unwrap_or_default(),
        };
        Ok(Self {
            capture,
            place,
            spec,
            netns: opened.netns,
            live: Some(live),
            stats: Stats::default(),
            taken: 0,
            lost: 0,
            has_news: false,
            gone: Vec::new(),
            told,
        })
    }

    pub(crate) fn netns(&self) -> NetnsId {
        self.netns
    }

    /// The interfaces as they were told last.
    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.told.interfaces
    }

    /// Bytes of its rings.
    pub(crate) fn ring_bytes(&self) -> usize {
        let live = self.live.iter();
        live.map(|live| live.taps.len() * live.geometry.bytes()).sum()
    }

    /// Takes what the rings have; `each` sees it first.
    pub(crate) fn take(&mut self, now: u64, outgoing: &mut Outgoing, mut each: impl FnMut(&Block)) {
        let Self { capture, live, stats, taken, lost, .. } = self;
        let Some(Live { sockets, taps, .. }) = live else { return };
        for tap in taps {
            tap.take(now, |block| {
                if block.is_losing() {
                    *lost += count(sockets, stats);
                }
                each(&block);
                *taken += u64::from(block.len());
                outgoing.take(*capture, block, std::mem::take(lost));
            });
        }
    }

    /// Whether a ring has more already.
    pub(crate) fn has_block(&self) -> bool {
        self.live.iter().flat_map(|live| &live.taps).any(Tap::has_block)
    }

    /// The latest timestamp that was taken.
    pub(crate) fn newest(&self) -> u64 {
        self.live.iter().flat_map(|live| &live.taps).map(Tap::newest).max().unwrap_or(0)
    }

    /// Asks the kernel for its counters.
    pub(crate) fn count(&mut self) {
        if let Some(live) = &self.live {
            self.lost += count(&live.sockets, &mut self.stats);
        }
    }

    /// Where its frames went.
    pub(crate) fn stats(&self, sent: far::Counts) -> Stats {
        Stats { captured: sent.sent, dropped_by_us: sent.dropped, ..self.stats }
    }

    /// The same, where it is not what was told last.
    pub(crate) fn new_stats(&mut self, sent: far::Counts) -> Option<Stats> {
        let stats = Some(self.stats(sent));
        if self.told.stats == stats {
            return None;
        }
        self.told.stats = stats;
        stats
    }

    /// The same at its end: what the kernel counted and nobody will see any more was discarded.
    pub(crate) fn last_stats(&self, sent: far::Counts) -> Stats {
        let stats = self.stats(sent);
        let discarded = stats.received.saturating_sub(stats.accounted());
        Stats { discarded, ..stats }
    }

    /// No frame with an earlier timestamp will be sent: `None` where that is nothing new. `oldest`
    /// as of [`Outgoing::oldest`].
    pub(crate) fn settled(&mut self, now: u64, oldest: Option<u64>) -> Option<u64> {
        let taps = self.live.iter().flat_map(|live| &live.taps);
        let rings = taps.map(|tap| tap.settled_until(now)).min();
        let until = rings.unwrap_or(now).min(now).min(oldest.map_or(u64::MAX, earliest));
        if until <= self.told.settled {
            return None;
        }
        (self.told.settled, self.told.settled_at) = (until, Some(Instant::now()));
        Some(until)
    }

    /// When it is worth while to tell that again, if it is. Who puts frames in order waits for it
    /// where any were sent that are as late; for others it is enough to hear of it now and then.
    pub(crate) fn settles_in(&self, newest: u64, linger: Duration, rarely: Duration) -> Duration {
        let every = if self.told.settled <= newest { linger } else { rarely };
        self.told.settled_at.map_or(Duration::ZERO, |at| every.saturating_sub(at.elapsed()))
    }

    /// The clock was set.
    pub(crate) fn forget_time(&mut self) {
        self.told.settled = 0;
        self.live.iter_mut().flat_map(|live| &mut live.taps).for_each(Tap::forget_time);
    }

    /// Hears that something about its interfaces is new.
    pub(crate) fn hear(&mut self, poller: &Poller) {
        let Some(live) = &self.live else { return };
        match live.changes.read() {
            Ok(were_up) => {
                for interface in were_up {
                    self.gone.retain(|known| known.index != interface.index);
                    self.gone.push(interface);
                }
                let over = self.gone.len().saturating_sub(MAX_GONE);
                self.gone.drain(..over);
            }
            // It would be heard again at once. What is there can still be asked for.
            Err(_) => drop(poller.remove(&live.changes)),
        }
        self.has_news = true;
    }

    /// Asks which interfaces there are, where something is new. Those that came and went meanwhile
    /// are among them, as they were: there may be frames of theirs. `None` where all is as it was
    /// told.
    pub(crate) fn look(&mut self) -> Option<&[Interface]> {
        if !std::mem::take(&mut self.has_news) {
            return None;
        }
        let live = self.live.as_mut()?;
        // A namespace that is going away answers with an error, and has nothing new.
        let mut found = live.netlink.interfaces().ok()?;
        for before in self.gone.drain(..) {
            match found.iter_mut().find(|now| now.index == before.index) {
                Some(now) if !now.up => *now = before,
                Some(_) => {}
                None => found.push(before),
            }
        }
        if found == self.told.interfaces {
            return None;
        }
        self.told.interfaces = found;
        Some(&self.told.interfaces)
    }

    /// Opens sockets for interfaces that came later, where each has one of its own. What fails is
    /// tried again with the next news.
    pub(crate) fn extend(&mut self, opener: &Opener, poller: &Poller, key: u64) {
        let wanted = |it: &&Interface| match &self.spec.scope {
            Scope::EachInterface => it.up,
            Scope::Named(names) => it.up && names.contains(&it.name),
            Scope::Namespace | Scope::Index(_) => false,
        };
        let Some(live) = self.live.as_mut().filter(|live| live.draining.is_none()) else { return };
        for interface in self.told.interfaces.iter().filter(wanted) {
            let index = interface.index;
            let listens = |listens: &Option<u32>| listens.is_none_or(|it| it == index);
            if live.sockets.iter().any(|(it, _)| listens(it)) || live.sockets.len() >= MAX_SOCKETS {
                continue;
            }
            let (scope, geometry) = (Scope::Index(index), live.geometry);
            let spec = Spec { scope, geometry, ..self.spec.clone() };
            if let Ok(opened) = opener.open(self.place.clone(), spec)
                && opened.netns == self.netns
            {
                // What cannot be mapped is not captured, and the interface has no frames.
                let _ = live.extend(opened.sockets, poller, key);
            }
        }
    }

    /// Whether it is known by a path only, so that nobody tells its end.
    pub(crate) fn is_known_by_path(&self) -> bool {
        let is_live = self.live.as_ref().is_some_and(|live| live.draining.is_none());
        is_live && matches!(self.place, Place::Netns { .. })
    }

    /// Whether the path still leads to this namespace.
    pub(crate) fn is_there(&self, opener: &Opener) -> bool {
        let identity = opener.identify_all(std::slice::from_ref(&self.place));
        match identity.map(|mut all| all.pop()) {
            Ok(Some(Ok(netns))) => netns == self.netns,
            Ok(Some(Err(opener::Error::Refused { reason, .. }))) => {
                !matches!(reason, Reason::NotFound | Reason::NotReady)
            }
            // That says nothing of the namespace.
            _ => true,
        }
    }

    /// Refuses everything from now on: what is in the rings is all there is.
    pub(crate) fn refuse(&mut self, poller: &Poller) {
        let Some(live) = &mut self.live else { return };
        if live.draining.is_some() {
            return;
        }
        live.draining = Some(Instant::now());
        for (_, socket) in &live.sockets {
            // A kernel that took a program takes a shorter one.
            let _ = socket.attach(&filter::Plan::refuse_all());
        }
        if let Some(process) = live.process.take() {
            // It is readable for ever.
            let _ = poller.remove(&process);
        }
    }

    /// Whether it refuses everything and its sockets are still there.
    pub(crate) fn is_draining(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.draining.is_some())
    }

    /// Whether its sockets are closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.live.is_none()
    }

    /// Closes the sockets once all that the kernel ever counted was read.
    pub(crate) fn close_if_drained(&mut self, now: u64, outgoing: &mut Outgoing, poller: &Poller) {
        self.count();
        let Some(live) = &self.live else { return };
        let Some(since) = live.draining else { return };
        let retire = live.taps.iter().map(Tap::retire).max().unwrap_or_default();
        let is_drained = self.taken + self.stats.dropped_by_kernel >= self.stats.received;
        if !is_drained && since.elapsed() <= 2 * retire + DRAIN_GRACE {
            return;
        }
        // What came between the last look and the last count.
        self.take(now, outgoing, |_| {});
        self.count();
        if let Some(live) = self.live.take() {
            let _ = poller.remove(&live.changes);
            // The kernel takes 20 to 150 ms for each. Where there is no thread to be had it is
            // dropped here.
            let _ = thread::Builder::new().name("closing".to_owned()).spawn(move || drop(live));
        }
    }
}

impl Live {
    fn extend(
        &mut self,
        sockets: Vec<(Option<u32>, PacketSocket)>,
        poller: &Poller,
        key: u64,
    ) -> Result<(), sys::Error> {
        for (index, socket) in sockets {
            let tap = Tap::map(&socket, self.geometry)?;
            poller.add(&socket, key, Trigger::Edge)?;
            self.taps.push(tap);
            self.sockets.push((index, socket));
        }
        Ok(())
    }
}

/// Adds what the kernel counted since the last time, and says how many of it were lost.
fn count(sockets: &[(Option<u32>, PacketSocket)], stats: &mut Stats) -> u64 {
    let mut lost = 0;
    for counts in sockets.iter().filter_map(|(_, socket)| socket.take_counts().ok()) {
        stats.received += u64::from(counts.received);
        stats.dropped_by_kernel += u64::from(counts.dropped);
        stats.freezes += u64::from(counts.freezes);
        lost += u64::from(counts.dropped);
    }
    lost
}
