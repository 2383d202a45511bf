//! What becomes of the place of a source that ends: it is given up, or kept for a successor.

use super::{Desk, FILES};
use crate::{CaptureId, estate::Estate, source::Place};

impl Desk {
    /// What the capture that a new one follows leaves to it, now if that one has not ended yet.
    pub(super) fn take_estate(&mut self, id: CaptureId) -> Estate {
        if let Some(estate) = self.estates.remove(&id) {
            return estate;
        }
        match self.find(id) {
            Some(source) => {
                self.sources[source].place = Place::Inherited;
                Estate::of(&self.sources[source])
            }
            None => Estate::default(),
        }
    }

    /// A source that has not ended.
    pub(crate) fn find(&self, id: CaptureId) -> Option<usize> {
        self.present.iter().copied().find(|source| self.sources[*source].id == id)
    }

    /// What is to become of a source's place when it ends.
    pub(crate) fn keep_place(&mut self, source: usize, place: Place) {
        let source = &mut self.sources[source];
        if source.place != Place::Inherited {
            source.place = place;
        }
    }

    /// No capture will follow this one.
    pub(crate) fn forget(&mut self, id: CaptureId) {
        if let Some(source) = self.find(id) {
            self.keep_place(source, Place::GivenUp);
        } else if let Some(Estate { outputs: [Some(files), _], .. }) = self.estates.remove(&id) {
            self.close_unless_needed(files);
        }
    }

    /// A source that is not present any more leaves its place.
    pub(super) fn leave(&mut self, source: usize) {
        let source = &self.sources[source];
        if source.place == Place::Kept {
            self.estates.insert(source.id, Estate::of(source));
        } else if let Some(files) = source.outputs[FILES] {
            self.close_unless_needed(files);
        }
    }

    /// Whether no source is present that writes to these files.
    pub(super) fn is_vacant(&self, output: usize) -> bool {
        !self.present.iter().any(|source| self.sources[*source].outputs[FILES] == Some(output))
    }

    /// Where each source has its own files: those of one that is gone, and that nobody follows, are
    /// complete. The stream for printing is shared.
    fn close_unless_needed(&mut self, output: usize) {
        let is_kept = self.estates.values().any(|estate| estate.outputs[FILES] == Some(output));
        if self.split.is_none() || is_kept || !self.is_vacant(output) || self.ending.is_some() {
            return;
        }
        if !self.outputs[output].closed {
            self.close(output, false);
        }
        self.past.0 += self.outputs[output].bytes();
        self.past.1 += self.outputs[output].files;
        self.outputs[output].retire();
        self.retired.push(output);
    }
}
