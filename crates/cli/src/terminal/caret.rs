use unicode_width::UnicodeWidthStr;

use super::safe;

/// Columns that are shown on either side of the mark.
const AROUND: usize = 60;
/// Blanks in front of both lines.
const INDENT: &str = "    ";

/// An expression and, on the line below, a mark at the byte offset `position`; an offset within a
/// character or behind the end is moved back to the next place that there is.
pub(crate) fn mark(expression: &str, position: usize) -> [String; 2] {
    let mut at = position.min(expression.len());
    while !expression.is_char_boundary(at) {
        at -= 1;
    }
    let (before, behind) = expression.split_at(at);
    let (before, behind) = (safe(before), safe(behind));
    let before = match before.char_indices().rev().nth(AROUND - 1) {
        Some((start, _)) if start > 0 => format!("…{}", &before[start..]),
        _ => before.into_owned(),
    };
    let behind = match behind.char_indices().nth(AROUND) {
        Some((end, _)) => format!("{}…", &behind[..end]),
        None => behind.into_owned(),
    };
    [
        format!("{INDENT}{before}{behind}"),
        format!("{INDENT}{}^", " ".repeat(before.as_str().width())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_below_the_place() {
        assert_eq!(mark("tcp prot 80", 4), ["    tcp prot 80", "        ^"]);
        assert_eq!(mark("tcp and", 7), ["    tcp and", "           ^"]);
        assert_eq!(mark("", 9), ["    ", "    ^"]);
    }

    #[test]
    fn wide_and_unprintable_characters_are_counted_as_they_are_shown() {
        assert_eq!(mark("网 x", "网 ".len()), ["    网 x", "       ^"]);
        assert_eq!(mark("\x1b\nx", 2), ["    \\x1b\\nx", "          ^"]);
        assert_eq!(mark("é", 1), ["    é", "    ^"]);
    }

    #[test]
    fn of_a_long_expression_the_surroundings_are_shown() {
        let long = format!("{}!{}", "a".repeat(100), "b".repeat(100));
        let [line, caret] = mark(&long, 100);
        assert_eq!(line, format!("    …{}!{}…", "a".repeat(60), "b".repeat(59)));
        assert_eq!(caret.len() - 1, line.chars().take_while(|c| *c != '!').count());
    }
}
