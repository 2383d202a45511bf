//! The judges judged: what the lab sends is what tcpdump and dumpcap write and what every reader
//! reads, byte for byte. Only then does a difference to whaletap mean anything.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::{path::PathBuf, time::Duration};

use whaletap_lab::{
    Error, Frames, Namespace, Net, Records, Reference, Station, judge,
    traffic::{RawSender, TunDevice},
};

const LIMIT: Duration = Duration::from_secs(10);
const NONE: [&str; 0] = [];

fn inject(namespace: &Namespace, frames: &[Vec<u8>]) {
    namespace.enter(|| RawSender::open("eth0")?.send_all(frames)).unwrap().unwrap();
}

fn scratch() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    (directory, move |name: &str| path.join(name))
}

#[test]
fn everything_is_installed() {
    judge::installed().unwrap();
}

#[test]
fn tcpdump_and_dumpcap_see_the_zoo_byte_for_byte_on_both_sides() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let mut sender = Reference::tcpdump(&a, "eth0", at("sender.pcap"), NONE).unwrap();
    let receiver = Reference::tcpdump(&b, "eth0", at("receiver.pcap"), NONE).unwrap();
    let other = Reference::dumpcap(&b, "eth0", at("receiver.pcapng"), NONE).unwrap();
    let zoo = Frames::new(1, Station::A, Station::NOBODY).zoo();
    inject(&a, &zoo);

    let count = zoo.len() as u64;
    sender.wait_for(count, LIMIT).unwrap();
    sender.stop().unwrap();
    let (counts, tcpdump) = receiver.stop_after(count, LIMIT).unwrap();
    assert_eq!((counts.captured, counts.received, counts.dropped), (count, count, 0));
    let (counts, dumpcap) = other.stop_after(count, LIMIT).unwrap();
    assert_eq!((counts.captured, counts.received, counts.dropped), (count, count, 0));

    Records::read(at("sender.pcap")).unwrap().same_bytes(&zoo).unwrap();
    tcpdump.same_bytes(&zoo).unwrap();
    dumpcap.same_bytes(&zoo).unwrap();
    dumpcap.same_as(&tcpdump, 0).expect("two taps of an incoming frame share its stamp");
    assert_eq!(dumpcap.all[0].interface.as_deref(), Some("eth0"));
    assert_eq!(tcpdump.numbers(1), (0..count).collect::<Vec<_>>());
}

#[test]
fn the_zoo_gives_no_reader_a_reason_to_warn() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let file = at("zoo.pcapng");
    let reference = Reference::dumpcap(&b, "eth0", &file, NONE).unwrap();
    let zoo = Frames::new(1, Station::A, Station::NOBODY).zoo();
    inject(&a, &zoo);
    reference.stop_after(zoo.len() as u64, LIMIT).unwrap();

    judge::all(&file, true).unwrap();
    let info = judge::capinfos(&file).unwrap();
    assert_eq!(info["Number of packets"], zoo.len().to_string());
    // With every checksum verified, none is bad and nothing is malformed.
    let bad = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || \
               tcp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0";
    let verify = ["ip", "udp", "tcp"].map(|protocol| format!("-o{protocol}.check_checksum:TRUE"));
    let mut options: Vec<&str> = verify.iter().map(String::as_str).collect();
    options.extend(["-2", "-Y", bad]);
    assert_eq!(judge::tshark(&file, &options).unwrap(), NONE);
    let statuses = judge::tshark_fields(
        &file,
        &[
            "-oudp.check_checksum:TRUE",
            "-2",
            "-Y",
            "udp && !ip.flags.mf == 1 && !ip.frag_offset > 0",
        ],
        &["udp.checksum.status"],
    )
    .unwrap();
    assert!(statuses.len() >= 8, "{statuses:?}");
    assert!(statuses.iter().all(|row| row == &["1"]), "{statuses:?}");
    let vlans = judge::tshark_fields(&file, &["-Y", "vlan"], &["vlan.id"]).unwrap();
    assert_eq!(vlans, [["5"], ["4094"], ["100"], ["100"]]);
}

#[test]
fn a_complaint_of_a_reader_is_an_error() {
    let (_directory, at) = scratch();
    let file = at("cut.pcap");
    // A classic header and the beginning of a packet.
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([0, 0, 4, 0, 1, 0, 0, 0, 1, 2, 3]);
    std::fs::write(&file, bytes).unwrap();
    assert!(judge::tcpdump(&file, &[]).is_err());
    assert!(judge::all(&file, true).is_err());
    assert!(matches!(Records::read(&file), Err(Error::Format { .. })));
}

#[test]
fn jumbo_frames_cross_a_large_link() {
    let mut net = Net::new();
    let (a, b) = (net.namespace().unwrap(), net.namespace().unwrap());
    net.veth((&a, "eth0"), (&b, "eth0"), 65_535).unwrap();
    let (_directory, at) = scratch();
    let reference = Reference::tcpdump(&b, "eth0", at("jumbo.pcap"), NONE).unwrap();
    let mut frames = Frames::new(2, Station::A, Station::NOBODY);
    let jumbo = vec![frames.udp4(9014), frames.tcp6(65_500), frames.udp4(65_549), frames.arp()];
    inject(&a, &jumbo);
    let (_, records) = reference.stop_after(4, LIMIT).unwrap();
    records.same_bytes(&jumbo).unwrap();
}

#[test]
fn packets_come_in_through_a_tun_device() {
    let mut net = Net::new();
    let namespace = net.namespace().unwrap();
    let tun = namespace.enter(|| TunDevice::create("tun0")).unwrap().unwrap();
    let (_directory, at) = scratch();
    let reference = Reference::tcpdump(&namespace, "tun0", at("tun.pcap"), NONE).unwrap();
    let packets = Frames::new(3, Station::B, Station::NOBODY).ip_zoo();
    for packet in &packets {
        tun.send(packet).unwrap();
    }
    let (_, records) = reference.stop_after(packets.len() as u64, LIMIT).unwrap();
    records.same_bytes(&packets).unwrap();
    // LINKTYPE_RAW, or LINKTYPE_IPV4 and such as older libpcaps have it.
    assert!(records.all.iter().all(|record| record.link_type == 101), "{:?}", records.all[0]);
}

#[test]
fn a_filter_and_a_snaplen_reach_the_tools() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let tcpdump = Reference::tcpdump(&b, "eth0", at("x.pcap"), ["-s", "40", "arp"]).unwrap();
    let dumpcap =
        Reference::dumpcap(&b, "eth0", at("x.pcapng"), ["-s", "40", "-f", "arp"]).unwrap();
    let mut frames = Frames::new(4, Station::A, Station::NOBODY);
    inject(&a, &[frames.udp4(100), frames.arp(), frames.tcp4(100)]);
    for reference in [tcpdump, dumpcap] {
        let (counts, records) = reference.stop_after(1, LIMIT).unwrap();
        assert_eq!((counts.captured, records.len()), (1, 1));
        assert_eq!((records.all[0].data.len(), records.all[0].original_len), (40, 60));
    }
}
