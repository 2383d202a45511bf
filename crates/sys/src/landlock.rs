//! Landlock: from now on this process writes only where it said it would.
//!
//! Only writing is handled: creating, changing, truncating, renaming, removing, and device
//! controls. Reading and executing stay as they were, so do the network, signals and sockets: a
//! scope on abstract sockets or signals would cut the engine's and the companions' connections.
//! Descriptors that are already open are not touched.
//!
//! One thing more is lost, to every process under Landlock: looking into processes outside it with
//! ptrace's rights (/proc/PID/ns, /proc/PID/root, /proc/PID/fd). That is the opener's work.
//!
//! Source: `landlock(7)`, and the kernel's `Documentation/userspace-api/landlock.rst`.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use rustix::fs::{FileType, Mode as FileMode, OFlags};

use crate::{Error, privileges::require_single_thread};

/// The version whose rights to write are handled. The next one that adds any (9) adds connecting
/// to a unix socket by its path, which is not writing a file.
const HANDLED: ABI = ABI::V5;

/// Devices that anybody may write to at any time.
const DEVICES: [&str; 2] = ["/dev/null", "/dev/tty"];

/// Where this process may write from now on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Directories beneath which files may be created, written, truncated, renamed and removed.
    pub write_beneath: Vec<PathBuf>,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As much as this kernel has.
    Auto,
    /// All of it, or an error.
    Strict,
    /// None of it.
    Off,
}

/// What the kernel enforces now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforced {
    /// Everything that was asked for.
    Fully,
    /// A part of it.
    Partially {
        /// What is missing, and why.
        why: String,
    },
    /// Nothing.
    Not {
        /// Why.
        why: String,
    },
}

/// Restricts this process, for good, and with it every thread and process that it starts later.
/// Sets `no_new_privs`, which the kernel demands.
///
/// # Errors
/// [`Error::NotEnforced`] in strict mode when the kernel enforces less than everything;
/// [`Error::Path`] when a directory cannot be opened; [`Error::StillPrivileged`] when several
/// threads run, as only the calling one would be restricted.
///
/// # Minimum kernel version
/// 5.13 for anything, 6.10 for everything.
pub fn restrict(rules: &Rules, mode: Mode) -> Result<Enforced, Error> {
    if mode == Mode::Off {
        return Ok(Enforced::Not { why: "it is switched off".to_owned() });
    }
    require_single_thread()?;
    // A directory that is not there is the caller's mistake, whatever the kernel can do.
    let mut places = Vec::new();
    for path in &rules.write_beneath {
        places.push(Place::open(path)?);
    }
    for device in DEVICES {
        // A bare container may be without them; then there is nothing to allow.
        places.extend(Place::open(Path::new(device)).ok());
    }
    let enforced = enforce(places)
        .unwrap_or_else(|error| Enforced::Not { why: innermost(&error).to_string() });
    match (&enforced, mode) {
        (Enforced::Partially { why } | Enforced::Not { why }, Mode::Strict) => {
            Err(Error::NotEnforced { why: why.clone() })
        }
        _ => Ok(enforced),
    }
}

/// A file hierarchy, and what may be done in it.
#[derive(Debug)]
struct Place {
    fd: OwnedFd,
    allowed: BitFlags<AccessFs>,
}

impl Place {
    fn open(path: &Path) -> Result<Self, Error> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, FileMode::empty())
            .map_err(Error::path("open", path))?;
        let stat = rustix::fs::fstat(&fd).map_err(Error::path("fstat", path))?;
        let writing = AccessFs::from_write(HANDLED);
        let allowed = match FileType::from_raw_mode(stat.st_mode) {
            // No device nodes: a process without capabilities cannot make them anyway.
            FileType::Directory => {
                writing & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
            }
            _ => writing & AccessFs::from_file(HANDLED),
        };
        Ok(Self { fd, allowed })
    }
}

fn enforce(places: Vec<Place>) -> Result<Enforced, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(HANDLED))?
        .create()?;
    for place in places {
        ruleset = ruleset.add_rule(PathBeneath::new(place.fd, place.allowed))?;
    }
    let status = ruleset.restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partially { why: why_less(status.landlock) },
        RulesetStatus::NotEnforced => Enforced::Not { why: why_less(status.landlock) },
    })
}

/// Why a kernel enforces less than was asked for.
fn why_less(kernel: LandlockStatus) -> String {
    match kernel {
        LandlockStatus::NotImplemented => "this kernel is built without it".to_owned(),
        LandlockStatus::NotEnabled => {
            "it is not enabled (see the kernel's lsm= parameter)".to_owned()
        }
        LandlockStatus::Available { effective_abi, .. } => {
            let missing = AccessFs::from_write(HANDLED) & !AccessFs::from_write(effective_abi);
            let missing: Vec<_> = missing.iter().map(|access| format!("{access:?}")).collect();
            format!("its version {} does not know {}", effective_abi as i32, missing.join(", "))
        }
    }
}

/// The kernel's own answer, beneath the layers of words around it.
fn innermost(error: &RulesetError) -> &dyn std::error::Error {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
        if source.is::<io::Error>() {
            break;
        }
    }
    innermost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_versions_say_what_they_lack() {
        let available =
            |effective_abi| LandlockStatus::Available { effective_abi, kernel_abi: None };
        let why = why_less(available(ABI::V2));
        assert_eq!(why, "its version 2 does not know Truncate, IoctlDev");
        assert!(why_less(LandlockStatus::NotEnabled).contains("not enabled"));
    }

    #[test]
    fn connecting_to_the_engine_is_not_handled() {
        assert!(!AccessFs::from_write(HANDLED).contains(AccessFs::ResolveUnix));
    }

    #[test]
    fn with_other_threads_running_nothing_is_restricted() {
        let rules = Rules { write_beneath: vec![PathBuf::from("/")] };
        let refused = restrict(&rules, Mode::Auto);
        assert!(matches!(refused, Err(Error::StillPrivileged { .. })), "{refused:?}");
        assert!(matches!(restrict(&rules, Mode::Off), Ok(Enforced::Not { .. })));
    }
}
