//! The flight recorder: what is in its files, judged by what tcpdump saw beside it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use lab::{Frames, Namespace, Net, Program, Records, Reference, Running, Station, judge};

use crate::{
    NONE,
    blocks::{Blocks, SECTION},
    inject, names, scratch, send,
    whaletap::{LIMIT, Whaletap, eventually, interface, selector, whaletap},
};

pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// Steady traffic in the background: numbered frames.
pub(crate) fn stream(a: &Namespace, size: u64, rate: u64, seconds: u64) -> Running {
    let line = format!("send --dev eth0 --size {size} --rate {rate} --seconds {seconds}");
    a.traffic(&line).unwrap()
}

/// Waits until so many files of a target were told of, and says which the last one is, and what was
/// told.
pub(crate) fn recorded(
    recorder: &mut Whaletap,
    target: &str,
    trigger: &str,
    count: usize,
) -> (PathBuf, String) {
    let begins = format!("whaletap: {target}: {trigger}");
    let mut left = count;
    let line = recorder.running.wait_for("a file", 2 * LIMIT, |line| {
        let is_one = line.starts_with(&begins) && line.contains(" before it and ");
        left -= usize::from(is_one);
        is_one && left == 0
    });
    let line = line.unwrap();
    let (_, file) = line.rsplit_once(" in ").unwrap();
    let file = file.split([' ', ';']).next().unwrap();
    (file.into(), line)
}

/// What the section header of a file says beside the command line.
pub(crate) fn about(file: &Path) -> String {
    let blocks = Blocks::read(file);
    assert_eq!(blocks.rest, 0);
    let comments = blocks.of_kind(SECTION).next().unwrap().comments();
    comments.into_iter().find(|comment| comment.starts_with("flight recorder: ")).unwrap()
}

/// The timestamps of a file's frames.
pub(crate) fn stamps(records: &Records) -> Vec<u64> {
    records.all.iter().map(|record| record.timestamp_ns).collect()
}

/// Every frame that tcpdump saw from `begin` to `end` is in the file, once.
pub(crate) fn assert_holds(ours: &Records, theirs: &Records, begin: u64, end: u64) {
    let within = |records: &Records| {
        let all = records.all.iter().filter(|it| (begin..=end).contains(&it.timestamp_ns));
        let mut all: Vec<_> = all.map(|it| (it.timestamp_ns, it.data.clone())).collect();
        all.sort_unstable();
        all
    };
    let (ours, theirs) = (within(ours), within(theirs));
    assert!(theirs.len() > 100, "tcpdump saw next to nothing: {}", theirs.len());
    assert_eq!(ours.len(), theirs.len());
    // Both taps have one stamp for a frame, as far as the kernel lets them.
    for ((our_stamp, our_bytes), (their_stamp, their_bytes)) in ours.iter().zip(&theirs) {
        assert!(our_stamp.abs_diff(*their_stamp) < SECOND / 100 && our_bytes == their_bytes);
    }
}

#[test]
fn a_signal_writes_what_was_before_and_behind_it() {
    let (_net, a, b) = Net::pair().unwrap();
    let (directory, at) = scratch();
    let tcpdump = Reference::tcpdump(&b, "eth0", at("tcpdump.pcap"), NONE).unwrap();
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    let words = ["--keep", "2s", "--after", "1s", "--on", "signal"];
    let mut ours = Whaletap::record(&[&b], &out, words);
    let traffic = stream(&a, 200, 2000, 8);
    // Older than the window and its slack when the signal comes: 6.5 s of them.
    ours.wait_for(13_000);
    assert_eq!(names(&out), NONE, "nothing is written before");
    let trigger = now();
    ours.signal("USR2");
    let (file, line) = recorded(&mut ours, b.name(), "signal", 1);
    assert!(line.contains("2.0 s before it"), "{line}");
    let sent = lab::traffic::Report::of(traffic.wait().unwrap()).unwrap().count;
    assert!(
        file.file_name().unwrap().to_str().unwrap().starts_with(&format!("{}-signal-2", b.name()))
    );

    let records = Records::read(&file).unwrap();
    let (_, theirs) = tcpdump.stop_after(sent, LIMIT).unwrap();
    // The file begins before its window does, and it does not reach back for ever.
    let stamps = stamps(&records);
    assert!(stamps[0] <= trigger - 2 * SECOND, "{}", trigger - stamps[0]);
    assert!(stamps[0] >= trigger - 6 * SECOND, "{}", trigger - stamps[0]);
    assert!(*stamps.last().unwrap() >= trigger + SECOND - SECOND / 100);
    assert_holds(&records.of(&interface(&b, "eth0")), &theirs, stamps[0], trigger + SECOND);
    let about = about(&file);
    assert!(about.contains("asked for 2.000 s, held 2.000 s; followed by 1.000 s"), "{about}");
    judge::all(&file, true).unwrap();
    let told = judge::capinfos(&file).unwrap();
    assert_eq!(told["Number of packets"], records.len().to_string());
    assert_eq!(told["Strict time order"], "True");

    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!(summary.captured, summary.received, "held, or let go: {summary:?}");
    assert!(summary.text.contains("1 file, the last: "), "{}", summary.text);
    assert_eq!(names(&out).len(), 1);
}

#[test]
fn a_second_trigger_makes_the_file_longer_and_a_later_one_has_its_whole_window() {
    let (_net, a, b) = Net::pair().unwrap();
    let (directory, _) = scratch();
    let words = ["--keep", "2s", "--after", "1s", "--cooldown", "500ms", "--on", "signal"];
    let mut ours = Whaletap::record(&[&b], directory.path(), words);
    // The traffic is the clock: 500 frames are a second.
    let traffic = stream(&a, 200, 500, 7);
    ours.wait_for(1250);
    let first = now();
    ours.signal("USR2");
    let captured = ours.counts().captured;
    ours.wait_for(captured + 250);
    let second = now();
    ours.signal("USR2");
    let (file, line) = recorded(&mut ours, b.name(), "signal", 1);
    assert!(line.contains("(1 further trigger meanwhile)"), "{line}");
    // Within the cooldown: counted. Nobody tells of its end, but time.
    ours.signal("USR2");
    let captured = ours.counts().captured;
    ours.wait_for(captured + 450);
    let third = now();
    ours.signal("USR2");
    let (again, _) = recorded(&mut ours, b.name(), "signal", 2);
    assert_ne!(file, again);
    traffic.wait().unwrap();

    let records = Records::read(&file).unwrap();
    assert!(*stamps(&records).last().unwrap() >= second + SECOND - SECOND / 50);
    let comments = records.all.iter().flat_map(|record| &record.comments);
    assert_eq!(comments.filter(|text| text.contains("another trigger: signal")).count(), 1);
    let later = Records::read(&again).unwrap();
    assert!(stamps(&later)[0] <= third - 2 * SECOND, "{}", third - stamps(&later)[0]);
    assert!(stamps(&later)[0] < first + 2 * SECOND, "what was written is held still");
    let summary = ours.stop();
    summary.assert_adds_up();
    let row = summary.text.lines().skip_while(|line| !line.starts_with("RECORDED")).nth(1);
    let cells: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(cells[1..5], ["4", "1", "2", "0"], "{}", summary.text);
}

#[test]
fn frames_can_be_triggers() {
    let mut net = Net::new();
    let (a, b, c) = (net.namespace().unwrap(), net.namespace().unwrap(), net.namespace().unwrap());
    net.veth((&a, "eth0"), (&b, "eth0"), 1500).unwrap();
    let (directory, _) = scratch();
    let words = ["--after", "0", "--on", "match:udp port 7777", "--on", "rst>2/1s"];
    let mut ours = Whaletap::record(&[&b, &c], directory.path(), words);
    let mut frames = Frames::new(1, Station::A, Station::NOBODY);
    let mut segments: Vec<Vec<u8>> = (0..10).map(|_| frames.tcp4(60)).collect();
    for frame in &mut segments {
        // The flags of a segment behind an IPv4 header without options.
        frame[47] = 0x10;
    }
    inject(&a, "eth0", &segments);
    for frame in &mut segments {
        frame[47] = 0x14;
    }
    inject(&a, "eth0", &segments[..2]);
    ours.wait_for(12);
    assert_eq!(names(directory.path()), NONE, "two resets are not more than two");
    inject(&a, "eth0", &segments[2..3]);
    let (file, line) = recorded(&mut ours, b.name(), "rst", 1);
    assert!(line.contains("rst (more than 2 resets in 1s)"), "{line}");
    assert_eq!(Records::read(&file).unwrap().len(), 13);
    // Its cooldown is not over, and another kind has one of its own.
    inject(&a, "eth0", &segments[..3]);
    ours.wait_for(16);
    assert_eq!(names(directory.path()).len(), 1);
    let mut datagram = frames.udp4(40);
    datagram[36..38].copy_from_slice(&7777_u16.to_be_bytes());
    for _ in 0..2 {
        inject(&a, "eth0", &[datagram.clone()]);
    }
    ours.wait_for(18);
    let (_, line) = recorded(&mut ours, b.name(), "match", 1);
    assert!(line.contains("match (udp port 7777)"), "{line}");
    assert_eq!(names(directory.path()).len(), 2);
    inject(&c, "lo", &[datagram]);
    let (file, line) = recorded(&mut ours, c.name(), "match", 1);
    assert!(line.contains("match (udp port 7777)"), "{line}");
    let records = Records::read(&file).unwrap();
    assert_eq!(records.len(), 1, "the frame itself is in it, and nothing of the other target");
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!(names(directory.path()).len(), 3);
}

#[test]
fn losses_can_be_a_trigger() {
    let (_net, a, b) = Net::pair().unwrap();
    let (directory, _) = scratch();
    let words = ["--keep", "1MiB", "--after", "0", "--on", "drop", "-B", "512KiB"];
    let mut ours = Whaletap::record(&[&b], directory.path(), words);
    // The reader stands still, so that the ring runs full.
    ours.signal("STOP");
    send(&a, "send --dev eth0 --size 1000 --count 5000");
    ours.signal("CONT");
    let (file, line) = recorded(&mut ours, b.name(), "drop", 1);
    assert!(line.contains("packets lost)"), "{line}");
    assert!(!Records::read(&file).unwrap().is_empty());
    let summary = ours.stop();
    summary.assert_adds_up();
    assert!(summary.dropped_by_kernel > 0, "{summary:?}");
}

#[test]
fn memory_is_bounded_and_a_short_window_is_told() {
    const MEMORY: u64 = 8 << 20;
    let (_net, a, b) = Net::pair().unwrap();
    let (directory, _) = scratch();
    let words = [
        "--keep",
        "60s",
        "--after",
        "0",
        "--cooldown",
        "0",
        "--memory",
        "8MiB",
        "--on",
        "signal",
        "--ring-memory",
        "2MiB",
    ];
    let mut ours = Whaletap::record(&[&b], directory.path(), words);
    let before = resident(ours.pid());
    let traffic = stream(&a, 200, 20_000, 20);
    ours.running.wait_for_line("warning: memory holds ", LIMIT).unwrap();
    eventually("the window is full", LIMIT, || ours.counts().captured > 60_000);
    let mut most = 0;
    let mut last = None;
    for count in 1..=200 {
        ours.signal("USR2");
        let (file, _) = recorded(&mut ours, b.name(), "signal", count);
        most = most.max(resident(ours.pid()));
        if let Some(earlier) = last.replace(file) {
            fs::remove_file(earlier).unwrap();
        }
    }
    traffic.kill();
    let file = last.unwrap();
    let size = fs::metadata(&file).unwrap().len();
    assert!((MEMORY / 2..=MEMORY).contains(&size), "{size} bytes were held");
    // Beside the window there is what the first triggers need.
    assert!(most < before + MEMORY + (4 << 20), "{before} became {most}");
    let about = about(&file);
    assert!(about.contains("asked for 60.000 s, held "), "{about}");
    assert!(about.contains(": memory was used up (--memory)"), "{about}");
    let records = Records::read(&file).unwrap();
    assert_eq!(records.inversions(), 0);
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!(summary.dropped_by_us, 0, "eviction is no loss: {summary:?}");
}

/// Bytes of a process that are in memory.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn limits_hold_and_a_command_is_told_of_each_file() {
    let (_net, a, b) = Net::pair().unwrap();
    let (directory, at) = scratch();
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    let script = at("done.sh");
    let told = at("told");
    // Both may run at once: what each has to tell is written in one piece.
    let text = format!(
        "#!/bin/sh\njson=$(cat)\nprintf '%s\\n%s\\n' \"$1\" \"$json\" >>{}\n",
        told.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let words = [
        "--keep",
        "5s",
        "--after",
        "0",
        "--cooldown",
        "0",
        "--max-files",
        "2",
        "--on",
        "signal",
        "--exec",
        script.to_str().unwrap(),
    ];
    let mut ours = Whaletap::record(&[&b], &out, words);
    let sent = send(&a, "send --dev eth0 --size 100 --count 50");
    ours.wait_for(sent);
    for count in 1..=2 {
        ours.signal("USR2");
        recorded(&mut ours, b.name(), "signal", count);
    }
    ours.signal("USR2");
    let full = ours.running.wait_for_line("the limit of 2 files (--max-files)", LIMIT);
    full.unwrap();
    eventually("both are told", LIMIT, || {
        fs::read_to_string(&told).unwrap_or_default().lines().count() == 4
    });
    let told = fs::read_to_string(&told).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    for file in [lines[0], lines[2]] {
        assert_eq!(Records::read(file).unwrap().len() as u64, sent, "{file}");
    }
    for json in [lines[1], lines[3]] {
        let name = b.name();
        assert!(json.contains(&format!(r#""target":"{name}","trigger":"signal""#)), "{json}");
        assert!(json.contains(r#""window_seconds_asked":5.0"#), "{json}");
        assert!(json.contains(&format!(r#""packets":{sent}"#)), "{json}");
    }
    assert_eq!(names(&out).len(), 2);
    ours.stop().assert_adds_up();
}

#[test]
fn all_files_together_stay_below_their_size() {
    let (_net, a, b) = Net::pair().unwrap();
    let (directory, _) = scratch();
    let words = [
        "--keep",
        "60s",
        "--after",
        "5s",
        "--cooldown",
        "0",
        "--max-size",
        "100KiB",
        "--on",
        "signal",
    ];
    let mut ours = Whaletap::record(&[&b], directory.path(), words);
    send(&a, "send --dev eth0 --size 1000 --count 50");
    ours.wait_for(50);
    ours.signal("USR2");
    eventually("it is begun", LIMIT, || names(directory.path()).len() == 1);
    send(&a, "send --dev eth0 --size 1000 --count 200");
    let (file, _) = recorded(&mut ours, b.name(), "signal", 1);
    let size = fs::metadata(&file).unwrap().len();
    assert!((50_000..=100 << 10).contains(&size), "{size}");
    judge::all(&file, true).unwrap();
    ours.signal("USR2");
    ours.wait_for(250);
    assert_eq!(names(directory.path()).len(), 1);
    let summary = ours.stop();
    assert!(summary.text.contains("(--max-size)"), "{}", summary.text);
    summary.assert_adds_up();
}

#[test]
fn what_cannot_be_written_is_told_and_recording_goes_on() {
    let (_net, a, b) = Net::pair().unwrap();
    let (directory, _) = scratch();
    let words = ["--after", "0", "--cooldown", "0", "--on", "signal"];
    let gone = directory.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let mut ours = Whaletap::record(&[&b], &gone, words);
    let sent = send(&a, "send --dev eth0 --size 100 --count 50");
    ours.wait_for(sent);
    fs::remove_dir(&gone).unwrap();
    ours.signal("USR2");
    let error = ours.running.wait_for_line("not written: cannot create ", LIMIT).unwrap();
    assert!(error.starts_with("whaletap: error: "), "{error}");
    ours.signal("INT");
    let summary = ours.ended(5);
    summary.assert_adds_up();
    assert_eq!(summary.captured, sent);
    assert!(summary.text.contains("no file was written"), "{}", summary.text);
}

/// A file that is being written when the recorder is ended is complete, and a trigger that comes
/// shortly before its target ends finds all that there was.
#[test]
fn ends_leave_nothing_out() {
    let (mut net, a, b) = Net::pair().unwrap();
    let c = net.namespace().unwrap();
    let (directory, _) = scratch();
    let words = ["--after", "60s", "--on", "signal"];
    let mut ours = Whaletap::record(&[&b, &c], directory.path(), words);
    let sent = send(&a, "send --dev eth0 --size 100 --count 500");
    ours.signal("USR2");
    net.remove(&b).unwrap();
    ours.running.wait_for_line(&format!("{}: ended", b.name()), LIMIT).unwrap();
    let name = b.name().to_owned();
    let summary = ours.stop();
    summary.assert_adds_up();
    let of_b = names(directory.path()).into_iter().find(|file| file.starts_with(&name)).unwrap();
    let file = directory.path().join(of_b);
    let records = Records::read(&file).unwrap();
    assert_eq!(records.len() as u64, sent);
    judge::all(&file, true).unwrap();
    let sums = Blocks::read(&file).sums();
    assert_eq!(sums.iter().map(|sum| sum.captured).sum::<u64>(), sent, "{sums:?}");
}

#[test]
fn a_wrong_expression_is_marked() {
    let (mut net, ..) = Net::pair().unwrap();
    let namespace = net.namespace().unwrap();
    let words = ["record", &selector(&namespace), "--on", "match:tcp prot 80"];
    let finished = whaletap(words).finish().unwrap();
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    assert!(finished.stderr.contains("tcp prot 80\n"), "{}", finished.stderr);
    assert!(finished.stderr.contains('^'), "{}", finished.stderr);
    let unknown = Program::new(env!("CARGO_BIN_EXE_whaletap"))
        .args(["record", "web", "--on", "dead"])
        .finish()
        .unwrap();
    assert_eq!(unknown.code(), Some(2), "{unknown:?}");
}

/// Root without its right to pass over permissions, in a directory of somebody else's: that shows
/// before anything has happened, and not when it has.
#[test]
fn a_directory_that_cannot_be_written_is_refused_at_the_start() {
    let (_net, _a, b) = Net::pair().unwrap();
    let directory = tempfile::tempdir().unwrap();
    chown(directory.path(), Some(54_321), Some(54_321)).unwrap();
    let words = ["record", &selector(&b), "-w"];
    let refused = whaletap(words).arg(directory.path()).limit(LIMIT).finish().unwrap();
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    for words in ["cannot write recorded files in", "Permission denied", "hint: "] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    assert_eq!(names(directory.path()), Vec::<String>::new());
}
