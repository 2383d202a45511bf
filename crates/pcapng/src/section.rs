use crate::{BYTE_ORDER_MAGIC, SECTION_HEADER, option_list::OpenBlock};

/// A Section Header Block: the first block of every file.
///
/// It is written in the machine's byte order with an unspecified section length (−1), so that it
/// can go out before anything else is known. Interface numbers begin at 0 again behind it.
///
/// Source: draft-ietf-opsawg-pcapng, "Section Header Block".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Section<'a> {
    /// The machine (`shb_hardware`).
    pub hardware: Option<&'a str>,
    /// The operating system (`shb_os`).
    pub os: Option<&'a str>,
    /// The program that captures (`shb_userappl`).
    pub application: Option<&'a str>,
    /// Free text about the whole section.
    pub comments: &'a [&'a str],
}

impl Section<'_> {
    /// Appends the block to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut block = OpenBlock::begin(out, SECTION_HEADER);
        block.fixed(&BYTE_ORDER_MAGIC.to_ne_bytes());
        block.fixed(&1_u16.to_ne_bytes());
        block.fixed(&0_u16.to_ne_bytes());
        block.fixed(&(-1_i64).to_ne_bytes());
        block.string_if(2, self.hardware);
        block.string_if(3, self.os);
        block.string_if(4, self.application);
        block.comments(self.comments);
        block.end();
    }
}

#[cfg(test)]
mod tests {
    use super::Section;

    #[test]
    fn without_options_there_is_no_end_of_options() {
        let mut out = Vec::new();
        Section::default().encode(&mut out);
        let mut expected = Vec::new();
        expected.extend_from_slice(b"\n\r\r\n");
        expected.extend_from_slice(&28_u32.to_ne_bytes());
        expected.extend_from_slice(&0x1A2B_3C4D_u32.to_ne_bytes());
        expected.extend_from_slice(&1_u16.to_ne_bytes());
        expected.extend_from_slice(&0_u16.to_ne_bytes());
        expected.extend_from_slice(&[0xFF; 8]);
        expected.extend_from_slice(&28_u32.to_ne_bytes());
        assert_eq!(out, expected);
    }

    #[test]
    fn options_are_padded_and_ended() {
        let mut out = vec![0xEE];
        Section { os: Some("Linux"), ..Section::default() }.encode(&mut out);
        let mut expected = Vec::new();
        expected.extend_from_slice(&3_u16.to_ne_bytes());
        expected.extend_from_slice(&5_u16.to_ne_bytes());
        expected.extend_from_slice(b"Linux\0\0\0");
        expected.extend_from_slice(&[0; 4]);
        expected.extend_from_slice(&44_u32.to_ne_bytes());
        assert_eq!(out[0], 0xEE, "what stood in the buffer stays");
        assert_eq!(out[1 + 24..], expected);
        assert_eq!(out[1 + 4..1 + 8], 44_u32.to_ne_bytes());
    }
}
