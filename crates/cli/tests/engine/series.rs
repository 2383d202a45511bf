//! Files that follow each other while containers come, restart and go: each reads alone, and all of
//! them together are the whole capture, in order.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lab::{Container, Engine, Records, Running, judge};
use tempfile::TempDir;

use crate::{
    follow::{LABEL, early, label, name, neighbour},
    interfaces::interfaces,
    starts::talk,
    tap::{LIMIT, assert_ended, capture, count, idle, send, until},
};

/// The steady talker's datagrams.
const STEADY: u32 = 1000;
/// Numbered datagrams of everybody else.
const SOME: u32 = 40;

/// A capture into a series of files.
struct Capture {
    running: Running,
    directory: TempDir,
}

impl Capture {
    fn start(name: &str, words: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = capture(&Engine::endpoint(), &directory.path().join(name), words);
        let mut running = program.limit(6 * LIMIT).start().unwrap();
        running.wait_for_line("capturing ", LIMIT).unwrap();
        Self { running, directory }
    }

    fn has_interface(&self, name: &str) -> bool {
        let files = files(&self.directory);
        files.iter().any(|file| interfaces(file).iter().any(|found| found == name))
    }
}

/// The files of a series, in their order: by their numbers, or by the times in their names.
fn files(directory: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    // `x.pcapng2` stands before `x.pcapng10`.
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    files
}

/// Each file alone: nobody has a word of complaint, every frame's interface is described in it, and
/// whoever stays is in it from its beginning.
fn alone(file: &Path, stays: &Container) -> Records {
    judge::all(file, true).unwrap();
    let records = Records::read(file).unwrap();
    let described = interfaces(file);
    assert!(described.contains(&name(stays)), "{}: {described:?}", file.display());
    for record in &records.all {
        let interface = record.interface.as_ref().unwrap();
        assert!(described.contains(interface), "{}: {interface}", file.display());
    }
    let info = judge::capinfos(file).unwrap();
    assert_eq!(info["Number of packets"], records.len().to_string());
    records
}

#[test]
fn a_series_is_the_whole_capture_whoever_comes_and_goes() {
    let engine = Engine::shared().unwrap();
    let db = neighbour(&engine);
    let (selector, value) = label();
    let stays = engine.run(idle("stays").label(LABEL, &value)).unwrap();
    let again = engine.run(idle("again").label(LABEL, &value)).unwrap();
    let start = |file: &str, words: &[&str]| {
        Capture::start(file, &[words, &[&selector, "--", "udp"]].concat())
    };
    let captures = [
        start("x.pcapng", &["-C", "100k"]),
        start("x-%Y%m%d-%H%M%S.pcapng", &["-G", "3"]),
        start("x.pcapng", &["-b", "filesize:100"]),
        start("x.pcapng", &["-b", "interval:3"]),
    ];
    let talker = talk(&db, &stays, STEADY, "--rate 200 --size 200");
    let everywhere = |name: &str| {
        until(&format!("a block of {name}"), LIMIT, || {
            captures.iter().all(|capture| capture.has_interface(name))
        });
    };
    let mut expected = Vec::new();
    for round in 1..=3 {
        let comes = engine.run(idle("comes").label(LABEL, &value)).unwrap();
        let asks = engine.run(early(&db, 10 + round).label(LABEL, &value)).unwrap();
        everywhere(&name(&comes));
        send(&db, &comes, SOME, &format!("--size 200 --rate 400 --run {}", 20 + round));
        send(&db, &again, SOME, &format!("--size 200 --rate 400 --run {}", 30 + round));
        comes.kill().unwrap();
        engine.docker().args(["restart", "--time", "0", again.id()]).run().unwrap();
        everywhere(&name(&asks));
        expected.push((10 + round, name(&asks), vec![0, 0]));
        expected.push((20 + round, name(&comes), (0..SOME.into()).collect()));
        expected.push((30 + round, name(&again), (0..SOME.into()).collect()));
    }
    until("each has three files", LIMIT, || {
        captures.iter().all(|capture| files(&capture.directory).len() >= 3)
    });
    talker.kill();
    let mut seen = Vec::new();
    for Capture { running, directory } in captures {
        let finished = running.interrupt().unwrap();
        assert_ended(&finished, 0, &["ended: stopped"]);
        let files = files(&directory);
        let mut whole = Records::default();
        for file in &files {
            whole.all.extend(alone(file, &stays).all);
        }
        let count = |what| count(&finished.stderr, what);
        assert_eq!(count("captured"), count("received by filter"), "{}", finished.stderr);
        assert_eq!(count("captured"), whole.len() as u64, "{}", finished.stderr);
        assert_eq!((count("out of order"), whole.inversions()), (0, 0), "{files:?}");
        for (run, interface, numbers) in &expected {
            assert_eq!(whole.of(interface).numbers(*run), *numbers, "run {run}: {files:?}");
        }
        let steady = whole.of(&name(&stays)).numbers(STEADY);
        assert_eq!(steady, (0..steady.len() as u64).collect::<Vec<_>>(), "{files:?}");
        seen.push(steady.len());
    }
    // What one has, all have.
    assert!(seen.iter().all(|count| *count == seen[0]), "{seen:?}");
}
