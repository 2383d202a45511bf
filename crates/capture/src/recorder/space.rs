use std::collections::BTreeMap;

/// Room is given in multiples of this many bytes: the block of most file systems, so that a part of
/// a file that is given up can be given back to its file system.
const UNIT: u64 = 4096;

/// A part of the file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) begin: u64,
    pub(crate) len: u64,
}

/// What so many bytes occupy.
pub(crate) fn whole_units(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(UNIT)
}

/// Which parts of a file are in use. What comes free is used again first, so the file is no longer
/// than the most that was ever in use at once.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// Free, and the file system has blocks there: length by begin. Neighbours are one.
    used_before: BTreeMap<u64, u64>,
    /// Bytes of these.
    spare: u64,
    /// Free, without blocks.
    holes: BTreeMap<u64, u64>,
    /// Where the file ends.
    end: u64,
}

impl Space {
    /// Room of `bytes` bytes, a multiple of the unit, in as few parts as it comes; with `grows` also
    /// such as takes new blocks of the file system. `None`: there is not so much.
    pub(crate) fn take(&mut self, bytes: u64, grows: bool) -> Option<Box<[Extent]>> {
        if !grows && self.spare < bytes {
            return None;
        }
        self.spare -= self.spare.min(bytes);
        let mut taken = Vec::new();
        let mut left = bytes;
        for free in [&mut self.used_before, &mut self.holes] {
            while left > 0
                && let Some((begin, len)) = free.pop_first()
            {
                let part = len.min(left);
                if len > part {
                    free.insert(begin + part, len - part);
                }
                taken.push(Extent { begin, len: part });
                left -= part;
            }
        }
        if left > 0 {
            taken.push(Extent { begin: self.end, len: left });
            self.end += left;
        }
        Some(taken.into())
    }

    /// Nobody uses these parts any more.
    pub(crate) fn give(&mut self, extents: &[Extent]) {
        for extent in extents {
            self.spare += extent.len;
            insert(&mut self.used_before, *extent);
        }
    }

    /// The file system has no blocks there any more.
    pub(crate) fn give_hole(&mut self, extents: &[Extent]) {
        extents.iter().for_each(|extent| insert(&mut self.holes, *extent));
    }

    /// Bytes that are free and have blocks.
    pub(crate) fn spare(&self) -> u64 {
        self.spare
    }

    /// Bytes for which the file system has blocks, as far as is known here.
    pub(crate) fn blocks(&self) -> u64 {
        self.end - self.holes.values().sum::<u64>()
    }

    /// Takes free parts that have blocks, from the end of the file, until no more than `keep` bytes
    /// of such are left: to be made holes, and given with [`Space::give_hole`].
    pub(crate) fn surplus(&mut self, keep: u64) -> Vec<Extent> {
        let mut taken = Vec::new();
        while self.spare > keep
            && let Some((begin, len)) = self.used_before.pop_last()
        {
            let part = len.min((self.spare - keep).next_multiple_of(UNIT));
            if len > part {
                self.used_before.insert(begin, len - part);
            }
            taken.push(Extent { begin: begin + (len - part), len: part });
            self.spare -= part;
        }
        taken
    }
}

/// Adds a part to free ones.
fn insert(free: &mut BTreeMap<u64, u64>, Extent { begin, len }: Extent) {
    let (mut from, mut to) = (begin, begin + len);
    if let Some((before, length)) = free.range(..begin).next_back()
        && before + length == begin
    {
        from = *before;
    }
    if let Some(length) = free.remove(&to) {
        to += length;
    }
    free.insert(from, to - from);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(parts: &[(u64, u64)]) -> Vec<Extent> {
        parts.iter().map(|(begin, len)| Extent { begin: begin * UNIT, len: len * UNIT }).collect()
    }

    fn take(space: &mut Space, units: u64) -> Vec<Extent> {
        space.take(units * UNIT, true).unwrap().into_vec()
    }

    #[test]
    fn room_is_used_again_and_the_file_no_longer_than_needed() {
        let mut space = Space::default();
        let parts: Vec<_> = (0..4).map(|_| take(&mut space, 2)).collect();
        assert_eq!(parts.concat(), extents(&[(0, 2), (2, 2), (4, 2), (6, 2)]));
        space.give(&parts[0]);
        space.give(&parts[2]);
        assert_eq!((space.spare(), space.blocks()), (4 * UNIT, 8 * UNIT));
        assert_eq!(take(&mut space, 3), extents(&[(0, 2), (4, 1)]));
        assert_eq!(take(&mut space, 2), extents(&[(5, 1), (8, 1)]));
        assert_eq!(space.end, 9 * UNIT);
    }

    #[test]
    fn neighbours_are_one() {
        let mut space = Space::default();
        let parts: Vec<_> = (0..3).map(|_| take(&mut space, 1)).collect();
        for which in [2, 0, 1] {
            space.give(&parts[which]);
        }
        assert_eq!(space.used_before, BTreeMap::from([(0, 3 * UNIT)]));
        assert_eq!(take(&mut space, 3), extents(&[(0, 3)]));
    }

    #[test]
    fn a_file_that_must_not_grow_has_only_what_was_used_before() {
        let mut space = Space::default();
        let part = take(&mut space, 2);
        assert_eq!(space.take(UNIT, false), None);
        space.give(&part);
        assert_eq!(space.take(3 * UNIT, false), None);
        assert_eq!(space.take(2 * UNIT, false).unwrap().into_vec(), part);
    }

    #[test]
    fn what_nobody_needs_is_made_a_hole() {
        let mut space = Space::default();
        let parts: Vec<_> = (0..4).map(|_| take(&mut space, 2)).collect();
        space.give(&parts[0]);
        space.give(&parts[3]);
        assert_eq!(space.surplus(4 * UNIT), []);
        let over = space.surplus(2 * UNIT);
        assert_eq!(over, parts[3]);
        space.give_hole(&over);
        assert_eq!((space.spare(), space.blocks()), (2 * UNIT, 6 * UNIT));
        // Blocks that are there are used before new ones are asked for.
        assert_eq!(take(&mut space, 3), extents(&[(0, 2), (6, 1)]));
        assert_eq!(whole_units(1), UNIT);
        assert_eq!(whole_units(2 * 4096), 2 * UNIT);
    }
}
