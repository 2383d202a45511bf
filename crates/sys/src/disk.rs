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
    /// A file, in whose place another comes: whoever has it open, or another name for it, gets nothing of
    /// what is written. No link, FIFO or device: somebody else may have put it there.
    Replaced,
    /// Nothing.
    Nothing,
}

/// Creates a file for writing, for its owner alone (mode 0600).
///
/// # Errors
/// When something stands there that may not, or the kernel refuses.
pub fn create(path: &Path, existing: Existing) -> Result<File, Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let open = |more| rustix::fs::open(path, flags | more, Mode::RUSR | Mode::WUSR);
    let opened = match existing {
        Existing::Any => open(OFlags::TRUNC),
        Existing::Nothing => open(OFlags::EXCL),
        Existing::Replaced => match open(OFlags::EXCL) {
            Err(Errno::EXIST) => {
                remove(path)?;
                open(OFlags::EXCL)
            }
            opened => opened,
        },
    };
    opened.map(File::from).map_err(Error::path("create", path))
}

/// Removes a file, and nothing else.
fn remove(path: &Path) -> Result<(), Error> {
    let found = rustix::fs::lstat(path).map_err(Error::path("lstat", path))?;
    if !FileType::from_raw_mode(found.st_mode).is_file() {
        return Err(Error::NotFile { path: path.into() });
    }
    rustix::fs::unlink(path).map_err(Error::path("unlink", path))
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
        io::{Read as _, Write as _},
        os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
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
        create(&link, Existing::Replaced).unwrap_err();
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
        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        create(&at("new"), Existing::Replaced).unwrap();
        fs::write(at("theirs"), "kept").unwrap();
        fs::set_permissions(at("theirs"), fs::Permissions::from_mode(0o666)).unwrap();
        fs::hard_link(at("theirs"), at("other name")).unwrap();
        let mut reader = File::open(at("theirs")).unwrap();
        let mut ours = create(&at("theirs"), Existing::Replaced).unwrap();
        ours.write_all(b"ours").unwrap();
        assert_eq!((fs::read(at("theirs")).unwrap(), mode("theirs")), (b"ours".to_vec(), 0o600));
        assert_eq!(fs::read(at("other name")).unwrap(), b"kept");
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "kept");

        let mknod = |name: &str| {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, at(name), FileType::Fifo, mode, 0).unwrap();
        };
        mknod("fifo");
        let error = create(&at("fifo"), Existing::Replaced).unwrap_err();
        assert!(matches!(error, Error::NotFile { path } if path == at("fifo")));
    }
}
