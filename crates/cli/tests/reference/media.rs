//! Every kind of device and of frame.

use lab::{Address, Frames, Namespace, Net, Records, Reference, Station, traffic::TunDevice};

use crate::{
    NONE, assert_close, assert_same, inject, scratch,
    whaletap::{LIMIT, Whaletap, interface},
};

/// ```text
///   a eth0 ──── veth ──── eth0 b
///     sends to nobody       tcpdump, dumpcap, whaletap; whaletap and tcpdump at a as well
/// ```
#[test]
fn ethernet_on_both_sides_of_a_veth() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let ours = Whaletap::capture(&[&a, &b], &at("ours.pcapng"), NONE);
    let mut sender = Reference::tcpdump(&a, "eth0", at("sender.pcap"), NONE).unwrap();
    let mut receiver = Reference::tcpdump(&b, "eth0", at("receiver.pcap"), NONE).unwrap();
    let mut other = Reference::dumpcap(&b, "eth0", at("receiver.pcapng"), NONE).unwrap();
    let mut frames = Frames::new(1, Station::A, Station::NOBODY);
    let sent: Vec<Vec<u8>> = (0..20).flat_map(|_| frames.zoo()).collect();
    inject(&a, "eth0", &sent);

    let count = sent.len() as u64;
    for reference in [&mut sender, &mut receiver, &mut other] {
        reference.wait_for(count, LIMIT).unwrap();
    }
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!((summary.captured, summary.received), (2 * count, 2 * count), "{summary:?}");
    assert_eq!(summary.out_of_order, 0);
    for reference in [sender, receiver, other] {
        let counts = reference.stop().unwrap();
        assert_eq!((counts.captured, counts.received, counts.dropped), (count, count, 0));
    }
    let ours = Records::read(at("ours.pcapng")).unwrap();
    assert_eq!(ours.inversions(), 0);
    let (out, inward) = (ours.of(&interface(&a, "eth0")), ours.of(&interface(&b, "eth0")));
    inward.same_bytes(&sent).unwrap();
    assert_same(&inward, &Records::read(at("receiver.pcap")).unwrap());
    assert_same(&inward, &Records::read(at("receiver.pcapng")).unwrap());
    assert_close(&out, &Records::read(at("sender.pcap")).unwrap());
}

/// Two captures that know nothing of each other.
#[test]
fn two_of_us_on_one_target_agree() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let first = Whaletap::capture(&[&b], &at("first.pcapng"), NONE);
    let second = Whaletap::capture(&[&b], &at("second.pcapng"), ["-i", "eth0"]);
    let sender = ["one", "two"].map(|name| {
        let file = at(&format!("sender-{name}.pcapng"));
        Whaletap::capture(&[&a], &file, NONE)
    });
    let sent = Frames::new(2, Station::A, Station::NOBODY).zoo();
    inject(&a, "eth0", &sent);
    let count = sent.len() as u64;
    for mut capture in [first, second].into_iter().chain(sender) {
        capture.wait_for(count);
        let summary = capture.stop();
        assert_eq!((summary.captured, summary.received), (count, count), "{summary:?}");
    }
    let read = |name: &str| Records::read(at(name)).unwrap();
    read("first.pcapng").same_bytes(&sent).unwrap();
    assert_same(&read("second.pcapng"), &read("first.pcapng"));
    assert_close(&read("sender-one.pcapng"), &read("sender-two.pcapng"));
}

#[test]
fn loopback_without_its_twins() {
    let mut net = Net::new();
    let ns = net.namespace().unwrap();
    // Which gives it ::1.
    ns.set("ipv6/conf/lo/disable_ipv6", "0").unwrap();
    let (_directory, at) = scratch();
    let ours = Whaletap::capture(&[&ns], &at("ours.pcapng"), NONE);
    let tcpdump = Reference::tcpdump(&ns, "lo", at("tcpdump.pcap"), NONE).unwrap();
    let dumpcap = Reference::dumpcap(&ns, "lo", at("dumpcap.pcapng"), NONE).unwrap();
    let mut count = 0;
    for address in ["127.0.0.1:7", "[::1]:7"] {
        let line = format!("udp-echo --listen {address} --count 40 --seconds 20");
        let mut echo = ns.traffic(&line).unwrap();
        echo.wait_for_line("listening on", LIMIT).unwrap();
        let ping = ns.traffic(&format!("udp-ping --to {address} --count 40 --seconds 20"));
        ping.unwrap().wait().unwrap().success().unwrap();
        count += 80;
    }
    let sent = Frames::new(3, Station::A, Station::NOBODY).zoo();
    inject(&ns, "lo", &sent);
    count += sent.len() as u64;
    let (counts, tcpdump) = tcpdump.stop_after(count, LIMIT).unwrap();
    // tcpdump takes the twins too, and throws them away.
    assert_eq!((counts.captured, counts.received, counts.dropped), (count, 2 * count, 0));
    let (_, dumpcap) = dumpcap.stop_after(count, LIMIT).unwrap();
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!((summary.captured, summary.received), (count, count), "{summary:?}");
    let ours = Records::read(at("ours.pcapng")).unwrap();
    assert_same(&ours, &tcpdump);
    assert_same(&ours, &dumpcap);
}

/// Raw IP in both directions, beside the loopback device's Ethernet in one file.
#[test]
fn a_tun_device_and_loopback_in_one_file() {
    let mut net = Net::new();
    let ns = net.namespace().unwrap();
    let (_directory, at) = scratch();
    let tun = ns.enter(|| TunDevice::create("tun0")).unwrap().unwrap();
    // A new namespace does as the first one does, which may be a router by now.
    ns.set("ipv4/ip_forward", "0").unwrap();
    net.address(&ns, "tun0", Address::v4(10, 7, 0, 2)).unwrap();
    let mut ours = Whaletap::capture(&[&ns], &at("ours.pcapng"), NONE);
    let tcpdump = Reference::tcpdump(&ns, "tun0", at("tcpdump.pcap"), NONE).unwrap();
    let dumpcap = Reference::dumpcap(&ns, "tun0", at("dumpcap.pcapng"), NONE).unwrap();
    let sent = Frames::new(4, Station::A, Station::NOBODY).ip_zoo();
    sent.iter().for_each(|packet| tun.send(packet).unwrap());
    // And out of it: the answers are the device's own.
    let out = ns.traffic("udp --to 10.7.0.77:9 --size 100 --count 10 --run 5").unwrap();
    out.wait().unwrap().success().unwrap();
    inject(&ns, "lo", &Frames::new(6, Station::A, Station::NOBODY).zoo());

    let count = sent.len() as u64 + 10;
    let (counts, tcpdump) = tcpdump.stop_after(count, LIMIT).unwrap();
    assert_eq!((counts.captured, counts.dropped), (count, 0));
    let (_, dumpcap) = dumpcap.stop_after(count, LIMIT).unwrap();
    ours.wait_for(count + 18);
    ours.stop().assert_adds_up();
    let ours = Records::read(at("ours.pcapng")).unwrap();
    let raw = ours.of(&interface(&ns, "tun0"));
    assert_eq!(ours.of(&interface(&ns, "lo")).len(), 18);
    assert!(raw.all.iter().all(|record| record.link_type == 101), "LINKTYPE_RAW");
    raw.same_bytes(tcpdump.frames()).unwrap();
    raw.same_bytes(dumpcap.frames()).unwrap();
    let coming = |records: &Records| Records { all: records.all[..sent.len()].to_vec() };
    coming(&raw).same_bytes(&sent).unwrap();
    assert_same(&coming(&raw), &coming(&tcpdump));
    assert_close(&raw.of_run(5), &tcpdump.of_run(5));
}

/// ```text
///   a eth0 ──── p0 ┐ m ┌ p1 ──── eth0 b
///                  └br0┘
/// ```
#[test]
fn a_bridge_and_each_of_its_ports() {
    let mut net = Net::new();
    let [a, b, m] = std::array::from_fn(|_| net.namespace().unwrap());
    net.veth((&a, "eth0"), (&m, "p0"), 1500).unwrap();
    net.veth((&b, "eth0"), (&m, "p1"), 1500).unwrap();
    net.bridge(&m, "br0", &["p0", "p1"]).unwrap();
    let (_directory, at) = scratch();
    let ours = Whaletap::capture(&[&m], &at("ours.pcapng"), NONE);
    let devices = ["p0", "p1", "br0"];
    let references = devices.map(|device| {
        // Without promiscuous mode, as we are: with it the bridge itself would take more.
        Reference::tcpdump(&m, device, at(&format!("{device}.pcap")), ["-p"]).unwrap()
    });
    let mut sent = Frames::new(7, Station::A, Station::NOBODY).zoo();
    let broadcasts = 3;
    for frame in &mut sent[..broadcasts] {
        frame[..6].fill(0xff);
    }
    inject(&a, "eth0", &sent);
    let expected = [sent.len(), sent.len(), broadcasts];
    let mut total = 0;
    let mut records = Vec::new();
    for (reference, count) in references.into_iter().zip(expected) {
        let (_, found) = reference.stop_after(count as u64, LIMIT).unwrap();
        assert_eq!(found.len(), count);
        total += found.len() as u64;
        records.push(found);
    }
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!(summary.captured, total, "{summary:?}");
    let ours = Records::read(at("ours.pcapng")).unwrap();
    for (device, theirs) in devices.into_iter().zip(&records) {
        let ours = ours.of(&interface(&m, device));
        if device == "p1" { assert_close(&ours, theirs) } else { assert_same(&ours, theirs) }
    }
}

fn jumbo_pair(net: &mut Net) -> (Namespace, Namespace) {
    let (a, b) = (net.namespace().unwrap(), net.namespace().unwrap());
    net.veth((&a, "eth0"), (&b, "eth0"), 9000).unwrap();
    (a, b)
}

#[test]
fn jumbo_frames_with_and_without_tags() {
    let mut net = Net::new();
    let (a, b) = jumbo_pair(&mut net);
    let (_directory, at) = scratch();
    let ours = Whaletap::capture(&[&b], &at("ours.pcapng"), NONE);
    let tcpdump = Reference::tcpdump(&b, "eth0", at("tcpdump.pcap"), NONE).unwrap();
    let mut frames = Frames::new(8, Station::A, Station::NOBODY);
    let mut sent: Vec<Vec<u8>> =
        [9014, 9013, 4097, 8192].into_iter().map(|length| frames.udp4(length)).collect();
    sent.push(frames.tcp6(9014));
    sent.push(Frames::tagged(&frames.udp6(9000), Frames::VLAN, 5));
    let inner = Frames::tagged(&frames.udp4(9000), Frames::VLAN, 7);
    sent.push(Frames::tagged(&inner, Frames::QINQ, 4000));
    inject(&a, "eth0", &sent);
    let (_, tcpdump) = tcpdump.stop_after(sent.len() as u64, LIMIT).unwrap();
    ours.stop().assert_adds_up();
    let ours = Records::read(at("ours.pcapng")).unwrap();
    ours.same_bytes(&sent).unwrap();
    assert_same(&ours, &tcpdump);
}

/// Frames of 64 KiB, as TCP and UDP hand them over before any card cuts them, and the answers.
#[test]
fn segments_of_64_kib_stay_whole() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let mut ours = Whaletap::capture(&[&b], &at("ours.pcapng"), ["-B", "16MiB"]);
    let mut tcpdump = Reference::tcpdump(&b, "eth0", at("tcpdump.pcap"), NONE).unwrap();
    let udp = a.traffic("udp --to 10.7.0.2:9 --size 1400 --segments 46 --count 460 --run 9");
    udp.unwrap().wait().unwrap().success().unwrap();
    let bytes = 4_000_000;
    let mut sink =
        b.traffic(&format!("tcp-sink --listen 10.7.0.2:8 --count {bytes} --seconds 20")).unwrap();
    sink.wait_for_line("listening on", LIMIT).unwrap();
    let line = format!("tcp-send --to 10.7.0.2:8 --count {bytes} --seconds 20");
    a.traffic(&line).unwrap().wait().unwrap().success().unwrap();
    sink.wait().unwrap().success().unwrap();
    // How many frames there are is the stack's business: the end is a frame that we know.
    let last = Frames::new(10, Station::A, Station::NOBODY).udp4(64);
    inject(&a, "eth0", std::slice::from_ref(&last));
    // The last word of the connection can come late.
    let received = ours.counts().received;
    tcpdump.wait_for(received, LIMIT).unwrap();
    ours.wait_for(received);
    let summary = ours.stop();
    summary.assert_adds_up();
    tcpdump.wait_for(summary.received, LIMIT).unwrap();
    let counts = tcpdump.stop().unwrap();
    assert_eq!((counts.received, counts.dropped), (summary.received, 0), "{summary:?}");
    assert_eq!((summary.captured, summary.truncated), (counts.captured, 0), "{summary:?}");

    let (ours, tcpdump) =
        (Records::read(at("ours.pcapng")).unwrap(), Records::read(at("tcpdump.pcap")).unwrap());
    ours.same_bytes_in_any_order(tcpdump.frames()).unwrap();
    let longest = ours.frames().map(<[u8]>::len).max().unwrap();
    assert!(longest > 60_000, "the longest frame has {longest} bytes");
    let coming = |records: &Records| {
        let from = Station::A.mac;
        let all = records.all.iter().filter(|record| record.data[6..12] == from);
        Records { all: all.cloned().collect() }.by_time()
    };
    let (ours, tcpdump) = (coming(&ours), coming(&tcpdump));
    assert_eq!(ours.of_run(9).len(), 10);
    assert_same(&ours.of_run(9), &tcpdump.of_run(9));
    // A segment of this host's own TCP brings the time at which it was to be sent along instead of
    // a stamp, so that the kernel stamps each tap's copy, as it does on the way out.
    assert_close(&ours, &tcpdump);
}
