//! What can be captured, with real engines and played ones.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use lab::{ContainerSpec, Engine, Net, PlayedContainer, PlayedEngine, Program};

const LIMIT: Duration = Duration::from_secs(10);

fn words(socket: &Path, words: &[&str]) -> Vec<String> {
    [env!("CARGO_BIN_EXE_whaletap-session-command"), "ls", socket.to_str().unwrap()]
        .iter()
        .chain(words)
        .map(ToString::to_string)
        .collect()
}

fn ls(socket: &Path, options: &[&str]) -> Program {
    let words = words(socket, options);
    Program::new(&words[0]).args(&words[1..])
}

fn ls_without_rights(socket: &Path, options: &[&str]) -> Program {
    Program::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
        .args(words(socket, options))
}

fn shared_socket() -> String {
    Engine::endpoint().strip_prefix("unix://").unwrap().to_owned()
}

/// A line of the command: see there.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: String,
    state: String,
    netns: Option<u64>,
    interfaces: String,
    problem: String,
}

fn rows(program: Program) -> Vec<Row> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, state, netns, interfaces, problem] = fields.try_into().unwrap();
        let netns = netns.parse().ok();
        let [name, state, interfaces, problem] = [name, state, interfaces, problem].map(Into::into);
        Row { name, state, netns, interfaces, problem }
    };
    program.run().unwrap().stdout_text().lines().map(read).collect()
}

fn netns_of(pid: u32) -> u64 {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let text = link.to_str().unwrap().strip_prefix("net:[").unwrap();
    text.strip_suffix(']').unwrap().parse().unwrap()
}

#[test]
fn containers_are_listed_with_their_namespaces_and_interfaces() {
    let engine = Engine::shared().unwrap();
    let socket = shared_socket();
    let ls = |options: &[&str]| rows(ls(Path::new(&socket), options));
    let web = engine.run(ContainerSpec::new("ls-web").label("ls", "yes")).unwrap();
    let old = engine.run(ContainerSpec::new("ls-old").label("ls", "yes")).unwrap();
    old.kill().unwrap();

    let [seen] = ls(&["-i", web.name()]).try_into().unwrap();
    assert_eq!((seen.name.as_str(), seen.state.as_str()), (web.name(), "running"));
    assert_eq!(seen.netns, Some(netns_of(web.pid().unwrap())));
    assert!(seen.interfaces.starts_with("lo[127.0.0.1/8"), "{seen:?}");
    let address = format!(" eth0[{}/", web.address().unwrap());
    assert!(seen.interfaces.contains(&address), "{seen:?}");
    assert_eq!(seen.problem, "");
    let [seen] = ls(&[web.name()]).try_into().unwrap();
    assert_eq!((seen.netns.is_some(), seen.interfaces.as_str()), (true, ""));

    let [seen] = ls(&["-i", old.name()]).try_into().unwrap();
    assert_eq!((seen.state.as_str(), seen.netns), ("exited", None));
    assert_eq!((seen.interfaces.as_str(), seen.problem.as_str()), ("", ""));

    let names =
        |options: &[&str]| -> Vec<String> { ls(options).into_iter().map(|row| row.name).collect() };
    let (web, old) = (web.name().to_owned(), old.name().to_owned());
    assert_eq!(names(&["label:ls=yes"]), [web.as_str()]);
    assert_eq!(names(&["-a", "label:ls=yes"]), [web.as_str(), old.as_str()]);
    assert_eq!(names(&["label:ls=yes", &old]), [web.as_str(), old.as_str()]);
    assert_eq!(names(&["label:ls=yes", &format!("!{web}"), "host"]), ["host"]);
    let everything = names(&[]);
    assert!(everything.contains(&web) && !everything.contains(&old), "{everything:?}");
    let everything = names(&["-a"]);
    assert!(everything.contains(&web) && everything.contains(&old), "{everything:?}");
    assert!(!names(&["-a", &format!("!{web}")]).contains(&web));
}

#[test]
fn a_misspelt_name_is_told_with_the_nearest() {
    let containers = vec![PlayedContainer::running("frontend", 1, 1)];
    let engine = PlayedEngine::with(containers, |_| {}).unwrap();
    let finished = ls(&engine.socket(), &["frontent"]).finish().unwrap();
    assert!(!finished.status.success());
    assert!(finished.stderr.contains("NoSuchTarget"), "{finished:?}");
    assert!(finished.stderr.contains("did you mean `frontend`?"), "{finished:?}");
}

#[test]
fn an_engine_without_containers_is_an_empty_list() {
    let engine = PlayedEngine::with(Vec::new(), |_| {}).unwrap();
    assert_eq!(rows(ls(&engine.socket(), &[])), []);
    assert_eq!(rows(ls(&engine.socket(), &["-a", "-i", "!web"])), []);
}

#[test]
fn namespaces_and_processes_need_no_engine() {
    let (_net, a, _b) = Net::pair().unwrap();
    let process = Program::new("sleep").arg("60").inside(&a).start().unwrap();
    // It is nsenter until it has entered and become the other.
    let comm = format!("/proc/{}/comm", process.pid());
    let begun = Instant::now();
    while fs::read_to_string(&comm).unwrap().trim() != "sleep" {
        assert!(begun.elapsed() < LIMIT);
        thread::yield_now();
    }
    let selectors =
        [format!("netns:{}", a.path().display()), format!("pid:{}", process.pid()), "host".into()];
    let options: Vec<&str> = ["-i"].into_iter().chain(selectors.iter().map(|s| &**s)).collect();
    let nobody = Path::new("/nonexistent/docker.sock");
    let [netns, pid, host] = rows(ls(nobody, &options)).try_into().unwrap();
    let inode = a.id().unwrap().1;
    assert_eq!((netns.name.as_str(), netns.netns), (a.name(), Some(inode)));
    assert!(netns.interfaces.contains("eth0["), "{netns:?}");
    assert_eq!((pid.name, pid.netns), (format!("sleep.{}", process.pid()), Some(inode)));
    assert_eq!(pid.interfaces, netns.interfaces);
    assert_eq!(host.netns, Some(netns_of(std::process::id())));

    let absent = rows(ls(nobody, &["netns:/nonexistent/netns", "host"]));
    assert!(absent[0].problem.contains("No such file"), "{absent:?}");
    assert_eq!((absent[0].netns, absent.len()), (None, 2), "the others are listed");
}

#[test]
fn without_rights_there_is_a_list_and_a_reason() {
    let engine = Engine::shared().unwrap();
    let socket = shared_socket();
    let web = engine.run(ContainerSpec::new("ls-rights")).unwrap();
    let ls = |options: &[&str]| rows(ls_without_rights(Path::new(&socket), options));
    let [plain] = ls(&[web.name()]).try_into().unwrap();
    assert_eq!((plain.name.as_str(), plain.state.as_str()), (web.name(), "running"));
    assert_eq!((plain.netns, plain.problem.as_str()), (None, ""));
    let [host, asked] = ls(&["-i", web.name(), "host"]).try_into().unwrap();
    for word in ["not permitted", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"] {
        assert!(asked.problem.contains(word), "{asked:?}");
    }
    assert!(host.interfaces.starts_with("lo["), "one's own takes none: {host:?}");
}

#[test]
fn what_runs_elsewhere_is_not_looked_at() {
    let (_net, a, _b) = Net::pair().unwrap();
    let stranger = Program::new("sleep").arg("60").inside(&a).start().unwrap();
    let containers = vec![PlayedContainer::running("web", 7, stranger.pid())];
    let engine = PlayedEngine::with(containers, |_| {}).unwrap();
    let [plain] = rows(ls(&engine.socket(), &[])).try_into().unwrap();
    assert_eq!((plain.netns, plain.problem.as_str()), (None, ""));
    let [asked] = rows(ls(&engine.socket(), &["-i"])).try_into().unwrap();
    assert_eq!((asked.netns, asked.interfaces.as_str()), (None, ""));
    assert!(asked.problem.contains("does not belong to container"), "{asked:?}");
}

#[test]
fn three_hundred_containers_are_asked_about_side_by_side_but_not_all_at_once() {
    const COUNT: u32 = 300;
    const EACH: Duration = Duration::from_millis(4);
    let (now, most, total) = <(AtomicUsize, AtomicUsize, AtomicUsize)>::default();
    let counts = Arc::new((now, most, total));
    let counted = Arc::clone(&counts);
    let containers = (0..COUNT).map(|n| PlayedContainer::running(&format!("c{n}"), n, 1)).collect();
    let engine = PlayedEngine::with(containers, move |path| {
        if path.ends_with("/json") && !path.contains("/containers/json") {
            let (now, most, total) = &*counted;
            total.fetch_add(1, Ordering::SeqCst);
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // An engine of flesh and blood takes its time.
            thread::sleep(EACH);
            now.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .unwrap();
    let begun = Instant::now();
    let rows = rows(ls(&engine.socket(), &[]));
    let took = begun.elapsed();
    let (_, most, total) = &*counts;
    let (most, total) = (most.load(Ordering::SeqCst), total.load(Ordering::SeqCst));
    let names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
    assert_eq!(names, (0..COUNT).map(|n| format!("c{n}")).collect::<Vec<_>>());
    assert_eq!(total, 300, "each is asked about once");
    assert!((2..=8).contains(&most), "{most} at once");
    assert!(took < EACH * COUNT, "{took:?}: no quicker than one by one");
}

#[test]
fn an_engine_that_hangs_is_told_in_time() {
    let engine = PlayedEngine::answering(|_| None).unwrap();
    let begun = Instant::now();
    let finished = ls(&engine.socket(), &[]).finish().unwrap();
    assert!(!finished.status.success());
    assert!(finished.stderr.contains("Timeout"), "{finished:?}");
    assert!(begun.elapsed() < LIMIT * 2, "{:?}", begun.elapsed());
}

/// The engine's words are read by a process that can do nothing.
#[test]
fn rights_are_given_up_before_the_engine_is_asked() {
    let (tell, told) = mpsc::channel::<u32>();
    let (report, reported) = mpsc::channel::<Vec<String>>();
    let (told, report) = (Mutex::new(told), Mutex::new(report));
    let engine = PlayedEngine::with(Vec::new(), move |path| {
        if path.contains("/containers/json") {
            let pid = told.lock().unwrap().recv_timeout(LIMIT).unwrap();
            report.lock().unwrap().send(rights_of_threads(pid)).unwrap();
        }
    })
    .unwrap();
    let running = ls(&engine.socket(), &[]).start().unwrap();
    tell.send(running.pid()).unwrap();
    let rights = reported.recv_timeout(LIMIT).unwrap();
    running.wait().unwrap().success().unwrap();
    assert!(!rights.is_empty());
    for line in rights {
        let (name, value) = line.split_once(":\t").unwrap();
        let expected = if name == "NoNewPrivs" { "1" } else { "0000000000000000" };
        assert_eq!(value, expected, "{name}");
    }
}

fn rights_of_threads(pid: u32) -> Vec<String> {
    let mut lines = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        // The thread that dialled may have ended by now.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        let of_rights = ["CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs"];
        let is_of_rights = |line: &&str| of_rights.iter().any(|name| line.starts_with(name));
        lines.extend(status.lines().filter(is_of_rights).map(str::to_owned));
    }
    lines
}
