/// `1 packet`, `2 packets`.
pub(crate) fn count_of(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// An amount of bytes in decimal units, with three digits or so: `999 B`, `1.2 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, so that no floating point is needed.
    let mut tenths = bytes / 100;
    let mut unit = 0;
    while tenths >= 10_000 {
        tenths /= 1000;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or("EB");
    if tenths < 1000 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (amount, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1234, "1.2 kB"),
            (99_999, "99.9 kB"),
            (123_456, "123 kB"),
            (999_999, "999 kB"),
            (1_000_000, "1.0 MB"),
            (64 << 20, "67.1 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
        assert_eq!(count_of(1, "packet"), "1 packet");
        assert_eq!(count_of(0, "packet"), "0 packets");
    }
}
