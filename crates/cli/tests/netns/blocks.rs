//! The blocks of a pcapng file, taken apart by hand, so that neither our reader nor a parser's
//! mercy stands between a test and the bytes.
//!
//! Source: draft-ietf-opsawg-pcapng, sections 3 and 4.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

pub(crate) const SECTION: u32 = 0x0a0d_0d0a;
pub(crate) const INTERFACE: u32 = 1;
pub(crate) const NAMES: u32 = 4;
pub(crate) const STATISTICS: u32 = 5;
pub(crate) const PACKET: u32 = 6;

const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_IPV4: u16 = 4;
const EPB_DROPCOUNT: u16 = 4;
const ISB_OSDROP: u16 = 7;
const ISB_USRDELIV: u16 = 8;

/// A block of the file, without a packet's bytes.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) kind: u32,
    options: Vec<u8>,
}

/// The blocks of a file, and what is left behind the last whole one.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    pub(crate) all: Vec<Block>,
    pub(crate) rest: usize,
}

impl Blocks {
    pub(crate) fn read(path: impl AsRef<Path>) -> Self {
        Self::from_reader(BufReader::new(File::open(path).unwrap()))
    }

    /// Reads to the end, and keeps little of it.
    pub(crate) fn from_reader(mut reader: impl Read) -> Self {
        let mut all = Vec::new();
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let mut rest = reader.by_ref().take(8).read_to_end(&mut bytes).unwrap();
            if rest == 8 {
                let length = word(&bytes[4..]);
                assert!(length >= 12 && length.is_multiple_of(4), "a block of {length} bytes");
                let more = u64::from(length) - 8;
                rest += reader.by_ref().take(more).read_to_end(&mut bytes).unwrap();
                if bytes.len() == usize::try_from(length).unwrap() {
                    all.push(Block::of(&bytes));
                    continue;
                }
            }
            return Self { all, rest };
        }
    }

    pub(crate) fn of_kind(&self, kind: u32) -> impl Iterator<Item = &Block> {
        self.all.iter().filter(move |block| block.kind == kind)
    }

    pub(crate) fn count(&self, kind: u32) -> u64 {
        self.of_kind(kind).count() as u64
    }

    /// The names of the interface blocks, in their order.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        self.of_kind(INTERFACE).map(|block| block.text(IF_NAME)).collect()
    }

    /// Losses that packets tell of, in a number and in words.
    pub(crate) fn told_losses(&self) -> u64 {
        let told = |block: &Block| {
            let lost = block.number(EPB_DROPCOUNT);
            let words =
                block.comments().into_iter().find(|comment| comment.contains(" lost before"));
            let number = words.map_or(0, |words| words.split(' ').next().unwrap().parse().unwrap());
            assert_eq!(lost, number, "{:?}", block.comments());
            lost
        };
        self.of_kind(PACKET).map(told).sum()
    }

    /// What the statistics blocks tell: a sum for each namespace.
    pub(crate) fn sums(&self) -> Vec<Sum> {
        let blocks = self.of_kind(STATISTICS).flat_map(Block::comments);
        blocks.filter_map(|comment| Sum::parse(&comment)).collect()
    }

    /// Every packet is accounted for by the file itself, which holds what it says.
    pub(crate) fn assert_adds_up(&self) {
        let sums = self.sums();
        assert!(!sums.is_empty(), "no statistics block has a sum");
        for sum in &sums {
            let parts = [sum.captured, sum.by_kernel, sum.by_us, sum.refused, sum.discarded];
            assert_eq!(sum.received, parts.iter().sum::<u64>(), "{sum:?}");
        }
        let total = |part: fn(&Sum) -> u64| sums.iter().map(part).sum::<u64>();
        let counted = |option| self.of_kind(STATISTICS).map(|b| b.number(option)).sum::<u64>();
        assert_eq!(total(|sum| sum.captured), self.count(PACKET), "{sums:?}");
        assert_eq!(counted(ISB_USRDELIV), self.count(PACKET));
        assert_eq!(counted(ISB_OSDROP), total(|sum| sum.by_kernel));
    }
}

impl Block {
    fn of(bytes: &[u8]) -> Self {
        let kind = word(bytes);
        let (body, end) = bytes[8..].split_at(bytes.len() - 12);
        assert_eq!(word(end), word(&bytes[4..]), "a block's two lengths differ");
        let fixed = match kind {
            SECTION => 16,
            INTERFACE => 8,
            STATISTICS => 12,
            PACKET => 20 + usize::try_from(word(&body[12..])).unwrap().next_multiple_of(4),
            _ => body.len(),
        };
        Self { kind, options: body[fixed..].to_vec() }
    }

    /// Its options, by their codes.
    fn options(&self) -> Vec<(u16, &[u8])> {
        let mut options = Vec::new();
        let mut rest = &*self.options;
        while rest.len() >= 4 {
            let code = u16::from_le_bytes([rest[0], rest[1]]);
            let length = usize::from(u16::from_le_bytes([rest[2], rest[3]]));
            if code == 0 {
                break;
            }
            options.push((code, &rest[4..4 + length]));
            rest = &rest[4 + length.next_multiple_of(4)..];
        }
        options
    }

    fn text(&self, code: u16) -> String {
        let value = self.options().into_iter().find(|option| option.0 == code);
        String::from_utf8(value.map_or(Vec::new(), |option| option.1.to_vec())).unwrap()
    }

    fn number(&self, code: u16) -> u64 {
        let value = self.options().into_iter().find(|option| option.0 == code);
        value.map_or(0, |option| u64::from_le_bytes(option.1.try_into().unwrap()))
    }

    pub(crate) fn comments(&self) -> Vec<String> {
        let comments = self.options().into_iter().filter(|option| option.0 == COMMENT);
        comments.map(|option| String::from_utf8(option.1.to_vec()).unwrap()).collect()
    }

    /// The IPv4 addresses of an interface block.
    pub(crate) fn addresses(&self) -> Vec<[u8; 4]> {
        let options = self.options().into_iter().filter(|option| option.0 == IF_IPV4);
        options.map(|option| option.1[..4].try_into().unwrap()).collect()
    }
}

/// What became of a namespace's packets, as the file tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) received: u64,
    pub(crate) captured: u64,
    pub(crate) by_kernel: u64,
    pub(crate) by_us: u64,
    pub(crate) refused: u64,
    pub(crate) discarded: u64,
}

impl Sum {
    fn parse(comment: &str) -> Option<Self> {
        let (_, sum) = comment.split_once(": received ")?;
        let mut numbers = sum.split([' ', ';']).filter_map(|word| word.parse().ok());
        Some(Self {
            received: numbers.next()?,
            captured: numbers.next()?,
            by_kernel: numbers.next()?,
            by_us: numbers.next()?,
            refused: numbers.next()?,
            discarded: numbers.next()?,
        })
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}
