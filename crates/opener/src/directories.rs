//! The directories in which the engine keeps its sandboxes' files.

use std::{
    ffi::OsStr,
    os::fd::AsFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use sys::{
    inotify::{Watch, is_file_name},
    mount::Root,
    netns::Netns,
};

use crate::{
    engine::Engine,
    error::{Reason, Refusal},
};

/// The most directories that are watched.
pub(crate) const MAX_DIRECTORIES: usize = 8;

/// The most names of files that an answer carries.
pub(crate) const MAX_NAMES: usize = 2048;

/// The most bytes of names that an answer carries: with their lengths they stay within a message.
const MAX_NAMES_BYTES: usize = 48 * 1024;

/// How every engine calls the directory. Nothing else on the machine can be looked into.
const NAME: &str = "netns";

/// How long a file that is no namespace yet is waited for.
const READY_LIMIT: Duration = Duration::from_millis(2);

/// Between two looks at it: nothing tells that something was mounted.
const READY_NAP: Duration = Duration::from_micros(100);

/// The directories that were asked for, by number.
#[derive(Debug, Default)]
pub(crate) struct Directories(Vec<Directory>);

/// A directory by its path. It is not kept open: that would keep it alive, and its end would not
/// be told.
#[derive(Debug)]
struct Directory {
    root: Root,
    path: String,
}

/// A directory that is watched from now on.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) watch: Watch,
    pub(crate) directory: u32,
    pub(crate) names: Vec<String>,
}

impl Directories {
    /// Watches a directory of the engine. One that is known already is looked up anew, and keeps
    /// its number.
    pub(crate) fn watch(&mut self, path: &str, engine: &Engine) -> Result<Begun, Refusal> {
        check(path)?;
        let known = self.0.iter().position(|directory| directory.path == path);
        let index = known.unwrap_or(self.0.len());
        if index >= MAX_DIRECTORIES {
            let message = format_args!("more than {MAX_DIRECTORIES} directories");
            return Err(Refusal::new(Reason::Failed, message));
        }
        let root = engine.root()?;
        let open = root.directory(Path::new(path))?;
        // First the watch, then the list: a file that comes between is in both.
        let watch = Watch::open(&open)?;
        let names = names(&open)?;
        let directory = Directory { root, path: path.to_owned() };
        match self.0.get_mut(index) {
            Some(known) => *known = directory,
            None => self.0.push(directory),
        }
        Ok(Begun { watch, directory: u32::try_from(index).unwrap_or(u32::MAX), names })
    }

    /// Opens the namespace that is mounted on a file of a directory; waits a moment for one that is
    /// about to be.
    pub(crate) fn open(&self, directory: u32, file: &str) -> Result<Netns, Refusal> {
        let directory = usize::try_from(directory).ok().and_then(|index| self.0.get(index));
        let Some(Directory { root, path }) = directory.filter(|_| is_file_name(file)) else {
            return Err(Refusal::new(Reason::Failed, "no such file can be in a directory"));
        };
        let open = root.directory(Path::new(path))?;
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            match Netns::open_at(&open, file) {
                Err(sys::Error::NotNetns { .. }) if Instant::now() < deadline => {
                    thread::sleep(READY_NAP);
                }
                Err(sys::Error::NotNetns { .. }) => {
                    let message = format_args!("{path}/{file} is no network namespace");
                    return Err(Refusal::new(Reason::NotReady, message));
                }
                other => return Ok(other?),
            }
        }
    }
}

/// Whether it can be a directory of sandboxes' files.
pub(crate) fn check(path: &str) -> Result<(), Refusal> {
    if path.starts_with('/') && Path::new(path).file_name() == Some(OsStr::new(NAME)) {
        return Ok(());
    }
    let message = format_args!("{path:?} is no directory of network namespaces");
    Err(Refusal::new(Reason::Failed, message))
}

/// The files that are in a directory now.
fn names(directory: impl AsFd) -> Result<Vec<String>, sys::Error> {
    let mut bytes = 0;
    let mut names = sys::disk::names(directory, MAX_NAMES)?;
    names.retain(|name| {
        bytes += name.len() + size_of::<u32>();
        bytes <= MAX_NAMES_BYTES && is_file_name(name)
    });
    Ok(names)
}
