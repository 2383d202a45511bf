//! The end of what somebody says.

/// The most that is kept, in bytes.
const KEPT: usize = 4 << 10;

/// The last 4 KiB of a text.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// There was more before it.
    is_cut: bool,
}

impl Tail {
    /// Goes on with these bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let all = self.bytes.len() + bytes.len();
        let surplus = all.saturating_sub(KEPT);
        self.is_cut |= surplus > 0;
        self.bytes.drain(..surplus.min(self.bytes.len()));
        self.bytes.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
    }

    /// The text: whole lines, where there was more before them. `None` where there is nothing to be
    /// read.
    pub(super) fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let begun = text.find('\n').filter(|_| self.is_cut).map_or(0, |end| end + 1);
        let whole = match text[begun..].trim() {
            // One line that is longer than what is kept.
            "" => text.trim(),
            whole => whole,
        };
        (!whole.is_empty()).then(|| whole.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_whole() {
        let mut tail = Tail::default();
        assert_eq!(tail.text(), None);
        tail.push(b" \n");
        assert_eq!(tail.text(), None);
        tail.push(b"fir");
        tail.push(b"st\nlast\n");
        assert_eq!(tail.text().as_deref(), Some("first\nlast"));
        for number in 0..1000 {
            tail.push(format!("line {number}\n").as_bytes());
            assert!(tail.bytes.len() <= KEPT);
        }
        let text = tail.text().unwrap();
        assert!(text.starts_with("line ") && text.ends_with("\nline 999"), "{text}");
        assert!(text.len() > KEPT - 20, "{}", text.len());
        tail.push(&[b'x'; 3 * KEPT]);
        assert_eq!(tail.text().unwrap(), "x".repeat(KEPT));
    }
}
