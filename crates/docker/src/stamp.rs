//! The engine's timestamps.

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// Nanoseconds since the epoch of a time as engines write it, `2024-05-01T10:00:00.123456789Z`, or
/// with `+02:00` for the Z; `None` for anything else, and for times before the epoch: engines call
/// what never was `0001-01-01T00:00:00Z`.
///
/// Source: RFC 3339 section 5.6.
pub(crate) fn read(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at_checked(zone)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(number);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Nine digits are nanoseconds; more say nothing that an engine knows.
    let digits = fraction.get(..9.min(fraction.len()))?;
    let nanos = number(&format!("{digits:0<9}"))?;
    let ranges = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && year <= 9999
        && hour < 24
        && minute < 60
        && second <= 60;
    if !ranges {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = seconds - offset(zone)?;
    u64::try_from(seconds.checked_mul(SECOND)?.checked_add(nanos)?).ok()
}

/// Digits only: a sign is none.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return (zone.len() == 1).then_some(0),
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (number(hours)? % 24 * 3600 + number(minutes)? % 60 * 60))
}

/// Days since the epoch. The year begins in March here, so that the day that comes and goes is its
/// last, and eras of 400 years are all alike.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    // Lengths of the months from March on: 31 30 31 30 31, 31 30 31 30 31, 31.
    let day = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are `date -d TEXT +%s%N`'s.
    #[test]
    fn times_are_read_as_date_reads_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T23:59:59.5Z", 1_709_251_199_500_000_000),
            ("2024-03-01T00:00:00.000000001Z", 1_709_251_200_000_000_001),
            ("2000-12-31T23:59:59.999999999Z", 978_307_199_999_999_999),
            ("2026-11-23T20:09:19.25+01:30", 1_795_459_159_250_000_000),
            ("2026-11-23T14:39:19.25-04:00", 1_795_459_159_250_000_000),
            ("2100-03-01T00:00:00.1234567899Z", 4_107_542_400_123_456_789),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "0001-01-01T00:00:00Z",
            "2024-02-29",
            "2024-02-29T10:00:00",
            "2024-02-29T10:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00.Zé",
            "2024-01-01T00:00:00.ééééééZ",
            "2024-01-01T00:00:00+1",
            "-2024-01-01T00:00:00Z",
            "99999999999999999999-01-01T00:00:00Z",
            "2024-01-01T00:00:00.-1Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
