//! Which lane is next: a k-way merge that stays in a lane as long as that lane is first.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::lane::Lane;

/// What became of a frame that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is gone: go on.
    Gone,
    /// It is gone, and something is to be done before the next.
    Pause,
    /// It has to wait, and so have all behind it.
    Wait,
}

/// Offers the frames of all lanes up to and including timestamp `until`, in order, to `take`,
/// which is given the lane that is next, and the timestamp up to which it is.
///
/// Gives the step that all of it ended with.
pub(crate) fn merge(
    lanes: &mut [Lane],
    until: u64,
    heap: &mut BinaryHeap<Reverse<(u64, usize)>>,
    mut take: impl FnMut(&mut Lane, u64) -> Step,
) -> Step {
    heap.clear();
    let fronts =
        lanes.iter_mut().enumerate().filter_map(|(index, lane)| Some((lane.front()?, index)));
    heap.extend(fronts.filter(|(front, _)| *front <= until).map(Reverse));
    while let Some(Reverse((_, index))) = heap.pop() {
        let bound = heap.peek().map_or(until, |Reverse((next, _))| *next);
        let lane = &mut lanes[index];
        while let Some(front) = lane.front() {
            if front > bound {
                if front <= until {
                    heap.push(Reverse((front, index)));
                }
                break;
            }
            match take(lane, bound) {
                Step::Gone => {}
                step => return step,
            }
        }
    }
    Step::Gone
}
