//! Files and the room for them.

use std::{fs::File, os::fd::AsFd, path::Path};

use rustix::{
    fs::{Dir, FallocateFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::Error;

/// What may stand under a name where a file is to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Anything: a file is emptied, a link is followed, a FIFO or a device is opened.
    Any,
    /// A file of our own, which is emptied. No link to anything, no FIFO and nothing of another user's:
    /// somebody else may have put it there, to read what comes or to have another file overwritten.
    OwnFile,
    /// Nothing.
    Nothing,
}

/// Creates a file for writing, for its owner alone (mode 0600).
///
/// # Errors
/// When something stands there that may not, or the kernel refuses.
pub fn create(path: &Path, existing: Existing) -> Result<File, Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let flags = flags
        | match existing {
            Existing::Any => OFlags::TRUNC,
            // Nobody waits for the reader of a FIFO, and nothing is emptied before it is looked at.
            Existing::OwnFile => OFlags::NOFOLLOW | OFlags::NONBLOCK,
            Existing::Nothing => OFlags::EXCL,
        };
    let file = match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        // A FIFO that nobody reads.
        Err(Errno::NXIO) if existing == Existing::OwnFile => {
            return Err(Error::NotOwnFile { path: path.into() });
        }
        opened => opened.map_err(Error::path("create", path))?,
    };
    if existing == Existing::OwnFile {
        let found = rustix::fs::fstat(&file).map_err(Error::path("fstat", path))?;
        let is_own = FileType::from_raw_mode(found.st_mode).is_file()
            && found.st_uid == rustix::process::geteuid().as_raw()
            && found.st_nlink == 1;
        if !is_own {
            return Err(Error::NotOwnFile { path: path.into() });
        }
        rustix::fs::ftruncate(&file, 0).map_err(Error::path("ftruncate", path))?;
    }
    Ok(file.into())
}

/// How many names are tried for a file that is to have none.
const MAX_NAMES: u32 = 100;

/// Creates a file for reading and writing that has no name: what is in it is gone when the last
/// descriptor is, whatever ends the process. On file systems that know no such files it has a name
/// for a moment.
///
/// Source: `O_TMPFILE` in `open(2)`.
///
/// # Errors
/// When it is no directory, or the kernel refuses.
pub fn nameless(directory: &Path) -> Result<File, Error> {
    // With O_EXCL nobody can give it a name later.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE | OFlags::EXCL;
    match rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        Err(Errno::OPNOTSUPP) => named_for_a_moment(directory),
        Err(errno) => Err(Error::path("open(O_TMPFILE)", directory)(errno)),
    }
}

fn named_for_a_moment(directory: &Path) -> Result<File, Error> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
    let mut number = 0;
    loop {
        let path = directory.join(format!(".whaletap-{}-{number}", std::process::id()));
        match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                rustix::fs::unlink(&path).map_err(Error::path("unlink", &path))?;
                return Ok(file.into());
            }
            Err(Errno::EXIST) if number < MAX_NAMES => number += 1,
            Err(errno) => return Err(Error::path("create", path)(errno)),
        }
    }
}

/// Gives a part of a file back to its file system: it reads as zeros, and the file stays as long as
/// it is. `false`: the file system cannot do that.
///
/// Source: `FALLOC_FL_PUNCH_HOLE` in `fallocate(2)`.
///
/// # Errors
/// When the kernel refuses for another reason.
pub fn punch(file: impl AsFd, begin: u64, len: u64) -> Result<bool, Error> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, begin, len) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(Error::call("fallocate")(errno)),
    }
}

/// The names of what is in an open directory, at most `limit` of them, in the file system's order.
/// Names that are not UTF-8 are left out.
///
/// # Errors
/// When the directory cannot be read.
pub fn names(directory: impl AsFd, limit: usize) -> Result<Vec<String>, Error> {
    let entries = Dir::read_from(directory).map_err(Error::call("open(directory)"))?;
    let mut names = Vec::new();
    for entry in entries {
        if names.len() == limit {
            break;
        }
        let entry = entry.map_err(Error::call("getdents"))?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// How much room a file system has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its size.
    pub total: u64,
    /// What the calling user may still fill.
    pub free: u64,
}

/// The room on the file system of an open file; `None` for pipes, sockets and devices.
///
/// # Errors
/// When the file system does not answer.
pub fn room(file: impl AsFd) -> Result<Option<Room>, Error> {
    let stat = rustix::fs::fstat(&file).map_err(Error::call("fstat"))?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(None);
    }
    let stat = rustix::fs::fstatvfs(&file).map_err(Error::call("fstatvfs"))?;
    Ok(Some(Room {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
    }))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{FileExt, MetadataExt, symlink},
    };

    use super::*;

    #[test]
    fn a_nameless_file_is_nowhere_and_gives_back_what_it_does_not_need() {
        let directory = tempfile::tempdir().unwrap();
        for file in [nameless(directory.path()), named_for_a_moment(directory.path())] {
            let file = file.unwrap();
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
            file.write_all_at(&[7; 64 << 10], 0).unwrap();
            let before = file.metadata().unwrap().blocks();
            if !punch(&file, 4096, 32 << 10).unwrap() {
                continue;
            }
            assert!(file.metadata().unwrap().blocks() < before);
            let mut read = [1; 2];
            file.read_exact_at(&mut read, 4095).unwrap();
            assert_eq!(read, [7, 0]);
            assert_eq!(file.metadata().unwrap().len(), 64 << 10);
        }
        assert!(nameless(&directory.path().join("none")).is_err());
    }

    #[test]
    fn a_directorys_names_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["one", "two", "three"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let open = File::open(directory.path()).unwrap();
        let mut all = names(&open, 3).unwrap();
        all.sort_unstable();
        assert_eq!(all, ["one", "three", "two"]);
        assert_eq!(names(&open, 2).unwrap().len(), 2, "read again from its beginning");
        assert_eq!(names(&open, 0).unwrap().len(), 0);
    }

    #[test]
    fn links_are_followed_only_where_they_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("link"), directory.path().join("target"));
        fs::write(&target, "kept").unwrap();
        symlink(&target, &link).unwrap();
        create(&link, Existing::OwnFile).unwrap_err();
        create(&link, Existing::Nothing).unwrap_err();
        create(&target, Existing::Nothing).unwrap_err();
        assert_eq!(fs::read(&target).unwrap(), b"kept");
        create(&link, Existing::Any).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"");
        create(&directory.path().join("new"), Existing::Nothing).unwrap();
    }

    #[test]
    fn what_somebody_has_put_there_is_not_written_into() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let refused = |name: &str| match create(&at(name), Existing::OwnFile) {
            Err(Error::NotOwnFile { path }) => assert_eq!(path, at(name)),
            other => panic!("{name}: {other:?}"),
        };
        fs::write(at("own"), "old").unwrap();
        create(&at("own"), Existing::OwnFile).unwrap();
        assert_eq!(fs::read(at("own")).unwrap(), b"");
        create(&at("new"), Existing::OwnFile).unwrap();

        fs::write(at("own"), "kept").unwrap();
        fs::hard_link(at("own"), at("hard")).unwrap();
        refused("hard");
        assert_eq!(fs::read(at("own")).unwrap(), b"kept");

        let fifo = |name: &str| {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, at(name), FileType::Fifo, mode, 0).unwrap();
        };
        fifo("unread");
        refused("unread");
        fifo("read");
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let _reader = rustix::fs::open(at("read"), flags, Mode::empty()).unwrap();
        refused("read");

        if rustix::process::geteuid().is_root() {
            fs::write(at("theirs"), "theirs").unwrap();
            std::os::unix::fs::chown(at("theirs"), Some(65534), None).unwrap();
            refused("theirs");
            assert_eq!(fs::read(at("theirs")).unwrap(), b"theirs");
        }
    }
}
