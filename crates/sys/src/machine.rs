//! What this machine says of itself.

use std::{fs, path::Path};

use rustix::{
    fs::{Access, AtFlags},
    rand::GetRandomFlags,
};

use crate::{Error, privileges::User};

/// Another one after each start of the machine (`proc_sys_kernel(5)`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The host's name, as `hostname` prints it.
#[must_use]
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Name and release of the kernel: `Linux 6.18.1`.
#[must_use]
pub fn kernel() -> String {
    let uname = rustix::system::uname();
    format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy())
}

/// The kernel's release: `6.18.1`, as `uname -r` prints it.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The architecture: `x86_64`, as `uname -m` prints it.
#[must_use]
pub fn architecture() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

/// A number that nobody can guess (`getrandom(2)`).
///
/// # Errors
/// When the kernel has no such call.
pub fn random() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    // Up to 256 bytes come whole.
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(Error::call("getrandom"))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The id of this boot (`/proc/sys/kernel/random/boot_id`).
///
/// # Errors
/// When /proc is not mounted.
pub fn boot_id() -> Result<String, Error> {
    let read = fs::read_to_string(BOOT_ID).map_err(Error::path("read", BOOT_ID))?;
    Ok(read.trim().to_owned())
}

/// Major and minor version of the kernel, where its release begins with them.
#[must_use]
pub fn kernel_version() -> Option<(u32, u32)> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The processor's name, or the architecture where /proc does not tell.
#[must_use]
pub fn processor() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    named.unwrap_or_else(|| rustix::system::uname().machine().to_string_lossy().into_owned())
}

/// Whether a user could create files in a directory. Asks the kernel, on a thread that becomes
/// that user for the question and ends with it.
///
/// # Privileges
/// `CAP_SETUID` and `CAP_SETGID`; without them the answer is no.
#[must_use]
pub fn could_write(user: &User, directory: &Path) -> bool {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let (uid, gid) = (rustix::fs::Uid::from_raw(user.uid), rustix::fs::Gid::from_raw(user.gid));
    let groups: Vec<_> = user.groups.iter().map(|id| rustix::fs::Gid::from_raw(*id)).collect();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            set_thread_groups(&groups).is_ok()
                && set_thread_res_gid(gid, gid, gid).is_ok()
                && set_thread_res_uid(uid, uid, uid).is_ok()
                && rustix::fs::accessat(
                    rustix::fs::CWD,
                    directory,
                    Access::WRITE_OK | Access::EXEC_OK,
                    AtFlags::empty(),
                )
                .is_ok()
        });
        asked.join().unwrap_or(false)
    })
}

/// Sees whether this process can create files in a directory, with the rights that it has now.
///
/// # Errors
/// Why it cannot.
pub fn require_writable(directory: &Path) -> std::io::Result<()> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(rustix::fs::CWD, directory, access, AtFlags::EACCESS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_writes_only_where_it_may() {
        let nobody = User { uid: 65_534, gid: 65_534, groups: Vec::new() };
        assert!(could_write(&nobody, Path::new("/tmp")));
        assert!(!could_write(&nobody, Path::new("/root")));
        assert!(rustix::process::getuid().is_root(), "the asking thread alone became another user");
    }
}
