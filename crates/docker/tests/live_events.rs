//! Following a real engine's containers through their lives. Without an engine these tests fail.

#![expect(clippy::unwrap_used, reason = "whatever fails here fails a test")]

mod following;

use std::time::Instant;

use following::{Following, PATIENT};
use lab::{Container, ContainerSpec, Engine, PrivateEngine};
use model::ContainerState;
use whaletap_docker::{DEADLINE, News, What};

/// The engine that all tests share.
fn engine() -> Engine {
    match Engine::shared() {
        Ok(engine) => engine,
        Err(error) => panic!("these tests need a Docker engine: {error}"),
    }
}

/// Follows an engine, and knows all that lives there.
fn follow(engine: &Engine, filters: &[&str]) -> Following {
    let socket = engine.host().strip_prefix("unix://").unwrap().to_owned();
    let mut following = Following::start(&socket, DEADLINE, filters);
    following.listed(PATIENT);
    following
}

fn docker(engine: &Engine, words: &[&str]) {
    engine.docker().args(words).run().unwrap();
}

fn is_started(what: &What) -> bool {
    *what == What::Started
}

fn is_dead(what: &What) -> bool {
    matches!(what, What::Died { .. })
}

#[test]
fn a_life_is_told_from_its_first_day_to_its_last() {
    let engine = engine();
    let network = engine.network("follow").unwrap();
    let mut following = follow(&engine, &[]);
    let spec = ContainerSpec::new("life").label("tier", "front").network(&network);
    let container = engine.run(spec).unwrap();
    let id = container.id().to_owned();

    let created = following.happened(&id, |what| *what == What::Created).container;
    assert_eq!((created.name.as_str(), created.pid), (container.name(), None));
    assert_eq!(
        (created.labels["tier"].as_str(), created.state),
        ("front", ContainerState::Created)
    );
    let connected = following.happened(&id, |what| matches!(what, What::Connected { .. }));
    assert_eq!(connected.what, What::Connected { network: network.name().to_owned() });
    assert_eq!(connected.container.name, container.name());
    assert_eq!(connected.container.endpoints[0].network, network.name());
    let started = following.happened(&id, is_started);
    let inspected = following.inspected(&id);
    assert_eq!(inspected.pid, Some(container.pid().unwrap()));
    assert_eq!(inspected.sandbox_key, container.sandbox_key().unwrap().to_str().unwrap());
    assert_eq!(inspected.endpoints[0].addresses, [container.address().unwrap()]);
    // Its process ran shortly before the engine said so.
    let late = started.at.checked_sub(inspected.started_at.unwrap()).unwrap();
    assert!(late < 5_000_000_000, "{late} ns");

    docker(&engine, &["network", "connect", "bridge", &id]);
    let bridge = What::Connected { network: "bridge".to_owned() };
    following.happened(&id, |what| *what == bridge);
    assert_eq!(following.inspected(&id).endpoints.len(), 2);
    docker(&engine, &["network", "disconnect", network.name(), &id]);
    following.happened(&id, |what| matches!(what, What::Disconnected { .. }));
    assert_eq!(following.inspected(&id).endpoints[0].network, "bridge");

    let other = format!("{}-renamed", container.name());
    docker(&engine, &["rename", &id, &other]);
    let renamed = following.happened(&id, |what| matches!(what, What::Renamed { .. }));
    assert_eq!(renamed.what, What::Renamed { from: container.name().to_owned() });
    assert_eq!((renamed.container.name.as_str(), renamed.container.pid), (&*other, inspected.pid));
    assert_eq!(following.inspected(&id).name, other);

    container.order("pause").unwrap();
    following.happened(&id, |what| *what == What::Paused);
    container.order("unpause").unwrap();
    following.happened(&id, |what| *what == What::Unpaused);
    container.kill().unwrap();
    let died = following.happened(&id, is_dead);
    assert_eq!(died.what, What::Died { exit_code: Some(137) });
    assert_eq!((died.container.pid, died.container.sandbox_key.as_str()), (None, ""));
    drop(container);
    let gone = following.happened(&id, |what| *what == What::Destroyed);
    assert_eq!(gone.container.name, other);
}

#[test]
fn a_loop_of_restarts_is_told_run_by_run() {
    let engine = engine();
    let mut following = follow(&engine, &[]);
    let spec = ContainerSpec::new("loop").option("--restart", "on-failure:3").command([
        "sh",
        "-c",
        "sleep 0.2; exit 7",
    ]);
    let container = engine.run(spec).unwrap();
    let mut ends = Vec::new();
    for _ in 0..3 {
        following.happened(container.id(), is_started);
        let died = following.happened(container.id(), is_dead);
        assert_eq!(died.what, What::Died { exit_code: Some(7) });
        ends.push(died.at);
    }
    assert!(ends.is_sorted());
}

#[test]
fn a_restart_gives_another_process() {
    let engine = engine();
    let mut following = follow(&engine, &[]);
    let container = engine.run(ContainerSpec::new("restart")).unwrap();
    let first = following.inspected(container.id());
    docker(&engine, &["restart", "--time", "0", container.id()]);
    following.happened(container.id(), is_dead);
    following.happened(container.id(), is_started);
    let second = following.inspected(container.id());
    // The answer to the start may be there first.
    if !following.told().iter().any(|news| news.contains("Restarted")) {
        following.happened(container.id(), |what| *what == What::Restarted);
    }
    assert_eq!(second.pid, Some(container.pid().unwrap()));
    assert!(second.pid != first.pid && second.started_at > first.started_at);
}

#[test]
fn health_and_filters_are_told() {
    let engine = engine();
    let mut all = follow(&engine, &[]);
    let mut some = follow(&engine, &["label=followed=yes"]);
    let spec = |name| {
        ContainerSpec::new(name)
            .option("--health-cmd", "test ! -e /tmp/ill")
            .option("--health-interval", "200ms")
            .option("--health-retries", "1")
    };
    let other = engine.run(spec("other")).unwrap();
    let followed = engine.run(spec("followed").label("followed", "yes")).unwrap();
    for following in [&mut all, &mut some] {
        following.happened(followed.id(), |what| *what == What::Created);
        following.happened(followed.id(), is_started);
        following.inspected(followed.id());
        following.happened(followed.id(), |what| *what == What::Health { healthy: true });
    }
    followed.exec(["mkdir", "/tmp/ill"]).run().unwrap();
    some.happened(followed.id(), |what| *what == What::Health { healthy: false });
    assert!(all.told().iter().any(|news| news.contains(other.name())));
    assert!(!some.told().iter().any(|news| news.contains(other.name())), "{:#?}", some.told());
}

/// Whom another container's age is compared with may go.
#[test]
fn ages_are_compared_with_who_is_gone() {
    let engine = engine();
    let run = |name| engine.run(ContainerSpec::new(name)).unwrap();
    let (older, named, younger) = (run("older"), run("named"), run("younger"));
    let mut since = follow(&engine, &[&format!("since={}", named.name())]);
    let mut before = follow(&engine, &[&format!("before={}", named.name())]);
    drop(named);
    let new = run("new");
    since.happened(new.id(), is_started);
    assert_eq!(since.inspected(new.id()).pid, Some(new.pid().unwrap()));
    for container in [&older, &younger, &new] {
        container.kill().unwrap();
    }
    since.happened(younger.id(), is_dead);
    since.happened(new.id(), is_dead);
    before.happened(older.id(), is_dead);
    assert!(!since.told().iter().any(|news| news.contains(older.name())), "{:#?}", since.told());
    let strangers = [younger.name(), new.name()];
    let is_strangers = |news: &String| strangers.iter().any(|name| news.contains(name));
    assert!(!before.told().iter().any(is_strangers), "{:#?}", before.told());
}

/// Killed in the middle, with containers that live on: one that stays, one that ends meanwhile.
#[test]
fn an_engine_that_is_killed_is_followed_again() {
    let mut private = PrivateEngine::start().unwrap();
    let engine = private.engine().clone();
    let run = |name| -> Container { engine.run(ContainerSpec::new(name)).unwrap() };
    let (stays, ends) = (run("stays"), run("ends"));
    let (pid, ending) = (stays.pid().unwrap(), ends.pid().unwrap());
    let mut following = follow(&engine, &[]);

    let killed = Instant::now();
    private.kill();
    println!("{} after {:?}", following.lost(), killed.elapsed());
    lab::Program::new("kill").args(["-KILL", &ending.to_string()]).run().unwrap();
    private.start_again().unwrap();
    following.until(PATIENT, |news| matches!(news, News::Connected { .. }).then_some(()));
    let live = following.listed_with(ends.id(), false, PATIENT);
    let found = live.iter().find(|container| container.id == stays.id()).unwrap();
    assert_eq!(found.pid, Some(pid));
    let comes = run("comes");
    following.happened(comes.id(), is_started);
    assert_eq!(following.inspected(comes.id()).pid, Some(comes.pid().unwrap()));
    let count = |part: &str| following.told().iter().filter(|n| n.starts_with(part)).count();
    assert_eq!((count("lost"), count("connected")), (1, 2), "{:#?}", following.told());
}
