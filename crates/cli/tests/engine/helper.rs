//! The second way in: a helper container of the engine's, for who has no rights here.

use lab::{Engine, Program, Records, judge};

use crate::{
    follow::{LABEL, early, label, neighbour},
    member::{Member, assert_gone, begun, helper_of, helpers, owner},
    processes::{child_called, marked, of_threads},
    tap::{FILE, LIMIT, assert_ended, count, idle, send, signal, unique, until},
};

#[test]
fn a_member_of_the_group_captures_without_sudo() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let out = member.directory("out");
    let mark = unique("member");
    let words = ["capture", web.name(), "-v", "-w", FILE, "--", "udp", "port", "9"];
    let running = begun(member.whaletap(&out, &words).env("WHALETAP_TEST_MARK", &mark));
    let pid = running.pid();
    let judge_file = out.with_file_name("tcpdump.pcap");
    let tcpdump = Program::new("tcpdump")
        .args(["-i", "eth0", "-n", "-Z", "root", "--time-stamp-precision=nano"])
        // It ends when it has seen what we have to see.
        .args(["-c", "500", "-w"])
        .arg(&judge_file)
        .args(["udp", "port", "9"])
        .limit(3 * LIMIT);
    let mut tcpdump = web.enter(tcpdump).unwrap().start().unwrap();
    tcpdump.wait_for_line("listening on", LIMIT).unwrap();
    send(&db, &web, 500, "--run 9 --rate 5000");
    assert!(
        running.stderr().contains("through a helper container of whaletap-agent\n"),
        "{}",
        running.stderr()
    );
    let powerless = of_threads(pid, "CapEff");
    assert!(powerless.iter().all(|value| value == "0000000000000000"), "{powerless:?}");
    signal(pid, "INT");
    let finished = running.wait().unwrap();
    assert_ended(&finished, 0, &["500 packets captured", "ended: stopped"]);
    // All of it is gone already when the command has ended.
    assert_gone(pid, &format!("WHALETAP_TEST_MARK={mark}"), &out);
    let file = out.join(FILE);
    assert_eq!(owner(&file), (member.uid, 0o600));
    assert_eq!(count(&finished.stderr, "dropped by kernel"), 0);
    judge::all(&file, true).unwrap();
    let theirs = tcpdump.wait().unwrap();
    assert_eq!(theirs.code(), Some(0), "{theirs:?}");
    let (ours, theirs) = (Records::read(&file).unwrap(), Records::read(&judge_file).unwrap());
    assert_eq!(ours.numbers(9).len(), 500);
    // Incoming frames have one stamp, whoever looks.
    if let Err(difference) = ours.same_as(&theirs, 0) {
        panic!("{difference}");
    }
}

/// A helper sees the engine's namespaces as they are made, like an opener of this machine.
#[test]
fn what_starts_later_is_captured_from_its_first_packet() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let db = neighbour(&engine);
    let (selector, value) = label();
    let out = member.directory("out");
    let words = ["capture", "--wait", &*selector, "-w", FILE, "--", "udp"];
    let mut running = begun(member.whaletap(&out, &words));
    let pid = running.pid();
    let ours = [1, 2, 3].map(|run| engine.run(early(&db, run).label(LABEL, &value)).unwrap());
    // Those who come later than the others are known when these are.
    let last = engine.run(idle("last").label(LABEL, &value)).unwrap();
    running.wait_for_line(last.name(), LIMIT).unwrap();
    assert_ended(&running.interrupt().unwrap(), 0, &["ended: stopped"]);
    assert_gone(pid, "WHALETAP_TEST_MARK=", &out);
    let records = Records::read(out.join(FILE)).unwrap();
    for (run, container) in (1..).zip(&ours) {
        // The question and the answer.
        let mine = records.of(&format!("{}/eth0", container.name()));
        assert_eq!(mine.numbers(run), [0, 0], "{}", container.name());
    }
}

/// Where nothing is followed, and one container is meant, a helper is inside of it.
#[test]
fn a_helper_for_one_container_captures_until_its_end() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let out = member.directory("out");
    let words = ["capture", "--no-follow", web.name(), "-w", FILE, "--", "udp", "port", "9"];
    let running = begun(member.whaletap(&out, &words));
    let pid = running.pid();
    send(&db, &web, 100, "--run 9 --rate 5000");
    // Its end is noticed without any right to look at it.
    web.order("kill").unwrap();
    let finished = running.wait().unwrap();
    assert_ended(&finished, 0, &["100 packets captured", "all targets have ended"]);
    assert_gone(pid, "WHALETAP_TEST_MARK=", &out);
    assert_eq!(Records::read(out.join(FILE)).unwrap().numbers(9).len(), 100);
}

/// The sockets that came from it go on without it.
#[test]
fn a_helper_that_is_killed_costs_no_packet() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let (web, db) = (engine.run(idle("web")).unwrap(), engine.run(idle("db")).unwrap());
    let out = member.directory("out");
    let words = ["capture", web.name(), "-w", FILE, "--", "udp", "port", "9"];
    let mut running = begun(member.whaletap(&out, &words));
    let pid = running.pid();
    send(&db, &web, 50, "--run 1");
    engine.docker().args(["kill", &helper_of(pid)]).run().unwrap();
    running.wait_for_line("the opener process has ended: captures go on", LIMIT).unwrap();
    until("the engine has removed it", LIMIT, || {
        !helpers(&engine).iter().any(|name| name.starts_with(&format!("whaletap-{pid}-")))
    });
    send(&db, &web, 50, "--run 2");
    let finished = running.interrupt().unwrap();
    assert_ended(&finished, 0, &["100 packets captured", "0 packets dropped by kernel"]);
    assert_gone(pid, "WHALETAP_TEST_MARK=", &out);
    let records = Records::read(out.join(FILE)).unwrap();
    assert_eq!((records.numbers(1).len(), records.numbers(2).len()), (50, 50));
    judge::all(out.join(FILE), true).unwrap();
}

/// What is left of a session that was killed together with its reaper is found by the next one.
#[test]
fn the_next_session_sweeps() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let web = engine.run(idle("web")).unwrap();
    let (out, mark) = (member.directory("out"), unique("swept"));
    let mark = format!("WHALETAP_TEST_MARK={mark}");
    let (key, value) = mark.split_once('=').unwrap();
    let words_of = ["capture", web.name(), "-w", FILE];
    let running = begun(member.whaletap(&out, &words_of).env(key, value));
    let (pid, name) = (running.pid(), helper_of(running.pid()));
    let container: u32 = {
        let words = ["inspect", "--format", "{{.State.Pid}}", &name];
        engine.docker().args(words).run().unwrap().stdout_text().trim().parse().unwrap()
    };
    // The helper is stopped, so that it does not notice that it is alone either.
    signal(container, "STOP");
    let reaper = child_called(pid, "whaletap-reaper");
    signal(reaper, "KILL");
    running.kill();
    until("no process is left", LIMIT, || marked(&mark).is_empty());
    assert!(helpers(&engine).contains(&name), "nobody has removed it");
    let next = begun(member.whaletap(&out, &words_of).env(key, value));
    until("it is swept", LIMIT, || !helpers(&engine).contains(&name));
    let pid = next.pid();
    assert_ended(&next.interrupt().unwrap(), 0, &["ended: stopped"]);
    assert_gone(pid, &mark, &out);
}

#[test]
fn without_the_socket_it_is_said_what_is_missing() {
    let member = Member::new();
    let out = member.directory("out");
    let nobody = || {
        let words = ["capture", "host", "-w", FILE];
        member.whaletap(&out, &words).env("WHALETAP_AGENT", "/does/not/exist")
    };
    let finished = nobody().finish().unwrap();
    assert_ended(&finished, 4, &["missing CAP_NET_RAW, CAP_SYS_ADMIN", "/does/not/exist"]);
    let words = ["capture", "--via", "host", "host", "-w", FILE];
    let finished = member.whaletap(&out, &words).finish().unwrap();
    assert_ended(&finished, 4, &["not permitted (missing CAP_NET_RAW, CAP_SYS_ADMIN)", "hint: "]);
}

#[test]
fn interfaces_are_listed_through_a_helper() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let web = engine.run(idle("web")).unwrap();
    let out = member.directory("out");
    let list = member.whaletap(&out, &["ls", "--interfaces", web.name()]).finish().unwrap();
    assert_ended(&list, 0, &[]);
    assert!(list.stdout_text().contains("eth0"), "{list:?}");
    assert_gone(0, "WHALETAP_TEST_MARK=", &out);
}

#[test]
fn an_image_is_loaded_once_and_can_be_pruned() {
    let out = tempfile::tempdir().unwrap();
    // An engine of its own: others must not lose their image.
    let own = lab::PrivateEngine::start().unwrap();
    let images = || {
        let words = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let listed = own.engine().docker().args(words).run().unwrap().stdout_text();
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let at = |words: &[&str]| {
        let host = ["--host", own.engine().host()];
        Program::new(env!("CARGO_BIN_EXE_whaletap"))
            .args(host)
            .args(words)
            .env("WHALETAP_AGENT", lab::agent::program().unwrap())
            .env("TMPDIR", out.path())
    };
    assert_eq!(images(), [""; 0]);
    for _ in 0..2 {
        let words = ["capture", "--via", "helper", "host", "-w", FILE, "--duration", "100ms"];
        let finished = at(&words).current_dir(out.path()).finish().unwrap();
        assert_ended(&finished, 0, &["through a helper container"]);
        let [image] = &*images() else { panic!("{:?}", images()) };
        assert!(image.starts_with("whaletap-agent:"), "{image}");
    }
    let pruned = at(&["helper", "prune"]).finish().unwrap();
    assert_ended(&pruned, 0, &[]);
    assert!(pruned.stdout_text().starts_with("image whaletap-agent:"), "{pruned:?}");
    assert_eq!(images(), [""; 0]);
}

#[test]
fn a_program_of_an_image_runs_beside_a_target() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let web = engine.run(idle("web")).unwrap();
    let out = member.directory("out");
    let exec = |words: &[&str]| {
        let words: Vec<&str> = ["exec"].iter().chain(words).copied().collect();
        member.whaletap(&out, &words).finish().unwrap()
    };
    let image = ["--image", lab::engine::IMAGE, web.name(), "--"];
    let addresses = exec(&[&image[..], &["ip", "addr"]].concat());
    assert_ended(&addresses, 0, &[]);
    assert!(addresses.stdout_text().contains(&format!("{}/", web.address().unwrap())));
    assert_ended(&exec(&[&image[..], &["sh", "-c", "exit 7"]].concat()), 7, &[]);
    let own = exec(&[web.name(), "--", "ip", "addr"]);
    assert_ended(&own, 4, &["not permitted", "--image"]);
}
