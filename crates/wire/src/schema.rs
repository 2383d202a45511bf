//! The form of every message as text, and whether it is the one of [`crate::PROTOCOL`].

use proptest::{
    collection::vec,
    prelude::{any, prop_assert_eq, proptest},
    sample,
};

use model::{Hatype, Instruction, Interface, MacAddress, NetnsId, Network, Program, Stats};

use crate::{
    Acknowledge, Attach, Attached, Clock, ContainerPlace, Counts, Detach, Ended, Error, Hello,
    Host, Interfaces, Look, Notice, Order, PROTOCOL, Place, Question, Reason, Refused, Report,
    Scope, Seen, Settings, Settled, Spec,
    field::{Field, Schema},
};

/// The form of this version, checked in. Another one gets a file of its own.
const CHECKED_IN: &str = include_str!("../schema/2.txt");
/// Which version that is.
const VERSION: u32 = 2;

fn schema() -> String {
    let mut schema = Schema::new();
    Hello::describe(&mut schema);
    Order::describe(&mut schema);
    Report::describe(&mut schema);
    let mut text = String::new();
    for (name, definition) in schema {
        text += &format!("{name} = {definition}\n");
    }
    // Frames have a form of their own. So has what stands for all of it: bytes of one sample each.
    text += &format!("bytes of samples = {:016x}\n", fingerprint());
    text
}

/// FNV-1a over one sample of everything: a change of how a field is written shows here when its name
/// stays.
fn fingerprint() -> u64 {
    let mut all = Vec::new();
    for order in orders() {
        all.extend(order.to_bytes());
    }
    for report in reports() {
        all.extend(report.to_bytes());
    }
    all.extend(Hello::new("0.1.0", Some(host())).to_bytes());
    let mut writer = crate::BatchWriter::default();
    let frame = model::FrameParts {
        timestamp: 1_800_000_000_123_456_789,
        interface: 2,
        hatype: Hatype::TUNNEL6,
        protocol: 0x86dd,
        packet_type: model::PacketType::Outgoing,
        vlan: Some((7, 0x8100)),
        checksum_not_ready: true,
        checksum_valid: false,
        tcp_segmentation: true,
        address: &[1, 2, 3],
        network_offset: 4,
        original_length: 99,
        data: b"data",
    };
    for timestamp in [frame.timestamp, frame.timestamp - 7] {
        writer.push(&model::FrameParts { timestamp, ..frame }).unwrap();
    }
    all.extend(writer.take(7, 3, false));
    for kind in [crate::Kind::Hello, crate::Kind::Order, crate::Kind::Report, crate::Kind::Batch] {
        all.extend(crate::envelope(kind, &[0; 300]).unwrap());
    }
    all.extend(crate::PREAMBLE);
    all.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn the_form_of_messages_changes_with_the_version_only() {
    assert_eq!(VERSION, PROTOCOL, "schema/{PROTOCOL}.txt is the file to compare with, then");
    let schema = schema();
    assert!(
        schema == CHECKED_IN,
        "messages have another form than version {PROTOCOL}'s: raise PROTOCOL, and check in \
         schema/{}.txt:\n{schema}",
        PROTOCOL + 1
    );
}

fn host() -> Host {
    Host {
        name: "far".to_owned(),
        kernel: "6.18.0".to_owned(),
        architecture: "x86_64".to_owned(),
        boot: "4f0e12ab".to_owned(),
        netns: NetnsId { dev: 4, ino: 4_026_531_840 },
        processors: 2,
    }
}

fn orders() -> Vec<Order> {
    let places = [
        Place::Container(ContainerPlace {
            pid: 7,
            id: "ab".repeat(32),
            sandbox_key: "/run/x".to_owned(),
        }),
        Place::Process(1),
        Place::Netns("/run/netns/a b".to_owned()),
        Place::Host,
        Place::Own,
    ];
    let named = Scope::Named(vec!["eth0".to_owned(), "lo".to_owned()]);
    let scopes =
        [Scope::Namespace, Scope::EachInterface, named, Scope::Namespace, Scope::Namespace];
    let mut orders = vec![
        Order::Settings(Settings { compress: true, memory: 64 << 20, linger: 100, patience: 2000 }),
        Order::Detach(Detach { capture: 3 }),
        Order::Acknowledge(Acknowledge { bytes: 1 << 40 }),
        Order::Clock(Question { number: 9 }),
        Order::Heartbeat,
        Order::Look(Look { number: 5, place: Place::Host }),
        Order::End,
    ];
    for (capture, (place, scope)) in (0..).zip(places.into_iter().zip(scopes)) {
        let jump = Instruction { code: 0x15, jt: 1, jf: 2, k: 0xdead_beef };
        let spec = Spec {
            program: Program(vec![jump; 3]),
            fallback: Program::ret(0),
            ring: 4 << 20,
            retire: 8000,
            scope,
            promiscuous: capture == 1,
        };
        orders.push(Order::Attach(Box::new(Attach { capture, place, spec })));
    }
    orders
}

fn reports() -> Vec<Report> {
    let interface = Interface {
        index: 2,
        name: "eth0".to_owned(),
        mac: Some(MacAddress([2, 0x42, 0, 0, 0, 1])),
        addresses: vec![
            Network { address: "10.7.0.1".parse().unwrap(), prefix: 24 },
            Network { address: "fd00::1".parse().unwrap(), prefix: 64 },
        ],
        mtu: 1500,
        up: true,
        kind: Some("veth".to_owned()),
        hatype: Hatype::ETHER,
        peer_index: Some(9),
    };
    let mut stats = Stats { received: 10, captured: 2, dropped_by_kernel: 3, ..Stats::default() };
    (stats.dropped_by_us, stats.refused, stats.discarded) = (4, 5, 6);
    (stats.truncated, stats.out_of_order, stats.freezes) = (7, 8, 9);
    let counts = Counts { capture: 1, stats };
    let attached = Attached {
        capture: 1,
        netns: host().netns,
        interfaces: vec![interface.clone()],
        program_refused: true,
        since: 1_800_000_000_000_000_000,
        missing: vec!["tun0".to_owned()],
        created: Some(1_799_999_999_000_000_000),
        frames_before: 12,
    };
    let seen = Seen {
        number: 5,
        netns: host().netns,
        interfaces: vec![interface.clone(), interface.clone()],
    };
    let kinds = [
        Reason::NotPermitted,
        Reason::NotFound,
        Reason::NotTheOne,
        Reason::NotReady,
        Reason::Failed,
    ];
    let refused = kinds.map(|reason| {
        let text = "no such process".to_owned();
        Refused { number: 2, reason, errno: Some(-3), text }
    });
    let mut reports = vec![
        Report::Attached(attached),
        Report::Interfaces(Interfaces { capture: 1, interfaces: vec![interface] }),
        Report::Settled(Settled { capture: 1, until: 17 }),
        Report::Counts(counts.clone()),
        Report::Detached(counts),
        Report::Clock(Clock { number: 9, now: 1 }),
        Report::Notice(Notice { capture: None, text: "words".to_owned() }),
        Report::Heartbeat,
        Report::Ended(Ended { text: None }),
    ];
    reports.extend([Report::Seen(seen), Report::Unseen(refused[0].clone())]);
    reports.extend(refused.map(Report::Refused));
    reports
}

#[test]
fn everything_reads_back_and_nothing_less_or_more() {
    for order in orders() {
        let mut bytes = order.to_bytes();
        assert_eq!(Order::read(&bytes).as_ref(), Ok(&order));
        for length in 0..bytes.len() {
            assert!(Order::read(&bytes[..length]).is_err(), "{order:?} at {length}");
        }
        bytes.push(0);
        assert_eq!(Order::read(&bytes), Err(Error::Malformed { what: "an order" }));
    }
    for report in reports() {
        let mut bytes = report.to_bytes();
        assert_eq!(Report::read(&bytes).as_ref(), Ok(&report));
        for length in 0..bytes.len() {
            assert!(Report::read(&bytes[..length]).is_err(), "{report:?} at {length}");
        }
        bytes.push(0);
        assert_eq!(Report::read(&bytes), Err(Error::Malformed { what: "a report" }));
    }
}

proptest! {
    #[test]
    fn what_reads_at_all_is_what_was_written(
        bytes in vec(any::<u8>(), 0..100),
        which: sample::Index,
        at: sample::Index,
        byte: u8,
    ) {
        let mut messages = vec![bytes];
        for mut message in [which.get(&orders()).to_bytes(), which.get(&reports()).to_bytes()] {
            let at = at.index(message.len());
            message[at] = byte;
            messages.push(message);
        }
        for message in messages {
            if let Ok(order) = Order::read(&message) {
                prop_assert_eq!(&order.to_bytes(), &message);
            }
            if let Ok(report) = Report::read(&message) {
                prop_assert_eq!(&report.to_bytes(), &message);
            }
            let _ = Hello::read(&message, "0.1.0");
        }
    }
}
