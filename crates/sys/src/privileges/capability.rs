use std::fmt;

use rustix::thread::CapabilitySet as Bits;

/// One of the rights that root's power is divided into: `capabilities(7)`, numbered as in
/// `linux/capability.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Capability(u8);

/// A constant for each capability, and the list of them.
macro_rules! capabilities {
    ($($name:ident = $number:literal,)*) => {
        impl Capability {
            $(
                #[doc = concat!("`CAP_", stringify!($name), "`")]
                pub const $name: Self = Self($number);
            )*

            /// All that are known here, by number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in the manual: `CAP_NET_RAW`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("CAP_", stringify!($name)),)*
                    // The number is private, and only the constants above exist.
                    Self(_) => "CAP_?",
                }
            }
        }
    };
}

capabilities! {
    CHOWN = 0,
    DAC_OVERRIDE = 1,
    DAC_READ_SEARCH = 2,
    FOWNER = 3,
    FSETID = 4,
    KILL = 5,
    SETGID = 6,
    SETUID = 7,
    SETPCAP = 8,
    LINUX_IMMUTABLE = 9,
    NET_BIND_SERVICE = 10,
    NET_BROADCAST = 11,
    NET_ADMIN = 12,
    NET_RAW = 13,
    IPC_LOCK = 14,
    IPC_OWNER = 15,
    SYS_MODULE = 16,
    SYS_RAWIO = 17,
    SYS_CHROOT = 18,
    SYS_PTRACE = 19,
    SYS_PACCT = 20,
    SYS_ADMIN = 21,
    SYS_BOOT = 22,
    SYS_NICE = 23,
    SYS_RESOURCE = 24,
    SYS_TIME = 25,
    SYS_TTY_CONFIG = 26,
    MKNOD = 27,
    LEASE = 28,
    AUDIT_WRITE = 29,
    AUDIT_CONTROL = 30,
    SETFCAP = 31,
    MAC_OVERRIDE = 32,
    MAC_ADMIN = 33,
    SYSLOG = 34,
    WAKE_ALARM = 35,
    BLOCK_SUSPEND = 36,
    AUDIT_READ = 37,
    PERFMON = 38,
    BPF = 39,
    CHECKPOINT_RESTORE = 40,
}

impl Capability {
    const fn bit(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// The set with nothing in it.
    pub const EMPTY: Self = Self(0);

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `capability` is in it.
    #[must_use]
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// Those of `needed` that are not in it.
    #[must_use]
    pub fn missing(self, needed: &[Capability]) -> Self {
        Self(Self::from(needed).0 & !self.0)
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Its members that are known here, by number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |capability| self.contains(*capability))
    }

    /// Its members one by one, as rustix takes them: also those that a newer kernel has.
    pub(super) fn singles(self) -> impl Iterator<Item = Bits> {
        (0..u64::BITS)
            .map(move |number| self.0 & (1 << number))
            .filter(|bit| *bit != 0)
            .map(Bits::from_bits_retain)
    }

    /// Reads the hexadecimal form of /proc/PID/status.
    pub(super) fn from_hexadecimal(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }

    pub(super) fn from_bits(bits: Bits) -> Self {
        Self(bits.bits())
    }

    pub(super) fn bits(self) -> Bits {
        Bits::from_bits_retain(self.0)
    }

    /// What is not in it.
    pub(super) fn complement(self) -> Self {
        Self(!self.0)
    }
}

impl From<&[Capability]> for CapabilitySet {
    fn from(capabilities: &[Capability]) -> Self {
        Self(capabilities.iter().fold(0, |bits, capability| bits | capability.bit()))
    }
}

/// `CAP_NET_RAW, CAP_SYS_ADMIN`, or `none`.
impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut comma = "";
        for capability in self.iter() {
            write!(f, "{comma}{capability}")?;
            comma = ", ";
        }
        let unknown = self.and(Self::from(Capability::ALL).complement());
        if !unknown.is_empty() {
            write!(f, "{comma}{:#x}", unknown.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_kernel() {
        for (capability, bits) in Capability::ALL.iter().zip(Bits::all().iter()) {
            assert_eq!(CapabilitySet::from([*capability].as_slice()).bits(), bits);
        }
        for (bits_name, bits) in Bits::all().iter_names() {
            let set = CapabilitySet::from_bits(bits);
            assert_eq!(set.to_string(), format!("CAP_{bits_name}"));
        }
        assert_eq!(Bits::CHECKPOINT_RESTORE.bits(), Capability::CHECKPOINT_RESTORE.bit());
        assert_eq!(Capability::ALL.len(), 41);
    }

    #[test]
    fn a_set_names_what_is_missing() {
        let set = CapabilitySet::from_hexadecimal("0000000000002000").unwrap();
        assert!(set.contains(Capability::NET_RAW));
        let missing = set.missing(&[Capability::SYS_ADMIN, Capability::NET_RAW, Capability::KILL]);
        assert_eq!(missing.to_string(), "CAP_KILL, CAP_SYS_ADMIN");
        assert_eq!(CapabilitySet::EMPTY.to_string(), "none");
        let newer = CapabilitySet::from_hexadecimal("8000000000002000").unwrap();
        assert_eq!(newer.to_string(), "CAP_NET_RAW, 0x8000000000000000");
        assert_eq!(CapabilitySet::from_hexadecimal("xyz"), None);
    }
}
