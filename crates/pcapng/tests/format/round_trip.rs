//! What is written is what is read.

use proptest::{collection::vec, prelude::*};
use whaletap_pcapng::{
    PcapHeader, PcapRecord,
    read::{Block, ByteOrder, End, Resolution, SliceReader},
};

use crate::{piece, transcript};

/// The byte order that we write.
const NATIVE: ByteOrder =
    if cfg!(target_endian = "little") { ByteOrder::Little } else { ByteOrder::Big };

proptest! {
    #[test]
    fn pcapng(pieces in piece::capture()) {
        let file = piece::encode(&pieces);
        let mut reader = SliceReader::new(&file);
        match reader.next() {
            Some(Ok(Block::Section(section))) => {
                prop_assert_eq!(section.byte_order, NATIVE);
                prop_assert_eq!(section.length, None);
                prop_assert_eq!(section.application(), Some("whaletap".into()));
                prop_assert_eq!(section.hardware(), None);
            }
            other => prop_assert!(false, "not a section: {other:?}"),
        }
        for piece in pieces.iter().filter(|piece| piece.is_written()) {
            piece.assert_is(&reader.next().unwrap().unwrap());
        }
        prop_assert!(reader.next().is_none());
        prop_assert_eq!(reader.end(), Some(End::Complete));
        prop_assert_eq!(transcript::of_slice(&file), transcript::of_stream(file.as_slice()));
    }

    #[test]
    fn classic_pcap(
        packets in vec(piece::packet(), 0..10),
        link_type: u16,
        snaplen: u32,
    ) {
        // The format's seconds have 32 bits.
        let time = |packet: &piece::Packet| packet.timestamp % (u64::from(u32::MAX) * 1_000_000_000);
        let mut file = Vec::new();
        PcapHeader { link_type, snaplen }.encode(&mut file);
        for packet in &packets {
            let before = file.len();
            let parts: Vec<&[u8]> = packet.parts.iter().map(Vec::as_slice).collect();
            let record = PcapRecord {
                timestamp: time(packet),
                original_length: packet.original_length(),
                parts: &parts,
            };
            record.encode(&mut file);
            prop_assert_eq!(file.len() - before, record.encoded_len());
        }
        let mut reader = SliceReader::new(&file);
        match reader.next() {
            Some(Ok(Block::Interface(interface))) => {
                prop_assert_eq!((interface.number, interface.link_type), (0, link_type));
                prop_assert_eq!(interface.snaplen, snaplen);
                prop_assert_eq!(interface.resolution, Resolution::NANOSECONDS);
            }
            other => prop_assert!(false, "not an interface: {other:?}"),
        }
        for packet in &packets {
            match reader.next() {
                Some(Ok(Block::Packet(read))) => {
                    prop_assert_eq!(read.interface, 0);
                    prop_assert_eq!(read.timestamp, Some(time(packet)));
                    prop_assert_eq!(read.original_length, packet.original_length());
                    prop_assert_eq!(read.bytes, packet.bytes());
                }
                other => prop_assert!(false, "not a packet: {other:?}"),
            }
        }
        prop_assert!(reader.next().is_none());
        prop_assert_eq!(reader.end(), Some(End::Complete));
        prop_assert_eq!(transcript::of_slice(&file), transcript::of_stream(file.as_slice()));
    }
}
