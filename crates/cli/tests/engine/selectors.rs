//! Whom a capture takes.

use std::collections::BTreeMap;

use lab::{Container, ContainerSpec, Engine, Program};

use crate::tap::{assert_ended, capture, idle, names, unique, whaletap};

/// Takes what the words say for a moment, and gives what was taken. The time begins before the
/// first target is attached.
fn taken(words: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let words: Vec<&str> = ["--duration", "300ms"].iter().chain(words).copied().collect();
    let file = directory.path().join("x.pcapng");
    let finished = capture(&Engine::endpoint(), &file, &words).finish().unwrap();
    assert_ended(&finished, 0, &["ended: the time was over"]);
    let mut names = names(&finished.stderr);
    names.sort();
    names
}

fn refused(words: &[&str]) -> Program {
    let words: Vec<&str> =
        ["capture", "-w", "/dev/null", "--duration", "1ms"].iter().chain(words).copied().collect();
    whaletap(&words)
}

#[test]
fn selectors_take_what_they_say() {
    let engine = Engine::shared().unwrap();
    let network = engine.network("net").unwrap();
    let p = unique("s");
    let (api, db, task) = (format!("{p}.api_1"), format!("{p}-db"), format!("{p}-svc.2"));
    let compose = |spec: ContainerSpec, service: &str| {
        spec.label("com.docker.compose.project", &p)
            .label("com.docker.compose.service", service)
            .label("com.docker.compose.container-number", "1")
    };
    let first = compose(ContainerSpec::named(&api), "api").network(&network);
    let first = engine.run(first.label("tier", &p)).unwrap();
    let second = compose(ContainerSpec::named(&db), "db").network(&network).label("tier", "back");
    let second = engine.run(second).unwrap();
    let third = ContainerSpec::named(format!("{task}.x7k2"))
        .label("com.docker.swarm.service.name", &format!("{p}-svc"))
        .label("com.docker.swarm.task.name", &format!("{task}.x7k2"))
        .label("com.docker.swarm.task.id", "x7k2")
        .label("com.docker.stack.namespace", &format!("{p}-stack"));
    let third = engine.run(third).unwrap();
    let pid = third.pid().unwrap();
    let process = format!("sleep.{pid}");

    let s = |text: String| -> &'static str { text.leak() };
    let (api, db, task) = (s(api), s(db), s(task));
    let cases: Vec<(Vec<&str>, Vec<&str>)> = vec![
        (vec![api], vec![api]),
        (vec![&first.id()[..20]], vec![api]),
        (vec![second.id()], vec![db]),
        (vec![s(format!("{p}*"))], vec![api, db, task]),
        (vec![s(format!("{p}?db"))], vec![db]),
        (vec![s(format!("label:tier={p}"))], vec![api]),
        (vec!["label:tier", "--filter", s(format!("name={p}"))], vec![api, db]),
        (vec!["image:whaletap-lab", "--filter", s(format!("name={p}"))], vec![api, db, task]),
        (vec![s(format!("network:{}", network.name()))], vec![api, db]),
        (vec![s(format!("compose:{p}"))], vec![api, db]),
        (vec![s(format!("compose:{p}/db"))], vec![db]),
        (vec![s(format!("service:{p}-svc"))], vec![task]),
        (vec![s(format!("stack:{p}-stack"))], vec![task]),
        (vec![s(format!("task:{task}"))], vec![task]),
        (vec![task], vec![task]),
        (vec![api, db, api], vec![api, db]),
        (vec![s(format!("compose:{p}")), "--exclude", db], vec![api]),
        (vec![s(format!("{p}*")), "--exclude", s(format!("compose:{p}"))], vec![task]),
        (vec!["--filter", s(format!("label=tier={p}"))], vec![api]),
        (vec![s(format!("pid:{pid}"))], vec![&process]),
        (vec![s(format!("netns:/proc/{pid}/ns/net"))], vec!["net"]),
    ];
    for (words, mut expected) in cases {
        expected.sort_unstable();
        assert_eq!(taken(&words), expected, "{words:?}");
    }
}

#[test]
fn what_takes_nothing_is_told_with_what_was_meant() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("frontend")).unwrap();
    let stopped = engine.run(idle("stopped")).unwrap();
    stopped.kill().unwrap();
    let misspelt = web.name().replace("frontend", "frontent");
    let finished = refused(&[&misspelt]).finish().unwrap();
    let nearest = format!("did you mean `{}`?", web.name());
    assert_ended(&finished, 3, &["is no container", &nearest, "hint: `whaletap ls`"]);
    // All mistakes at once, and nothing is captured.
    let nothing = unique("nothing");
    let words =
        ["--no-follow", web.name(), &misspelt, stopped.name(), &format!("compose:{nothing}")];
    let finished = refused(&words).finish().unwrap();
    let stopped = format!("`{0}` does not run: {0} is exited", stopped.name());
    assert_ended(
        &finished,
        3,
        &["is no container", &stopped, &format!("`compose:{nothing}` takes no")],
    );
    assert!(!finished.stderr.contains("capturing"), "{}", finished.stderr);
    let finished = refused(&[web.name(), "--exclude", web.name()]).finish().unwrap();
    assert_ended(&finished, 3, &["excluded again"]);
}

#[test]
fn the_beginning_of_an_id_has_to_be_of_one() {
    let engine = Engine::shared().unwrap();
    let mut known: BTreeMap<char, Container> = BTreeMap::new();
    // Ids are random; of seventeen two begin alike at the latest.
    let (one, two) = loop {
        let container = engine.run(idle("alike")).unwrap();
        let digit = container.id().chars().next().unwrap();
        if let Some(other) = known.remove(&digit) {
            break (container, other);
        }
        known.insert(digit, container);
    };
    let digit = &one.id()[..1];
    let finished = refused(&[digit]).finish().unwrap();
    assert_ended(&finished, 3, &[&format!("`{digit}` fits several containers: ")]);
    for container in [&one, &two] {
        let listed = format!("{} ({})", container.name(), &container.id()[..12]);
        assert!(finished.stderr.contains(&listed), "{}", finished.stderr);
    }
}

#[test]
fn an_expression_among_selectors_is_recognised() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let finished = refused(&[web.name(), "tcp", "port", "80"]).finish().unwrap();
    let meant = format!("whaletap capture {} -- tcp port 80", web.name());
    assert_ended(&finished, 3, &[&meant]);
}
