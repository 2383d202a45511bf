//! Frames, their order, and what becomes of those that have no room.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lab::{Frames, Namespace, Net, Program, Station, Tag, traffic::RawSender};
use model::Stats;
use wire::{Place, Report, Scope};

use crate::client::{Client, LIMIT, Said};

pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let ends = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < ends, "{what}: not so within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The run of frames that are not told apart from others.
pub(crate) const RUN: u32 = 1;

/// Frames that are injected in one go.
pub(crate) const PART: usize = 500;

pub(crate) fn place(namespace: &Namespace) -> Place {
    Place::Netns(namespace.path().to_str().unwrap().to_owned())
}

pub(crate) fn inject(namespace: &Namespace, device: &str, frames: &[Vec<u8>]) {
    namespace.enter(|| RawSender::open(device)?.send_all(frames)).unwrap().unwrap();
}

/// Numbered frames of many lengths.
pub(crate) fn frames(run: u32, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Frames::new(run, Station::A, Station::NOBODY);
    (0..count).map(|number| frames.udp4(60 + number % 1300)).collect()
}

fn numbers(frames: &[(u64, Vec<u8>)], run: u32) -> Vec<u64> {
    let tags = frames.iter().filter_map(|(_, data)| Tag::find(data));
    tags.filter(|tag| tag.run == run).map(|tag| tag.number).collect()
}

/// Nothing may come that is earlier than what was said to be settled. Gives how far each capture
/// is.
fn settled(heard: &[Said]) -> BTreeMap<u32, u64> {
    let mut settled = BTreeMap::new();
    for said in heard {
        match said {
            Said::Report(Report::Settled(it)) => {
                let before = settled.insert(it.capture, it.until).unwrap_or(0);
                assert!(it.until > before, "it is told where it is new");
            }
            Said::Batch(batch) => {
                let until = settled.get(&batch.capture).copied().unwrap_or(0);
                for frame in batch.frames() {
                    assert!(frame.timestamp >= until, "settled before a frame came");
                }
            }
            _ => {}
        }
    }
    settled
}

fn assert_adds_up(client: &Client, capture: u32, stats: Stats) {
    assert!(stats.adds_up(), "{stats:?}");
    assert_eq!(stats.captured, client.frames(capture).len() as u64, "{stats:?}");
}

#[test]
fn frames_arrive_as_they_were_sent() {
    let (_net, a, b) = Net::pair().unwrap();
    let mut client = Client::greeted();
    client.settings(true, 8 << 20, LIMIT);
    // Both are opened in one go.
    client.attach(1, place(&a), Scope::Namespace);
    client.attach(2, place(&b), Scope::EachInterface);
    for (capture, namespace) in [(1, &a), (2, &b)] {
        let attached = client.wait_for_report("it is attached", |report| match report {
            Report::Attached(attached) if attached.capture == capture => Some(attached.clone()),
            _ => None,
        });
        assert_eq!((attached.netns.dev, attached.netns.ino), namespace.id().unwrap());
        let names: Vec<_> = attached.interfaces.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["lo", "eth0"]);
        assert!(attached.since > 1_700_000_000_000_000_000 && !attached.program_refused);
    }
    let sent = frames(RUN, 4000);
    // A veth queues a thousand frames at the most.
    for (round, part) in sent.chunks(PART).enumerate() {
        inject(&a, "eth0", part);
        let all = round * PART + part.len();
        while [1, 2].iter().any(|capture| client.frames(*capture).len() < all) {
            assert!(client.hear(LIMIT), "{}", client.running.stderr());
        }
    }
    // They are settled by and by, without anything else being sent.
    for capture in [1, 2] {
        let last = client.frames(capture).last().map_or(0, |(timestamp, _)| *timestamp);
        client.wait_for_report("all is settled", |report| match report {
            Report::Settled(it) if it.capture == capture && it.until > last => Some(()),
            _ => None,
        });
    }
    for (capture, direction) in
        [(1, model::PacketType::Outgoing), (2, model::PacketType::OtherHost)]
    {
        let mut found = client.frames(capture);
        found.sort_by_key(|(timestamp, _)| *timestamp);
        let found: Vec<_> = found.into_iter().map(|(_, data)| data).collect();
        assert!(found == sent, "capture {capture}: other frames, or another order");
        for said in &client.heard {
            let Said::Batch(batch) = said else { continue };
            if batch.capture == capture {
                assert_eq!(batch.lost, 0);
                assert!(batch.frames().all(|frame| frame.packet_type == direction));
            }
        }
        let stats = client.detach(capture);
        assert_adds_up(&client, capture, stats);
        assert_eq!((stats.received, stats.lost()), (sent.len() as u64, 0));
    }
    settled(&client.heard);
}

/// Somebody reads, and uses nothing of it: what is under way is bounded, and what waits as well.
#[test]
fn who_does_not_acknowledge_gets_no_more_until_it_does() {
    const MEMORY: u64 = 4 << 20;
    // Where it is yet to be built that takes longer than a far side waits.
    lab::traffic::program().unwrap();
    let (_net, a, b) = Net::pair().unwrap();
    let mut client = Client::greeted();
    client.settings(false, MEMORY, Duration::from_secs(60));
    client.attached(7, place(&b), Scope::Namespace);
    client.acknowledges = false;
    let mut flood = a.traffic("send --dev eth0 --size 1000 --rate 20000 --seconds 20").unwrap();
    let dropped = client.wait_for_report("what has no room is counted", |report| match report {
        Report::Counts(counts) if counts.stats.dropped_by_us > 5000 => Some(counts.stats),
        _ => None,
    });
    assert!(flood.is_alive());
    assert!(dropped.accounted() <= dropped.received, "{dropped:?}");
    assert!(client.bytes < 2 << 20, "{} bytes are under way", client.bytes);
    // Its memory, the ring, and what a debug build is.
    let resident: u64 = client.status("VmRSS").strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(resident < 32 << 10, "{resident} KiB");

    // What it has kept is the latest. It goes on with that, and with what comes.
    client.acknowledges = true;
    client.acknowledge();
    drop(flood);
    let after = frames(99, 500);
    inject(&a, "eth0", &after);
    while numbers(&client.frames(7), 99).len() < after.len() {
        assert!(client.hear(LIMIT), "{}", client.running.stderr());
    }
    let stats = client.detach(7);
    assert_adds_up(&client, 7, stats);
    let lost: u64 = client
        .heard
        .iter()
        .filter_map(|said| if let Said::Batch(batch) = said { Some(batch.lost) } else { None })
        .sum();
    assert_eq!(lost, stats.lost(), "each loss is told with what came next");
    assert!(stats.dropped_by_us > 5000);
    settled(&client.heard);
}

/// A link that stands still: what was said meanwhile is as short as when it goes on.
#[test]
fn who_does_not_read_is_told_where_it_stands_afterwards() {
    let (_net, a, b) = Net::pair().unwrap();
    let mut client = Client::unread();
    client.settings(false, 1 << 20, Duration::from_secs(60));
    client.attach(1, place(&b), Scope::Namespace);
    // That it listens is told to the pipe, and to nobody.
    let net = |file: &str| {
        let path = format!("/proc/thread-self/net/{file}");
        b.enter(|| std::fs::read_to_string(path).unwrap()).unwrap()
    };
    eventually("it listens", || net("packet").lines().count() > 1);
    let sent = frames(RUN, 4000);
    let received = || {
        let devices = net("dev");
        let eth0 = devices.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
        eth0.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    for (round, part) in sent.chunks(PART).enumerate() {
        inject(&a, "eth0", part);
        eventually("they are there", || received() == round * PART + part.len());
    }
    assert!(!client.hear(Duration::from_millis(1200)), "nobody reads");
    client.acknowledges = true;
    client.read_on();
    let stats = client.detach(1);
    assert_adds_up(&client, 1, stats);
    assert!(stats.dropped_by_us > 500, "{stats:?}");
    let settled =
        client.heard.iter().filter(|said| matches!(said, Said::Report(Report::Settled(_))));
    assert!(settled.count() < 20, "nothing is said again and again to nobody");
}

#[test]
fn what_waits_too_long_is_not_sent() {
    let (_net, a, b) = Net::pair().unwrap();
    let mut client = Client::greeted();
    client.settings(false, 8 << 20, Duration::from_millis(300));
    client.attached(1, place(&b), Scope::Namespace);
    client.acknowledges = false;
    // The first 256 KiB of an allowance are sent.
    let sent = frames(RUN, 1000);
    sent.chunks(PART).for_each(|part| inject(&a, "eth0", part));
    client.wait_for_report("what is too old is counted", |report| match report {
        Report::Counts(counts) if counts.stats.dropped_by_us > 0 => Some(()),
        _ => None,
    });
    // Nobody has acknowledged anything: it ends all the same.
    let stats = client.detach(1);
    assert_adds_up(&client, 1, stats);
    assert!(stats.dropped_by_us > 0 && stats.captured > 0, "{stats:?}");
}

#[test]
fn a_capture_ends_with_its_namespace() {
    let (mut net, a, b) = Net::pair().unwrap();
    let mut client = Client::greeted();
    let script = "echo inside >&2; exec sleep 60";
    let mut sleeper = Program::new("sh").args(["-c", script]).inside(&a).start().unwrap();
    sleeper.wait_for_line("inside", LIMIT).unwrap();
    client.attached(1, Place::Process(sleeper.pid()), Scope::Namespace);
    client.attached(2, place(&b), Scope::Namespace);
    let sent = frames(RUN, 50);
    inject(&a, "eth0", &sent);
    drop(sleeper);
    net.remove(&b).unwrap();
    for capture in [1, 2] {
        let stats = client.detached(capture);
        assert_adds_up(&client, capture, stats);
        assert_eq!(stats.captured, sent.len() as u64, "all that was there is sent");
    }
    // Letting it go once more is no mistake: both may have happened at once.
    client.order(&wire::Order::Detach(wire::Detach { capture: 1 }));
    client.order(&wire::Order::End);
    let ended = client.wait_for_report("it ends", |report| match report {
        Report::Ended(ended) => Some(ended.clone()),
        _ => None,
    });
    assert_eq!(ended.text, None);
    assert_eq!(client.finish().1.code(), Some(0));
}

#[test]
fn interfaces_that_come_later_are_told_and_heard() {
    let mut net = Net::new();
    let (one, two, other) =
        (net.namespace().unwrap(), net.namespace().unwrap(), net.namespace().unwrap());
    let mut client = Client::greeted();
    client.attached(1, place(&one), Scope::Namespace);
    client.attached(2, place(&two), Scope::EachInterface);
    for (capture, namespace) in [(1, &one), (2, &two)] {
        net.veth((namespace, "late0"), (&other, &format!("late{capture}")), 1500).unwrap();
        let index = client.wait_for_report("the interface is told", |report| match report {
            Report::Interfaces(it) if it.capture == capture => {
                it.interfaces.iter().find(|it| it.name == "late0" && it.up).map(|it| it.index)
            }
            _ => None,
        });
        // With a socket each, it is opened when the interface was told.
        let sent = frames(RUN, 20);
        let mut seen = 0;
        while seen < sent.len() {
            inject(namespace, "late0", &sent);
            client.hear(Duration::from_millis(100));
            let batches = client.heard.iter().filter_map(|said| match said {
                Said::Batch(batch) if batch.capture == capture => Some(batch),
                _ => None,
            });
            seen = batches.flat_map(wire::Batch::frames).filter(|it| it.interface == index).count();
        }
        let stats = client.detach(capture);
        assert_adds_up(&client, capture, stats);
    }
}
