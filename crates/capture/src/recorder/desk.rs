//! What the desk does for a recorder.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use filter::Plan;
use model::LinkType;
use sys::ring::Frame;

use super::{
    Keep, Record, RecorderConfig, Spiller, Track, Trigger,
    about::{Lack, about, told},
    memory::{self, Look, MemoryWatch, Word},
    resets::is_reset,
    track::{Allowance, OpenFile},
    window,
};
use crate::{
    CaptureId, Error, Event, FileName, Format, Limit, Moment,
    clock::{self, nanoseconds},
    desk::{Desk, FILES, accepts},
    encode::{self, Shape},
    output::{Output, Room},
    source::Source,
    writer::Order,
};

/// How often windows are looked at for what is too old.
const TRIM_EVERY: Duration = Duration::from_millis(250);
/// How soon a file is looked at again whose last frames may still be on their way.
const SETTLE_EVERY: u64 = 5_000_000;
/// Into so many pieces at least a window by time is cut, so that it is no longer than it has to be.
const PIECES: u64 = 16;
/// However many triggers follow, a file goes on for no longer than so many times what one of them
/// would let it.
const MAX_EXTENSION: u32 = 10;
/// How long triggers are only counted where a file could not be written.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Of so many triggers that follow each is told in the file; of more, how many there were.
const MAX_NOTES: u64 = 16;

/// What there is once for all targets.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) config: RecorderConfig,
    name: FileName,
    allowance: Arc<Allowance>,
    /// Where windows go on that memory cannot hold.
    pub(crate) spiller: Option<Spiller>,
    /// Files begun, but for those that failed.
    files: u32,
    /// That a limit is reached was told.
    is_full: bool,
    memory: MemoryWatch,
    looked: Instant,
    trimmed: Instant,
}

impl Recorder {
    pub(crate) fn new(config: RecorderConfig, name: FileName, spiller: Option<Spiller>) -> Self {
        Self {
            allowance: Arc::new(Allowance::new(config.max_bytes)),
            spiller,
            config,
            name,
            files: 0,
            is_full: false,
            memory: MemoryWatch::default(),
            looked: Instant::now(),
            trimmed: Instant::now(),
        }
    }
}

impl Desk {
    /// The output of a source's target: the one that it had, where nothing else is recorded there
    /// any more.
    pub(crate) fn recording_of(&mut self, source: &Source, follows: Option<CaptureId>) -> usize {
        let name = &source.identity.name;
        let is_its = |track: &Track| {
            track.counts.target == *name || follows.is_some_and(|id| track.captures.contains(&id))
        };
        let earlier = (0..self.outputs.len()).find(|output| {
            self.outputs[*output].track.as_ref().is_some_and(|track| is_its(track))
                && !self.present.iter().any(|index| {
                    let other = &self.sources[*index];
                    other.outputs[FILES] == Some(*output) && !other.is_draining()
                })
        });
        let place = earlier.unwrap_or_else(|| self.add_recording(name));
        if let Some(track) = &mut self.outputs[place].track {
            track.begin(source.id, source.since);
        }
        place
    }

    fn add_recording(&mut self, name: &str) -> usize {
        let mut limits = 0;
        let mut watched = false;
        let mut allowance = None;
        if let Some(recorder) = &self.recorder {
            limits = recorder.config.resets.len();
            watched = recorder.config.watches_frames();
            allowance = Some(Arc::clone(&recorder.allowance));
        }
        let mut output = Output::new(self.numbered, None, Format::Pcapng, watched);
        self.numbered += 1;
        let allowance = allowance.unwrap_or_else(|| Arc::new(Allowance::new(None)));
        let track = Track::new(name, limits, allowance, Arc::clone(&self.budget));
        output.track = Some(Box::new(track));
        self.outputs.push(output);
        self.outputs.len() - 1
    }

    /// The place of the output that the pen calls by this number.
    fn place_of(&self, number: usize) -> Option<usize> {
        self.outputs.iter().position(|output| output.number() == number)
    }

    /// Something happened to one capture, or to all.
    pub(crate) fn trigger(&mut self, id: Option<CaptureId>, trigger: &Trigger, now: u64) {
        let is_meant = |place: &usize| match (id, &self.outputs[*place].track) {
            (Some(id), Some(track)) => track.captures.contains(&id),
            (None, Some(_)) => self.is_recorded(*place),
            (_, None) => false,
        };
        let outputs: Vec<usize> = (0..self.outputs.len()).filter(is_meant).collect();
        for output in outputs {
            self.fire(output, trigger, now);
        }
    }

    /// Whether something of an output's target is captured or held.
    fn is_recorded(&self, output: usize) -> bool {
        self.outputs[output].track.as_ref().is_some_and(|track| {
            !track.window.is_empty() || track.filling.packets > 0 || self.is_live(output)
        })
    }

    fn is_live(&self, output: usize) -> bool {
        self.present.iter().any(|index| self.sources[*index].outputs[FILES] == Some(output))
    }

    /// Of each output, whether something is captured for it.
    fn live_outputs(&self) -> Vec<bool> {
        let mut live = vec![false; self.outputs.len()];
        for index in &self.present {
            if let Some(output) = self.sources[*index].outputs[FILES] {
                live[output] = true;
            }
        }
        live
    }

    fn fire(&mut self, output: usize, trigger: &Trigger, now: u64) {
        let Some(recorder) = &self.recorder else { return };
        let after = nanoseconds(recorder.config.after);
        let max_files = recorder.config.max_files;
        let is_full = recorder.is_full || max_files.is_some_and(|files| recorder.files >= files);
        let Some(track) = &mut self.outputs[output].track else { return };
        track.counts.triggers += 1;
        let at = trigger.at.min(now);
        if let Some(file) = &mut track.file {
            track.counts.further += 1;
            file.record.further += 1;
            file.tells_of(&trigger.name);
            file.ends_at = file.ends_at.max(at.saturating_add(after)).min(file.ends_at_last);
            if file.record.further <= MAX_NOTES {
                let note = format!("whaletap: another trigger: {}", told(trigger));
                let is_its = |index: &&usize| self.sources[**index].outputs[FILES] == Some(output);
                if let Some(index) = self.present.iter().rfind(is_its).copied() {
                    self.sources[index].notes.push(note);
                }
            }
            return;
        }
        if track.is_quiet(&trigger.name, at) {
            track.counts.ignored += 1;
            return;
        }
        if is_full {
            track.counts.ignored += 1;
            // Where it was the bytes, that was told.
            self.tell_full(Limit::Files(max_files.unwrap_or_default()));
            return;
        }
        if !self.begin_record(output, trigger, at, now)
            && let Some(bytes) =
                self.recorder.as_ref().and_then(|recorder| recorder.config.max_bytes)
        {
            self.tell_full(Limit::Bytes(bytes));
        }
    }

    fn tell_full(&mut self, limit: Limit) {
        if let Some(recorder) = &mut self.recorder
            && !std::mem::replace(&mut recorder.is_full, true)
        {
            self.tell(Event::RecorderFull { limit });
        }
    }

    /// Begins a file with a target's window. `false`: there is nothing left of what all files may
    /// have.
    fn begin_record(&mut self, output: usize, trigger: &Trigger, at: u64, now: u64) -> bool {
        let is_its = |index: &&usize| self.sources[**index].outputs[FILES] == Some(output);
        let name = self.present.iter().rfind(is_its);
        let name = name.map(|index| self.sources[*index].identity.name.clone());
        let Self { recorder, outputs, orders, section, names, .. } = self;
        let Some(recorder) = recorder else { return true };
        let number = outputs[output].number();
        let Output { track, chunk, files, chunk_since, .. } = &mut outputs[output];
        let Some(track) = track else { return true };
        let target = name.unwrap_or_else(|| track.counts.target.clone());
        track.counts.target.clone_from(&target);

        track.seal(chunk, number, orders);
        let (held, short) = track.held(recorder.config.keep, at);
        let held = Duration::from_nanos(held);
        let lack = Lack {
            is_short: short,
            has_gaps: track.window.has_gaps(),
            spills: recorder.spiller.is_some(),
        };
        let about = about(&target, trigger, &recorder.config, held, &lack);
        let mut header = Vec::new();
        encode::section_about(section, &about, &mut header);
        header.extend_from_slice(&track.described);
        encode::names(names, &mut header);
        if !track.may_write(header.len() as u64 + track.window.bytes()) {
            track.counts.ignored += 1;
            return false;
        }

        let file = recorder.name.render_for(&Moment::of(at), &target, &trigger.name);
        let after = recorder.config.after;
        track.file = Some(OpenFile {
            record: Record {
                path: file.clone().into(),
                target,
                trigger: trigger.clone(),
                further: 0,
                asked: recorder.config.keep,
                held,
                short,
                packets: 0,
                bytes: 0,
            },
            ends_at: at.saturating_add(nanoseconds(after)),
            ends_at_last: at.saturating_add(nanoseconds(after.saturating_mul(MAX_EXTENSION))),
            begun: now,
            is_cut: false,
            kinds: vec![trigger.name.clone()],
        });
        recorder.files += 1;
        *files += 1;
        self.file = Some(file.clone().into());
        *chunk_since = None;
        // The writer goes on until we close the queue.
        let _ = orders.send(Order::Record { output: number, path: file.into() });
        track.write(header, number, orders);
        let pieces: Vec<_> = track
            .window
            .pieces()
            .map(|piece| (Arc::clone(&piece.held), piece.span.packets))
            .collect();
        for (held, packets) in pieces {
            track.share(&held, packets, number, orders);
        }
        self.ordered = true;
        true
    }

    /// Ends a file: what is still in the chunk, and statistics.
    fn end_record(&mut self, output: usize, now: u64) {
        let Some(track) = &mut self.outputs[output].track else { return };
        let Some(begun) = track.file.as_ref().map(|file| file.begun) else { return };
        let mut bytes = Vec::new();
        // What was there and ended before is told, too; what ended since has told it itself.
        let (ended, words) = &track.last_words;
        if *ended < begun && track.window.first().is_some_and(|first| *ended >= first) {
            bytes.clone_from(words);
        }
        for at in 0..self.present.len() {
            let index = self.present[at];
            if self.sources[index].outputs[FILES] == Some(output) {
                self.statistics(index, FILES, &[], &mut bytes);
            }
        }
        self.outputs[output].put_blocks(bytes, &self.orders);
        self.order(Order::Close { output: self.outputs[output].number(), rotated: true });
        let cooldown = self.recorder.as_ref().map_or(Duration::ZERO, |it| it.config.cooldown);
        let output = &mut self.outputs[output];
        output.chunk_since = None;
        let Some(track) = &mut output.track else { return };
        let Some(file) = track.file.take() else { return };
        track.be_quiet(&file.kinds, now.saturating_add(nanoseconds(cooldown)));
        let cut = file.is_cut;
        track.closing.push_back(file.record);
        self.ordered = true;
        if cut && let Some(bytes) = self.recorder.as_ref().and_then(|it| it.config.max_bytes) {
            self.tell_full(Limit::Bytes(bytes));
        }
    }

    /// Ends every file that is being written.
    pub(crate) fn end_records(&mut self, now: u64) {
        for output in 0..self.outputs.len() {
            self.end_record(output, now);
        }
    }

    /// A file is complete. `false`: it is none of a recorder.
    pub(crate) fn record_done(&mut self, number: usize, path: &Path) -> bool {
        let Some(place) = self.place_of(number) else { return false };
        let Some(track) = &mut self.outputs[place].track else { return false };
        if let Some(record) = track.closing.pop_front() {
            track.counts.files += 1;
            track.counts.written += record.packets;
            let record = Record { path: path.to_owned(), ..record };
            self.file = Some(record.path.clone());
            self.tell(Event::Recorded(Box::new(record)));
        }
        true
    }

    /// A file could not be written; the pen says nothing more of it.
    pub(crate) fn record_failed(&mut self, number: usize, error: Error) {
        let Some(place) = self.place_of(number) else { return };
        let Some(recorder) = &mut self.recorder else { return };
        let Some(track) = &mut self.outputs[place].track else { return };
        // Files are written one after the other: it is the oldest.
        let record = match track.closing.pop_front() {
            Some(record) => record,
            None => {
                let Some(file) = track.file.take() else { return };
                let _ = self.orders.send(Order::Close { output: number, rotated: true });
                // The next trigger may be the next frame, and fail as well.
                let cooldown = nanoseconds(recorder.config.cooldown.max(RETRY_AFTER));
                track.be_quiet(&file.kinds, clock::now().saturating_add(cooldown));
                file.record
            }
        };
        track.counts.failed += 1;
        recorder.files = recorder.files.saturating_sub(1);
        let (target, trigger) = (record.target, record.trigger);
        self.tell(Event::NotRecorded { target, trigger, error });
    }

    /// There is no more room on the file system: what is being written ends.
    pub(crate) fn cut_records(&mut self, path: &Path, free: u64, keep: u64) {
        for output in 0..self.outputs.len() {
            let Some(track) = &mut self.outputs[output].track else { continue };
            let Some(file) = &mut track.file else { continue };
            file.is_cut = true;
            let (target, trigger) = (file.record.target.clone(), file.record.trigger.clone());
            let lack =
                format!("{free} bytes are left on the file system, and {keep} are kept free");
            let source = std::io::Error::new(std::io::ErrorKind::StorageFull, lack);
            let error = Error::Write { path: path.to_owned(), source };
            self.tell(Event::NotRecorded { target, trigger, error });
        }
    }

    /// What was spilled could not be read back: the file has a gap there.
    pub(crate) fn record_torn(&mut self, number: usize, source: std::io::Error) {
        let Some(place) = self.place_of(number) else { return };
        let Some(track) = &self.outputs[place].track else { return };
        let open = track.file.as_ref().map(|file| &file.record);
        let Some(record) = track.closing.front().or(open) else { return };
        let (target, trigger) = (record.target.clone(), record.trigger.clone());
        self.tell(Event::NotRecorded { target, trigger, error: Error::ReadBack { source } });
    }

    /// Room for a packet of `captured` bytes of a source; where memory is used up, the oldest that
    /// is held goes.
    pub(crate) fn room(&mut self, output: usize, source: usize, captured: usize) -> Room {
        loop {
            let notes = &self.sources[source].notes;
            let out = &mut self.outputs[output];
            let before = out.chunk.len();
            let room = out.make_room(captured, notes, &self.budget, &self.orders);
            if room != Room::None && out.chunk.len() < before {
                // Another chunk is in a window.
                self.spill_over();
            }
            if room != Room::None || self.waits_for_spill() || !self.free_memory(output) {
                return room;
            }
        }
    }

    /// Lets the oldest chunk of all windows go; where there is none, the empty part of a chunk that
    /// another target fills.
    #[cold]
    fn free_memory(&mut self, asking: usize) -> bool {
        if self.recorder.is_none() {
            return false;
        }
        let tracks = self.outputs.iter_mut().filter_map(|output| output.track.as_mut());
        let oldest = tracks
            .filter_map(|track| Some((track.window.evictable()?, track)))
            .min_by_key(|(first, _)| *first);
        if let Some((_, track)) = oldest {
            let is_evicted = track.window.evict();
            self.tell_eviction();
            return is_evicted;
        }
        let others = self.outputs.iter_mut().enumerate().filter(|(index, _)| *index != asking);
        for (_, output) in others {
            let number = output.number();
            let Output { track: Some(track), chunk, .. } = output else { continue };
            if track.shrink(chunk, number, &self.orders) {
                return true;
            }
        }
        false
    }

    /// Looks at a frame that has just been recorded, where frames can be triggers.
    #[cold]
    pub(crate) fn watch(
        &mut self,
        output: usize,
        frame: &Frame<'_>,
        shape: &Shape<'_>,
        link_type: LinkType,
        now: u64,
    ) {
        let Some(recorder) = &self.recorder else { return };
        let Some(track) = &mut self.outputs[output].track else { return };
        let mut fired = Vec::new();
        if !recorder.config.resets.is_empty() && is_reset(link_type, frame.data()) {
            for (limit, resets) in recorder.config.resets.iter().zip(&mut track.resets) {
                if resets.count(frame.timestamp(), *limit) {
                    let detail = format!("more than {} resets in {:?}", limit.count, limit.span);
                    fired.push(("rst", detail));
                }
            }
        }
        let wants = |(_, plan): &&(String, Arc<Plan>)| accepts(plan, frame, shape);
        let matching = recorder.config.matches.iter().filter(wants);
        fired.extend(matching.map(|(text, _)| ("match", text.clone())));
        for (name, detail) in fired {
            let trigger = Trigger { name: name.to_owned(), detail, at: frame.timestamp() };
            self.fire(output, &trigger, now);
        }
    }

    /// Ends files whose time has come, and forgets what is too old. `delivered` says until when
    /// every frame has been recorded. Gives the next time when there is something to do.
    pub(crate) fn mind(&mut self, now: u64, delivered: impl FnOnce() -> u64) -> Option<u64> {
        let recorder = self.recorder.as_mut()?;
        let trims = recorder.trimmed.elapsed() >= TRIM_EVERY;
        if trims {
            recorder.trimmed = Instant::now();
            self.look_for_losses(now);
            self.trim(now);
            self.look_at_memory(now);
        }
        self.spill_over();
        let mut next = now + nanoseconds(TRIM_EVERY);
        let is_writing = |output: &Output| output.track.as_ref().is_some_and(|it| it.is_writing());
        if self.outputs.iter().any(is_writing) {
            let delivered = delivered();
            for output in 0..self.outputs.len() {
                let track = self.outputs[output].track.as_ref();
                let Some(file) = track.and_then(|track| track.file.as_ref()) else { continue };
                if file.is_cut || file.ends_at <= delivered {
                    self.end_record(output, now);
                } else {
                    next = next.min(file.ends_at.max(now + SETTLE_EVERY));
                }
            }
        }
        Some(next)
    }

    fn look_for_losses(&mut self, now: u64) {
        if !self.recorder.as_ref().is_some_and(|recorder| recorder.config.drops) {
            return;
        }
        for output in 0..self.outputs.len() {
            let sources = self.present.iter().map(|index| &self.sources[*index]);
            let its = sources.filter(|source| source.outputs[FILES] == Some(output));
            let lost: u64 = its.map(|source| source.stats.lost()).sum();
            let Some(track) = &mut self.outputs[output].track else { continue };
            let new = lost.saturating_sub(std::mem::replace(&mut track.lost, lost));
            if new > 0 {
                let detail = format!("{new} packets lost");
                self.fire(output, &Trigger { name: "drop".to_owned(), detail, at: now }, now);
            }
        }
    }

    fn trim(&mut self, now: u64) {
        let Some(keep) = self.recorder.as_ref().map(|recorder| recorder.config.keep) else {
            return;
        };
        let live = self.live_outputs();
        for (index, output) in self.outputs.iter_mut().enumerate() {
            let (gone, number) = (!live[index], output.number());
            let Output { track: Some(track), chunk, .. } = output else { continue };
            if let Keep::Time(time) = keep
                && track.filling.length() > nanoseconds(time) / PIECES
            {
                track.seal(chunk, number, &self.orders);
            }
            track.window.trim(keep, now, &track.filling, chunk.len() as u64, gone);
            let is_old = track.filling.packets > 0
                && track.filling.last < window::oldest(keep, now)
                && (gone || matches!(keep, Keep::Time(_)));
            if is_old || gone && track.filling.packets == 0 {
                track.forget(chunk);
            }
            let is_over = track.window.is_empty() && track.filling.packets == 0;
            if gone && is_over && !track.is_writing() {
                // Whoever comes under this name begins anew.
                track.begin_anew();
                output.interfaces = 0;
                self.estates.values_mut().for_each(|estate| estate.forget_file(index));
            }
        }
    }

    fn look_at_memory(&mut self, now: u64) {
        let live = self.live_outputs().into_iter().filter(|live| *live).count();
        let Some(recorder) = &mut self.recorder else { return };
        if recorder.looked.elapsed() < memory::EVERY {
            return;
        }
        recorder.looked = Instant::now();
        let keep = recorder.config.keep;
        let mut recorded = 0;
        let mut cut_to: Option<Duration> = None;
        for output in &self.outputs {
            let Some(track) = &output.track else { continue };
            recorded += track.recorded + output.chunk.len() as u64;
            if let (held, true) = track.held(keep, now) {
                let held = Duration::from_nanos(held);
                cut_to = Some(cut_to.map_or(held, |cut| cut.min(held)));
            }
        }
        let memory = self.budget.total() as u64;
        let spiller = recorder.spiller.as_ref();
        let room = spiller.map_or(memory, |spiller| spiller.room(memory));
        let look = Look { recorded, targets: live as u64, room, cut_to };
        let spills = spiller.is_some();
        match recorder.memory.look(keep, &look) {
            Some(Word::Short(possible)) => {
                self.tell(Event::WindowShort { asked: keep, possible: Some(possible), spills });
            }
            Some(Word::Whole) => {
                self.tell(Event::WindowShort { asked: keep, possible: None, spills });
            }
            None => {}
        }
    }

    /// The clock was set by so many nanoseconds.
    pub(crate) fn shift_windows(&mut self, nanoseconds: i64) {
        for track in self.outputs.iter_mut().filter_map(|output| output.track.as_mut()) {
            track.shift(nanoseconds);
        }
    }
}
