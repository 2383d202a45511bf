//! The reader's desk: sources on one side, outputs on the other. What happens to a frame between
//! them stands in [`delivery`], what happens to files in [`files`], and what becomes of the place
//! of a source that ends in [`succession`].

mod delivery;
mod files;
mod gone;
mod succession;

pub(crate) use delivery::accepts;

use std::{collections::HashMap, fs::File, net::IpAddr, path::PathBuf, sync::Arc};

use crossbeam_channel::Sender;
use filter::Plan;
use model::LinkType;
use sys::poll::Waker;

use self::gone::Gone;
use crate::{
    CaptureId, Config, Destination, Ending, Event, FileName, Format, Identity, Series, Snapshot,
    budget::Budget,
    clock,
    config::SectionText,
    encode,
    estate::Estate,
    output::Output,
    recorder::{Recorder, Spiller},
    rotation::Names,
    source::Source,
    writer::{Order, Outcome, Tally},
};

/// Which of a source's outputs.
pub(crate) const FILES: usize = 0;
const PRINT: usize = 1;

/// Who hears of events.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) events: Sender<Event>,
    pub(crate) listener: Waker,
}

impl Told {
    fn tell(&self, event: Event) {
        // Nobody listens any more when the session has ended in a panic.
        let _ = self.events.send(event);
        self.listener.wake();
    }
}

/// Everything that frames meet on their way, but the rings.
#[derive(Debug)]
pub(crate) struct Desk {
    /// A seat each. Whoever has ended sits there until another one comes.
    pub(crate) sources: Vec<Source>,
    /// The seats of those that have not ended.
    pub(crate) present: Vec<usize>,
    /// The other seats.
    seats: Vec<usize>,
    /// What became of those that have ended.
    gone: Gone,
    /// What sources have left to successors.
    pub(crate) estates: HashMap<CaptureId, Estate>,
    /// Those that are written to, and some that will be others.
    pub(crate) outputs: Vec<Output>,
    /// Which of them will be others.
    retired: Vec<usize>,
    /// How many there ever were.
    pub(crate) numbered: usize,
    /// Bytes in files of those that are gone, and how many files these were.
    past: (u64, u32),
    /// The file that was opened last.
    pub(crate) file: Option<PathBuf>,
    /// Names of files that are taken.
    file_names: Names,
    pub(crate) names: Vec<(IpAddr, String)>,
    pub(crate) ending: Option<Ending>,
    pub(crate) recorder: Option<Recorder>,
    plan: Arc<Plan>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) orders: Sender<Order>,
    events: Told,
    split: Option<FileName>,
    format: Format,
    rotation: crate::Rotation,
    autostop: crate::Autostop,
    link_type: Option<LinkType>,
    pub(crate) section: SectionText,
    expression: String,
    print: Option<usize>,
    /// A full chunk was ordered to be written.
    pub(crate) ordered: bool,
    /// A ring is so full that nothing must wait any more.
    pub(crate) pressed: bool,
}

impl Desk {
    pub(crate) fn new(
        config: Config,
        budget: Arc<Budget>,
        orders: Sender<Order>,
        events: Told,
        spiller: Option<Spiller>,
    ) -> Self {
        let mut desk = Self {
            sources: Vec::new(),
            present: Vec::new(),
            seats: Vec::new(),
            gone: Gone::default(),
            estates: HashMap::new(),
            outputs: Vec::new(),
            retired: Vec::new(),
            numbered: 0,
            past: (0, 0),
            file: None,
            file_names: Names::default(),
            names: Vec::new(),
            ending: None,
            recorder: None,
            plan: config.plan,
            budget,
            orders,
            events,
            split: None,
            format: config.format,
            rotation: config.rotation,
            autostop: config.autostop,
            link_type: config.link_type,
            section: config.section,
            expression: config.expression,
            print: None,
            ordered: false,
            pressed: false,
        };
        match config.destination {
            Destination::Files { name, split: true } => desk.split = Some(name),
            Destination::Files { name, split: false } => {
                let output = desk.add_series(name, None);
                desk.open(output, clock::now());
            }
            Destination::Recorder { name, recorder, spill: _ } => {
                desk.recorder = Some(Recorder::new(*recorder, name, spiller));
            }
            Destination::Stream { file, name } => {
                desk.add_stream(file, name, config.format, false);
            }
        }
        if let Some(file) = config.print {
            desk.print =
                Some(desk.add_stream(file, "the printing program".into(), Format::Pcapng, true));
        }
        desk
    }

    /// A new series of files, of which none is open yet.
    fn add_series(&mut self, name: FileName, target: Option<String>) -> usize {
        let series = Series::new(name, target, self.rotation.clone(), self.autostop.clone());
        self.add_output(Some(series), self.format)
    }

    fn add_stream(&mut self, file: File, path: PathBuf, format: Format, plain: bool) -> usize {
        let output = self.add_output(None, format);
        let number = self.outputs[output].number();
        self.order(Order::Stream { output: number, file, path, plain });
        self.open(output, clock::now());
        output
    }

    fn add_output(&mut self, series: Option<Series>, format: Format) -> usize {
        let limited = self.autostop.packets.is_some();
        let output = Output::new(self.numbered, series, format, limited);
        self.numbered += 1;
        match self.retired.pop() {
            Some(place) => {
                self.outputs[place] = output;
                place
            }
            None => {
                self.outputs.push(output);
                self.budget.provide_for(self.outputs.len());
                self.outputs.len() - 1
            }
        }
    }

    /// Whether a full chunk was ordered to be written since the last call.
    #[inline]
    pub(crate) fn take_ordered(&mut self) -> bool {
        std::mem::take(&mut self.ordered)
    }

    pub(crate) fn order(&self, order: Order) {
        // The writer goes on until we close the queue.
        let _ = self.orders.send(order);
    }

    pub(crate) fn tell(&self, event: Event) {
        self.events.tell(event);
    }

    /// The seat of the source that comes next.
    pub(crate) fn next_seat(&self) -> usize {
        self.seats.last().copied().unwrap_or(self.sources.len())
    }

    /// Takes a source in, and describes its interfaces in its outputs.
    pub(crate) fn add(&mut self, mut source: Source, follows: Option<CaptureId>) -> usize {
        source.heritage = follows.map(|id| self.take_estate(id)).unwrap_or_default();
        let files = match (&self.split, source.heritage.outputs[FILES]) {
            _ if self.recorder.is_some() => self.recording_of(&source, follows),
            (Some(_), Some(output)) => output,
            (Some(name), None) => self.add_series(name.clone(), Some(source.identity.name.clone())),
            (None, _) => 0,
        };
        source.outputs = [Some(files), self.print];
        let index = self.next_seat();
        if index < self.sources.len() {
            self.sources[index] = source;
        } else {
            self.sources.push(source);
        }
        self.seats.pop();
        self.present.push(index);
        let new = self.sources[index].look(self.link_type);
        let out = &self.outputs[files];
        if out.is_unopened() && !out.complete && out.track.is_none() {
            // Interfaces before names: what Wireshark takes for a file's encapsulation is what the
            // first blocks say.
            self.open(files, clock::now());
        }
        self.introduce(index, new);
        index
    }

    /// Asks a source for its interfaces, and describes those that are new or different.
    pub(crate) fn look(&mut self, source: usize) {
        let new = self.sources[source].look(self.link_type);
        self.introduce(source, new);
    }

    /// Describes interfaces, and asks for the sockets that they need.
    fn introduce(&mut self, source: usize, new: Vec<usize>) {
        for slot in new {
            self.describe(source, slot);
            if let Some(index) = self.sources[source].bind_next(slot) {
                let id = self.sources[source].id;
                self.tell(Event::InterfaceCame { id, index });
            }
        }
        for output in self.sources[source].outputs.into_iter().flatten() {
            self.put_names_due(output);
        }
    }

    /// Calls a source something else, and describes its interfaces anew where that changes what
    /// was said of them.
    pub(crate) fn rename(&mut self, source: usize, identity: Identity) {
        let renamed = &mut self.sources[source];
        let before = std::mem::replace(&mut renamed.identity, identity);
        let says = |identity: &Identity, slot: usize| {
            let interface = &renamed.slots[slot].interface;
            (encode::full_name(identity, interface), encode::description(identity, interface))
        };
        let changed: Vec<usize> = (0..renamed.slots.len())
            .filter(|slot| renamed.is_in_force(*slot))
            .filter(|slot| says(&before, *slot) != says(&renamed.identity, *slot))
            .collect();
        for slot in changed {
            let slot = self.sources[source].renew(slot);
            self.describe(source, slot);
        }
    }

    /// Ends a source: everything of it is in the files, but its statistics.
    pub(crate) fn end(&mut self, source: usize) {
        let notes = std::mem::take(&mut self.sources[source].notes);
        for which in [FILES, PRINT] {
            let Some(output) = self.sources[source].outputs[which] else { continue };
            let mut bytes = Vec::new();
            self.statistics(source, which, &notes, &mut bytes);
            let output = &mut self.outputs[output];
            if let Some(track) = &mut output.track {
                track.last_words = (self.sources[source].until, bytes.clone());
            }
            if !bytes.is_empty() && !output.closed {
                output.put_blocks(bytes, &self.orders);
            }
            output.flush(&self.orders);
        }
        self.present.retain(|present| *present != source);
        self.leave(source);
        self.seats.push(source);
        self.gone.add(self.sources[source].end());
        self.order(Order::Tell { source: self.sources[source].id });
    }

    /// New names for addresses: into every file from now on.
    pub(crate) fn set_names(&mut self, names: Vec<(IpAddr, String)>) {
        let fresh: Vec<_> =
            names.iter().filter(|name| !self.names.contains(name)).cloned().collect();
        self.names = names;
        if fresh.is_empty() {
            return;
        }
        for output in &mut self.outputs {
            if output.format == Format::Pcapng && !output.closed && !output.names_due {
                let mut bytes = Vec::new();
                encode::names(&fresh, &mut bytes);
                output.put_blocks(bytes, &self.orders);
            }
        }
    }

    /// Hears what the writer tells.
    pub(crate) fn hear(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done { output, path, rotated } => {
                if !self.record_done(output, &path) {
                    self.tell(Event::FileDone { path, rotated });
                }
            }
            Outcome::Broken { output, error, .. } if self.recorder.is_some() => {
                self.record_failed(output, error);
            }
            Outcome::Torn { output, source } => self.record_torn(output, source),
            Outcome::SpillStopped { why } => self.spill_stopped(why),
            Outcome::NoRoom { path, free, keep } if self.recorder.is_some() => {
                self.cut_records(&path, free, keep);
            }
            Outcome::Lost { output, tally } => self.take_back(output, &tally),
            Outcome::Ended { source } => {
                if let Some(report) = self.gone.find(source) {
                    self.tell(Event::Detached(report.clone()));
                }
            }
            Outcome::Broken { output, error, pipe_closed } => {
                // One that is gone has nothing more to lose.
                let place = self.outputs.iter().position(|other| other.number() == output);
                if let Some(place) = place {
                    self.outputs[place].broken = true;
                }
                if place.is_some() && place == self.print {
                    // Who prints has seen enough; the file goes on.
                    if self.ending.is_none() {
                        self.tell(Event::PrintingEnded);
                    }
                    return;
                }
                let ending = if pipe_closed { Ending::PipeClosed } else { Ending::Failed(error) };
                self.ending.get_or_insert(ending);
            }
            Outcome::NoRoom { path, free, keep } => {
                self.ending.get_or_insert(Ending::NoRoom { path, free, keep });
            }
        }
    }

    /// Frames that were counted as captured did not arrive.
    fn take_back(&mut self, output: usize, tally: &Tally) {
        if self.print.is_some_and(|print| self.outputs[print].number() == output) {
            return;
        }
        let pipe_closed = matches!(self.ending, Some(Ending::PipeClosed));
        for &(id, portion) in tally {
            let (stats, bytes) = match self.find(id) {
                Some(source) => {
                    let source = &mut self.sources[source];
                    (&mut source.stats, &mut source.bytes)
                }
                None => self.gone.counts_of(id),
            };
            *bytes -= portion.bytes;
            stats.captured -= portion.packets;
            // Who closes a pipe has seen enough.
            if pipe_closed {
                stats.discarded += portion.packets;
            } else {
                stats.dropped_by_us += portion.packets;
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        for output in &mut self.outputs {
            output.flush(&self.orders);
        }
    }

    /// Where everything stands.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let files = || {
            let printed = self.print;
            self.outputs.iter().enumerate().filter(move |(index, _)| Some(*index) != printed)
        };
        let present = self.present.iter().map(|index| self.sources[*index].report());
        let mut sources: Vec<_> = self.gone.listed().cloned().chain(present).collect();
        sources.sort_unstable_by_key(|source| source.id);
        let past = self.gone.past();
        Snapshot {
            packets: past.stats.captured
                + sources.iter().map(|source| source.stats.captured).sum::<u64>(),
            sources,
            past,
            recorded: self.outputs.iter().filter_map(Output::recorded).collect(),
            held: self.held(),
            bytes: self.past.0 + files().map(|(_, output)| output.bytes()).sum::<u64>(),
            file: self.file.clone(),
            files: self.past.1 + files().map(|(_, output)| output.files).sum::<u32>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use crossbeam_channel::unbounded;
    use filter::{Expression, LiveJob};
    use model::{Direction, NetnsId, Snaplen};
    use sys::{netlink, ring::Geometry};

    use super::*;
    use crate::{
        Attachment, Autostop, Compression, KeepFree, Means, Rotation, Sockets, source::Place,
        writer::Portion,
    };

    fn desk(split: bool) -> Desk {
        let here = |job: LiveJob<'_>| Ok::<_, Infallible>(job.run());
        let compiled = Expression::new("").compile(Snaplen::MAX, here).unwrap();
        let config = Config {
            plan: Arc::new(Plan::compose(&compiled, Direction::InOut).unwrap()),
            expression: String::new(),
            destination: Destination::Files { name: FileName::new("x", "host").unwrap(), split },
            format: Format::Pcapng,
            compression: Compression::None,
            print: None,
            rotation: Rotation::Off,
            autostop: Autostop::default(),
            link_type: None,
            memory: 0,
            keep_free: KeepFree::Bytes(0),
            packet_buffered: false,
            section: SectionText::default(),
        };
        let waker = Waker::new().unwrap();
        let budget = Arc::new(Budget::new(0, 1, waker.clone()));
        // Nobody carries out orders or hears events: what a desk keeps is its own.
        Desk::new(
            config,
            budget,
            unbounded().0,
            Told { events: unbounded().0, listener: waker },
            None,
        )
    }

    fn source(id: u32) -> Source {
        let attachment = Attachment {
            id: CaptureId(id),
            identity: Identity {
                name: "web".to_owned(),
                description: "container web".to_owned(),
                ..Identity::default()
            },
            netns: NetnsId { dev: 0, ino: 0 },
            means: Means::Here(Sockets {
                packet: Vec::new(),
                geometry: Geometry::of_size(0, std::time::Duration::ZERO),
                netlink: [netlink::open().unwrap(), netlink::open().unwrap()],
            }),
            program_refused: false,
            only: Some(vec!["lo".to_owned()]),
            follows: None,
            blind: None,
            hold: None,
        };
        Source::new(attachment, 0).unwrap()
    }

    fn end(desk: &mut Desk, source: usize, place: Place) {
        desk.keep_place(source, place);
        desk.sources[source].let_go(0);
        desk.end(source);
    }

    /// What each turn looks at, and what is only kept.
    fn sizes(desk: &Desk) -> [usize; 4] {
        [desk.present.len(), desk.seats.len(), desk.outputs.len(), desk.estates.len()]
    }

    #[test]
    fn turns_look_at_those_that_are_there() {
        for (split, outputs) in [(false, 1), (true, 2)] {
            let mut desk = desk(split);
            let stays = desk.add(source(0), None);
            for id in 1..500 {
                let index = desk.add(source(id), None);
                assert_eq!((index, stays), (1, 0));
                end(&mut desk, index, Place::GivenUp);
                let ended = &desk.sources[index];
                assert_eq!((ended.identity.name.len(), ended.slots.capacity()), (0, 0));
                assert!(ended.identity.description.is_empty() && ended.live.is_none());
            }
            assert_eq!(sizes(&desk), [1, 1, outputs, 0]);
            assert_eq!(desk.sources.len(), 2);
            let snapshot = desk.snapshot();
            let ids = snapshot.sources.iter().map(|source| source.id.0);
            assert!(ids.eq(0..500) && snapshot.sources.iter().all(|source| source.name == "web"));
        }
    }

    #[test]
    fn a_place_is_kept_until_it_is_taken_or_forgotten() {
        let mut desk = desk(true);
        for id in 0..3 {
            let index = desk.add(source(id), None);
            end(&mut desk, index, Place::Kept);
        }
        assert_eq!(sizes(&desk), [0, 1, 3, 3]);
        // One is followed by one that is followed before it ends, and that is not kept twice.
        let third = desk.add(source(3), Some(CaptureId(0)));
        let fourth = desk.add(source(4), Some(CaptureId(3)));
        end(&mut desk, third, Place::Kept);
        assert_eq!(sizes(&desk), [1, 1, 3, 2]);
        assert_eq!(desk.sources[fourth].outputs[FILES], Some(0));
        assert!(!desk.outputs[0].closed);
        end(&mut desk, fourth, Place::GivenUp);
        assert!(desk.outputs[0].closed);
        desk.forget(CaptureId(1));
        desk.forget(CaptureId(2));
        desk.forget(CaptureId(2));
        assert_eq!(sizes(&desk), [0, 2, 3, 0]);
        assert_eq!(desk.retired.len(), 3);
        let files = desk.snapshot().files;
        assert_eq!(files, 3);
    }

    #[test]
    fn whoever_takes_a_seat_is_not_counted_for_who_had_it() {
        let (orders, queue) = unbounded();
        let mut output = Output::new(0, None, Format::Pcapng, false);
        let budget = Budget::new(0, 1, Waker::new().unwrap());
        output.make_room(0, &[], &budget, &orders);
        let [seven, eight, nine] = [7, 8, 9].map(CaptureId);
        let portion = |packets| Portion { packets, bytes: 60 * packets };
        output.count(0, seven, portion(2));
        output.count(1, eight, portion(1));
        output.count(0, seven, portion(3));
        output.count(0, nine, portion(4));
        output.flush(&orders);
        output.count(1, eight, portion(1));
        let tallies: Vec<Tally> = queue
            .try_iter()
            .filter_map(|order| match order {
                Order::Write { tally, .. } => Some(tally),
                _ => None,
            })
            .collect();
        assert_eq!(tallies, [vec![(seven, portion(5)), (nine, portion(4)), (eight, portion(1))]]);
    }
}
