//! The flight recorder with real containers: what is kept of one that dies.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use lab::{Container, ContainerSpec, Engine, Program, Records, Running, judge};

use crate::tap::{LIMIT, assert_ended, count, idle, send, signal, unique, until, whaletap};

const SECOND: u64 = 1_000_000_000;
/// Targets that are recorded at once, and what each is sent a second. An optimised build carries ten
/// times as much on two processors (`cargo xtask bench --section record`); a debug build does not.
const TARGETS: u32 = 20;
const RATE: u32 = 500;
const LABEL: &str = "wt-record";

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// Numbered datagrams to a container that does not listen, from its own host's side of the bridge.
fn stream(from: &Container, to: &Container, seconds: u32) -> Running {
    let address = to.address().unwrap();
    let line = format!("udp --to {address}:9 --rate {RATE} --seconds {seconds}");
    let program = Program::new(lab::traffic::program().unwrap());
    from.enter(program.args(line.split_whitespace()).limit(3 * LIMIT)).unwrap().start().unwrap()
}

fn record(directory: &Path, words: &[&str]) -> Running {
    let first = ["record", "-w", directory.to_str().unwrap()];
    let words: Vec<&str> = first.into_iter().chain(words.iter().copied()).collect();
    let mut running = whaletap(&words).limit(4 * LIMIT).start().unwrap();
    running.wait_for_line("recording ", LIMIT).unwrap();
    running
}

/// Waits until a container's file was told of.
fn recorded(recorder: &mut Running, name: &str, trigger: &str) -> PathBuf {
    let begins = format!("whaletap: {name}: {trigger}");
    let is_it = |line: &str| line.starts_with(&begins) && line.contains(" before it and ");
    let line = recorder.wait_for("a file", 2 * LIMIT, is_it).unwrap();
    let (_, file) = line.rsplit_once(" in ").unwrap();
    file.split([' ', ';']).next().unwrap().into()
}

/// Waits until so many packets of all targets are recorded.
fn wait_for(recorder: &mut Running, packets: u64) {
    let mut asked = 0;
    until("the packets are recorded", 2 * LIMIT, || {
        asked += 1;
        signal(recorder.pid(), "USR1");
        let mut left = asked;
        let line = recorder.wait_for("counts", LIMIT, |line| {
            left -= usize::from(line.starts_with("whaletap: ") && line.contains(" captured, "));
            left == 0
        });
        let line = line.unwrap();
        let number = line.split_whitespace().nth(1).unwrap();
        number.parse::<u64>().unwrap() >= packets
    });
}

/// Stamps and bytes from `begin` to `end`, sorted.
fn within(records: &Records, begin: u64, end: u64) -> Vec<(u64, Vec<u8>)> {
    let all = records.all.iter().filter(|it| (begin..=end).contains(&it.timestamp_ns));
    let mut all: Vec<_> = all.map(|it| (it.timestamp_ns, it.data.clone())).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_container_that_is_killed_leaves_its_last_seconds() {
    let engine = Engine::shared().unwrap();
    let value = unique("label");
    let db = engine.run(idle("db")).unwrap();
    let webs: Vec<Container> = (0..TARGETS)
        .map(|number| engine.run(idle(&format!("web{number}")).label(LABEL, &value)).unwrap())
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let selector = format!("label:{LABEL}={value}");
    // Rings that a machine which does something else, too, does not fill.
    let words = [&*selector, "--keep", "5s", "--after", "1s", "--on", "die:137"];
    let more = ["--memory", "512MiB", "-B", "8MiB"];
    let mut ours = record(&out, &words.into_iter().chain(more).collect::<Vec<_>>());
    let victim = &webs[0];
    let theirs = directory.path().join("tcpdump.pcap");
    let tcpdump = Program::new("tcpdump")
        .args(["-i", "eth0", "-Z", "root", "--time-stamp-precision=nano", "-B", "65536", "-w"])
        .arg(&theirs)
        .limit(3 * LIMIT);
    let mut tcpdump = victim.enter(tcpdump).unwrap().start().unwrap();
    tcpdump.wait_for_line("listening on", LIMIT).unwrap();
    let traffic: Vec<Running> = webs.iter().map(|web| stream(&db, web, 12)).collect();
    // Older than the window and what is kept beyond it.
    wait_for(&mut ours, u64::from(TARGETS * RATE) * 9);
    let before = now();
    victim.kill().unwrap();
    let file = recorded(&mut ours, victim.name(), "die (exit code 137)");
    traffic.into_iter().for_each(Running::kill);
    tcpdump.interrupt().unwrap();
    let records = Records::read(&file).unwrap();
    let first = records.all[0].timestamp_ns;
    assert!(first <= before - 5 * SECOND, "{} ms", (before - first) / 1_000_000);
    // The capture ends with the process; the network goes on for as long as the engine takes.
    let last = records.all.iter().map(|record| record.timestamp_ns).max().unwrap().max(before);
    let theirs = Records::read(theirs).unwrap();
    let (ours_within, theirs_within) =
        (within(&records, first, last), within(&theirs, first, last));
    assert!(theirs_within.len() > 5 * RATE as usize, "{}", theirs_within.len());
    // tcpdump may lose what we do not.
    let missing = theirs_within.iter().filter(|frame| ours_within.binary_search(frame).is_err());
    assert_eq!(missing.count(), 0, "{} and {}", ours_within.len(), theirs_within.len());
    judge::all(&file, true).unwrap();
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "nobody else has died");
    signal(ours.pid(), "INT");
    let finished = ours.wait().unwrap();
    assert_ended(&finished, 0, &["ended: stopped"]);
    assert_eq!(count(&finished.stderr, "dropped by kernel"), 0);
}

#[test]
fn what_follows_a_restart_is_in_the_same_file() {
    let engine = Engine::shared().unwrap();
    let db = engine.run(idle("db")).unwrap();
    let web = engine.run(idle("web")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let words = [web.name(), "--keep", "30s", "--after", "8s", "--on", "die", "--", "udp"];
    let mut ours = record(directory.path(), &words);
    send(&db, &web, 50, "--run 1");
    web.order("restart").unwrap();
    send(&db, &web, 50, "--run 2");
    let file = recorded(&mut ours, web.name(), "die");
    let records = Records::read(&file).unwrap();
    for run in [1, 2] {
        assert_eq!(records.numbers(run).len(), 50, "run {run}");
    }
    judge::all(&file, true).unwrap();
    signal(ours.pid(), "INT");
    assert_ended(&ours.wait().unwrap(), 0, &["1 file, the last: "]);
}

/// The kernel ends a process of the container, and the container lives on: it is its memory that is
/// the trigger, not its end.
#[test]
fn a_container_out_of_memory_is_written() {
    let engine = Engine::shared().unwrap();
    let db = engine.run(idle("db")).unwrap();
    let spec = idle("web").option("--memory", "16m").option("--memory-swap", "16m");
    let web = engine.run(spec).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let words = [web.name(), "--keep", "30s", "--after", "0", "--on", "oom", "--", "udp"];
    let mut ours = record(directory.path(), &words);
    send(&db, &web, 50, "");
    // All that it reads it keeps, and there is no end of a line.
    let ended = web.exec(["busybox", "tail", "/dev/zero"]).finish().unwrap();
    assert_eq!(ended.code(), Some(137), "{ended:?}");
    let file = recorded(&mut ours, web.name(), "oom: ");
    assert_eq!(Records::read(&file).unwrap().numbers(1).len(), 50);
    judge::all(&file, true).unwrap();
    assert_eq!(web.inspect("{{.State.Running}}").unwrap(), "true");
    signal(ours.pid(), "INT");
    assert_ended(&ours.wait().unwrap(), 0, &["1 file, the last: "]);
}

/// The whole container is ended for want of memory: both are told of it, whatever is told first.
#[test]
fn a_container_that_dies_of_its_memory_is_written_once() {
    let engine = Engine::shared().unwrap();
    let db = engine.run(idle("db")).unwrap();
    let hungry = "busybox mkfifo /tmp/go; read line </tmp/go; exec busybox tail /dev/zero";
    let spec = ContainerSpec::new("web").command(["sh", "-c", hungry]);
    let web = engine.run(spec.option("--memory", "16m").option("--memory-swap", "16m")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let words = [web.name(), "--keep", "30s", "--after", "3s", "--on", "oom", "--on", "die:137"];
    let words: Vec<&str> = words.into_iter().chain(["--", "udp"]).collect();
    let mut ours = record(directory.path(), &words);
    send(&db, &web, 50, "");
    web.exec(["sh", "-c", "echo >/tmp/go"]).run().unwrap();
    let file = recorded(&mut ours, web.name(), "");
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.contains("-oom-") || name.contains("-die-"), "{name}");
    assert_eq!(Records::read(&file).unwrap().numbers(1).len(), 50);
    signal(ours.pid(), "INT");
    let finished = ours.wait().unwrap();
    // At least: engines may tell of one want of memory twice.
    assert_ended(&finished, 0, &["1 file, the last: ", " further trigger"]);
    assert_eq!(web.inspect("{{.State.OOMKilled}}").unwrap(), "true");
}

#[test]
fn a_container_that_turns_unhealthy_is_written() {
    let engine = Engine::shared().unwrap();
    let db = engine.run(idle("db")).unwrap();
    let spec = idle("web")
        .option("--health-cmd", "! ls /tmp/sick")
        .option("--health-interval", "1s")
        .option("--health-retries", "2");
    let web = engine.run(spec).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let words = [web.name(), "--keep", "30s", "--after", "0", "--on", "unhealthy", "--", "udp"];
    let mut ours = record(directory.path(), &words);
    send(&db, &web, 50, "");
    until("it is well", LIMIT, || web.inspect("{{.State.Health.Status}}").unwrap() == "healthy");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "it was well until now");
    web.exec(["mkdir", "/tmp/sick"]).run().unwrap();
    let file = recorded(&mut ours, web.name(), "unhealthy: ");
    assert_eq!(Records::read(&file).unwrap().numbers(1).len(), 50);
    judge::all(&file, true).unwrap();
    signal(ours.pid(), "INT");
    assert_ended(&ours.wait().unwrap(), 0, &["1 file, the last: "]);
}

/// What was before says nothing of a container's end: it has its file, however short the time.
#[test]
fn a_death_is_written_in_the_cooldown_of_something_else() {
    let engine = Engine::shared().unwrap();
    let db = engine.run(idle("db")).unwrap();
    let web = engine.run(idle("web")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let words = [web.name(), "--keep", "30s", "--after", "0", "--cooldown", "60s"];
    let on = ["--on", "match:udp port 9", "--on", "die", "--", "udp"];
    let mut ours = record(directory.path(), &words.iter().chain(&on).copied().collect::<Vec<_>>());
    send(&db, &web, 50, "");
    let first = recorded(&mut ours, web.name(), "match (udp port 9): ");
    web.kill().unwrap();
    let file = recorded(&mut ours, web.name(), "die (exit code 137): ");
    assert_ne!(first, file);
    assert_eq!(Records::read(&file).unwrap().numbers(1).len(), 50);
    signal(ours.pid(), "INT");
    let finished = ours.wait().unwrap();
    assert_ended(&finished, 0, &["2 files, the last: "]);
}

/// What the kernel sends in the name of a process as it is killed comes before its end is told: a
/// reset where something was not read yet, otherwise a FIN.
#[test]
fn the_last_word_of_one_that_was_killed_is_in_its_file() {
    let engine = Engine::shared().unwrap();
    let db = engine.run(idle("db")).unwrap();
    let sink = ContainerSpec::new("web").traffic("tcp-sink --listen 0.0.0.0:9 --seconds 600");
    let web = engine.run(sink).unwrap();
    let listens = || {
        let sockets = web.exec(["cat", "/proc/net/tcp"]).run().unwrap().stdout_text();
        sockets.contains(":0009 00000000:0000 0A")
    };
    until("it listens", LIMIT, listens);
    let directory = tempfile::tempdir().unwrap();
    let words = [web.name(), "--keep", "30s", "--after", "0", "--on", "die", "--", "tcp"];
    let mut ours = record(directory.path(), &words);
    let address = web.address().unwrap();
    let line = format!("tcp-send --to {address}:9 --size 1000 --rate 100000 --seconds 60");
    let program = Program::new(lab::traffic::program().unwrap());
    let program = program.args(line.split_whitespace()).limit(3 * LIMIT);
    let sender = db.enter(program).unwrap().start().unwrap();
    wait_for(&mut ours, 100);
    web.kill().unwrap();
    let file = recorded(&mut ours, web.name(), "die (exit code 137): ");
    sender.kill();
    let ends = format!("src host {address} and tcp[tcpflags] & (tcp-rst | tcp-fin) != 0");
    let told = Program::new("tcpdump").args(["-n", "-r"]).arg(&file).arg(ends).run().unwrap();
    let told = told.stdout_text();
    assert!(told.contains("Flags [R") || told.contains("Flags [F"), "{told:?}");
    signal(ours.pid(), "INT");
    assert_ended(&ours.wait().unwrap(), 0, &["1 file, the last: "]);
}
