use std::collections::{HashMap, VecDeque};

use crate::{Filter, Happening, What};

/// How many events may wait for the answer whether their container passes the filters. Beyond that
/// the next list shows what they told.
const WAITING: usize = 1024;

/// How many such questions are under way at once.
const CONCURRENCY: usize = 4;

/// Events of containers of which nobody knows yet whether they pass the filters.
#[derive(Debug, Default)]
pub(super) struct Asking {
    events: HashMap<String, VecDeque<Happening>>,
    /// How many events there are.
    count: usize,
    /// Who is to be asked about.
    order: VecDeque<String>,
    /// How many of a container's events came before the question was asked.
    under_way: HashMap<String, usize>,
}

impl Asking {
    /// An event of a container that was not listed.
    pub(super) fn add(&mut self, happening: Happening) {
        let id = &happening.container.id;
        if happening.what == What::Destroyed {
            // No list has it any more. What is under way comes to nothing.
            self.count -= self.events.remove(id).map_or(0, |events| events.len());
            return;
        }
        if self.count == WAITING {
            return;
        }
        self.count += 1;
        let events = self.events.entry(id.clone()).or_default();
        if events.is_empty() {
            self.order.push_back(id.clone());
        }
        events.push_back(happening);
    }

    /// Whether events of this container wait.
    pub(super) fn has(&self, id: &str) -> bool {
        self.events.contains_key(id)
    }

    /// Who is to be asked about now; `None` while all places are taken, or nobody waits.
    pub(super) fn next(&mut self) -> Option<String> {
        while self.under_way.len() < CONCURRENCY {
            let id = self.order.pop_front()?;
            let Some(events) = self.events.get(&id) else { continue };
            if !self.under_way.contains_key(&id) {
                self.under_way.insert(id.clone(), events.len());
                return Some(id);
            }
        }
        None
    }

    /// An answer came: the events that are to be told now.
    pub(super) fn answered(&mut self, id: &str, passes: bool) -> VecDeque<Happening> {
        let asked = self.under_way.remove(id).unwrap_or(0);
        let Some(mut events) = self.events.remove(id) else { return VecDeque::new() };
        if !passes && asked < events.len() {
            // It may pass by what happened since.
            events.drain(..asked);
            self.count -= asked;
            self.events.insert(id.to_owned(), events);
            self.order.push_back(id.to_owned());
            return VecDeque::new();
        }
        self.count -= events.len();
        if passes { events } else { VecDeque::new() }
    }
}

/// The filters, for the question about one container. The engine takes an id as one of several, so
/// where they name one already they stay as they are.
pub(super) fn narrowed(filters: &[Filter], id: &str) -> Vec<Filter> {
    let mut narrowed = filters.to_vec();
    if !filters.iter().any(|filter| filter.key() == "id") {
        narrowed.extend(format!("id={id}").parse::<Filter>().ok());
    }
    narrowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolution::tests::container;

    fn event(id: &str, what: What, at: u64) -> Happening {
        let mut container = container("x", "");
        container.id = id.to_owned();
        Happening { container, what, at }
    }

    fn times(events: &VecDeque<Happening>) -> Vec<u64> {
        events.iter().map(|event| event.at).collect()
    }

    #[test]
    fn all_that_waited_is_told_in_order_once_it_passes() {
        let mut asking = Asking::default();
        asking.add(event("a", What::Created, 1));
        asking.add(event("b", What::Created, 2));
        assert_eq!(asking.next().as_deref(), Some("a"));
        assert_eq!(asking.next().as_deref(), Some("b"));
        asking.add(event("a", What::Started, 3));
        assert_eq!(asking.next(), None);
        assert_eq!(times(&asking.answered("a", true)), [1, 3]);
        assert!(asking.answered("b", false).is_empty());
        assert_eq!(asking.count, 0);
    }

    /// `status=running` passes with the start, not before.
    #[test]
    fn a_later_event_is_asked_about_again() {
        let mut asking = Asking::default();
        asking.add(event("a", What::Created, 1));
        asking.next();
        asking.add(event("a", What::Started, 2));
        assert!(asking.answered("a", false).is_empty());
        assert_eq!(asking.next().as_deref(), Some("a"));
        assert_eq!(times(&asking.answered("a", true)), [2]);
    }

    #[test]
    fn what_is_gone_is_not_asked_about() {
        let mut asking = Asking::default();
        asking.add(event("a", What::Created, 1));
        asking.add(event("a", What::Destroyed, 2));
        assert_eq!((asking.next(), asking.count), (None, 0));
        asking.add(event("b", What::Created, 1));
        asking.next();
        asking.add(event("b", What::Destroyed, 2));
        assert!(asking.answered("b", true).is_empty());
        assert_eq!(asking.count, 0);
    }

    #[test]
    fn a_flood_of_events_is_bounded() {
        let mut asking = Asking::default();
        for n in 0..10 * WAITING as u64 {
            asking.add(event(&(n % 1500).to_string(), What::Started, n));
        }
        assert_eq!(asking.count, WAITING);
        let ids: Vec<_> = std::iter::from_fn(|| asking.next()).collect();
        assert_eq!(ids.len(), CONCURRENCY);
    }

    #[test]
    fn an_id_of_the_user_s_stays() {
        let filters: Vec<Filter> = vec!["id=ab".parse().unwrap()];
        assert_eq!(narrowed(&filters, "cd"), filters);
        let filters: Vec<Filter> = vec!["name=ab".parse().unwrap()];
        assert_eq!(narrowed(&filters, "cd")[1].value(), "cd");
    }
}
