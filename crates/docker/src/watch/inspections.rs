use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::INSPECT_CONCURRENCY;

/// How many containers may wait for an inspection because of events. Beyond that the next list
/// shows that they are unknown.
const URGENT: usize = 1024;

/// How long a container is left alone whose inspection was not answered in time: each attempt would
/// hold one place for the whole deadline.
const SULK: Duration = Duration::from_secs(30);

/// Which containers the engine is asked about, in what order, and each only once at a time.
#[derive(Debug, Default)]
pub(super) struct Inspections {
    /// Because of events.
    urgent: VecDeque<String>,
    /// Because of lists: at most as many as those have.
    later: VecDeque<String>,
    /// Who is in either.
    waiting: HashSet<String>,
    under_way: HashMap<String, UnderWay>,
    sulking: HashMap<String, Instant>,
}

/// What happened since the question was asked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// Something that the answer may not know.
    pub(super) changed: bool,
    /// It was started: an answer that shows it alive knows of that, as the engine answers no
    /// inspection in the middle of a start.
    pub(super) started: bool,
}

impl Inspections {
    /// An event wants an answer.
    pub(super) fn want(&mut self, id: &str, started: bool) {
        if let Some(under_way) = self.under_way.get_mut(id) {
            under_way.changed |= !started;
            under_way.started |= started;
            return;
        }
        self.sulking.remove(id);
        if self.urgent.len() < URGENT {
            self.waiting.insert(id.to_owned());
            self.urgent.push_back(id.to_owned());
        }
    }

    /// A list wants an answer; whether there will be one.
    pub(super) fn want_later(&mut self, id: &str) -> bool {
        if self.is_pending(id) {
            return true;
        }
        if self.sulking.get(id).is_some_and(|until| Instant::now() < *until) {
            return false;
        }
        self.waiting.insert(id.to_owned());
        self.later.push_back(id.to_owned());
        true
    }

    /// Whether an answer is awaited.
    pub(super) fn is_pending(&self, id: &str) -> bool {
        self.waiting.contains(id) || self.under_way.contains_key(id)
    }

    /// Who is to be asked about now; `None` while all places are taken, or nobody waits.
    pub(super) fn next(&mut self) -> Option<String> {
        while self.under_way.len() < INSPECT_CONCURRENCY {
            let id = self.urgent.pop_front().or_else(|| self.later.pop_front())?;
            if self.waiting.remove(&id) {
                self.under_way.insert(id.clone(), UnderWay::default());
                return Some(id);
            }
        }
        None
    }

    /// An answer came, or none ever will.
    pub(super) fn answered(&mut self, id: &str) -> UnderWay {
        self.sulking.remove(id);
        self.under_way.remove(id).unwrap_or_default()
    }

    /// There was no answer in time.
    pub(super) fn sulks(&mut self, id: String) {
        let now = Instant::now();
        self.sulking.retain(|_, until| *until > now);
        self.sulking.insert(id, now + SULK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_before_lists_and_nobody_is_asked_about_twice() {
        let mut inspections = Inspections::default();
        assert!(inspections.want_later("a") && inspections.want_later("b"));
        assert!(inspections.want_later("a"));
        inspections.want("b", true);
        inspections.want("b", true);
        inspections.want("c", true);
        let order: Vec<_> = std::iter::from_fn(|| inspections.next()).collect();
        assert_eq!(order, ["b", "c", "a"]);
        assert!(inspections.is_pending("a") && !inspections.is_pending("d"));
    }

    #[test]
    fn what_happens_meanwhile_is_remembered() {
        let mut inspections = Inspections::default();
        inspections.want("a", false);
        assert_eq!(inspections.next().as_deref(), Some("a"));
        inspections.want("a", true);
        assert_eq!(inspections.next(), None);
        assert_eq!(inspections.answered("a"), UnderWay { changed: false, started: true });
        inspections.want("a", true);
        assert_eq!(inspections.next().as_deref(), Some("a"));
        assert_eq!(inspections.answered("a"), UnderWay::default());
    }

    #[test]
    fn as_many_as_there_are_places_are_under_way() {
        let mut inspections = Inspections::default();
        for n in 0..INSPECT_CONCURRENCY + 3 {
            inspections.want(&n.to_string(), true);
        }
        let first = std::iter::from_fn(|| inspections.next()).count();
        assert_eq!(first, INSPECT_CONCURRENCY);
        inspections.answered("3");
        assert_eq!(std::iter::from_fn(|| inspections.next()).count(), 1);
    }

    #[test]
    fn a_flood_of_events_is_bounded() {
        let mut inspections = Inspections::default();
        for n in 0..10 * URGENT {
            inspections.want(&n.to_string(), true);
        }
        assert_eq!((inspections.urgent.len(), inspections.waiting.len()), (URGENT, URGENT));
        // For those that did not fit the list asks.
        assert!(!inspections.is_pending(&URGENT.to_string()));
        assert!(inspections.want_later(&URGENT.to_string()));
    }

    #[test]
    fn who_did_not_answer_is_left_alone_until_something_happens() {
        let mut inspections = Inspections::default();
        inspections.want("a", true);
        inspections.next();
        inspections.answered("a");
        inspections.sulks("a".to_owned());
        assert!(!inspections.want_later("a"));
        inspections.want("a", true);
        assert_eq!(inspections.next().as_deref(), Some("a"));
    }
}
