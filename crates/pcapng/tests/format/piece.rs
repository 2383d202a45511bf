//! Owned descriptions of blocks, for proptest to make up: what is written, to be compared with
//! what is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, option, prelude::*};
use whaletap_pcapng::{
    Flags, InterfaceBlock, NameBlock, PacketBlock, Section, StatisticsBlock,
    read::{Block, Name, NamedAddress},
};

/// Interfaces that each made-up capture begins with.
pub(crate) const INTERFACES: u32 = 3;

#[derive(Debug, Clone)]
pub(crate) struct Interface {
    link_type: u16,
    snaplen: u32,
    name: String,
    description: Option<String>,
    ipv4: Vec<(Ipv4Addr, u8)>,
    ipv6: Vec<(Ipv6Addr, u8)>,
    mac: Option<[u8; 6]>,
    filter: Option<String>,
    os: Option<String>,
    hardware: Option<String>,
    comments: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) interface: u32,
    pub(crate) timestamp: u64,
    pub(crate) cut: u16,
    pub(crate) parts: Vec<Vec<u8>>,
    pub(crate) flags: Option<u32>,
    pub(crate) dropcount: Option<u64>,
    pub(crate) comments: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Statistics {
    interface: u32,
    timestamp: u64,
    times: [Option<u64>; 2],
    counts: [Option<u64>; 5],
    comments: Vec<String>,
}

/// A block behind the first interfaces.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Interface(Interface),
    Packet(Packet),
    Names { names: Vec<(IpAddr, String)>, comments: Vec<String> },
    Statistics(Statistics),
}

fn strs(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
}

impl Packet {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.parts.concat()
    }

    pub(crate) fn original_length(&self) -> u32 {
        u32::try_from(self.bytes().len()).unwrap() + u32::from(self.cut)
    }
}

impl Piece {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Interface(it) => InterfaceBlock {
                link_type: it.link_type,
                snaplen: it.snaplen,
                name: &it.name,
                description: it.description.as_deref(),
                ipv4: &it.ipv4,
                ipv6: &it.ipv6,
                mac: it.mac,
                filter: it.filter.as_deref(),
                os: it.os.as_deref(),
                hardware: it.hardware.as_deref(),
                tsoffset: None,
                comments: &strs(&it.comments),
            }
            .encode(out),
            Self::Packet(it) => {
                let before = out.len();
                let parts: Vec<&[u8]> = it.parts.iter().map(Vec::as_slice).collect();
                let comments = strs(&it.comments);
                let block = PacketBlock {
                    interface: it.interface,
                    timestamp: it.timestamp,
                    original_length: it.original_length(),
                    parts: &parts,
                    flags: it.flags.map(Flags::from_bits),
                    dropcount: it.dropcount,
                    comments: &comments,
                };
                block.encode(out);
                assert_eq!(out.len() - before, block.encoded_len());
            }
            Self::Names { names, comments } => {
                let names: Vec<_> = names.iter().map(|(ip, name)| (*ip, name.as_str())).collect();
                NameBlock { names: &names, comments: &strs(comments) }.encode(out);
            }
            Self::Statistics(it) => {
                let [starttime, endtime] = it.times;
                let [ifrecv, ifdrop, filteraccept, osdrop, usrdeliv] = it.counts;
                StatisticsBlock {
                    interface: it.interface,
                    timestamp: it.timestamp,
                    starttime,
                    endtime,
                    ifrecv,
                    ifdrop,
                    filteraccept,
                    osdrop,
                    usrdeliv,
                    comments: &strs(&it.comments),
                }
                .encode(out);
            }
        }
    }

    /// Whether [`encode`](Self::encode) writes a block at all.
    pub(crate) fn is_written(&self) -> bool {
        !matches!(self, Self::Names { names, comments } if names.is_empty() && comments.is_empty())
    }

    /// Fails unless `block` says what this piece says.
    pub(crate) fn assert_is(&self, block: &Block<'_>) {
        match (self, block) {
            (Self::Interface(it), Block::Interface(block)) => {
                assert_eq!((block.link_type, block.snaplen), (it.link_type, it.snaplen));
                assert_eq!(block.resolution.0, 9);
                assert_eq!(block.name().as_deref(), Some(it.name.as_str()));
                assert_eq!(block.description().as_deref(), it.description.as_deref());
                let ipv4: Vec<_> = block.ipv4().map(|(ip, mask)| (ip, ones(mask))).collect();
                assert_eq!(ipv4, it.ipv4);
                assert_eq!(block.ipv6().collect::<Vec<_>>(), it.ipv6);
                assert_eq!(block.mac(), it.mac);
                assert_eq!(block.filter().as_deref(), it.filter.as_deref());
                assert_eq!(block.os().as_deref(), it.os.as_deref());
                assert_eq!(block.hardware().as_deref(), it.hardware.as_deref());
                assert_eq!(block.comments().collect::<Vec<_>>(), it.comments);
            }
            (Self::Packet(it), Block::Packet(block)) => {
                assert_eq!(block.interface, it.interface);
                assert_eq!(block.timestamp, Some(it.timestamp));
                assert_eq!(block.original_length, it.original_length());
                assert_eq!(block.bytes, it.bytes());
                assert_eq!(block.flags().map(Flags::bits), it.flags);
                assert_eq!(block.dropcount, it.dropcount);
                assert_eq!(block.comments().collect::<Vec<_>>(), it.comments);
            }
            (Self::Names { names, comments }, Block::Names(block)) => {
                let expected: Vec<_> = names
                    .iter()
                    .map(|(address, name)| Name {
                        address: NamedAddress::Ip(*address),
                        name: name.as_str().into(),
                    })
                    .collect();
                assert_eq!(block.names().collect::<Vec<_>>(), expected);
                assert_eq!(block.comments().collect::<Vec<_>>(), *comments);
            }
            (Self::Statistics(it), Block::Statistics(block)) => {
                assert_eq!((block.interface, block.timestamp), (it.interface, it.timestamp));
                assert_eq!([block.starttime(), block.endtime()], it.times);
                let counts = [
                    block.ifrecv(),
                    block.ifdrop(),
                    block.filteraccept(),
                    block.osdrop(),
                    block.usrdeliv(),
                ];
                assert_eq!(counts, it.counts);
                assert_eq!(block.comments().collect::<Vec<_>>(), it.comments);
            }
            (piece, block) => panic!("wrote {piece:?}, read {block:?}"),
        }
    }
}

/// Length of the prefix that a netmask stands for.
fn ones(mask: Ipv4Addr) -> u8 {
    u8::try_from(mask.to_bits().count_ones()).unwrap()
}

/// A whole file of these pieces, behind a section header.
pub(crate) fn encode(pieces: &[Piece]) -> Vec<u8> {
    let mut file = Vec::new();
    Section { application: Some("whaletap"), ..Section::default() }.encode(&mut file);
    for piece in pieces {
        piece.encode(&mut file);
    }
    file
}

fn string() -> impl Strategy<Value = String> {
    "[^\0]{0,20}"
}

fn comments() -> impl Strategy<Value = Vec<String>> {
    vec(string(), 0..3)
}

fn interface() -> impl Strategy<Value = Piece> {
    let fixed = (any::<u16>(), any::<u32>(), string(), option::of(string()));
    let addresses = (
        vec((any::<Ipv4Addr>(), 0..=32_u8), 0..3),
        vec((any::<Ipv6Addr>(), 0..=128_u8), 0..3),
        any::<Option<[u8; 6]>>(),
    );
    let texts = (option::of(string()), option::of(string()), option::of(string()), comments());
    (fixed, addresses, texts).prop_map(|(fixed, addresses, texts)| {
        let (link_type, snaplen, name, description) = fixed;
        let (ipv4, ipv6, mac) = addresses;
        let (filter, os, hardware, comments) = texts;
        Piece::Interface(Interface {
            link_type,
            snaplen,
            name,
            description,
            ipv4,
            ipv6,
            mac,
            filter,
            os,
            hardware,
            comments,
        })
    })
}

pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let fixed = (0..INTERFACES, any::<u64>(), prop_oneof![Just(0), any::<u16>()]);
    let parts = vec(vec(any::<u8>(), 0..70), 0..4);
    let options = (any::<Option<u32>>(), any::<Option<u64>>(), comments());
    (fixed, parts, options).prop_map(|(fixed, parts, (flags, dropcount, comments))| {
        let (interface, timestamp, cut) = fixed;
        Packet { interface, timestamp, cut, parts, flags, dropcount, comments }
    })
}

fn names() -> impl Strategy<Value = Piece> {
    // Few addresses, so that several names for one do happen.
    let address = prop_oneof![
        (0..3_u8).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        (0..3_u16).prop_map(|last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])),
    ];
    (vec((address, "[^\0]{1,20}"), 0..6), comments())
        .prop_map(|(names, comments)| Piece::Names { names, comments })
}

fn statistics() -> impl Strategy<Value = Piece> {
    let fixed = (0..INTERFACES, any::<u64>());
    (fixed, any::<[Option<u64>; 2]>(), any::<[Option<u64>; 5]>(), comments()).prop_map(
        |((interface, timestamp), times, counts, comments)| {
            Piece::Statistics(Statistics { interface, timestamp, times, counts, comments })
        },
    )
}

/// [`INTERFACES`] interfaces and then anything.
pub(crate) fn capture() -> impl Strategy<Value = Vec<Piece>> {
    let count = usize::try_from(INTERFACES).unwrap();
    let any_piece = prop_oneof![1 => interface(), 4 => packet().prop_map(Piece::Packet), 1 => names(), 1 => statistics()];
    (vec(interface(), count), vec(any_piece, 0..12)).prop_map(|(mut pieces, more)| {
        pieces.extend(more);
        pieces
    })
}
