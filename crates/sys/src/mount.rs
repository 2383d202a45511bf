//! Other files in a program's view: a mount namespace of one's own in which some files are
//! replaced, and the files of another process's root to replace them with.
//!
//! What replaces a file lives in memory (a tmpfs), is visible in the private namespace only, and
//! ends with the last process in it. On the disk nothing is created or changed.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    marker::PhantomData,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        CWD, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, fstatfs, open, openat, openat2,
    },
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
        OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
        mount_change, move_mount, open_tree, unmount,
    },
    thread::UnshareFlags,
};

use crate::{
    Error,
    netns::{NSFS_MAGIC, Netns},
    process::PidFd,
};

/// The calling thread's mounts.
const MOUNTS: &str = "/proc/thread-self/mountinfo";

/// How often a look-up in another process's root is begun anew when files moved meanwhile.
const OPEN_ATTEMPTS: u32 = 128;

/// What a replaced file is called in its tmpfs.
const REPLACEMENT: &str = "file";

/// A mount namespace that only the calling thread, and what it becomes or starts, is in.
///
/// It cannot be sent to another thread, which would be in another namespace.
#[derive(Debug)]
pub struct PrivateMounts {
    here: PhantomData<*const ()>,
}

impl PrivateMounts {
    /// Gives the calling thread a copy of its mount namespace. What is mounted in it never appears
    /// on the host. What is mounted on the host later, or is unmounted there, follows in it where
    /// the host shares its mounts, as systemd sees to.
    ///
    /// Where the host does not, a copy would keep alive whatever the host unmounts. For namespaces
    /// that is not acceptable: those that are mounted on files (`/run/docker/netns/…`) and would not
    /// follow are unmounted in the copy. `ip netns` shares its own directory.
    ///
    /// There is no way back: for a thread, or a process of one thread, that is about to become
    /// another program or to end.
    ///
    /// # Errors
    /// When the kernel refuses.
    ///
    /// # Privileges
    /// `CAP_SYS_ADMIN`.
    pub fn enter() -> Result<Self, Error> {
        // SAFETY: the calling thread's view of the file system changes, and no memory or
        // descriptor: CLONE_FILES is not asked for.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
            .map_err(Error::call("unshare(CLONE_NEWNS)"))?;
        let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", flags).map_err(Error::path("mount(MS_SLAVE)", "/"))?;
        let mounts = fs::read(MOUNTS).map_err(Error::path("read", MOUNTS))?;
        for path in mounts.split(|byte| *byte == b'\n').filter_map(namespace_left_behind) {
            let_go(&path);
        }
        Ok(Self { here: PhantomData })
    }

    /// Lets `path` have these contents, for everybody to read and for its owner, who is this
    /// process's user, to write. Answers whether there was something to replace: where there is
    /// no file, none can be put.
    ///
    /// A symbolic link is followed; one that leads nowhere is itself replaced.
    ///
    /// # Errors
    /// When the kernel refuses.
    ///
    /// # Privileges
    /// `CAP_SYS_ADMIN`.
    ///
    /// # Minimum kernel version
    /// 5.2.
    pub fn replace(&self, path: &Path, contents: &[u8]) -> Result<bool, Error> {
        let Some(target) = target(path)? else { return Ok(false) };
        let tmpfs = tmpfs()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&tmpfs, REPLACEMENT, flags, Mode::empty())
            .map_err(Error::call("open(tmpfs)"))?;
        // Not by the mode of open: that is under the user's umask.
        fchmod(&file, Mode::from_raw_mode(0o644)).map_err(Error::call("fchmod(tmpfs)"))?;
        File::from(file).write_all(contents).map_err(Error::call("write(tmpfs)"))?;
        let file = only_file(&tmpfs)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&file, "", &target, "", flags).map_err(Error::path("move_mount", path))?;
        Ok(true)
    }
}

/// Where a namespace is mounted that does not follow the host, by its line of mountinfo
/// (`proc_pid_mountinfo(5)`).
fn namespace_left_behind(line: &[u8]) -> Option<PathBuf> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = fields.nth(4)?;
    // Behind the mount's options, and up to a dash, stand its relations to others.
    let follows = fields.by_ref().take_while(|f| *f != b"-").any(|f| f.starts_with(b"master:"));
    let is_namespace = fields.next()? == b"nsfs";
    (is_namespace && !follows).then(|| PathBuf::from(OsString::from_vec(unescaped(path))))
}

/// Blanks, tabs, newlines and backslashes stand as three octal digits behind a backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..] => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = behind;
            }
            _ => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    plain
}

/// Unmounts a namespace's file, unless something else is meanwhile, or also, mounted there. What
/// cannot be let go is kept: a program that is to run is worth more.
fn let_go(path: &Path) {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(file) = open(path, flags, Mode::empty())
        && fstatfs(&file).is_ok_and(|stat| stat.f_type == NSFS_MAGIC)
    {
        let _ = unmount(format!("/proc/self/fd/{}", file.as_raw_fd()), UnmountFlags::DETACH);
    }
}

/// What a path leads to, as a place to mount on.
fn target(path: &Path) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    for flags in [flags, flags | OFlags::NOFOLLOW] {
        match open(path, flags, Mode::empty()) {
            Ok(target) => return Ok(Some(target)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(Error::path("open", path)(errno)),
        }
    }
    Ok(None)
}

/// A tmpfs that is mounted nowhere.
fn tmpfs() -> Result<OwnedFd, Error> {
    let context =
        fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(Error::call("fsopen(tmpfs)"))?;
    fsconfig_set_string(&context, "mode", "0755").map_err(Error::call("fsconfig(tmpfs)"))?;
    fsconfig_create(&context).map_err(Error::call("fsconfig(tmpfs)"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(Error::call("fsmount(tmpfs)"))
}

/// A mount of nothing but the file in a tmpfs, mounted nowhere.
///
/// Before Linux 6.15 a mount can be cloned only while it is mounted somewhere. So it is, for a
/// moment, and over the root directory, where no path leads to it: a look-up begins beneath what
/// is mounted there.
fn only_file(tmpfs: &OwnedFd) -> Result<OwnedFd, Error> {
    move_mount(tmpfs, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(Error::call("move_mount(tmpfs)"))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = open_tree(tmpfs, REPLACEMENT, flags).map_err(Error::call("open_tree(tmpfs)"));
    unmount(format!("/proc/self/fd/{}", tmpfs.as_raw_fd()), UnmountFlags::DETACH)
        .map_err(Error::call("umount(tmpfs)"))?;
    file
}

/// The root directory of another process, with what is mounted there for it.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// The root of a process that is held.
    ///
    /// # Errors
    /// When the process has ended, or its root may not be looked at.
    ///
    /// # Privileges
    /// `CAP_SYS_PTRACE` for the processes of other users.
    pub fn of(process: &PidFd) -> Result<Self, Error> {
        let path = format!("/proc/{}/root", process.pid());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(&path, flags, Mode::empty()).map_err(Error::path("open", path))?;
        // Only now is it sure whose number that was.
        if process.is_alive()? {
            Ok(Self(root))
        } else {
            Err(Error::call("pidfd_open")(Errno::SRCH))
        }
    }

    /// The root of the calling process.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn own() -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open("/", flags, Mode::empty()).map(Self).map_err(Error::path("open", "/"))
    }

    /// Opens a directory as the process would find it: links, also absolute ones, lead nowhere
    /// outside of its root.
    ///
    /// # Errors
    /// When there is no such directory, or it may not be read.
    ///
    /// # Minimum kernel version
    /// 5.6.
    pub fn directory(&self, path: &Path) -> Result<OwnedFd, Error> {
        self.find(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
            .map_err(Error::path("open", path))
    }

    /// Opens a network namespace by a file, as the process would find it.
    ///
    /// # Errors
    /// When the file cannot be opened, or is no network namespace.
    ///
    /// # Minimum kernel version
    /// 5.6.
    pub fn netns(&self, path: &Path) -> Result<Netns, Error> {
        // Like `Netns::open`: a FIFO must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let found = self.find(path, flags).map_err(Error::path("open", path))?;
        Netns::from_fd(found, path)
    }

    /// Looks a path up below the root, and opens what is there.
    fn find(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut attempts = 0..OPEN_ATTEMPTS;
        loop {
            match openat2(&self.0, path, flags, Mode::empty(), resolve) {
                // Somewhere on this machine something was renamed or mounted: the kernel is not
                // sure any more that `..` did not lead outside.
                Err(Errno::AGAIN) if attempts.next().is_some() => {}
                other => return other,
            }
        }
    }

    /// Reads a file as the process would find it: links, also absolute ones, lead nowhere outside
    /// of its root. `None` when there is no such file.
    ///
    /// # Errors
    /// When it is no regular file, or longer than `limit` bytes, or cannot be read. Nothing else
    /// than a regular file is ever opened: to open a device can have effects, and to open a FIFO
    /// can last.
    ///
    /// # Minimum kernel version
    /// 5.6.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let found = match self.find(path, OFlags::PATH | OFlags::CLOEXEC) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(Error::path("open", path)(errno)),
        };
        let failed = |source: io::Error| Error::path("read", path)(source);
        let stat = fstat(&found).map_err(Error::path("fstat", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        // The very file that was looked at, whatever its name leads to by now.
        let again = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
        let file = File::open(again).map_err(failed)?;
        let mut contents = Vec::new();
        let length =
            file.take(limit.saturating_add(1)).read_to_end(&mut contents).map_err(failed)?;
        if u64::try_from(length).is_ok_and(|length| length > limit) {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Some(contents))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{PermissionsExt, symlink},
        process::Command,
        thread,
    };

    use super::*;

    /// Runs `work` on a thread with mounts of its own.
    fn in_private<T: Send>(work: impl FnOnce(&PrivateMounts) -> T + Send) -> T {
        thread::scope(|scope| {
            scope.spawn(|| work(&PrivateMounts::enter().unwrap())).join().unwrap()
        })
    }

    fn mounts() -> String {
        fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
    }

    #[test]
    fn a_file_is_replaced_inside_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, "host").unwrap();
        let mounted = || mounts().matches(path.to_str().unwrap()).count();
        in_private(|private| {
            assert!(private.replace(&path, b"inside").unwrap());
            assert_eq!(fs::read_to_string(&path).unwrap(), "inside");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
            let child = Command::new("cat").arg(&path).output().unwrap();
            assert_eq!(child.stdout, b"inside", "a child is in the same namespace");
            fs::write(&path, "scribbled").unwrap();
            assert_eq!(mounted(), 1);
            assert!(!mounts().contains(" / / rw,nosuid,nodev,noexec"), "{}", mounts());
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "host");
        assert_eq!(mounted(), 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn namespaces_that_would_not_follow_are_found() {
        let found = |line: &str| namespace_left_behind(line.as_bytes());
        let line = |path: &str, relations: &str| {
            format!("79 35 0:4 net:[4026532600] {path} rw{relations} - nsfs nsfs rw")
        };
        let plain = Path::new("/run/netns/blue");
        assert_eq!(found(&line("/run/netns/blue", "")).as_deref(), Some(plain));
        assert_eq!(found(&line("/run/netns/blue", " shared:7")).as_deref(), Some(plain));
        assert_eq!(found(&line("/run/netns/blue", " shared:7 master:9")), None);
        let odd = Path::new("/run/a b\\c");
        assert_eq!(found(&line("/run/a\\040b\\134c", "")).as_deref(), Some(odd));
        for other in ["79 35 0:4 / /nsfs rw - tmpfs nsfs rw", "79 35 0:4 / /x rw", ""] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn a_namespace_is_let_go_where_it_would_stay() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let bind = |arguments: &[&str]| Command::new("mount").args(arguments).status().unwrap();
        in_private(|_| {
            assert!(bind(&["--bind", "/proc/self/ns/net", path]).success());
            assert!(mounts().contains(path));
            in_private(|_| assert!(!mounts().contains(path), "{}", mounts()));
            assert!(mounts().contains(path), "only the copy is without it");
            assert!(bind(&["--make-shared", path]).success());
            in_private(|_| {
                assert!(mounts().contains(path), "this one follows");
            });
        });
    }

    #[test]
    fn links_are_followed_and_dangling_ones_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("stub"), "host").unwrap();
        symlink("stub", at("relative")).unwrap();
        symlink("/nonexistent/whaletap/stub", at("dangling")).unwrap();
        in_private(|private| {
            for name in ["relative", "dangling"] {
                assert!(private.replace(&at(name), name.as_bytes()).unwrap());
                assert_eq!(fs::read_to_string(at(name)).unwrap(), name);
            }
            assert_eq!(fs::read_to_string(at("stub")).unwrap(), "relative");
            assert!(!private.replace(&at("absent"), b"x").unwrap());
            assert!(!private.replace(&at("stub").join("below"), b"x").unwrap());
        });
        assert_eq!(fs::read_to_string(at("stub")).unwrap(), "host");
        assert!(fs::read(at("dangling")).is_err());
    }

    fn root(path: &Path) -> Root {
        Root(open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap())
    }

    #[test]
    fn links_do_not_lead_out_of_a_root() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "host's").unwrap();
        let inside = directory.path().join("root");
        fs::create_dir_all(inside.join("etc")).unwrap();
        fs::write(inside.join("etc/true"), "container's").unwrap();
        symlink(&secret, inside.join("etc/absolute")).unwrap();
        symlink("../../secret", inside.join("etc/above")).unwrap();
        symlink("/etc/true", inside.join("etc/within")).unwrap();
        let root = root(&inside);
        let read = |name: &str| root.read(&Path::new("/etc").join(name), 64);
        assert_eq!(read("within").unwrap().unwrap(), b"container's");
        for outside in ["absolute", "above", "absent", "true/below"] {
            assert_eq!(read(outside).unwrap(), None, "{outside}");
        }
        assert!(fs::read(inside.join("etc/above")).is_ok(), "as a plain path it does lead out");
    }

    #[test]
    fn a_directory_is_found_below_its_root() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("root");
        fs::create_dir_all(inside.join("run/docker/netns")).unwrap();
        fs::create_dir(inside.join("var")).unwrap();
        symlink("/run", inside.join("var/run")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        let root = root(&inside);
        let inode = |fd: &OwnedFd| fstat(fd).unwrap().st_ino;
        let found = root.directory(Path::new("/var/run/docker/netns")).unwrap();
        let plain = File::open(inside.join("run/docker/netns")).unwrap();
        assert_eq!(inode(&found), fstat(&plain).unwrap().st_ino);
        let above = root.directory(Path::new("/../../..")).unwrap();
        assert_eq!(inode(&above), inode(&root.0), "above the root is the root");
        for absent in ["/run/podman", "/magic", "/etc"] {
            root.directory(Path::new(absent)).unwrap_err();
        }
        let own = Root::own().unwrap().directory(Path::new("/proc")).unwrap();
        assert_eq!(inode(&own), fstat(File::open("/proc").unwrap()).unwrap().st_ino);
    }

    #[test]
    fn only_short_regular_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("long"), "12345678").unwrap();
        let fifo = directory.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let root = root(directory.path());
        assert_eq!(root.read(Path::new("long"), 8).unwrap().unwrap().len(), 8);
        let kind =
            |name: &str, limit| root.read(Path::new(name), limit).unwrap_err().io().unwrap().kind();
        assert_eq!(kind("long", 7), io::ErrorKind::FileTooLarge);
        assert_eq!(kind("fifo", 8), io::ErrorKind::InvalidInput);
        assert_eq!(kind(".", 8), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_processs_root_is_its_own() {
        let this = PidFd::open(std::process::id()).unwrap();
        let root = Root::of(&this).unwrap();
        let passwd = Path::new("/etc/passwd");
        assert_eq!(root.read(passwd, 1 << 20).unwrap().unwrap(), fs::read(passwd).unwrap());
    }
}
