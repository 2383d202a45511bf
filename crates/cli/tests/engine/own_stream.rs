//! The stream by which a capture of another machine's host travels: it is left out where it can be
//! known, and the capture ends where it is captured all the same.

use std::{path::Path, time::Duration};

use lab::{FarHost, Program, Records, Running, judge};

use crate::{
    far::Way,
    remote::{begun, capture, ways},
    tap::{LIMIT, assert_ended, signal, until},
};

/// A run of frames that somebody else sends.
const RUN: u32 = 7;
/// How many of them.
const COUNT: usize = 200;

/// Frames of this display filter.
fn seen(file: &Path, filter: &str) -> usize {
    judge::tshark_fields(file, &["-Y", filter], &["frame.number"]).unwrap().len()
}

/// The near port of the connection that is not captured, out of what the command says.
fn own_port(running: &mut Running) -> u16 {
    let line = running.wait_for_line("is left out", LIMIT).unwrap();
    let (_, rest) = line.split_once("TCP between 10.7.9.1:").unwrap();
    rest.split_once(' ').unwrap().0.parse().unwrap()
}

/// Sends datagrams from the near side to the far host's port 9, which nobody has.
fn send(far: &FarHost) {
    let line = format!("udp --to {}:9 --count {COUNT} --run {RUN}", far.address());
    far.here().traffic(&line).unwrap().wait().unwrap().success().unwrap();
}

/// Somebody else's connection to the engine, from the same side by the same way.
fn asks(way: &Way, far: &FarHost) {
    way.given_to("docker", far).args(["ps", "-q"]).run().unwrap();
}

#[test]
fn a_host_elsewhere_is_captured_without_the_stream_that_carries_it() {
    let far = FarHost::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    for (number, way) in ways(&far).iter().enumerate() {
        let file = directory.path().join(format!("{number}.pcapng"));
        let words = ["host", "-w", file.to_str().unwrap()];
        let mut running = begun(capture(way, &far, &words));
        let port = own_port(&mut running);
        asks(way, &far);
        send(&far);
        until("they have arrived", LIMIT, || {
            signal(running.pid(), "USR2");
            // The kernel answers some, and quotes them.
            Records::read(&file).is_ok_and(|records| records.numbers(RUN).len() >= COUNT)
        });
        let finished = running.interrupt().unwrap();
        assert_ended(&finished, 0, &["0 packets dropped", "ended: stopped"]);
        judge::all(&file, true).unwrap();
        let engine = "tcp.port == 2376 || tcp.port == 2222";
        let others = seen(&file, engine);
        assert!(others > 10, "{others} frames of other connections to the engine");
        assert_eq!(seen(&file, &format!("tcp.port == {port}")), 0, "{}", finished.stderr);
        let comment = Program::new("capinfos").arg("-k").arg(&file).run().unwrap().stdout_text();
        let words = format!("TCP between 10.7.9.1:{port} and ");
        assert!(comment.contains(&words) && comment.contains("is left out"), "{comment}");
    }
}

/// How long a capture of its own stream may live.
const FOUND: Duration = Duration::from_secs(60);
/// An address of the near side that only the far host knows.
const TRANSLATED: &str = "10.7.9.3";
/// For how many tenths of a second a download of 10 MB a second lasts.
const TENTHS: u32 = 80;

/// The far host sees the near side's connections come from another address, as behind a router: what
/// is left out occurs nowhere.
fn translate(far: &FarHost) {
    far.here().ip(&format!("addr add {TRANSLATED}/24 dev eth0")).unwrap();
    let rule = format!("-t nat -A POSTROUTING -d {} -p tcp -j SNAT", far.address());
    let words = rule.split(' ').chain(["--to-source", TRANSLATED]);
    Program::new("iptables").args(words).inside(far.here()).run().unwrap();
}

/// A link from there to here that carries 10 Mbit/s.
fn make_thin(far: &FarHost) {
    let thin = ["qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "10mbit", "burst", "32kb"];
    let thin = Program::new("tc").args(thin).args(["latency", "300ms"]);
    thin.inside(far.namespace()).run().unwrap();
}

/// Somebody downloads noise, which is as long compressed, from the far host by another connection: so
/// many bytes in each tenth of a second.
fn download(far: &FarHost, bytes: u32, tenths: u32) -> Running {
    let command =
        format!("for i in $(seq {tenths}); do head -c {bytes} /dev/urandom; sleep 0.1; done");
    let null = std::fs::File::options().write(true).open("/dev/null").unwrap();
    let to = format!("root@{}", far.address());
    let ssh = Program::new("ssh").env("PATH", far.path()).inside(far.here()).limit(3 * LIMIT);
    ssh.args(["-p", "2222", &to, &command]).stdout_to(null).start().unwrap()
}

#[test]
fn a_capture_of_its_own_stream_ends_and_says_how_to_leave_it_out() {
    let far = FarHost::start().unwrap();
    translate(&far);
    let directory = tempfile::tempdir().unwrap();
    let [by_tls, by_ssh, _] = ways(&far);
    for (way, port, is_thin) in
        [(&by_tls, 2376, false), (&by_ssh, 2222, false), (&by_tls, 2376, true)]
    {
        if is_thin {
            make_thin(&far);
        }
        let file = directory.path().join(format!("{port}.pcapng"));
        let words = ["host", "-w", file.to_str().unwrap()];
        let running = begun(capture(way, &far, &words));
        // With it the link is full as soon as it carries anything twice.
        let beside = is_thin.then(|| download(&far, 40_000, 600));
        let finished = running.wait_at_most(FOUND).unwrap();
        beside.into_iter().for_each(Running::kill);
        let expression = format!("not (host {TRANSLATED} and port {port})");
        let flow = format!("TCP from {}:{port} to {TRANSLATED}:", far.address());
        assert_ended(&finished, 1, &["the far side is gone: it captured the stream", &flow]);
        assert!(finished.stderr.contains(&format!("'{expression}'")), "{}", finished.stderr);
        judge::all(&file, true).unwrap();
        assert!(seen(&file, &format!("ip.addr == {TRANSLATED} && tcp.port == {port}")) > 100);
        // As it says.
        let mut running = begun(capture(way, &far, &[&words[..], &["--", &expression]].concat()));
        send(&far);
        until("they have arrived", LIMIT, || {
            signal(running.pid(), "USR2");
            Records::read(&file).is_ok_and(|records| records.numbers(RUN).len() >= COUNT)
        });
        assert!(running.is_alive());
        assert_ended(&running.interrupt().unwrap(), 0, &["ended: stopped"]);
    }
}

#[test]
fn a_download_that_is_as_large_as_what_is_sent_of_it_is_captured() {
    let far = FarHost::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    let [by_tls, ..] = ways(&far);
    let running = begun(capture(&by_tls, &far, &["host", "-w", file.to_str().unwrap()]));
    download(&far, 1_000_000, TENTHS).wait().unwrap().success().unwrap();
    let finished = running.interrupt().unwrap();
    assert_ended(&finished, 0, &["ended: stopped"]);
    assert!(!finished.stderr.contains("dropped by whaletap"), "{}", finished.stderr);
    let bytes = judge::tshark_fields(&file, &["-Y", "tcp.srcport == 2222"], &["tcp.len"]).unwrap();
    let bytes: u64 = bytes.iter().filter_map(|line| line[0].parse::<u64>().ok()).sum();
    assert!(bytes >= u64::from(TENTHS) * 1_000_000, "{bytes} bytes of the download");
    judge::all(&file, true).unwrap();
}
