//! Containers of an engine on another host, captured from here: the same frames as of tcpdump there.

use std::{
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lab::{Container, ContainerSpec, FarHost, Program, Records, Running, judge, traffic::Report};

use crate::{
    far::Way,
    member::helpers,
    tap::{LIMIT, assert_ended, signal, unique, until},
};

/// Between the stamps of two taps of one frame: the kernel stamps each copy.
const APART: u64 = 50_000_000;
/// How long the way through a helper and back may take at the beginning.
const BEGINS: Duration = Duration::from_secs(40);
/// How long a thin link is overloaded, in seconds, and between two looks at what has arrived.
const LOADED: u64 = 8;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How old what arrives may be: 2 s that frames wait for the link, what is on its way there, and some
/// more for a busy machine.
const FRESH: Duration = Duration::from_secs(5);

/// tcpdump in a container's namespace, over there.
fn tcpdump(container: &Container, file: &Path) -> Running {
    let program = Program::new("tcpdump")
        .args(["-i", "eth0", "-p", "-n", "-Z", "root", "--time-stamp-precision=nano"])
        // Small frames: in its ring of 2 MiB there is room for eight that might be of 256 KiB.
        .args(["--immediate-mode", "-s", "256", "-U", "-w"])
        .arg(file)
        .args(["udp", "port", "9"]);
    let mut running = container.enter(program).unwrap().start().unwrap();
    running.wait_for_line("listening on", LIMIT).unwrap();
    running
}

/// A container that waits, on that host.
pub(crate) fn idle(far: &FarHost, name: &str) -> Container {
    let spec = ContainerSpec::named(unique(name)).command(["sleep", "600"]);
    far.engine().run(spec).unwrap()
}

/// The command, on its way to that host.
pub(crate) fn capture(way: &Way, far: &FarHost, words: &[&str]) -> Program {
    let agent = lab::agent::program().unwrap();
    let program = way.given_to(env!("CARGO_BIN_EXE_whaletap"), far).env("WHALETAP_AGENT", agent);
    program.arg("capture").args(words)
}

pub(crate) fn begun(program: Program) -> Running {
    let mut running = program.start().unwrap();
    let begins = |line: &str| line.contains("capturing ") || line.contains("waiting ");
    running.wait_for("capturing, or waiting", BEGINS, begins).unwrap();
    running
}

pub(crate) fn send(from: &Container, to: &Container, count: u32, run: u32) {
    let address = to.address().unwrap();
    let line = format!("udp --to {address}:9 --count {count} --run {run}");
    let program = Program::new(lab::traffic::program().unwrap()).args(line.split_whitespace());
    from.enter(program.limit(LIMIT)).unwrap().run().unwrap();
}

/// By TLS, by ssh and by a context.
pub(crate) fn ways(far: &FarHost) -> [Way; 3] {
    let file = |name: &str| far.certificates().at(name).display().to_string();
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(file);
    let tls = far.tls();
    let by_tls =
        ["-H", &tls, "--tlsverify", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    let config = far.docker_config().unwrap().display().to_string();
    [
        Way::by(&by_tls),
        Way::by(&["-H", &far.ssh()]),
        Way::by(&["--context", "far"]).with("DOCKER_CONFIG", config),
    ]
}

#[test]
fn containers_elsewhere_are_captured_in_every_way() {
    let far = FarHost::start().unwrap();
    let (web, db) = (idle(&far, "web"), idle(&far, "db"));
    let directory = tempfile::tempdir().unwrap();
    for (way, run) in ways(&far).iter().zip(1..) {
        let file = directory.path().join(format!("{run}.pcapng"));
        let theirs = directory.path().join(format!("{run}.pcap"));
        let reference = tcpdump(&web, &theirs);
        let words = [web.name(), "-w", file.to_str().unwrap(), "--", "udp", "port", "9"];
        let running = begun(capture(way, &far, &words));
        send(&db, &web, 500, run);
        send(&web, &db, 50, run + 10);
        let count = || Records::read(&theirs).map(|records| records.len());
        until("tcpdump has them", LIMIT, || count().is_ok_and(|count| count >= 550));
        let finished = running.interrupt().unwrap();
        assert_ended(
            &finished,
            0,
            &["550 packets captured", "0 packets dropped", "ended: stopped"],
        );
        reference.interrupt().unwrap();
        let ours = Records::read(&file).unwrap();
        assert_eq!(ours.numbers(run).len() + ours.numbers(run + 10).len(), 550);
        let name = format!("{}/eth0", web.name());
        assert!(ours.all.iter().all(|record| record.interface.as_ref() == Some(&name)));
        ours.same_as(&Records::read(&theirs).unwrap(), APART).unwrap();
        judge::all(&file, true).unwrap();
        assert_eq!(helpers(far.engine()), [""; 0]);
    }
}

#[test]
fn what_starts_elsewhere_is_captured_and_what_ends_is_let_go() {
    let far = FarHost::start().unwrap();
    let db = idle(&far, "db");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    let value = unique("label");
    let [_, by_ssh, _] = ways(&far);
    let selector = format!("label:whaletap.far={value}");
    let words = ["--wait", &selector, "-w", file.to_str().unwrap(), "--", "udp", "port", "9"];
    let mut running = begun(capture(&by_ssh, &far, &words));
    let spec = ContainerSpec::named(unique("web")).label("whaletap.far", &value);
    let web = far.engine().run(spec.command(["sleep", "600"])).unwrap();
    let late = format!("{}: captured, ", web.name());
    let late = running.wait_for_line(&late, LIMIT).unwrap();
    assert!(late.contains(" ms after its network was made"), "{late}");
    send(&db, &web, 20, 1);
    let name = web.name().to_owned();
    drop(web);
    running.wait_for_line(&format!("{name}: ended"), LIMIT).unwrap();
    let finished = running.interrupt().unwrap();
    assert_ended(&finished, 0, &["20 packets captured", "ended: stopped"]);
    let told = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
    assert!(told.contains("ms after its namespace was made; "), "how late it was is in the file");
    assert_eq!(Records::read(&file).unwrap().of(&format!("{name}/eth0")).numbers(1).len(), 20);
    judge::all(&file, true).unwrap();
}

/// 1 Mbit/s from there to here, while the target is sent 100 Mbit/s: the session lives, what arrives
/// is fresh, and nothing is forgotten.
#[test]
fn a_thin_link_carries_what_is_fresh_and_the_rest_is_counted() {
    let far = FarHost::start().unwrap();
    let (web, db) = (idle(&far, "web"), idle(&far, "db"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    let [by_tls, ..] = ways(&far);
    let words = [web.name(), "-w", file.to_str().unwrap(), "--", "udp", "port", "9"];
    let running = begun(capture(&by_tls, &far, &words));
    // The image has come through the thick one.
    let thin = ["qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "1mbit", "burst", "16kb"];
    let thin = Program::new("tc").args(thin).args(["latency", "300ms"]);
    thin.inside(far.namespace()).run().unwrap();
    let address = web.address().unwrap();
    let line = format!("udp --to {address}:9 --size 1400 --rate 9000 --seconds {LOADED} --run 1");
    let load = Program::new(lab::traffic::program().unwrap()).args(line.split_whitespace());
    let mut load = db.enter(load.limit(2 * LIMIT)).unwrap().start().unwrap();
    let mut ages = Vec::new();
    while load.is_alive() {
        thread::sleep(LOOK_EVERY);
        signal(running.pid(), "USR2");
        let records = Records::read(&file).ok();
        let last = records.and_then(|records| Some(records.all.last()?.timestamp_ns));
        ages.extend(last.map(age));
    }
    let sent = Report::of(load.wait().unwrap()).unwrap().count;
    let finished = running.interrupt().unwrap();
    assert_ended(&finished, 0, &["ended: stopped", &format!("{sent} packets received by filter")]);
    assert!(!finished.stderr.contains(": ended\n"), "who was let go has not ended");
    let written = Records::read(&file).unwrap().len() as u64;
    let dropped = number_before(&finished.stderr, " packets dropped by whaletap")
        + number_before(&finished.stderr, " packets dropped by kernel");
    assert_eq!(written + dropped, sent, "{}", finished.stderr);
    assert!(dropped > sent / 4, "{dropped} of {sent}: the link is not thin");
    // What the link can carry in this time is used, and is not old.
    let carried = written * 1400;
    assert!(carried > 125_000 * LOADED / 2, "{carried} bytes in {LOADED} s");
    assert!(ages.len() > 4 && ages.iter().all(|age| *age < FRESH), "{ages:?}");
    judge::all(&file, true).unwrap();
    assert_eq!(helpers(far.engine()), [""; 0]);
}

/// The number that stands before these words; 0 where they are not there.
fn number_before(text: &str, words: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_suffix(words));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How long ago something was that has this stamp.
fn age(timestamp: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.saturating_sub(Duration::from_nanos(timestamp))
}

/// A helper that is killed, as with its host: what was captured is in a whole file, and the ending says
/// why there is no more.
#[test]
fn a_far_side_that_is_killed_ends_the_capture_with_a_whole_file() {
    let far = FarHost::start().unwrap();
    let (web, db) = (idle(&far, "web"), idle(&far, "db"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    let [by_tls, ..] = ways(&far);
    let words = [web.name(), "-w", file.to_str().unwrap(), "--", "udp", "port", "9"];
    let running = begun(capture(&by_tls, &far, &words));
    send(&db, &web, 30, 1);
    until("they have arrived", LIMIT, || {
        signal(running.pid(), "USR2");
        Records::read(&file).is_ok_and(|records| records.numbers(1).len() == 30)
    });
    let names = helpers(far.engine());
    assert_eq!(names.len(), 1, "{names:?}");
    far.engine().docker().args(["kill", &names[0]]).run().unwrap();
    let finished = running.wait_at_most(LIMIT).unwrap();
    assert_ended(&finished, 1, &["30 packets captured", "the far side is gone"]);
    assert_eq!(Records::read(&file).unwrap().numbers(1).len(), 30);
    judge::all(&file, true).unwrap();
    assert_eq!(helpers(far.engine()), [""; 0]);
}
