//! Our files in the programs that people open captures with: each must take them without a word on
//! stderr and show what was written.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use whaletap_pcapng::{
    Flags, InterfaceBlock, NameBlock, PacketBlock, PacketDirection, PcapHeader, PcapRecord,
    Reception, Section, StatisticsBlock,
};

use crate::transcript;

/// Seconds that a program may take.
const LIMIT: &str = "60";

const ETHERNET: u16 = 1;
const RAW: u16 = 101;
const WEB: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
const DB: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 3);
const WEB6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
/// 2023-11-14 22:13:20 UTC and a number of nanoseconds that no microsecond can say.
const START: u64 = 1_700_000_000_123_456_789;

/// Runs a program in a home of its own, and gives its stdout. What it says on stderr must be
/// `stderr`, once what it says of root is set aside.
fn run(home: &TempDir, program: &str, arguments: &[&str], stderr: &str) -> String {
    let output = Command::new("timeout")
        .args([LIMIT, program])
        .args(arguments)
        .env("HOME", home.path())
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir(home.path())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> =
        said.lines().filter(|line| !line.starts_with("Running as user \"root\"")).collect();
    assert_eq!(said.join("\n"), stderr, "{program} {arguments:?}");
    assert!(output.status.success(), "{program} {arguments:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn write(home: &TempDir, name: &str, file: &[u8]) -> PathBuf {
    let path = home.path().join(name);
    std::fs::write(&path, file).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The one's complement sum of an IPv4 header.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xFFFF) + (sum >> 16);
    !u16::try_from((sum & 0xFFFF) + (sum >> 16)).unwrap()
}

/// An IPv4 packet with a UDP datagram to the discard port, its UDP checksum left out.
fn datagram(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp = u16::try_from(8 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0];
    packet[2..4].copy_from_slice(&(20 + udp).to_be_bytes());
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    for field in [40_000, 9, udp, 0] {
        packet.extend_from_slice(&field.to_be_bytes());
    }
    packet.extend_from_slice(payload);
    packet
}

/// An Ethernet header of these hosts.
const MACS: [u8; 14] = [2, 0x42, 0xac, 18, 0, 3, 2, 0x42, 0xac, 18, 0, 2, 8, 0];

fn frame(payload: &[u8]) -> Vec<u8> {
    [&MACS[..], &datagram(WEB, DB, payload)].concat()
}

fn section(out: &mut Vec<u8>) {
    Section {
        hardware: Some("x86_64"),
        os: Some("Linux 6.1"),
        application: Some("whaletap 0.1.0"),
        comments: &["two targets: web, db"],
    }
    .encode(out);
}

fn interface(out: &mut Vec<u8>, name: &str, link_type: u16) {
    InterfaceBlock {
        link_type,
        snaplen: 262_144,
        name,
        description: Some("3f2a9c, nginx:1, node1"),
        ipv4: &[(WEB, 16), (DB, 32)],
        ipv6: &[(WEB6, 64)],
        mac: Some([2, 0x42, 0xac, 18, 0, 2]),
        filter: Some("udp port 9"),
        os: Some("Linux 6.1"),
        hardware: Some("veth"),
        tsoffset: None,
        comments: &["attached at the start"],
    }
    .encode(out);
}

fn names(out: &mut Vec<u8>) {
    NameBlock {
        names: &[
            (IpAddr::V4(WEB), "web.shop_default"),
            (IpAddr::V4(WEB), "api.shop_default"),
            (IpAddr::V4(DB), "db.shop_default"),
            (IpAddr::V6(WEB6), "web6.shop_default"),
        ],
        comments: &[],
    }
    .encode(out);
}

fn statistics(out: &mut Vec<u8>, interface: u32) {
    StatisticsBlock {
        interface,
        timestamp: START + 9_000_000_000,
        starttime: Some(START),
        endtime: Some(START + 9_000_000_000),
        ifrecv: Some(1_234_567),
        ifdrop: Some(2_345),
        filteraccept: Some(345_678),
        osdrop: Some(4_321),
        usrdeliv: Some(341_357),
        comments: &["drops are of the whole namespace"],
    }
    .encode(out);
}

/// An interface of each of these link types, names, four packets of every kind of block that take
/// turns at the interfaces, statistics.
fn capture(link_types: &[u16]) -> Vec<u8> {
    let mut out = Vec::new();
    section(&mut out);
    for (link_type, name) in link_types.iter().zip(["web/eth0", "db/eth0"]) {
        interface(&mut out, name, *link_type);
    }
    names(&mut out);
    let flags = Flags::NONE
        .with_direction(PacketDirection::Outbound)
        .with_reception(Reception::Unicast)
        .with_checksum_not_ready();
    let count = u32::try_from(link_types.len()).unwrap();
    for number in 0..4 {
        let index = number % count;
        let payload = vec![0x61; usize::try_from(10 + number).unwrap()];
        let bytes = match link_types[usize::try_from(index).unwrap()] {
            ETHERNET => frame(&payload),
            _ => datagram(WEB, DB, &payload),
        };
        // A tag put back, as after the kernel took it off.
        let tagged = [&bytes[..12], &[0x81, 0, 0, 7], &bytes[12..]];
        let (parts, dropcount, comments): (&[&[u8]], _, &[&str]) = match number {
            0 if link_types[0] == ETHERNET => (&tagged, None, &[]),
            1 => (&[&bytes], Some(4_321), &["4321 packets lost here", "and a second remark"]),
            _ => (&[&bytes], None, &[]),
        };
        PacketBlock {
            interface: index,
            timestamp: START + u64::from(number),
            original_length: 1500,
            parts,
            flags: Some(flags),
            dropcount,
            comments,
        }
        .encode(&mut out);
    }
    for index in 0..count {
        statistics(&mut out, index);
    }
    out
}

#[test]
fn tshark_shows_interfaces_names_times_flags_and_comments() {
    let home = TempDir::new().unwrap();
    let file = write(&home, "two.pcapng", &capture(&[ETHERNET, ETHERNET]));
    let fields = [
        "frame.interface_name",
        "frame.interface_description",
        "frame.time_epoch",
        "frame.len",
        "frame.cap_len",
        "frame.packet_flags",
        "frame.packet_flags_reception_type",
        "frame.drop_count",
        "frame.comment",
        "vlan.id",
        "ip.src_host",
        "ip.dst_host",
        "udp.length",
        "_ws.malformed",
    ];
    let mut arguments = vec!["-r", text(&file), "-N", "n", "-T", "fields", "-E", "separator=|"];
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    // Of several names for one address Wireshark shows the last.
    let who = "api.shop_default|db.shop_default";
    let what = "3f2a9c, nginx:1, node1|1700000000.123456";
    let comments = "4321 packets lost here,and a second remark";
    assert_eq!(
        run(&home, "tshark", &arguments, ""),
        format!(
            "web/eth0|{what}789|1500|56|0x00000206|1|||7|{who}|18|\n\
             db/eth0|{what}790|1500|53|0x00000206|1|4321|{comments}||{who}|19|\n\
             web/eth0|{what}791|1500|54|0x00000206|1||||{who}|20|\n\
             db/eth0|{what}792|1500|55|0x00000206|1||||{who}|21|\n"
        )
    );
}

#[test]
fn wireshark_takes_every_block_and_option_apart() {
    let home = TempDir::new().unwrap();
    let file = write(&home, "two.pcapng", &capture(&[ETHERNET, RAW]));
    let arguments = ["-r", text(&file), "-X", "read_format:MIME Files Format", "-V"];
    let shown = run(&home, "tshark", &arguments, "");
    let lines: Vec<_> = shown.lines().map(str::trim).collect();
    let expected = [
        "Link Type: ETHERNET (1)",
        "Link Type: RAW (101)",
        "Snap Length: 262144",
        "Option: IPv4 Address = 172.18.0.2/255.255.0.0",
        "Option: IPv4 Address = 172.18.0.3/255.255.255.255",
        "Option: IPv6 Address = fd00::2/64",
        "MAC Address: 02:42:ac:12:00:02 (02:42:ac:12:00:02)",
        "Option: Timestamp Resolution = 10^-9 (nanoseconds)",
        "Filter type: libpcap string (0)",
        "Filter string: udp port 9",
        "Hardware: veth",
        "Record: IPv4 Record = 172.18.0.2",
        "Name: web.shop_default",
        "Name: api.shop_default",
        "Name: web6.shop_default",
        "Drop Count: 4321",
        "[Timestamp: Nov 14, 2023 22:13:29.123456789 UTC]",
        "Number of Received Packets: 1234567",
        "Number of Dropped Packets: 2345",
        "Number of Accepted by Filter Packets: 345678",
        "Number of Dropped Packets by OS: 4321",
        "Number of Delivered to the User Packets: 341357",
        "Comment: drops are of the whole namespace",
    ];
    for expected in expected {
        assert!(lines.contains(&expected), "no line {expected:?} in\n{shown}");
    }
    for bad in ["Malformed", "Expert Info", "Unknown"] {
        assert!(!shown.contains(bad), "{bad} in\n{shown}");
    }
}

#[test]
fn capinfos_counts_interfaces_names_and_statistics() {
    let home = TempDir::new().unwrap();
    let file = write(&home, "two.pcapng", &capture(&[ETHERNET, RAW]));
    let shown = run(&home, "capinfos", &[text(&file)], "");
    let lines: Vec<_> = shown.lines().map(str::trim).collect();
    let expected = [
        ("Number of packets:   4", 1),
        ("File timestamp precision:  nanoseconds (9)", 1),
        ("Strict time order:   True", 1),
        ("Capture hardware:    x86_64", 1),
        ("Capture oper-sys:    Linux 6.1", 1),
        ("Capture application: whaletap 0.1.0", 1),
        ("Capture comment:     two targets: web, db", 1),
        ("Number of interfaces in file: 2", 1),
        ("Name = web/eth0", 1),
        ("Name = db/eth0", 1),
        ("Encapsulation = Raw IP (7 - rawip)", 1),
        ("Filter string = udp port 9", 2),
        ("Number of stat entries = 1", 2),
        ("Number of packets = 2", 2),
        ("Number of resolved IPv4 addresses in file: 3", 1),
        ("Number of resolved IPv6 addresses in file: 1", 1),
    ];
    for (expected, times) in expected {
        let count = lines.iter().filter(|line| **line == expected).count();
        assert_eq!(count, times, "{expected:?} in\n{shown}");
    }
}

/// The packets of a file, without the numbers of their interfaces, as our reader sees them.
fn packets(path: &Path) -> Vec<String> {
    let (lines, end) = transcript::of_slice(&std::fs::read(path).unwrap());
    assert_eq!(end, whaletap_pcapng::read::End::Complete);
    assert!(!lines.iter().any(|line| line.starts_with("error")), "{lines:?}");
    let packet = |line: &String| Some(line.strip_prefix("packet ")?.split_once(' ')?.1.to_owned());
    let mut packets: Vec<_> = lines.iter().filter_map(packet).collect();
    packets.sort_unstable();
    packets
}

#[test]
fn editcap_and_mergecap_keep_every_packet() {
    let home = TempDir::new().unwrap();
    let one = write(&home, "one.pcapng", &capture(&[ETHERNET, RAW]));
    let other = write(&home, "other.pcapng", &capture(&[ETHERNET, ETHERNET]));
    let [edited, merged] = ["edited.pcapng", "merged.pcapng"].map(|name| home.path().join(name));

    run(&home, "editcap", &[text(&one), text(&edited)], "");
    assert_eq!(packets(&edited).len(), 4);
    assert_eq!(packets(&edited), packets(&one));

    run(&home, "mergecap", &["-w", text(&merged), text(&one), text(&other)], "");
    let mut both = [packets(&one), packets(&other)].concat();
    both.sort_unstable();
    assert_eq!(both.len(), 8);
    assert_eq!(packets(&merged), both);
}

/// What `tcpdump -nr` prints of a file, one line for a packet.
fn tcpdump(home: &TempDir, path: &Path, link_type: &str, snaplen: u32) -> Vec<String> {
    let path = text(path);
    let said =
        format!("reading from file {path}, link-type {link_type}, snapshot length {snaplen}");
    let shown = run(home, "tcpdump", &["-tt", "--nano", "-nr", path], &said);
    shown.lines().map(String::from).collect()
}

#[test]
fn tcpdump_reads_files_of_one_link_type() {
    let home = TempDir::new().unwrap();
    // libpcap 1.10.3 refuses two interfaces of raw IP: it compares the LINKTYPE_ of the second with
    // the DLT_ of the first, and these are the same number for Ethernet only.
    let known: [(&[u16], _); 2] =
        [(&[ETHERNET, ETHERNET], "EN10MB (Ethernet)"), (&[RAW], "RAW (Raw IP)")];
    for (link_types, name) in known {
        let file = write(&home, "one.pcapng", &capture(link_types));
        let lines = tcpdump(&home, &file, name, 262_144);
        assert_eq!(lines.len(), 4);
        assert!(lines[2].starts_with("1700000000.123456791 IP 172.18.0.2.40000 > 172.18.0.3.9"));
    }
}

#[test]
fn a_target_that_never_spoke_is_a_file_without_complaint() {
    let home = TempDir::new().unwrap();
    let mut out = Vec::new();
    section(&mut out);
    interface(&mut out, "silent/eth0", ETHERNET);
    names(&mut out);
    statistics(&mut out, 0);
    let file = write(&home, "silent.pcapng", &out);
    let copy = home.path().join("copy.pcapng");

    let shown = run(&home, "capinfos", &[text(&file)], "");
    assert!(shown.contains("Number of packets:   0\n"), "{shown}");
    assert!(shown.contains("Name = silent/eth0\n"), "{shown}");
    assert_eq!(run(&home, "tshark", &["-r", text(&file)], ""), "");
    assert!(tcpdump(&home, &file, "EN10MB (Ethernet)", 262_144).is_empty());
    run(&home, "editcap", &[text(&file), text(&copy)], "");
    assert!(packets(&copy).is_empty());
    run(&home, "mergecap", &["-w", text(&copy), text(&file), text(&file)], "");
    assert!(packets(&copy).is_empty());
}

#[test]
fn the_longest_packet_of_a_capture_is_read_whole() {
    let home = TempDir::new().unwrap();
    let mut out = Vec::new();
    section(&mut out);
    interface(&mut out, "web/eth0", ETHERNET);
    let bytes = vec![0xA5; 262_144];
    PacketBlock { original_length: 300_000, parts: &[&bytes], ..PacketBlock::default() }
        .encode(&mut out);
    let file = write(&home, "long.pcapng", &out);
    let arguments = ["-r", text(&file), "-T", "fields", "-e", "frame.cap_len", "-e", "frame.len"];
    assert_eq!(run(&home, "tshark", &arguments, ""), "262144\t300000\n");
    assert_eq!(tcpdump(&home, &file, "EN10MB (Ethernet)", 262_144).len(), 1);
}

#[test]
fn classic_pcap_keeps_nanoseconds_everywhere() {
    let home = TempDir::new().unwrap();
    let mut out = Vec::new();
    PcapHeader { link_type: ETHERNET, snaplen: 262_144 }.encode(&mut out);
    let bytes = frame(b"classic");
    for number in 0..3 {
        PcapRecord { timestamp: START + number, original_length: 1500, parts: &[&bytes] }
            .encode(&mut out);
    }
    let file = write(&home, "classic.pcap", &out);
    let copy = home.path().join("copy.pcap");

    let shown = run(&home, "capinfos", &[text(&file)], "");
    assert!(shown.contains("File type:           Wireshark/tcpdump/... - nanosecond"), "{shown}");
    assert!(shown.contains("Number of packets:   3\n"), "{shown}");
    let arguments = ["-r", text(&file), "-T", "fields", "-e", "frame.time_epoch"];
    assert_eq!(
        run(&home, "tshark", &arguments, ""),
        "1700000000.123456789\n1700000000.123456790\n1700000000.123456791\n"
    );
    let lines = tcpdump(&home, &file, "EN10MB (Ethernet)", 262_144);
    assert!(lines[2].starts_with("1700000000.123456791 IP 172.18.0.2.40000 > 172.18.0.3.9: UDP"));
    run(&home, "editcap", &["-F", "nsecpcap", text(&file), text(&copy)], "");
    assert_eq!(packets(&copy), packets(&file));
    assert_eq!(packets(&file).len(), 3);
}
