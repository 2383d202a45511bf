//! Programs that a capture runs: `-z` and `--print`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use lab::{Engine, Records, judge};

use crate::tap::{FILE, LIMIT, Tap, assert_ended, capture, idle, send, until};

#[test]
fn each_finished_file_is_given_to_a_command() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let scripts = tempfile::tempdir().unwrap();
    let (script, log) = (scripts.path().join("done.sh"), scripts.path().join("log"));
    let text = format!("#!/bin/sh\nnice >>{0}.nice\nsha256sum \"$1\" >>{0}\n", log.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let words = ["-b", "packets:20", "-z", script.to_str().unwrap()];
    let tap = Tap::start(&[&words[..], &[web.name(), "--", "udp", "port", "9"]].concat());
    send(&db, &web, 50, "--rate 500");
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    until("two files are done", LIMIT, || lines() >= 2);
    let tapped = tap.stop();
    let given = fs::read_to_string(&log).unwrap();
    let mut frames = 0;
    for line in given.lines() {
        let (digest, file) = line.split_once("  ").unwrap();
        let now = lab::Program::new("sha256sum").arg(file).run().unwrap().stdout_text();
        assert!(now.starts_with(digest), "it was complete when it was given");
        assert_eq!(Records::read(file).unwrap().len(), 20, "{file}");
        judge::all(file, true).unwrap();
        frames += 20;
    }
    assert_eq!(frames, 40);
    let nice = fs::read_to_string(scripts.path().join("log.nice")).unwrap();
    assert_eq!(nice.lines().next(), Some("19"));
    assert_eq!(tapped.count("captured"), 50);
}

#[test]
fn a_command_that_fails_is_told_and_the_capture_goes_on() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let words = ["-b", "packets:10", "-z", "false"];
    let mut tap = Tap::start(&[&words[..], &[web.name(), "--", "udp", "port", "9"]].concat());
    send(&db, &web, 15, "--rate 500");
    let warning = tap.hears("warning: false ");
    assert!(warning.contains("exit status: 1"), "{warning}");
    let tapped = tap.stop();
    assert_eq!(tapped.count("captured"), 15);
}

#[test]
fn frames_are_shown_and_written() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    // tshark says whose each is.
    let whose = format!("{}/eth0", web.name());
    for (print, shows) in [("--print=tcpdump", "UDP, length 22"), ("--print=tshark", &*whose)] {
        let file = directory.path().join(FILE);
        let words = [print, "-n", web.name(), "--", "udp", "port", "9"];
        let mut running = capture(&Engine::endpoint(), &file, &words).start().unwrap();
        running.wait_for_line("capturing ", LIMIT).unwrap();
        send(&db, &web, 12, "--rate 500");
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches(shows).count();
        until("frames are shown while it runs", LIMIT, || shown(&running.stdout()) >= 12);
        let finished = running.interrupt().unwrap();
        assert_ended(&finished, 0, &["12 packets captured"]);
        assert_eq!(shown(&finished.stdout), 12, "{}", finished.stdout_text());
        assert_eq!(Records::read(&file).unwrap().len(), 12);
        judge::all(&file, true).unwrap();
    }
}

/// `--print | head`: the file goes on, and that is said.
#[test]
fn a_reader_of_what_is_shown_may_go_away() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    let (reader, writer) = std::io::pipe().unwrap();
    let words = ["--print=tcpdump", "-n", web.name(), "--", "udp", "port", "9"];
    let program = capture(&Engine::endpoint(), &file, &words).stdout_to(writer);
    let mut running = program.start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    drop(reader);
    let mut sent = 0;
    until("it is said that nothing is shown", LIMIT, || {
        send(&db, &web, 2, "--rate 500");
        sent += 2;
        running.stderr().contains("packets are not shown any more")
    });
    let finished = running.interrupt().unwrap();
    assert_ended(&finished, 0, &[&format!("{sent} packets captured"), "ended: stopped"]);
    assert_eq!(Records::read(&file).unwrap().len(), sent);
}

/// What was shown is complete when the command has ended: nothing comes behind the prompt.
#[test]
fn all_frames_are_shown_before_the_end() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("shown");
    let file = directory.path().join(FILE);
    let words = ["--print", "-n", "-c", "500", web.name(), "--", "udp", "port", "9"];
    let program = capture(&Engine::endpoint(), &file, &words);
    let mut running = program.stdout_to(fs::File::create(&output).unwrap()).start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    send(&db, &web, 500, "--rate 20000");
    assert_ended(&running.wait().unwrap(), 0, &["500 packets captured"]);
    let shown = fs::read_to_string(&output).unwrap();
    assert_eq!(shown.matches("UDP, length 22").count(), 500);
}
