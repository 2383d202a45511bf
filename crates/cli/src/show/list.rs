use std::fmt::Display;

use model::{Container, Interface, Origin, Target};
use session::inventory::Entry;

use crate::terminal::{Align, Columns, cut};

/// Columns of a cell, unless cells are wanted whole.
const MAX_CELL: usize = 40;

/// A row for each target.
pub(crate) fn table(entries: &[Entry], whole: bool) -> Vec<String> {
    let heads = ["NAME", "ID", "IMAGE", "STATE", "SERVICE", "NETWORKS", "ADDRESSES", "NETNS"];
    let mut table = Columns::new(&heads.map(|head| (head, Align::Left)));
    for entry in entries {
        let container = entry.target.as_container();
        let of = |cell: fn(&Container) -> String| container.map(cell).unwrap_or_default();
        let cells = [
            entry.target.name.clone(),
            of(if whole { |c| c.id.clone() } else { |c| c.short_id().to_owned() }),
            container.map(|c| image(c, whole)).unwrap_or_default(),
            state(&entry.target),
            of(service),
            of(|c| joined(c.endpoints.iter().map(|endpoint| &endpoint.network))),
            of(|c| joined(c.endpoints.iter().flat_map(|endpoint| &endpoint.addresses))),
            entry.netns.map(|netns| netns.ino.to_string()).unwrap_or_default(),
        ];
        table.row(shortened(cells, whole));
    }
    table.lines()
}

/// A row for each device of each target; one of dashes for a target without.
pub(crate) fn interface_table(entries: &[Entry], whole: bool) -> Vec<String> {
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Columns::new(&[
        ("NAME", left),
        ("INTERFACE", left),
        ("INDEX", right),
        ("MAC", left),
        ("ADDRESSES", left),
        ("MTU", right),
        ("STATE", left),
        ("PEER", right),
        ("LINKTYPE", left),
    ]);
    for entry in entries {
        if entry.interfaces.is_empty() {
            let mut cells = vec![entry.target.name.clone()];
            cells.resize(9, String::new());
            table.row(cells);
        }
        for interface in &entry.interfaces {
            table.row(shortened(interface_cells(&entry.target.name, interface), whole));
        }
    }
    table.lines()
}

fn interface_cells(target: &str, interface: &Interface) -> [String; 9] {
    [
        target.to_owned(),
        interface.name.clone(),
        interface.index.to_string(),
        interface.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        joined(&interface.addresses),
        interface.mtu.to_string(),
        if interface.up { "up" } else { "down" }.to_owned(),
        interface.peer_index.map(|index| index.to_string()).unwrap_or_default(),
        interface.link_type().to_string(),
    ]
}

/// A line for each target: the id of a container, and what else there is as a selector.
pub(crate) fn ids(entries: &[Entry], whole: bool) -> Vec<String> {
    let id = |entry: &Entry| match &entry.target.origin {
        Origin::Container(container) if whole => container.id.clone(),
        Origin::Container(container) => container.short_id().to_owned(),
        Origin::Process { pid } => format!("pid:{pid}"),
        Origin::Netns { path } => format!("netns:{path}"),
        Origin::Host => "host".to_owned(),
    };
    // What is not there cannot be given to another command.
    let is_there = |entry: &&Entry| {
        matches!(entry.problem, None | Some(session::Error::NotPermitted { .. }))
            || entry.target.as_container().is_some()
    };
    let entries = entries.iter().filter(is_there);
    entries.map(|entry| crate::terminal::safe(&id(entry)).into_owned()).collect()
}

/// The image as it was written; an image without a name by the beginning of its digest.
fn image(container: &Container, whole: bool) -> String {
    match container.image.strip_prefix("sha256:") {
        Some(digest) if !whole => digest.chars().take(12).collect(),
        _ => container.image.clone(),
    }
}

fn state(target: &Target) -> String {
    match &target.origin {
        Origin::Container(container) => container.state.to_string(),
        Origin::Process { .. } => "process".to_owned(),
        Origin::Netns { .. } => "namespace".to_owned(),
        Origin::Host => "host".to_owned(),
    }
}

/// `service.slot` of a Swarm, or `project/service` of Compose.
fn service(container: &Container) -> String {
    match (&container.swarm, &container.compose) {
        (Some(swarm), _) => swarm.short_task.clone(),
        (None, Some(compose)) => format!("{}/{}", compose.project, compose.service),
        (None, None) => String::new(),
    }
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

fn shortened<const N: usize>(cells: [String; N], whole: bool) -> [String; N] {
    if whole {
        return cells;
    }
    let mut column = 0;
    cells.map(|cell| {
        column += 1;
        // A name is what people copy into the next command.
        if column == 1 { cell } else { cut(&cell, MAX_CELL).into_owned() }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use model::{Compose, ContainerState, Endpoint, Hatype, MacAddress, NetnsId, Network, Swarm};

    use super::*;

    fn container(name: &str) -> Container {
        Container {
            id: "3f2a9c".repeat(11)[..64].to_owned(),
            name: name.to_owned(),
            image: "nginx:1.27".into(),
            state: ContainerState::Running,
            pid: Some(4711),
            started_at: None,
            labels: BTreeMap::from([("tier".to_owned(), "fr\u{1b}ont".to_owned())]),
            compose: None,
            swarm: None,
            network_mode: "bridge".into(),
            sandbox_key: String::new(),
            endpoints: vec![
                Endpoint {
                    network: "back".into(),
                    addresses: vec!["10.0.3.7".parse().unwrap(), "fd00::7".parse().unwrap()],
                    mac: "02:42:0a:00:03:07".into(),
                    aliases: vec!["www".into()],
                },
                Endpoint {
                    network: "front".into(),
                    addresses: vec!["10.0.4.7".parse().unwrap()],
                    mac: String::new(),
                    aliases: Vec::new(),
                },
            ],
        }
    }

    fn entry(target: Target) -> Entry {
        let netns = Some(NetnsId { dev: 4, ino: 4_026_532_321 });
        Entry { target, netns, interfaces: Vec::new(), problem: None }
    }

    /// A Compose container, a Swarm task and the host.
    pub(crate) fn entries() -> Vec<Entry> {
        let mut web = container("web");
        web.compose =
            Some(Compose { project: "shop".into(), service: "web".into(), number: Some(1) });
        let mut api = container("api.2.x7");
        api.image = format!("sha256:{}", "ab12".repeat(16));
        api.endpoints.clear();
        api.swarm = Some(Swarm {
            service: "api".into(),
            stack: None,
            task: "api.2.x7".into(),
            short_task: "api.2".into(),
            node_id: None,
        });
        let mut web = entry(Target::container(web));
        web.interfaces.push(Interface {
            index: 2,
            name: "eth0".into(),
            mac: Some(MacAddress([2, 0x42, 10, 0, 3, 7])),
            addresses: vec![Network { address: "10.0.3.7".parse().unwrap(), prefix: 24 }],
            mtu: 1500,
            up: true,
            kind: Some("veth".into()),
            hatype: Hatype::ETHER,
            peer_index: Some(9),
        });
        let mut host = entry(Target { name: "host".into(), origin: Origin::Host });
        host.netns = None;
        vec![web, entry(Target::container(api)), host]
    }

    #[test]
    fn a_table_in_dockers_style() {
        assert_eq!(
            table(&entries(), false),
            [
                "NAME    ID             IMAGE          STATE     SERVICE    NETWORKS     \
                 ADDRESSES                   NETNS",
                "web     3f2a9c3f2a9c   nginx:1.27     running   shop/web   back,front   \
                 10.0.3.7,fd00::7,10.0.4.7   4026532321",
                "api.2   3f2a9c3f2a9c   ab12ab12ab12   running   api.2      -            \
                 -                           4026532321",
                "host    -              -              host      -          -            \
                 -                           -",
            ]
        );
    }

    #[test]
    fn long_cells_are_cut_unless_they_are_wanted_whole() {
        let mut entries = entries();
        entries.truncate(1);
        let Origin::Container(container) = &mut entries[0].target.origin else { unreachable!() };
        container.image = "registry.example/".repeat(5);
        assert!(table(&entries, false)[1].contains('…'));
        let whole = &table(&entries, true)[1];
        assert!(
            whole.contains(&"registry.example/".repeat(5)) && whole.contains(&"3f2a9c".repeat(10))
        );
    }

    #[test]
    fn a_row_for_each_device() {
        assert_eq!(
            interface_table(&entries(), false)[..3],
            [
                "NAME    INTERFACE   INDEX   MAC                 ADDRESSES      MTU   STATE   \
                 PEER   LINKTYPE",
                "web     eth0            2   02:42:0a:00:03:07   10.0.3.7/24   1500   up         \
                 9   EN10MB",
                "api.2   -               -   -                   -                -   -          \
                 -   -",
            ]
        );
    }

    #[test]
    fn ids_are_selectors() {
        assert_eq!(ids(&entries(), false), ["3f2a9c3f2a9c", "3f2a9c3f2a9c", "host"]);
        assert_eq!(ids(&entries(), true)[0].len(), 64);
    }
}
