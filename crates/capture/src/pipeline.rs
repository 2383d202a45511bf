//! A running pipeline, seen from outside.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use model::Interface;
use sys::{packet::PacketSocket, poll::Waker, ring::Geometry};

use crate::{
    Attachment, CaptureId, Config, Error, Event, Hold, Identity, Means, Report, Snapshot, Trigger,
    crew::Crew,
    reader::{Command, Reader},
    source::{Place, list_early},
};

/// Rings, files, and the two threads between them: see [`crate`].
#[derive(Debug)]
pub struct Pipeline {
    commands: Sender<Command>,
    waker: Waker,
    crew: Arc<Crew>,
    threads: Vec<JoinHandle<()>>,
    /// How many holds there were.
    holds: AtomicU64,
}

impl Pipeline {
    /// Starts a pipeline with nothing attached. `outputs` is how many files it will write to at
    /// once, as far as that is known. `listener` is woken for each event.
    ///
    /// # Errors
    /// When the process has no descriptors or threads left. A file that cannot be created is
    /// told as an event.
    pub fn start(
        config: Config,
        outputs: usize,
        listener: Waker,
    ) -> Result<(Self, Receiver<Event>), Error> {
        let (commands, inbox) = unbounded();
        let (outbox, events) = unbounded();
        let waker = Waker::new()?;
        let (reader, pen, queue) =
            Reader::new(config, inbox, outbox, waker.clone(), listener.clone(), outputs)?;
        let crew = Arc::new(Crew::new(reader, pen, queue, listener)?);
        let mut threads = Vec::new();
        for (name, life) in [
            ("reader", Crew::lead_first as fn(&Crew)),
            ("relief", Crew::stand_by_first as fn(&Crew)),
        ] {
            let crew = Arc::clone(&crew);
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || life(&crew));
            threads.push(thread.map_err(|source| Error::Thread { source })?);
        }
        Ok((Self { commands, waker, crew, threads, holds: AtomicU64::new(0) }, events))
    }

    /// Begins to capture a namespace; comes back when its interfaces are in the file.
    ///
    /// # Errors
    /// When its rings cannot be mapped, or the pipeline has ended.
    pub fn attach(&self, attachment: Attachment) -> Result<(), Error> {
        let (answer, attached) = bounded(1);
        let found = interfaces_of(&attachment);
        self.tell(Command::Attach(Box::new(attachment), found, answer));
        attached.recv().unwrap_or(Err(Error::Ended))
    }

    /// The same for who has no time: comes back at once. What is told of the capture meanwhile is
    /// heard when it is attached; where it cannot be, an [`Event::NotAttached`] follows.
    ///
    /// To ask a namespace for its interfaces takes some 100 ms where devices come and go all the
    /// time, and whoever waits for that opens no other namespace.
    ///
    /// # Errors
    /// When there is no thread left that could ask.
    pub fn attach_aside(&self, attachment: Attachment) -> Result<(), Error> {
        let id = attachment.id;
        self.tell(Command::Announce(id));
        let (commands, waker) = (self.commands.clone(), self.waker.clone());
        let ask = move || {
            let found = interfaces_of(&attachment);
            // Who has ended captures nothing any more.
            let _ = commands.send(Command::AttachAnnounced(Box::new(attachment), found));
            waker.wake();
        };
        let asking = thread::Builder::new().name("attaching".to_owned()).spawn(ask);
        asking.map(drop).map_err(|source| {
            self.tell(Command::Renounce(id));
            Error::Thread { source }
        })
    }

    /// Something is about to be captured whose frames are from `since` on, in nanoseconds since the
    /// epoch: no frame that is later is written before what is held is
    /// [attached](Attachment::hold), or given up. To be called before its sockets are opened.
    #[must_use]
    pub fn hold(&self, since: u64) -> Hold {
        let id = self.holds.fetch_add(1, Ordering::Relaxed);
        Hold::new(id, since, self.commands.clone(), self.waker.clone())
    }

    /// Gives a capture further sockets, for interfaces that came up since.
    pub fn extend(
        &self,
        id: CaptureId,
        sockets: Vec<(Option<u32>, PacketSocket)>,
        geometry: Geometry,
    ) {
        self.tell(Command::Extend(id, sockets, geometry));
    }

    /// Lets a namespace go once what it has sent so far is out of its rings. An
    /// [`Event::Detached`] follows when all of it is written.
    pub fn detach(&self, id: CaptureId) {
        self.tell(Command::Detach(id, Place::GivenUp));
    }

    /// As [`Pipeline::detach`], for a target that may come back: its place in the files is kept for
    /// a capture that [follows](Attachment::follows) this one. Where each target has its own file,
    /// that stays open; otherwise the new one's interfaces are linked to this one's. Until then, or
    /// until [`Pipeline::forget`], the place costs an entry in a table, and a file where it has one.
    pub fn suspend(&self, id: CaptureId) {
        self.tell(Command::Detach(id, Place::Kept));
    }

    /// A target will not come back: gives up the place that [`Pipeline::suspend`] keeps, if no
    /// capture has it by now, and closes its file where it has its own.
    pub fn forget(&self, id: CaptureId) {
        self.tell(Command::Forget(id));
    }

    /// Calls a capture by another name from now on: where what is said of an interface changes by
    /// that, another interface block with the new one follows, and frames belong to it that are
    /// written later. Names of files stay, and [`Identity::note`] is not told again.
    pub fn rename(&self, id: CaptureId, identity: Identity) {
        self.tell(Command::Rename(id, identity));
    }

    /// Names for addresses, in place of those before.
    pub fn set_names(&self, names: Vec<(IpAddr, String)>) {
        self.tell(Command::Names(names));
    }

    /// Where everything stands, or stood when nothing was captured any more: what is still being
    /// written then waits for a disk, and nobody waits for that here. `None` where it broke.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (answer, snapshot) = bounded(1);
        self.tell(Command::Snapshot(answer));
        snapshot.recv().ok().or_else(|| self.crew.last())
    }

    /// Something happened to one capture, or to all of them: a recorder writes what it has of it.
    /// A capture that has ended may be named still.
    pub fn trigger(&self, id: Option<CaptureId>, trigger: Trigger) {
        self.tell(Command::Trigger(id, trigger));
    }

    /// Writes everything that has arrived so far.
    pub fn flush(&self) {
        self.tell(Command::Flush);
    }

    /// Ends: everything that has arrived so far is written first.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    /// Whether the pipeline has ended, by itself or because it was asked to. The listener is woken
    /// when it has.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.crew.is_over()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What the pipeline broke of.
    pub fn join(mut self) -> Result<Report, Error> {
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| Error::Panicked { thread: "reader" })?;
        }
        self.crew.take_report().unwrap_or(Err(Error::Panicked { thread: "reader" }))
    }

    fn tell(&self, command: Command) {
        // Who has ended hears nothing, and answers nothing.
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}

/// The interfaces of what is to be attached, where they are asked for here.
fn interfaces_of(attachment: &Attachment) -> Option<Vec<Interface>> {
    match &attachment.means {
        Means::Here(sockets) => list_early(&sockets.netlink),
        Means::Far(_) => None,
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.tell(Command::Stop);
        }
        for thread in self.threads.drain(..) {
            // A panic was told by whoever joined; here there is nobody to tell.
            let _ = thread.join();
        }
    }
}
