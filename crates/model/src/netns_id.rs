use std::fmt;

/// The kernel's identity of a network namespace: device and inode number of its nsfs file.
///
/// Two names that lead to the same `NetnsId` are the same network stack, so captures are
/// deduplicated by it. Source: `namespaces(7)`, "The /proc/pid/ns/ directory".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// Device number of the nsfs mount.
    pub dev: u64,
    /// Inode number, as `readlink /proc/PID/ns/net` and `lsns` print it.
    pub ino: u64,
}

impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.ino)
    }
}
