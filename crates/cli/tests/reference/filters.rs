//! Expressions, directions and snapshot lengths: what passes is what passes at tcpdump's.

use lab::{Frames, Namespace, Net, Records, Reference, Station, traffic::TunDevice};

use crate::{
    assert_close, assert_same, inject, scratch,
    whaletap::{LIMIT, Whaletap, interface},
};

/// The zoo, a broadcast, and a packet that has travelled far.
fn frames(run: u32) -> Vec<Vec<u8>> {
    let mut frames = Frames::new(run, Station::A, Station::NOBODY);
    let mut sent = frames.zoo();
    let mut broadcast = frames.arp();
    broadcast[..6].fill(0xff);
    sent.push(broadcast);
    let mut traveller = frames.udp4(200);
    traveller[22] = 5;
    sent.push(traveller);
    sent
}

/// Options and expression, and how many of [`frames`] pass where they arrive. The kernel has taken
/// the outermost tag off by then, so that what does not ask for `vlan` sees through it.
const CASES: [(&[&str], &str, usize); 30] = [
    (&[], "host 10.7.0.1", 14),
    (&[], "dst host 10.7.0.99 and not port 7001", 5),
    (&[], "net 10.7.0.0/24 and udp", 9),
    (&[], "port 7001", 13),
    (&[], "dst port 7099 and ip6", 4),
    (&[], "portrange 7050-7100", 13),
    (&[], "tcp", 4),
    (&[], "udp", 11),
    (&[], "ip6", 5),
    (&[], "arp", 2),
    (&[], "icmp or icmp6", 2),
    (&[], "ip proto \\tcp", 2),
    (&[], "vlan", 4),
    (&[], "vlan 5", 1),
    (&[], "not vlan", 16),
    (&[], "vlan and udp", 2),
    (&[], "vlan 200 and vlan 100", 1),
    (&[], "udp or (vlan and udp)", 11),
    (&[], "tcp[13] & 8 != 0", 2),
    (&[], "tcp[13] & 2 != 0", 0),
    (&[], "ether[0] & 1 != 0", 1),
    (&[], "ip[8] < 64", 1),
    (&[], "ip[6:2] & 0x1fff != 0", 2),
    (&[], "ether broadcast", 1),
    (&[], "greater 1000", 7),
    (&[], "ether src 02:07:00:00:00:01 and less 80", 7),
    (&["-s", "64"], "", 20),
    (&["-s", "64"], "vlan or tcp", 4),
    (&["-s", "14"], "", 20),
    (&["-Q", "in"], "udp", 11),
];

/// Lets all cases run at once over frames from `a` to `b`, captured at `at_namespace`.
#[test]
fn each_expression_lets_through_what_tcpdump_lets_through() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let running: Vec<_> = CASES
        .iter()
        .enumerate()
        .map(|(number, (options, expression, _))| {
            let words: Vec<&str> = options.iter().chain([expression]).copied().collect();
            let file = at(&format!("{number}.pcap"));
            let tcpdump = Reference::tcpdump(&b, "eth0", file, words).unwrap();
            let words: Vec<&str> =
                options.iter().chain(&["-i", "eth0", "--", expression]).copied().collect();
            let ours = Whaletap::capture(&[&b], &at(&format!("{number}.pcapng")), words);
            (tcpdump, ours)
        })
        .collect();
    inject(&a, "eth0", &frames(1));
    let mut wrong = Vec::new();
    for (case, (mut tcpdump, ours)) in CASES.iter().zip(running) {
        let (_, _, count) = case;
        if let Err(error) = tcpdump.wait_for(*count as u64, LIMIT) {
            wrong.push(format!("{case:?}: {error}"));
        }
        let files = (tcpdump.file().to_owned(), tcpdump.file().with_extension("pcapng"));
        let counts = tcpdump.stop().unwrap();
        let summary = ours.stop();
        summary.assert_adds_up();
        let (theirs, ours) = (Records::read(files.0).unwrap(), Records::read(files.1).unwrap());
        if (theirs.len(), counts.received, summary.received, ours.len())
            != (*count, *count as u64, *count as u64, *count)
        {
            wrong.push(format!("{case:?}: tcpdump {}, whaletap {}", theirs.len(), ours.len()));
        } else if let Err(difference) = ours.same_as(&theirs, 0) {
            wrong.push(format!("{case:?}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Options and an expression.
type Words<'a> = (&'a [&'a str], &'a str);

/// What both see of some traffic, of which at least one frame passes.
fn both(
    inside: &Namespace,
    ours: Words<'_>,
    theirs: Words<'_>,
    traffic: impl Fn(),
) -> (Records, Records) {
    let (_directory, at) = scratch();
    let words: Vec<&str> = theirs.0.iter().chain(&[theirs.1]).copied().collect();
    let mut tcpdump = Reference::tcpdump(inside, "eth0", at("theirs.pcap"), words).unwrap();
    let words: Vec<&str> = ours.0.iter().chain(&["--", ours.1]).copied().collect();
    let mut whaletap = Whaletap::capture(&[inside], &at("ours.pcapng"), words);
    traffic();
    let received = whaletap.counts().received;
    assert!(received > 0, "{ours:?}: nothing came");
    tcpdump.wait_for(received, LIMIT).unwrap();
    let summary = whaletap.stop();
    summary.assert_adds_up();
    // What tcpdump received is no measure here: directions it sorts out by itself.
    let counts = tcpdump.stop().unwrap();
    assert_eq!((counts.captured, counts.dropped), (summary.captured, 0), "{ours:?}");
    (
        Records::read(at("ours.pcapng")).unwrap().by_time(),
        Records::read(at("theirs.pcap")).unwrap().by_time(),
    )
}

/// Questions and answers, one after the other.
fn ping(a: &Namespace, b: &Namespace, count: usize) {
    let line = format!("udp-echo --listen 10.7.0.2:7 --count {count} --seconds 20");
    let mut echo = b.traffic(&line).unwrap();
    echo.wait_for_line("listening on", LIMIT).unwrap();
    let line = format!("udp-ping --to 10.7.0.2:7 --count {count} --seconds 20");
    a.traffic(&line).unwrap().wait().unwrap().success().unwrap();
    echo.wait().unwrap().success().unwrap();
}

#[test]
fn directions_are_tcpdumps() {
    let (_net, a, b) = Net::pair().unwrap();
    // libpcap looks once more, by itself, at what its first blocks hold, and knows no direction
    // there: what `inbound` lets through at first is lost to tcpdump. `-Q` says the same to it.
    for (ours, theirs, count, incoming) in [
        ((&["-Q", "in"][..], ""), (&["-Q", "in"][..], ""), 30, true),
        ((&["-Q", "out"], ""), (&["-Q", "out"], ""), 30, false),
        ((&["-Q", "inout"], ""), (&["-Q", "inout"], ""), 60, false),
        ((&[], "inbound"), (&["-Q", "in"], ""), 30, true),
        ((&[], "outbound"), (&["-Q", "out"], ""), 30, false),
        ((&[], "outbound and udp port 7"), (&["-Q", "out"], "udp port 7"), 30, false),
        ((&["-Q", "out"], "src host 10.7.0.2"), (&["-Q", "out"], "src host 10.7.0.2"), 30, false),
    ] {
        let (found, expected) = both(&b, ours, theirs, || ping(&a, &b, 30));
        assert_eq!(expected.len(), count, "{ours:?}");
        if incoming { assert_same(&found, &expected) } else { assert_close(&found, &expected) }
    }
    // What can never be.
    let (_directory, at) = scratch();
    let ours = Whaletap::capture(&[&b], &at("none.pcapng"), ["-Q", "in", "--", "outbound"]);
    ping(&a, &b, 1);
    let summary = ours.stop();
    assert_eq!((summary.captured, summary.received), (0, 0));
}

#[test]
fn flags_of_a_real_handshake() {
    let (_net, a, b) = Net::pair().unwrap();
    let connect = || {
        let mut sink = b.traffic("tcp-sink --listen 10.7.0.2:8 --count 10 --seconds 20").unwrap();
        sink.wait_for_line("listening on", LIMIT).unwrap();
        let send = a.traffic("tcp-send --to 10.7.0.2:8 --size 10 --count 10 --seconds 20").unwrap();
        send.wait().unwrap().success().unwrap();
        sink.wait().unwrap().success().unwrap();
    };
    let syn: Words<'_> = (&[], "tcp[13] & 2 != 0");
    let (ours, theirs) = both(&b, syn, syn, connect);
    assert_eq!(theirs.len(), 2, "SYN and its answer");
    assert_close(&ours, &theirs);
}

/// An expression has another program on each link type.
#[test]
fn one_expression_on_raw_ip_and_on_ethernet() {
    let mut net = Net::new();
    let ns = net.namespace().unwrap();
    let (_directory, at) = scratch();
    let tun = ns.enter(|| TunDevice::create("tun0")).unwrap().unwrap();
    for (number, (expression, raw, ethernet)) in
        [("udp port 7001", 6, 8), ("ip6", 4, 5), ("ip[8] = 64 and not udp", 3, 3), ("vlan 5", 0, 1)]
            .into_iter()
            .enumerate()
    {
        let references = ["tun0", "lo"].map(|device| {
            let file = at(&format!("{number}-{device}.pcap"));
            // tcpdump refuses what means nothing on a link type: we warn and match nothing.
            let expression = if raw == 0 && device == "tun0" { "less 1" } else { expression };
            Reference::tcpdump(&ns, device, file, [expression]).unwrap()
        });
        let file = at(&format!("{number}.pcapng"));
        let mut ours = Whaletap::capture(&[&ns], &file, ["--", expression]);
        let mut frames = Frames::new(4, Station::A, Station::NOBODY);
        frames.ip_zoo().iter().for_each(|packet| tun.send(packet).unwrap());
        inject(&ns, "lo", &frames.zoo());
        ours.wait_for(raw + ethernet);
        let summary = ours.stop();
        let warned = summary.text.contains("the expression matches nothing on RAW");
        assert_eq!(warned, raw == 0, "{}", summary.text);
        let ours = Records::read(&file).unwrap();
        for ((reference, device), count) in
            references.into_iter().zip(["tun0", "lo"]).zip([raw, ethernet])
        {
            let (_, theirs) = reference.stop_after(count, LIMIT).unwrap();
            let name = interface(&ns, device);
            assert_eq!(theirs.len() as u64, count, "{expression} on {device}");
            assert_same(&ours.of(&name), &theirs);
        }
    }
}
