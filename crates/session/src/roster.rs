//! Whom a selection takes among the containers that come and go.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use model::{Container, Selector};

use crate::Selection;

/// How long a container is remembered that is made and not started, or has ended: if its removal
/// was missed, nobody tells of it any more.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The containers of the engine, as far as they are known, and which of them are meant.
#[derive(Debug)]
pub(crate) struct Roster {
    selectors: Vec<Selector>,
    exclude: Vec<Selector>,
    known: HashMap<String, Known>,
    /// Ids that the selectors came to at the start.
    chosen: HashSet<String>,
}

#[derive(Debug)]
struct Known {
    container: Container,
    since: Instant,
}

impl Roster {
    /// A selection, and the ids that it came to at the start.
    pub(crate) fn new(selection: &Selection, chosen: impl IntoIterator<Item = String>) -> Self {
        Self {
            selectors: selection.selectors.clone(),
            exclude: selection.exclude.clone(),
            known: HashMap::new(),
            chosen: chosen.into_iter().collect(),
        }
    }

    /// What is known of a container.
    pub(crate) fn get(&self, id: &str) -> Option<&Container> {
        self.known.get(id).map(|known| &known.container)
    }

    /// Takes in what somebody says about a container. One who knows less, as events of networks
    /// do, does not take anything away.
    pub(crate) fn learn(&mut self, container: &Container) {
        if container.name.is_empty() && self.known.contains_key(&container.id) {
            return;
        }
        let known = Known { container: container.clone(), since: Instant::now() };
        self.known.insert(container.id.clone(), known);
    }

    /// These live, and nobody else.
    pub(crate) fn learn_all(&mut self, live: &[Container]) {
        let ids: HashSet<&str> = live.iter().map(|container| &*container.id).collect();
        self.known.retain(|id, known| {
            ids.contains(&**id)
                || !known.container.state.is_live() && known.since.elapsed() < REMEMBERED
        });
        for container in live {
            self.learn(container);
        }
    }

    /// A container was removed.
    pub(crate) fn forget(&mut self, id: &str) {
        self.known.remove(id);
        self.chosen.remove(id);
    }

    /// Whether a container is meant, of which everything is known that selectors ask for.
    pub(crate) fn takes(&self, container: &Container) -> bool {
        self.selectors.iter().any(|selector| self.means(selector, container))
            && !self.exclude.iter().any(|selector| self.means(selector, container))
    }

    /// Whether a container may be meant of which only an event has told: its networks are not known
    /// yet.
    pub(crate) fn may_take(&self, container: &Container) -> bool {
        let by_network = |selector: &Selector| matches!(selector, Selector::Network(_));
        let wanted = self
            .selectors
            .iter()
            .any(|selector| by_network(selector) || self.means(selector, container));
        let excluded = self
            .exclude
            .iter()
            .any(|selector| !by_network(selector) && self.means(selector, container));
        wanted && !excluded
    }

    /// A word that is a container's name means no id that begins so; and one that means an id does
    /// not mean another that came later and happens to begin so, too.
    fn means(&self, selector: &Selector, container: &Container) -> bool {
        if !docker::takes(selector, container) {
            return false;
        }
        match selector {
            Selector::Name(name) if !selector.is_pattern() => {
                let name = name.strip_prefix('/').unwrap_or(name);
                let is_named = |container: &Container| {
                    let swarm = container.swarm.as_ref();
                    container.name == name
                        || swarm.is_some_and(|swarm| swarm.task == name || swarm.short_task == name)
                };
                is_named(container)
                    || self.chosen.contains(&container.id)
                        && !self.known.values().any(|known| is_named(&known.container))
            }
            _ => true,
        }
    }

    /// What addresses are called.
    pub(crate) fn names(&self) -> Vec<(IpAddr, String)> {
        let containers: Vec<Container> =
            self.known.values().map(|known| known.container.clone()).collect();
        docker::address_names(&containers)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{ContainerState, Endpoint};

    use super::*;

    fn container(id: &str, name: &str) -> Container {
        Container {
            id: id.repeat(64 / id.len()),
            name: name.into(),
            image: "web:1".into(),
            state: ContainerState::Running,
            pid: Some(7),
            labels: BTreeMap::new(),
            compose: None,
            swarm: None,
            network_mode: "bridge".into(),
            sandbox_key: String::new(),
            endpoints: Vec::new(),
            started_at: None,
        }
    }

    fn roster(words: &[&str], exclude: &[&str], chosen: &[&Container]) -> Roster {
        let parse = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
        let selection =
            Selection { selectors: parse(words), exclude: parse(exclude), ..Selection::default() };
        Roster::new(&selection, chosen.iter().map(|container| container.id.clone()))
    }

    #[test]
    fn names_are_taken_whenever_they_come_and_ids_only_as_they_were_meant() {
        let first = container("ab", "first");
        let roster = roster(&["web", "ab"], &[], &[&first]);
        assert!(roster.takes(&container("cd", "web")));
        assert!(roster.takes(&first));
        assert!(!roster.takes(&container("abcd", "stranger")));
    }

    #[test]
    fn a_name_goes_before_an_id() {
        let by_id = container("ab", "first");
        let mut roster = roster(&["ab"], &[], &[&by_id]);
        roster.learn(&container("cd", "ab"));
        assert!(!roster.takes(&by_id));
        assert!(roster.takes(&container("cd", "ab")));
    }

    #[test]
    fn networks_are_known_late() {
        let mut web = container("ab", "web");
        let by_network = roster(&["network:back"], &["web-2"], &[]);
        assert!(!by_network.takes(&web));
        assert!(by_network.may_take(&web));
        assert!(!by_network.may_take(&container("cd", "web-2")));
        web.endpoints = vec![Endpoint {
            network: "back".into(),
            addresses: Vec::new(),
            mac: String::new(),
            aliases: Vec::new(),
        }];
        assert!(by_network.takes(&web));
        let excluded = roster(&["*"], &["network:back"], &[]);
        assert!(!excluded.takes(&web));
        assert!(excluded.may_take(&web));
    }

    #[test]
    fn who_does_not_live_any_more_is_forgotten() {
        let mut roster = roster(&["*"], &[], &[]);
        let (web, db) = (container("ab", "web"), container("cd", "db"));
        roster.learn_all(&[web.clone(), db.clone()]);
        roster.learn_all(std::slice::from_ref(&db));
        assert!(roster.get(&web.id).is_none());
        let made = Container { state: ContainerState::Created, pid: None, ..web };
        roster.learn(&made);
        roster.learn_all(std::slice::from_ref(&db));
        assert!(roster.get(&made.id).is_some());
        let unnamed = Container { name: String::new(), ..db.clone() };
        roster.learn(&unnamed);
        assert_eq!(roster.get(&db.id), Some(&db));
        roster.forget(&made.id);
        assert!(roster.get(&made.id).is_none());
    }
}
