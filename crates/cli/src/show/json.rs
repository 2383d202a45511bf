use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use model::{Container, Origin};
use serde::Serialize;
use session::inventory::Entry;

use crate::{exit::chain, terminal::is_unsafe};

/// A target as `ls --format json` writes it. Keys are stable: none is removed or renamed, and every
/// one is always there, `null` where there is nothing to say.
#[derive(Debug, Serialize)]
struct Line<'a> {
    kind: &'static str,
    name: &'a str,
    id: Option<&'a str>,
    image: Option<&'a str>,
    state: Option<String>,
    pid: Option<u32>,
    path: Option<&'a str>,
    netns: Option<Netns>,
    networks: Vec<Network<'a>>,
    compose: Option<Compose<'a>>,
    swarm: Option<Swarm<'a>>,
    labels: Option<&'a BTreeMap<String, String>>,
    /// `null` unless `--interfaces`.
    interfaces: Option<Vec<Interface<'a>>>,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Netns {
    dev: u64,
    ino: u64,
}

#[derive(Debug, Serialize)]
struct Network<'a> {
    name: &'a str,
    addresses: &'a [IpAddr],
    mac: Option<&'a str>,
    aliases: &'a [String],
}

#[derive(Debug, Serialize)]
struct Compose<'a> {
    project: &'a str,
    service: &'a str,
    number: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Swarm<'a> {
    service: &'a str,
    stack: Option<&'a str>,
    task: &'a str,
    node_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Interface<'a> {
    name: &'a str,
    index: u32,
    mac: Option<String>,
    addresses: Vec<String>,
    mtu: u32,
    up: bool,
    kind: Option<&'a str>,
    peer_index: Option<u32>,
    link_type: String,
}

/// A JSON object a line. What acts on a terminal is written as an escape of JSON's own.
///
/// # Errors
/// When an entry cannot be written as JSON.
pub(crate) fn json(entries: &[Entry], interfaces: bool) -> Result<Vec<String>, serde_json::Error> {
    entries
        .iter()
        .map(|entry| Ok(escaped(&serde_json::to_string(&line(entry, interfaces))?)))
        .collect()
}

fn line(entry: &Entry, interfaces: bool) -> Line<'_> {
    let container = entry.target.as_container();
    let (kind, pid, path) = match &entry.target.origin {
        Origin::Container(container) => ("container", container.pid, None),
        Origin::Process { pid } => ("process", Some(*pid), None),
        Origin::Netns { path } => ("netns", None, Some(&**path)),
        Origin::Host => ("host", None, None),
    };
    Line {
        kind,
        name: &entry.target.name,
        id: container.map(|c| &*c.id),
        image: container.map(|c| &*c.image),
        state: container.map(|c| c.state.to_string()),
        pid,
        path,
        netns: entry.netns.map(|netns| Netns { dev: netns.dev, ino: netns.ino }),
        networks: container.map(networks).unwrap_or_default(),
        compose: container.and_then(|c| c.compose.as_ref()).map(|compose| Compose {
            project: &compose.project,
            service: &compose.service,
            number: compose.number,
        }),
        swarm: container.and_then(|c| c.swarm.as_ref()).map(|swarm| Swarm {
            service: &swarm.service,
            stack: swarm.stack.as_deref(),
            task: &swarm.task,
            node_id: swarm.node_id.as_deref(),
        }),
        labels: container.map(|c| &c.labels),
        interfaces: interfaces.then(|| entry.interfaces.iter().map(interface).collect()),
        problem: entry.problem.as_ref().map(|problem| chain(problem)),
    }
}

fn networks(container: &Container) -> Vec<Network<'_>> {
    container.endpoints.iter().map(network).collect()
}

fn network(endpoint: &model::Endpoint) -> Network<'_> {
    Network {
        name: &endpoint.network,
        addresses: &endpoint.addresses,
        mac: Some(&*endpoint.mac).filter(|mac| !mac.is_empty()),
        aliases: &endpoint.aliases,
    }
}

fn interface(interface: &model::Interface) -> Interface<'_> {
    Interface {
        name: &interface.name,
        index: interface.index,
        mac: interface.mac.map(|mac| mac.to_string()),
        addresses: interface.addresses.iter().map(ToString::to_string).collect(),
        mtu: interface.mtu,
        up: interface.up,
        kind: interface.kind.as_deref(),
        peer_index: interface.peer_index,
        link_type: interface.link_type().to_string(),
    }
}

/// JSON with everything that acts on a terminal as `\uXXXX`: outside of strings there is nothing
/// of that kind.
pub(super) fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String does not fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json as value};

    use super::*;
    use crate::show::list::tests::entries;

    #[test]
    fn keys_are_stable() {
        let lines = json(&entries(), true).unwrap();
        let web: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            web,
            value!({
                "kind": "container",
                "name": "web",
                "id": "3f2a9c".repeat(11)[..64],
                "image": "nginx:1.27",
                "state": "running",
                "pid": 4711,
                "path": null,
                "netns": {"dev": 4, "ino": 4_026_532_321_u64},
                "networks": [
                    {"name": "back", "addresses": ["10.0.3.7", "fd00::7"],
                     "mac": "02:42:0a:00:03:07", "aliases": ["www"]},
                    {"name": "front", "addresses": ["10.0.4.7"], "mac": null, "aliases": []},
                ],
                "compose": {"project": "shop", "service": "web", "number": 1},
                "swarm": null,
                "labels": {"tier": "fr\u{1b}ont"},
                "interfaces": [
                    {"name": "eth0", "index": 2, "mac": "02:42:0a:00:03:07",
                     "addresses": ["10.0.3.7/24"], "mtu": 1500, "up": true, "kind": "veth",
                     "peer_index": 9, "link_type": "EN10MB"},
                ],
                "problem": null,
            })
        );
        let host: Value = serde_json::from_str(&lines[2]).unwrap();
        assert_eq!(host["kind"], "host");
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&web), keys(&host));
    }

    #[test]
    fn interfaces_that_were_not_looked_at_are_not_none() {
        let lines = json(&entries(), false).unwrap();
        let web: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(web["interfaces"], Value::Null);
    }

    #[test]
    fn json_is_safe_to_look_at_and_reads_back() {
        let name = "a\u{9b}b\u{202e}c\u{e0041}\u{7f}";
        let text = escaped(&serde_json::to_string(name).unwrap());
        assert!(!text.contains(is_unsafe), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), name);
    }
}
