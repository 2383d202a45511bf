//! What the desk does for a spill.

use super::{SpillTrouble, Spiller, Track, spill::NotStored};
use crate::{Event, HeldBytes, desk::Desk, output::Output};

impl Desk {
    /// Hands the oldest chunks in memory to the spill, as far as memory is to come free.
    pub(crate) fn spill_over(&mut self) {
        let Self { recorder, outputs, budget, .. } = self;
        let Some(spiller) = recorder.as_mut().and_then(|recorder| recorder.spiller.as_mut()) else {
            return;
        };
        let mut evicts = false;
        while spiller.spill.is_over() && evict_stored(outputs) {
            evicts = true;
        }
        'chunks: while spiller.wants_more(budget) {
            let oldest = tracks(outputs)
                .filter_map(|track| Some((track.window.unspilled()?, track)))
                .min_by_key(|((first, _), _)| *first);
            let Some(((_, len), _)) = oldest else { break };
            let reserved = loop {
                match spiller.spill.reserve(len) {
                    Some(reserved) => break reserved,
                    None if evict_stored(outputs) => evicts = true,
                    None => break 'chunks,
                }
            };
            // It is the oldest still: what was evicted is on disk.
            let oldest = tracks(outputs)
                .filter_map(|track| Some((track.window.unspilled()?, track)))
                .min_by_key(|((first, _), _)| *first);
            if let Some((_, track)) = oldest
                && let Some(held) = track.window.spill()
            {
                spiller.send(held, reserved);
            }
        }
        let trouble = if evicts { spiller.is_full() } else { None };
        self.tell_trouble(trouble);
    }

    /// Memory comes free in a moment, and there is still room in the rings.
    pub(crate) fn waits_for_spill(&self) -> bool {
        let spiller = self.recorder.as_ref().and_then(|recorder| recorder.spiller.as_ref());
        !self.pressed && spiller.is_some_and(Spiller::is_writing)
    }

    /// The spill's thread has stopped writing: what was on its way stays in memory.
    pub(crate) fn spill_stopped(&mut self, why: NotStored) {
        tracks(&mut self.outputs).for_each(|track| track.window.take_back());
        let spiller = self.recorder.as_mut().and_then(|recorder| recorder.spiller.as_mut());
        let trouble = spiller.and_then(|spiller| spiller.stopped(why));
        self.tell_trouble(trouble);
        self.spill_over();
    }

    /// A chunk in memory had to go.
    pub(crate) fn tell_eviction(&mut self) {
        let spiller = self.recorder.as_mut().and_then(|recorder| recorder.spiller.as_mut());
        let trouble = spiller.and_then(Spiller::is_slow);
        self.tell_trouble(trouble);
    }

    fn tell_trouble(&self, trouble: Option<SpillTrouble>) {
        if let (Some(trouble), Some(directory)) = (trouble, self.spill_directory()) {
            self.tell(Event::Spill { directory, trouble });
        }
    }

    fn spill_directory(&self) -> Option<std::path::PathBuf> {
        let spiller = self.recorder.as_ref()?.spiller.as_ref()?;
        Some(spiller.spill.directory.clone())
    }

    /// Where what is held is; `None` where nothing is recorded.
    pub(crate) fn held(&self) -> Option<HeldBytes> {
        let recorder = self.recorder.as_ref()?;
        let in_windows: u64 = self
            .outputs
            .iter()
            .filter_map(|output| {
                Some(output.track.as_ref()?.window.bytes() + output.chunk.len() as u64)
            })
            .sum();
        let disk = recorder.spiller.as_ref().map_or(0, |spiller| spiller.spill.stored());
        // What the pen alone has is on disk, and in no window.
        let disk = disk.min(in_windows);
        Some(HeldBytes { memory: in_windows - disk, disk })
    }
}

fn tracks(outputs: &mut [Output]) -> impl Iterator<Item = &mut Track> {
    outputs.iter_mut().filter_map(|output| output.track.as_deref_mut())
}

/// Lets the oldest chunk on disk of all windows go.
fn evict_stored(outputs: &mut [Output]) -> bool {
    let oldest = tracks(outputs)
        .filter_map(|track| Some((track.window.stored()?, track)))
        .min_by_key(|(first, _)| *first);
    oldest.is_some_and(|(_, track)| track.window.evict_stored())
}
