//! Our reader against pcap-parser's, on files that we write.

use pcap_parser::{Block as Theirs, LegacyPcapSlice, PcapBlockOwned, PcapNGSlice};
use proptest::{collection::vec, prelude::*};
use whaletap_pcapng::{
    PcapHeader, PcapRecord,
    read::{Block, SliceReader},
};

use crate::piece;

/// Fails unless both readers say the same about a block.
fn compare(ours: &Block<'_>, theirs: &Theirs<'_>) {
    let text = |theirs: Option<Result<&str, _>>| theirs.and_then(Result::ok).map(String::from);
    match (ours, theirs) {
        (Block::Section(ours), Theirs::SectionHeader(theirs)) => {
            assert_eq!(ours.application().map(String::from), text(theirs.shb_userappl()));
            assert_eq!((theirs.section_len, ours.length), (-1, None));
        }
        (Block::Interface(ours), Theirs::InterfaceDescription(theirs)) => {
            assert_eq!(i32::from(ours.link_type), theirs.linktype.0);
            assert_eq!((ours.snaplen, ours.resolution.0), (theirs.snaplen, theirs.if_tsresol));
            assert_eq!(ours.name().map(String::from), text(theirs.if_name()));
            assert_eq!(ours.description().map(String::from), text(theirs.if_description()));
            assert_eq!(ours.os().map(String::from), text(theirs.if_os()));
            let ipv4 = theirs.if_ipv4addr().and_then(Result::ok).unwrap_or_default();
            assert_eq!(ours.ipv4().collect::<Vec<_>>(), ipv4);
            // Their if_ipv6addr looks for the IPv4 option's code, so the raw values must do.
            let ipv6: Vec<_> = theirs.options.iter().filter(|it| it.code.0 == 5).collect();
            assert_eq!(ours.ipv6().count(), ipv6.len());
            for ((address, prefix), theirs) in ours.ipv6().zip(ipv6) {
                assert_eq!([&address.octets()[..], &[prefix]].concat(), theirs.as_bytes().unwrap());
            }
            let mac = theirs.if_macaddr().and_then(Result::ok).map(<[u8]>::to_vec);
            assert_eq!(ours.mac().map(Vec::from), mac);
        }
        (Block::Packet(ours), Theirs::EnhancedPacket(theirs)) => {
            let timestamp = u64::from(theirs.ts_high) << 32 | u64::from(theirs.ts_low);
            assert_eq!((ours.interface, ours.timestamp), (theirs.if_id, Some(timestamp)));
            assert_eq!(ours.original_length, theirs.origlen);
            let captured = usize::try_from(theirs.caplen).unwrap();
            assert_eq!(ours.bytes, &theirs.data[..captured]);
            let options = |code: u16| theirs.options.iter().filter(move |it| it.code.0 == code);
            let flags = options(2).next().map(|it| u32::from_ne_bytes(array(it.value())));
            assert_eq!(ours.flags().map(whaletap_pcapng::Flags::bits), flags);
            let dropcount = options(4).next().map(|it| u64::from_ne_bytes(array(it.value())));
            assert_eq!(ours.dropcount, dropcount);
            let comments: Vec<_> = options(1).map(|it| it.as_str().unwrap()).collect();
            assert_eq!(ours.comments().collect::<Vec<_>>(), comments);
        }
        (Block::Names(ours), Theirs::NameResolution(theirs)) => {
            let strings = theirs.nr.iter().map(|record| {
                let address = if record.record_type.0 == 1 { 4 } else { 16 };
                record.record_value.get(address..).unwrap_or_default()
            });
            let theirs: Vec<_> = strings
                .flat_map(|names| names.split(|byte| *byte == 0))
                .filter(|name| !name.is_empty())
                .map(|name| String::from_utf8(name.to_vec()).unwrap())
                .collect();
            assert_eq!(ours.names().map(|it| it.name).collect::<Vec<_>>(), theirs);
        }
        (Block::Statistics(ours), Theirs::InterfaceStatistics(theirs)) => {
            let timestamp = u64::from(theirs.ts_high) << 32 | u64::from(theirs.ts_low);
            assert_eq!((ours.interface, ours.timestamp), (theirs.if_id, timestamp));
            assert_eq!(ours.ifrecv(), theirs.isb_ifrecv().map(Result::unwrap));
            assert_eq!(ours.ifdrop(), theirs.isb_ifdrop().map(Result::unwrap));
            assert_eq!(ours.filteraccept(), theirs.isb_filteraccept().map(Result::unwrap));
            assert_eq!(ours.osdrop(), theirs.isb_osdrop().map(Result::unwrap));
            assert_eq!(ours.usrdeliv(), theirs.isb_usrdeliv().map(Result::unwrap));
        }
        (ours, theirs) => panic!("we read {ours:?}, they {theirs:?}"),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}

proptest! {
    #[test]
    fn pcapng(pieces in piece::capture()) {
        let file = piece::encode(&pieces);
        let mut count = 0;
        let mut theirs = PcapNGSlice::from_slice(&file).unwrap();
        for ours in SliceReader::new(&file) {
            match theirs.next() {
                Some(Ok(PcapBlockOwned::NG(theirs))) => compare(&ours.unwrap(), &theirs),
                _ => prop_assert!(false, "we read {ours:?}, they something else"),
            }
            count += 1;
        }
        prop_assert!(theirs.next().is_none());
        prop_assert_eq!(count, 1 + pieces.iter().filter(|piece| piece.is_written()).count());
    }

    #[test]
    fn classic_pcap(packets in vec(piece::packet(), 0..10)) {
        let mut file = Vec::new();
        PcapHeader { link_type: 1, snaplen: 262_144 }.encode(&mut file);
        for packet in &packets {
            let bytes = packet.bytes();
            let timestamp = packet.timestamp >> 4;
            PcapRecord { timestamp, original_length: packet.original_length(), parts: &[&bytes] }
                .encode(&mut file);
        }
        let mut theirs = LegacyPcapSlice::from_slice(&file).unwrap();
        prop_assert!(theirs.header.is_nanosecond_precision());
        prop_assert_eq!(theirs.header.snaplen, 262_144);
        let mut ours = SliceReader::new(&file).skip(1);
        for _ in &packets {
            match (ours.next(), theirs.next()) {
                (Some(Ok(Block::Packet(ours))), Some(Ok(PcapBlockOwned::Legacy(theirs)))) => {
                    let time = u64::from(theirs.ts_sec) * 1_000_000_000 + u64::from(theirs.ts_usec);
                    prop_assert_eq!(ours.timestamp, Some(time));
                    prop_assert_eq!(ours.original_length, theirs.origlen);
                    prop_assert_eq!(ours.bytes, theirs.data);
                }
                _ => prop_assert!(false, "not a packet for both"),
            }
        }
        prop_assert!(ours.next().is_none() && theirs.next().is_none());
    }
}
