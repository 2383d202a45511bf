use std::{cmp::Reverse, collections::BTreeSet};

/// The most suggestions that an error makes.
const MAX_SUGGESTIONS: usize = 3;

/// Longer words are not compared, so that the work has a bound; docker's names are shorter.
const MAX_LENGTH: usize = 255;

/// The words that `wanted` was probably meant to be, the nearest first: those within a third of its
/// length (at least one edit, two from four characters on), those that end with it, and those that
/// begin with it or, from four characters on, with something one edit away.
pub(crate) fn nearest<'a>(wanted: &str, words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().collect();
    if wanted.is_empty() || wanted.len() > MAX_LENGTH {
        return Vec::new();
    }
    let near = match wanted.len() {
        0..=3 => 1,
        4..=8 => 2,
        length => length / 3,
    };
    let words: BTreeSet<&str> = words.collect();
    let mut found: Vec<(usize, Reverse<bool>, &str)> = words
        .into_iter()
        .filter_map(|word| {
            let lower: Vec<char> = word.to_lowercase().chars().take(MAX_LENGTH + 1).collect();
            if lower.len() > MAX_LENGTH {
                return None;
            }
            let distance = distance(&wanted, &lower);
            let begins = &lower[..wanted.len().min(lower.len())];
            let part = match wanted.len() {
                0..=1 => false,
                2..=3 => lower.ends_with(&wanted) || lower.starts_with(&wanted),
                _ => lower.ends_with(&wanted) || self::distance(&wanted, begins) <= 1,
            };
            (distance <= near || part).then_some((distance, Reverse(part), word))
        })
        .collect();
    found.sort();
    found.into_iter().take(MAX_SUGGESTIONS).map(|(_, _, word)| word.to_owned()).collect()
}

/// Edits between two words: insertions, deletions, replacements, and swaps of neighbours (the
/// "optimal string alignment" distance).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        (before_last, last) = (last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::proptest, prop_assert, prop_assert_eq};

    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn slips_of_the_keyboard_are_near() {
        let words = ["web", "web-1", "db", "shop_web_1", "redis", "worker"];
        let near = |wanted| nearest(wanted, words.into_iter());
        assert_eq!(near("wbe"), ["web"]);
        assert_eq!(near("reids"), ["redis"]);
        assert_eq!(near("WEB"), ["web", "web-1"]);
        assert_eq!(near("shop"), ["shop_web_1"]);
        assert_eq!(near("shop_web_2"), ["shop_web_1"]);
        assert_eq!(near("nothing-like-it"), Vec::<String>::new());
        assert_eq!(near(""), Vec::<String>::new());
        assert_eq!(near(&"x".repeat(300)), Vec::<String>::new());
    }

    #[test]
    fn there_are_never_more_than_three() {
        let words: Vec<String> = (0..20).map(|n| format!("web-{n}")).collect();
        assert_eq!(nearest("web-x", words.iter().map(String::as_str)), ["web-0", "web-1", "web-2"]);
    }

    proptest! {
        #[test]
        fn distance_is_one(a in "[abc]{0,7}", b in "[abc]{0,7}") {
            let (a, b) = (chars(&a), chars(&b));
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert!(distance(&a, &b) >= a.len().abs_diff(b.len()));
            prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
        }
    }
}
