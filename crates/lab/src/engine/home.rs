use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    sync::Once,
    thread,
    time::Duration,
};

use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};

use crate::{Error, name};

/// How often, and with what pause between, a directory is tried to be removed whose mounts are
/// about to go with the last process of their namespace.
const REMOVE: (u32, Duration) = (20, Duration::from_millis(50));
/// What the directories of engines end with, behind their unique name.
const SUFFIX: &str = "-engine";

/// The directory in which an engine that is started here has all that it keeps: its data, its
/// socket, the namespaces of its containers. It goes with this value.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
}

impl Home {
    /// Makes a directory. The first call of a process removes those of engines whose tests are
    /// dead, with their processes and their mounts: a namespace that a mount keeps alive goes on
    /// answering for its container's address, on the bridge that the next engine takes over.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub(super) fn new() -> Result<Self, Error> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let path = std::env::temp_dir().join(name::unique() + SUFFIX);
        fs::create_dir(&path).map_err(Error::file(&path))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(owned) = file_name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else {
            continue;
        };
        if !name::is_stale(owned) {
            continue;
        }
        let directory = entry.path();
        let wanted = directory.to_string_lossy().into_owned();
        kill_trees(|process| {
            // Not everybody has it among its words: podman has processes that only keep namespaces.
            ["cmdline", "environ"].into_iter().any(|file| {
                let words = fs::read(process.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&words).contains(&wanted)
            })
        });
        remove(&directory);
    }
}

/// Kills the processes that `root` chooses by their directory in /proc, and all their
/// descendants: a container outlives the shim above it.
pub(super) fn kill_trees(root: impl Fn(&Path) -> bool) {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let mut pending = Vec::new();
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name before may hold blanks and brackets; behind its last bracket stand the state
        // and the parent (proc_pid_stat(5)).
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
        if root(&entry.path()) {
            pending.push(pid);
        }
    }
    let mut killed = HashSet::new();
    while let Some(pid) = pending.pop() {
        if killed.insert(pid) {
            pending.extend(children.get(&pid).into_iter().flatten());
            if let Some(pid) = Pid::from_raw(pid) {
                // It may have ended with its parent.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn remove(directory: &Path) {
    let (tries, pause) = REMOVE;
    for _ in 0..tries {
        // What was mounted last lies on top.
        for mount in mounts_below(directory).into_iter().rev() {
            let _ = unmount(&mount, UnmountFlags::DETACH);
        }
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => thread::sleep(pause),
            _ => return,
        }
    }
}

/// The mounts of this process's namespace below a directory, in the order in which they were made.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let listed = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The fifth field is the place (proc_pid_mountinfo(5)).
    let places = listed.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    places.filter(|place| place.starts_with(directory)).collect()
}

/// A path as mountinfo writes it: blanks, newlines and backslashes stand there as `\ooo`.
fn unescaped(written: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = behind.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|digits| str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;
    use crate::Program;

    #[test]
    fn what_a_dead_engine_left_mounted_goes_with_it() {
        // A pid above the highest that there can be.
        let left = std::env::temp_dir().join(format!("wt-4294967295-{}{SUFFIX}", process::id()));
        fs::create_dir(&left).unwrap();
        let file = left.join("namespace");
        fs::write(&file, "").unwrap();
        Program::new("mount").args(["--bind", "/proc/self/ns/net"]).arg(&file).run().unwrap();
        assert_eq!(mounts_below(&left), [file]);
        sweep();
        assert!(!left.exists());
        assert!(mounts_below(&left).is_empty());
    }

    #[test]
    fn places_are_read_as_they_are() {
        assert_eq!(unescaped(r"/tmp/a\040b\134c"), Path::new(r"/tmp/a b\c"));
        assert_eq!(unescaped(r"/tmp/\9"), Path::new(r"/tmp/\9"));
    }
}
