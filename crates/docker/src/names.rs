use std::net::IpAddr;

use model::Container;

/// What each address is called: `container.network`, for every live container's place in every
/// network. Sorted; an address with several owners is there once for each.
///
/// For all containers of an engine and not only the captured ones: their peers have names too.
#[must_use]
pub fn address_names(containers: &[Container]) -> Vec<(IpAddr, String)> {
    let mut names: Vec<_> = containers
        .iter()
        .filter(|container| container.state.is_live())
        .flat_map(|container| {
            container.endpoints.iter().flat_map(move |endpoint| {
                let name = format!("{}.{}", container.display_name(), endpoint.network);
                endpoint.addresses.iter().map(move |address| (*address, name.clone()))
            })
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use model::{ContainerState, Endpoint};

    use super::*;
    use crate::resolution::tests::container;

    fn at(network: &str, addresses: &[&str]) -> Endpoint {
        Endpoint {
            network: network.to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            mac: String::new(),
            aliases: Vec::new(),
        }
    }

    #[test]
    fn each_address_of_a_live_container_has_its_name() {
        let mut web = container("web", "aa");
        web.endpoints = vec![at("back", &["10.0.1.2", "fd00::2"]), at("front", &["10.0.0.9"])];
        let mut twin = container("twin", "bb");
        twin.endpoints = vec![at("other", &["10.0.0.9"]), at("none", &[])];
        let mut gone = container("gone", "cc");
        gone.endpoints = vec![at("back", &["10.0.1.7"])];
        gone.state = ContainerState::Exited;

        let names: Vec<_> = address_names(&[web, twin, gone])
            .into_iter()
            .map(|(address, name)| format!("{address} {name}"))
            .collect();
        assert_eq!(
            names,
            ["10.0.0.9 twin.other", "10.0.0.9 web.front", "10.0.1.2 web.back", "fd00::2 web.back"]
        );
    }
}
