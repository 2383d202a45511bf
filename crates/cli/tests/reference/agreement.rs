//! The two ways of listening to a namespace agree with each other and with the others.

use lab::{Frames, Net, Records, Reference, Station};

use crate::{
    NONE, assert_close, assert_same, inject, scratch,
    whaletap::{LIMIT, Whaletap, interface},
};

/// A socket for a namespace, which is the way of new kernels, and a socket for each interface,
/// which is the way of kernels before 6.15, see the same frames.
#[test]
fn a_socket_for_each_interface_sees_the_same() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let one = Whaletap::capture(&[&b], &at("one.pcapng"), ["--socket-per-interface=false"]);
    let each = Whaletap::capture(&[&b], &at("each.pcapng"), ["--socket-per-interface"]);
    let references = ["eth0", "lo"]
        .map(|device| Reference::tcpdump(&b, device, at(&format!("{device}.pcap")), NONE).unwrap());
    let mut frames = Frames::new(1, Station::A, Station::NOBODY);
    let (first, second) = (frames.zoo(), frames.zoo());
    inject(&a, "eth0", &first);
    inject(&b, "lo", &second);
    let count = (first.len() + second.len()) as u64;
    for mut capture in [one, each] {
        capture.wait_for(count);
        let summary = capture.stop();
        summary.assert_adds_up();
        assert_eq!((summary.captured, summary.received), (count, count), "{summary:?}");
    }
    let (one, each) =
        (Records::read(at("one.pcapng")).unwrap(), Records::read(at("each.pcapng")).unwrap());
    assert_same(&each, &one);
    for (reference, device) in references.into_iter().zip(["eth0", "lo"]) {
        let (_, theirs) = reference.stop_after(first.len() as u64, LIMIT).unwrap();
        assert_same(&one.of(&interface(&b, device)), &theirs);
    }
    // With a socket for each, an interface that comes later gets one as well.
    let each = Whaletap::capture(&[&a], &at("later.pcapng"), ["--socket-per-interface"]);
    let tcpdump = Reference::tcpdump(&a, "eth0", at("later.pcap"), NONE).unwrap();
    inject(&a, "eth0", &first);
    let (_, theirs) = tcpdump.stop_after(first.len() as u64, LIMIT).unwrap();
    each.stop().assert_adds_up();
    assert_close(&Records::read(at("later.pcapng")).unwrap(), &theirs);
}

/// One link type for all: the cooked header is that of tcpdump's `any`, byte for byte.
#[test]
fn a_cooked_header_is_tcpdumps() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let ours = Whaletap::capture(&[&b], &at("ours.pcapng"), ["--linktype", "sll2"]);
    let snapped = ["--linktype", "sll2", "-s", "60", "--", "udp"];
    let snapped = Whaletap::capture(&[&b], &at("snapped.pcapng"), snapped);
    let sll2 = ["-y", "LINUX_SLL2"];
    let tcpdump = Reference::tcpdump(&b, "any", at("any.pcap"), sll2).unwrap();
    let short = ["-y", "LINUX_SLL2", "-s", "60", "udp"];
    let short = Reference::tcpdump(&b, "any", at("short.pcap"), short).unwrap();
    // libpcap leaves tags out of cooked frames, where we keep them: those stand at the zoo's end.
    let sent = &Frames::new(1, Station::A, Station::NOBODY).zoo()[..14];
    inject(&a, "eth0", sent);
    inject(&b, "lo", sent);
    let (_, all) = tcpdump.stop_after(2 * sent.len() as u64, LIMIT).unwrap();
    let mut snapped = snapped;
    let count = snapped.counts().received;
    let (_, short) = short.stop_after(count, LIMIT).unwrap();
    for capture in [ours, snapped] {
        capture.stop().assert_adds_up();
    }
    assert!(all.all.iter().all(|record| record.link_type == 276), "LINUX_SLL2");
    assert_same(&Records::read(at("ours.pcapng")).unwrap(), &all);
    assert!(short.len() >= 16, "{}", short.len());
    assert_same(&Records::read(at("snapped.pcapng")).unwrap(), &short);
}
