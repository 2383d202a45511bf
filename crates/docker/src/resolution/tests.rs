use std::collections::BTreeMap;

use model::{Compose, Endpoint, Swarm};
use proptest::{collection::vec, prelude::proptest, prop_assert, prop_assert_eq, sample::select};

use super::*;

/// A running container with an id that begins with these digits.
pub(crate) fn container(name: &str, id: &str) -> Container {
    Container {
        id: format!("{id:0<64}"),
        name: name.to_owned(),
        image: "busybox".to_owned(),
        state: ContainerState::Running,
        pid: Some(1),
        started_at: None,
        labels: BTreeMap::new(),
        compose: None,
        swarm: None,
        network_mode: "bridge".to_owned(),
        sandbox_key: String::new(),
        endpoints: Vec::new(),
    }
}

fn in_state(state: ContainerState, container: Container) -> Container {
    Container { state, ..container }
}

/// `task` is `stack_service.slot.rest`.
fn task(task: &str, id: &str) -> Container {
    let short_task = task.rsplit_once('.').unwrap().0.to_owned();
    let service = short_task.rsplit_once('.').unwrap().0.to_owned();
    let stack = service.split_once('_').map(|(stack, _)| stack.to_owned());
    let swarm = Swarm { service, stack, task: task.to_owned(), short_task, node_id: None };
    Container { swarm: Some(swarm), ..container(task, id) }
}

fn composed(project: &str, service: &str, id: &str) -> Container {
    let compose =
        Compose { project: project.to_owned(), service: service.to_owned(), number: Some(1) };
    Container { compose: Some(compose), ..container(&format!("{project}-{service}-1"), id) }
}

fn selectors(words: &[&str]) -> Vec<Selector> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

/// Names of what is chosen.
fn chosen(words: &[&str], exclude: &[&str], containers: &[Container]) -> Vec<String> {
    let resolution = resolve(&selectors(words), &selectors(exclude), containers);
    resolution.chosen.iter().map(|container| container.name.clone()).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn a_plain_name_goes_before_an_id_that_begins_like_it() {
    let full = "dead".to_owned() + &"0".repeat(60);
    let all = [
        container("web", "aa"),
        container("other", "dead"),
        container("dead", "bb"),
        container("my.name_with-all", "cc"),
    ];
    assert_eq!(chosen(&["web"], &[], &all), ["web"]);
    assert_eq!(chosen(&["/web"], &[], &all), ["web"]);
    assert_eq!(chosen(&["dead"], &[], &all), ["dead"]);
    assert_eq!(chosen(&["dead0"], &[], &all), ["other"]);
    assert_eq!(chosen(&[&full], &[], &all), ["other"]);
    assert_eq!(chosen(&["my.name_with-all"], &[], &all), ["my.name_with-all"]);
    assert_eq!(chosen(&["we"], &[], &all), NONE);
    assert_eq!(chosen(&["WEB"], &[], &all), NONE);
}

#[test]
fn a_full_id_goes_before_a_container_that_is_called_so() {
    let victim = container("victim", "ab");
    let impostor = container(&victim.id, "cd");
    let id = victim.id.clone();
    assert_eq!(chosen(&[&id], &[], &[impostor, victim]), ["victim"]);
}

#[test]
fn an_id_prefix_of_several_is_ambiguous_and_takes_none() {
    let all = [container("a", "3f2a"), in_state(ContainerState::Exited, container("b", "3f2b"))];
    let resolution = resolve(&selectors(&["3f2"]), &[], &all);
    assert!(resolution.chosen.is_empty() && resolution.unmatched.is_empty());
    let [ambiguous] = resolution.ambiguous.as_slice() else { panic!("{resolution:?}") };
    assert_eq!(ambiguous.candidates, [&all[0], &all[1]]);
    assert_eq!(chosen(&["3f2a"], &[], &all), ["a"]);

    let resolution = resolve(&selectors(&["*"]), &selectors(&["3f2"]), &all);
    assert_eq!(resolution.ambiguous.len(), 1);
}

#[test]
fn a_plain_name_of_a_stopped_container_is_told_with_its_state() {
    for state in [ContainerState::Exited, ContainerState::Created, ContainerState::Restarting] {
        let all = [in_state(state.clone(), container("web", "aa"))];
        let resolution = resolve(&selectors(&["web"]), &[], &all);
        assert!(resolution.chosen.is_empty() && resolution.unmatched.is_empty());
        let [stopped] = resolution.not_running.as_slice() else { panic!("{resolution:?}") };
        assert_eq!((stopped.container, &stopped.state), (&all[0], &state));
        assert_eq!(stopped.selector, Selector::Name("web".to_owned()));
    }
    let paused = [in_state(ContainerState::Paused, container("web", "aa"))];
    assert_eq!(chosen(&["web"], &[], &paused), ["web"]);
}

#[test]
fn a_pattern_takes_all_that_live_and_tells_the_others() {
    let all = [
        container("shop-web", "aa"),
        container("shop-db", "bb"),
        in_state(ContainerState::Exited, container("shop-old", "cc")),
        container("blog", "dd"),
    ];
    let resolution = resolve(&selectors(&["shop-*"]), &[], &all);
    assert_eq!(resolution.chosen, [&all[0], &all[1]]);
    assert_eq!(resolution.not_running.len(), 1);
    assert!(resolution.unmatched.is_empty());
    // It took something, so it is no misspelling.
    let resolution = resolve(&selectors(&["shop-o*"]), &[], &all);
    assert!(resolution.unmatched.is_empty() && resolution.not_running.len() == 1);
    let resolution = resolve(&selectors(&["sjop-*"]), &[], &all);
    assert_eq!(resolution.unmatched[0].nearest, ["shop-db", "shop-old", "shop-web"]);
}

#[test]
fn tasks_go_by_both_names_and_the_ended_ones_are_history() {
    let all = [
        task("shop_api.1.new", "aa"),
        in_state(ContainerState::Exited, task("shop_api.1.old", "bb")),
        task("shop_api.2.x", "cc"),
        task("shop_db.1.x", "dd"),
        task("solo.1.x", "ee"),
        in_state(ContainerState::Exited, task("solo.2.x", "ff")),
    ];
    for word in ["shop_api.1", "task:shop_api.1", "shop_api.1.new", "task:shop_api.1.new"] {
        assert_eq!(chosen(&[word], &[], &all), ["shop_api.1.new"], "{word}");
    }
    assert!(resolve(&selectors(&["shop_api.1"]), &[], &all).not_running.is_empty());
    assert_eq!(resolve(&selectors(&["solo.2"]), &[], &all).not_running.len(), 1);
    assert_eq!(chosen(&["service:shop_api"], &[], &all), ["shop_api.1.new", "shop_api.2.x"]);
    assert_eq!(chosen(&["stack:shop"], &["service:shop_api"], &all), ["shop_db.1.x"]);
    assert_eq!(chosen(&["shop_api.?"], &[], &all), ["shop_api.1.new", "shop_api.2.x"]);
    assert_eq!(chosen(&["service:shop"], &[], &all), NONE);
}

#[test]
fn two_live_tasks_of_a_slot_are_both_taken() {
    let all = [task("api.1.new", "aa"), task("api.1.old", "bb")];
    assert_eq!(chosen(&["api.1"], &[], &all), ["api.1.new", "api.1.old"]);
}

#[test]
fn what_containers_are_takes_them() {
    let mut labelled = container("labelled", "aa");
    labelled.labels.insert("tier".to_owned(), "front".to_owned());
    labelled.labels.insert("odd".to_owned(), "\u{1b}[2J\n=".to_owned());
    let mut placed = container("placed", "bb");
    placed.image = "nginx:1.27".to_owned();
    placed.endpoints = ["front", "back"]
        .map(|network| Endpoint {
            network: network.to_owned(),
            addresses: Vec::new(),
            mac: String::new(),
            aliases: Vec::new(),
        })
        .to_vec();
    let mut shared = container("shared", "cc");
    shared.network_mode = format!("container:{}", placed.id);
    let all =
        [labelled, placed, shared, composed("shop", "api", "dd"), composed("blog", "api", "ee")];

    assert_eq!(chosen(&["label:tier"], &[], &all), ["labelled"]);
    assert_eq!(chosen(&["label:tier=front"], &[], &all), ["labelled"]);
    assert_eq!(chosen(&["label:tier=fron"], &[], &all), NONE);
    assert_eq!(chosen(&["label:odd=\u{1b}[2J\n="], &[], &all), ["labelled"]);
    assert_eq!(chosen(&["image:nginx"], &[], &all), ["placed"]);
    assert_eq!(chosen(&["image:nginx:1.26"], &[], &all), NONE);
    assert_eq!(chosen(&["network:back"], &[], &all), ["placed"]);
    assert_eq!(chosen(&["compose:shop"], &[], &all), ["shop-api-1"]);
    assert_eq!(chosen(&["compose:blog/api"], &[], &all), ["blog-api-1"]);
    assert_eq!(chosen(&["compose:blog/db"], &[], &all), NONE);
    // A container in another's namespace stays a container of its own.
    assert_eq!(chosen(&["placed", "shared"], &[], &all), ["placed", "shared"]);
}

#[test]
fn a_union_keeps_the_order_of_the_words_and_has_nothing_twice() {
    let all = [container("a", "0a"), container("b", "0b"), container("c", "0c")];
    assert_eq!(chosen(&["c", "*", "a"], &[], &all), ["c", "a", "b"]);
    assert_eq!(chosen(&["*"], &["b"], &all), ["a", "c"]);
    assert_eq!(chosen(&["b"], &["*"], &all), NONE);
    assert_eq!(chosen(&[], &[], &all), NONE);
    assert_eq!(chosen(&["pid:1", "netns:/x", "host"], &[], &all), NONE);
    let resolution = resolve(&selectors(&["pid:1", "netns:/x", "host"]), &[], &all);
    assert!(resolution.unmatched.is_empty());

    let resolution = resolve(&selectors(&["b"]), &selectors(&["b", "zzzz"]), &all);
    assert!(resolution.unmatched.is_empty(), "it was found, and taken out");
    assert_eq!(resolution.unmatched_exclusions.len(), 1);
}

#[test]
fn an_excluded_container_is_not_told_as_stopped() {
    let all = [in_state(ContainerState::Exited, container("web", "aa"))];
    assert!(resolve(&selectors(&["w*"]), &selectors(&["web"]), &all).not_running.is_empty());
}

#[test]
fn suggestions_can_be_typed_as_they_stand() {
    let mut web = composed("shop", "api", "aa");
    web.labels.insert("tier".to_owned(), "front".to_owned());
    web.image = "nginx:1.27".to_owned();
    let all = [web, task("mall_cart.1.x", "bb")];
    for (word, expected) in [
        ("shop-ap-1", "shop-api-1"),
        ("mall_cart.2", "mall_cart.1"),
        ("label:teir", "label:tier"),
        ("label:tier=frnot", "label:tier=front"),
        ("image:ngnix:1.27", "image:nginx:1.27"),
        ("compose:shpo", "compose:shop"),
        ("compose:shop/aip", "compose:shop/api"),
        ("service:mall_crat", "service:mall_cart"),
        ("stack:mal", "stack:mall"),
        ("task:mall_cart.7", "task:mall_cart.1"),
    ] {
        let resolution = resolve(&selectors(&[word]), &[], &all);
        let nearest = &resolution.unmatched[0].nearest;
        assert!(nearest.iter().any(|near| near == expected), "{word}: {nearest:?}");
        let near: Selector = nearest[0].parse().unwrap();
        assert_eq!(resolve(&[near], &[], &all).chosen.len(), 1, "{word}");
    }
}

const WORDS: [&str; 16] = [
    "a",
    "b",
    "ab",
    "a*",
    "?",
    "[ab]",
    "*",
    "0",
    "0a",
    "label:x",
    "label:x=1",
    "image:busybox",
    "network:n",
    "compose:p",
    "service:s",
    "host",
];

proptest! {
    /// Whatever the words and the world, every selector is answered, exactly once, and nothing is
    /// taken that no selector takes or that an exclusion takes.
    #[test]
    fn every_selector_is_answered(
        words in vec(select(&WORDS[..]), 0..5),
        exclude in vec(select(&WORDS[..]), 0..3),
        world in vec((select(&["a", "b", "ab", "ba"][..]), select(&[true, false][..])), 0..5),
    ) {
        let world: Vec<_> = world.into_iter().enumerate().map(|(n, (name, live))| {
            let mut made = container(&format!("{name}{}", "x".repeat(n / 2)), &format!("0{n}"));
            if live {
                made.labels.insert("x".to_owned(), (n % 2).to_string());
            } else {
                made.state = ContainerState::Exited;
            }
            made
        }).collect();
        let (words, exclude) = (selectors(&words), selectors(&exclude));
        let resolution = resolve(&words, &exclude, &world);

        let chosen = &resolution.chosen;
        for (n, container) in chosen.iter().enumerate() {
            prop_assert!(container.state.is_live());
            prop_assert!(words.iter().any(|word| takes(word, container)));
            prop_assert!(!chosen[..n].iter().any(|other| other.id == container.id));
        }
        for stopped in &resolution.not_running {
            prop_assert!(!stopped.container.state.is_live());
            prop_assert!(takes(&stopped.selector, stopped.container));
        }
        let patterns = exclude.iter().filter(|word| word.is_pattern());
        for word in patterns {
            prop_assert!(!chosen.iter().any(|container| takes(word, container)));
        }
        let nothing = |word: &&Selector| {
            word.needs_engine() && !world.iter().any(|container| takes(word, container))
        };
        prop_assert_eq!(resolution.unmatched.len(), words.iter().filter(nothing).count());
        prop_assert_eq!(resolution.unmatched_exclusions.len(), exclude.iter().filter(nothing).count());
        for word in words.iter().filter(|word| word.is_pattern()) {
            for container in world.iter().filter(|c| takes(word, c) && c.state.is_live()) {
                let out = exclude.iter().any(|word| takes(word, container));
                prop_assert!(out || chosen.iter().any(|c| c.id == container.id));
            }
        }
    }
}
