use std::fmt;

use rustix::thread::CapabilitySet as Bits;

/// The capabilities in the order of their numbers, each with its name.
macro_rules! capabilities {
    ($($variant:ident = $name:literal,)*) => {
        /// One of the rights that root's power is divided into: `capabilities(7)`, numbered as in
        /// `linux/capability.h`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Capability {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Capability {
            /// All that are known here, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in the manual: `CAP_NET_RAW`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

capabilities! {
    Chown = "CAP_CHOWN",
    DacOverride = "CAP_DAC_OVERRIDE",
    DacReadSearch = "CAP_DAC_READ_SEARCH",
    Fowner = "CAP_FOWNER",
    Fsetid = "CAP_FSETID",
    Kill = "CAP_KILL",
    Setgid = "CAP_SETGID",
    Setuid = "CAP_SETUID",
    Setpcap = "CAP_SETPCAP",
    LinuxImmutable = "CAP_LINUX_IMMUTABLE",
    NetBindService = "CAP_NET_BIND_SERVICE",
    NetBroadcast = "CAP_NET_BROADCAST",
    NetAdmin = "CAP_NET_ADMIN",
    NetRaw = "CAP_NET_RAW",
    IpcLock = "CAP_IPC_LOCK",
    IpcOwner = "CAP_IPC_OWNER",
    SysModule = "CAP_SYS_MODULE",
    SysRawio = "CAP_SYS_RAWIO",
    SysChroot = "CAP_SYS_CHROOT",
    SysPtrace = "CAP_SYS_PTRACE",
    SysPacct = "CAP_SYS_PACCT",
    SysAdmin = "CAP_SYS_ADMIN",
    SysBoot = "CAP_SYS_BOOT",
    SysNice = "CAP_SYS_NICE",
    SysResource = "CAP_SYS_RESOURCE",
    SysTime = "CAP_SYS_TIME",
    SysTtyConfig = "CAP_SYS_TTY_CONFIG",
    Mknod = "CAP_MKNOD",
    Lease = "CAP_LEASE",
    AuditWrite = "CAP_AUDIT_WRITE",
    AuditControl = "CAP_AUDIT_CONTROL",
    Setfcap = "CAP_SETFCAP",
    MacOverride = "CAP_MAC_OVERRIDE",
    MacAdmin = "CAP_MAC_ADMIN",
    Syslog = "CAP_SYSLOG",
    WakeAlarm = "CAP_WAKE_ALARM",
    BlockSuspend = "CAP_BLOCK_SUSPEND",
    AuditRead = "CAP_AUDIT_READ",
    Perfmon = "CAP_PERFMON",
    Bpf = "CAP_BPF",
    CheckpointRestore = "CAP_CHECKPOINT_RESTORE",
}

impl Capability {
    const fn bit(self) -> u64 {
        1 << self as u8
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
        (0..u64::BITS).map(move |number| self.0 & (1 << number)).filter(|bit| *bit != 0).map(Bits::from_bits_retain)
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
        assert_eq!(Bits::CHECKPOINT_RESTORE.bits(), Capability::CheckpointRestore.bit());
        assert_eq!(Capability::ALL.len(), 41);
    }

    #[test]
    fn a_set_names_what_is_missing() {
        let set = CapabilitySet::from_hexadecimal("0000000000002000").unwrap();
        assert!(set.contains(Capability::NetRaw));
        let missing = set.missing(&[Capability::SysAdmin, Capability::NetRaw, Capability::Kill]);
        assert_eq!(missing.to_string(), "CAP_KILL, CAP_SYS_ADMIN");
        assert_eq!(CapabilitySet::EMPTY.to_string(), "none");
        let newer = CapabilitySet::from_hexadecimal("8000000000002000").unwrap();
        assert_eq!(newer.to_string(), "CAP_NET_RAW, 0x8000000000000000");
        assert_eq!(CapabilitySet::from_hexadecimal("xyz"), None);
    }
}
