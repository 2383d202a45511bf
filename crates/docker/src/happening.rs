use std::collections::BTreeMap;

use model::{Container, ContainerState};
use serde::Deserialize;

use crate::{api, helper::is_ours};

/// Something that happened to a container, as the engine's event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// The container, as far as the event tells: id, name, image, labels and what follows from
    /// them, and the state that it has come to. Where the event says nothing about the state it is
    /// unknown and empty. An event about a network tells nothing but the id.
    ///
    /// [`crate::watch()`] fills in what it knows besides.
    ///
    /// Engines put a container's labels and their own words into one table. Their own `name` and
    /// `image` go before labels of that name, which are missing here; but a label called
    /// `exitCode` or `oldName` goes before what the engine wanted to say.
    pub container: Container,
    /// What happened.
    pub what: What,
    /// When, in nanoseconds since the epoch, by the engine's clock.
    pub at: u64,
}

/// What may happen to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was made. It has no process and no network yet.
    Created,
    /// Its process runs.
    Started,
    /// Somebody restarted it: follows [`What::Started`]. A restart policy does not tell it.
    Restarted,
    /// Its first process has ended.
    Died {
        /// Its exit code, 128 and the signal's number where one ended it; `None` where the engine
        /// does not tell.
        exit_code: Option<i64>,
    },
    /// The kernel ended one of its processes for want of memory.
    OutOfMemory,
    /// It was removed.
    Destroyed,
    /// It has another name.
    Renamed {
        /// The one that it had.
        from: String,
    },
    /// Its processes are frozen.
    Paused,
    /// Its processes go on.
    Unpaused,
    /// It was put into a network: while it runs, or shortly before its process does.
    Connected {
        /// The network's name.
        network: String,
    },
    /// It was taken out of a network: while it runs, or when it has ended.
    Disconnected {
        /// The network's name.
        network: String,
    },
    /// Its health check came to another result.
    Health {
        /// Whether it is well.
        healthy: bool,
    },
}

/// What the engine is asked for, in its words. Whole words: engines compare them with whole
/// actions, so that the checks themselves (`exec_create`, `health_status: running`) wake nobody.
///
/// Podman compares them with words of its own, although it tells some events by docker's: the last
/// two are podman's for `die` and `destroy`, and mean nothing to docker.
pub(crate) const WORDS: [&str; 15] = [
    "create",
    "start",
    "restart",
    "die",
    "oom",
    "destroy",
    "rename",
    "pause",
    "unpause",
    "connect",
    "disconnect",
    "health_status: healthy",
    "health_status: unhealthy",
    "died",
    "remove",
];

/// An event in the engine's JSON. Source: `GET /events` of the Engine API.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    #[serde(rename = "timeNano")]
    at: u64,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: Option<BTreeMap<String, String>>,
}

impl Happening {
    /// From one line of the stream; `None` for what is not about a container's life, and for what
    /// is no event.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let Event { kind, action, actor, at } = serde_json::from_slice(line).ok()?;
        let Actor { id, attributes } = actor;
        let mut attributes = attributes.unwrap_or_default();
        match kind.as_str() {
            // Our own are nobody's targets.
            "container" if is_ours(&attributes) => None,
            "container" => {
                let what = what(&action, &mut attributes)?;
                Some(Self { container: told(id, &what, attributes)?, what, at })
            }
            "network" => {
                let network = attributes.remove("name")?;
                let id = attributes.remove("container")?;
                let what = match action.as_str() {
                    "connect" => What::Connected { network },
                    "disconnect" => What::Disconnected { network },
                    _ => return None,
                };
                Some(Self { container: told(id, &what, BTreeMap::new())?, what, at })
            }
            _ => None,
        }
    }

    /// Whether it happened in an earlier run than the one that the container is in: told late, or
    /// once more after an interruption.
    #[must_use]
    pub fn is_before(&self, container: &Container) -> bool {
        container.started_at.is_some_and(|started| self.at < started)
    }
}

/// The engine's word for an action, and what it put beside the labels for it.
fn what(action: &str, attributes: &mut BTreeMap<String, String>) -> Option<What> {
    Some(match action {
        "create" => What::Created,
        "start" => What::Started,
        "restart" => What::Restarted,
        "die" | "died" => {
            attributes.remove("execDuration");
            let code = attributes.remove("exitCode");
            What::Died { exit_code: code.and_then(|code| code.parse().ok()) }
        }
        "oom" => What::OutOfMemory,
        "destroy" | "remove" => What::Destroyed,
        "rename" => {
            let from = attributes.remove("oldName").unwrap_or_default();
            What::Renamed { from: from.strip_prefix('/').unwrap_or(&from).to_owned() }
        }
        "pause" => What::Paused,
        "unpause" => What::Unpaused,
        "health_status: healthy" => What::Health { healthy: true },
        "health_status: unhealthy" => What::Health { healthy: false },
        _ => return None,
    })
}

/// What an event tells about its container; `None` without an id.
fn told(id: String, what: &What, mut attributes: BTreeMap<String, String>) -> Option<Container> {
    if id.is_empty() {
        return None;
    }
    let name = attributes.remove("name").unwrap_or_default();
    let image = attributes.remove("image").unwrap_or_default();
    Some(Container {
        id,
        name,
        image,
        state: what.state().unwrap_or(ContainerState::Unknown(String::new())),
        pid: None,
        started_at: None,
        compose: api::compose(&attributes),
        swarm: api::swarm(&attributes),
        labels: attributes,
        network_mode: String::new(),
        sandbox_key: String::new(),
        endpoints: Vec::new(),
    })
}

impl What {
    /// The state that a container has come to by it.
    pub(crate) fn state(&self) -> Option<ContainerState> {
        Some(match self {
            Self::Created => ContainerState::Created,
            Self::Started | Self::Restarted | Self::Unpaused => ContainerState::Running,
            Self::Died { .. } => ContainerState::Exited,
            Self::Destroyed => ContainerState::Removing,
            Self::Paused => ContainerState::Paused,
            Self::OutOfMemory
            | Self::Renamed { .. }
            | Self::Connected { .. }
            | Self::Disconnected { .. }
            | Self::Health { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, attributes: &str) -> String {
        format!(
            r#"{{"status":"x","id":"ab","Type":"{kind}","Action":"{action}",
            "Actor":{{"ID":"ab","Attributes":{attributes}}},
            "scope":"local","time":1700000000,"timeNano":1700000000123456789}}"#
        )
    }

    fn read(kind: &str, action: &str, attributes: &str) -> Option<Happening> {
        Happening::read(event(kind, action, attributes).as_bytes())
    }

    #[test]
    fn every_word_that_is_asked_for_is_understood() {
        let attributes = r#"{"name":"web","image":"i","container":"cd"}"#;
        for word in WORDS {
            let kind = if word.ends_with("connect") { "network" } else { "container" };
            let happening = read(kind, word, attributes).unwrap();
            assert_eq!(happening.at, 1_700_000_000_123_456_789, "{word}");
            let id = if kind == "network" { "cd" } else { "ab" };
            assert_eq!(happening.container.id, id, "{word}");
        }
    }

    #[test]
    fn what_is_not_the_engine_s_is_a_label() {
        let attributes = r#"{"name":"shop_api.1.x","image":"nginx","exitCode":"137",
            "execDuration":"2","signal":"my label","com.docker.swarm.service.name":"shop_api",
            "com.docker.swarm.task.name":"shop_api.1.x","odd":"\u001b[31m\u0000"}"#;
        let happening = read("container", "die", attributes).unwrap();
        assert_eq!(happening.what, What::Died { exit_code: Some(137) });
        let container = &happening.container;
        assert_eq!((container.name.as_str(), container.image.as_str()), ("shop_api.1.x", "nginx"));
        assert_eq!(container.state, ContainerState::Exited);
        assert_eq!(container.display_name(), "shop_api.1");
        assert_eq!(container.labels["odd"], "\u{1b}[31m\0");
        assert_eq!(container.labels["signal"], "my label");
        assert!(
            ["name", "image", "exitCode"].iter().all(|key| !container.labels.contains_key(*key))
        );
        // Of another action the word is a label.
        let started = read("container", "start", r#"{"name":"x","exitCode":"3"}"#).unwrap();
        assert_eq!(started.container.labels["exitCode"], "3");
        let nonsense = read("container", "die", r#"{"exitCode":"a label"}"#).unwrap();
        assert_eq!(nonsense.what, What::Died { exit_code: None });
    }

    #[test]
    fn networks_and_names_are_told() {
        let renamed = read("container", "rename", r#"{"name":"new","oldName":"/old"}"#).unwrap();
        assert_eq!(renamed.what, What::Renamed { from: "old".to_owned() });
        assert_eq!(renamed.container.name, "new");
        let network = r#"{"name":"back","type":"bridge","container":"cd"}"#;
        let connected = read("network", "connect", network).unwrap();
        assert_eq!(connected.what, What::Connected { network: "back".to_owned() });
        assert_eq!(
            (connected.container.id.as_str(), connected.container.name.as_str()),
            ("cd", "")
        );
        assert!(connected.container.labels.is_empty());
    }

    #[test]
    fn what_is_no_event_of_a_container_is_nothing() {
        for (kind, action, attributes) in [
            ("container", "exec_create: /bin/x", "{}"),
            ("container", "health_status: running", "{}"),
            ("container", "", "{}"),
            ("image", "create", "{}"),
            ("network", "create", r#"{"name":"x"}"#),
            ("network", "connect", r#"{"name":"x"}"#),
            ("network", "connect", r#"{"name":"x","container":""}"#),
            ("network", "connect", "null"),
            ("container", "start", r#"{"name":7}"#),
        ] {
            assert_eq!(read(kind, action, attributes), None, "{kind} {action} {attributes}");
        }
        assert!(read("container", "start", "null").is_some());
        for line in [
            "",
            "{",
            "null",
            "[]",
            "7",
            "{}",
            "\u{0}",
            r#"{"Type":"container","Action":"start","Actor":{"ID":""},"timeNano":1}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":"a"},"timeNano":-1}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":"a"}}"#,
        ] {
            assert_eq!(Happening::read(line.as_bytes()), None, "{line}");
        }
        assert_eq!(Happening::read(&[b'['; 100_000]), None);
        assert_eq!(Happening::read(b"\xff\xfe"), None);
    }
}
