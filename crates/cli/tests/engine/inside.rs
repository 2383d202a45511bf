//! `whaletap exec`.

use lab::{ContainerSpec, Engine, Program};

use crate::tap::{assert_ended, idle, whaletap};

#[test]
fn a_program_of_this_host_runs_in_a_containers_network() {
    let engine = Engine::shared().unwrap();
    let spec = ContainerSpec::new("web")
        .option("--dns", "10.9.8.7")
        .option("--add-host", "db.whaletap.test:10.1.2.3");
    let web = engine.run(spec).unwrap();
    let exec = |command: &[&str]| {
        let words: Vec<&str> = ["exec", web.name(), "--"].iter().chain(command).copied().collect();
        whaletap(&words).finish().unwrap()
    };
    let addresses = exec(&["ip", "-brief", "addr"]);
    assert_ended(&addresses, 0, &[]);
    assert!(addresses.stdout_text().contains(&format!("{}/", web.address().unwrap())));
    let here = Program::new("ip").args(["-brief", "addr"]).run().unwrap();
    assert_ne!(here.stdout_text(), addresses.stdout_text());

    let resolver = exec(&["cat", "/etc/resolv.conf"]);
    assert!(resolver.stdout_text().contains("nameserver 10.9.8.7"), "{resolver:?}");
    let found = exec(&["getent", "hosts", "db.whaletap.test"]);
    assert!(found.stdout_text().starts_with("10.1.2.3"), "{found:?}");
    assert!(!std::fs::read_to_string("/etc/resolv.conf").unwrap().contains("10.9.8.7"));

    let code = exec(&["sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((code.code(), code.stdout_text().as_str()), (Some(42), "out\n"));
    assert_eq!(code.stderr, "err\n", "nothing of ours between");
}

#[test]
fn what_runs_is_told_from_what_cannot() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let exec = |words: &[&str]| {
        let words: Vec<&str> = ["exec"].iter().chain(words).copied().collect();
        whaletap(&words).finish().unwrap()
    };
    // As docker's exec is written: everything behind the program is the program's.
    let [with, without] =
        [exec(&[web.name(), "--", "ip", "-o", "link"]), exec(&[web.name(), "ip", "-o", "link"])];
    assert_eq!((without.code(), &without.stdout), (Some(0), &with.stdout));
    assert!(!with.stdout.is_empty());
    let absent = exec(&[web.name(), "--", "whaletap-no-such-program"]);
    assert_ended(&absent, 127, &["whaletap-no-such-program", "hint: "]);
    assert_ended(&exec(&[web.name(), "--", "/etc/passwd"]), 126, &["/etc/passwd"]);
    let several = exec(&["*", "--exclude", "x", "--", "true"]);
    assert_ended(&several, 2, &["--exclude"]);
    let db = engine.run(idle("db").label("inside", web.name())).unwrap();
    let other = engine.run(idle("other").label("inside", web.name())).unwrap();
    let both = exec(&[&format!("label:inside={}", web.name()), "--", "true"]);
    assert_ended(&both, 3, &["takes 2 targets", db.name(), other.name()]);
    other.kill().unwrap();
    assert_ended(&exec(&[other.name(), "--", "true"]), 3, &["does not run"]);
}
