//! Where sessions listen.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use sys::{
    local::{self, Reached},
    privileges::User,
};

/// Where directories of users without a runtime directory are: only root writes there.
const RUN: &str = "/run";
/// Where systemd has users' runtime directories.
const RUN_USER: &str = "/run/user";
/// Name of the directory, and the beginning of its name where it is not in the user's own.
const NAME: &str = "whaletap";
/// Behind the number of the process.
const SUFFIX: &str = "sock";
/// Only for its owner.
const PRIVATE: u32 = 0o700;

/// The directory in which a session of this user listens. `runtime` is `XDG_RUNTIME_DIR`, which is
/// believed where it is this user's: under `sudo -E` root has somebody else's.
///
/// Source: XDG Base Directory Specification 0.8, "The directory MUST be owned by the user".
pub(super) fn of_session(runtime: Option<&Path>, uid: u32) -> PathBuf {
    let is_theirs = |path: &&Path| {
        path.is_absolute()
            && path.metadata().is_ok_and(|found| found.is_dir() && found.uid() == uid)
    };
    match runtime.filter(is_theirs) {
        Some(runtime) => runtime.join(NAME),
        None => Path::new(RUN).join(format!("{NAME}-{uid}")),
    }
}

/// Whether only root can say what is under this name, so that it can be made for somebody else.
pub(super) fn is_roots(directory: &Path) -> bool {
    directory.parent() == Some(Path::new(RUN))
}

/// The directories in which sessions may listen that this user can ask: root sees everybody's.
pub(super) fn all(runtime: Option<&Path>, uid: u32) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = runtime.iter().map(|runtime| runtime.join(NAME)).collect();
    if uid == 0 {
        let prefix = format!("{NAME}-");
        let is_ours = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(&prefix));
        found.extend(entries(RUN).filter(|path| path.file_name().is_some_and(is_ours)));
        found.extend(entries(RUN_USER).map(|path| path.join(NAME)));
    } else {
        found.push(Path::new(RUN).join(format!("{NAME}-{uid}")));
        found.push(Path::new(RUN_USER).join(uid.to_string()).join(NAME));
    }
    found.sort();
    found.dedup();
    found
}

fn entries(directory: impl AsRef<Path>) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// Makes a directory that is this user's alone, or sees that it is one.
pub(super) fn make(directory: &Path, uid: u32, owner: Option<&User>) -> io::Result<()> {
    match DirBuilder::new().mode(PRIVATE).create(directory) {
        Ok(()) => {
            if let Some(owner) = owner {
                lchown(directory, Some(owner.uid), Some(owner.gid))?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != uid {
        return Err(io::Error::other(format!("it is no directory of user {uid}")));
    }
    if found.mode() & 0o777 != PRIVATE {
        fs::set_permissions(directory, Permissions::from_mode(PRIVATE))?;
    }
    Ok(())
}

/// The name of a session's socket.
pub(super) fn socket(directory: &Path, pid: u32) -> PathBuf {
    directory.join(format!("{pid}.{SUFFIX}"))
}

/// The sockets in a directory, with their processes.
pub(super) fn sockets(directory: &Path) -> Vec<(u32, PathBuf)> {
    let found = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = found
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .filter_map(|entry| {
            let path = entry.path();
            let is_ours = path.extension() == Some(OsStr::new(SUFFIX));
            let pid = path.file_stem()?.to_str()?.parse().ok()?;
            is_ours.then_some((pid, path))
        })
        .collect();
    found.sort();
    found
}

/// Removes what sessions have left that could not end in good order.
pub(super) fn sweep(directory: &Path) {
    for (pid, path) in sockets(directory) {
        if matches!(local::connect(&path), Ok(Reached::Nobody)) {
            sweep_one(pid, &path);
        }
    }
}

/// Removes a socket at which nobody listens. A process that is there may be about to.
pub(super) fn sweep_one(pid: u32, path: &Path) {
    let uid = sys::privileges::own_uid();
    let is_safe = |directory: &Path| {
        // Root does not go where another user could lead it to.
        let of = |path: &Path| fs::symlink_metadata(path).map(|found| found.uid());
        of(directory).ok() == Some(uid) || is_roots(directory)
    };
    if !Path::new("/proc").join(pid.to_string()).exists() && path.parent().is_some_and(is_safe) {
        // Somebody else may have been quicker.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_directory_is_believed_when_it_is_the_users() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(of_session(Some(path), 0), path.join("whaletap"), "tests run as root");
        let own = Path::new("/run/whaletap-1234");
        assert_eq!(of_session(Some(path), 1234), own, "somebody else's");
        assert_eq!(of_session(Some(Path::new("relative")), 1234), own);
        assert_eq!(of_session(Some(&path.join("missing")), 1234), own);
        assert_eq!(of_session(None, 1234), own);
    }

    #[test]
    fn directories_are_their_users_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("x");
        let user = User { uid: 1234, gid: 1235, groups: Vec::new() };
        make(&path, 1234, Some(&user)).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (1234, 1235, 0o700));
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        make(&path, 1234, Some(&user)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        make(&path, 0, None).unwrap_err();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        make(&link, 1234, Some(&user)).unwrap_err();
    }

    #[test]
    fn what_nobody_listens_at_any_more_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        // Beyond every process id that Linux gives.
        let (gone, alive) = (socket(path, u32::MAX), socket(path, std::process::id()));
        let kept = [path.join("x.sock"), path.join("1.txt")];
        for path in [&gone, &alive, &kept[0]] {
            drop(local::listen(path).unwrap());
        }
        let live = socket(path, u32::MAX - 1);
        let _live = local::listen(&live).unwrap();
        fs::write(&kept[1], "").unwrap();
        sweep(path);
        assert!(!gone.exists());
        assert!(kept.iter().chain([&alive, &live]).all(|path| path.exists()));
        assert_eq!(sockets(path).len(), 2);
    }
}
