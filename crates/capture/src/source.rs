//! One attached namespace: its sockets, its interfaces, and its counts.

use std::{
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use model::{Hatype, Interface, LinkType, NetnsId, Stats};
use sys::{
    netlink::{Changes, Netlink},
    packet::PacketSocket,
};

use crate::{
    Blind, CaptureId, Identity, Means, Sockets, SourceReport, estate::Estate, far::Arrivals,
};

/// How many outputs a source writes to at the most: its files, and what is printed.
pub(crate) const OUTPUTS: usize = 2;

/// Between two looks whether a namespace is drained: of this machine, and of another.
const LOOK_HERE: Duration = Duration::from_millis(1);
const LOOK_FAR: Duration = Duration::from_millis(250);

/// How long the rest of a capture may take to come from another machine: what the far side lets it
/// wait there, and the way.
const FAR_DRAINED_WITHIN: Duration = Duration::from_secs(10);

/// A namespace that is, or was, captured.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) id: CaptureId,
    pub(crate) identity: Identity,
    pub(crate) netns: NetnsId,
    /// Sockets and netlink, until the namespace is let go.
    pub(crate) live: Option<Live>,
    pub(crate) slots: Vec<Slot>,
    /// The slot of the last frame: most often that of the next one too.
    recent: usize,
    pub(crate) stats: Stats,
    pub(crate) bytes: u64,
    /// Frames taken out of the rings.
    pub(crate) read: u64,
    /// Every frame is judged here, because the kernel has only the short program.
    pub(crate) judge_all: bool,
    /// Which outputs it writes to: its files, and the print stream.
    pub(crate) outputs: [Option<usize>; OUTPUTS],
    /// To be told with the next frame.
    pub(crate) notes: Vec<String>,
    /// Frames lost since the last one that was written.
    pub(crate) lost: u64,
    pub(crate) since: u64,
    pub(crate) until: u64,
    only: Option<Vec<String>>,
    /// Its interfaces, where somebody has asked for them already.
    found: Option<Vec<Interface>>,
    blind: Option<Blind>,
    /// What the capture that this one follows has left.
    pub(crate) heritage: Estate,
    pub(crate) place: Place,
}

/// What becomes of a source's place in the files when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is given up.
    GivenUp,
    /// It is kept for a successor.
    Kept,
    /// A successor has it already.
    Inherited,
}

/// What keeps a namespace alive.
#[derive(Debug)]
pub(crate) struct Live {
    post: Post,
    /// Since when the sockets refuse everything, and until when the rest may take to come.
    draining: Option<Instant>,
}

/// Where a namespace is heard of.
#[derive(Debug)]
enum Post {
    Here {
        sockets: Vec<(Option<u32>, PacketSocket)>,
        netlink: Netlink,
        changes: Changes,
    },
    /// On another machine.
    Far {
        arrivals: Arrivals,
        /// What of its counts is in ours.
        counted: Stats,
    },
}

/// An interface as one interface block describes it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) interface: Interface,
    pub(crate) link_type: LinkType,
    /// Its number in each output's present file; `None` where it has none there.
    pub(crate) numbers: [Option<u32>; OUTPUTS],
    /// Frames read.
    pub(crate) received: u64,
    /// Frames written.
    pub(crate) captured: u64,
}

impl Source {
    pub(crate) fn new(attachment: crate::Attachment, since: u64) -> Result<Self, sys::Error> {
        let post = match attachment.means {
            Means::Here(Sockets { packet, netlink: [ask, hear], .. }) => Post::Here {
                sockets: packet,
                netlink: Netlink::from_fd(ask),
                changes: Changes::from_fd(hear)?,
            },
            Means::Far(arrivals) => Post::Far { arrivals, counted: Stats::default() },
        };
        let live = Live { post, draining: None };
        let notes = attachment.identity.note.iter().cloned().collect();
        Ok(Self {
            id: attachment.id,
            identity: attachment.identity,
            netns: attachment.netns,
            live: Some(live),
            slots: Vec::new(),
            recent: 0,
            stats: Stats::default(),
            bytes: 0,
            read: 0,
            judge_all: attachment.program_refused,
            outputs: [None; OUTPUTS],
            notes,
            lost: 0,
            since,
            until: since,
            only: attachment.only,
            found: None,
            blind: attachment.blind,
            heritage: Estate::default(),
            place: Place::GivenUp,
        })
    }

    /// What is to be waited on for news of interfaces.
    pub(crate) fn changes(&self) -> Option<&Changes> {
        match &self.live.as_ref()?.post {
            Post::Here { changes, .. } => Some(changes),
            Post::Far { .. } => None,
        }
    }

    /// Whether another machine has told of its interfaces since the last call.
    pub(crate) fn has_news(&self) -> bool {
        let post = self.live.as_ref().map(|live| &live.post);
        matches!(post, Some(Post::Far { arrivals, .. }) if arrivals.news())
    }

    /// The slot of a frame's interface, if it is known with this hardware type.
    #[inline]
    pub(crate) fn slot_of(&mut self, index: u32, hatype: Hatype) -> Option<usize> {
        let fits = |slot: &Slot| slot.interface.index == index && slot.interface.hatype == hatype;
        if !self.slots.get(self.recent).is_some_and(fits) {
            // The latest description of an interface is the one in force.
            self.recent = self.slots.iter().rposition(fits)?;
        }
        Some(self.recent)
    }

    /// The slot of the last frame.
    #[inline]
    pub(crate) fn recent_slot(&mut self) -> Option<&mut Slot> {
        self.slots.get_mut(self.recent)
    }

    /// What [`list_early`] has found, for the first look.
    pub(crate) fn set_found(&mut self, found: Option<Vec<Interface>>) {
        self.found = found;
    }

    /// Asks which interfaces there are. New ones that are up, and those that are not what they
    /// were, get a new slot each; the numbers of these are given back.
    pub(crate) fn look(&mut self, link_type: Option<LinkType>) -> Vec<usize> {
        let Some(live) = &mut self.live else { return Vec::new() };
        let found = self.found.take();
        let found = found.unwrap_or_else(|| match &mut live.post {
            Post::Here { netlink, changes, .. } => list(netlink, changes),
            Post::Far { arrivals, .. } => arrivals.interfaces(),
        });
        let mut new = Vec::new();
        for interface in found {
            let known =
                self.slots.iter().rev().find(|slot| slot.interface.index == interface.index);
            let wanted = match known {
                // One that is taken away is renamed before, while it is down.
                Some(slot) => interface.up && describes_anew(&slot.interface, &interface),
                None => interface.up && self.is_listed(&interface.name),
            };
            if wanted {
                new.push(self.slots.len());
                self.push_slot(interface, link_type);
            }
        }
        new
    }

    /// A slot for an interface that netlink does not know (any more).
    pub(crate) fn add_unknown(
        &mut self,
        index: u32,
        hatype: Hatype,
        link_type: Option<LinkType>,
    ) -> usize {
        let interface = Interface {
            index,
            name: format!("if{index}"),
            mac: None,
            addresses: Vec::new(),
            mtu: 0,
            up: true,
            kind: None,
            hatype,
            peer_index: None,
        };
        self.push_slot(interface, link_type);
        self.slots.len() - 1
    }

    /// Another slot for the interface of this one, to be described anew.
    pub(crate) fn renew(&mut self, slot: usize) -> usize {
        let Slot { interface, link_type, .. } = &self.slots[slot];
        let (interface, link_type) = (interface.clone(), *link_type);
        self.push_slot(interface, Some(link_type));
        self.slots.len() - 1
    }

    /// Whether a slot is the last description of its interface.
    pub(crate) fn is_in_force(&self, slot: usize) -> bool {
        let index = self.slots[slot].interface.index;
        !self.slots[slot + 1..].iter().any(|later| later.interface.index == index)
    }

    /// Forgets the slots that are not in force and have no number in the output `which`: no frame
    /// may be taken for one of theirs.
    pub(crate) fn forget_slots(&mut self, which: usize) {
        let is_needed: Vec<bool> = (0..self.slots.len())
            .map(|slot| self.is_in_force(slot) || self.slots[slot].numbers[which].is_some())
            .collect();
        let mut is_needed = is_needed.into_iter();
        self.slots.retain(|_| is_needed.next().unwrap_or(true));
        self.recent = self.slots.len().saturating_sub(1);
    }

    fn push_slot(&mut self, interface: Interface, link_type: Option<LinkType>) {
        // The slot of the last frame may be the one that this takes the place of.
        self.recent = self.slots.len();
        self.slots.push(Slot {
            link_type: link_type.unwrap_or(interface.link_type()),
            interface,
            numbers: [None; OUTPUTS],
            received: 0,
            captured: 0,
        });
    }

    fn is_listed(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|listed| listed == name))
    }

    /// The interface of a new slot, where it needs a socket of its own and has none.
    pub(crate) fn bind_next(&self, slot: usize) -> Option<u32> {
        let index = self.slots[slot].interface.index;
        let Post::Here { sockets, .. } = &self.live.as_ref()?.post else { return None };
        let listens = |socket: &(Option<u32>, PacketSocket)| socket.0.is_none_or(|i| i == index);
        (!sockets.iter().any(listens)).then_some(index)
    }

    /// Takes further sockets, unless the namespace was let go meanwhile.
    pub(crate) fn extend(&mut self, sockets: Vec<(Option<u32>, PacketSocket)>) -> bool {
        match &mut self.live {
            Some(Live { post: Post::Here { sockets: present, .. }, draining: None }) => {
                present.extend(sockets);
                true
            }
            _ => false,
        }
    }

    /// Adds what the kernel counted since the last time, and says how many of it were lost.
    pub(crate) fn count(&mut self) -> u64 {
        let mut lost = 0;
        match self.live.as_mut().map(|live| &mut live.post) {
            Some(Post::Here { sockets, .. }) => {
                for counts in sockets.iter().filter_map(|(_, socket)| socket.take_counts().ok()) {
                    self.stats.received += u64::from(counts.received);
                    self.stats.dropped_by_kernel += u64::from(counts.dropped);
                    self.stats.freezes += u64::from(counts.freezes);
                    lost += u64::from(counts.dropped);
                }
            }
            // How many were lost comes with the frames behind them.
            Some(Post::Far { arrivals, counted }) => {
                let told = arrivals.stats();
                let stats = &mut self.stats;
                for (ours, told, counted) in [
                    (&mut stats.received, told.received, counted.received),
                    (
                        &mut stats.dropped_by_kernel,
                        told.dropped_by_kernel,
                        counted.dropped_by_kernel,
                    ),
                    (&mut stats.dropped_by_us, told.dropped_by_us, counted.dropped_by_us),
                    (&mut stats.refused, told.refused, counted.refused),
                    (&mut stats.discarded, told.discarded, counted.discarded),
                    (&mut stats.freezes, told.freezes, counted.freezes),
                ] {
                    *ours += told.saturating_sub(counted);
                }
                *counted = told;
            }
            None => {}
        }
        lost
    }

    /// Refuses everything from now on: what is in the rings is all there is.
    pub(crate) fn refuse(&mut self) {
        let Some(live) = &mut self.live else { return };
        if live.draining.is_none() {
            live.draining = Some(Instant::now());
            match &live.post {
                Post::Here { sockets, .. } => {
                    for (_, socket) in sockets {
                        // A kernel that took a program takes a shorter one.
                        let _ = socket.attach(&filter::Plan::refuse_all());
                    }
                }
                Post::Far { arrivals, .. } => arrivals.refuse(),
            }
        }
    }

    /// Whether all that the kernel ever counted has been read, after [`Source::refuse`].
    pub(crate) fn is_drained(&mut self, limit: Duration) -> bool {
        let Some(since) = self.live.as_ref().and_then(|live| live.draining) else { return false };
        self.count();
        match self.live.as_ref().map(|live| &live.post) {
            Some(Post::Far { arrivals, .. }) => {
                arrivals.is_over() || since.elapsed() > FAR_DRAINED_WITHIN
            }
            _ => {
                let known = self.read + self.stats.dropped_by_kernel;
                known >= self.stats.received || since.elapsed() > limit
            }
        }
    }

    /// When to look again whether it is drained, where it is being drained.
    pub(crate) fn looks_again_in(&self) -> Option<Duration> {
        let live = self.live.as_ref()?;
        live.draining?;
        Some(match live.post {
            Post::Here { .. } => LOOK_HERE,
            // Its end wakes us.
            Post::Far { .. } => LOOK_FAR,
        })
    }

    /// Whether [`Source::refuse`] was called and the namespace not yet let go.
    pub(crate) fn is_draining(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.draining.is_some())
    }

    /// Lets the namespace go, after one last look at its counters.
    pub(crate) fn let_go(&mut self, now: u64) {
        drop(self.take_leave(now));
    }

    /// The same on a thread of its own: who closes a packet socket waits for the kernel, some 20 ms,
    /// and the reader has no time for it.
    pub(crate) fn let_go_aside(&mut self, now: u64) {
        let live = self.take_leave(now);
        // Where there is no thread to be had it is dropped here.
        let _ = thread::Builder::new().name("closing".to_owned()).spawn(move || drop(live));
    }

    fn take_leave(&mut self, now: u64) -> Option<Live> {
        self.lost += self.count();
        self.until = now;
        let live = self.live.take();
        if let Some(Live { post: Post::Far { arrivals, .. }, .. }) = &live {
            arrivals.close();
        }
        live
    }

    /// All of it is in the files. What is kept is what the summary tells.
    pub(crate) fn end(&mut self) -> SourceReport {
        self.outputs = [None; OUTPUTS];
        self.slots = Vec::new();
        self.notes = Vec::new();
        self.only = None;
        self.heritage = Estate::default();
        let report = SourceReport { ended: true, ..self.report() };
        self.identity = Identity::default();
        report
    }

    pub(crate) fn report(&self) -> SourceReport {
        SourceReport {
            id: self.id,
            name: self.identity.name.clone(),
            netns: self.netns,
            stats: self.stats,
            bytes: self.bytes,
            since: self.since,
            until: self.live.is_none().then_some(self.until),
            blind: self.blind,
            ended: false,
        }
    }
}

/// The interfaces that are there, and those that were.
fn list(netlink: &mut Netlink, changes: &Changes) -> Vec<Interface> {
    // What was there and is gone may have frames in the ring all the same. News that cannot be
    // read are as good as none: the list is what counts.
    let told = changes.read().unwrap_or_default();
    // A namespace that is going away answers with an error, and has nothing new.
    let mut found = netlink.interfaces().unwrap_or_default();
    for before in told {
        match found.iter_mut().find(|now| now.index == before.index) {
            // It is about to go.
            Some(now) if !now.up => *now = before,
            Some(_) => {}
            None => found.push(before),
        }
    }
    found
}

/// The same through the sockets of an attachment, for the first look: the kernel may take its time,
/// some 100 ms where devices come and go, and the reader has none. `None` where the process has no
/// descriptors left.
pub(crate) fn list_early([ask, hear]: &[OwnedFd; 2]) -> Option<Vec<Interface>> {
    let mut netlink = Netlink::from_fd(ask.try_clone().ok()?);
    let changes = Changes::from_fd(hear.try_clone().ok()?).ok()?;
    Some(list(&mut netlink, &changes))
}

/// Whether anything that an interface block says is different.
fn describes_anew(old: &Interface, new: &Interface) -> bool {
    // Addresses come one by one when an interface is set up, and the kernel may list them in
    // another order the next time.
    let sorted = |interface: &Interface| {
        let mut addresses = interface.addresses.clone();
        addresses.sort_unstable();
        addresses
    };
    old.name != new.name
        || old.mac != new.mac
        || old.hatype != new.hatype
        || sorted(old) != sorted(new)
}
