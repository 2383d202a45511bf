use std::io;

use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::User;
use crate::Error;

/// Does something with another user's rights and none of ours, on a thread that becomes that user
/// and ends with it: files that it makes are the user's, and where it is led by the user's own
/// links, it can do no more there than the user could.
///
/// # Errors
/// When the thread cannot become that user, or ends in a panic.
///
/// # Privileges
/// `CAP_SETUID` and `CAP_SETGID`.
pub fn on_behalf<T: Send>(user: &User, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<_> = user.groups.iter().map(|id| Gid::from_raw(*id)).collect();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_thread_groups(&groups).map_err(Error::call("setgroups"))?;
            set_thread_res_gid(gid, gid, gid).map_err(Error::call("setresgid"))?;
            // With the last of root's ids the capabilities of the thread go.
            set_thread_res_uid(uid, uid, uid).map_err(Error::call("setresuid"))?;
            Ok(work())
        });
        let died = || io::Error::other("the thread ended in a panic");
        thread.join().unwrap_or_else(|_| Err(Error::Call { call: "clone", source: died() }))
    })
}

/// The user that this process acts as.
#[must_use]
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn what_is_done_for_another_user_is_theirs_and_only_that() {
        let directory = tempfile::tempdir().unwrap();
        let (open, closed) = (directory.path().join("open"), directory.path().join("closed"));
        for path in [&open, &closed] {
            fs::create_dir(path).unwrap();
        }
        let nobody = User { uid: 65_534, gid: 65_534, groups: Vec::new() };
        std::os::unix::fs::chown(&open, Some(nobody.uid), None).unwrap();
        let world = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), world).unwrap();
        on_behalf(&nobody, || fs::write(open.join("x"), "")).unwrap().unwrap();
        assert_eq!(fs::metadata(open.join("x")).unwrap().uid(), nobody.uid);
        on_behalf(&nobody, || fs::write(closed.join("x"), "")).unwrap().unwrap_err();
        assert_eq!(own_uid(), 0, "the asking thread alone became another user");
    }
}
