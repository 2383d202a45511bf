//! Many namespaces at once, in the order of time.

use std::{path::Path, thread};

use lab::{
    Frames, Namespace, Net, Records, Station,
    traffic::{Pace, RawSender},
};

use crate::{
    blocks::{Blocks, INTERFACE},
    names, scratch,
    whaletap::{Whaletap, interface},
};

const TALKING: usize = 50;
const SILENT: usize = 10;
/// Frames of each that talks.
const FRAMES: u64 = 300;

/// Many namespaces, made side by side: each takes some programs to be run.
fn nets() -> Vec<Net> {
    thread::scope(|scope| {
        let makers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut net = Net::new();
                    for _ in 0..(TALKING + SILENT) / 6 {
                        net.namespace().unwrap();
                    }
                    net
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    })
}

/// All talk at once, each at its own pace.
fn talk(talking: &[&Namespace], run: u32) {
    thread::scope(|scope| {
        for (number, namespace) in talking.iter().enumerate() {
            let number = u64::try_from(number).unwrap();
            scope.spawn(move || {
                let sender = namespace.enter(|| RawSender::open("lo")).unwrap().unwrap();
                let mut frames = Frames::new(run, Station::A, Station::NOBODY);
                let mut pace = Pace::new(Some(FRAMES), 20.0, Some(300 + 7 * number));
                while pace.due(1).is_some() {
                    sender.send(&frames.udp4(100)).unwrap();
                    pace.sent(1, 100);
                }
            });
        }
    });
}

fn read(directory: &Path) -> Vec<Records> {
    let paths = names(directory);
    paths.iter().map(|name| Records::read(directory.join(name)).unwrap()).collect()
}

#[test]
fn sixty_namespaces_in_one_order() {
    let nets = nets();
    let all: Vec<&Namespace> = nets.iter().flat_map(Net::namespaces).collect();
    let (silent, talking) = all.split_at(SILENT);
    let total = FRAMES * TALKING as u64;
    let (_directory, at) = scratch();
    for (run, (name, words)) in
        [("one", &[][..]), ("split", &["--split"]), ("ring", &["-b", "packets:3000"])]
            .into_iter()
            .enumerate()
    {
        let run = u32::try_from(run).unwrap();
        let directory = at(name);
        std::fs::create_dir(&directory).unwrap();
        let mut ours = Whaletap::capture(&all, &directory.join("x.pcapng"), words);
        talk(talking, run);
        ours.wait_for(total);
        let summary = ours.stop();
        summary.assert_adds_up();
        assert_eq!((summary.captured, summary.received), (total, total), "{name}: {summary:?}");
        assert_eq!(summary.out_of_order, 0, "{name}: {}", summary.text);
        assert_eq!(summary.targets.len(), all.len());

        let files = read(&directory);
        for records in &files {
            assert_eq!(records.inversions(), 0, "{name}");
        }
        let count = match name {
            "one" => 1,
            "split" => all.len(),
            _ => 5,
        };
        let whole = Records { all: files.into_iter().flat_map(|file| file.all).collect() };
        assert!(names(&directory).len() >= count, "{name}: {:?}", names(&directory));
        if name != "split" {
            assert_eq!(whole.inversions(), 0, "{name}: from file to file");
        }
        assert_eq!(whole.len() as u64, total);
        for namespace in talking {
            let records = whole.of(&interface(namespace, "lo"));
            assert_eq!(records.numbers(run), (0..FRAMES).collect::<Vec<_>>(), "{name}");
        }
        // Those that said nothing are there all the same.
        for path in names(&directory) {
            let interfaces = Blocks::read(directory.join(&path)).interfaces();
            if name == "split" {
                assert_eq!(interfaces.len(), 1, "{path}");
                assert!(path.starts_with("x-wt-"), "{path}");
            } else {
                assert_eq!(interfaces.len(), all.len(), "{path}");
                let has = |ns: &Namespace| interfaces.contains(&interface(ns, "lo"));
                assert!(silent.iter().all(|ns| has(ns)), "{path}");
            }
            assert_ne!(Blocks::read(directory.join(&path)).count(INTERFACE), 0);
        }
    }
}
