use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crossbeam_channel::Sender;

use super::{
    Held, Keep, Record, Recorded,
    resets::Resets,
    window::{Span, Window},
};
use crate::{CaptureId, budget::Budget, chunk::Chunk, output::Room, writer::Order};

/// A chunk that is fuller than this many eighths goes into the window as it is; of another one a
/// copy of its size does.
const FULL_EIGHTHS: usize = 7;

/// So many captures of one target are known by their numbers.
const MAX_CAPTURES: usize = 16;

/// What a recorder has of one target: the side of its output that is turned to the window.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) window: Window,
    /// What stands in the output's chunk.
    pub(crate) filling: Span,
    /// The blocks of every interface that was described so far. Each file begins with all of them,
    /// so an interface keeps its number, and chunks are true in every file.
    pub(crate) described: Vec<u8>,
    /// Since when frames are recorded, in nanoseconds since 1970; 0 while there is no window.
    since: u64,
    /// The captures that it is or was filled by, latest last: they may be told of when they have
    /// ended.
    pub(crate) captures: VecDeque<CaptureId>,
    /// The statistics of the last one that ended, and when.
    pub(crate) last_words: (u64, Vec<u8>),
    /// The file that is being written.
    pub(crate) file: Option<OpenFile>,
    /// Files that are complete but for what the pen says of them.
    pub(crate) closing: VecDeque<Record>,
    /// Until when triggers of which kind are counted only.
    quiet_until: Vec<(String, u64)>,
    pub(crate) counts: Recorded,
    /// One for each limit.
    pub(crate) resets: Vec<Resets>,
    /// Losses that were looked at.
    pub(crate) lost: u64,
    /// Bytes that went into the window, ever.
    pub(crate) recorded: u64,
    allowance: Arc<Allowance>,
    budget: Arc<Budget>,
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) record: Record,
    /// Frames until then belong to it.
    pub(crate) ends_at: u64,
    /// However many triggers follow.
    pub(crate) ends_at_last: u64,
    /// When it was begun.
    pub(crate) begun: u64,
    /// There is nothing left of what all files may have.
    pub(crate) is_cut: bool,
    /// The kinds of triggers that it tells of.
    pub(crate) kinds: Vec<String>,
}

impl OpenFile {
    /// It tells of a trigger of this kind, too.
    pub(crate) fn tells_of(&mut self, kind: &str) {
        if !self.kinds.iter().any(|known| known == kind) {
            self.kinds.push(kind.to_owned());
        }
    }
}

/// What all files together may have in bytes.
#[derive(Debug)]
pub(crate) struct Allowance {
    limit: u64,
    used: AtomicU64,
}

impl Allowance {
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self { limit: limit.unwrap_or(u64::MAX), used: AtomicU64::new(0) }
    }

    /// Whether so many bytes more may be written; if so, they are counted.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let sum = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }
}

impl Track {
    pub(crate) fn new(
        target: &str,
        limits: usize,
        allowance: Arc<Allowance>,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            window: Window::default(),
            filling: Span::default(),
            described: Vec::new(),
            since: 0,
            captures: VecDeque::new(),
            last_words: (0, Vec::new()),
            file: None,
            closing: VecDeque::new(),
            quiet_until: Vec::new(),
            counts: Recorded { target: target.to_owned(), ..Recorded::default() },
            resets: (0..limits).map(|_| Resets::default()).collect(),
            lost: 0,
            recorded: 0,
            allowance,
            budget,
        }
    }

    /// A capture fills it from now on.
    pub(crate) fn begin(&mut self, capture: CaptureId, now: u64) {
        if self.since == 0 {
            self.since = now;
        }
        if self.captures.len() == MAX_CAPTURES {
            self.captures.pop_front();
        }
        self.captures.push_back(capture);
    }

    /// Nothing is left of a target that is gone: whoever has its place next begins anew.
    pub(crate) fn begin_anew(&mut self) {
        self.window.begin_anew();
        self.described = Vec::new();
        self.last_words = (0, Vec::new());
        self.since = 0;
    }

    /// Makes room for `needed` bytes in `chunk`, which has less.
    #[cold]
    pub(crate) fn make_room(
        &mut self,
        chunk: &mut Chunk,
        needed: usize,
        output: usize,
        orders: &Sender<Order>,
    ) -> Room {
        let budget = &Arc::clone(&self.budget);
        if chunk.len() == 0 {
            let Some(next) = Held::room_for(needed, budget) else { return Room::None };
            budget.give_back(mem::replace(chunk, next));
            return Room::There;
        }
        let is_reused = chunk.size() == budget.chunk_size() && needed <= chunk.size();
        let held = if is_reused && chunk.len() * 8 < chunk.size() * FULL_EIGHTHS {
            let Some(copy) = Held::copied(chunk.as_slice(), budget) else { return Room::None };
            chunk.clear();
            copy
        } else {
            // The next chunk first: the one at hand stays until there is somewhere to go on.
            let Some(next) = Held::room_for(needed, budget) else { return Room::None };
            Held::filled(mem::replace(chunk, next), budget)
        };
        if self.take_in(held, output, orders) { Room::Made } else { Room::There }
    }

    /// Puts what is in `chunk` into the window, in memory of its size where there is some.
    pub(crate) fn seal(&mut self, chunk: &mut Chunk, output: usize, orders: &Sender<Order>) {
        if chunk.len() == 0 {
            return;
        }
        let copy = if chunk.size() == self.budget.chunk_size() {
            Held::copied(chunk.as_slice(), &self.budget)
        } else {
            None
        };
        let held = match copy {
            Some(copy) => {
                chunk.clear();
                copy
            }
            None => Held::filled(mem::take(chunk), &self.budget),
        };
        self.take_in(held, output, orders);
    }

    /// Puts what is in `chunk` into the window, in memory of its size, so that the rest of the
    /// chunk's comes free. Says whether that is any.
    pub(crate) fn shrink(
        &mut self,
        chunk: &mut Chunk,
        output: usize,
        orders: &Sender<Order>,
    ) -> bool {
        let (len, size) = (chunk.len(), chunk.size());
        if size != self.budget.chunk_size() || len * 8 >= size * FULL_EIGHTHS {
            return false;
        }
        // There is no memory for a copy before there is the chunk's.
        let copy = mem::take(chunk);
        let bytes = copy.as_slice().to_vec();
        self.budget.give_back(copy);
        if let Some(held) = Held::copied(&bytes, &self.budget) {
            if len > 0 {
                self.take_in(held, output, orders);
            }
            return true;
        }
        false
    }

    /// Forgets what is in `chunk`, which is older than anybody wants it.
    pub(crate) fn forget(&mut self, chunk: &mut Chunk) {
        self.window.aged += mem::take(&mut self.filling).packets;
        if chunk.size() > 0 {
            drop(Held::filled(mem::take(chunk), &self.budget));
        }
    }

    /// Into the window, and into the file that is being written. Says whether there is one.
    fn take_in(&mut self, held: Held, output: usize, orders: &Sender<Order>) -> bool {
        let held = Arc::new(held);
        let span = mem::take(&mut self.filling);
        self.recorded += held.len() as u64;
        let is_written = self.share(&held, span.packets, output, orders);
        self.window.push(held, span);
        is_written
    }

    /// Writes a chunk to the present file. Says whether there is one.
    pub(crate) fn share(
        &mut self,
        held: &Arc<Held>,
        packets: u64,
        output: usize,
        orders: &Sender<Order>,
    ) -> bool {
        let Some(file) = self.file.as_mut().filter(|file| !file.is_cut) else { return false };
        let bytes = held.len() as u64;
        if !self.allowance.take(bytes) {
            file.is_cut = true;
            return false;
        }
        file.record.packets += packets;
        file.record.bytes += bytes;
        // The writer goes on until we close the queue.
        let _ = orders.send(Order::WriteHeld { output, held: Arc::clone(held) });
        true
    }

    /// The same for blocks that are no frames.
    pub(crate) fn write(&mut self, bytes: Vec<u8>, output: usize, orders: &Sender<Order>) {
        let Some(file) = self.file.as_mut().filter(|file| !file.is_cut) else { return };
        if !self.allowance.take(bytes.len() as u64) {
            file.is_cut = true;
            return;
        }
        file.record.bytes += bytes.len() as u64;
        let _ = orders.send(Order::Write { output, bytes: bytes.into(), tally: Vec::new() });
    }

    /// Whether triggers of this kind are counted only.
    pub(crate) fn is_quiet(&self, kind: &str, at: u64) -> bool {
        self.quiet_until.iter().any(|(quiet, until)| quiet == kind && at < *until)
    }

    /// From now on, triggers of these kinds are counted only. A kind of its own is what cannot be
    /// made up for by another: resets that were written for say nothing of the end that follows.
    pub(crate) fn be_quiet(&mut self, kinds: &[String], until: u64) {
        self.quiet_until.retain(|(quiet, _)| !kinds.contains(quiet));
        self.quiet_until.extend(kinds.iter().map(|kind| (kind.clone(), until)));
    }

    /// Whether a file is written.
    pub(crate) fn is_writing(&self) -> bool {
        self.file.is_some()
    }

    /// Whether a file of so many bytes may be begun.
    pub(crate) fn may_write(&self, bytes: u64) -> bool {
        self.allowance.limit.saturating_sub(self.allowance.used.load(Ordering::Relaxed)) >= bytes
    }

    /// The time before `at` of which every frame is there, in nanoseconds, and whether it is shorter
    /// than was asked for because memory was used up.
    pub(crate) fn held(&self, keep: Keep, at: u64) -> (u64, bool) {
        let evicted = self.window.evicted_until();
        match keep {
            Keep::Time(time) => {
                let asked = at.saturating_sub(crate::clock::nanoseconds(time));
                let begins = asked.max(evicted).max(self.since);
                (at.saturating_sub(begins), evicted > asked)
            }
            Keep::Bytes(bytes) => {
                let begins = self.window.first().unwrap_or(at).max(evicted);
                let is_short = evicted > 0 && self.window.bytes() < bytes;
                (at.saturating_sub(begins), is_short)
            }
        }
    }

    /// The clock was set.
    pub(crate) fn shift(&mut self, nanoseconds: i64) {
        self.window.shift(nanoseconds);
        self.filling.shift(nanoseconds);
        let moments = [&mut self.since].into_iter();
        let quiet = self.quiet_until.iter_mut().map(|(_, until)| until);
        let file = self
            .file
            .iter_mut()
            .flat_map(|file| [&mut file.ends_at, &mut file.ends_at_last, &mut file.begun]);
        for moment in moments.chain(quiet).chain(file) {
            *moment = moment.saturating_add_signed(nanoseconds);
        }
    }

    /// What was done for its target.
    pub(crate) fn recorded(&self) -> Recorded {
        Recorded {
            aged: self.window.aged,
            evicted: self.window.evicted,
            held: self.window.packets() + self.filling.packets,
            ..self.counts.clone()
        }
    }
}
