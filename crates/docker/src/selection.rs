use model::{Container, Selector};

use crate::{glob, image_reference};

/// Whether the selector takes this container, looked at alone: what a session asks of a container
/// that has just appeared.
///
/// A plain name takes a name, a Swarm task's short name (`service.slot`), an id or any prefix of
/// it. Whether such a prefix is unique, and whether a name goes before it, only
/// [`crate::resolve`] can tell. `pid:`, `netns:` and `host` take no container.
#[must_use]
pub fn takes(selector: &Selector, container: &Container) -> bool {
    let compose = container.compose.as_ref();
    let swarm = container.swarm.as_ref();
    match selector {
        Selector::Name(pattern) if selector.is_pattern() => {
            glob::matches(pattern, &container.name)
                || swarm.is_some_and(|swarm| glob::matches(pattern, &swarm.short_task))
        }
        Selector::Name(name) => {
            let name = plain(name);
            has_name(name, container) || is_id_prefix(name, &container.id)
        }
        Selector::Label { key, value } => container
            .labels
            .get(key)
            .is_some_and(|has| value.as_ref().is_none_or(|wanted| wanted == has)),
        Selector::Image(reference) => image_reference::means(reference, &container.image),
        Selector::Network(network) => container.endpoints.iter().any(|e| e.network == *network),
        Selector::Compose { project, service } => compose.is_some_and(|compose| {
            compose.project == *project
                && service.as_ref().is_none_or(|service| compose.service == *service)
        }),
        Selector::Service(service) => swarm.is_some_and(|swarm| swarm.service == *service),
        Selector::Stack(stack) => swarm.is_some_and(|swarm| swarm.stack.as_ref() == Some(stack)),
        Selector::Task(task) => has_task(task, container),
        Selector::Pid(_) | Selector::Netns(_) | Selector::Host => false,
    }
}

/// Whether any of the selectors takes this container and no exclusion does, looked at alone: the
/// question of a session about a container that has just appeared. As with [`takes`], a name that
/// is a word of hexadecimal digits is an id's prefix too.
#[must_use]
pub fn takes_any(selectors: &[Selector], exclude: &[Selector], container: &Container) -> bool {
    let any = |words: &[Selector]| words.iter().any(|word| takes(word, container));
    any(selectors) && !any(exclude)
}

/// A plain name without the slash that the API puts before it.
pub(crate) fn plain(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// Whether it is this container's name, or its task's.
pub(crate) fn has_name(name: &str, container: &Container) -> bool {
    container.name == name || has_task(name, container)
}

fn has_task(task: &str, container: &Container) -> bool {
    container.swarm.as_ref().is_some_and(|swarm| swarm.task == task || swarm.short_task == task)
}

/// Whether the id begins with it. Ids are lower-case hexadecimal, so most names never do.
pub(crate) fn is_id_prefix(prefix: &str, id: &str) -> bool {
    !prefix.is_empty() && id.starts_with(prefix)
}
