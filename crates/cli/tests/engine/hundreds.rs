//! Many containers.

use std::{
    thread,
    time::{Duration, Instant},
};

use lab::{ContainerSpec, PrivateEngine};
use serde_json::Value;

use crate::tap::{assert_ended, whaletap_at};

/// Containers that are there.
const ALL: usize = 300;
/// Those that run.
const RUNNING: usize = 6;
/// Who makes them, at once.
const MAKERS: usize = 4;
/// What a list of all may take.
const QUICK: Duration = Duration::from_secs(10);

/// On an engine of its own: who lists containers elsewhere meanwhile is not slowed down.
#[test]
fn three_hundred_containers_are_listed() {
    let private = PrivateEngine::start().unwrap();
    let engine = private.engine();
    let _running: Vec<_> =
        (0..RUNNING).map(|n| engine.run(ContainerSpec::named(format!("r{n}"))).unwrap()).collect();
    thread::scope(|scope| {
        for maker in 0..MAKERS {
            scope.spawn(move || {
                for n in (RUNNING..ALL).filter(|n| n % MAKERS == maker) {
                    let name = format!("c{n}");
                    let words = ["create", "--network", "none", "--name", &name, "whaletap-lab"];
                    engine.docker().args(words).run().unwrap();
                }
            });
        }
    });
    let ls = |words: &[&str]| {
        let begun = Instant::now();
        let words: Vec<&str> = ["ls"].iter().chain(words).copied().collect();
        let finished = whaletap_at(engine.host(), &words).finish().unwrap();
        assert_ended(&finished, 0, &[]);
        assert!(begun.elapsed() < QUICK, "{words:?}: {:?}", begun.elapsed());
        finished.stdout_text()
    };
    assert_eq!(ls(&["-a"]).lines().count(), 1 + ALL);
    assert_eq!(ls(&["-q"]).lines().count(), RUNNING);
    assert_eq!(ls(&["-a", "-q", "c1*"]).lines().count(), 110);
    let lines = ls(&["-a", "--interfaces", "--format", "json"]);
    let objects: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), ALL);
    let with_interfaces = objects
        .iter()
        .filter(|object| object["interfaces"].as_array().is_some_and(|i| i.len() == 2));
    assert_eq!(with_interfaces.count(), RUNNING);
}
