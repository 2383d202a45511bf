//! A helper elsewhere that is inside of one container; and a far side that takes its time.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    thread,
    time::{Duration, Instant},
};

use lab::{ContainerSpec, FarHost, Records, judge};

use crate::{
    member::helpers,
    processes::{all, of_threads},
    remote::{begun, capture, idle, send, ways},
    tap::{LIMIT, assert_ended, signal, unique, until},
};

/// How long it may take, generously, until a capture ends that nobody wants any more, and until its
/// namespace is free.
const SOON: Duration = Duration::from_secs(5);
/// Signals that come this soon behind each other are one request, and some more.
const ONE_REQUEST: Duration = Duration::from_millis(200);
/// CAP_NET_RAW, as /proc has it.
const NET_RAW: &str = "0000000000002000";

/// Processes whose network namespace has this inode.
fn inhabitants(inode: &str) -> Vec<u32> {
    let link = format!("net:[{inode}]");
    let is_in = |pid: &u32| {
        fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|it| it.to_str() == Some(&link))
    };
    all().filter(is_in).collect()
}

fn inode_of(pid: u32) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let link = link.to_str().unwrap();
    link.trim_start_matches("net:[").trim_end_matches(']').to_owned()
}

/// With one container and nothing to be followed.
#[test]
fn a_helper_of_one_container_has_one_right_and_does_not_outlive_it() {
    let far = FarHost::start().unwrap();
    let db = idle(&far, "db");
    let engine = |words: &[&str]| far.engine().docker().args(words).run().unwrap().stdout_text();
    let node = engine(&["info", "--format", "{{.Name}}"]);
    let directory = tempfile::tempdir().unwrap();
    let ends = [&["kill"][..], &["stop", "-t", "0"], &["restart", "-t", "0"]];
    for ((way, run), end) in ways(&far).iter().zip(1..).zip(ends) {
        let web = idle(&far, "web");
        let inode = inode_of(web.pid().unwrap());
        // Held, so that no other namespace gets its number.
        let _held = fs::File::open(format!("/proc/{}/ns/net", web.pid().unwrap())).unwrap();
        let file = directory.path().join(format!("{run}.pcapng"));
        let words = [web.name(), "--no-follow", "-w", file.to_str().unwrap(), "--", "udp"];
        let mut running = begun(capture(way, &far, &words));

        let [name] = &*helpers(far.engine()) else { panic!("{:?}", helpers(far.engine())) };
        let format = "{{json .HostConfig.CapAdd}} {{json .HostConfig.CapDrop}} \
                      {{.HostConfig.NetworkMode}} [{{.HostConfig.PidMode}}] {{.State.Pid}}";
        let found = engine(&["inspect", "--format", format, name]);
        let expected = format!(r#"["NET_RAW"] ["ALL"] container:{} [] "#, web.id());
        let pid = found.trim().strip_prefix(&expected).unwrap_or_else(|| panic!("{found}"));
        let pid = pid.parse().unwrap();
        assert_eq!(inode_of(pid), inode);
        assert!(of_threads(pid, "CapBnd").iter().all(|it| it == NET_RAW));
        assert!(of_threads(pid, "CapEff").iter().all(|it| it.trim_matches('0').is_empty()));

        send(&db, &web, 30, run);
        engine(&[end, &[web.name()]].concat());
        running.wait_for_line(&format!("{}: ended", web.name()), SOON).unwrap();
        until("its namespace is free", SOON, || inhabitants(&inode).is_empty());
        let finished = running.wait_at_most(LIMIT).unwrap();
        assert_ended(&finished, 0, &["30 packets captured", "0 packets dropped", "all targets"]);
        assert_eq!(Records::read(&file).unwrap().numbers(run).len(), 30);
        judge::all(&file, true).unwrap();
        let told = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(told.contains(&format!("times are those of {}, ", node.trim())));
        assert_eq!(helpers(far.engine()), [""; 0]);
    }
}

#[test]
fn interfaces_that_are_not_there_are_told_as_here() {
    let far = FarHost::start().unwrap();
    let web = idle(&far, "web");
    let [by_tls, ..] = ways(&far);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    let with = |interfaces: &[&str]| {
        let words = [web.name(), "-w", file.to_str().unwrap()];
        let each = interfaces.iter().flat_map(|interface| ["-i", interface]);
        capture(&by_tls, &far, &words.into_iter().chain(each).collect::<Vec<_>>())
    };
    let running = begun(with(&["eth0", "tun7"]));
    let finished = running.interrupt().unwrap();
    assert_ended(&finished, 0, &[&format!("{}: no interface tun7", web.name())]);
    let nothing = with(&["tun7", "tun8"]).finish().unwrap();
    assert_ended(&nothing, 1, &[&format!("{} has no interface tun7, tun8", web.name()), "hint: "]);
    assert_eq!(helpers(far.engine()), [""; 0]);
}

/// An engine that hangs while a helper is to be made.
#[test]
fn who_interrupts_is_heard_while_an_engine_says_nothing() {
    let far = FarHost::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    let pid = far.engine_pid().unwrap();
    signal(pid, "STOP");
    for way in &ways(&far)[..2] {
        let mut running =
            capture(way, &far, &["web", "-w", file.to_str().unwrap()]).start().unwrap();
        running.wait_for_line("through a helper container", LIMIT).unwrap();
        let since = Instant::now();
        signal(running.pid(), "INT");
        let finished = running.wait_at_most(LIMIT).unwrap();
        assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
        assert_ended(&finished, 130, &["interrupted before anything was captured"]);
        assert!(!file.exists());
    }
    signal(pid, "CONT");
    until("the engine answers", LIMIT, || far.engine().answers());
    assert_eq!(helpers(far.engine()), [""; 0]);
}

/// How many sets of descriptors a process waits for.
fn waits(pid: u32) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_str() == Some("anon_inode:[eventpoll]")).count()
}

#[test]
fn who_interrupts_is_heard_while_a_far_side_says_nothing() {
    let far = FarHost::start().unwrap();
    let value = unique("silent");
    let [by_tls, ..] = ways(&far);
    let selector = format!("label:whaletap.far={value}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    far.engine().image().unwrap();
    let words = ["--wait", &selector, "-w", file.to_str().unwrap()];
    let mut running = begun(capture(&by_tls, &far, &words));
    let [name] = &*helpers(far.engine()) else { panic!("{:?}", helpers(far.engine())) };
    let state = ["inspect", "--format", "{{.State.Pid}}", name];
    let helper = far.engine().docker().args(state).run().unwrap().stdout_text();
    signal(helper.trim().parse().unwrap(), "STOP");
    let before = waits(running.pid());
    let spec = ContainerSpec::named(unique("web")).label("whaletap.far", &value);
    let _web = far.engine().run(spec.command(["sleep", "600"])).unwrap();
    // An order to attach is given, and its answer is waited for.
    until("it waits", LIMIT, || waits(running.pid()) > before);
    let since = Instant::now();
    signal(running.pid(), "INT");
    // It goes on to its end, for which it waits as well; there a second one is enough.
    until("it is about to end", SOON, || waits(running.pid()) < before);
    assert!(running.is_alive());
    // Sooner, it would count as the same request.
    thread::sleep(ONE_REQUEST.saturating_sub(since.elapsed()));
    signal(running.pid(), "INT");
    let finished = running.wait_at_most(LIMIT).unwrap();
    assert!(since.elapsed() < 2 * SOON, "{:?}", since.elapsed());
    // 130 to a shell.
    assert_eq!(finished.status.signal(), Some(2), "{finished:?}");
    until("nothing is left", LIMIT, || helpers(far.engine()).is_empty());
}
