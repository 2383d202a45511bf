//! Giving up rights, in the one order that works.
//!
//! Companions are started first: the opener keeps what entering namespaces takes, the runner
//! becomes the user. Then everything is opened that is not a plain file in the output directory,
//! and the expression is compiled where that takes a namespace. Then this process gives up every
//! capability, becomes the user, and can write only beneath the output directories. Threads come
//! last, because each has rights of its own.

use std::path::{Path, PathBuf};

use sys::{
    landlock::{self, Enforced, Mode, Rules},
    machine,
    privileges::{self, Capability, CapabilitySet, SudoUser, User},
};

use crate::{Error, Notice, Observer, Sandbox};

/// What entering namespaces and opening packet sockets takes.
const NEEDED: [Capability; 2] = [Capability::SYS_ADMIN, Capability::NET_RAW];

/// Refuses early where the rights to capture are missing.
pub(crate) fn require(what: &str) -> Result<(), Error> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::NotPermitted { what: what.to_owned(), missing: format!("missing {missing}") })
}

/// The rights to capture that are missing.
pub(crate) fn missing() -> Result<CapabilitySet, Error> {
    Ok(privileges::effective()?.missing(&NEEDED))
}

/// The person behind sudo, if there is one.
pub(crate) fn person() -> Result<Option<(SudoUser, User)>, Error> {
    match privileges::sudo_user() {
        Some(sudo) => {
            let user = sudo.user()?;
            Ok(Some((sudo, user)))
        }
        None => Ok(None),
    }
}

/// Who this process will be: the person, where that person can write into these directories.
pub(crate) fn future_user<'a>(
    person: Option<&'a User>,
    directories: &[PathBuf],
    observer: &mut dyn Observer,
) -> Option<&'a User> {
    if let Some(person) = person
        && let Some(directory) = directories.iter().find(|dir| !machine::could_write(person, dir))
    {
        observer.notice(Notice::StayedRoot { directory: directory.clone(), uid: person.uid });
        return None;
    }
    person
}

/// Becomes `user`, and gives up everything but writing beneath `directories`.
pub(crate) fn give_up(
    user: Option<&User>,
    directories: Vec<PathBuf>,
    sandbox: Sandbox,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let given_up = privileges::give_up(user)?;
    let mode = match sandbox {
        Sandbox::Off => Mode::Off,
        Sandbox::Auto => Mode::Auto,
        Sandbox::Strict => Mode::Strict,
    };
    let enforced = landlock::restrict(&Rules { write_beneath: directories }, mode)?;
    let landlock = match &enforced {
        Enforced::Fully => "writes only beneath the output directory".to_owned(),
        Enforced::Partially { why } => format!("partly: {why}"),
        Enforced::Not { why } => format!("none: {why}"),
    };
    observer.notice(Notice::Unprivileged { uid: given_up.uid, landlock: &landlock });
    Ok(())
}

/// An output directory that is there, as an absolute path.
pub(crate) fn directory(directory: &Path) -> Result<PathBuf, Error> {
    let failed = |source| Error::Output {
        what: "cannot write into directory",
        path: directory.to_owned(),
        source,
    };
    let whole = directory.canonicalize().map_err(failed)?;
    if whole.is_dir() { Ok(whole) } else { Err(failed(std::io::ErrorKind::NotADirectory.into())) }
}
