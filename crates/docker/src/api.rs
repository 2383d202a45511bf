//! From the engine's JSON to `model`'s words.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use bollard::models::{ContainerInspectResponse, ContainerSummary, EndpointSettings};
use model::{Compose, Container, ContainerState, Endpoint, Swarm};

use crate::{helper::is_ours, stamp};

/// A container, with what following it takes beside `model`'s words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// In `model`'s words.
    pub(crate) container: Container,
    /// The id of its endpoint in each network by name, where it has one. Engines make a new
    /// endpoint whenever a container is started or connected, and a list tells it: so a list
    /// tells a container that was started again from one that ran on.
    pub(crate) attachments: BTreeMap<String, String>,
}

/// A container of a list; `None` without an id or a name, and of one of our own.
pub(crate) fn listed(said: ContainerSummary) -> Option<Described> {
    let names = said.names.unwrap_or_default();
    // Legacy links give further names, of the form /other/alias.
    let name = names
        .iter()
        .map(|name| name.strip_prefix('/').unwrap_or(name))
        .find(|name| !name.contains('/'))?;
    let labels: BTreeMap<_, _> = said.labels.unwrap_or_default().into_iter().collect();
    if is_ours(&labels) {
        return None;
    }
    let networks = said.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let attachments = attachments(&networks);
    let container = Container {
        id: said.id?,
        name: name.to_owned(),
        image: said.image.unwrap_or_default(),
        state: ContainerState::from_word(said.state.as_ref().map_or("", state_word)),
        pid: None,
        started_at: None,
        compose: compose(&labels),
        swarm: swarm(&labels),
        labels,
        network_mode: network_mode(said.host_config.and_then(|config| config.network_mode)),
        sandbox_key: String::new(),
        endpoints: endpoints(networks),
    };
    Some(Described { container, attachments })
}

/// An inspected container; `None` without an id or a name, and of one of our own.
pub(crate) fn inspected(said: ContainerInspectResponse) -> Option<Described> {
    let name = said.name?;
    let name = name.strip_prefix('/').unwrap_or(&name);
    let (image, labels) = said.config.map(|c| (c.image, c.labels)).unwrap_or_default();
    let labels: BTreeMap<_, _> = labels.unwrap_or_default().into_iter().collect();
    if is_ours(&labels) {
        return None;
    }
    let (status, pid, started_at) =
        said.state.map(|state| (state.status, state.pid, state.started_at)).unwrap_or_default();
    let state = ContainerState::from_word(status.as_ref().map_or("", state_word));
    let (sandbox_key, networks) =
        said.network_settings.map(|s| (s.sandbox_key, s.networks)).unwrap_or_default();
    let networks = networks.unwrap_or_default();
    let attachments = attachments(&networks);
    // Engines keep the key of a sandbox that is gone, and the start of a run that is over.
    let sandbox_key = sandbox_key.filter(|_| state.is_live()).unwrap_or_default();
    let started_at = started_at.filter(|_| state.is_live());
    let container = Container {
        id: said.id?,
        name: name.to_owned(),
        image: image.or(said.image).unwrap_or_default(),
        state,
        pid: pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
        started_at: started_at.as_deref().and_then(stamp::read),
        compose: compose(&labels),
        swarm: swarm(&labels),
        labels,
        network_mode: network_mode(said.host_config.and_then(|config| config.network_mode)),
        sandbox_key,
        endpoints: endpoints(networks),
    };
    Some(Described { container, attachments })
}

fn attachments(networks: &HashMap<String, EndpointSettings>) -> BTreeMap<String, String> {
    let id = |said: &EndpointSettings| said.endpoint_id.clone().filter(|id| !id.is_empty());
    networks.iter().filter_map(|(name, said)| Some((name.clone(), id(said)?))).collect()
}

/// List and inspection have a type each for the same words.
fn state_word(state: &impl AsRef<str>) -> &str {
    state.as_ref()
}

/// `default` is what engines call the mode that nobody chose.
fn network_mode(said: Option<String>) -> String {
    match said {
        Some(mode) if mode == "default" => "bridge".to_owned(),
        mode => mode.unwrap_or_default(),
    }
}

pub(crate) fn compose(labels: &BTreeMap<String, String>) -> Option<Compose> {
    let label = |key: &str| labels.get(&format!("com.docker.compose.{key}"));
    Some(Compose {
        project: label("project")?.clone(),
        service: label("service")?.clone(),
        number: label("container-number").and_then(|number| number.parse().ok()),
    })
}

pub(crate) fn swarm(labels: &BTreeMap<String, String>) -> Option<Swarm> {
    let label = |key: &str| labels.get(&format!("com.docker.{key}"));
    let task = label("swarm.task.name")?.clone();
    let short_task = task.rsplit_once('.').map_or(task.as_str(), |(short, _)| short).to_owned();
    Some(Swarm {
        service: label("swarm.service.name")?.clone(),
        stack: label("stack.namespace").cloned(),
        task,
        short_task,
        node_id: label("swarm.node.id").cloned(),
    })
}

fn endpoints(networks: HashMap<String, EndpointSettings>) -> Vec<Endpoint> {
    let mut endpoints: Vec<_> = networks
        .into_iter()
        .map(|(network, said)| {
            let address = |text: Option<String>| text?.parse::<IpAddr>().ok();
            let mut aliases = said.aliases.unwrap_or_default();
            aliases.extend(said.dns_names.unwrap_or_default());
            aliases.sort();
            aliases.dedup();
            Endpoint {
                network,
                addresses: [address(said.ip_address), address(said.global_ipv6_address)]
                    .into_iter()
                    .flatten()
                    .collect(),
                mac: said.mac_address.unwrap_or_default(),
                aliases,
            }
        })
        .collect();
    endpoints.sort_by(|a, b| a.network.cmp(&b.network));
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(json: &str) -> Container {
        inspected(serde_json::from_str(json).unwrap()).unwrap().container
    }

    #[test]
    fn a_task_has_its_coordinates() {
        let container = inspect(
            r#"{"Id":"ab","Name":"/shop_api.3.x9","State":{"Status":"running","Pid":17,"StartedAt":"2024-02-29T23:59:59.5Z"},
            "HostConfig":{"NetworkMode":"default"},
            "Config":{"Image":"nginx:1","Labels":{
                "com.docker.swarm.service.name":"shop_api","com.docker.swarm.task.name":"shop_api.3.x9",
                "com.docker.stack.namespace":"shop","com.docker.swarm.node.id":"n1"}},
            "NetworkSettings":{"SandboxKey":"/var/run/docker/netns/ab","Networks":{
                "z":{"IPAddress":"10.0.0.2","GlobalIPv6Address":"fd00::2","MacAddress":"02:42:00:00:00:01",
                     "Aliases":["b","a"],"DNSNames":["a","c"]},
                "a":{"IPAddress":"","Aliases":null}}}}"#,
        );
        let swarm = container.swarm.as_ref().unwrap();
        assert_eq!((swarm.service.as_str(), swarm.short_task.as_str()), ("shop_api", "shop_api.3"));
        assert_eq!(swarm.stack.as_deref(), Some("shop"));
        assert_eq!(swarm.node_id.as_deref(), Some("n1"));
        assert_eq!(container.display_name(), "shop_api.3");
        assert_eq!((container.pid, container.network_mode.as_str()), (Some(17), "bridge"));
        assert_eq!(container.started_at, Some(1_709_251_199_500_000_000));
        assert_eq!(container.sandbox_key, "/var/run/docker/netns/ab");
        let [a, z] = container.endpoints.as_slice() else { panic!("{:?}", container.endpoints) };
        assert_eq!((a.network.as_str(), a.addresses.len()), ("a", 0));
        assert_eq!(
            z.addresses,
            ["10.0.0.2", "fd00::2"].map(|text| text.parse::<IpAddr>().unwrap())
        );
        assert_eq!(z.aliases, ["a", "b", "c"]);
    }

    #[test]
    fn what_has_ended_has_no_process_and_no_sandbox() {
        let container = inspect(
            r#"{"Id":"ab","Name":"/old","State":{"Status":"exited","Pid":0,"StartedAt":"2024-02-29T23:59:59.5Z"},
            "NetworkSettings":{"SandboxKey":"/var/run/docker/netns/stale"}}"#,
        );
        assert_eq!(container.state, ContainerState::Exited);
        assert_eq!((container.pid, container.sandbox_key.as_str()), (None, ""));
        assert_eq!(container.started_at, None);
    }

    /// List and inspection call an endpoint the same, and what has none is left out.
    #[test]
    fn endpoints_are_known_by_their_ids() {
        let networks = r#"{"Networks":{"a":{"EndpointID":"e1"},"b":{"EndpointID":""},"c":{}}}"#;
        let listing = format!(r#"{{"Id":"ab","Names":["/x"],"NetworkSettings":{networks}}}"#);
        let inspection = format!(r#"{{"Id":"ab","Name":"/x","NetworkSettings":{networks}}}"#);
        let expected = BTreeMap::from([("a".to_owned(), "e1".to_owned())]);
        let listing = listed(serde_json::from_str(&listing).unwrap()).unwrap();
        let inspection = inspected(serde_json::from_str(&inspection).unwrap()).unwrap();
        assert_eq!((listing.attachments, inspection.attachments), (expected.clone(), expected));
    }

    #[test]
    fn half_an_answer_is_no_container() {
        for json in ["{}", r#"{"Id":"ab"}"#, r#"{"Name":"/x"}"#] {
            assert!(inspected(serde_json::from_str(json).unwrap()).is_none(), "{json}");
        }
        for json in ["{}", r#"{"Id":"ab","Names":[]}"#, r#"{"Id":"ab","Names":["/a/b"]}"#] {
            assert!(listed(serde_json::from_str(json).unwrap()).is_none(), "{json}");
        }
    }

    #[test]
    fn helpers_of_ours_are_no_containers() {
        let labels = r#"{"whaletap.helper":"me"}"#;
        let listing = format!(r#"{{"Id":"ab","Names":["/x"],"Labels":{labels}}}"#);
        let inspection = format!(r#"{{"Id":"ab","Name":"/x","Config":{{"Labels":{labels}}}}}"#);
        assert_eq!(listed(serde_json::from_str(&listing).unwrap()), None);
        assert_eq!(inspected(serde_json::from_str(&inspection).unwrap()), None);
    }

    #[test]
    fn a_linked_container_keeps_its_own_name() {
        let json = r#"{"Id":"ab","Names":["/web/db","/db"],"State":"paused",
            "Labels":{"com.docker.compose.project":"p","com.docker.compose.service":"s",
                      "com.docker.compose.container-number":"2","control":"\u001b[31m\u0000"},
            "HostConfig":{"NetworkMode":"container:cd"}}"#;
        let container = listed(serde_json::from_str(json).unwrap()).unwrap().container;
        assert_eq!(container.name, "db");
        assert_eq!(container.state, ContainerState::Paused);
        assert_eq!(container.labels["control"], "\u{1b}[31m\0");
        assert_eq!(container.network_mode, "container:cd");
        let compose = container.compose.unwrap();
        assert_eq!((compose.project.as_str(), compose.number), ("p", Some(2)));
        assert_eq!(compose.service, "s");
    }
}
