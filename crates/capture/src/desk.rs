//! The reader's desk: sources on one side, outputs on the other. What happens to a frame between
//! them stands in [`delivery`], what happens to files in [`files`].

mod delivery;
mod files;

use std::{fs::File, net::IpAddr, path::PathBuf, sync::Arc};

use crossbeam_channel::Sender;
use filter::Plan;
use model::LinkType;
use sys::poll::Waker;

use crate::{
    Config, Destination, Ending, Event, FileName, Format, Series, Snapshot,
    budget::Budget,
    clock,
    config::SectionText,
    encode,
    output::Output,
    source::{OUTPUTS, Source},
    writer::{Order, Outcome, Tally},
};

/// Which of a source's outputs.
const FILES: usize = 0;
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
    pub(crate) sources: Vec<Source>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) names: Vec<(IpAddr, String)>,
    pub(crate) ending: Option<Ending>,
    plan: Arc<Plan>,
    budget: Arc<Budget>,
    orders: Sender<Order>,
    events: Told,
    split: Option<FileName>,
    format: Format,
    rotation: crate::Rotation,
    autostop: crate::Autostop,
    link_type: Option<LinkType>,
    section: SectionText,
    expression: String,
    print: Option<usize>,
    /// A full chunk was ordered to be written.
    ordered: bool,
}

impl Desk {
    pub(crate) fn new(
        config: Config,
        budget: Arc<Budget>,
        orders: Sender<Order>,
        events: Told,
    ) -> Self {
        let mut desk = Self {
            sources: Vec::new(),
            outputs: Vec::new(),
            names: Vec::new(),
            ending: None,
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
        };
        match config.destination {
            Destination::Files { name, split: true } => desk.split = Some(name),
            Destination::Files { name, split: false } => {
                desk.add_series(name, None);
            }
            Destination::Stream { file, name } => {
                desk.add_stream(file, name, config.format);
            }
        }
        if let Some(file) = config.print {
            desk.print = Some(desk.add_stream(file, "the printing program".into(), Format::Pcapng));
        }
        desk
    }

    fn add_series(&mut self, name: FileName, target: Option<String>) -> usize {
        let series = Series::new(name, target, self.rotation.clone(), self.autostop.clone());
        let output = self.outputs.len();
        let limited = self.autostop.packets.is_some();
        self.outputs.push(Output::new(output, Some(series), self.format, limited));
        self.open(output, clock::now());
        output
    }

    fn add_stream(&mut self, file: File, path: PathBuf, format: Format) -> usize {
        let output = self.outputs.len();
        let limited = self.autostop.packets.is_some();
        self.outputs.push(Output::new(output, None, format, limited));
        self.order(Order::Stream { output, file, path });
        self.open(output, clock::now());
        output
    }

    /// Whether a full chunk was ordered to be written since the last call.
    #[inline]
    pub(crate) fn take_ordered(&mut self) -> bool {
        std::mem::take(&mut self.ordered)
    }

    fn order(&self, order: Order) {
        // The writer goes on until we close the queue.
        let _ = self.orders.send(order);
    }

    pub(crate) fn tell(&self, event: Event) {
        self.events.tell(event);
    }

    /// The outputs for a new source of this name.
    pub(crate) fn outputs_for(&mut self, name: &str) -> [Option<usize>; OUTPUTS] {
        let files = match self.split.clone() {
            Some(file_name) => self.add_series(file_name, Some(name.to_owned())),
            None => 0,
        };
        [Some(files), self.print]
    }

    /// Takes a source in, and describes its interfaces in its outputs.
    pub(crate) fn add(&mut self, source: Source) -> usize {
        let index = self.sources.len();
        self.sources.push(source);
        self.look(index);
        index
    }

    /// Asks a source for its interfaces, and describes those that are new or different.
    pub(crate) fn look(&mut self, source: usize) {
        let new = self.sources[source].look(self.link_type);
        for slot in new {
            self.describe(source, slot);
            if let Some(index) = self.sources[source].bind_next(slot) {
                let id = self.sources[source].id;
                self.tell(Event::InterfaceCame { id, index });
            }
        }
    }

    /// Ends a source: everything of it is in the files, but its statistics.
    pub(crate) fn end(&mut self, source: usize) {
        for output in 0..self.outputs.len() {
            if self.outputs[output].format == Format::Pcapng && !self.outputs[output].closed {
                let mut bytes = Vec::new();
                self.statistics(source, output, &mut bytes);
                if !bytes.is_empty() {
                    self.outputs[output].put_blocks(bytes, &self.orders);
                }
            }
        }
        self.sources[source].ended = true;
        if self.split.is_some() && self.ending.is_none() {
            // Its own files are complete. The stream for printing is shared.
            if let Some(output) = self.sources[source].outputs[FILES]
                && !self.outputs[output].closed
            {
                self.close(output, false);
                self.outputs[output].complete = true;
            }
        }
        self.tell(Event::Detached(self.sources[source].report()));
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
            if output.format == Format::Pcapng && !output.closed {
                let mut bytes = Vec::new();
                encode::names(&fresh, &mut bytes);
                output.put_blocks(bytes, &self.orders);
            }
        }
    }

    /// Hears what the writer tells.
    pub(crate) fn hear(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done { path, rotated } => self.tell(Event::FileDone { path, rotated }),
            Outcome::Lost { output, tally } => self.take_back(output, &tally),
            Outcome::Broken { output, error, pipe_closed } => {
                self.outputs[output].broken = true;
                if Some(output) == self.print {
                    // Who prints has seen enough; the file goes on.
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
        if Some(output) == self.print {
            return;
        }
        let pipe_closed = matches!(self.ending, Some(Ending::PipeClosed));
        for &(source, count) in tally {
            let stats = &mut self.sources[source].stats;
            stats.captured -= count;
            // Who closes a pipe has seen enough.
            if pipe_closed {
                stats.discarded += count;
            } else {
                stats.dropped_by_us += count;
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
        let sources: Vec<_> = self.sources.iter().map(Source::report).collect();
        Snapshot {
            packets: sources.iter().map(|source| source.stats.captured).sum(),
            sources,
            bytes: files().map(|(_, output)| output.bytes()).sum(),
            file: files().filter_map(|(_, output)| output.path.clone()).next_back(),
            files: files().map(|(_, output)| output.files).sum(),
        }
    }
}
