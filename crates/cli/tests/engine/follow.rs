//! Containers that come and go while they are captured.

use std::path::PathBuf;

use lab::{Container, ContainerSpec, Engine, PrivateEngine, Program, Records, judge};

use crate::{
    ending::Canary,
    interfaces::interfaces,
    tap::{LIMIT, Tap, assert_ended, capture, idle, send, signal, unique, until, whaletap},
};

/// The label by which a test's containers are taken.
pub(crate) const LABEL: &str = "wt-follow";
/// Where a neighbour answers.
const ECHO: u16 = 7;

/// A container that answers datagrams, and does.
#[track_caller]
pub(crate) fn neighbour(engine: &Engine) -> Container {
    let spec = ContainerSpec::new("db").traffic("udp-echo --listen 0.0.0.0:7 --seconds 60");
    let db = engine.run(spec).unwrap();
    let ask = || {
        let words = format!("udp-ping --to 127.0.0.1:{ECHO} --count 1 --run 0");
        let ask = Program::new(lab::traffic::program().unwrap()).args(words.split(' '));
        db.enter(ask).unwrap().run().unwrap().stdout_text().contains("\"failed\":0")
    };
    until("the neighbour answers", LIMIT, ask);
    db
}

/// A container whose first instruction asks the neighbour, once, and that ends with the answer.
pub(crate) fn early(db: &Container, run: u32) -> ContainerSpec {
    let to = format!("{}:{ECHO}", db.address().unwrap());
    let name = format!("early-{run}");
    ContainerSpec::new(&name).traffic(&format!("udp-ping --to {to} --count 1 --run {run}"))
}

pub(crate) fn name(container: &Container) -> String {
    format!("{}/eth0", container.name())
}

/// Waits until the file has this many interface blocks of that name.
#[track_caller]
fn has_interface(tap: &Tap, name: &str, times: usize) {
    until(&format!("{times} blocks of {name}"), LIMIT, || {
        // Everything that is known goes out.
        signal(tap.pid(), "USR2");
        interfaces(&tap.file()).iter().filter(|found| *found == name).count() >= times
    });
}

/// A selector, and the value of [`LABEL`] that it takes, which nobody else has.
pub(crate) fn label() -> (String, String) {
    let value = unique("label");
    (format!("label:{LABEL}={value}"), value)
}

#[test]
fn what_starts_later_and_matches_is_captured_from_its_first_packet() {
    let engine = Engine::shared().unwrap();
    let db = neighbour(&engine);
    let (selector, value) = label();
    let web = engine.run(idle("web").label(LABEL, &value)).unwrap();
    let tap = Tap::start(&[&selector, "--", "udp"]);
    let ours: Vec<Container> =
        (1..=5).map(|run| engine.run(early(&db, run).label(LABEL, &value)).unwrap()).collect();
    let others: Vec<Container> =
        (11..=12).map(|run| engine.run(early(&db, run)).unwrap()).collect();
    // Those who come later than the others are known when these are.
    let last = engine.run(idle("last").label(LABEL, &value)).unwrap();
    has_interface(&tap, &name(&last), 1);
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records();
    let summary: Vec<&str> = tapped.finished.stderr.lines().collect();
    let heads = summary.iter().find(|line| line.starts_with("NAME ")).unwrap();
    assert!(heads.ends_with("BLIND"), "{heads}");
    for (run, container) in (1..).zip(&ours) {
        let row = format!("{} ", container.name());
        let row = summary.iter().find(|line| line.starts_with(&row)).unwrap();
        assert!(row.ends_with(" ms") || row.contains(" ms, "), "{row}");
        // The question and the answer.
        assert_eq!(records.of(&name(container)).numbers(run), [0, 0], "{}", container.name());
    }
    let interfaces = interfaces(&tapped.file());
    for other in others.iter().chain([&db]) {
        assert!(!interfaces.contains(&name(other)), "{}", other.name());
    }
    assert!(interfaces.contains(&name(&web)));
    judge::all(tapped.file(), true).unwrap();
}

#[test]
fn without_following_the_set_is_the_one_of_the_start() {
    let engine = Engine::shared().unwrap();
    let db = neighbour(&engine);
    let (selector, value) = label();
    let web = engine.run(idle("web").label(LABEL, &value)).unwrap();
    let tap = Tap::start(&["--no-follow", &selector, "--", "udp"]);
    let late = engine.run(early(&db, 1).label(LABEL, &value)).unwrap();
    send(&db, &web, 5, "--run 2");
    web.kill().unwrap();
    let tapped = tap.wait();
    assert_ended(&tapped.finished, 0, &["ended: all targets have ended"]);
    let names = interfaces(&tapped.file());
    assert!(names.contains(&name(&web)) && !names.contains(&name(&late)), "{names:?}");
    assert_eq!(tapped.records().numbers(2).len(), 5);
    judge::all(tapped.file(), true).unwrap();
}

#[test]
fn a_name_that_stops_and_starts_again_is_the_same_target() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let mut tap = Tap::start(&[web.name(), "--", "udp", "port", "9"]);
    send(&db, &web, 10, "--run 1");
    web.order("stop").unwrap();
    tap.hears(&format!("{}: ended", web.name()));
    assert!(tap.running().is_alive());
    web.order("start").unwrap();
    has_interface(&tap, &name(&web), 2);
    send(&db, &web, 10, "--run 2");
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records().of(&name(&web));
    for run in [1, 2] {
        assert_eq!(records.numbers(run), (0..10).collect::<Vec<_>>(), "run {run}");
    }
    let [before, after] = [1, 2].map(|run| records.of_run(run).all[0].clone());
    assert_ne!(before.interface_id, after.interface_id);
    // The gap is told, and is told as one: not as the beginning of the capture is.
    assert!(after.comments.iter().any(|comment| comment.contains(web.name())), "{after:?}");
    assert_ne!(before.comments, after.comments);
    judge::all(tapped.file(), true).unwrap();
}

#[test]
fn networks_that_are_connected_bring_their_interfaces() {
    let engine = Engine::shared().unwrap();
    let side = engine.network("side").unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let peer = engine.run(idle("peer").network(&side)).unwrap();
    let tap = Tap::start(&[web.name(), "--", "udp", "port", "9"]);
    let network = |order: &str| {
        engine.docker().args(["network", order, side.name(), web.id()]).run().unwrap();
    };
    let send_beside = |run: u32| {
        let format =
            format!("{{{{(index .NetworkSettings.Networks \"{}\").IPAddress}}}}", side.name());
        let address = web.inspect(&format).unwrap();
        let words = format!("udp --to {address}:9 --count 10 --run {run}");
        let program = Program::new(lab::traffic::program().unwrap()).args(words.split(' '));
        peer.enter(program).unwrap().run().unwrap();
    };
    let beside = format!("{}/eth1", web.name());
    assert!(!interfaces(&tap.file()).contains(&beside));
    network("connect");
    has_interface(&tap, &beside, 1);
    send_beside(1);
    network("disconnect");
    send(&db, &web, 10, "--run 2");
    network("connect");
    // The engine never gives a device's name twice.
    let again = format!("{}/eth2", web.name());
    has_interface(&tap, &again, 1);
    send_beside(3);
    let tapped = tap.stop();
    let records = tapped.records();
    for (interface, run) in [(&beside, 1), (&name(&web), 2), (&again, 3)] {
        let numbers = records.of(interface).numbers(run);
        assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "{interface}, run {run}");
    }
    judge::all(tapped.file(), true).unwrap();
}

#[test]
fn a_new_name_counts_from_then_on() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let tap = Tap::start(&[web.name(), "--", "udp", "port", "9"]);
    send(&db, &web, 10, "--run 1");
    let new = unique("renamed");
    engine.docker().args(["rename", web.id(), &new]).run().unwrap();
    let renamed = format!("{new}/eth0");
    has_interface(&tap, &renamed, 1);
    send(&db, &web, 10, "--run 2");
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records();
    for (interface, run) in [(&name(&web), 1), (&renamed, 2)] {
        assert_eq!(records.of(interface).numbers(run).len(), 10, "{interface}");
    }
    judge::all(tapped.file(), true).unwrap();
}

#[test]
fn when_nothing_is_left_it_waits_for_more() {
    let engine = Engine::shared().unwrap();
    let (selector, value) = label();
    let db = engine.run(idle("db")).unwrap();
    let web = engine.run(idle("web").label(LABEL, &value)).unwrap();
    let canary = Canary::in_namespace_of(&web);
    let mut tap = Tap::start(&[&selector, "--", "udp", "port", "9"]);
    send(&db, &web, 5, "--run 1");
    web.kill().unwrap();
    tap.hears(&format!("{}: ended", web.name()));
    canary.assert_freed();
    assert!(tap.running().is_alive());
    let next = engine.run(idle("next").label(LABEL, &value)).unwrap();
    has_interface(&tap, &name(&next), 1);
    send(&db, &next, 5, "--run 2");
    drop(next);
    tap.hears("next: ended");
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records();
    assert_eq!((records.numbers(1).len(), records.numbers(2).len()), (5, 5));
    judge::all(tapped.file(), true).unwrap();
}

#[test]
fn a_name_that_does_not_exist_yet_is_waited_for() {
    let engine = Engine::shared().unwrap();
    let db = neighbour(&engine);
    let awaited = unique("awaited");
    let without = whaletap(&["capture", &awaited, "-w", "/dev/null"]).finish().unwrap();
    assert_ended(&without, 3, &[&awaited]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    let words = ["--wait", &awaited, "--", "udp"];
    let mut running = capture(&Engine::endpoint(), &file, &words).start().unwrap();
    let begins = |line: &str| line.contains("capturing ") || line.contains("waiting ");
    running.wait_for("capturing, or waiting", LIMIT, begins).unwrap();
    let to = format!("{}:{ECHO}", db.address().unwrap());
    let spec = ContainerSpec::named(&awaited);
    let web = engine.run(spec.traffic(&format!("udp-ping --to {to} --count 1 --run 9"))).unwrap();
    until("it is in the file", LIMIT, || {
        signal(running.pid(), "USR2");
        interfaces(&file).contains(&name(&web))
    });
    running.wait_for_line(&format!("{awaited}: ended"), LIMIT).unwrap();
    assert_ended(&running.interrupt().unwrap(), 0, &["ended: stopped"]);
    assert_eq!(Records::read(&file).unwrap().of(&name(&web)).numbers(9), [0, 0]);
    judge::all(&file, true).unwrap();
}

/// An engine makes its directory of namespaces with its first container: nobody could watch it
/// before.
#[test]
fn the_first_container_that_an_engine_ever_has_is_captured_from_its_first_packet() {
    let private = PrivateEngine::start().unwrap();
    let engine = private.engine();
    engine.image().unwrap();
    // Who answers is no container: there is none before.
    let here = format!("/proc/{}/ns/net", private.pid().unwrap());
    let echo = Program::new(lab::traffic::program().unwrap());
    let echo = echo.args(["udp-echo", "--listen", "0.0.0.0:7"]).limit(2 * LIMIT);
    let mut echo = echo.inside_path(&here).start().unwrap();
    echo.wait_for_line("listening", LIMIT).unwrap();
    let bridge = Program::new("ip").args(["-o", "-4", "address", "show", "docker0"]);
    let bridge = bridge.inside_path(&here).run().unwrap().stdout_text();
    let address = bridge.split_whitespace().nth(3).unwrap().split('/').next().unwrap();

    let tap = Tap::start_at(engine.host(), &["--wait", "web", "--", "udp"]);
    let ask =
        format!("whaletap-traffic udp-ping --to {address}:{ECHO} --count 1 --run 5; sleep 60");
    let web = ContainerSpec::named("web").command(["sh", "-c", &ask]);
    let web = engine.run(web).unwrap();
    tap.sees(5, 2, LIMIT);
    let tapped = tap.stop();
    tapped.assert_whole();
    assert_eq!(tapped.records().of(&name(&web)).numbers(5), [0, 0], "question and answer");
    judge::all(tapped.file(), true).unwrap();
}

#[test]
fn an_engine_that_is_killed_and_comes_back_is_listened_to_again() {
    const COUNT: u64 = 6000;
    let mut private = PrivateEngine::start().unwrap();
    let engine = private.engine().clone();
    let label = |name: &str| ContainerSpec::named(name).label(LABEL, "x");
    let web = engine.run(label("web")).unwrap();
    let gone = engine.run(label("gone")).unwrap();
    let db = neighbour(&engine);
    let (address, db_pid) = (web.address().unwrap(), db.pid().unwrap());
    let gone_pid = gone.pid().unwrap();
    let mut tap = Tap::start_at(engine.host(), &[&format!("label:{LABEL}=x"), "--", "udp"]);
    let words = format!("udp --to {address}:9 --count {COUNT} --rate 400 --seconds 30 --run 1");
    let steady = Program::new(lab::traffic::program().unwrap()).args(words.split(' '));
    let steady = steady.inside_path(format!("/proc/{db_pid}/ns/net")).limit(2 * LIMIT);
    let steady = steady.start().unwrap();

    private.kill();
    signal(gone_pid, "KILL");
    tap.hears("gone: ended");
    private.start_again().unwrap();
    // Without following again there would be none of it.
    let last = engine.run(early(&db, 2).label(LABEL, "x")).unwrap();
    has_interface(&tap, &name(&last), 1);
    steady.wait().unwrap().success().unwrap();
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records();
    let mut numbers = records.of("web/eth0").numbers(1);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "not one is lost");
    judge::all(tapped.file(), true).unwrap();
}

/// The files of tcpdump's `-C`, in their order.
fn series(first: &std::path::Path) -> Vec<PathBuf> {
    let rest = (1..).map(|number| PathBuf::from(format!("{}{number}", first.display())));
    [first.to_owned()].into_iter().chain(rest.take_while(|path| path.exists())).collect()
}

#[test]
fn every_file_of_a_series_stands_alone() {
    let engine = Engine::shared().unwrap();
    let (selector, value) = label();
    let db = engine.run(idle("db")).unwrap();
    let stays = engine.run(idle("stays").label(LABEL, &value)).unwrap();
    let tap = Tap::start(&["-C", "64k", &selector, "--", "udp", "port", "9"]);
    let mut came = Vec::new();
    for run in 1..=4 {
        let container = engine.run(idle("comes").label(LABEL, &value)).unwrap();
        has_interface_somewhere(&tap, &name(&container));
        send(&db, &container, 100, &format!("--size 400 --rate 2000 --run {run}"));
        send(&db, &stays, 100, &format!("--size 400 --rate 2000 --run {}", 10 + run));
        came.push((run, name(&container)));
        container.kill().unwrap();
    }
    let tapped = tap.stop();
    tapped.assert_whole();
    let files = series(&tapped.file());
    assert!(files.len() >= 4, "{files:?}");
    let mut whole = Records::default();
    for file in &files {
        judge::all(file, true).unwrap();
        let records = Records::read(file).unwrap();
        let described = interfaces(file);
        assert!(described.contains(&name(&stays)), "{}: {described:?}", file.display());
        whole.all.extend(records.all);
    }
    assert_eq!(whole.len() as u64, tapped.count("captured"));
    assert_eq!(whole.inversions(), 0);
    let all: Vec<u64> = (0..100).collect();
    for (run, interface) in came {
        assert_eq!(whole.of(&interface).numbers(run), all, "{interface}");
        assert_eq!(whole.of(&name(&stays)).numbers(10 + run), all, "{run}");
    }
}

/// In one of the files of a series.
#[track_caller]
fn has_interface_somewhere(tap: &Tap, name: &str) {
    until(&format!("a block of {name}"), LIMIT, || {
        signal(tap.pid(), "USR2");
        series(&tap.file()).iter().any(|file| interfaces(file).iter().any(|found| found == name))
    });
}
