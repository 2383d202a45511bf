/// Whether `text` is what the shell pattern stands for: `*` any characters, `?` one,
/// `[a-z]` one of a set, `[!a-z]` or `[^a-z]` one outside of it, `\` takes away a character's
/// meaning. A bracket that is never closed is itself. Nothing in a name is special: `*` takes dots
/// and slashes too.
///
/// Source: `glob(7)`, without its rules for paths. Time is at most the product of both lengths: one
/// place to go back to is enough, because a later `*` makes earlier ones settled.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and where in the text it stopped taking characters.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let advanced = match (pattern.get(p), text.get(t)) {
            (Some('*'), _) => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            (None, None) => return true,
            (Some(_), Some(&c)) => one(&pattern, p, c),
            _ => None,
        };
        match (advanced, retry) {
            (Some(next), _) => (p, t) = (next, t + 1),
            (None, Some((behind, stopped))) if stopped < text.len() => {
                retry = Some((behind, stopped + 1));
                (p, t) = (behind, stopped + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Where the pattern goes on when its element at `p` takes `c`.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern[p] {
        '?' => Some(p + 1),
        '\\' => match pattern.get(p + 1) {
            Some(&escaped) => (escaped == c).then_some(p + 2),
            None => (c == '\\').then_some(p + 1),
        },
        '[' => match set(pattern, p + 1, c) {
            Some((taken, next)) => taken.then_some(next),
            None => (c == '[').then_some(p + 1),
        },
        literal => (literal == c).then_some(p + 1),
    }
}

/// Whether the set that begins at `p`, behind its bracket, takes `c`, and where the pattern goes
/// on; `None` when it is never closed.
fn set(pattern: &[char], mut p: usize, c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(p), Some('!' | '^'));
    if negated {
        p += 1;
    }
    let first = p;
    let mut taken = false;
    loop {
        match *pattern.get(p)? {
            // As the first of a set, a bracket is a member of it.
            ']' if p > first => return Some((taken != negated, p + 1)),
            low => {
                let high = match (pattern.get(p + 1), pattern.get(p + 2)) {
                    (Some('-'), Some(&high)) if high != ']' => {
                        p += 2;
                        high
                    }
                    _ => low,
                };
                taken |= (low..=high).contains(&c);
                p += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        prelude::{ProptestConfig, any, proptest},
        prop_assert, prop_assert_eq,
    };

    use super::*;

    #[test]
    fn patterns_take_what_a_shell_takes() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "a.b/c", true),
            ("shop-*", "shop-web.1", true),
            ("shop-*", "myshop-web", false),
            ("*-web", "shop-web", true),
            ("*a*b", "xaxaxb", true),
            ("*a*b", "xaxaxc", false),
            ("web?", "web1", true),
            ("web?", "web", false),
            ("?", "é", true),
            ("web[12]", "web2", true),
            ("web[12]", "web3", false),
            ("web[0-9]", "web7", true),
            ("web[!0-9]", "web7", false),
            ("web[^0-9]", "webx", true),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[z-a]", "m", false),
            ("[ab", "[ab", true),
            ("[ab", "a", false),
            ("a[", "a[", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            (r"a\", r"a\", true),
            ("", "", true),
            ("", "a", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let pattern = "a*".repeat(200) + "b";
        let text = "a".repeat(2000);
        let start = std::time::Instant::now();
        assert!(!matches(&pattern, &text));
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    }

    /// The definition, word by word, in exponential time.
    fn defined(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            (['*', rest @ ..], _) => (0..=text.len()).any(|taken| defined(rest, &text[taken..])),
            (_, []) => false,
            (_, [c, after @ ..]) => {
                one(pattern, 0, *c).is_some_and(|next| defined(&pattern[next..], after))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn going_back_finds_what_trying_everything_finds(
            pattern in r"[ab*?\[\]!-]{0,8}", text in r"[ab\[\]-]{0,8}",
        ) {
            let (p, t): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), defined(&p, &t));
        }

        #[test]
        fn any_words_are_survived(pattern in any::<String>(), text in any::<String>()) {
            matches(&pattern, &text);
            prop_assert!(matches("*", &text));
        }
    }
}
