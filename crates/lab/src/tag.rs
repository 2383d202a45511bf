/// What every generated frame carries: which run it belongs to and which number it has there.
///
/// Sixteen bytes, big-endian: `wtap`, the run (4), the number (8). It stands at the beginning of
/// the innermost payload, and is found by its first four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// The run.
    pub run: u32,
    /// The frame's number within the run, from 0.
    pub number: u64,
}

impl Tag {
    /// Bytes of a tag.
    pub const LENGTH: usize = 16;
    const MAGIC: [u8; 4] = *b"wtap";

    /// The tag as bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&Self::MAGIC);
        bytes[4..8].copy_from_slice(&self.run.to_be_bytes());
        bytes[8..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// Where the first tag within these bytes begins.
    #[must_use]
    pub fn position(bytes: &[u8]) -> Option<usize> {
        bytes.windows(Self::LENGTH).position(|window| window.starts_with(&Self::MAGIC))
    }

    /// The first tag within these bytes, which may be a whole frame.
    #[must_use]
    pub fn find(bytes: &[u8]) -> Option<Self> {
        let at = Self::position(bytes)?;
        Some(Self {
            run: u32::from_be_bytes(bytes[at + 4..at + 8].try_into().ok()?),
            number: u64::from_be_bytes(bytes[at + 8..at + 16].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_where_it_stands() {
        let tag = Tag { run: 0xdead_beef, number: 1 << 40 };
        let mut frame = vec![0x77; 42];
        frame.extend_from_slice(&tag.to_bytes());
        frame.push(1);
        assert_eq!(Tag::find(&frame), Some(tag));
        assert_eq!(Tag::find(&frame[..frame.len() - 2]), None);
        assert_eq!(Tag::find(&[]), None);
    }
}
