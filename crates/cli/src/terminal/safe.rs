use std::{borrow::Cow, fmt::Write as _};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a character could do something to a terminal, or to the eye, other than show itself:
/// control characters (escape sequences begin with one), marks that turn the direction of
/// writing, characters without any width that hide in names, separators of lines.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Text from outside (names, labels, an engine's words) with everything that [`is_unsafe`] as a
/// visible escape.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    replace(text, is_unsafe)
}

/// The same for text of several lines, whose line ends stay.
pub(crate) fn safe_lines(text: &str) -> Cow<'_, str> {
    replace(text, |c| c != '\n' && is_unsafe(c))
}

fn replace(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { escape(c, &mut shown) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

fn escape(c: char, into: &mut String) {
    match c {
        '\n' => into.push_str("\\n"),
        '\r' => into.push_str("\\r"),
        '\t' => into.push_str("\\t"),
        // Writing to a String does not fail.
        c if u32::from(c) < 0x100 => drop(write!(into, "\\x{:02x}", u32::from(c))),
        c => drop(write!(into, "\\u{{{:x}}}", u32::from(c))),
    }
}

/// Text cut to `columns`, with `…` where something is missing.
pub(crate) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in ["web", "größe", "网络", "a b", "", "e\u{301}", "🐳"] {
            assert!(matches!(safe(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_acts_on_a_terminal_becomes_visible() {
        for (text, shown) in [
            ("a\x1b[31mb", "a\\x1b[31mb"),
            ("a\x1b]0;title\x07", "a\\x1b]0;title\\x07"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{9b}2J", "\\x9b2J"),
            ("\x7f\0", "\\x7f\\x00"),
            ("user\u{202e}cod.exe", "user\\u{202e}cod.exe"),
            ("we\u{200b}b", "we\\u{200b}b"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(safe(text), shown);
            assert!(!safe(text).contains(is_unsafe), "{text:?}");
        }
        assert_eq!(safe_lines("a\nb\x1b"), "a\nb\\x1b");
    }

    #[test]
    fn cutting_counts_columns() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("网络网络", 6), "网络…");
    }
}
