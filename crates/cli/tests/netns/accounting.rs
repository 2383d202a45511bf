//! Where every packet went: the summary and the file say the same, and it adds up.

use std::{fmt::Write, io::Read};

use lab::{Frames, Net, Records, Station};

use crate::{
    NONE,
    blocks::{Blocks, PACKET},
    inject, scratch, send,
    whaletap::{LIMIT, Whaletap, eventually, interface, selector, whaletap},
};

#[test]
fn a_capture_that_loses_nothing_adds_up() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let mut ours = Whaletap::capture(&[&a, &b], &at("x.pcapng"), NONE);
    let count = send(&a, "send --dev eth0 --size 100 --count 5000");
    // Both sides, and the counts while it runs are the same as at the end.
    ours.wait_for(2 * count);
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!((summary.captured, summary.received), (2 * count, 2 * count), "{summary:?}");
    assert_eq!(summary.targets.len(), 2);
    let blocks = Blocks::read(at("x.pcapng"));
    blocks.assert_adds_up();
    assert_eq!(blocks.sums().len(), 2);
    assert_eq!((blocks.count(PACKET), blocks.told_losses()), (2 * count, 0));
}

/// The reader stands still, and the smallest ring that there is runs over.
#[test]
fn drops_of_the_kernel_are_counted_to_the_packet() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let mut ours = Whaletap::capture(&[&b], &at("x.pcapng"), ["-B", "1"]);
    ours.signal("STOP");
    eventually("it stands still", LIMIT, || is_stopped(ours.pid()));
    let first = send(&a, "send --dev eth0 --size 500 --count 20000 --run 1");
    ours.signal("CONT");
    // The frame behind the gap tells of it.
    let mut second = 0;
    eventually("something is captured behind the gap", LIMIT, || {
        second += send(&a, "send --dev eth0 --size 500 --count 10 --run 2");
        let counts = ours.counts();
        counts.received > first && counts.captured + counts.dropped_by_kernel == first + second
    });
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!(summary.received, first + second, "{summary:?}");
    assert!(summary.dropped_by_kernel > 10_000, "{summary:?}");
    assert!(summary.text.contains("packets dropped by kernel"));
    let blocks = Blocks::read(at("x.pcapng"));
    blocks.assert_adds_up();
    assert_eq!(blocks.sums()[0].by_kernel, summary.dropped_by_kernel);
    let records = Records::read(at("x.pcapng")).unwrap();
    assert_eq!(records.len() as u64, summary.captured);
    assert!(!records.of_run(2).is_empty(), "nothing behind the gap");
    assert_eq!(blocks.told_losses(), summary.dropped_by_kernel, "packets tell of the losses");
}

fn is_stopped(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

/// Nobody reads the pipe, and the pool is small.
#[test]
fn drops_of_ours_are_counted_to_the_packet() {
    let (_net, a, b) = Net::pair().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let program = whaletap(["capture", &selector(&b), "-w", "-", "--memory", "2MiB"]);
    let mut ours = Whaletap::start(program.stdout_to(writer));
    let mut count = send(&a, "send --dev eth0 --size 1000 --count 30000 --rate 30000");
    eventually("it drops", LIMIT, || {
        let counts = ours.counts();
        counts.dropped_by_us > 0 && counts.received == count
    });
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    // The frame behind the gap tells of it.
    let before = ours.counts().captured;
    eventually("it captures again", LIMIT, || {
        count += send(&a, "send --dev eth0 --size 1000 --count 1");
        ours.counts().captured > before
    });
    let summary = ours.stop();
    let bytes = read.join().unwrap();
    summary.assert_adds_up();
    assert_eq!(summary.received, count, "{summary:?}");
    assert!(summary.dropped_by_us > 10_000, "{summary:?}");
    let blocks = Blocks::from_reader(&*bytes);
    blocks.assert_adds_up();
    assert_eq!((blocks.rest, blocks.count(PACKET)), (0, summary.captured));
    assert_eq!(blocks.sums()[0].by_us, summary.dropped_by_us);
    let lost = summary.dropped_by_us + summary.dropped_by_kernel;
    assert_eq!(blocks.told_losses(), lost, "packets tell of the losses");
}

#[test]
fn a_count_is_kept_to_the_packet_while_more_come() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let ours = Whaletap::capture(&[&b], &at("x.pcapng"), ["-c", "1000"]);
    let mut flood = a.traffic("send --dev eth0 --size 64 --seconds 20 --rate 20000").unwrap();
    let summary = ours.ended(0);
    assert!(flood.is_alive(), "it ended while frames came");
    flood.kill();
    summary.assert_adds_up();
    assert_eq!(summary.captured, 1000, "{summary:?}");
    assert!(summary.text.contains("the limit of 1000 packets was reached"), "{}", summary.text);
    let blocks = Blocks::read(at("x.pcapng"));
    blocks.assert_adds_up();
    assert_eq!(blocks.count(PACKET), 1000);
    let numbers = Records::read(at("x.pcapng")).unwrap().numbers(1);
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>(), "the first thousand");
}

/// An expression that lets through the udp datagrams of the zoo, in some hundred instructions.
fn long_expression(hosts: u32) -> String {
    let mut expression = "udp and (host 10.7.0.1".to_owned();
    for host in 0..hosts {
        write!(expression, " or host 10.99.{}.{}", host / 250, host % 250 + 1).unwrap();
    }
    expression + ")"
}

/// The same frames where the kernel judges and where we do.
#[test]
fn user_space_judges_as_the_kernel_does() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let middle = long_expression(100);
    let kernel = Whaletap::capture(&[&b], &at("kernel.pcapng"), ["--", &middle]);
    // From now on this namespace has no room for it.
    b.set("core/optmem_max", "1500").unwrap();
    let refused = Whaletap::capture(&[&b], &at("refused.pcapng"), ["--", &middle]);
    // And this is more than any kernel takes.
    let too_long = long_expression(1300);
    let long = Whaletap::capture(&[&b], &at("long.pcapng"), ["--", &too_long]);
    let sent = Frames::new(1, Station::A, Station::NOBODY).zoo();
    let repeated: Vec<Vec<u8>> = (0..10).flat_map(|_| sent.clone()).collect();
    inject(&a, "eth0", &repeated);

    let mut found = Vec::new();
    for (name, mut ours) in [("kernel", kernel), ("refused", refused), ("long", long)] {
        let in_user_space = name != "kernel";
        ours.wait_for(80);
        let summary = ours.stop();
        summary.assert_adds_up();
        let told = summary.text.contains("evaluated in user space");
        assert_eq!(told, in_user_space, "{name}: {}", summary.text);
        assert_eq!(summary.refused > 0, in_user_space, "{name}: {summary:?}");
        let file = at(&format!("{name}.pcapng"));
        let blocks = Blocks::read(&file);
        blocks.assert_adds_up();
        assert_eq!(blocks.sums()[0].refused, summary.refused);
        found.push(Records::read(&file).unwrap().of(&interface(&b, "eth0")));
    }
    assert_eq!(found[0].len(), 80);
    for other in &found[1..] {
        if let Err(difference) = other.same_as(&found[0], 0) {
            panic!("{difference}");
        }
    }
}
