//! The files, as other people's tools see them.

use std::{ffi::OsStr, fs, io::Write, os::unix::ffi::OsStrExt, path::Path, time::Duration};

use lab::{
    Address, Frames, Namespace, Net, Program, Records, Station, judge,
    traffic::{RawSender, TunDevice},
};

use crate::{
    NONE,
    blocks::{Blocks, INTERFACE, NAMES, PACKET, SECTION},
    frames_for_tshark, inject, kill_in_a_flood, names, scratch, send,
    whaletap::{LIMIT, Whaletap, eventually, interface, selector, whaletap},
};

/// Injects the zoo, waits for it, and ends the capture.
fn capture_zoo(a: &Namespace, b: &Namespace, file: &Path, words: &[&str]) -> Vec<Vec<u8>> {
    let mut ours = Whaletap::capture(&[b], file, words);
    let sent = Frames::new(1, Station::A, Station::NOBODY).zoo();
    inject(a, "eth0", &sent);
    ours.wait_for(sent.len() as u64);
    ours.stop().assert_adds_up();
    sent
}

#[test]
fn every_tool_reads_the_zoo_and_silence() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let sent = capture_zoo(&a, &b, &at("zoo.pcapng"), &[]);
    Whaletap::capture(&[&a, &b], &at("silent.pcapng"), NONE).stop().assert_adds_up();
    for (name, count, targets) in
        [("zoo.pcapng", sent.len(), vec![&b]), ("silent.pcapng", 0, vec![&a, &b])]
    {
        judge::all(at(name), true).unwrap();
        let info = judge::capinfos(at(name)).unwrap();
        assert_eq!(info["Number of packets"], count.to_string());
        assert_eq!(info["File encapsulation"], "ether");
        let blocks = Blocks::read(at(name));
        let wanted: Vec<String> = targets
            .iter()
            .flat_map(|ns| ["lo", "eth0"].map(|device| interface(ns, device)))
            .collect();
        assert_eq!(blocks.interfaces(), wanted);
        assert_eq!((blocks.count(SECTION), blocks.rest), (1, 0));
    }
    let fields = ["frame.interface_name", "frame.packet_flags_direction"];
    let seen = judge::tshark_fields(at("zoo.pcapng"), &[], &fields).unwrap();
    let name = interface(&b, "eth0");
    assert_eq!(seen.len(), sent.len());
    assert!(seen.iter().all(|line| line[0] == name && line[1] == "0x00000001"), "{seen:?}");
}

/// Ethernet and raw IP in one file: every tool but tcpdump, which takes one link type.
#[test]
fn several_link_types_stand_in_one_file() {
    let mut net = Net::new();
    let ns = net.namespace().unwrap();
    ns.set("ipv4/ip_forward", "0").unwrap();
    let (_directory, at) = scratch();
    let tun = ns.enter(|| TunDevice::create("tun0")).unwrap().unwrap();
    let speak = || {
        let mut frames = Frames::new(1, Station::A, Station::NOBODY);
        let packets = frames.ip_zoo();
        packets.iter().for_each(|packet| tun.send(packet).unwrap());
        inject(&ns, "lo", &frames.zoo());
        packets.len() as u64 + 18
    };
    let mut ours = Whaletap::capture(&[&ns], &at("x.pcapng"), NONE);
    let mut cooked = Whaletap::capture(&[&ns], &at("cooked.pcapng"), ["--linktype", "sll2"]);
    let classic = at("cooked.pcap");
    let mut classic = Whaletap::capture(&[&ns], &classic, ["--linktype", "sll2"]);
    let count = speak();
    for ours in [&mut ours, &mut cooked, &mut classic] {
        ours.wait_for(count);
    }
    for ours in [ours, cooked, classic] {
        ours.stop().assert_adds_up();
    }
    judge::all(at("x.pcapng"), false).unwrap();
    let info = judge::capinfos(at("x.pcapng")).unwrap();
    assert_eq!(info["File encapsulation"], "per-packet");
    for name in ["cooked.pcapng", "cooked.pcap"] {
        judge::all(at(name), false).unwrap();
        let records = Records::read(at(name)).unwrap();
        assert!(records.all.iter().all(|record| record.link_type == 276), "LINUX_SLL2");
        // tcpdump says this of every file of this type, its own too.
        const ALWAYS: &str = "Warning: interface names might be incorrect";
        let read = Program::new("tcpdump").args(["-n", "-e", "-r"]).arg(at(name)).run().unwrap();
        let said: Vec<&str> = read.stderr.lines().collect();
        assert!(
            said.len() == 2 && said[1] == ALWAYS && said[0].starts_with("reading from file"),
            "{said:?}"
        );
        let lines = read.stdout_text();
        // What stands in a line of its own behind a frame are bytes that tcpdump has no words for.
        let frames = lines.lines().filter(|line| !line.starts_with('\t')).count();
        assert_eq!(frames as u64, count, "{lines}");
        // The tags of VLANs stand behind the cooked header.
        assert_eq!(lines.matches("vlan 5,").count(), 1, "{lines}");
        let from = judge::tshark_fields(at(name), &["-Y", "ip.src == 10.7.0.1"], &["ip.dst"]);
        assert!(from.unwrap().iter().all(|line| line[0] == "10.7.0.99"), "{name}");
    }

    // Where one type has to do for all, it says so and writes nothing wrong.
    let finished = whaletap(["capture", &selector(&ns), "-w"]).arg(at("x.pcap")).finish().unwrap();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    for part in ["tun0", "RAW", "EN10MB", "--linktype sll2", "hint: "] {
        assert!(finished.stderr.contains(part), "{part} is not in {}", finished.stderr);
    }
}

#[test]
fn classic_pcap_has_nanoseconds() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let mut modern = Whaletap::capture(&[&b], &at("x.pcapng"), ["-i", "eth0"]);
    for (name, words) in [("x.pcap", &[][..]), ("x.cap", &["-F", "pcap"])] {
        let sent = capture_zoo(&a, &b, &at(name), words);
        judge::all(at(name), true).unwrap();
        let head = &fs::read(at(name)).unwrap()[..4];
        assert_eq!(head, 0xa1b2_3c4d_u32.to_ne_bytes(), "nanoseconds");
        let records = Records::read(at(name)).unwrap();
        records.same_bytes(&sent).unwrap();
        assert!(records.all.iter().any(|record| record.timestamp_ns % 1000 != 0));
    }
    modern.wait_for(36);
    modern.stop();
    let modern = Records::read(at("x.pcapng")).unwrap();
    let classic = Records {
        all: ["x.pcap", "x.cap"]
            .into_iter()
            .flat_map(|name| Records::read(at(name)).unwrap().all)
            .collect(),
    };
    modern.same_as(&classic, 0).unwrap();
    // A silent one is a file all the same.
    Whaletap::capture(&[&b], &at("silent.pcap"), NONE).stop();
    judge::all(at("silent.pcap"), true).unwrap();
}

#[test]
fn a_file_cut_short_by_sigkill_is_readable_to_its_last_whole_block() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let file = at("x.pcapng");
    kill_in_a_flood([&a, &b], &file, 3_000_000);

    // Wherever it is cut: what is whole can be read.
    let bytes = fs::read(&file).unwrap();
    for cut in [0, 1, 7, 250] {
        let file = at(&format!("cut-{cut}.pcapng"));
        fs::write(&file, &bytes[..bytes.len() - cut]).unwrap();
        let blocks = Blocks::read(&file);
        assert!(blocks.count(PACKET) > 5000);
        let (seen, complaint) = frames_for_tshark(&file);
        assert_eq!(seen, blocks.count(PACKET), "{complaint}");
        if blocks.rest == 0 {
            judge::all(&file, true).unwrap();
        }
        let whole = at(&format!("whole-{cut}.pcapng"));
        fs::write(&whole, &bytes[..bytes.len() - cut - blocks.rest]).unwrap();
        judge::all(&whole, true).unwrap();
    }
}

#[test]
fn a_pipe_carries_the_same_to_whoever_reads() {
    let (_net, a, b) = Net::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let program = whaletap(["capture", &selector(&b), "-w", "-", "-U"]);
    let ours = Whaletap::start(program.stdout_to(writer));
    let sent = Frames::new(1, Station::A, Station::NOBODY).zoo();
    let mut tcpdump = std::process::Command::new("tcpdump")
        .args(["-n", "-l", "-r", "-", "-c", "18"])
        .stdin(reader)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    inject(&a, "eth0", &sent);
    // It has seen its frames and closes the pipe, which is a normal end.
    let mut read = String::new();
    std::io::Read::read_to_string(&mut tcpdump.stdout.take().unwrap(), &mut read).unwrap();
    assert!(tcpdump.wait().unwrap().success());
    assert_eq!(read.lines().count(), sent.len(), "{read}");
    eventually("it hears that nobody reads", LIMIT, || {
        inject(&a, "eth0", &sent[..1]);
        ours.running.stderr().contains("nobody reads")
    });
    ours.ended(0).assert_adds_up();
}

/// What comes up or changes while a capture runs is described when it does.
/// A device's name is any bytes: whoever gives it an odd one does not hide from a capture.
#[test]
fn a_device_whose_name_is_no_text_is_captured() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let words = ["link", "add", "name"].map(OsStr::new).into_iter().chain([odd]);
    let words = words.chain(["type", "veth", "peer", "name", "plain0"].map(OsStr::new));
    Program::new("ip").args(words).inside(&b).run().unwrap();
    let up = ["link", "set", "up", "dev"].map(OsStr::new).into_iter();
    Program::new("ip").args(up.clone().chain([odd])).inside(&b).run().unwrap();
    b.ip("link set up dev plain0").unwrap();
    let mut ours = Whaletap::capture(&[&b], &at("x.pcapng"), NONE);
    send(&a, "send --dev eth0 --count 50");
    send(&b, "send --dev plain0 --count 50 --run 2");
    ours.wait_for(150);
    ours.stop().assert_adds_up();
    judge::all(at("x.pcapng"), true).unwrap();
    let records = Records::read(at("x.pcapng")).unwrap();
    assert_eq!((records.numbers(1).len(), records.numbers(2).len()), (50, 100), "both ends");
}

#[test]
fn interfaces_that_come_and_change_get_blocks() {
    for way in ["false", "true"] {
        let (mut net, a, b) = Net::pair().unwrap();
        let (_directory, at) = scratch();
        let file = at("x.pcapng");
        let words = [format!("--socket-per-interface={way}"), "-U".to_owned()];
        let mut ours = Whaletap::capture(&[&b], &file, words);
        let sent = Frames::new(1, Station::A, Station::NOBODY).zoo();
        inject(&a, "eth0", &sent[..3]);
        ours.wait_for(3);

        net.address(&b, "eth0", Address::v4(10, 7, 1, 55)).unwrap();
        let count = |name: &str| {
            Blocks::read(&file)
                .interfaces()
                .iter()
                .filter(|found| **found == interface(&b, name))
                .count()
        };
        eventually("the address is told", LIMIT, || {
            ours.signal("USR2");
            count("eth0") == 2
        });
        net.veth((&a, "late0"), (&b, "late0"), 1500).unwrap();
        eventually("the new interface is told", LIMIT, || {
            ours.signal("USR2");
            count("late0") >= 1
        });
        // Its socket, where each has its own, may take a moment more.
        let mut extra = 0;
        eventually("its frames are captured", LIMIT, || {
            extra += 1;
            a.enter(|| RawSender::open("late0")?.send(&sent[0])).unwrap().unwrap();
            ours.counts().captured > 3
        });
        inject(&a, "eth0", &sent[3..]);
        eventually("all is captured", LIMIT, || ours.counts().captured > sent.len() as u64);
        ours.stop().assert_adds_up();

        judge::all(&file, true).unwrap();
        let blocks = Blocks::read(&file);
        let descriptions: Vec<_> = blocks.of_kind(INTERFACE).collect();
        let new = descriptions.iter().find(|block| block.addresses().contains(&[10, 7, 1, 55]));
        let new = new.expect("a block with the new address");
        assert!(new.comments().iter().any(|c| c.contains("in place of interface 1")), "{new:?}");
        let records = Records::read(&file).unwrap();
        assert!(!records.of(&interface(&b, "late0")).is_empty());
        let ids: Vec<u32> = records
            .of(&interface(&b, "eth0"))
            .all
            .iter()
            .map(|record| record.interface_id)
            .collect();
        assert_eq!(ids.len(), sent.len());
        assert!(ids[..3].iter().all(|id| *id == 1), "{ids:?}");
        assert!(ids[3..].iter().all(|id| *id > 1), "{ids:?}");
    }
}

#[test]
fn a_file_for_each_target_is_complete() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    for (name, expected) in [
        ("x.pcapng", [a.name(), b.name()].map(|name| format!("x-{name}.pcapng"))),
        ("y-{target}-y.pcapng", [a.name(), b.name()].map(|name| format!("y-{name}-y.pcapng"))),
    ] {
        let directory = at(&name.replace(['{', '}'], ""));
        fs::create_dir(&directory).unwrap();
        let mut ours = Whaletap::capture(&[&a, &b], &directory.join(name), ["--split"]);
        let count = send(&a, "send --dev eth0 --count 500");
        ours.wait_for(2 * count);
        ours.stop().assert_adds_up();
        assert_eq!(names(&directory), expected);
        for (file, namespace) in expected.iter().zip([&a, &b]) {
            let file = directory.join(file);
            judge::all(&file, true).unwrap();
            let blocks = Blocks::read(&file);
            blocks.assert_adds_up();
            assert_eq!(blocks.interfaces(), ["lo", "eth0"].map(|d| interface(namespace, d)));
            assert_eq!(Records::read(&file).unwrap().numbers(1), (0..count).collect::<Vec<_>>());
        }
    }
}

/// A FIFO is no file to rotate, and is opened while there are rights.
#[test]
fn a_fifo_is_written_like_a_pipe() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let fifo = at("fifo.pcapng");
    Program::new("mkfifo").arg(&fifo).run().unwrap();
    let read = {
        let fifo = fifo.clone();
        std::thread::spawn(move || fs::read(fifo).unwrap())
    };
    let sent = capture_zoo(&a, &b, &fifo, &[]);
    let bytes = read.join().unwrap();
    let mut file = fs::File::create(at("copy.pcapng")).unwrap();
    file.write_all(&bytes).unwrap();
    judge::all(at("copy.pcapng"), true).unwrap();
    Records::read(at("copy.pcapng")).unwrap().same_bytes(&sent).unwrap();
}

/// Without an engine there are no names to tell, and no file waits for its first packet: the
/// interfaces are in it before.
#[test]
fn a_file_is_whole_before_its_first_packet() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let ours = Whaletap::capture(&[&b], &at("x.pcapng"), NONE);
    let whole = || Blocks::read(at("x.pcapng")).count(INTERFACE) == 2;
    eventually("the interfaces are written", Duration::from_secs(2), whole);
    judge::all(at("x.pcapng"), true).unwrap();
    ours.stop();
    assert_eq!(Blocks::read(at("x.pcapng")).count(NAMES), 0);
}
