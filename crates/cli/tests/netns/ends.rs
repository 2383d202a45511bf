//! Every end: in good order, in a hurry, and by force; and what is left.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use lab::{Frames, Net, Program, Records, Station, judge};

use crate::{
    NONE,
    blocks::{Blocks, PACKET},
    inject, names, scratch, send,
    whaletap::{LIMIT, Whaletap, eventually, selector, send_signal, whaletap},
};

/// How long a dead namespace may live on.
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn each_polite_signal_ends_it_in_good_order() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    for name in ["INT", "TERM", "HUP"] {
        let file = at(&format!("{name}.pcapng"));
        let mut ours = Whaletap::capture(&[&b], &file, NONE);
        send(&a, "send --dev eth0 --count 700");
        ours.wait_for(1);
        ours.signal(name);
        let summary = ours.ended(0);
        summary.assert_adds_up();
        assert_eq!(summary.captured, 700, "what was in the ring is drained: {summary:?}");
        assert!(summary.text.ends_with("ended: stopped\n"), "{}", summary.text);
        judge::all(&file, true).unwrap();
        Blocks::read(&file).assert_adds_up();
    }
    // nohup's way.
    let program = Program::new("nohup")
        .arg(env!("CARGO_BIN_EXE_whaletap"))
        .args(["capture", &selector(&b), "-w"])
        .arg(at("nohup.pcapng"));
    let mut ours = Whaletap::start(program);
    ours.signal("HUP");
    send(&a, "send --dev eth0 --count 7");
    ours.wait_for(7);
    ours.stop().assert_adds_up();
}

/// Whatever is in the rings at that moment is still written.
#[test]
fn it_ends_in_the_middle_of_a_flood() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let mut flood = a.traffic("send --dev eth0 --size 200 --rate 8000 --seconds 60").unwrap();
    for (number, words) in
        [&[][..], &["--duration", "300ms"], &["--split"], &["-b", "packets:2000"], &["-F", "pcap"]]
            .into_iter()
            .enumerate()
    {
        let file = at(&format!("{number}.pcapng"));
        let words = [&["-i", "eth0"], words].concat();
        let mut ours = Whaletap::capture(&[&b], &file, &words);
        if number != 1 {
            ours.wait_for(1500);
            ours.signal("TERM");
        }
        let before = Instant::now();
        let summary = ours.ended(0);
        assert!(before.elapsed() < Duration::from_secs(3), "{words:?}: {:?}", before.elapsed());
        summary.assert_adds_up();
        assert_eq!(summary.dropped_by_us, 0, "{words:?}: {summary:?}");
        assert!(summary.captured > 500, "{words:?}: {summary:?}");
    }
    assert!(flood.is_alive());
    for name in names(&at("")) {
        judge::all(at(&name), true).unwrap();
    }
    // One without a gap.
    let numbers = Records::read(at("0.pcapng")).unwrap().numbers(1);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (_net, a, b) = Net::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let program = whaletap(["capture", &selector(&b), "-w", "-"]).stdout_to(writer);
    let mut ours = Whaletap::start(program);
    let count = send(&a, "send --dev eth0 --size 1000 --count 3000");
    eventually("it has all", LIMIT, || ours.counts().received == count);
    // Nobody reads: the first one cannot come to its end.
    ours.signal("INT");
    assert!(!ended_within(&mut ours, Duration::from_millis(300)));
    let before = Instant::now();
    ours.signal("INT");
    let summary = ours.ended(130);
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    assert!(summary.text.contains("ended at once"), "{}", summary.text);
    drop(reader);
}

/// timeout(1) ends its program, and then its group.
#[test]
fn two_signals_in_one_moment_are_one_request() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    for round in 0..5 {
        let file = at(&format!("{round}.pcapng"));
        let mut ours = Whaletap::capture(&[&b], &file, NONE);
        let sent = send(&a, "send --dev eth0 --size 100 --count 50");
        ours.wait_for(sent);
        ours.signal("TERM");
        ours.signal("TERM");
        ours.ended(0).assert_adds_up();
        judge::all(&file, true).unwrap();
    }
}

fn ended_within(ours: &mut Whaletap, limit: Duration) -> bool {
    let ends = Instant::now() + limit;
    while Instant::now() < ends {
        if !ours.running.is_alive() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn usr1_tells_the_counts_and_usr2_writes_all_out() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let file = at("x.pcapng");
    let mut ours = Whaletap::capture(&[&b], &file, NONE);
    let sent = Frames::new(1, Station::A, Station::NOBODY).zoo();
    inject(&a, "eth0", &sent);
    ours.wait_for(18);
    ours.signal("USR1");
    ours.running
        .wait_for_line(
            "whaletap: 18 packets captured, 18 packets received by filter, 0 packets dropped by kernel",
            LIMIT,
        )
        .unwrap();
    eventually("all is in the file", LIMIT, || {
        ours.signal("USR2");
        Blocks::read(&file).count(PACKET) == 18
    });
    judge::all(&file, true).unwrap();
    inject(&a, "eth0", &sent);
    ours.wait_for(36);
    assert_eq!(ours.stop().captured, 36);
}

#[test]
fn a_capture_of_a_process_ends_with_it() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let target = b.traffic("silent --seconds 100").unwrap();
    eventually("it is inside", LIMIT, || {
        let netns = fs::metadata(format!("/proc/{}/ns/net", target.pid())).unwrap();
        std::os::unix::fs::MetadataExt::ino(&netns) == b.id().unwrap().1
    });
    let pid = format!("pid:{}", target.pid());
    let name = format!("whaletap-traffi.{}", target.pid());
    let program = whaletap(["capture", &pid, "-w"]).arg(at("x.pcapng"));
    let mut ours = Whaletap::start(program);
    send(&a, "send --dev eth0 --count 100");
    ours.wait_for(100);
    target.kill();
    let summary = ours.ended(0);
    summary.assert_adds_up();
    assert!(summary.text.contains("ended: all targets have ended"), "{}", summary.text);
    assert!(summary.text.contains(&format!("{name}: ended")), "{}", summary.text);
    judge::all(at("x.pcapng"), true).unwrap();
    Blocks::read(at("x.pcapng")).assert_adds_up();
}

/// Whether anything keeps the namespace alive can be asked from its other end: a veth goes with
/// the namespace in which its peer is.
#[test]
fn a_removed_namespace_is_gone_within_a_second() {
    let (mut net, a, b) = Net::pair().unwrap();
    let c = net.namespace().unwrap();
    let (_directory, at) = scratch();
    let mut alone = Whaletap::capture(&[&b], &at("alone.pcapng"), NONE);
    let mut both = Whaletap::capture(&[&b, &c], &at("both.pcapng"), NONE);
    send(&a, "send --dev eth0 --count 100");
    alone.wait_for(100);
    both.wait_for(100);
    net.remove(&b).unwrap();
    let removed = Instant::now();
    eventually("the namespace is gone", LIMIT, || a.ip("link show dev eth0").is_err());
    let took = removed.elapsed();
    assert!(took < SECOND + Duration::from_millis(500), "{took:?}");
    let summary = alone.ended(0);
    summary.assert_adds_up();
    assert!(summary.text.contains("ended: all targets have ended"), "{}", summary.text);
    // The other target goes on.
    send(&c, "send --dev lo --count 50");
    both.wait_for(150);
    both.stop().assert_adds_up();
    for name in ["alone.pcapng", "both.pcapng"] {
        judge::all(at(name), true).unwrap();
        Blocks::read(at(name)).assert_adds_up();
    }
}

/// The processes that this one has started, and those that they have.
fn companions(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn sigkill_leaves_no_process_and_no_namespace() {
    // In the middle of things, and at moments when it is about to start: whatever there is then.
    for moment in [None, Some(0), Some(5), Some(15), Some(30), Some(60), Some(100), Some(200)] {
        let (mut net, a, b) = Net::pair().unwrap();
        let (_directory, at) = scratch();
        let words = ["-b", "packets:50", "-z", "true"];
        let program = whaletap(["capture", &selector(&b), "-w"]).arg(at("x.pcapng")).args(words);
        let mut running = program.start().unwrap();
        let flood = a.traffic("send --dev eth0 --rate 5000 --seconds 20").unwrap();
        match moment {
            None => drop(running.wait_for_line("capturing ", LIMIT).unwrap()),
            // There is no event to wait for: any moment is to do.
            Some(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        }
        let mut left = companions(running.pid());
        if moment.is_none() {
            assert_eq!(left.len(), 2, "opener and runner");
        }
        left.extend(left.clone().into_iter().flat_map(companions));
        running.kill();
        eventually("no process is left", Duration::from_secs(2), || {
            left.iter().all(|pid| is_gone(*pid))
        });
        flood.kill();
        net.remove(&b).unwrap();
        eventually("no namespace is left", Duration::from_secs(2), || {
            a.ip("link show dev eth0").is_err()
        });
    }
}

/// Without its opener a capture goes on; nothing new can be attached, and it says so.
/// Nobody has to be asked who may look for himself.
#[test]
fn an_end_is_seen_without_an_opener() {
    let (mut net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let mut ours = Whaletap::capture(&[&b], &at("x.pcapng"), NONE);
    send_signal(companions(ours.pid())[0], "KILL");
    ours.running.wait_for_line("the opener process has ended", LIMIT).unwrap();
    send(&a, "send --dev eth0 --count 100");
    ours.wait_for(100);
    net.remove(&b).unwrap();
    let removed = Instant::now();
    eventually("the namespace is gone", LIMIT, || a.ip("link show dev eth0").is_err());
    assert!(removed.elapsed() < SECOND + Duration::from_millis(500), "{:?}", removed.elapsed());
    let summary = ours.ended(0);
    assert!(summary.text.contains("ended: all targets have ended"), "{}", summary.text);
    judge::all(at("x.pcapng"), true).unwrap();
}

#[test]
fn a_killed_opener_costs_no_packet() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let mut ours = Whaletap::capture(&[&b], &at("x.pcapng"), NONE);
    send(&a, "send --dev eth0 --count 100 --run 1");
    let opener = companions(ours.pid());
    assert_eq!(opener.len(), 1, "the opener alone");
    send_signal(opener[0], "KILL");
    ours.running.wait_for_line("the opener process has ended", LIMIT).unwrap();
    send(&a, "send --dev eth0 --count 100 --run 2");
    ours.wait_for(200);
    ours.stop().assert_adds_up();
    judge::all(at("x.pcapng"), true).unwrap();
    let records = Records::read(at("x.pcapng")).unwrap();
    for run in [1, 2] {
        assert_eq!(records.numbers(run), (0..100).collect::<Vec<_>>());
    }
}
