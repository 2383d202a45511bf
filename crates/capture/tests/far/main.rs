//! A pipeline whose frames come over a link. The far side is played, message by message: what a real
//! one does with real namespaces is shown where it is built.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

#[path = "../succession/running.rs"]
#[expect(dead_code, reason = "here there are no namespaces")]
mod running;

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use model::{FrameParts, Hatype, Interface, NetnsId, PacketType, Program, Stats};
use whaletap_capture::{
    Attachment, CaptureId, Error, Means, Rotation,
    far::{FarCapture, Link, MAX_NOTICES, Place, Scope, Settings, Spec},
};
use wire::{
    Attached, BatchWriter, Clock, Counts, Hello, Host, Interfaces, Kind, Notice, Order, PREAMBLE,
    Reason, Refused, Report, Seen, Settled, Stream, envelope,
};

use crate::running::{LIMIT, Running, attach, eventually, identity, interfaces};

const BUILD: &str = "0.0.1";
const SETTINGS: Settings = Settings { compress: true, memory: 1 << 20, linger: 50, patience: 2000 };
const NETNS: NetnsId = NetnsId { dev: 4, ino: 77 };
/// The far side's clock is ahead by this, in nanoseconds.
const AHEAD: u64 = 3_600_000_000_000;

/// A far side that is played.
struct Played {
    stream: UnixStream,
    incoming: Stream,
}

impl Played {
    fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self { stream, incoming: Stream::default() }
    }

    fn say(&mut self, kind: Kind, payload: &[u8]) {
        self.stream.write_all(&envelope(kind, payload).unwrap()).unwrap();
        self.stream.write_all(payload).unwrap();
    }

    fn report(&mut self, report: &Report) {
        self.say(Kind::Report, &report.to_bytes());
    }

    /// The next message; `None` at the end.
    fn hear(&mut self) -> Option<(Kind, Vec<u8>)> {
        loop {
            if let Some((kind, payload)) = self.incoming.next_message().unwrap() {
                return Some((kind, payload.to_vec()));
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(read) => self.incoming.feed(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn order(&mut self) -> Option<Order> {
        let (kind, payload) = self.hear()?;
        assert_eq!(kind, Kind::Order);
        Some(Order::read(&payload).unwrap())
    }

    /// The next order of a kind; clocks are answered.
    fn wait_for<T>(&mut self, wanted: impl Fn(Order) -> Option<T>) -> T {
        loop {
            match self.order().expect("the client is there") {
                Order::Clock(question) => {
                    let clock = Clock { number: question.number, now: there() };
                    self.report(&Report::Clock(clock));
                }
                order => {
                    if let Some(found) = wanted(order) {
                        return found;
                    }
                }
            }
        }
    }

    fn greet(&mut self, build: &str) {
        let (kind, _) = self.hear().unwrap();
        assert_eq!(kind, Kind::Hello);
        let host = Host {
            name: "far".into(),
            kernel: "6.1".into(),
            architecture: "x86_64".into(),
            boot: String::new(),
            netns: NETNS,
            processors: 1,
        };
        self.stream.write_all(PREAMBLE).unwrap();
        self.say(Kind::Hello, &Hello::new(build, Some(host)).to_bytes());
    }

    /// Waits for the order to attach, and says that it is done.
    fn attach(&mut self) -> u32 {
        let capture = self.wait_for(|order| match order {
            Order::Attach(attach) => Some(attach.capture),
            _ => None,
        });
        self.report(&Report::Attached(attached(capture)));
        capture
    }

    fn send(&mut self, capture: u32, interface: u32, stamps: &[u64], lost: u64) -> u64 {
        let mut writer = BatchWriter::default();
        for timestamp in stamps {
            let frame = FrameParts {
                timestamp: *timestamp,
                interface,
                hatype: Hatype::ETHER,
                protocol: 0x0800,
                packet_type: PacketType::Host,
                vlan: None,
                checksum_not_ready: false,
                checksum_valid: false,
                tcp_segmentation: false,
                address: &[],
                network_offset: 14,
                original_length: 60,
                data: &[0; 60],
            };
            writer.push(&frame).unwrap();
        }
        let weight = writer.weight();
        self.say(Kind::Batch, &writer.take(capture, lost, true));
        weight
    }

    fn counts(capture: u32, received: u64, dropped: u64) -> Counts {
        let captured = received - dropped;
        let stats = Stats { received, captured, dropped_by_us: dropped, ..Stats::default() };
        Counts { capture, stats }
    }
}

fn attached(capture: u32) -> Attached {
    Attached {
        capture,
        netns: NETNS,
        interfaces: vec![interface(2, "eth0")],
        program_refused: false,
        since: there(),
        missing: Vec::new(),
        created: None,
        frames_before: 0,
    }
}

fn there() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap() + AHEAD
}

fn interface(index: u32, name: &str) -> Interface {
    Interface {
        index,
        name: name.into(),
        mac: None,
        addresses: Vec::new(),
        mtu: 1500,
        up: true,
        kind: None,
        hatype: Hatype::ETHER,
        peer_index: None,
    }
}

/// A far side that does this, and the client's stream to it.
fn played(acts: impl FnOnce(&mut Played) + Send + 'static) -> (UnixStream, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut far = Played::over(theirs);
    (ours, thread::spawn(move || acts(&mut far)))
}

fn spec() -> Spec {
    let program = Program::ret(262_144);
    Spec {
        program: program.clone(),
        fallback: program,
        ring: 1 << 20,
        retire: 8000,
        scope: Scope::Namespace,
        promiscuous: false,
    }
}

fn attachment(capture: &FarCapture, id: u32, name: &str) -> Attachment {
    Attachment {
        id: CaptureId(id),
        identity: identity(name),
        netns: capture.netns,
        means: Means::Far(capture.arrivals.clone()),
        program_refused: false,
        only: None,
        follows: None,
        blind: None,
        hold: None,
    }
}

#[test]
fn frames_of_a_far_side_are_written_in_order_and_acknowledged() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        let (web, db) = (far.attach(), far.attach());
        let begin = there();
        let at = |milliseconds: u64| begin + milliseconds * 1_000_000;
        let mut sent = far.send(web, 2, &[at(1), at(5), at(9)], 0);
        sent += far.send(db, 2, &[at(2), at(6)], 4);
        // An interface that comes later.
        let both = vec![interface(2, "eth0"), interface(3, "eth1")];
        far.report(&Report::Interfaces(Interfaces { capture: web, interfaces: both }));
        sent += far.send(web, 3, &[at(7)], 0);
        for capture in [web, db] {
            far.report(&Report::Settled(Settled { capture, until: at(20) }));
        }
        far.wait_for(|order| match order {
            Order::Acknowledge(used) if used.bytes == sent => Some(()),
            Order::Acknowledge(used) => {
                assert!(used.bytes < sent);
                None
            }
            _ => None,
        });
        for (capture, counts) in [(web, Played::counts(web, 4, 0)), (db, Played::counts(db, 6, 4))]
        {
            let gone = far.wait_for(|order| match order {
                Order::Detach(detach) => Some(detach.capture),
                _ => None,
            });
            assert_eq!(gone, capture);
            far.report(&Report::Detached(counts));
        }
        far.wait_for(|order| (order == Order::End).then_some(()));
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    assert_eq!(link.host().name, "far");
    assert!(link.ahead().nanoseconds.abs_diff(AHEAD.cast_signed()) < 1_000_000_000);
    let running = Running::start("x.pcapng", false, Rotation::Off);
    let found: Vec<FarCapture> = (0..2).map(|_| link.attach(Place::Own, spec()).unwrap()).collect();
    // As a session does: nobody is written before the last is attached.
    let hold = running.pipeline.hold(0);
    attach(&running, attachment(&found[0], 0, "web"));
    attach(&running, attachment(&found[1], 1, "db"));
    drop(hold);
    running.wait_for(6);
    for id in [0, 1] {
        running.pipeline.detach(CaptureId(id));
        let report = running.detached();
        assert_eq!(report.id, CaptureId(id));
        assert!(report.stats.adds_up(), "{report:?}");
    }
    for capture in &found {
        eventually(|| sys::poll::is_readable(&capture.ended).unwrap());
    }
    let file = running.at("x.pcapng");
    let (report, _directory) = running.stop();
    assert_eq!(report.last.total().out_of_order, 0);
    assert_eq!((report.last.total().captured, report.last.total().dropped_by_us), (6, 4));
    // Which of the last two is told first is a matter of moments.
    let mut told: Vec<_> =
        interfaces(&file).into_iter().map(|found| (found.name, found.packets)).collect();
    told.sort();
    let expected = [("db/eth0", 2), ("web/eth0", 3), ("web/eth1", 1)];
    assert_eq!(told, expected.map(|(name, packets)| (name.to_owned(), packets)));
    assert!(link.gone().is_none());
    drop(link);
    far.join().unwrap();
}

/// Who is behind may have no room on the link because of what waits for it here.
#[test]
fn what_waits_for_its_order_is_acknowledged_all_the_same() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        let (web, db) = (far.attach(), far.attach());
        let begin = there();
        let sent = far.send(web, 2, &[begin, begin + 1_000], 0);
        far.report(&Report::Settled(Settled { capture: web, until: begin + 2_000_000 }));
        let used = far.wait_for(|order| match order {
            Order::Acknowledge(used) => Some(used.bytes),
            _ => None,
        });
        assert_eq!(used, sent);
        far.send(db, 2, &[begin + 500], 0);
        for capture in [web, db] {
            far.report(&Report::Settled(Settled { capture, until: begin + 3_000_000 }));
        }
        for (capture, frames) in [(web, 2), (db, 1)] {
            far.wait_for(|order| matches!(order, Order::Detach(_)).then_some(()));
            far.report(&Report::Detached(Played::counts(capture, frames, 0)));
        }
        far.wait_for(|order| (order == Order::End).then_some(()));
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    let running = Running::start("x.pcapng", false, Rotation::Off);
    let hold = running.pipeline.hold(0);
    for (id, name) in [(0, "web"), (1, "db")] {
        let capture = link.attach(Place::Own, spec()).unwrap();
        attach(&running, attachment(&capture, id, name));
    }
    drop(hold);
    running.wait_for(3);
    for id in [0, 1] {
        running.pipeline.detach(CaptureId(id));
        running.detached();
    }
    let (report, _directory) = running.stop();
    let total = report.last.total();
    assert_eq!((total.captured, total.out_of_order, total.adds_up()), (3, 0, true));
    drop(link);
    far.join().unwrap();
}

/// Memory here does not depend on what the other side thinks that it may.
#[test]
fn who_sends_more_than_is_allowed_is_not_listened_to() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        let web = far.attach();
        let stamps = [there(); 1000];
        let mut sent = 0;
        while sent < wire::MAX_ALLOWANCE {
            sent += far.send(web, 2, &stamps, 0);
        }
        // All of that is as it should be.
        far.attach();
        far.send(web, 2, &stamps, 0);
        while far.order().is_some() {}
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    let _captures = [(); 2].map(|()| link.attach(Place::Own, spec()).unwrap());
    eventually(|| link.gone().is_some());
    let why = link.gone().unwrap().to_string();
    assert!(why.contains("a batch that it may not send"), "{why}");
    far.join().unwrap();

    // One without frames has no weight.
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        let web = far.attach();
        far.send(web, 2, &[], 7);
        while far.order().is_some() {}
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    let _capture = link.attach(Place::Own, spec()).unwrap();
    eventually(|| link.gone().is_some());
    far.join().unwrap();
}

#[test]
fn a_far_side_that_breaks_off_ends_what_it_captured() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        let web = far.attach();
        far.send(web, 2, &[there()], 0);
        far.report(&Report::Counts(Played::counts(web, 3, 0)));
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    let running = Running::start("x.pcapng", false, Rotation::Off);
    let web = link.attach(Place::Own, spec()).unwrap();
    attach(&running, attachment(&web, 0, "web"));
    far.join().unwrap();
    eventually(|| link.gone().is_some());
    assert!(sys::poll::is_readable(&link).unwrap());
    eventually(|| sys::poll::is_readable(&web.ended).unwrap());
    assert!(matches!(link.attach(Place::Own, spec()), Err(Error::FarGone { .. })));
    running.pipeline.detach(CaptureId(0));
    let report = running.detached();
    // What it counted and did not send is lost, and is told.
    assert_eq!((report.stats.captured, report.stats.discarded), (1, 2));
    assert!(report.stats.adds_up());
    running.stop();
}

#[test]
fn what_a_far_side_refuses_is_told() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        let capture = far.wait_for(|order| match order {
            Order::Attach(attach) => Some(attach.capture),
            _ => None,
        });
        far.report(&Report::Refused(Refused {
            number: capture,
            reason: Reason::NotFound,
            errno: Some(3),
            text: "there is no process 7".into(),
        }));
        far.wait_for(|order| (order == Order::End).then_some(()));
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    let error = link.attach(Place::Process(7), spec()).unwrap_err();
    assert!(matches!(&error, Error::FarRefused { refused } if refused.reason == Reason::NotFound));
    assert!(error.to_string().ends_with("there is no process 7"), "{error}");
    drop(link);
    far.join().unwrap();
}

/// A far side that takes its time: who does not want the answer any more is let go, whenever it comes.
#[test]
fn what_was_asked_for_and_is_not_wanted_any_more_is_let_go() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        let [asked, let_go] = [(); 2].map(|()| {
            far.wait_for(|order| match order {
                Order::Attach(attach) => Some(attach.capture),
                Order::Detach(detach) => Some(detach.capture),
                _ => None,
            })
        });
        assert_eq!(asked, let_go);
        far.report(&Report::Attached(attached(asked)));
        far.report(&Report::Detached(Played::counts(asked, 0, 0)));
        // And it goes on.
        far.attach();
        far.wait_for(|order| (order == Order::End).then_some(()));
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    let asked = link.ask_to_attach(Place::Own, spec()).unwrap();
    assert!(!asked.is_over() && !sys::poll::is_readable(&asked).unwrap());
    drop(asked);
    assert_eq!(link.attach(Place::Own, spec()).unwrap().netns, NETNS);
    drop(link);
    far.join().unwrap();
}

#[test]
fn what_is_in_namespaces_is_told_in_the_order_of_the_questions() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        // All are asked for before the first is answered.
        let numbers = [(); 3].map(|()| {
            far.wait_for(|order| match order {
                Order::Look(look) => Some(look.number),
                _ => None,
            })
        });
        let seen = |number| Seen { number, netns: NETNS, interfaces: vec![interface(2, "eth0")] };
        let refused = Refused {
            number: numbers[1],
            reason: Reason::NotFound,
            errno: None,
            text: "there is no process 7".into(),
        };
        far.report(&Report::Seen(seen(numbers[2])));
        far.report(&Report::Unseen(refused));
        far.report(&Report::Seen(seen(numbers[0])));
        far.wait_for(|order| matches!(order, Order::Look(_)).then_some(()));
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    let looked = link.look_all(vec![Place::Host, Place::Process(7), Place::Own]);
    let told: Vec<_> = looked.iter().map(|it| it.as_ref().map(|seen| seen.netns)).collect();
    assert!(matches!(told[..], [Ok(NETNS), Err(Error::FarUnseen { .. }), Ok(NETNS)]), "{told:?}");
    // One that ends instead of answering.
    let looked = link.look_all(vec![Place::Host]);
    assert!(matches!(looked[..], [Err(Error::FarGone { .. })]), "{looked:?}");
    far.join().unwrap();
}

#[test]
fn strangers_and_other_versions_are_told_at_once() {
    let (stream, far) = played(|far| far.greet("0.0.2"));
    let error = Link::start(stream, BUILD, SETTINGS).unwrap_err();
    assert!(matches!(error, Error::Wire { source: wire::Error::Version { .. } }), "{error}");
    far.join().unwrap();
    let (stream, far) = played(|far| far.stream.write_all(b"sh: no such file").unwrap());
    let error = Link::start(stream, BUILD, SETTINGS).unwrap_err();
    assert!(matches!(error, Error::Wire { source: wire::Error::Stranger { .. } }), "{error}");
    far.join().unwrap();
    let (stream, far) = played(|_| {});
    far.join().unwrap();
    let error = Link::start(stream, BUILD, SETTINGS).unwrap_err();
    assert!(matches!(error, Error::FarGone { .. }), "{error}");
}

#[test]
fn what_a_far_side_says_to_people_reaches_them() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        far.attach();
        for number in 0..100 {
            let text = format!("the clock was set by {number} ms");
            far.report(&Report::Notice(Notice { capture: None, text }));
        }
        far.wait_for(|order| (order == Order::End).then_some(()));
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    let _capture = link.attach(Place::Own, spec()).unwrap();
    eventually(|| sys::poll::is_readable(link.noticed()).unwrap());
    let mut told = Vec::new();
    // Who says more than is read meanwhile is not heard to the end.
    eventually(|| {
        told.extend(std::iter::from_fn(|| link.next_notice()));
        told.len() >= MAX_NOTICES
    });
    assert_eq!(told[0], "the clock was set by 0 ms");
    drop(link);
    far.join().unwrap();
}

/// Whoever takes some of it and turns to others is called again.
#[test]
fn what_was_not_taken_of_its_words_is_told_of_again() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        far.attach();
        for text in ["one", "two"] {
            far.report(&Report::Notice(Notice { capture: None, text: text.into() }));
        }
        far.attach();
        far.wait_for(|order| (order == Order::End).then_some(()));
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    // The second comes behind both of them.
    let _captures = [(); 2].map(|()| link.attach(Place::Own, spec()).unwrap());
    for text in ["one", "two"] {
        assert!(sys::poll::is_readable(link.noticed()).unwrap(), "{text}");
        assert_eq!(link.next_notice().as_deref(), Some(text));
    }
    assert!(!sys::poll::is_readable(link.noticed()).unwrap());
    assert_eq!(link.next_notice(), None);
    drop(link);
    far.join().unwrap();
}

/// It need not say more than that it is there.
#[test]
fn a_link_says_that_it_is_there() {
    let (stream, far) = played(|far| {
        far.greet(BUILD);
        let begun = std::time::Instant::now();
        far.wait_for(|order| (order == Order::Heartbeat).then_some(()));
        assert!(begun.elapsed() < wire::HEARTBEAT + Duration::from_secs(2));
        far.report(&Report::Heartbeat);
    });
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    far.join().unwrap();
    drop(link);
}
