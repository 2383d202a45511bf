/// What one unit of an interface's timestamps is (`if_tsresol`).
///
/// Source: draft-ietf-opsawg-pcapng, "Interface Description Block".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resolution(pub u8);

impl Resolution {
    /// 10⁻⁶ seconds: what holds where nothing is said.
    pub const MICROSECONDS: Self = Self(6);
    /// 10⁻⁹ seconds.
    pub const NANOSECONDS: Self = Self(9);

    /// Units in a second: a power of ten, or of two where the highest bit is set. `None` where
    /// it has more than 128 bits, and every timestamp is within the first second.
    #[must_use]
    pub const fn units_per_second(self) -> Option<u128> {
        let exponent = (self.0 & 0x7F) as u32;
        if self.0 & 0x80 == 0 { 10_u128.checked_pow(exponent) } else { Some(1 << exponent) }
    }
}

/// How an interface's timestamps become nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) resolution: Resolution,
    /// Seconds to be added (`if_tsoffset`).
    pub(super) offset: i64,
}

impl Clock {
    const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

    /// Nanoseconds since 1970, rounded down; what is before 1970 or after 2554 becomes the
    /// nearest that can be said.
    pub(super) fn nanoseconds(self, units: u64) -> u64 {
        if self.resolution == Resolution::NANOSECONDS && self.offset == 0 {
            return units;
        }
        // 64 bits of units times 30 of nanoseconds: no overflow in 128.
        let scaled = u128::from(units) * u128::from(Self::NANOSECONDS_PER_SECOND);
        let since = self.resolution.units_per_second().map_or(0, |per_second| scaled / per_second);
        let offset = i128::from(self.offset) * i128::from(Self::NANOSECONDS_PER_SECOND);
        let total = i128::try_from(since).unwrap_or(i128::MAX).saturating_add(offset);
        u64::try_from(total.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Resolution};

    fn nanoseconds(resolution: u8, offset: i64, units: u64) -> u64 {
        Clock { resolution: Resolution(resolution), offset }.nanoseconds(units)
    }

    #[test]
    fn powers_of_ten() {
        assert_eq!(nanoseconds(0, 0, 3), 3_000_000_000);
        assert_eq!(nanoseconds(6, 0, 1_700_000_000_000_001), 1_700_000_000_000_001_000);
        assert_eq!(nanoseconds(9, 0, u64::MAX), u64::MAX);
        assert_eq!(nanoseconds(12, 0, 1_999), 1);
        assert_eq!(nanoseconds(39, 0, u64::MAX), 0);
        assert_eq!(nanoseconds(127, 0, u64::MAX), 0);
    }

    #[test]
    fn powers_of_two() {
        assert_eq!(nanoseconds(0x80, 0, 2), 2_000_000_000);
        assert_eq!(nanoseconds(0x80 | 10, 0, 512), 500_000_000);
        assert_eq!(nanoseconds(0x80 | 64, 0, u64::MAX), 999_999_999);
        assert_eq!(nanoseconds(0xFF, 0, u64::MAX), 0);
    }

    #[test]
    fn offsets_and_the_ends_of_time() {
        assert_eq!(nanoseconds(9, 2, 5), 2_000_000_005);
        assert_eq!(nanoseconds(9, -1, 2_000_000_000), 1_000_000_000);
        assert_eq!(nanoseconds(6, i64::MIN, u64::MAX), 0);
        assert_eq!(nanoseconds(0, i64::MAX, u64::MAX), u64::MAX);
    }
}
