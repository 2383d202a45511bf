//! The traffic program does what it says, no more and no less.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use whaletap_lab::{Frames, Net, Program, Reference, Station, Tag, traffic::Report};

const LIMIT: Duration = Duration::from_secs(10);
const NONE: [&str; 0] = [];

fn scratch() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    (directory, move |name: &str| path.join(name))
}

#[test]
fn numbered_frames_arrive_in_order_and_in_full() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let reference = Reference::tcpdump(&b, "eth0", at("frames.pcap"), NONE).unwrap();
    let count = 20_000;
    let sent = a.traffic(&format!("send --dev eth0 --size 64 --count {count} --run 5")).unwrap();
    let report = Report::of(sent.wait().unwrap()).unwrap();
    assert_eq!((report.count, report.bytes, report.failed), (count, count * 64, 0));
    let (_, records) = reference.stop_after(count, LIMIT).unwrap();
    assert!(records.frames().all(|frame| frame.len() == 64));
    assert_eq!(records.numbers(5), (0..count).collect::<Vec<_>>());
}

#[test]
fn time_bounds_what_no_count_bounds() {
    let (_net, a, _b) = Net::pair().unwrap();
    let sent = a.traffic("send --dev eth0 --size 1400 --seconds 0.2 --rate 5000").unwrap();
    let report = Report::of(sent.wait().unwrap()).unwrap();
    assert!((900..=1001).contains(&report.count), "{report}");
    assert!(report.seconds < 0.5, "{report}");
}

#[test]
fn segments_travel_as_one_frame_or_are_cut() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let to = SocketAddr::from((Station::B.ipv4, 7));
    let line = format!("udp --to {to} --size 1400 --segments 45 --count 90 --run 6");

    let reference = Reference::tcpdump(&b, "eth0", at("gso.pcap"), ["udp"]).unwrap();
    let report = Report::of(a.traffic(&line).unwrap().wait().unwrap()).unwrap();
    assert_eq!(report.count, 90);
    let (_, whole) = reference.stop_after(2, LIMIT).unwrap();
    let lengths: Vec<usize> = whole.frames().map(<[u8]>::len).collect();
    assert_eq!(lengths, [42 + 45 * 1400; 2]);

    a.offload("eth0", &["tx-udp-segmentation"], false).unwrap();
    let reference = Reference::tcpdump(&b, "eth0", at("cut.pcap"), ["udp"]).unwrap();
    a.traffic(&line).unwrap().wait().unwrap().success().unwrap();
    let (_, cut) = reference.stop_after(90, LIMIT).unwrap();
    assert!(cut.frames().all(|frame| frame.len() == 1442));
    assert_eq!(cut.numbers(6), (0..90).collect::<Vec<_>>());
}

#[test]
fn the_clock_ticks_with_its_number_and_the_time() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let reference = Reference::tcpdump(&b, "eth0", at("clock.pcap"), NONE).unwrap();
    let ticks = a.traffic("clock --dev eth0 --interval-us 500 --count 200 --run 7").unwrap();
    let report = Report::of(ticks.wait().unwrap()).unwrap();
    assert!((0.095..0.5).contains(&report.seconds), "{report}");
    let (_, records) = reference.stop_after(200, LIMIT).unwrap();
    assert_eq!(records.numbers(7), (0..200).collect::<Vec<_>>());
    for record in &records.all {
        let sent = u64::from_be_bytes(record.data[42 + Tag::LENGTH..].try_into().unwrap());
        let took = record.timestamp_ns.saturating_sub(sent);
        assert!((1..1_000_000_000).contains(&took), "{took} ns from the sender to the stamp");
    }
}

#[test]
fn a_file_is_injected_in_order() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let zoo = Frames::new(8, Station::A, Station::NOBODY).zoo();
    let hex: Vec<String> =
        zoo.iter().map(|f| f.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    std::fs::write(at("zoo.hex"), hex.join("\n")).unwrap();
    let first = Reference::tcpdump(&b, "eth0", at("first.pcap"), NONE).unwrap();
    let second = Reference::dumpcap(&b, "eth0", at("second.pcapng"), NONE).unwrap();
    let count = zoo.len() as u64;
    let inject = |file: &str| {
        let line = format!("inject --dev eth0 --file {}", at(file).display());
        assert_eq!(Report::of(a.traffic(&line).unwrap().wait().unwrap()).unwrap().count, count);
    };
    inject("zoo.hex");
    let (_, records) = first.stop_after(count, LIMIT).unwrap();
    records.same_bytes(&zoo).unwrap();
    inject("first.pcap");
    let (_, records) = second.stop_after(2 * count, LIMIT).unwrap();
    records.same_bytes(zoo.iter().chain(&zoo)).unwrap();
}

#[test]
fn tun_traffic_waits_for_its_word() {
    let mut net = Net::new();
    let namespace = net.namespace().unwrap();
    let (_directory, at) = scratch();
    let mut tun = Program::new(whaletap_lab::traffic::program().unwrap())
        .args(["tun", "--dev", "tun0", "--count", "6", "--run", "9"])
        .inside(&namespace)
        .stdin_held()
        .start()
        .unwrap();
    tun.wait_for_line("up tun0", LIMIT).unwrap();
    let reference = Reference::tcpdump(&namespace, "tun0", at("tun.pcap"), NONE).unwrap();
    tun.write_stdin(b"\n").unwrap();
    let (_, records) = reference.stop_after(6, LIMIT).unwrap();
    assert_eq!(records.numbers(9), [0, 1, 2, 3, 4, 5]);
    assert_eq!(Report::of(tun.wait().unwrap()).unwrap().count, 6);
}

#[test]
fn sockets_talk_at_a_rate() {
    let (_net, a, b) = Net::pair().unwrap();
    let udp = SocketAddr::from((Station::B.ipv4, 7));
    let mut echo = b.traffic(&format!("udp-echo --listen {udp} --count 50 --seconds 10")).unwrap();
    echo.wait_for_line("listening on", LIMIT).unwrap();
    let ping = a.traffic(&format!("udp-ping --to {udp} --count 50 --seconds 10")).unwrap();
    assert_eq!(Report::of(ping.wait().unwrap()).unwrap().count, 50);
    assert_eq!(Report::of(echo.wait().unwrap()).unwrap().count, 50);

    let tcp = SocketAddr::from((Station::B.ipv4, 8));
    let bytes = 20_000_000;
    let sink = b.traffic(&format!("tcp-sink --listen {tcp} --count {bytes} --seconds 10")).unwrap();
    let line = format!("tcp-send --to {tcp} --rate 100000000 --count {bytes} --seconds 10");
    let sent = Report::of(a.traffic(&line).unwrap().wait().unwrap()).unwrap();
    assert_eq!(sent.count, bytes);
    assert!((0.19..1.0).contains(&sent.seconds), "{sent}");
    assert_eq!(Report::of(sink.wait().unwrap()).unwrap().count, bytes);
}

#[test]
fn a_wrong_command_line_is_refused() {
    let traffic = whaletap_lab::traffic::program().unwrap();
    for line in ["", "dance", "send", "send --dev lo --colour red", "udp --to nowhere"] {
        let finished = Program::new(&traffic).args(line.split_whitespace()).finish().unwrap();
        assert_eq!(finished.code(), Some(2), "{line}: {}", finished.stderr);
    }
}
