use model::NetnsId;

use crate::{
    Error, PROTOCOL,
    field::{Field, Reader, fields_of},
};

/// How a side begins: who it is.
///
/// Its first two fields are the same in all versions, so that versions that differ can say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// What was built: release, and commit where that is known. Both sides' must be the same.
    pub build: String,
    /// Where it runs: of the far side only.
    pub host: Option<Host>,
}

/// Where a far side runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its host name.
    pub name: String,
    /// Its kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Its architecture, as `uname -m` prints it.
    pub architecture: String,
    /// The id of this boot of it (`/proc/sys/kernel/random/boot_id`): the same as the client's where
    /// both are one machine.
    pub boot: String,
    /// The network namespace that the far side itself is in.
    pub netns: NetnsId,
    /// How many processors it has.
    pub processors: u32,
}

fields_of! {
    Host {
        name: String,
        kernel: String,
        architecture: String,
        boot: String,
        netns: NetnsId,
        processors: u32,
    }
    Hello { protocol: u32, build: String, host: Option<Host> }
}

impl Hello {
    /// That of this version.
    #[must_use]
    pub fn new(build: impl Into<String>, host: Option<Host>) -> Self {
        Self { protocol: PROTOCOL, build: build.into(), host }
    }

    /// As a message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        bytes
    }

    /// Reads that of the other side, which must be of the same version as the build `ours`.
    ///
    /// # Errors
    ///
    /// [`Error::Version`], and [`Error::Malformed`].
    pub fn read(bytes: &[u8], ours: &str) -> Result<Self, Error> {
        let malformed = Error::Malformed { what: "a greeting" };
        let mut reader = Reader::new(bytes);
        let (Some(protocol), Some(build)) = (u32::take(&mut reader), String::take(&mut reader))
        else {
            return Err(malformed);
        };
        if protocol != PROTOCOL || build != ours {
            return Err(Error::Version {
                theirs: build.chars().take(MAX_BUILD).collect(),
                their_protocol: protocol,
                ours: ours.to_owned(),
                our_protocol: PROTOCOL,
            });
        }
        Reader::whole(bytes).ok_or(malformed)
    }
}

/// The most of another side's build that is told, in characters.
const MAX_BUILD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_differ_are_told_whatever_follows() {
        let mut bytes = Vec::new();
        (PROTOCOL + 1).put(&mut bytes);
        "9.0".to_owned().put(&mut bytes);
        bytes.extend_from_slice(b"fields that nobody knows");
        let error = Hello::read(&bytes, "0.1").unwrap_err();
        let text = error.to_string();
        let protocols = [("9.0", PROTOCOL + 1), ("0.1", PROTOCOL)];
        for (build, protocol) in protocols {
            assert!(text.contains(&format!("is {build} (protocol {protocol})")), "{text}");
        }
        let other = Hello::new("0.2", None).to_bytes();
        assert!(matches!(Hello::read(&other, "0.1"), Err(Error::Version { .. })));
        assert_eq!(Hello::read(&other, "0.2"), Ok(Hello::new("0.2", None)));
        for length in 0..other.len() {
            let error = Hello::read(&other[..length], "0.2").unwrap_err();
            assert_eq!(error, Error::Malformed { what: "a greeting" });
        }
    }
}
