use crate::{field, padded};

/// Longest option string in bytes: the length field has 16 bits. What is longer is cut at the last
/// whole character.
pub const MAX_STRING_LEN: usize = 65_535;

/// Most bytes that the comments of one block take, headers and padding included. Comments that do
/// not fit are left out, so that no block outgrows [`MAX_BLOCK_LEN`](crate::MAX_BLOCK_LEN).
pub const MAX_COMMENTS_LEN: usize = 1 << 20;

/// Option code of a comment, in every block.
pub(crate) const COMMENT: u16 = 1;
/// Option code that ends a list, and record type that ends the records of a name block.
pub(crate) const END: u16 = 0;

/// Bytes of an option, record or list end before its value.
pub(crate) const HEADER_LEN: usize = 4;
/// Bytes that a block has besides its body: type, length, and the length again.
pub(crate) const FRAME_LEN: usize = 12;

const ZEROS: [u8; 4] = [0; 4];

/// Appends zeros up to the boundary after a value of `length` bytes.
pub(crate) fn pad(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&ZEROS[..padded(length) - length]);
}

/// `text` as an option may carry it, in at most `limit` bytes: up to a NUL, where readers would
/// stop, and cut at a character boundary.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let text = text.split('\0').next().unwrap_or_default();
    &text[..text.floor_char_boundary(limit)]
}

/// The comments that fit into [`MAX_COMMENTS_LEN`], and the bytes that they take.
pub(crate) fn fitting<'a>(comments: &'a [&'a str]) -> (&'a [&'a str], usize) {
    let mut total = 0;
    for (index, comment) in comments.iter().enumerate() {
        let length = HEADER_LEN + padded(cut(comment, MAX_STRING_LEN).len());
        if total + length > MAX_COMMENTS_LEN {
            return (&comments[..index], total);
        }
        total += length;
    }
    (comments, total)
}

/// Appends one TLV (an option, or a record of a name block) whose value is `parts` one after the
/// other. The caller keeps the sum within 65,535 bytes.
pub(crate) fn push_tlv(out: &mut Vec<u8>, code: u16, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum();
    debug_assert!(length <= MAX_STRING_LEN, "an option's value escaped its bound");
    out.extend_from_slice(&code.to_ne_bytes());
    out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    pad(out, length);
}

/// A timestamp as blocks and options carry it: the upper 32 bits first, each half in the section's
/// byte order.
#[inline]
pub(crate) fn halves(timestamp: u64) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h] = timestamp.to_be_bytes();
    let upper = u32::from_be_bytes([a, b, c, d]).to_ne_bytes();
    let lower = u32::from_be_bytes([e, f, g, h]).to_ne_bytes();
    [upper[0], upper[1], upper[2], upper[3], lower[0], lower[1], lower[2], lower[3]]
}

/// A block under construction: writes the frame around a body, and the list of options.
pub(crate) struct OpenBlock<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    options: bool,
}

impl<'a> OpenBlock<'a> {
    /// Begins a block at the end of `out`.
    pub(crate) fn begin(out: &'a mut Vec<u8>, block_type: u32) -> Self {
        let start = out.len();
        out.extend_from_slice(&block_type.to_ne_bytes());
        // The length is filled in by `end`.
        out.extend_from_slice(&[0; 4]);
        Self { out, start, options: false }
    }

    /// Appends bytes of the fixed part.
    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Lets `append` write records of the fixed part, which are not options.
    pub(crate) fn records(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        append(self.out);
    }

    /// Appends an option.
    pub(crate) fn option(&mut self, code: u16, value: &[u8]) {
        self.option_of(code, &[value]);
    }

    /// Appends an option whose value is `parts` one after the other.
    pub(crate) fn option_of(&mut self, code: u16, parts: &[&[u8]]) {
        self.options = true;
        push_tlv(self.out, code, parts);
    }

    /// Appends a string option, cut to what fits.
    pub(crate) fn string(&mut self, code: u16, text: &str) {
        self.option(code, cut(text, MAX_STRING_LEN).as_bytes());
    }

    /// Appends a string option where there is a string.
    pub(crate) fn string_if(&mut self, code: u16, text: Option<&str>) {
        if let Some(text) = text {
            self.string(code, text);
        }
    }

    /// Appends the comments that fit.
    pub(crate) fn comments(&mut self, comments: &[&str]) {
        for comment in fitting(comments).0 {
            self.string(COMMENT, comment);
        }
    }

    /// Ends the list of options, where there is one, and the block.
    pub(crate) fn end(self) {
        if self.options {
            push_tlv(self.out, END, &[]);
        }
        let length = field(self.out.len() + 4 - self.start).to_ne_bytes();
        self.out[self.start + 4..self.start + 8].copy_from_slice(&length);
        self.out.extend_from_slice(&length);
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_COMMENTS_LEN, MAX_STRING_LEN, cut, fitting, halves};

    #[test]
    fn strings_are_cut_at_a_character_and_at_a_nul() {
        assert_eq!(cut("web/eth0", MAX_STRING_LEN), "web/eth0");
        assert_eq!(cut("a\0b", MAX_STRING_LEN), "a");
        // 32,768 two-byte characters are one byte too long; half a character must not stay.
        let long = "é".repeat(32_768);
        assert_eq!(cut(&long, MAX_STRING_LEN).len(), 65_534);
    }

    #[test]
    fn comments_beyond_the_bound_are_left_out() {
        let long = "x".repeat(MAX_STRING_LEN);
        let comments = vec![long.as_str(); 20];
        let (kept, length) = fitting(&comments);
        assert_eq!(kept.len(), 15);
        assert!(length <= MAX_COMMENTS_LEN);
        assert_eq!(fitting(&["one", "three"]), (&["one", "three"][..], 8 + 12));
    }

    #[test]
    fn timestamps_have_their_upper_half_first() {
        let bytes = halves(0x0102_0304_0506_0708);
        assert_eq!(bytes[..4], 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(bytes[4..], 0x0506_0708_u32.to_ne_bytes());
    }
}
