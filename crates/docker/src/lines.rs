/// The longest line that is kept, in bytes. An event holds all labels of its container, and few
/// come near.
pub(crate) const MAX_LINE: usize = 1024 * 1024;

/// What a buffer may hold on to when it is empty, in bytes.
const KEPT: usize = 64 * 1024;

/// Cuts a stream into lines. Longer ones than [`MAX_LINE`] are passed over.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line.
    begun: Vec<u8>,
    /// Until its line ends nothing is kept.
    too_long: bool,
}

impl Lines {
    /// Calls `line` with each line that ends in this piece, without its end.
    pub(crate) fn feed(&mut self, piece: &[u8], mut line: impl FnMut(&[u8])) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = (&rest[..end], &rest[end + 1..]);
            rest = tail;
            if self.begun.is_empty() && !self.too_long && head.len() <= MAX_LINE {
                line(head);
                continue;
            }
            self.keep(head);
            if !self.too_long {
                line(&self.begun);
            }
            self.too_long = false;
            self.begun.clear();
            self.begun.shrink_to(KEPT);
        }
        self.keep(rest);
    }

    fn keep(&mut self, part: &[u8]) {
        if self.too_long || self.begun.len() + part.len() > MAX_LINE {
            self.too_long = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::proptest, prop_assert_eq};

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            lines.feed(piece, |line| found.push(line.to_vec()));
            assert!(lines.begun.len() <= MAX_LINE);
        }
        found
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_the_next_one_is_read() {
        let piece = vec![b'x'; 300_000];
        let mut pieces: Vec<&[u8]> = vec![b"a\nb"];
        pieces.extend(std::iter::repeat_n(&piece[..], 100));
        pieces.extend([&b"y\nc"[..], b"d\n", b"rest"]);
        assert_eq!(lines(&pieces), [&b"a"[..], b"cd"]);
        let mut cut = Lines::default();
        for piece in std::iter::repeat_n(&piece[..], 100) {
            cut.feed(piece, |_| panic!("there is no line"));
            assert!(cut.begun.capacity() <= 2 * MAX_LINE);
        }
    }

    #[test]
    fn the_longest_line_is_kept_and_one_byte_more_is_not() {
        for (length, kept) in [(MAX_LINE, 1), (MAX_LINE + 1, 0)] {
            let mut whole = vec![b'x'; length];
            whole.push(b'\n');
            assert_eq!(lines(&[&whole]).len(), kept);
            assert_eq!(lines(&[&whole[..9], &whole[9..]]).len(), kept);
        }
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_pieces(pieces in vec(vec(proptest::sample::select(&b"ab\n"[..]), 0..9), 0..9)) {
            let whole = pieces.concat();
            let mut expected: Vec<Vec<u8>> = whole.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            expected.pop();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(lines(&pieces), expected);
        }
    }
}
