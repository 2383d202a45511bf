//! A rootless engine's owner, without sudo, without a group, and without a helper container: podman's
//! and docker's. Nobody names the engine: the usual one is not this user's, and their own is found.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lab::{Container, ContainerSpec, Engine, Finished, Program, Records, Rootless, Running, judge};

use crate::{
    follow::{name, neighbour},
    member::owner,
    processes::{child_called, children, marked, of_threads},
    tap::{FILE, LIMIT, assert_ended, count, idle, mode, send, signal, unique, until, whaletap_at},
};

/// No capability.
const NONE: &str = "0000000000000000";

/// Who has a rootless engine, and nothing else.
struct Owner {
    engine: Rootless,
    command: PathBuf,
    out: PathBuf,
}

impl Owner {
    fn of(engine: Rootless) -> Self {
        let command = engine.directory("bin").unwrap().join("whaletap");
        // Not every directory on the way to the one that cargo built in is everybody's.
        fs::copy(env!("CARGO_BIN_EXE_whaletap"), &command).unwrap();
        let out = engine.directory("out").unwrap();
        Self { engine, command, out }
    }

    fn engine(&self) -> &Engine {
        self.engine.engine()
    }

    /// `whaletap WORDS…`, typed by them.
    fn whaletap(&self, words: &[&str]) -> Program {
        let program = self.engine.as_user(&self.command).args(words).current_dir(&self.out);
        program.env("TMPDIR", &self.out).env_remove("WHALETAP_AGENT")
    }

    /// A capture that has begun.
    #[track_caller]
    fn capture(&self, mark: &str, words: &[&str]) -> Running {
        let words = [&["capture", "-v", "-w", FILE], words].concat();
        let mut running =
            self.whaletap(&words).env("WHALETAP_TEST_MARK", mark).limit(3 * LIMIT).start().unwrap();
        running.wait_for_line("capturing ", LIMIT).unwrap();
        running
    }

    fn file(&self) -> PathBuf {
        self.out.join(FILE)
    }

    /// Nothing of it is left: no process, no file but the one that was asked for, and no container that
    /// is not known.
    #[track_caller]
    fn assert_gone(&self, mark: &str, known: usize) {
        let mark = format!("WHALETAP_TEST_MARK={mark}");
        until("no process is left", LIMIT, || marked(&mark).is_empty());
        let names = fs::read_dir(&self.out).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.filter(|name| name != FILE).collect();
        assert!(names.is_empty(), "{names:?}");
        let listed = self.engine().docker().args(["ps", "--all", "--quiet"]).run().unwrap();
        assert_eq!(listed.stdout_text().lines().count(), known, "{}", listed.stdout_text());
    }
}

fn pair(engine: &Engine) -> [Container; 2] {
    ["web", "db"].map(|name| engine.run(idle(name)).unwrap())
}

/// Every thread has this in its status; where a namespace is being entered there are several.
#[track_caller]
fn assert_each(pid: u32, field: &str, expected: &str) {
    let values = of_threads(pid, field);
    assert!(
        !values.is_empty() && values.iter().all(|value| value == expected),
        "{field} {values:?}"
    );
}

/// A tcpdump in a container's namespace, made by root: it ends when it has seen this many of ours.
#[track_caller]
fn judge_in(web: &Container, file: &Path, frames: u32) -> Running {
    let tcpdump = Program::new("tcpdump")
        .args(["-i", "eth0", "-n", "-Z", "root", "--time-stamp-precision=nano"])
        .args(["-c", &frames.to_string(), "-w"])
        .arg(file)
        .args(["udp", "port", "9"])
        .limit(3 * LIMIT);
    let mut tcpdump = web.enter(tcpdump).unwrap().start().unwrap();
    tcpdump.wait_for_line("listening on", LIMIT).unwrap();
    tcpdump
}

/// A capture by name, beside a tcpdump, with no right but to be the engine's owner.
#[track_caller]
fn captures_by_name(owner_of: &Owner) {
    let engine = owner_of.engine();
    let [web, db] = pair(engine);
    let (mark, judge_file) = (unique("owner"), tempfile::NamedTempFile::new().unwrap());
    let running = owner_of.capture(&mark, &[web.name(), "--", "udp", "port", "9"]);
    let pid = running.pid();
    let tcpdump = judge_in(&web, judge_file.path(), 500);
    send(&db, &web, 500, "--run 9 --rate 5000");
    has_the_rights_that_are_documented(owner_of, pid);
    signal(pid, "INT");
    let finished = running.wait().unwrap();
    assert_ended(&finished, 0, &["500 packets captured", "ended: stopped", "a rootless one"]);
    assert!(!finished.stderr.contains("helper"), "{}", finished.stderr);
    // All of it is gone already when the command has ended.
    owner_of.assert_gone(&mark, 2);
    assert_eq!(owner(&owner_of.file()), (owner_of.engine.user(), 0o600));
    assert_eq!(count(&finished.stderr, "dropped by kernel"), 0);
    judge::all(owner_of.file(), true).unwrap();
    let theirs = tcpdump.wait().unwrap();
    assert_eq!(theirs.code(), Some(0), "{theirs:?}");
    let ours = Records::read(owner_of.file()).unwrap();
    let theirs = Records::read(judge_file.path()).unwrap();
    assert_eq!(ours.of(&name(&web)).numbers(9), (0..500).collect::<Vec<_>>());
    // Incoming frames have one stamp, whoever looks.
    if let Err(difference) = ours.same_as(&theirs, 0) {
        panic!("{difference}");
    }
}

/// The main process has no capability anywhere, the opener has them among the engine's users alone.
#[track_caller]
fn has_the_rights_that_are_documented(owner_of: &Owner, pid: u32) {
    for field in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_each(pid, field, NONE);
    }
    assert_each(pid, "NoNewPrivs", "1");
    let opener = child_called(pid, "whaletap-opener");
    assert_eq!(children(pid), [opener]);
    // CAP_NET_RAW, CAP_SYS_PTRACE and CAP_SYS_ADMIN: capabilities(7) has the numbers.
    let kept = format!("{:016x}", 1_u64 << 13 | 1 << 19 | 1 << 21);
    for field in ["CapEff", "CapPrm", "CapBnd"] {
        assert_each(opener, field, &kept);
    }
    assert_each(opener, "NoNewPrivs", "1");
    for process in [pid, opener] {
        let user = owner_of.engine.user();
        assert_each(process, "Uid", &[user; 4].map(|uid| uid.to_string()).join("\t"));
        assert_each(process, "Groups", "");
    }
    let users = |pid| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(users(pid), users(std::process::id()));
    assert_ne!(users(opener), users(pid));
}

/// A container whose first instruction asks the neighbour, and that stays: one that is over at once may
/// be gone before its interfaces have been asked for, on a machine that has much to do.
fn early(db: &Container, run: u32) -> ContainerSpec {
    let address = db.address().unwrap();
    let ask = format!("whaletap-traffic udp-ping --to {address}:7 --count 1 --run {run}");
    let words = ["sh", "-c", &format!("{ask}; exec sleep 600")].map(str::to_owned);
    ContainerSpec::new(&format!("early-{run}")).command(words)
}

/// What starts later is captured from its first packet, and what starts again goes on.
#[track_caller]
fn follows(owner_of: &Owner) {
    let engine = owner_of.engine();
    let db = neighbour(engine);
    let web = engine.run(idle("web")).unwrap();
    let mark = unique("follows");
    let mut running = owner_of.capture(&mark, &[web.name(), "wt-*-early-*", "--wait", "--", "udp"]);
    let early = [1, 2, 3].map(|run| engine.run(early(&db, run)).unwrap());
    web.order("restart").unwrap();
    for container in early.iter().chain([&web]) {
        running.wait_for_line(&format!("{}: captured", container.name()), LIMIT).unwrap();
    }
    send(&db, &web, 10, "--run 9");
    let finished = running.interrupt().unwrap();
    assert_ended(&finished, 0, &["ended: stopped"]);
    owner_of.assert_gone(&mark, 5);
    let records = Records::read(owner_of.file()).unwrap();
    for (run, container) in (1..).zip(&early) {
        // The question and the answer.
        let numbers = records.of(&name(container)).numbers(run);
        assert_eq!(numbers, [0, 0], "{}: {}", container.name(), finished.stderr);
    }
    let numbers = records.of(&name(&web)).numbers(9);
    assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "{}", finished.stderr);
    judge::all(owner_of.file(), true).unwrap();
}

/// Killed, it leaves nothing that would have to be removed.
#[track_caller]
fn sigkill_leaves_nothing(owner_of: &Owner) {
    let web = owner_of.engine().run(idle("web")).unwrap();
    let mark = unique("killed");
    let running = owner_of.capture(&mark, &[web.name()]);
    let netns = fs::read_link(format!("/proc/{}/ns/net", web.pid().unwrap())).unwrap();
    running.kill();
    owner_of.assert_gone(&mark, 1);
    web.kill().unwrap();
    let holds =
        |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|it| it == netns);
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let held = entries.filter(|entry| entry.file_name().to_str().is_some_and(holds)).count();
    assert_eq!(held, 0, "somebody is in its namespace");
}

/// The other commands.
#[track_caller]
fn looks_and_runs(owner_of: &Owner) {
    let engine = owner_of.engine();
    let [web, none] =
        [idle("web"), idle("none").network_mode("none")].map(|it| engine.run(it).unwrap());
    let run = |words: &[&str]| owner_of.whaletap(words).finish().unwrap();
    let text = |finished: &Finished| {
        assert_ended(finished, 0, &[]);
        finished.stdout_text()
    };
    let listed = text(&run(&["ls", "--interfaces", "--format", "json"]));
    let line = |container: &Container| {
        let wanted = format!("\"{}\"", container.name());
        listed.lines().find(|line| line.contains(&wanted)).unwrap_or_default().to_owned()
    };
    assert!(line(&web).contains("\"eth0\""), "{listed}");
    assert!(line(&none).contains("\"lo\"") && !line(&none).contains("\"eth0\""), "{listed}");
    let inside = text(&run(&["exec", web.name(), "--", "ip", "-brief", "address"]));
    assert!(inside.contains(&web.address().unwrap().to_string()), "{inside}");
    // Its own files, too.
    let hosts = text(&run(&["exec", web.name(), "--", "cat", "/etc/hosts"]));
    assert!(hosts.contains(&web.id()[..12]) || hosts.contains(web.name()), "{hosts}");
    let failed = run(&["exec", web.name(), "--", "sh", "-c", "exit 7"]);
    assert_ended(&failed, 7, &[]);
}

/// A recorder writes what it holds when a container ends.
#[track_caller]
fn records_an_end(owner_of: &Owner) {
    let [web, db] = pair(owner_of.engine());
    let words = ["record", web.name(), "--on", "die", "--after", "0s", "--", "udp", "port", "9"];
    let mut running = owner_of.whaletap(&words).limit(3 * LIMIT).start().unwrap();
    running.wait_for_line("recording ", LIMIT).unwrap();
    send(&db, &web, 10, "--run 9");
    web.kill().unwrap();
    let written = || {
        let entries = fs::read_dir(&owner_of.out).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| path.extension().is_some_and(|it| it == "pcapng")).collect::<Vec<_>>()
    };
    let is_whole = || {
        let numbers = |path: &PathBuf| Records::read(path).map(|records| records.numbers(9).len());
        written().iter().any(|path| numbers(path).is_ok_and(|count| count == 10))
    };
    until("the file of its end is there", LIMIT, is_whole);
    assert_ended(&running.interrupt().unwrap(), 0, &[]);
    judge::all(&written()[0], true).unwrap();
}

/// An engine that was there, and is not any more.
#[track_caller]
fn is_missed_when_it_does_not_run(mut owner_of: Owner) {
    owner_of.engine.kill();
    let host = owner_of.engine().host().to_owned();
    let refused = owner_of.whaletap(&["--host", &host, "ls"]).finish().unwrap();
    assert_ended(&refused, 6, &[&host, "hint: "]);
    let refused = owner_of.whaletap(&["--host", &host, "capture", "web", "-w", FILE]);
    assert_ended(&refused.finish().unwrap(), 4, &["missing CAP_NET_RAW, CAP_SYS_ADMIN", &host]);
}

/// What is not the engine's is not entered, and it is said why.
#[track_caller]
fn refuses_what_is_not_the_engines(owner_of: &Owner) {
    let run = |words: &[&str]| owner_of.whaletap(words).finish().unwrap();
    for words in [&["capture", "host"][..], &["capture", "--via", "host", "host"]] {
        let refused = run(&[words, &["-w", FILE]].concat());
        assert_ended(&refused, 4, &["host: not permitted", "entering it takes root"]);
    }
    let refused = run(&["exec", "pid:1", "--", "true"]);
    assert_ended(&refused, 4, &["not permitted"]);
}

/// Somebody who may connect, and is neither the owner nor root.
#[track_caller]
fn refuses_who_is_not_its_owner(owner_of: &Owner) {
    let socket = owner_of.engine.socket();
    let web = owner_of.engine().run(idle("web")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("lent.sock");
    // A way around the directory that is its owner's alone.
    Program::new("ln").arg(&socket).arg(&elsewhere).run().unwrap();
    for path in [directory.path(), &elsewhere] {
        Program::new("chmod").arg("a+rwx").arg(path).run().unwrap();
    }
    let stranger = owner_of.engine.user() + 1;
    let refused = Program::new("setpriv")
        .args([format!("--reuid={stranger}"), format!("--regid={stranger}")])
        .args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"])
        .arg(&owner_of.command)
        .args(["--host", &format!("unix://{}", elsewhere.display())])
        .args(["capture", web.name(), "-w", "/dev/null"])
        .current_dir("/")
        .finish()
        .unwrap();
    let owner = format!("is a rootless engine of uid {}", owner_of.engine.user());
    assert_ended(&refused, 4, &[&owner]);
}

/// Root needs nothing of all that.
#[track_caller]
fn root_captures_as_well(owner_of: &Owner) {
    let [web, db] = pair(owner_of.engine());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    let words = ["capture", web.name(), "-w", file.to_str().unwrap(), "--", "udp", "port", "9"];
    let mut running = whaletap_at(owner_of.engine().host(), &words).start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    let opener = child_called(running.pid(), "whaletap-opener");
    // CAP_DAC_OVERRIDE, beside the usual: the engine's directory is its owner's alone.
    assert_each(opener, "CapEff", &format!("{:016x}", 1_u64 << 1 | 1 << 13 | 1 << 19 | 1 << 21));
    send(&db, &web, 20, "--run 9");
    assert_ended(&running.interrupt().unwrap(), 0, &["20 packets captured"]);
    assert_eq!(Records::read(&file).unwrap().of(&name(&web)).numbers(9).len(), 20);
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn the_owner_of_a_rootless_podman_captures_without_any_right() {
    let owner_of = Owner::of(Rootless::podman().unwrap());
    captures_by_name(&owner_of);
    sigkill_leaves_nothing(&owner_of);
}

#[test]
fn a_rootless_podman_is_followed_also_when_it_starts_anew() {
    let mut owner_of = Owner::of(Rootless::podman().unwrap());
    follows(&owner_of);
    let db = neighbour(owner_of.engine());
    let mark = unique("anew");
    let mut running = owner_of.capture(&mark, &["wt-*-early-*", "--wait", "--", "udp"]);
    owner_of.engine.kill();
    running.wait_for_line("captures go on", LIMIT).unwrap();
    owner_of.engine.start().unwrap();
    running.wait_for_line("answers again", LIMIT).unwrap();
    let early = owner_of.engine().run(early(&db, 4)).unwrap();
    running.wait_for_line(&format!("{}: captured", early.name()), LIMIT).unwrap();
    assert_ended(&running.interrupt().unwrap(), 0, &["ended: stopped"]);
    let records = Records::read(owner_of.file()).unwrap();
    assert_eq!(records.of(&name(&early)).numbers(4), [0, 0]);
}

#[test]
fn what_a_rootless_podman_runs_is_its_owners_and_roots() {
    let owner_of = Owner::of(Rootless::podman().unwrap());
    looks_and_runs(&owner_of);
    records_an_end(&owner_of);
    refuses_what_is_not_the_engines(&owner_of);
    refuses_who_is_not_its_owner(&owner_of);
    root_captures_as_well(&owner_of);
    is_missed_when_it_does_not_run(owner_of);
}

/// The one who listens is not the engine, and has none of its namespaces: they are made when whaletap
/// connects.
#[test]
fn a_podman_that_is_started_by_being_connected_to_is_its_owners_as_well() {
    let owner_of = Owner::of(Rootless::podman_by_activation().unwrap());
    let mark = unique("activated");
    let mut running = owner_of.capture(&mark, &["wt-*-web", "--wait", "--", "udp", "port", "9"]);
    let [web, db] = pair(owner_of.engine());
    running.wait_for_line(&format!("{}: captured", web.name()), LIMIT).unwrap();
    send(&db, &web, 10, "--run 9");
    assert_ended(&running.interrupt().unwrap(), 0, &["10 packets captured", "a rootless one"]);
    owner_of.assert_gone(&mark, 2);
}

#[test]
fn the_owner_of_a_rootless_docker_captures_without_any_right() {
    let owner_of = Owner::of(Rootless::docker().unwrap());
    captures_by_name(&owner_of);
    follows(&owner_of);
    sigkill_leaves_nothing(&owner_of);
}

#[test]
fn what_a_rootless_docker_runs_is_its_owners_and_roots() {
    let owner_of = Owner::of(Rootless::docker().unwrap());
    looks_and_runs(&owner_of);
    records_an_end(&owner_of);
    refuses_what_is_not_the_engines(&owner_of);
    refuses_who_is_not_its_owner(&owner_of);
    root_captures_as_well(&owner_of);
    is_missed_when_it_does_not_run(owner_of);
}
