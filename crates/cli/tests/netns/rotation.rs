//! Files that follow each other: their names are those of tcpdump and dumpcap, and each stands
//! alone.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use lab::{Namespace, Net, Program, Records, Reference, judge};

use crate::{
    blocks::{Blocks, SECTION},
    names, scratch, send,
    whaletap::{LIMIT, Summary, Whaletap, eventually, interface},
};

/// Captures numbered frames at `b` with these words into `directory/name`, beside `reference`.
fn capture((a, b): (&Namespace, &Namespace), file: &Path, words: &[&str], frames: u64) -> Summary {
    let mut ours = Whaletap::capture(&[b], file, words);
    assert_eq!(send(a, &format!("send --dev eth0 --size 1000 --count {frames}")), frames);
    ours.wait_for(frames);
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!(summary.captured, frames, "{summary:?}");
    summary
}

/// The frames' numbers in all files, in the order of their first frames.
fn numbers(directory: &Path) -> Vec<u64> {
    let mut files: Vec<Vec<u64>> = names(directory)
        .iter()
        .map(|name| Records::read(directory.join(name)).unwrap().numbers(1))
        .collect();
    files.sort();
    files.concat()
}

/// Each file has all that it needs.
fn assert_each_stands_alone(directory: &Path, b: &Namespace) {
    for name in names(directory) {
        let file = directory.join(&name);
        judge::all(&file, true).unwrap();
        let blocks = Blocks::read(&file);
        blocks_stand_alone(&blocks, &name, b);
    }
}

fn blocks_stand_alone(blocks: &Blocks, name: &str, b: &Namespace) {
    assert_eq!((blocks.count(SECTION), blocks.rest), (1, 0), "{name}");
    assert_eq!(blocks.interfaces(), ["lo", "eth0"].map(|device| interface(b, device)), "{name}");
    assert!(!blocks.sums().is_empty(), "{name} has no statistics");
}

/// A directory of its own for each tool.
fn two(at: &impl Fn(&str) -> PathBuf, name: &str) -> [PathBuf; 2] {
    ["ours", "theirs"].map(|whose| {
        let directory = at(&format!("{name}-{whose}"));
        fs::create_dir(&directory).unwrap();
        directory
    })
}

/// `-C`, and `-C` with `-W`: the same names as tcpdump's, for the same frames.
#[test]
fn by_size_as_tcpdump_does() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    for (name, words, frames, expected) in [
        ("plain", &["-C", "1"][..], 3500, &["x.pcap", "x.pcap1", "x.pcap2", "x.pcap3"][..]),
        ("ring", &["-C", "1", "-W", "3"], 4500, &["x.pcap0", "x.pcap1", "x.pcap2"]),
        ("wide", &["-C", "1", "-W", "11"], 2500, &["x.pcap00", "x.pcap01", "x.pcap02"]),
        ("units", &["-C", "500k"], 1200, &["x.pcap", "x.pcap1", "x.pcap2"]),
    ] {
        let [ours, theirs] = two(&at, name);
        // tcpdump of Debian 12 knows no units.
        let tcpdump = (name != "units")
            .then(|| Reference::tcpdump(&b, "eth0", theirs.join("x.pcap"), words).unwrap());
        let mut words = words.to_vec();
        words.extend(["-i", "eth0", "-F", "pcap"]);
        capture((&a, &b), &ours.join("x.pcap"), &words, frames);
        assert_eq!(names(&ours), expected, "{name}");
        if let Some(mut tcpdump) = tcpdump {
            tcpdump.wait_for(frames, LIMIT).unwrap();
            tcpdump.stop().unwrap();
            assert_eq!(names(&theirs), expected, "{name}");
            // Frame by frame the same files.
            for file in expected {
                let [ours, theirs] = [&ours, &theirs].map(|d| Records::read(d.join(file)).unwrap());
                assert_eq!(ours.numbers(1), theirs.numbers(1), "{name}: {file}");
            }
        }
        if name != "ring" {
            assert_eq!(numbers(&ours), (0..frames).collect::<Vec<_>>(), "{name}");
        }
        for file in expected {
            judge::all(ours.join(file), true).unwrap();
        }
    }
    // pcapng the same way.
    let [ours, _] = two(&at, "pcapng");
    capture((&a, &b), &ours.join("x.pcapng"), &["-C", "1"], 2500);
    assert_eq!(names(&ours), ["x.pcapng", "x.pcapng1", "x.pcapng2"]);
    assert_eq!(numbers(&ours), (0..2500).collect::<Vec<_>>());
    assert_each_stands_alone(&ours, &b);
}

/// `-G`: strftime names, a counter where one comes again, and the end after `-W` files.
#[test]
fn by_time_as_tcpdump_does() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let [ours, same] = two(&at, "time");
    let mut timed = Whaletap::capture(&[&b], &ours.join("x-%Y%m%d-%H%M%S.pcapng"), ["-G", "1"]);
    let again = Whaletap::capture(&[&b], &same.join("x.pcapng"), ["-G", "1", "-W", "2"]);
    let begin = SystemTime::now();
    let frames = send(&a, "send --dev eth0 --size 100 --rate 500 --seconds 3.2");
    timed.wait_for(frames);
    let took = begin.elapsed().unwrap();
    timed.stop().assert_adds_up();
    let found = names(&ours);
    assert!((3..=6).contains(&found.len()), "{found:?} in {took:?}");
    for name in &found {
        let digits: String =
            name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(digits, "x-00000000-000000.pcapng");
        // The name is the time of the file's first frame, to the second, here: a full second has
        // passed at the frame that begins a file.
        let seconds = Program::new("date").arg("-d").arg(stamp(name)).arg("+%s").run().unwrap();
        let named: u64 = seconds.stdout_text().trim().parse().unwrap();
        let records = Records::read(ours.join(name)).unwrap();
        let (Some(first), Some(last)) = (records.all.first(), records.all.last()) else {
            assert_eq!(name, &found[0], "only the first can be over before a frame comes");
            continue;
        };
        let first = first.timestamp_ns / 1_000_000_000;
        assert!(first == named || name == &found[0], "{name}: {first}, named {named}");
        let last = last.timestamp_ns / 1_000_000_000;
        assert!(last - named < 1, "{name} has frames of {} s", last - named);
    }
    assert_eq!(numbers(&ours), (0..frames).collect::<Vec<_>>());
    assert_each_stands_alone(&ours, &b);
    // It ended by itself behind the second file; the name came again.
    let summary = again.running.wait_at_most(LIMIT).unwrap();
    assert_eq!(summary.code(), Some(0), "{summary:?}");
    assert!(summary.stderr.contains("the limit of 2 files was reached"), "{}", summary.stderr);
    Summary::of(&summary).assert_adds_up();
    assert_eq!(names(&same), ["x-1.pcapng", "x.pcapng"]);
    assert_each_stands_alone(&same, &b);
}

/// `x-20240714-120117.pcapng` as date(1) reads it.
fn stamp(name: &str) -> String {
    let (day, time) = (&name[2..10], &name[11..17]);
    format!("{day} {}:{}:{}", &time[..2], &time[2..4], &time[4..])
}

/// `-b`: numbers and times in the names, the oldest go; as dumpcap does beside us.
#[test]
fn rings_as_dumpcap_does() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    for (name, words, frames, files) in [
        ("size", &["-b", "filesize:500"][..], 1700, &[1, 2, 3, 4][..]),
        ("packets", &["-b", "packets:400"], 1500, &[1, 2, 3, 4]),
        ("kept", &["-b", "packets:400", "-b", "files:2"], 1900, &[4, 5]),
    ] {
        let [ours, theirs] = two(&at, name);
        let dumpcap = Reference::dumpcap(&b, "eth0", theirs.join("x.pcapng"), words).unwrap();
        capture((&a, &b), &ours.join("x.pcapng"), words, frames);
        let mut dumpcap = dumpcap;
        dumpcap.wait_for(frames, LIMIT).unwrap();
        dumpcap.stop().unwrap();
        let numbers_of = |directory: &Path| {
            names(directory)
                .iter()
                .map(|name| {
                    // x_00001_20240714120117.pcapng
                    let (number, time) = (&name[2..7], &name[8..22]);
                    assert!(time.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
                    assert_eq!(name, &format!("x_{number}_{time}.pcapng"));
                    number.parse::<u32>().unwrap()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers_of(&ours), files, "{name}");
        assert_eq!(numbers_of(&theirs), files, "{name}: dumpcap");
        let found = numbers(&ours);
        assert_eq!(*found.last().unwrap(), frames - 1);
        if name != "size" {
            // Where frames and not bytes count, the files are the same.
            assert_eq!(found, numbers(&theirs), "{name}");
        }
        if name != "kept" {
            assert_eq!(found, (0..frames).collect::<Vec<_>>(), "{name}");
        }
        assert_each_stands_alone(&ours, &b);
    }
}

#[test]
fn rings_by_the_clock() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let [age, clock] = two(&at, "clock");
    let by_age =
        Whaletap::capture(&[&b], &age.join("x.pcapng"), ["-b", "duration:1", "-a", "files:3"]);
    let by_clock =
        Whaletap::capture(&[&b], &clock.join("x.pcapng"), ["-b", "interval:1", "-a", "files:3"]);
    let frames = send(&a, "send --dev eth0 --size 100 --rate 200 --seconds 3.3");
    assert!(frames > 300);
    for (ours, directory) in [(by_age, &age), (by_clock, &clock)] {
        // Silence does not keep a file open.
        let summary = ours.ended(0);
        summary.assert_adds_up();
        assert!(summary.text.contains("the limit of 3 files was reached"), "{}", summary.text);
        let found = names(directory);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_each_stands_alone(directory, &b);
        let numbers = numbers(directory);
        assert_eq!(numbers, (0..summary.captured).collect::<Vec<_>>());
    }
    // Of those by the clock every frame stands in the file of its own second.
    for name in &names(&clock)[1..] {
        let records = Records::read(clock.join(name)).unwrap();
        let seconds: Vec<u64> =
            records.all.iter().map(|record| record.timestamp_ns / 1_000_000_000).collect();
        let other = seconds.iter().filter(|second| **second != seconds[seconds.len() / 2]).count();
        // The file changes when the clock is looked at, and frames wait for their order a moment.
        assert!(other * 4 < seconds.len(), "{name}: {other} of {}", seconds.len());
    }
}

/// dumpcap's `-a`, alone.
#[test]
fn the_end_by_itself() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let _flood = a.traffic("send --dev eth0 --size 500 --seconds 30 --rate 2000").unwrap();
    for (number, (words, reason)) in [
        (["-a", "packets:250"], "the limit of 250 packets was reached"),
        (["-a", "filesize:200"], "the limit of 200 kB was reached"),
        (["-a", "duration:0.5"], "the time was over"),
        (["--duration", "300ms"], "the time was over"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = at(&format!("{number}.pcapng"));
        let summary = Whaletap::capture(&[&b], &file, words).ended(0);
        summary.assert_adds_up();
        assert!(summary.text.contains(reason), "{words:?}: {}", summary.text);
        judge::all(&file, true).unwrap();
        Blocks::read(&file).assert_adds_up();
        match words[1] {
            "packets:250" => assert_eq!(summary.captured, 250),
            "filesize:200" => {
                let length = fs::metadata(&file).unwrap().len();
                assert!((200_000..204_000).contains(&length), "{length}");
            }
            _ => assert!(summary.captured > 100, "{summary:?}"),
        }
    }
}

/// `-z` runs for each file that was ended by rotation.
#[test]
fn a_command_for_each_finished_file() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let [files, done] = two(&at, "z");
    let script = at("finished.sh");
    let text = format!("#!/bin/sh\ncp \"$1\" {}/\n", done.display());
    fs::write(&script, text).unwrap();
    Program::new("chmod").arg("+x").arg(&script).run().unwrap();
    let mut ours = Whaletap::capture(
        &[&b],
        &files.join("x.pcapng"),
        ["-b", "packets:100", "-z", script.to_str().unwrap()],
    );
    send(&a, "send --dev eth0 --size 100 --count 250");
    ours.wait_for(250);
    let first: Vec<String> = names(&files)[..2].to_vec();
    eventually("the command has run for both", LIMIT, || {
        names(&done) == first
            && first.iter().all(|name| {
                let [copy, file] =
                    [&done, &files].map(|d| fs::metadata(d.join(name)).unwrap().len());
                copy == file
            })
    });
    ours.stop();
    // What the command saw was complete.
    for name in &first {
        judge::all(done.join(name), true).unwrap();
        assert_eq!(Records::read(done.join(name)).unwrap().len(), 100);
    }
}

/// A name that is taken already is not overwritten without a word.
#[test]
fn nobody_elses_file_is_followed() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (directory, at) = scratch();
    let ours = Whaletap::start(
        crate::whaletap::whaletap(["capture", &crate::whaletap::selector(&b)])
            .current_dir(directory.path()),
    );
    ours.stop();
    let found = names(directory.path());
    assert_eq!(found.len(), 1);
    // {host}-%Y-%m-%d_%H-%M-%S.pcapng
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let rest = found[0].strip_prefix(host.trim()).expect("the host's name comes first");
    let digits: String = rest.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(digits, "-0000-00-00_00-00-00.pcapng");
    judge::all(at(&found[0]), true).unwrap();
}

/// Whoever may write in the directory gets no packets by that, and holds nobody up.
#[test]
fn what_stands_under_the_next_name_gets_nothing() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    for (kind, words) in [("fifo", &["mkfifo"][..]), ("link", &["ln", "-s", "/dev/null"])] {
        let directory = at(kind);
        fs::create_dir(&directory).unwrap();
        let program = Program::new(words[0]).args(&words[1..]).arg(directory.join("x.pcapng1"));
        program.run().unwrap();
        let first = directory.join("x.pcapng");
        let ours = Whaletap::capture(&[&b], &first, ["-C", "100k"]);
        send(&a, "send --dev eth0 --size 1000 --count 300");
        let summary = ours.ended(1);
        summary.assert_adds_up();
        assert!(summary.text.contains("x.pcapng1: "), "{}", summary.text);
        judge::all(&first, true).unwrap();
        assert!(!Records::read(&first).unwrap().is_empty());
    }
}
