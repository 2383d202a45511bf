use std::ops::Range;

/// A word or sign of an expression, as a range of its bytes.
///
/// The rules are libpcap's (`scanner.l`), as far as they decide where one word ends and the next
/// begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) Range<usize>);

impl Token {
    pub(crate) fn text<'a>(&self, expression: &'a str) -> &'a str {
        &expression[self.0.clone()]
    }

    /// Splits an expression into its tokens.
    pub(crate) fn split(expression: &str) -> Vec<Self> {
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(first) = expression[at..].chars().next() {
            if matches!(first, ' ' | '\r' | '\n' | '\t') {
                at += 1;
                continue;
            }
            let length = length(&expression[at..]).unwrap_or(first.len_utf8());
            tokens.push(Self(at..at + length));
            at += length;
        }
        tokens
    }
}

/// Length of the word or sign of several characters that `rest` begins with, if it does.
fn length(rest: &str) -> Option<usize> {
    let run = |start: usize, part: fn(char) -> bool| {
        let end = rest[start..].find(|c| !part(c));
        end.map_or(rest.len(), |end| start + end)
    };
    match rest.as_bytes() {
        [b'\\', ..] => {
            // Backslash and what follows it is a name, whatever it says.
            Some(run(1, |c| !matches!(c, ' ' | '!' | '(' | ')' | '\n' | '\t')))
        }
        [b'$', ..] => Some(run(1, |c| c.is_ascii_hexdigit()).min(3)),
        [b'&', b'&', ..] | [b'|', b'|', ..] | [b'<', b'<' | b'=', ..] => Some(2),
        [b'>', b'>' | b'=', ..] | [b'!' | b'=', b'=', ..] => Some(2),
        [first, ..] if first.is_ascii_alphanumeric() || rest.starts_with("::") => {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
            let word = &rest[..run(0, is_part)];
            // Colons belong to IPv6 and MAC addresses, which have two at least; a single one
            // separates offset and size: `ip[2:2]`.
            let word = match word.bytes().filter(|byte| *byte == b':').count() {
                1 => word.split(':').next().unwrap_or(word),
                _ => word,
            };
            // A name ends in a letter, a digit or a dot.
            let word = word.trim_end_matches(['-', '_']);
            Some(word.len()).filter(|length| *length > 0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_split_as_libpcap_splits_them() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \t\n", &[]),
            ("tcp port 80", &["tcp", "port", "80"]),
            ("!(tcp||udp)&&ip", &["!", "(", "tcp", "||", "udp", ")", "&&", "ip"]),
            ("net 10.0.0.0/8", &["net", "10.0.0.0", "/", "8"]),
            ("host fe80::1 or ::1", &["host", "fe80::1", "or", "::1"]),
            ("ether host 00:11:22:33:44:55", &["ether", "host", "00:11:22:33:44:55"]),
            ("ip[2:2]>=0x20", &["ip", "[", "2", ":", "2", "]", ">=", "0x20"]),
            (
                "tcp[tcpflags]&(tcp-syn|tcp-ack)!=0",
                &["tcp", "[", "tcpflags", "]", "&", "(", "tcp-syn", "|", "tcp-ack", ")", "!=", "0"],
            ),
            ("portrange 20-25", &["portrange", "20-25"]),
            ("ip proto \\tcp", &["ip", "proto", "\\tcp"]),
            ("tcp[0]- 5", &["tcp", "[", "0", "]", "-", "5"]),
            ("len<<2==8", &["len", "<<", "2", "==", "8"]),
            ("host ä @", &["host", "ä", "@"]),
            ("a- b", &["a", "-", "b"]),
        ];
        for (expression, expected) in cases {
            let tokens = Token::split(expression);
            let texts: Vec<_> = tokens.iter().map(|token| token.text(expression)).collect();
            assert_eq!(texts, *expected, "{expression}");
        }
    }
}
