//! Where in an expression an error lies. libpcap does not say, so it is asked again, with parts.

use model::Snaplen;

use super::{
    libpcap::{Handle, Refusal},
    token::Token,
};

/// A number that does not fit in 32 bits. libpcap's scanner refuses it with a message that quotes
/// it, as soon as it is read: it shows how far the parser came.
const MARK: &str = "9876543210987";

/// The byte offset of the word that libpcap stumbled over; the end of the text when something is
/// missing there; `None` when the message is about the expression as a whole.
///
/// Parts are compiled that begin as the expression does, so libpcap resolves no name that it has
/// not resolved before.
pub(crate) fn find(handle: &Handle, text: &str, tokens: &[Token], message: &str) -> Option<usize> {
    let stumbles = |count: usize| {
        let end = tokens.get(count.wrapping_sub(1)).map_or(0, |token| token.0.end);
        let part = format!("{} {MARK}", &text[..end]);
        match handle.compile(&part, Snaplen::MAX) {
            Err(Refusal(words)) => !words.contains(MARK),
            Ok(_) => true,
        }
    };
    // The shortest beginning on which the parser stops before it reads the mark.
    let (mut short, mut long) = (0, tokens.len() + 1);
    while long - short > 1 {
        let middle = short + (long - short) / 2;
        if stumbles(middle) { long = middle } else { short = middle }
    }
    let stumbled = long.checked_sub(1).and_then(|index| tokens.get(index));

    if message.contains("syntax error") {
        return Some(stumbled.map_or(text.trim_end().len(), |token| token.0.start));
    }
    // The parser may have read one word further before it understood the one that it complains of.
    let read = &tokens[..long.min(tokens.len())];
    quoted(text, read, message).or(stumbled).map(|token| token.0.start)
}

/// The last word among `tokens` that the message names: in quotes first, or as a number or a name
/// with a digit in it (`illegal port number 70000 > 65535`), or behind a colon.
fn quoted<'a>(text: &str, tokens: &'a [Token], message: &str) -> Option<&'a Token> {
    let word_of = |token: &Token| token.text(text).trim_start_matches('\\').to_owned();
    let named = |word: &str| tokens.iter().rfind(|token| word_of(token) == word);
    let words = |part: &str| -> Vec<String> {
        part.split([' ', '/', '\'', '"']).map(str::to_owned).collect()
    };
    let in_quotes = message.split(['\'', '"']).skip(1).step_by(2).flat_map(words);
    let with_digit =
        words(message).into_iter().filter(|word| word.contains(|c: char| c.is_ascii_digit()));
    let behind_colon = message.rsplit_once(": ").map(|(_, word)| word.to_owned());
    in_quotes.chain(with_digit).chain(behind_colon).find_map(|word| named(&word))
}
