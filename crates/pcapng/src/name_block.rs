use std::net::IpAddr;

use crate::{
    NAME_RESOLUTION,
    option_list::{END, HEADER_LEN, MAX_STRING_LEN, OpenBlock, cut, push_tlv},
    padded,
};

/// Most bytes of records in one name block. Further records go into further blocks.
pub const MAX_NAMES_LEN: usize = 1 << 20;

/// Name Resolution Blocks: names for addresses, so that a reader needs no DNS.
///
/// An address with several names is given several times in a row, and becomes one record. Empty
/// names are left out, longer ones than a record holds are cut. As many blocks are written as
/// [`MAX_NAMES_LEN`] demands, none if there is nothing to tell; comments go into the first.
///
/// Of several names for one address Wireshark (4.0) shows the one that comes last in the file.
///
/// Source: draft-ietf-opsawg-pcapng, "Name Resolution Block".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameBlock<'a> {
    /// Addresses, each with one name.
    pub names: &'a [(IpAddr, &'a str)],
    /// Free text.
    pub comments: &'a [&'a str],
}

impl NameBlock<'_> {
    /// Appends the block, or blocks, to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut names = self.names;
        let mut comments = self.comments;
        while !names.is_empty() || !comments.is_empty() {
            let mut block = OpenBlock::begin(out, NAME_RESOLUTION);
            let mut room = MAX_NAMES_LEN;
            while let Some(record) = Record::first_of(names) {
                if record.encoded_len() > room {
                    break;
                }
                room -= record.encoded_len();
                block.records(|out| record.encode(out));
                names = &names[record.names.len()..];
            }
            block.records(|out| push_tlv(out, END, &[]));
            block.comments(comments);
            block.end();
            comments = &[];
        }
    }
}

/// The names of one address that go into one record.
struct Record<'a> {
    names: &'a [(IpAddr, &'a str)],
    value_len: usize,
}

impl<'a> Record<'a> {
    /// Takes as many names off the front as have the same address and fit.
    fn first_of(names: &'a [(IpAddr, &'a str)]) -> Option<Self> {
        let address = names.first()?.0;
        let mut value_len = address_len(address);
        let mut count = 0;
        for (_, name) in names.iter().take_while(|(other, _)| *other == address) {
            let length = entry(address, name).map_or(0, |name| name.len() + 1);
            if count > 0 && value_len + length > MAX_STRING_LEN {
                break;
            }
            value_len += length;
            count += 1;
        }
        Some(Self { names: &names[..count], value_len })
    }

    /// Whether any of the names is left after cutting: a record without one is not valid.
    fn has_names(&self) -> bool {
        self.names.first().is_some_and(|(address, _)| self.value_len > address_len(*address))
    }

    fn encoded_len(&self) -> usize {
        if self.has_names() { HEADER_LEN + padded(self.value_len) } else { 0 }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Some((address, _)) = self.names.first().filter(|_| self.has_names()) else { return };
        let (code, octets): (u16, &[u8]) = match address {
            IpAddr::V4(address) => (1, &address.octets()),
            IpAddr::V6(address) => (2, &address.octets()),
        };
        out.extend_from_slice(&code.to_ne_bytes());
        out.extend_from_slice(&u16::try_from(self.value_len).unwrap_or(u16::MAX).to_ne_bytes());
        out.extend_from_slice(octets);
        for (_, name) in self.names {
            if let Some(name) = entry(*address, name) {
                out.extend_from_slice(name.as_bytes());
                out.push(0);
            }
        }
        crate::option_list::pad(out, self.value_len);
    }
}

/// A name as a record may carry it; `None` if nothing of it is left.
fn entry(address: IpAddr, name: &str) -> Option<&str> {
    let name = cut(name, MAX_STRING_LEN - address_len(address) - 1);
    (!name.is_empty()).then_some(name)
}

fn address_len(address: IpAddr) -> usize {
    if address.is_ipv4() { 4 } else { 16 }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::{MAX_NAMES_LEN, NameBlock};

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 2));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn names_of_one_address_share_a_record() {
        let mut out = Vec::new();
        NameBlock { names: &[(V4, "web"), (V4, ""), (V4, "db"), (V6, "lo")], comments: &[] }
            .encode(&mut out);
        let mut expected = Vec::new();
        expected.extend_from_slice(&4_u32.to_ne_bytes());
        expected.extend_from_slice(&56_u32.to_ne_bytes());
        expected.extend_from_slice(&1_u16.to_ne_bytes());
        expected.extend_from_slice(&11_u16.to_ne_bytes());
        expected.extend_from_slice(b"\xac\x11\0\x02web\0db\0\0");
        expected.extend_from_slice(&2_u16.to_ne_bytes());
        expected.extend_from_slice(&19_u16.to_ne_bytes());
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01lo\0\0");
        expected.extend_from_slice(&[0; 4]);
        expected.extend_from_slice(&56_u32.to_ne_bytes());
        assert_eq!(out, expected);
    }

    #[test]
    fn nothing_to_tell_is_no_block() {
        let mut out = Vec::new();
        NameBlock::default().encode(&mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn an_address_without_a_usable_name_is_no_record() {
        let mut out = Vec::new();
        NameBlock { names: &[(V4, ""), (V4, "\0hidden")], comments: &[] }.encode(&mut out);
        assert_eq!(out.len(), 16, "a block with nothing but the end of records");
    }

    #[test]
    fn many_names_make_several_blocks() {
        let long = "n".repeat(70_000);
        let names = vec![(V4, long.as_str()); 40];
        let mut out = Vec::new();
        NameBlock { names: &names, comments: &["one"] }.encode(&mut out);
        let mut lengths = Vec::new();
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            let length: [u8; 4] = rest[4..8].try_into().unwrap();
            let length = usize::try_from(u32::from_ne_bytes(length)).unwrap();
            lengths.push(length);
            rest = &rest[length..];
        }
        assert_eq!(lengths.len(), 3);
        assert!(lengths.iter().all(|length| *length < MAX_NAMES_LEN + 64));
    }
}
