use model::{Container, ContainerState, Selector};

use crate::{
    nearest::nearest,
    selection::{has_name, is_id_prefix, plain, takes},
};

/// What selectors came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution<'a> {
    /// Live containers, each once, in the order in which selectors took them.
    pub chosen: Vec<&'a Container>,
    /// Containers that were taken but do not run, each once. For a plain name
    /// ([`Selector::is_pattern`] is false) this is the user's mistake; for a pattern, by the way.
    pub not_running: Vec<NotRunning<'a>>,
    /// Selectors that took nothing at all, not even a container that does not run.
    pub unmatched: Vec<Unmatched>,
    /// The same for exclusions: harmless, and probably misspelt.
    pub unmatched_exclusions: Vec<Unmatched>,
    /// Id prefixes, of selectors and exclusions, that fit several containers. They took none.
    pub ambiguous: Vec<Ambiguous<'a>>,
}

/// A container that was taken but has no network namespace now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRunning<'a> {
    /// The first selector that took it.
    pub selector: Selector,
    /// The container.
    pub container: &'a Container,
    /// What it is doing instead.
    pub state: ContainerState,
}

/// A selector that took nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// The selector.
    pub selector: Selector,
    /// What it was probably meant to be: up to three selectors as a user writes them, the nearest
    /// first. Text from outside: not safe for a terminal.
    pub nearest: Vec<String>,
}

/// An id prefix that fits several containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambiguous<'a> {
    /// The selector.
    pub selector: Selector,
    /// What it fits.
    pub candidates: Vec<&'a Container>,
}

/// Resolves selectors against an engine's containers, which should be all of them: what does not
/// run is told apart from what does not exist.
///
/// Selectors are a union, `exclude` is taken out of it. No selector takes nothing: `*` is
/// everything. `pid:`, `netns:` and `host` are not an engine's matter and are passed over.
///
/// A plain name is, in docker's order, a full id, a name or a task's (then all live tasks of that
/// slot: an update may have two for a moment), or a unique id prefix. Tasks that have ended are
/// history, not targets, while the slot has a live one.
#[must_use]
pub fn resolve<'a>(
    selectors: &[Selector],
    exclude: &[Selector],
    containers: &'a [Container],
) -> Resolution<'a> {
    let mut resolution = Resolution::default();
    let mut excluded: Vec<&Container> = Vec::new();
    for selector in exclude.iter().filter(|selector| selector.needs_engine()) {
        match taken(selector, containers) {
            Ok(found) if found.is_empty() => {
                resolution.unmatched_exclusions.push(unmatched(selector, containers));
            }
            Ok(found) => excluded.extend(found),
            Err(ambiguous) => resolution.ambiguous.push(ambiguous),
        }
    }
    for selector in selectors.iter().filter(|selector| selector.needs_engine()) {
        let found = match taken(selector, containers) {
            Ok(found) => found,
            Err(ambiguous) => {
                resolution.ambiguous.push(ambiguous);
                continue;
            }
        };
        if found.is_empty() {
            resolution.unmatched.push(unmatched(selector, containers));
        }
        let one_slot = !selector.is_pattern() && found.iter().any(|c| c.state.is_live());
        for container in found {
            let is_same = |other: &&Container| other.id == container.id;
            if excluded.iter().any(is_same) {
                continue;
            }
            if container.state.is_live() {
                if !resolution.chosen.iter().any(is_same) {
                    resolution.chosen.push(container);
                }
            } else if !one_slot
                && !resolution.not_running.iter().any(|other| is_same(&other.container))
            {
                resolution.not_running.push(NotRunning {
                    selector: selector.clone(),
                    container,
                    state: container.state.clone(),
                });
            }
        }
    }
    resolution
}

/// The containers that a selector takes, whatever their state.
fn taken<'a>(
    selector: &Selector,
    containers: &'a [Container],
) -> Result<Vec<&'a Container>, Ambiguous<'a>> {
    let all = |wanted: &dyn Fn(&Container) -> bool| -> Vec<&'a Container> {
        containers.iter().filter(|container| wanted(container)).collect()
    };
    let Selector::Name(name) = selector else {
        return Ok(all(&|container| takes(selector, container)));
    };
    if selector.is_pattern() {
        return Ok(all(&|container| takes(selector, container)));
    }
    let name = plain(name);
    let tiers: [&dyn Fn(&Container) -> bool; 3] =
        [&|container| container.id == name, &|container| container.name == name, &|container| {
            has_name(name, container)
        }];
    for tier in tiers {
        let found = all(tier);
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let fitting = all(&|container| is_id_prefix(name, &container.id));
    if fitting.len() > 1 {
        return Err(Ambiguous { selector: selector.clone(), candidates: fitting });
    }
    Ok(fitting)
}

/// A selector that took nothing, with what it was probably meant to be.
fn unmatched(selector: &Selector, containers: &[Container]) -> Unmatched {
    let compose = || containers.iter().filter_map(|container| container.compose.as_ref());
    let swarm = || containers.iter().filter_map(|container| container.swarm.as_ref());
    let prefixed = |prefix: &str, words: Vec<String>| {
        words.into_iter().map(|word| format!("{prefix}:{word}")).collect()
    };
    let nearest = match selector {
        // The meaningful part of a pattern is what it does not leave open.
        Selector::Name(name) => {
            let name = plain(name).replace(['*', '?', '[', ']'], "");
            let names = containers.iter().map(|container| container.name.as_str());
            nearest(&name, names.chain(swarm().map(|swarm| swarm.short_task.as_str())))
        }
        Selector::Label { key, value } => {
            let of_key = || containers.iter().filter_map(|container| container.labels.get(key));
            match value {
                Some(value) if of_key().next().is_some() => {
                    let near = nearest(value, of_key().map(String::as_str));
                    prefixed("label", near.into_iter().map(|v| format!("{key}={v}")).collect())
                }
                _ => {
                    let keys = containers.iter().flat_map(|container| container.labels.keys());
                    prefixed("label", nearest(key, keys.map(String::as_str)))
                }
            }
        }
        Selector::Image(image) => {
            let images = containers.iter().map(|container| container.image.as_str());
            prefixed("image", nearest(image, images))
        }
        Selector::Network(network) => {
            let networks = containers.iter().flat_map(|container| &container.endpoints);
            prefixed("network", nearest(network, networks.map(|e| e.network.as_str())))
        }
        Selector::Compose { project, service } => {
            let in_project = || compose().filter(|compose| compose.project == *project);
            match service {
                Some(service) if in_project().next().is_some() => {
                    let near = nearest(service, in_project().map(|c| c.service.as_str()));
                    prefixed("compose", near.iter().map(|s| format!("{project}/{s}")).collect())
                }
                _ => prefixed("compose", nearest(project, compose().map(|c| c.project.as_str()))),
            }
        }
        Selector::Service(service) => {
            prefixed("service", nearest(service, swarm().map(|swarm| swarm.service.as_str())))
        }
        Selector::Stack(stack) => {
            prefixed("stack", nearest(stack, swarm().filter_map(|swarm| swarm.stack.as_deref())))
        }
        Selector::Task(task) => {
            prefixed("task", nearest(task, swarm().map(|swarm| swarm.short_task.as_str())))
        }
        Selector::Pid(_) | Selector::Netns(_) | Selector::Host => Vec::new(),
    };
    Unmatched { selector: selector.clone(), nearest }
}

#[cfg(test)]
pub(crate) mod tests;
