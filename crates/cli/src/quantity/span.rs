use std::time::Duration;

/// The longest time that can be asked for: a hundred years, so that sums with it stay numbers.
const LONGEST: f64 = 100.0 * 365.25 * 86_400.0;

/// A time: plain seconds, or numbers with `ms`, `s`, `m`, `h`, `d` one behind the other: `1m30s`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let expected = "expected seconds, or a time such as 500ms, 30s, 1m30s, 2h; more than 0";
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return seconds(text).map_err(|_| expected.to_owned());
    }
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(expected)?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(expected.to_owned()),
        };
        sum += number.parse::<f64>().map_err(|_| expected)? * factor;
        rest = next;
    }
    duration(sum).ok_or_else(|| expected.to_owned())
}

/// dumpcap's seconds, with decimals.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain
        .then(|| text.parse().ok().and_then(duration))
        .flatten()
        .ok_or_else(|| "expected seconds, more than 0".to_owned())
}

fn duration(seconds: f64) -> Option<Duration> {
    if seconds > LONGEST {
        return None;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero())
}

/// The same, or 0.
pub(crate) fn span_or_none(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { span(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, milliseconds) in [
            ("5s", 5_000),
            ("5", 5_000),
            ("0.5", 500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("1h1ms", 3_600_001),
        ] {
            assert_eq!(span(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0", "0s", "-5s", "5x", "s", "5 s", "1m30", "inf", "nan", "1e9", "1.2.3s"]
        {
            assert!(span(text).is_err(), "{text} was accepted");
        }
        assert!(span("99999999999d").is_err());
    }

    #[test]
    fn seconds_have_decimals_and_no_units() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for text in ["", "0", "5s", "-1", ".", "inf"] {
            assert!(seconds(text).is_err(), "{text} was accepted");
        }
    }
}
