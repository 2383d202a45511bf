/// The byte order of a section or of a classic file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first: x86, most ARM.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(super) fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    /// A timestamp: two 32-bit halves, the upper one first whatever the byte order.
    pub(super) fn halves(self, [a, b, c, d, e, f, g, h]: [u8; 8]) -> u64 {
        u64::from(self.u32([a, b, c, d])) << 32 | u64::from(self.u32([e, f, g, h]))
    }
}

/// The fields of a block from front to back; `None` when the bytes run out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
    pub(super) order: ByteOrder,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], order: ByteOrder) -> Self {
        Self { rest: bytes, order }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(self.order.u16(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(self.order.u32(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(self.order.u64(self.array()?))
    }

    pub(super) fn halves(&mut self) -> Option<u64> {
        Some(self.order.halves(self.array()?))
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// `length` bytes and the padding behind them, of which the end of the block may lack some.
    pub(super) fn padded(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes(length)?;
        let padding = crate::padded(length) - length;
        self.rest = self.rest.get(padding..).unwrap_or_default();
        Some(bytes)
    }
}

/// A 32-bit length as an index. There is no platform of ours where it does not fit.
pub(super) fn index(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{ByteOrder, Fields};

    #[test]
    fn halves_are_upper_first_in_either_order() {
        let value = 0x0102_0304_0506_0708;
        assert_eq!(ByteOrder::Big.halves([1, 2, 3, 4, 5, 6, 7, 8]), value);
        assert_eq!(ByteOrder::Little.halves([4, 3, 2, 1, 8, 7, 6, 5]), value);
    }

    #[test]
    fn fields_run_out_without_moving() {
        let mut fields = Fields::new(&[1, 2, 3], ByteOrder::Little);
        assert_eq!(fields.u32(), None);
        assert_eq!(fields.u16(), Some(0x0201));
        assert_eq!(fields.padded(1), Some(&[3][..]), "missing padding is forgiven");
        assert!(fields.rest.is_empty());
        assert_eq!(fields.bytes(1), None);
    }
}
