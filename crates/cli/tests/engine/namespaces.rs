//! Containers whose network is not simply their own.

use lab::{ContainerSpec, Engine, Program};

use crate::tap::{Tap, idle, send};

#[test]
fn containers_of_one_namespace_are_one_capture() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let side = engine.run(idle("side").sharing(&web)).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let joined = format!("{}+{}", web.name(), side.name());
    let tap = Tap::start(&[web.name(), side.name(), "--", "udp", "port", "9"]);
    send(&db, &web, 10, "--run 3");
    let tapped = tap.stop();
    assert_eq!(tapped.names(), [joined.as_str()]);
    let told = &tapped.finished.stderr;
    assert!(told.contains("(1 namespace)") && told.contains("captured once"), "{told}");
    let records = tapped.records().of(&format!("{joined}/eth0"));
    assert_eq!(records.numbers(3), (0..10).collect::<Vec<_>>());
    // Named alone it is the same namespace, under its own name.
    let tap = Tap::start(&[side.name(), "--", "udp", "port", "9"]);
    send(&db, &web, 1, "");
    let tapped = tap.stop();
    assert_eq!(tapped.records().of(&format!("{}/eth0", side.name())).len(), 1);
}

#[test]
fn the_hosts_network_is_taken_with_a_warning() {
    let engine = Engine::shared().unwrap();
    let host = engine.run(idle("host").network_mode("host")).unwrap();
    // A port that nobody else of this machine uses: nothing but this is to be seen.
    let mut tap = Tap::start(&[host.name(), "--", "udp", "port", "47611"]);
    let warning = tap.hears("warning: ");
    assert!(
        warning.contains(host.name()) && warning.contains("everything of this host"),
        "{warning}"
    );
    let program = lab::traffic::program().unwrap();
    let words = ["udp", "--to", "127.0.0.1:47611", "--count", "4", "--run", "5"];
    Program::new(program).args(words).run().unwrap();
    let tapped = tap.stop();
    let records = tapped.records().of(&format!("{}/lo", host.name()));
    assert_eq!(records.numbers(5), [0, 1, 2, 3], "each once");
}

#[test]
fn a_container_without_network_has_loopback() {
    let engine = Engine::shared().unwrap();
    let alone = engine.run(idle("alone").network_mode("none")).unwrap();
    let tap = Tap::start(&[alone.name(), "--", "udp"]);
    let program = lab::traffic::program().unwrap();
    let words = ["udp", "--to", "127.0.0.1:9", "--count", "6", "--run", "5"];
    alone.enter(Program::new(program).args(words)).unwrap().run().unwrap();
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records().of(&format!("{}/lo", alone.name()));
    assert_eq!(records.numbers(5), (0..6).collect::<Vec<_>>(), "each once");
    lab::judge::all(tapped.file(), true).unwrap();
}

#[test]
fn a_container_that_says_nothing_is_in_the_file() {
    let engine = Engine::shared().unwrap();
    let name = crate::tap::unique("quiet.one_1");
    let quiet = engine.run(ContainerSpec::named(&name)).unwrap();
    let tapped = Tap::start(&[quiet.name(), "--", "tcp", "port", "1"]).stop();
    assert!(tapped.records().is_empty());
    lab::judge::all(tapped.file(), true).unwrap();
    let infos = Program::new("capinfos").arg(tapped.file()).run().unwrap().stdout_text();
    assert!(infos.contains(&format!("Name = {name}/eth0")), "{infos}");
}
