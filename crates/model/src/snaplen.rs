/// How many bytes of each frame are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snaplen(u32);

impl Snaplen {
    /// The default, and the most that readers accept: 262 144 bytes, as in tcpdump and Wireshark.
    pub const MAX: Self = Self(262_144);

    /// A snaplen of `bytes`; `None` above [`Snaplen::MAX`]. 0 means the default, as in tcpdump.
    #[must_use]
    pub fn new(bytes: u32) -> Option<Self> {
        match bytes {
            0 => Some(Self::MAX),
            1..=262_144 => Some(Self(bytes)),
            _ => None,
        }
    }

    /// The number of bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for Snaplen {
    fn default() -> Self {
        Self::MAX
    }
}
