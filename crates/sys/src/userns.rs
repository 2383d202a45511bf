//! User namespaces: whose rights count where.
//!
//! What is in a user namespace takes rights in that namespace, and whoever made it (its owner) has
//! all of them, seen from the one around it. Rootless engines live by that, and so does their owner's
//! way to what they run: `user_namespaces(7)`.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    thread::LinkNameSpaceType,
};

use crate::{Error, privileges, process::PidFd};

/// `ioctl_ns(2)`.
const NS_GET_PARENT: libc::c_ulong = 0xb702;
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;

/// How many user namespaces may lie in one another (`create_user_ns` of `kernel/user_namespace.c`).
const DEEPEST: usize = 33;

/// A user namespace, held open.
#[derive(Debug)]
pub struct UserNs {
    fd: OwnedFd,
    /// Device and inode.
    id: (u64, u64),
}

impl UserNs {
    /// That of the calling process.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn own() -> Result<Self, Error> {
        Self::open("/proc/self/ns/user")
    }

    /// That of a process that is held.
    ///
    /// # Errors
    /// `ESRCH` when it has ended; when it may not be looked at.
    ///
    /// # Privileges
    /// `CAP_SYS_PTRACE` for the processes of other users, but for those in a user namespace that is
    /// the caller's.
    pub fn of(process: &PidFd) -> Result<Self, Error> {
        let found = Self::open(&format!("/proc/{}/ns/user", process.pid()));
        process.require_alive()?;
        found
    }

    fn open(path: &str) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::path("open", path))?;
        Self::from_fd(fd)
    }

    /// Takes a descriptor for a user namespace.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        // SAFETY: the descriptor is open, and this request takes no argument.
        let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
        if kind != libc::CLONE_NEWUSER {
            return Err(Error::Malformed { what: "a descriptor is no user namespace" });
        }
        let stat = rustix::fs::fstat(&fd).map_err(Error::call("fstat(user namespace)"))?;
        Ok(Self { fd, id: (stat.st_dev, stat.st_ino) })
    }

    /// Its identity: device and inode.
    #[must_use]
    pub fn id(&self) -> (u64, u64) {
        self.id
    }

    /// The user who made it, as the calling process numbers users.
    ///
    /// # Errors
    /// When the kernel does not tell.
    ///
    /// # Minimum kernel version
    /// 4.11.
    pub fn owner(&self) -> Result<u32, Error> {
        let mut uid: libc::uid_t = 0;
        // SAFETY: the descriptor is open, and the pointer is valid for writes.
        let done = unsafe { libc::ioctl(self.fd.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
        match done {
            0 => Ok(uid),
            _ => Err(Error::call("ioctl(NS_GET_OWNER_UID)")(io::Error::last_os_error())),
        }
    }

    /// The one around it; `None` where that is none of ours to see.
    ///
    /// # Minimum kernel version
    /// 4.9.
    fn parent(&self) -> Option<Self> {
        // SAFETY: the descriptor is open, and this request takes no argument.
        let fd = unsafe { libc::ioctl(self.fd.as_raw_fd(), NS_GET_PARENT) };
        if fd < 0 {
            return None;
        }
        // SAFETY: the kernel has just made this descriptor for us.
        Self::from_fd(unsafe { OwnedFd::from_raw_fd(fd) }).ok()
    }

    /// Of this one and those around it, the outermost that lies directly in the calling process's:
    /// whose owner has all rights in all of them. `None` where it is the calling process's own, or
    /// lies elsewhere.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn beneath_own(self) -> Result<Option<Self>, Error> {
        let own = Self::own()?;
        let mut inner = self;
        for _ in 0..DEEPEST {
            match inner.parent() {
                Some(outer) if outer.id == own.id => return Ok(Some(inner)),
                Some(outer) => inner = outer,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Moves the calling process into it, where it has all capabilities from then on, and none
    /// outside. Its user stays the same, and is called otherwise in there: mostly 0.
    ///
    /// # Errors
    /// [`Error::StillPrivileged`] when other threads run, because the kernel moves no single one of
    /// several (`setns(2)`); `EPERM` when it is not the caller's.
    ///
    /// # Privileges
    /// To be its owner, and directly outside of it; or `CAP_SYS_ADMIN` in it.
    pub fn join(&self) -> Result<(), Error> {
        privileges::require_single_thread()?;
        rustix::thread::move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::User))
            .map_err(Error::call("setns(CLONE_NEWUSER)"))
    }
}

/// Whether a process numbers users as the calling one does: whether it is in the same user namespace,
/// as far as everybody may see that.
///
/// # Errors
/// `ESRCH` when it has ended; when /proc cannot be read.
pub fn has_our_users(process: &PidFd) -> Result<bool, Error> {
    let map = |path: String| fs::read(&path).map_err(Error::path("read", path));
    let theirs = map(format!("/proc/{}/uid_map", process.pid()));
    process.require_alive()?;
    Ok(theirs? == map("/proc/self/uid_map".to_owned())?)
}

impl AsFd for UserNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn ones_own_is_not_beneath_itself() {
        let own = UserNs::own().unwrap();
        assert!(own.beneath_own().unwrap().is_none());
        let file = std::fs::File::open("/proc/self/ns/net").unwrap();
        assert!(UserNs::from_fd(file.into()).is_err(), "of another kind");
    }

    /// Two in one another, made by this user: the outer one is what leads to both.
    #[test]
    fn the_outermost_of_several_is_found_and_has_an_owner() {
        let script = "exec unshare --user sh -c 'echo; read x'";
        let mut child = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It is inside of both.
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let process = PidFd::open(child.id()).unwrap();
        let inner = UserNs::of(&process).unwrap();
        assert!(!has_our_users(&process).unwrap());
        assert!(has_our_users(&PidFd::open(std::process::id()).unwrap()).unwrap());
        let around = inner.parent().unwrap().id;
        let outer = inner.beneath_own().unwrap().unwrap();
        assert_eq!(outer.id, around);
        assert_eq!(outer.owner().unwrap(), privileges::own_uid());
        let threads = outer.join().unwrap_err();
        assert!(matches!(threads, Error::StillPrivileged { .. }), "a test is a thread: {threads}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(UserNs::of(&process).is_err(), "it has ended");
    }
}
