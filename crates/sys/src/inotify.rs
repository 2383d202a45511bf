//! Hearing of files that come and go in a directory: `inotify(7)`.
//!
//! A watch is on a directory, not on its name, and the descriptor needs no rights to be read: a
//! process that may look into the directory makes the watch and passes it on. Landlock does not
//! stand between: it judges opening, and this is open already.
//!
//! What is mounted on a file is not told, only that the file was made. Names are told by whoever
//! may write there, so they are bounded and checked ([`is_file_name`]).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::inotify::{CreateFlags, ReadFlags, WatchFlags, add_watch, init},
    io::Errno,
};

use crate::Error;

/// `struct inotify_event` without its name, in bytes.
const EVENT_HEADER: usize = 16;

/// Bytes of events that one reading takes: 128 with names of up to 15 bytes. One with the longest
/// name takes 272.
const BATCH: usize = 4096;

/// The longest name of a file, in bytes (`NAME_MAX` of `linux/limits.h`).
const NAME_BOUND: usize = 255;

/// A directory's news.
#[derive(Debug)]
pub struct Watch(OwnedFd);

/// What happened in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file of this name was made there, or moved there.
    Appeared(String),
    /// The file of this name was removed, or moved away.
    Vanished(String),
    /// More happened than the kernel keeps for us: look what is there now.
    Overflow,
    /// The directory was removed, moved or unmounted. Nothing follows.
    Gone,
}

impl Watch {
    /// Watches an open directory.
    ///
    /// # Errors
    /// `EMFILE` when the user has too many (`/proc/sys/fs/inotify/max_user_instances`), `ENOTDIR`
    /// when it is no directory; when it may not be read or /proc is not mounted.
    pub fn open(directory: impl AsFd) -> Result<Self, Error> {
        let fd = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(Error::call("inotify_init1"))?;
        // A directory that is open is named by this path whatever happens to its own.
        let path = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        add_watch(&fd, path, flags).map_err(Error::call("inotify_add_watch"))?;
        Ok(Self(fd))
    }

    /// Takes a descriptor that [`Watch::open`] made in another process.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// What happened since the last call, in its order: as much as fits into 4 KiB, the rest with
    /// the next call. Never waits; the descriptor is readable as long as there is something.
    ///
    /// Left out are directories, and names that are none ([`is_file_name`]).
    ///
    /// # Errors
    /// When the descriptor cannot be read, or is something else.
    pub fn read(&self) -> Result<Vec<Event>, Error> {
        let mut space = [0_u8; BATCH];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut space)) {
            Ok(length) => events(&space[..length]),
            Err(Errno::AGAIN) => Ok(Vec::new()),
            Err(errno) => Err(Error::call("read(inotify)")(errno)),
        }
    }
}

impl From<Watch> for OwnedFd {
    fn from(watch: Watch) -> Self {
        watch.0
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a text can be the name of a file of ours: one component of a path, neither `.` nor
/// `..`, at most 255 bytes, printable and without blanks.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= NAME_BOUND
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

/// Takes apart what the kernel wrote.
fn events(mut rest: &[u8]) -> Result<Vec<Event>, Error> {
    const TRUNCATED: Error = Error::Malformed { what: "an event of a directory is cut short" };
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (header, behind) = rest.split_first_chunk::<EVENT_HEADER>().ok_or(TRUNCATED)?;
        let [_, mask, _, length] = fields(header);
        let length = usize::try_from(length).map_err(|_| TRUNCATED)?;
        let (name, behind) = behind.split_at_checked(length).ok_or(TRUNCATED)?;
        rest = behind;
        let mask = ReadFlags::from_bits_retain(mask);
        if mask.intersects(ReadFlags::QUEUE_OVERFLOW) {
            events.push(Event::Overflow);
        } else if mask.intersects(
            ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED,
        ) {
            events.push(Event::Gone);
            return Ok(events);
        } else if let Some(name) = file_name(name)
            && !mask.intersects(ReadFlags::ISDIR)
        {
            if mask.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                events.push(Event::Appeared(name));
            } else if mask.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                events.push(Event::Vanished(name));
            }
        }
    }
    Ok(events)
}

/// Watch, mask, cookie and length of the name.
fn fields(header: &[u8; EVENT_HEADER]) -> [u32; 4] {
    let mut fields = [0; 4];
    for (field, bytes) in fields.iter_mut().zip(header.chunks_exact(4)) {
        *field = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    fields
}

/// A name, without the zero bytes behind it.
fn file_name(padded: &[u8]) -> Option<String> {
    let length = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
    let name = std::str::from_utf8(padded.get(..length)?).ok()?;
    is_file_name(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        process::Command,
        thread,
    };

    use super::*;
    use crate::mount::PrivateMounts;

    fn watched() -> (tempfile::TempDir, Watch) {
        let directory = tempfile::tempdir().unwrap();
        let watch = Watch::open(File::open(directory.path()).unwrap()).unwrap();
        (directory, watch)
    }

    fn appeared(name: &str) -> Event {
        Event::Appeared(name.to_owned())
    }

    fn vanished(name: &str) -> Event {
        Event::Vanished(name.to_owned())
    }

    #[test]
    fn files_are_told_as_they_come_and_go() {
        let (directory, watch) = watched();
        assert_eq!(watch.read().unwrap(), []);
        let at = |name: &str| directory.path().join(name);
        File::create(at("one")).unwrap();
        fs::rename(at("one"), at("two")).unwrap();
        fs::create_dir(at("below")).unwrap();
        File::create(at("below/three")).unwrap();
        fs::remove_file(at("two")).unwrap();
        let whole = [appeared("one"), vanished("one"), appeared("two"), vanished("two")];
        assert_eq!(watch.read().unwrap(), whole);
        assert_eq!(watch.read().unwrap(), []);
    }

    #[test]
    fn the_directorys_end_is_told_once() {
        let (directory, watch) = watched();
        File::create(directory.path().join("last")).unwrap();
        directory.close().unwrap();
        assert_eq!(watch.read().unwrap(), [appeared("last"), vanished("last"), Event::Gone]);
        let (directory, watch) = watched();
        let moved = directory.path().with_extension("moved");
        fs::rename(directory.path(), &moved).unwrap();
        fs::remove_dir(&moved).unwrap();
        assert_eq!(watch.read().unwrap(), [Event::Gone]);
    }

    #[test]
    fn an_unmounted_directory_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _private = PrivateMounts::enter().unwrap();
                let run = |words: &[&str]| {
                    let mut command = Command::new(words[0]);
                    let status = command.args(&words[1..]).arg(directory.path()).status();
                    assert!(status.unwrap().success(), "{words:?}");
                };
                run(&["mount", "-t", "tmpfs", "none"]);
                let watch = Watch::open(File::open(directory.path()).unwrap()).unwrap();
                run(&["umount"]);
                assert_eq!(watch.read().unwrap(), [Event::Gone]);
            });
        });
    }

    #[test]
    fn more_than_one_batch_is_read_in_several() {
        let (directory, watch) = watched();
        let names: Vec<_> = (0..200).map(|n| format!("{n:0>200}")).collect();
        for name in &names {
            File::create(directory.path().join(name)).unwrap();
        }
        let mut seen = Vec::new();
        loop {
            let events = watch.read().unwrap();
            assert!(events.len() <= BATCH / EVENT_HEADER);
            if events.is_empty() {
                break;
            }
            seen.extend(events);
        }
        assert_eq!(seen, names.iter().map(|name| appeared(name)).collect::<Vec<_>>());
    }

    #[test]
    fn names_that_are_none_are_left_out() {
        let (directory, watch) = watched();
        for name in ["a b", "\x1b[31m", "ü", "\n", "fine"] {
            File::create(directory.path().join(name)).unwrap();
        }
        assert_eq!(watch.read().unwrap(), [appeared("fine")]);
        for name in ["", ".", "..", "a/b", "/", "a b", "a\0", &"x".repeat(256)] {
            assert!(!is_file_name(name), "{name:?}");
        }
        for name in ["4f0e12ab34cd", "1-abcdefghij", "lb_x", "..x", &"x".repeat(255)] {
            assert!(is_file_name(name), "{name:?}");
        }
    }

    #[test]
    fn only_directories_are_watched() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Watch::open(file.as_file()).unwrap_err();
        assert_eq!(error.io().unwrap().raw_os_error(), Some(libc::ENOTDIR));
    }

    fn event(mask: u32, name: &[u8]) -> Vec<u8> {
        let length = u32::try_from(name.len()).unwrap();
        [1, mask, 0, length]
            .iter()
            .flat_map(|field| field.to_ne_bytes())
            .chain(name.to_vec())
            .collect()
    }

    #[test]
    fn an_overflow_is_told_and_a_cut_is_an_error() {
        let mut bytes = event(libc::IN_Q_OVERFLOW, b"");
        bytes.extend(event(libc::IN_CREATE, b"a\0\0\0"));
        assert_eq!(events(&bytes).unwrap(), [Event::Overflow, appeared("a")]);
        for length in 1..bytes.len() {
            let whole = events(&bytes[..length]);
            assert_eq!(whole.is_ok(), length == EVENT_HEADER, "{length}: {whole:?}");
        }
        let lying = event(libc::IN_CREATE, b"a\0\0\0");
        let lying = [&lying[..12], &u32::MAX.to_ne_bytes(), &lying[16..]].concat();
        events(&lying).unwrap_err();
    }
}
