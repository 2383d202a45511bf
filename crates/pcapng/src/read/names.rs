use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{ByteOrder, Options, fields::Fields, options::text};
use crate::option_list::END;

/// What a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NamedAddress {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A link-layer address of six bytes.
    Eui48([u8; 6]),
    /// A link-layer address of eight bytes.
    Eui64([u8; 8]),
}

/// A name of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name<'a> {
    /// The address.
    pub address: NamedAddress,
    /// Its name.
    pub name: Cow<'a, str>,
}

/// Names for addresses.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    records: Fields<'a>,
    /// All options, uninterpreted.
    pub options: Options<'a>,
}

impl<'a> Names<'a> {
    pub(super) fn new(body: &'a [u8], order: ByteOrder) -> Self {
        let records = Fields::new(body, order);
        let mut walk = records;
        while next_record(&mut walk).is_some() {}
        Self { records, options: Options::new(walk.rest, order) }
    }

    /// Every name, in the file's order; an address with several names comes several times.
    pub fn names(&self) -> impl Iterator<Item = Name<'a>> {
        let mut records = self.records;
        std::iter::from_fn(move || next_record(&mut records))
            .fuse()
            .filter_map(|(code, value)| named(code, value))
            .flat_map(|(address, names)| {
                names
                    .split(|byte| *byte == 0)
                    .filter(|name| !name.is_empty())
                    .map(move |name| Name { address, name: text(name) })
            })
    }

    /// Comments, in their order.
    pub fn comments(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.options.comments()
    }
}

/// The next record's type and value. Behind the last one `fields` is at the options; where the
/// records run over the block, nothing is left.
fn next_record<'a>(fields: &mut Fields<'a>) -> Option<(u16, &'a [u8])> {
    let mut ahead = *fields;
    let mut read = || Some((ahead.u16()?, ahead.u16()?));
    let Some((code, length)) = read() else {
        fields.rest = &[];
        return None;
    };
    if code == END {
        // A second call finds the options, not the end: the iterator above stops at the first
        // `None`, and so does the walk.
        *fields = ahead;
        return None;
    }
    let value = ahead.padded(usize::from(length));
    if value.is_none() {
        ahead.rest = &[];
    }
    *fields = ahead;
    value.map(|value| (code, value))
}

/// A record's address and the names behind it, where the type is known.
fn named(code: u16, value: &[u8]) -> Option<(NamedAddress, &[u8])> {
    match code {
        1 => value
            .split_first_chunk::<4>()
            .map(|(octets, names)| (NamedAddress::Ip(Ipv4Addr::from(*octets).into()), names)),
        2 => value
            .split_first_chunk::<16>()
            .map(|(octets, names)| (NamedAddress::Ip(Ipv6Addr::from(*octets).into()), names)),
        3 => value
            .split_first_chunk::<6>()
            .map(|(octets, names)| (NamedAddress::Eui48(*octets), names)),
        4 => value
            .split_first_chunk::<8>()
            .map(|(octets, names)| (NamedAddress::Eui64(*octets), names)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{ByteOrder, Name, NamedAddress, Names};

    #[test]
    fn unknown_records_are_stepped_over_and_options_follow_the_end() {
        let body = b"\0\x09\0\x03xyz\0\
            \0\x01\0\x0a\x0a\0\0\x01a\0\0bc\0\0\0\
            \0\x03\0\x08\x02\0\0\0\0\x01m\0\
            \0\0\0\0\
            \0\x01\0\x02hi\0\0";
        let names = Names::new(body, ByteOrder::Big);
        let ip = NamedAddress::Ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(
            names.names().collect::<Vec<_>>(),
            [
                Name { address: ip, name: "a".into() },
                Name { address: ip, name: "bc".into() },
                Name { address: NamedAddress::Eui48([2, 0, 0, 0, 0, 1]), name: "m".into() },
            ]
        );
        assert_eq!(names.comments().collect::<Vec<_>>(), ["hi"]);
    }

    #[test]
    fn a_record_that_runs_over_ends_the_list() {
        let names = Names::new(b"\0\x01\0\x06\x0a\0\0\x01a\0\0\0\0\x01\0\x40\x0a", ByteOrder::Big);
        assert_eq!(names.names().count(), 1);
        assert_eq!(names.options.count(), 0);
    }
}
