//! The form of fields.

#[cfg(test)]
use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{Hatype, Instruction, Interface, MacAddress, NetnsId, Network, Program, Stats};

/// Definitions by their name, for the schema.
#[cfg(test)]
pub(crate) type Schema = BTreeMap<String, String>;

/// What a message is made of.
pub(crate) trait Field: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it; `None` where it does not read.
    fn take(from: &mut Reader<'_>) -> Option<Self>;

    /// Its name in the schema, into which its definition is put.
    #[cfg(test)]
    fn describe(schema: &mut Schema) -> String;
}

/// Takes a message apart.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// One field, and nothing behind it.
    pub(crate) fn whole<T: Field>(bytes: &'a [u8]) -> Option<T> {
        let mut reader = Self(bytes);
        let value = T::take(&mut reader)?;
        reader.0.is_empty().then_some(value)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number in as few bytes as it takes, seven bits in each, the lowest first.
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// Appends a number for [`Reader::varint`].
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

#[inline]
fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn take(from: &mut Reader<'_>) -> Option<Self> {
                from.array().map(Self::from_le_bytes)
            }

            #[cfg(test)]
            fn describe(_: &mut Schema) -> String {
                stringify!($type).to_owned()
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i32);

impl Field for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut Reader<'_>) -> Option<Self> {
        Some(())
    }

    #[cfg(test)]
    fn describe(_: &mut Schema) -> String {
        "nothing".to_owned()
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        match from.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    #[cfg(test)]
    fn describe(_: &mut Schema) -> String {
        "bool".to_owned()
    }
}

/// Lists and texts are behind their count. One above 4 GiB would not read back; no message is as
/// long.
fn put_count(out: &mut Vec<u8>, count: usize) {
    u32::try_from(count).unwrap_or(u32::MAX).put(out);
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.len());
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let length = u32::take(from)? as usize;
        String::from_utf8(from.bytes(length)?.to_vec()).ok()
    }

    #[cfg(test)]
    fn describe(_: &mut Schema) -> String {
        "text".to_owned()
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.len());
        for item in self {
            item.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let count = u32::take(from)?;
        // No room is made before there is something for it: the count is the other side's word.
        let mut items = Self::new();
        for _ in 0..count {
            if from.is_empty() {
                return None;
            }
            items.push(T::take(from)?);
        }
        Some(items)
    }

    #[cfg(test)]
    fn describe(schema: &mut Schema) -> String {
        format!("list of {}", T::describe(schema))
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        if bool::take(from)? { T::take(from).map(Some) } else { Some(None) }
    }

    #[cfg(test)]
    fn describe(schema: &mut Schema) -> String {
        format!("optional {}", T::describe(schema))
    }
}

/// Makes fields of structures that stand elsewhere.
macro_rules! fields_of {
    ($($name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        impl $crate::field::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $( $crate::field::Field::put(&self.$field, out); )*
            }

            fn take(from: &mut $crate::field::Reader<'_>) -> Option<Self> {
                Some(Self { $( $field: <$type as $crate::field::Field>::take(from)?, )* })
            }

            #[cfg(test)]
            fn describe(schema: &mut $crate::field::Schema) -> String {
                let fields = [$(
                    format!(
                        "{}: {}",
                        stringify!($field),
                        <$type as $crate::field::Field>::describe(schema)
                    ),
                )*];
                schema.insert(stringify!($name).to_owned(), fields.join(", "));
                stringify!($name).to_owned()
            }
        }
    )*};
}
pub(crate) use fields_of;

/// Makes a field of an enumeration: a byte for the kind, and what belongs to it.
macro_rules! kinds_of {
    ($name:ident { $($tag:literal $kind:ident $(($type:ty))?),* $(,)? }) => {
        impl $crate::field::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $( kinds_of!(@pattern value $kind $($type)?) => {
                        out.push($tag);
                        $( <$type as $crate::field::Field>::put(value, out); )?
                    } )*
                }
            }

            fn take(from: &mut $crate::field::Reader<'_>) -> Option<Self> {
                let [tag] = from.array()?;
                Some(match tag {
                    $( $tag => kinds_of!(@read from $kind $($type)?), )*
                    _ => return None,
                })
            }

            #[cfg(test)]
            fn describe(schema: &mut $crate::field::Schema) -> String {
                let kinds = [$(
                    format!(
                        "{} {}{}",
                        $tag,
                        stringify!($kind),
                        [$( format!(" {}", <$type as $crate::field::Field>::describe(schema)) )?]
                            .iter()
                            .map(String::as_str)
                            .collect::<String>()
                    ),
                )*];
                schema.insert(stringify!($name).to_owned(), kinds.join(" | "));
                stringify!($name).to_owned()
            }
        }
    };
    (@pattern $value:ident $kind:ident) => { Self::$kind };
    (@pattern $value:ident $kind:ident $type:ty) => { Self::$kind($value) };
    (@read $from:ident $kind:ident) => { Self::$kind };
    (@read $from:ident $kind:ident $type:ty) => {
        Self::$kind(<$type as $crate::field::Field>::take($from)?)
    };
}
pub(crate) use kinds_of;

fields_of! {
    NetnsId { dev: u64, ino: u64 }
    Instruction { code: u16, jt: u8, jf: u8, k: u32 }
    Network { address: IpAddr, prefix: u8 }
    Interface {
        index: u32,
        name: String,
        mac: Option<MacAddress>,
        addresses: Vec<Network>,
        mtu: u32,
        up: bool,
        kind: Option<String>,
        hatype: Hatype,
        peer_index: Option<u32>,
    }
    Stats {
        received: u64,
        captured: u64,
        dropped_by_kernel: u64,
        dropped_by_us: u64,
        refused: u64,
        discarded: u64,
        truncated: u64,
        out_of_order: u64,
        freezes: u64,
    }
}

impl Field for Program {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let instructions: Vec<Instruction> = Field::take(from)?;
        (instructions.len() <= Self::MAX_INSTRUCTIONS).then_some(Self(instructions))
    }

    #[cfg(test)]
    fn describe(schema: &mut Schema) -> String {
        Vec::<Instruction>::describe(schema)
    }
}

impl Field for Hatype {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        u16::take(from).map(Self)
    }

    #[cfg(test)]
    fn describe(schema: &mut Schema) -> String {
        u16::describe(schema)
    }
}

impl Field for MacAddress {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        from.array().map(Self)
    }

    #[cfg(test)]
    fn describe(_: &mut Schema) -> String {
        "6 bytes".to_owned()
    }
}

impl Field for IpAddr {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(address) => {
                out.push(4);
                out.extend_from_slice(&address.octets());
            }
            Self::V6(address) => {
                out.push(6);
                out.extend_from_slice(&address.octets());
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        match from.array()? {
            [4] => from.array::<4>().map(Self::from),
            [6] => from.array::<16>().map(Self::from),
            _ => None,
        }
    }

    #[cfg(test)]
    fn describe(_: &mut Schema) -> String {
        "4 and 4 bytes | 6 and 16 bytes".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn numbers_of_any_length_read_back(value in any::<u64>(), shift in 0..64_u32) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), (64 - value.leading_zeros()).div_ceil(7).max(1) as usize);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Some(value));
            prop_assert_eq!(Reader::new(&bytes[1..]).varint().is_none(), bytes.len() == 1);
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0x80; 11]] {
            assert_eq!(Reader::new(bytes).varint(), None, "{bytes:?}");
        }
        let mut last = [0xff; 10];
        last[9] = 1;
        assert_eq!(Reader::new(&last).varint(), Some(u64::MAX));
    }

    #[test]
    fn a_count_makes_no_room() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 1, 0];
        assert_eq!(Reader::whole::<Vec<u16>>(&bytes), None);
        assert_eq!(Reader::whole::<Vec<()>>(&bytes[..4]), None);
        assert_eq!(Reader::whole::<String>(&bytes), None);
        let long = Program(vec![Program::ret(0).0[0]; Program::MAX_INSTRUCTIONS + 1]);
        let mut bytes = Vec::new();
        long.put(&mut bytes);
        assert_eq!(Reader::whole::<Program>(&bytes), None);
    }
}
