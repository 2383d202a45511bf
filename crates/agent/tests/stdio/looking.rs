//! Looking into namespaces that nobody captures.

use lab::Net;
use wire::{Look, Order, Place, Report, Scope, Seen};

use crate::{
    capturing::{RUN, frames, inject, place},
    client::{Client, LIMIT},
};

fn look(client: &mut Client, number: u32, place: Place) -> Seen {
    client.order(&Order::Look(Look { number, place }));
    client.wait_for_report("it is looked into", |report| match report {
        Report::Seen(seen) if seen.number == number => Some(seen.clone()),
        Report::Unseen(unseen) => panic!("{unseen:?}"),
        _ => None,
    })
}

#[test]
fn who_looks_sees_interfaces_and_leaves_nothing() {
    let (_net, a, b) = Net::pair().unwrap();
    let mut client = Client::greeted();
    let seen = look(&mut client, 6, place(&a));
    assert_eq!((seen.netns.dev, seen.netns.ino), a.id().unwrap());
    let names: Vec<_> = seen.interfaces.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["lo", "eth0"]);
    assert_eq!(seen.interfaces[1].mac.unwrap().0, a.mac("eth0").unwrap());
    let listening = |it: &lab::Namespace| {
        it.enter(|| std::fs::read_to_string("/proc/thread-self/net/packet").unwrap()).unwrap()
    };
    assert_eq!(listening(&a).lines().count(), 1, "{}", listening(&a));

    // Beside a capture, and under its number: they are counted apart.
    client.attached(7, place(&b), Scope::Namespace);
    let sent = frames(RUN, 20);
    inject(&b, "eth0", &sent);
    let seen = look(&mut client, 7, place(&b));
    assert_eq!((seen.netns.dev, seen.netns.ino), b.id().unwrap());
    while client.frames(7).len() < sent.len() {
        assert!(client.hear(LIMIT), "{}", client.running.stderr());
    }
    assert!(client.detach(7).adds_up());
}
