//! Files that other writers make: the other byte order, other resolutions, old blocks, several
//! sections, unknown things, and damage that costs one block.

use whaletap_pcapng::{
    Error,
    read::{Block, ByteOrder, End, MAX_INTERFACES, SliceReader},
};

use crate::{assemble::Assembler, transcript};

const ORDERS: [Assembler; 2] = [Assembler(ByteOrder::Little), Assembler(ByteOrder::Big)];

/// Interface, timestamp, bytes and drop count of a packet.
type Packet = (u32, Option<u64>, Vec<u8>, Option<u64>);

/// The packets of a file, which must have no errors and a proper end.
fn packets(file: &[u8]) -> Vec<Packet> {
    let mut reader = SliceReader::new(file);
    let mut packets = Vec::new();
    for block in &mut reader {
        if let Block::Packet(it) = block.unwrap() {
            packets.push((it.interface, it.timestamp, it.bytes.to_vec(), it.dropcount));
        }
    }
    assert_eq!(reader.end(), Some(End::Complete));
    assert_eq!(transcript::of_slice(file), transcript::of_stream(file));
    packets
}

#[test]
fn every_resolution_in_both_byte_orders() {
    for of in ORDERS {
        let resolution = |exponent| of.option(9, &[exponent]);
        let offset = |seconds: i64| of.option(14, &of.u64(seconds.cast_unsigned()));
        let file = [
            of.section(1, 0),
            of.interface(0, &[]),
            of.interface(0, &[&resolution(9), &of.option(0, &[])]),
            of.interface(0, &[&resolution(3)]),
            of.interface(0, &[&resolution(0x80 | 32)]),
            of.interface(0, &[&resolution(9), &offset(-1)]),
            of.packet(0, 1_700_000_000_000_001, b"us"),
            of.packet(1, 1_700_000_000_000_000_001, b"ns"),
            of.packet(2, 1_700_000_000_001, b"ms"),
            of.packet(3, (7 << 32) + (1 << 31), b"two"),
            of.packet(4, 1_000_000_009, b"off"),
        ]
        .concat();
        assert_eq!(
            packets(&file),
            [
                (0, Some(1_700_000_000_000_001_000), b"us".to_vec(), None),
                (1, Some(1_700_000_000_000_000_001), b"ns".to_vec(), None),
                (2, Some(1_700_000_000_001_000_000), b"ms".to_vec(), None),
                (3, Some(7_500_000_000), b"two".to_vec(), None),
                (4, Some(9), b"off".to_vec(), None),
            ]
        );
    }
}

#[test]
fn sections_of_both_byte_orders_in_one_file_number_their_interfaces_anew() {
    let [little, big] = ORDERS;
    let file = [
        little.section(1, 0),
        little.interface(0, &[&little.option(9, &[9])]),
        little.packet(0, 1, b"a"),
        big.section(1, 2),
        big.interface(0, &[]),
        big.packet(0, 1, b"b"),
        little.section(1, 0),
        little.interface(0, &[&little.option(9, &[0])]),
        little.packet(0, 1, b"c"),
    ]
    .concat();
    let times: Vec<_> = packets(&file).into_iter().map(|packet| packet.1).collect();
    assert_eq!(times, [Some(1), Some(1_000), Some(1_000_000_000)]);
}

#[test]
fn simple_and_obsolete_packet_blocks() {
    for of in ORDERS {
        let obsolete = |drops, bytes: &[u8]| {
            let head = [of.u16(0), of.u16(drops)].concat();
            let length = u32::try_from(bytes.len()).unwrap();
            of.block(2, &[&head, &of.words(&[0, 5, length, 99]), bytes])
        };
        let file = [
            of.section(1, 0),
            of.interface(4, &[]),
            of.block(3, &[&of.u32(3), b"abc"]),
            of.block(3, &[&of.u32(60), b"abcd"]),
            obsolete(2, b"old"),
            obsolete(0xFFFF, b"older"),
        ]
        .concat();
        assert_eq!(
            packets(&file),
            [
                (0, None, b"abc".to_vec(), None),
                (0, None, b"abcd".to_vec(), None),
                (0, Some(5_000), b"old".to_vec(), Some(2)),
                (0, Some(5_000), b"older".to_vec(), None),
            ]
        );
    }
}

#[test]
fn classic_files_of_every_kind() {
    for of in ORDERS {
        for (magic, expected) in [(0xA1B2_C3D4, 7_000_005_000), (0xA1B2_3C4D, 7_000_000_005)] {
            let file = [
                of.u32(magic).to_vec(),
                [of.u16(2), of.u16(4)].concat(),
                // The upper half of the last word is not the link type.
                of.words(&[0, 0, 65_535, 0x5400_0065]),
                of.words(&[7, 5, 3, 60]),
                b"abc".to_vec(),
            ]
            .concat();
            assert_eq!(packets(&file), [(0, Some(expected), b"abc".to_vec(), None)]);
            let Some(Ok(Block::Interface(interface))) = SliceReader::new(&file).next() else {
                panic!("a classic file begins with its interface");
            };
            assert_eq!((interface.link_type, interface.snaplen), (101, 65_535));
        }
    }
}

#[test]
fn what_is_not_known_is_stepped_over() {
    for of in ORDERS {
        let custom = of.option(2988, b"\0\0\0\x01text");
        let file = [
            of.section(1, 0),
            of.block(0x0000_0BAD, &[b"custom"]),
            of.interface(0, &[&custom, &of.option(2, b"eth0"), &of.option(0x8001, b"local")]),
            of.block(10, &[&of.words(&[0x544c_534b, 4]), b"keys"]),
            of.packet(0, 1, b"a"),
        ]
        .concat();
        let names: Vec<_> = SliceReader::new(&file)
            .filter_map(|block| match block.unwrap() {
                Block::Interface(it) => it.name().map(String::from),
                Block::Unknown { block_type, .. } => Some(block_type.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(names, ["2989", "eth0", "10"]);
        assert_eq!(packets(&file).len(), 1);
    }
}

/// The lines of a file that has errors, each cut down to its first words.
fn outline(file: &[u8]) -> (Vec<String>, End) {
    let (lines, end) = transcript::of_slice(file);
    assert_eq!((lines.clone(), end), transcript::of_stream(file));
    let short = |line: String| match line.strip_prefix("error: ") {
        Some(error) => error.to_owned(),
        None => line.split(' ').take(2).collect::<Vec<_>>().join(" "),
    };
    (lines.into_iter().map(short).collect(), end)
}

#[test]
fn damage_costs_one_block_and_shifts_no_interface() {
    let of = Assembler(ByteOrder::Big);
    let mut wrong_trailer = of.interface(0, &[]);
    let last = wrong_trailer.len() - 1;
    wrong_trailer[last] += 4;
    let file = [
        of.section(1, 0),
        wrong_trailer,
        of.block(1, &[&of.u32(1)]),
        of.interface(0, &[]),
        of.packet(0, 1, b"a"),
        of.packet(1, 1, b"b"),
        of.packet(2, 1, b"c"),
        of.packet(3, 1, b"d"),
        of.block(6, &[&of.words(&[2, 0, 0, 100, 100]), b"short"]),
        of.block(5, &[&of.u32(0)]),
        of.packet(2, 1, b"e"),
    ]
    .concat();
    let (lines, end) = outline(&file);
    assert_eq!(
        lines,
        [
            "section Big",
            "block at byte 28 begins with length 20 and ends with 24",
            "block of type 1 at byte 48 is shorter than its fields",
            "interface 2",
            "packet 0",
            "block at byte 120 refers to interface 1, which is not described",
            "packet 2",
            "block at byte 192 refers to interface 3, which is not described",
            "block of type 6 at byte 228 is shorter than its fields",
            "block of type 5 at byte 268 is shorter than its fields",
            "packet 2",
        ]
    );
    assert_eq!(end, End::Complete);
}

#[test]
fn a_section_of_the_future_is_passed_through() {
    let of = Assembler(ByteOrder::Little);
    let file = [
        of.section(2, 0),
        of.interface(0, &[]),
        of.packet(0, 1, b"a"),
        of.section(1, 0),
        of.interface(0, &[]),
        of.packet(0, 1, b"b"),
    ]
    .concat();
    let (lines, end) = outline(&file);
    assert_eq!(
        lines,
        [
            "section at byte 0 has version 2.0, known is 1.0",
            "unknown 1",
            "unknown 6",
            "section Little",
            "interface 0",
            "packet 0",
        ]
    );
    assert_eq!(end, End::Complete);
}

#[test]
fn where_the_next_block_cannot_be_found_reading_ends() {
    let of = Assembler(ByteOrder::Little);
    for length in [0, 8, 11, 30, (16 << 20) + 4, u32::MAX] {
        let file = [of.section(1, 0), of.words(&[6, length, 0, 0])].concat();
        let (lines, end) = outline(&file);
        assert_eq!(lines[1], format!("block at byte 28 cannot be {length} bytes long"));
        assert_eq!((lines.len(), end), (2, End::Failed { offset: 28 }));
    }
    let mut no_order = of.section(1, 0);
    no_order[8] ^= 1;
    let (lines, end) = outline(&no_order);
    assert_eq!(lines, ["section at byte 0 has no byte order: [4c, 3c, 2b, 1a]"]);
    assert_eq!(end, End::Failed { offset: 0 });

    let (lines, end) = outline(b"GET / HTTP/1.1\r\n");
    assert_eq!(lines, ["neither pcapng nor pcap: the file begins with [47, 45, 54, 20]"]);
    assert_eq!(end, End::Failed { offset: 0 });

    let record = [of.words(&[0xA1B2_C3D4, 0, 0, 0, 0, 1]), of.words(&[0, 0, u32::MAX, 0])].concat();
    let (lines, end) = outline(&record);
    assert_eq!(lines[1], "record at byte 24 cannot hold 4294967295 bytes");
    assert_eq!(end, End::Failed { offset: 24 });
}

#[test]
fn a_file_cannot_describe_interfaces_without_end() {
    let of = Assembler(ByteOrder::Little);
    let mut file = of.section(1, 0);
    for _ in 0..=MAX_INTERFACES {
        file.extend_from_slice(&of.interface(0, &[]));
    }
    let errors: Vec<_> = SliceReader::new(&file).filter_map(Result::err).collect();
    assert!(matches!(errors[..], [Error::TooManyInterfaces { .. }]), "{errors:?}");
}
