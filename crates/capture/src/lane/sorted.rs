//! The order of the frames that wait in a lane.

/// How many places are made at a time at the least.
const GROW_BY: usize = 512;

/// A frame that waits: enough to put it in order, and to find it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) timestamp: u64,
    /// Number of its block.
    pub(crate) block: u32,
    /// Its offset there.
    pub(crate) offset: u32,
}

/// Frames that wait, sorted by timestamp; equal ones in the order in which they were put in.
///
/// Places are there before they are needed, as the bytes of a [`Chunk`](crate::chunk::Chunk) are: so
/// frames are put into a slice of known length, and that is a few stores for each.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    places: Vec<Entry>,
    head: usize,
    end: usize,
}

impl Sorted {
    /// All of them, the earliest first.
    #[inline]
    pub(super) fn waiting(&self) -> &[Entry] {
        self.places.get(self.head..self.end).unwrap_or_default()
    }

    /// The earliest.
    #[inline]
    pub(super) fn first(&self) -> Option<&Entry> {
        self.waiting().first()
    }

    /// Takes the `count` earliest away.
    #[inline]
    pub(super) fn remove_first(&mut self, count: usize) {
        self.head += count;
        if self.head >= self.end {
            (self.head, self.end) = (0, 0);
        }
    }

    /// `count` places behind the last frame, for [`Sorted::filled`].
    #[inline]
    pub(super) fn places(&mut self, count: usize) -> &mut [Entry] {
        if self.places.len() - self.end < count {
            self.make_places(count);
        }
        &mut self.places[self.end..self.end + count]
    }

    /// The first `count` of the places were filled, in order and with frames that are no earlier than
    /// any other.
    #[inline]
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// By moving what waits to where the places of those are that are gone, where that gains more than
    /// is moved; else by more memory.
    #[cold]
    fn make_places(&mut self, count: usize) {
        if self.head > self.places.len() / 2 {
            self.places.copy_within(self.head..self.end, 0);
            self.end -= self.head;
            self.head = 0;
        }
        if self.places.len() - self.end < count {
            self.places.resize(self.end + count.max(GROW_BY), Entry::default());
        }
    }

    /// Puts a frame that comes late behind all that are not later. Such frames are few, and are not
    /// very late, so its place is near the end.
    #[cold]
    pub(super) fn insert(&mut self, entry: Entry) {
        let is_later = |other: &&Entry| other.timestamp > entry.timestamp;
        let later = self.waiting().iter().rev().take_while(is_later).count();
        self.places(1)[0] = entry;
        self.filled(1);
        self.places[self.end - 1 - later..self.end].rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Puts frames in as a lane does, `batch` of them at a time.
    fn put(sorted: &mut Sorted, entries: &[Entry], batch: usize) {
        for entries in entries.chunks(batch) {
            let mut latest = sorted.waiting().last().map_or(0, |entry| entry.timestamp);
            for entry in entries {
                if entry.timestamp < latest {
                    sorted.insert(*entry);
                } else {
                    latest = entry.timestamp;
                    sorted.places(1)[0] = *entry;
                    sorted.filled(1);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_stable_sort(
            stamps in prop::collection::vec(0_u64..50, 0..300), batch in 1_usize..9, gone in 0_usize..300,
        ) {
            let entries: Vec<Entry> = (0..)
                .zip(&stamps)
                .map(|(offset, stamp)| Entry { timestamp: *stamp, block: 7, offset })
                .collect();
            let mut sorted = Sorted::default();
            put(&mut sorted, &entries, batch);
            let mut expected = entries.clone();
            expected.sort_by_key(|entry| entry.timestamp);
            prop_assert_eq!(sorted.waiting(), &*expected);
            let gone = gone.min(expected.len());
            sorted.remove_first(gone);
            prop_assert_eq!(sorted.waiting(), &expected[gone..]);
            prop_assert_eq!(sorted.first(), expected.get(gone));
        }
    }

    #[test]
    fn places_are_used_again() {
        let mut sorted = Sorted::default();
        for timestamp in 0..100 * GROW_BY as u64 {
            sorted.places(1)[0] = Entry { timestamp, ..Entry::default() };
            sorted.filled(1);
            if timestamp >= 1000 {
                assert_eq!(sorted.first().map(|first| first.timestamp), Some(timestamp - 1000));
                sorted.remove_first(1);
            }
        }
        assert_eq!(sorted.waiting().len(), 1000);
        assert!(sorted.places.len() <= 2 * 1000 + 2 * GROW_BY, "{}", sorted.places.len());
    }
}
