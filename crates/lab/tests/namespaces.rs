//! Namespaces: made, linked, and gone afterwards.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::{net::UdpSocket, panic, time::Duration};

use whaletap_lab::{Address, Namespace, Net, Program, Station};

fn exists(namespace: &Namespace) -> bool {
    let list = Program::new("ip").args(["netns", "list"]).run().unwrap();
    list.stdout_text().lines().any(|line| line.split(' ').next() == Some(namespace.name()))
}

#[test]
fn a_dropped_net_leaves_no_namespace() {
    let (net, a, b) = Net::pair().unwrap();
    assert!(exists(&a) && exists(&b));
    assert_ne!(a.id().unwrap(), b.id().unwrap());
    drop(net);
    assert!(!exists(&a) && !exists(&b));
    assert!(a.id().is_err());
}

#[test]
fn a_panic_leaves_no_namespace() {
    let mut kept = None;
    let panicked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let (_net, a, b) = Net::pair().unwrap();
        kept = Some((a, b));
        panic!("as a failed assertion does");
    }));
    assert!(panicked.is_err());
    let (a, b) = kept.unwrap();
    assert!(!exists(&a) && !exists(&b));
}

#[test]
fn what_dead_processes_left_is_swept() {
    // The highest pid is 4194304 (PID_MAX_LIMIT): this owner has never lived.
    let name = "wt-4194305-7";
    Program::new("ip").args(["netns", "add", name]).run().unwrap();
    Net::sweep();
    let list = Program::new("ip").args(["netns", "list"]).run().unwrap();
    assert!(!list.stdout_text().contains(name));
}

#[test]
fn a_pair_talks_and_has_no_way_out() {
    let (_net, a, b) = Net::pair().unwrap();
    let open = |station: Station| UdpSocket::bind((station.ipv4, station.port));
    let from = a.enter(|| open(Station::A)).unwrap().unwrap();
    let to = b.enter(|| open(Station::B)).unwrap().unwrap();
    to.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    from.send_to(b"hello", (Station::B.ipv4, Station::B.port)).unwrap();
    let mut buffer = [0; 16];
    let (length, sender) = to.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"hello");
    assert_eq!(sender.ip(), Station::A.ipv4);

    assert_eq!(a.ip("route show default").unwrap(), "");
    let outside = from.send_to(b"hello", ("192.0.2.1", 9)).unwrap_err();
    assert_eq!(outside.kind(), std::io::ErrorKind::NetworkUnreachable);
    assert_eq!(a.mac("eth0").unwrap(), Station::A.mac);
}

#[test]
fn bridges_and_ipv6_work() {
    let mut net = Net::new();
    let (a, b, switch) =
        (net.namespace().unwrap(), net.namespace().unwrap(), net.namespace().unwrap());
    net.veth((&a, "eth0"), (&switch, "port0"), 1500).unwrap();
    net.veth((&b, "eth0"), (&switch, "port1"), 1500).unwrap();
    net.bridge(&switch, "br0", &["port0", "port1"]).unwrap();
    net.address(&a, "eth0", Address::v6(Station::A.ipv6)).unwrap();
    net.address(&b, "eth0", Address::v6(Station::B.ipv6)).unwrap();
    let to = b.enter(|| UdpSocket::bind((Station::B.ipv6, 7))).unwrap().unwrap();
    to.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let from = a.enter(|| UdpSocket::bind((Station::A.ipv6, 7))).unwrap().unwrap();
    from.send_to(b"hello", (Station::B.ipv6, 7)).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(to.recv(&mut buffer).unwrap(), 5);
    assert_eq!(net.namespaces().len(), 3);
    net.remove(&b).unwrap();
    assert!(!exists(&b) && exists(&a));
}
