use std::collections::{BTreeMap, HashMap, HashSet};

use model::{Container, ContainerState, Endpoint};

use crate::{Happening, What, api::Described};

/// What is known about an engine's containers: the last of what lists, events and inspections told.
#[derive(Debug, Default)]
pub(super) struct Known {
    containers: HashMap<String, Entry>,
    /// Of whom something was learnt since the list was asked for that is under way: the list may be
    /// older.
    fresher: HashSet<String>,
}

#[derive(Debug)]
struct Entry {
    container: Container,
    attachments: BTreeMap<String, String>,
    /// Whether its present run was inspected.
    is_inspected: bool,
    /// When it died last, by the engine's clock.
    died_at: Option<u64>,
}

/// What an inspection came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Learnt {
    /// It is about a run that is over, or a container that is gone.
    Stale,
    /// It says what was known.
    Nothing,
    /// It says something else, or more.
    News,
}

/// What a list shows that was not known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// Who lives and must be asked about.
    pub(super) ask: Vec<String>,
    /// Whether somebody is there, or not there, whom nobody told.
    pub(super) any: bool,
}

impl Known {
    /// Whether anything is known about it.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.containers.contains_key(id)
    }

    /// All that live, sorted by name.
    pub(super) fn live(&self) -> Vec<Container> {
        let mut live: Vec<Container> = self.live_entries().map(|e| e.container.clone()).collect();
        live.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        live
    }

    /// Those whose new start no list would show, as they have no endpoints.
    pub(super) fn unattached(&self) -> impl Iterator<Item = &str> {
        self.live_entries()
            .filter(|entry| entry.is_inspected && entry.attachments.is_empty())
            .map(|entry| entry.container.id.as_str())
    }

    fn live_entries(&self) -> impl Iterator<Item = &Entry> {
        self.containers.values().filter(|entry| entry.container.state.is_live())
    }

    /// A list is asked for: what is learnt from now on may be newer.
    pub(super) fn list_begins(&mut self) {
        self.fresher.clear();
    }

    /// Takes up a container whatever is known about it already.
    pub(super) fn meet(&mut self, described: Described) {
        let entry = Entry::from(described);
        self.fresher.insert(entry.container.id.clone());
        self.containers.entry(entry.container.id.clone()).or_insert(entry);
    }

    /// Takes up a whole list. `is_pending` says about whom an answer is awaited anyway; with
    /// `all` everybody who lives is to be asked about.
    pub(super) fn list(
        &mut self,
        rows: Vec<Described>,
        all: bool,
        is_pending: impl Fn(&str) -> bool,
    ) -> Differences {
        let mut differences = Differences { any: all, ..Differences::default() };
        let listed: HashSet<String> = rows.iter().map(|row| row.container.id.clone()).collect();
        self.containers.retain(|id, entry| {
            let stays = listed.contains(id) || self.fresher.contains(id);
            differences.any |= !stays && entry.container.state.is_live();
            stays
        });
        for row in rows {
            let id = row.container.id.clone();
            if self.fresher.contains(&id) {
                continue;
            }
            let lives = row.container.state.is_live();
            let changed = match self.containers.get_mut(&id) {
                Some(entry) => entry.take_up(row),
                None => {
                    self.containers.insert(id.clone(), Entry::from(row));
                    lives
                }
            };
            let pending = is_pending(&id);
            differences.any |= changed && !pending;
            let is_inspected = self.containers.get(&id).is_some_and(|entry| entry.is_inspected);
            if lives && (all || changed || (!is_inspected && !pending)) {
                differences.ask.push(id);
            }
        }
        differences
    }

    /// Takes up an event and fills in what it does not tell. Says whether the engine should be
    /// asked about the container.
    pub(super) fn happened(&mut self, happening: &mut Happening) -> bool {
        let id = happening.container.id.clone();
        self.fresher.insert(id.clone());
        let stranger = !self.containers.contains_key(&id);
        let entry = self.containers.entry(id.clone()).or_insert_with(|| {
            let container = happening.container.clone();
            Entry::from(Described { container, attachments: BTreeMap::new() })
        });
        let wanted = entry.happened(happening) || (stranger && happening.what.may_live());
        entry.is_inspected &= !wanted;
        happening.container = entry.container.clone();
        if happening.what == What::Destroyed {
            happening.container.state = ContainerState::Removing;
            self.containers.remove(&id);
        }
        wanted
    }

    /// Takes up an inspection.
    pub(super) fn inspected(&mut self, described: Described) -> Learnt {
        let id = &described.container.id;
        let Some(entry) = self.containers.get_mut(id) else { return Learnt::Stale };
        let started_at = described.container.started_at;
        if let (Some(started), Some(died)) = (started_at, entry.died_at)
            && started <= died
        {
            return Learnt::Stale;
        }
        self.fresher.insert(id.clone());
        let known = entry.is_inspected && entry.container == described.container;
        entry.is_inspected = described.container.state.is_live();
        entry.container = described.container;
        entry.attachments = described.attachments;
        if known { Learnt::Nothing } else { Learnt::News }
    }
}

impl What {
    /// Whether a container of which nothing else is known may have a process by now.
    fn may_live(&self) -> bool {
        !matches!(self, Self::Created | Self::Died { .. } | Self::Destroyed)
    }
}

impl From<Described> for Entry {
    fn from(Described { container, attachments }: Described) -> Self {
        Self { container, attachments, is_inspected: false, died_at: None }
    }
}

impl Entry {
    /// Takes up its row of a list; whether the row shows something about a live container, or the
    /// end of one, that was not known.
    fn take_up(&mut self, row: Described) -> bool {
        let (was_live, lives) = (self.container.state.is_live(), row.container.state.is_live());
        if was_live
            && lives
            && self.container.state == row.container.state
            && self.container.name == row.container.name
            && (!self.is_inspected || self.attachments == row.attachments)
        {
            return false;
        }
        // Of the same run what a list does not tell is still right. And the list shows an image's
        // id once its tag has moved on.
        let same_run = was_live && lives && shares_one(&self.attachments, &row.attachments);
        let mut container = row.container;
        if same_run {
            container.pid = self.container.pid;
            container.started_at = self.container.started_at;
            container.sandbox_key = std::mem::take(&mut self.container.sandbox_key);
        }
        if !self.container.image.is_empty() {
            container.image = std::mem::take(&mut self.container.image);
        }
        self.container = container;
        self.attachments = row.attachments;
        self.is_inspected = false;
        was_live || lives
    }

    /// Takes up an event; whether the engine should be asked.
    fn happened(&mut self, happening: &Happening) -> bool {
        if happening.is_before(&self.container) {
            return false;
        }
        let told = &happening.container;
        if !told.name.is_empty() {
            self.container.name.clone_from(&told.name);
        }
        let was_live = self.container.state.is_live();
        // Told late: it was listed in the meantime, and being made is how everything begins.
        let late = happening.what == What::Created;
        if let Some(state) = happening.what.state().filter(|_| !late) {
            self.container.state = state;
        }
        match &happening.what {
            What::Started => {
                self.forget_run();
                true
            }
            What::Died { .. } => {
                self.forget_run();
                self.died_at = self.died_at.max(Some(happening.at));
                false
            }
            What::Connected { network } => {
                let endpoints = &mut self.container.endpoints;
                let place = endpoints.binary_search_by(|other| other.network.cmp(network));
                if let Err(place) = place {
                    let (addresses, aliases) = (Vec::new(), Vec::new());
                    let (network, mac) = (network.clone(), String::new());
                    endpoints.insert(place, Endpoint { network, addresses, mac, aliases });
                }
                was_live
            }
            What::Disconnected { network } => {
                self.container.endpoints.retain(|endpoint| endpoint.network != *network);
                was_live
            }
            What::Renamed { .. } | What::Paused | What::Unpaused => self.container.state.is_live(),
            What::Created
            | What::Restarted
            | What::Destroyed
            | What::OutOfMemory
            | What::Health { .. } => false,
        }
    }

    fn forget_run(&mut self) {
        self.container.pid = None;
        self.container.started_at = None;
        self.container.sandbox_key.clear();
        self.attachments.clear();
        self.is_inspected = false;
    }
}

/// Whether an endpoint is in both.
fn shares_one(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> bool {
    a.iter().any(|(network, id)| b.get(network) == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolution::tests::container;

    fn described(name: &str, started_at: u64, endpoint: &str) -> Described {
        let container = Container { started_at: Some(started_at), ..container(name, "aa") };
        let attachments = BTreeMap::from([("net".to_owned(), endpoint.to_owned())]);
        Described { container, attachments }
    }

    fn row(name: &str, endpoint: &str) -> Described {
        let mut row = described(name, 0, endpoint);
        (row.container.pid, row.container.started_at) = (None, None);
        row
    }

    fn event(what: What, at: u64) -> Happening {
        let mut container = row("web", "").container;
        container.state = what.state().unwrap_or(ContainerState::Unknown(String::new()));
        Happening { container, what, at }
    }

    /// Knows one container, inspected.
    fn known() -> Known {
        let mut known = Known::default();
        let first = known.list(vec![row("web", "e1")], true, |_| false);
        assert_eq!((first.ask.len(), first.any), (1, true));
        assert_eq!(known.inspected(described("web", 10, "e1")), Learnt::News);
        known.list_begins();
        known
    }

    #[test]
    fn a_list_that_says_what_is_known_is_no_difference() {
        let mut known = known();
        let again = known.list(vec![row("web", "e1")], false, |_| false);
        assert_eq!(again, Differences::default());
        assert_eq!(known.live()[0].pid, Some(1));
        assert_eq!(known.inspected(described("web", 10, "e1")), Learnt::Nothing);
    }

    #[test]
    fn another_name_keeps_the_process_and_another_endpoint_does_not() {
        let mut known = known();
        let differs = known.list(vec![row("other", "e1")], false, |_| false);
        assert_eq!((differs.ask.len(), differs.any), (1, true));
        assert_eq!((known.live()[0].name.as_str(), known.live()[0].pid), ("other", Some(1)));
        let differs = known.list(vec![row("other", "e2")], false, |_| true);
        assert_eq!(differs, Differences::default(), "an answer is awaited");
        known.inspected(described("other", 10, "e1"));
        known.list_begins();
        assert!(known.list(vec![row("other", "e2")], false, |_| false).any);
        assert_eq!(known.live()[0].pid, None);
    }

    #[test]
    fn an_answer_about_a_run_that_is_over_is_stale() {
        let mut known = known();
        assert!(!known.happened(&mut event(What::Died { exit_code: None }, 20)));
        assert!(known.live().is_empty());
        assert_eq!(known.inspected(described("web", 10, "e1")), Learnt::Stale);
        assert!(known.live().is_empty());
        assert!(known.happened(&mut event(What::Started, 31)));
        assert_eq!(known.inspected(described("web", 10, "e1")), Learnt::Stale);
        assert_eq!(known.inspected(described("web", 30, "e2")), Learnt::News);
        assert_eq!(known.live()[0].started_at, Some(30));
    }

    #[test]
    fn a_list_that_may_be_older_changes_nothing() {
        let mut known = known();
        known.happened(&mut event(What::Died { exit_code: None }, 20));
        assert_eq!(known.list(vec![row("web", "e1")], false, |_| false), Differences::default());
        assert!(known.live().is_empty());
        known.happened(&mut event(What::Destroyed, 21));
        assert_eq!(known.list(vec![row("web", "e1")], false, |_| false), Differences::default());
        assert!(known.live().is_empty());
        // The next one is asked for after all that.
        known.list_begins();
        assert!(known.list(vec![row("web", "e1")], false, |_| false).any);
        assert_eq!(known.live().len(), 1);
    }

    #[test]
    fn a_start_is_asked_about_and_a_connection_only_of_what_runs() {
        let mut known = Known::default();
        let net = || "net".to_owned();
        assert!(!known.happened(&mut event(What::Created, 1)));
        let mut connected = event(What::Connected { network: net() }, 2);
        assert!(!known.happened(&mut connected), "its start is told next");
        assert_eq!(connected.container.endpoints[0].network, "net");
        assert!(known.happened(&mut event(What::Started, 3)));
        assert!(known.happened(&mut event(What::Connected { network: "b".to_owned() }, 4)));
        assert!(known.happened(&mut event(What::Disconnected { network: net() }, 5)));
        assert_eq!(known.live()[0].endpoints.len(), 1);
        // Of somebody unknown it may be all that there is to hear.
        let mut stranger = event(What::Connected { network: net() }, 6);
        stranger.container.id = "stranger".to_owned();
        assert!(known.happened(&mut stranger));
    }
}
