//! A file that is cut off anywhere gives all its whole blocks and says where it was cut.

use std::net::IpAddr;

use whaletap_pcapng::{
    Flags, InterfaceBlock, NameBlock, PacketBlock, PcapHeader, PcapRecord, Section,
    StatisticsBlock, read::End,
};

use crate::transcript;

/// Cuts `file` at every byte. `boundaries` are the ends of its blocks.
fn cut_everywhere(file: &[u8], boundaries: &[usize]) {
    let (whole, end) = transcript::of_slice(file);
    assert_eq!((whole.len(), end), (boundaries.len(), End::Complete));
    for length in 0..file.len() {
        let cut = &file[..length];
        let (lines, end) = transcript::of_slice(cut);
        assert_eq!((lines.clone(), end), transcript::of_stream(cut));
        let count = boundaries.iter().take_while(|boundary| **boundary <= length).count();
        assert_eq!(lines, whole[..count], "cut at {length}");
        let last = count.checked_sub(1).map_or(0, |index| boundaries[index]);
        let expected = if last == length && length > 0 {
            End::Complete
        } else {
            let [offset, bytes] = [last, length - last].map(|it| u64::try_from(it).unwrap());
            End::Truncated { offset, bytes }
        };
        assert_eq!(end, expected, "cut at {length}");
    }
}

#[test]
fn pcapng_at_every_byte() {
    let mut file = Vec::new();
    let mut boundaries = Vec::new();
    let mut mark = |file: &Vec<u8>| boundaries.push(file.len());
    Section { os: Some("Linux"), comments: &["cut me"], ..Section::default() }.encode(&mut file);
    mark(&file);
    InterfaceBlock { link_type: 1, name: "web/eth0", ..InterfaceBlock::default() }
        .encode(&mut file);
    mark(&file);
    NameBlock { names: &[(IpAddr::from([10, 0, 0, 1]), "web.net")], comments: &[] }
        .encode(&mut file);
    mark(&file);
    for length in [0, 1, 2, 3, 4, 60] {
        let bytes = vec![6; length];
        PacketBlock {
            parts: &[&bytes],
            flags: Some(Flags::NONE),
            dropcount: (length == 60).then_some(1),
            ..PacketBlock::default()
        }
        .encode(&mut file);
        mark(&file);
    }
    StatisticsBlock { ifrecv: Some(6), ..StatisticsBlock::default() }.encode(&mut file);
    mark(&file);
    Section::default().encode(&mut file);
    mark(&file);
    cut_everywhere(&file, &boundaries);
}

#[test]
fn classic_pcap_at_every_byte() {
    let mut file = Vec::new();
    let mut boundaries = Vec::new();
    PcapHeader { link_type: 1, snaplen: 100 }.encode(&mut file);
    boundaries.push(file.len());
    for length in [0, 1, 5, 60] {
        let bytes = vec![6; length];
        PcapRecord { parts: &[&bytes], ..PcapRecord::default() }.encode(&mut file);
        boundaries.push(file.len());
    }
    cut_everywhere(&file, &boundaries);
}
