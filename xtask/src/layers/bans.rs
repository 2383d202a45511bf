//! Which crate may ask for which package from outside.
//!
//! Each of these packages is a door: to the kernel, to the engine, to an async runtime, to the
//! terminal. A door belongs to one room, so that a change of its interface, or a mistake in its
//! use, has one place.

/// A package, or a family of packages, and the crates that may ask for it.
#[derive(Debug)]
pub(crate) struct Ban {
    /// Name of the package; with a `*` at its end, every package whose name begins like that.
    pub(crate) package: &'static str,
    /// The crates that may, by folder.
    pub(crate) only: &'static [&'static str],
    /// Why nobody else may.
    pub(crate) why: &'static str,
}

const SYS: &[&str] = &["sys"];
const SYS_AND_LAB: &[&str] = &["sys", "lab"];
const ASYNC: &[&str] = &["docker", "session", "cli"];
const COMMANDS: &[&str] = &["cli", "xtask"];

/// The rules. A test dependency is judged like any other: a test that goes around `sys` shows
/// that `sys` lacks something.
pub(crate) const BANS: &[Ban] = &[
    Ban { package: "bollard*", only: &["docker"], why: "docker wraps the engine's API" },
    Ban { package: "libc", only: SYS, why: "sys is the only crate that calls the kernel" },
    Ban { package: "nix", only: &["lab"], why: "rustix covers what sys needs" },
    Ban {
        package: "rustix",
        only: SYS_AND_LAB,
        why: "sys is the only crate that calls the kernel",
    },
    Ban { package: "netlink-*", only: SYS, why: "majors move often, sys wraps them" },
    Ban { package: "rtnetlink", only: &[], why: "it needs tokio, which sys does not have" },
    Ban { package: "landlock", only: SYS, why: "privileges are given up in one place" },
    Ban { package: "caps", only: SYS, why: "privileges are given up in one place" },
    Ban { package: "pcap", only: &["filter"], why: "filter wraps libpcap, and only its compiler" },
    Ban {
        package: "zstd*",
        only: &["capture"],
        why: "files are compressed where they are written",
    },
    Ban { package: "lz4_flex", only: &["wire"], why: "frames are packed for their way in wire" },
    Ban { package: "rustls*", only: &["docker"], why: "docker speaks to engines" },
    Ban { package: "hyper*", only: &["docker"], why: "docker speaks to engines" },
    Ban { package: "tokio*", only: ASYNC, why: "frames travel on plain threads" },
    Ban { package: "clap*", only: COMMANDS, why: "libraries know no flags" },
    Ban { package: "anyhow", only: COMMANDS, why: "libraries have an error type each" },
];

impl Ban {
    /// Whether it speaks about this package.
    pub(crate) fn covers(&self, package: &str) -> bool {
        match self.package.strip_suffix('*') {
            Some(prefix) => package.starts_with(prefix),
            None => package == self.package,
        }
    }

    /// Whether it forbids the package to a crate.
    pub(crate) fn forbids(&self, package: &str, member: &str) -> bool {
        self.covers(package) && !self.only.contains(&member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(package: &str, member: &str) -> bool {
        BANS.iter().any(|ban| ban.forbids(package, member))
    }

    #[test]
    fn doors_belong_to_rooms() {
        for (package, member) in [
            ("bollard", "docker"),
            ("libc", "sys"),
            ("rustix", "sys"),
            ("rustix", "lab"),
            ("nix", "lab"),
            ("netlink-packet-route", "sys"),
            ("landlock", "sys"),
            ("caps", "sys"),
            ("pcap", "filter"),
            ("lz4_flex", "wire"),
            ("rustls", "docker"),
            ("tokio", "docker"),
            ("tokio", "session"),
            ("tokio", "cli"),
            ("clap_complete", "cli"),
            ("anyhow", "xtask"),
            ("thiserror", "model"),
            ("pcap-parser", "pcapng"),
        ] {
            assert!(!forbidden(package, member), "{member} should have {package}");
        }
        for (package, member) in [
            ("bollard", "session"),
            ("bollard-stubs", "cli"),
            ("libc", "filter"),
            ("libc", "lab"),
            ("rustix", "opener"),
            ("nix", "sys"),
            ("netlink-sys", "opener"),
            ("rtnetlink", "sys"),
            ("landlock", "cli"),
            ("caps", "opener"),
            ("pcap", "capture"),
            ("tokio", "opener"),
            ("tokio", "capture"),
            ("tokio-util", "sys"),
            ("clap", "session"),
            ("anyhow", "docker"),
        ] {
            assert!(forbidden(package, member), "{member} should not have {package}");
        }
    }
}
