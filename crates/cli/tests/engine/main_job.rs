//! `whaletap capture web db -- tcp port 80`.

use std::{collections::BTreeSet, path::Path};

use lab::{Container, ContainerSpec, Engine, Program, Records, Running, judge};

use crate::tap::{LIMIT, Tap, idle, send, until};

/// Between the stamps of two taps of an outgoing frame: the kernel stamps each copy.
const APART: u64 = 50_000_000;

/// tcpdump in a container's namespace, as it would be run there by hand.
fn tcpdump(container: &Container, file: &Path) -> Running {
    let program = Program::new("tcpdump")
        .args(["-i", "eth0", "-p", "-n", "-Z", "root", "--time-stamp-precision=nano"])
        .args(["--immediate-mode", "-U", "-w"])
        .arg(file)
        .args(["tcp", "port", "80"]);
    let mut running = container.enter(program).unwrap().start().unwrap();
    running.wait_for_line("listening on", LIMIT).unwrap();
    running
}

/// All that can be seen of a container from outside.
fn inside(container: &Container) -> Vec<String> {
    let engine = container.engine();
    let docker = |words: &[&str]| engine.docker().args(words).run().unwrap().stdout_text();
    let id = container.id();
    let links = Program::new("ip").args(["-details", "-o", "link"]);
    vec![
        docker(&["top", id, "-o", "pid,args"]),
        docker(&["diff", id]),
        std::fs::read_to_string(format!("/proc/{}/mountinfo", container.pid().unwrap())).unwrap(),
        container.enter(links).unwrap().run().unwrap().stdout_text(),
    ]
}

#[test]
fn two_containers_that_talk_are_one_file() {
    let engine = Engine::shared().unwrap();
    let network = engine.network("shop").unwrap();
    let web = ContainerSpec::new("web").network(&network);
    let web = engine.run(web.command(["httpd", "-f", "-p", "80", "-h", "/etc"])).unwrap();
    let db = engine.run(idle("db").network(&network)).unwrap();
    let page = format!("http://{}/passwd", web.address().unwrap());
    let fetch = || db.exec(["wget", "-q", "-O", "/dev/null", &page]).finish().unwrap();
    until("the page is served", LIMIT, || fetch().status.success());
    let untouched = [&web, &db].map(inside);

    let tap = Tap::start(&[web.name(), db.name(), "--", "tcp", "port", "80"]);
    let directory = tempfile::tempdir().unwrap();
    let files = ["web", "db"].map(|name| directory.path().join(name));
    let judges = [tcpdump(&web, &files[0]), tcpdump(&db, &files[1])];
    for _ in 0..3 {
        assert!(fetch().status.success());
    }
    // Not for the file: it is no TCP.
    send(&db, &web, 5, "");
    assert_eq!([&web, &db].map(inside), untouched, "while they are captured");
    let tapped = tap.stop();
    for judge in judges {
        judge.interrupt().unwrap().success().unwrap();
    }

    tapped.assert_whole();
    let records = tapped.records();
    for (container, file) in [(&web, &files[0]), (&db, &files[1])] {
        let expected = Records::read(file).unwrap().by_time();
        assert!(expected.len() > 20, "{} frames", expected.len());
        let found = records.of(&format!("{}/eth0", container.name())).by_time();
        if let Err(difference) = found.same_as(&expected, APART) {
            panic!("{}: {difference}", container.name());
        }
    }
    assert_eq!(records.inversions(), 0);
    let names = [web.name().to_owned(), db.name().to_owned()];
    assert_eq!(tapped.names(), names);
    let told = &tapped.finished.stderr;
    assert!(
        told.contains(&format!("capturing {}, {} (2 namespaces)", names[0], names[1])),
        "{told}"
    );
    assert!(tapped.finished.stdout.is_empty());

    // What others make of it.
    let file = tapped.file();
    judge::all(&file, true).unwrap();
    let infos = judge::capinfos(&file).unwrap();
    assert_eq!(infos["Number of packets"], records.len().to_string());
    assert_eq!(infos["Strict time order"], "True");
    let fields =
        ["frame.interface_name", "frame.interface_description", "ip.src_host", "ip.dst_host"];
    let rows = judge::tshark_fields(&file, &["-N", "n"], &fields).unwrap();
    let called: BTreeSet<String> =
        names.iter().map(|n| format!("{n}.{}", network.name())).collect();
    for row in &rows {
        assert_eq!(
            BTreeSet::from([row[2].clone(), row[3].clone()]),
            called,
            "names come from the file"
        );
        let container = [&web, &db].into_iter().find(|c| row[0] == format!("{}/eth0", c.name()));
        let container = container.unwrap();
        let link = format!("/proc/{}/ns/net", container.pid().unwrap());
        let link = std::fs::read_link(link).unwrap();
        let inode = link.to_str().unwrap().trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
        let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        for part in [
            &container.id()[..12],
            "image whaletap-lab",
            &format!("node {}", node.trim()),
            &format!("netns {inode}"),
            &format!("network {}", network.name()),
        ] {
            assert!(row[1].contains(part), "{part} is not in {}", row[1]);
        }
    }
}

/// As fast as a container sends in a second, with the default settings.
#[test]
fn nothing_is_lost() {
    const COUNT: u32 = 20_000;
    let engine = Engine::shared().unwrap();
    let network = engine.network("whole").unwrap();
    let web = engine.run(idle("web").network(&network)).unwrap();
    let db = engine.run(idle("db").network(&network)).unwrap();
    let tap = Tap::start(&[web.name(), db.name(), "--", "udp", "port", "9"]);
    send(&db, &web, COUNT, "--run 7 --rate 20000");
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records();
    let all: Vec<u64> = (0..COUNT.into()).collect();
    for container in [&web, &db] {
        let mut numbers = records.of(&format!("{}/eth0", container.name())).numbers(7);
        numbers.sort_unstable();
        assert_eq!(numbers.len(), all.len(), "{}", container.name());
        assert!(numbers == all, "{}", container.name());
    }
    assert_eq!(records.inversions(), 0);
    assert_eq!(tapped.count("out of order"), 0);
}

#[test]
fn a_capture_ends_under_load() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let to = format!("{}:9", web.address().unwrap());
    let db = ContainerSpec::new("db").traffic(&format!("udp --to {to} --rate 5000 --seconds 30"));
    let tap = Tap::start(&[web.name()]);
    let _db = engine.run(db).unwrap();
    let size = || std::fs::metadata(tap.file()).map_or(0, |file| file.len());
    until("something is written", LIMIT, || size() > 100_000);
    let tapped = tap.stop();
    let accounted = ["captured", "dropped by kernel", "dropped by whaletap", "discarded at stop"];
    let accounted: u64 = accounted.iter().map(|what| tapped.count(what)).sum();
    assert_eq!(accounted, tapped.count("received by filter"));
    assert!(!tapped.records().is_empty());
    judge::all(tapped.file(), true).unwrap();
}
