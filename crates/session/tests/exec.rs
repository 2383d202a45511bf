//! A program of this host inside a target, with a real engine and real namespaces.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use lab::{ContainerSpec, Engine, Finished, Net, PlayedContainer, PlayedEngine, Program};

const LIMIT: Duration = Duration::from_secs(10);

/// Of [`Error::Exec`](whaletap_session::Error::Exec), and of every other error.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
const OWN_FAILURE: i32 = 125;

/// What is to become `command`, inside what `selector` takes of the shared engine.
fn words(selector: &str, command: &[&str]) -> Vec<String> {
    let host = Engine::endpoint();
    let socket = host.strip_prefix("unix://").unwrap();
    [env!("CARGO_BIN_EXE_whaletap-session-command"), "exec", socket, selector]
        .iter()
        .chain(command)
        .map(ToString::to_string)
        .collect()
}

fn exec(selector: &str, command: &[&str]) -> Program {
    let words = words(selector, command);
    Program::new(&words[0]).args(&words[1..])
}

/// The same without a capability, under the same user.
fn exec_without_rights(selector: &str, command: &[&str]) -> Program {
    Program::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
        .args(words(selector, command))
}

fn output(program: Program) -> String {
    program.run().unwrap().stdout_text()
}

/// Ended with this code, and said these words.
fn assert_failed(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code(), Some(code), "{finished:?}");
    assert!(words.iter().all(|word| finished.stderr.contains(word)), "{words:?} in {finished:?}");
}

#[test]
fn a_program_sees_the_containers_network_and_no_other() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(ContainerSpec::new("web")).unwrap();
    let addresses = output(exec(web.name(), &["ip", "-brief", "address"]));
    assert!(addresses.contains(&web.address().unwrap().to_string()), "{addresses}");
    let inside = web.enter(Program::new("ip").args(["-brief", "address"])).unwrap();
    assert_eq!(addresses, output(inside));
    assert_ne!(addresses, output(Program::new("ip").args(["-brief", "address"])));
    let by_id = exec(&web.id()[..12], &["readlink", "/proc/self/ns/net"]);
    let netns = fs::read_link(format!("/proc/{}/ns/net", web.pid().unwrap())).unwrap();
    assert_eq!(output(by_id).trim(), netns.to_str().unwrap());
}

#[test]
fn streams_and_the_exit_code_are_the_programs() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(ContainerSpec::new("streams")).unwrap();
    let asked = "x".repeat(200_000);
    let finished = exec(web.name(), &["sh", "-c", "cat; echo said >&2; exit 7"])
        .input(asked.clone())
        .finish()
        .unwrap();
    assert_eq!((finished.code(), finished.stderr.as_str()), (Some(7), "said\n"));
    assert!(finished.stdout == asked.as_bytes());
    // A closed pipe ends it as it ends it elsewhere, and no message of ours comes between.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let yes = exec(web.name(), &["yes"]).stdout_to(writer).finish().unwrap();
    assert_eq!(yes.status.signal(), Some(13), "{yes:?}");
}

#[test]
fn the_process_itself_becomes_the_program_so_signals_reach_it() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(ContainerSpec::new("signals")).unwrap();
    let mut sleep = exec(web.name(), &["sh", "-c", "echo $$; exec sleep 60"]).start().unwrap();
    let pid = sleep.wait_for_stdout("", LIMIT).unwrap();
    assert_eq!(pid, sleep.pid().to_string());
    assert_eq!(sleep.interrupt().unwrap().status.signal(), Some(2));

    let trap = "trap 'exit 9' TERM; echo ready; while :; do read x; done";
    let mut held = exec(web.name(), &["sh", "-c", trap]).stdin_held().start().unwrap();
    held.wait_for_stdout("ready", LIMIT).unwrap();
    Program::new("kill").args(["-TERM", &held.pid().to_string()]).run().unwrap();
    assert_eq!(held.wait().unwrap().code(), Some(9));
}

#[test]
fn user_capabilities_directory_environment_and_descriptors_are_the_callers() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(ContainerSpec::new("caller")).unwrap();
    let show = "pwd; echo $WHALETAP_WORD; ls /proc/self/fd; \
                grep -E 'Uid|Gid|Groups|Cap|NoNewPrivs|SigBlk' /proc/self/status";
    let in_place = |program: Program| {
        output(program.current_dir("/usr/share").env("WHALETAP_WORD", "handed down"))
    };
    let outside = in_place(Program::new("sh").args(["-c", show]));
    assert!(outside.starts_with("/usr/share\nhanded down\n"), "{outside}");
    assert_eq!(in_place(exec(web.name(), &["sh", "-c", show])), outside);
}

#[test]
fn the_containers_own_files_are_in_place_and_the_hosts_untouched() {
    let engine = Engine::shared().unwrap();
    let spec = ContainerSpec::new("files")
        .option("--dns", "10.9.8.7")
        .option("--add-host", "db.whaletap.test:10.1.2.3");
    let web = engine.run(spec).unwrap();
    let files = ["/etc/resolv.conf", "/etc/hosts"];
    let host = files.map(|file| fs::read(file).unwrap());
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();

    let show = "cat /etc/resolv.conf /etc/hosts; echo; echo shown; \
                echo scribbled >>/etc/hosts; echo; read x; cat /etc/hosts";
    let mut held = exec(web.name(), &["sh", "-c", show]).stdin_held().start().unwrap();
    held.wait_for_stdout("shown", LIMIT).unwrap();
    let text = String::from_utf8(held.stdout()).unwrap();
    let own = output(web.exec(["cat", "/etc/resolv.conf", "/etc/hosts"]));
    assert!(own.contains("nameserver 10.9.8.7") && own.contains("10.1.2.3"), "{own}");
    assert_eq!(text.split("\nshown").next().unwrap(), own);
    assert_eq!(files.map(|file| fs::read(file).unwrap()), host, "while it runs");
    assert!(!mounts().contains("/file /etc/"), "{}", mounts());
    held.write_stdin(b"\n").unwrap();
    assert!(held.wait().unwrap().stdout_text().contains("scribbled"), "the copy can be changed");

    assert_eq!(files.map(|file| fs::read(file).unwrap()), host, "afterwards");
    let still = output(web.exec(["cat", "/etc/resolv.conf", "/etc/hosts"]));
    assert_eq!(still, own, "what was written went to a copy");
    let named = output(exec(web.name(), &["getent", "hosts", "db.whaletap.test"]));
    assert!(named.starts_with("10.1.2.3"), "{named}");
}

#[test]
fn programs_that_cannot_be_started_have_dockers_codes() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(ContainerSpec::new("codes")).unwrap();
    let absent = exec(web.name(), &["whaletap-no-such-program"]).finish().unwrap();
    assert_failed(&absent, NOT_FOUND, &["cannot run whaletap-no-such-program"]);
    let plain = exec(web.name(), &["/etc/passwd"]).finish().unwrap();
    assert_failed(&plain, NOT_EXECUTABLE, &["cannot run /etc/passwd"]);
    let directory = exec(web.name(), &["/etc"]).finish().unwrap();
    assert_failed(&directory, NOT_EXECUTABLE, &["cannot run /etc"]);
}

#[test]
fn one_running_target_is_needed() {
    let engine = Engine::shared().unwrap();
    let one = engine.run(ContainerSpec::new("several-one").label("exec", "several")).unwrap();
    let two = engine.run(ContainerSpec::new("several-two").label("exec", "several")).unwrap();
    let both = exec("label:exec=several", &["true"]).finish().unwrap();
    assert_failed(&both, OWN_FAILURE, &["takes 2 targets", one.name(), two.name()]);
    let misspelt = exec(&format!("{}x", one.name()), &["true"]).finish().unwrap();
    assert_failed(&misspelt, OWN_FAILURE, &["NoSuchTarget", one.name()]);
    one.kill().unwrap();
    let stopped = exec(one.name(), &["true"]).finish().unwrap();
    assert_failed(&stopped, OWN_FAILURE, &["does not run", "exited"]);
}

#[test]
fn the_host_is_where_one_is() {
    let here = output(Program::new("readlink").args(["/proc/self/ns/net", "/proc/self/ns/mnt"]));
    let links = ["readlink", "/proc/self/ns/net", "/proc/self/ns/mnt"];
    assert_eq!(output(exec("host", &links)), here);
    assert_eq!(output(exec_without_rights("host", &links)), here, "it takes no rights");

    let engine = Engine::shared().unwrap();
    let spec = ContainerSpec::new("host").network_mode("host").option("--dns", "10.9.8.6");
    let web = engine.run(spec).unwrap();
    let seen =
        output(exec(web.name(), &["sh", "-c", "readlink $0; cat /etc/resolv.conf", links[1]]));
    assert!(seen.starts_with(here.lines().next().unwrap()), "{seen}");
    let own = output(web.exec(["cat", "/etc/resolv.conf"]));
    assert!(seen.ends_with(&own), "{seen} ends with {own}");
}

#[test]
fn namespaces_and_processes_are_targets_without_an_engine() {
    let (_net, a, _b) = Net::pair().unwrap();
    let netns = format!("netns:{}", a.path().display());
    let address = ["ip", "-brief", "-4", "address", "show", "eth0"];
    let inside = a.ip("-brief -4 address show eth0").unwrap();
    assert!(inside.contains("eth0"), "{inside}");
    assert_eq!(output(exec(&netns, &address)), inside);
    let mut held = Program::new("sh")
        .args(["-c", "echo ready; read x"])
        .inside(&a)
        .stdin_held()
        .start()
        .unwrap();
    held.wait_for_stdout("ready", LIMIT).unwrap();
    let pid = format!("pid:{}", held.pid());
    assert_eq!(output(exec(&pid, &address)), inside);
    let files = ["cat", "/etc/resolv.conf", "/etc/hosts"];
    let host = output(Program::new(files[0]).args(&files[1..]));
    assert_eq!(output(exec(&pid, &files)), host, "files are left alone");
    assert_eq!(output(exec(&netns, &files)), host, "and here");

    let own = OwnFiles::of(a.name());
    own.put("resolv.conf", "nameserver 10.7.7.7\n");
    let seen = output(exec(&netns, &files));
    let by_ip = output(Program::new("ip").args(["netns", "exec", a.name()]).args(files));
    assert_eq!(seen, by_ip, "as ip netns exec has it");
    assert!(seen.starts_with("nameserver 10.7.7.7\n"), "{seen}");

    let gone = format!("pid:{}", held.pid());
    held.wait().unwrap();
    assert_failed(&exec(&gone, &["true"]).finish().unwrap(), OWN_FAILURE, &["no process"]);
    let file = exec("netns:/etc/passwd", &["true"]).finish().unwrap();
    assert_failed(&file, OWN_FAILURE, &["/etc/passwd is not a network namespace"]);
}

/// /etc/netns/NAME, removed with this, and /etc/netns as well when it is left empty.
struct OwnFiles(PathBuf);

impl OwnFiles {
    fn of(name: &str) -> Self {
        let directory = Path::new("/etc/netns").join(name);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn put(&self, name: &str, contents: &str) {
        fs::write(self.0.join(name), contents).unwrap();
    }
}

impl Drop for OwnFiles {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_dir("/etc/netns");
    }
}

#[test]
fn missing_rights_are_named() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(ContainerSpec::new("rights")).unwrap();
    let (_net, a, _b) = Net::pair().unwrap();
    for selector in [web.name().to_owned(), format!("netns:{}", a.path().display())] {
        let refused = exec_without_rights(&selector, &["true"]).finish().unwrap();
        let words = ["not permitted", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "NotPermitted"];
        assert_failed(&refused, OWN_FAILURE, &words);
    }
}

#[test]
fn a_pid_that_is_a_strangers_here_is_not_entered() {
    let (_net, a, _b) = Net::pair().unwrap();
    let stranger = Program::new("sleep").arg("60").inside(&a).start().unwrap();
    let containers = vec![PlayedContainer::running("web", 7, stranger.pid())];
    let engine = PlayedEngine::with(containers, |_| {}).unwrap();
    let refused = Program::new(env!("CARGO_BIN_EXE_whaletap-session-command"))
        .arg("exec")
        .arg(engine.socket())
        .args(["web", "true"])
        .finish()
        .unwrap();
    assert_failed(&refused, OWN_FAILURE, &["does not belong to container 000000000000"]);
}

#[test]
fn a_running_program_does_not_keep_other_containers_namespaces() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(ContainerSpec::new("keeps")).unwrap();
    let other = engine.run(ContainerSpec::new("kept")).unwrap();
    let file = fs::canonicalize(other.sandbox_key().unwrap()).unwrap();
    let mut held =
        exec(web.name(), &["sh", "-c", "echo ready; read x"]).stdin_held().start().unwrap();
    held.wait_for_stdout("ready", LIMIT).unwrap();
    let mounts = format!("/proc/{}/mountinfo", held.pid());
    let is_there = || fs::read_to_string(&mounts).unwrap().contains(file.to_str().unwrap());
    // Its mounts are a copy of the host's; the file itself is removed later, once a minute.
    drop(other);
    assert!(!is_there());
    assert_eq!(held.wait().unwrap().code(), Some(1), "read has met the end");
}
