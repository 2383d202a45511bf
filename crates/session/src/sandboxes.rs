//! Namespaces that the engine makes for containers, opened before anybody says whose they are.
//!
//! A container's process runs some 80 ms after its namespace is there, and the engine answers no
//! question about it until then. So each new namespace is opened at once, its frames wait in its
//! ring, and those that turn out to be nobody's who is meant are let go.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use capture::Hold;
use opener::{Opened, Opener, Place, Reason, Spec, Watched};
use sys::{
    inotify::{Event, Watch},
    poll::is_readable,
};

use crate::resolve::EngineDial;

/// Where engines keep the files of namespaces, unless told otherwise.
const USUAL: &str = "/var/run/docker/netns";
/// How long a file may take to become a namespace.
const READY_WITHIN: Duration = Duration::from_secs(2);
/// Between two attempts to open one that is not yet ready.
const TRY_EVERY: Duration = Duration::from_millis(1);
/// Between two attempts to find out whose a namespace is.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// How long a namespace is held of which nobody says whose it is.
pub(crate) const HELD_FOR: Duration = Duration::from_secs(10);
/// How long others wait for the frames of a container of which nobody has said anything: the engine
/// tells that one is made before it makes its namespace, but for those that do not pass its filters.
const UNHEARD_FOR: Duration = Duration::from_millis(500);
/// The most namespaces that are held at once.
const MAX_HELD: usize = 256;
/// The most directories that are remembered because they cannot be watched.
const MAX_HIDDEN: usize = 8;
/// The most directories that are watched, or waited for.
const MAX_DIRECTORIES: usize = 8;
/// Where podman keeps them, beside those of `ip netns`.
const PODMANS: &str = "/run/netns";
/// Length of the name of docker's file for a container: the beginning of the sandbox's id.
const NAME_LENGTH: usize = 12;
/// What the names of podman's files begin with, by its two ways to make networks, and the length of
/// the UUID behind.
const PODMANS_NAMES: [&str; 2] = ["netns-", "cni-"];
const UUID_LENGTH: usize = 36;

/// The directories that are watched, and what was found in them.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    directories: Vec<Directory>,
    /// Directories that are not there yet.
    awaited: Vec<Awaited>,
    /// Directories that cannot be watched.
    hidden: Vec<String>,
    unready: Vec<Unready>,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Directory {
    path: String,
    number: u32,
    watch: Watch,
}

/// A directory that the engine has not made yet, as before its first container.
#[derive(Debug)]
struct Awaited {
    path: String,
    /// Readable once it is there.
    told: OwnedFd,
}

/// A file on which no namespace is mounted yet.
#[derive(Debug)]
struct Unready {
    directory: u32,
    file: String,
    since: Instant,
}

/// A namespace that is opened, and not yet a target's.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) directory: u32,
    /// The file's name.
    pub(crate) file: String,
    /// Others wait for its first frames, unless nobody has said anything of it for long. Dropped
    /// before the sockets are.
    pub(crate) hold: Option<Hold>,
    pub(crate) opened: Opened,
    since: Instant,
    asked: Instant,
}

impl Held {
    /// The container whose process is inside, as far as that is known.
    pub(crate) fn container(&self) -> Option<&str> {
        self.opened.container.as_deref()
    }

    /// Whether it is this container's: by its process, or by the file that the engine names.
    pub(crate) fn is_of(&self, id: &str, sandbox_key: &str) -> bool {
        self.container() == Some(id)
            || Path::new(sandbox_key).file_name().is_some_and(|name| name == &*self.file)
    }

    /// Where it was found.
    pub(crate) fn place(&self) -> Place {
        Place::Sandbox { directory: self.directory, file: self.file.clone() }
    }

    /// Whether nobody has said for long whose it is.
    pub(crate) fn is_overdue(&self) -> bool {
        self.since.elapsed() >= HELD_FOR
    }
}

impl Sandboxes {
    /// Watches where the engine usually keeps its files, or where its command line says.
    pub(crate) fn start(opener: &Opener, dial: &EngineDial) -> Self {
        let mut sandboxes = Self::default();
        let usual = engine_directory(dial).unwrap_or_else(|| USUAL.to_owned());
        sandboxes.watch(&usual, opener);
        sandboxes
    }

    /// Watches the directory of this file as well. `true`: what to wait on is not the same any more.
    pub(crate) fn learn(&mut self, sandbox_key: &str, opener: &Opener) -> bool {
        let Some(directory) = Path::new(sandbox_key).parent().and_then(Path::to_str) else {
            return false;
        };
        // The one is a link to the other.
        let same = |path: &str| {
            path.strip_prefix("/var").unwrap_or(path) == directory
                || directory.strip_prefix("/var").unwrap_or(directory) == path
                || path == directory
        };
        if directory.is_empty()
            || self.hidden.len() >= MAX_HIDDEN
            || self.hidden.iter().any(|hidden| hidden == directory)
            || self.directories.iter().any(|known| same(&known.path))
            || self.awaited.iter().any(|awaited| same(&awaited.path))
        {
            return false;
        }
        let is_new = self.watch(directory, opener).is_some()
            || self.awaited.iter().any(|awaited| awaited.path == directory);
        if !is_new {
            self.hidden.push(directory.to_owned());
        }
        is_new
    }

    /// Watches a directory, or waits for it where it is missing. Gives the files that are in it if
    /// it is watched.
    fn watch(&mut self, path: &str, opener: &Opener) -> Option<(u32, Vec<String>)> {
        self.directories.retain(|known| known.path != path);
        self.awaited.retain(|awaited| awaited.path != path);
        if self.directories.len() + self.awaited.len() >= MAX_DIRECTORIES {
            return None;
        }
        match opener.watch(path) {
            Ok(Watched { watch, directory: number, names }) => {
                self.directories.push(Directory { path: path.to_owned(), number, watch });
                Some((number, names))
            }
            Err(error) => {
                if error.reason() == Reason::NotFound
                    && let Ok(told) = opener.expect(path)
                {
                    self.awaited.push(Awaited { path: path.to_owned(), told });
                }
                None
            }
        }
    }

    /// Looks all directories up anew: the engine was started again.
    pub(crate) fn renew(&mut self, opener: &Opener, dial: &EngineDial) {
        let known = self.directories.drain(..).map(|known| known.path);
        let paths: Vec<String> =
            known.chain(self.awaited.drain(..).map(|awaited| awaited.path)).collect();
        if paths.is_empty() {
            *self = Self::start(opener, dial);
        }
        for path in paths {
            self.watch(&path, opener);
        }
    }

    /// Nobody tells any more that a directory was made.
    pub(crate) fn wait_no_more(&mut self) {
        self.awaited.clear();
    }

    /// What to wait on.
    pub(crate) fn watches(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let awaited = self.awaited.iter().map(|awaited| awaited.told.as_fd());
        self.directories.iter().map(|directory| directory.watch.as_fd()).chain(awaited)
    }

    /// Reads what happened in the directories. `true`: what to wait on is not the same any more.
    pub(crate) fn read(&mut self, opener: &Opener) -> bool {
        let mut appeared = Vec::new();
        let mut gone = Vec::new();
        for Directory { path, number, watch } in &self.directories {
            loop {
                // What a broken watch does not tell is found by reconciliation.
                let events = watch.read().unwrap_or_default();
                if events.is_empty() {
                    break;
                }
                for event in events {
                    match event {
                        Event::Appeared(file) => appeared.push((*number, file)),
                        Event::Gone => gone.push(path.clone()),
                        Event::Vanished(_) | Event::Overflow => {}
                    }
                }
            }
        }
        for (directory, file) in appeared {
            self.unready_from(directory, [file]);
        }
        let is_there = |awaited: &Awaited| is_readable(&awaited.told).unwrap_or(false);
        let come: Vec<String> =
            self.awaited.extract_if(.., |it| is_there(it)).map(|awaited| awaited.path).collect();
        for path in come.iter().chain(&gone) {
            // Whose files are in a new one came a moment ago.
            if let Some((directory, files)) = self.watch(path, opener) {
                self.unready_from(directory, files);
            }
        }
        !come.is_empty() || !gone.is_empty()
    }

    /// Files that appeared. In a new directory they may be told twice.
    fn unready_from(&mut self, directory: u32, files: impl IntoIterator<Item = String>) {
        let since = Instant::now();
        for file in files.into_iter().filter(|file| is_containers(file)) {
            let is_known =
                self.unready.iter().any(|it| it.directory == directory && it.file == file)
                    || self.held.iter().any(|it| it.directory == directory && it.file == file);
            if !is_known {
                self.unready.push(Unready { directory, file, since });
            }
        }
    }

    /// Opens what can be opened, behind a `hold` each. Gives errors that are nobody's yet.
    pub(crate) fn open(
        &mut self,
        opener: &Opener,
        hold: impl Fn() -> Hold,
        spec: impl Fn(usize) -> Spec,
    ) -> Vec<opener::Error> {
        let mut errors = Vec::new();
        let mut waiting = std::mem::take(&mut self.unready);
        // What is beyond is found by reconciliation, later.
        waiting.truncate(MAX_HELD.saturating_sub(self.held.len()));
        if waiting.is_empty() {
            return errors;
        }
        let holds: Vec<Hold> = waiting.iter().map(|_| hold()).collect();
        let places = waiting
            .iter()
            .map(|it| Place::Sandbox { directory: it.directory, file: it.file.clone() })
            .collect();
        let opened = match opener.open_all(places, spec(self.held.len() + waiting.len())) {
            Ok(opened) => opened,
            // The opener's end is told elsewhere.
            Err(_) => return errors,
        };
        for ((waiting, hold), opened) in waiting.into_iter().zip(holds).zip(opened) {
            match opened {
                Ok(opened) => {
                    let (directory, file, since) =
                        (waiting.directory, waiting.file, Instant::now());
                    let (hold, asked) = (Some(hold), since);
                    self.held.push(Held { directory, file, opened, hold, since, asked });
                }
                Err(error) if error.reason() == Reason::NotReady => {
                    if waiting.since.elapsed() < READY_WITHIN {
                        self.unready.push(waiting);
                    }
                }
                // Gone already.
                Err(error) if error.reason() == Reason::NotFound => {}
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    /// Asks again whose those namespaces are in which nobody was found.
    pub(crate) fn ask(&mut self, opener: &Opener) {
        for held in &mut self.held {
            if held.opened.container.is_some() || held.asked.elapsed() < ASK_EVERY {
                continue;
            }
            held.asked = Instant::now();
            if let Ok(seen) = opener.look(held.place())
                && seen.netns == held.opened.netns
            {
                held.opened.container = seen.container;
                held.opened.pidfd = seen.pidfd;
            }
        }
    }

    /// Lets nobody wait for those in which nothing has come yet, and for long only for those that
    /// are `known`.
    pub(crate) fn ease_holds(&mut self, known: impl Fn(&str) -> bool) {
        for held in &mut self.held {
            let Some(hold) = &mut held.hold else { continue };
            let sockets = held.opened.sockets.iter().map(|(_, socket)| socket);
            // What cannot be mapped is told when it is to be captured.
            let _ = hold.watch(sockets, held.opened.geometry);
            let is_known = held.opened.container.as_deref().is_some_and(&known);
            if !is_known && held.since.elapsed() >= UNHEARD_FOR {
                held.hold = None;
            }
        }
    }

    /// When something is to be tried again.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        if !self.unready.is_empty() {
            return Some(TRY_EVERY);
        }
        if self.held.iter().any(|held| held.opened.container.is_none()) {
            return Some(ASK_EVERY);
        }
        let left = |held: &Held| {
            let age = held.since.elapsed();
            let unheard = UNHEARD_FOR.checked_sub(age).filter(|_| held.hold.is_some());
            unheard.unwrap_or(HELD_FOR.saturating_sub(age)).max(TRY_EVERY)
        };
        self.held.iter().map(left).min()
    }

    /// Takes those out that `wanted` says.
    pub(crate) fn take(&mut self, wanted: impl FnMut(&mut Held) -> bool) -> Vec<Held> {
        self.held.extract_if(.., wanted).collect()
    }
}

/// Whether a file may be a container's: others are an overlay network's (`1-…`, `lb_…`), the
/// ingress network's and the host's (`default`).
fn is_containers(file: &str) -> bool {
    let uuid = PODMANS_NAMES.iter().find_map(|prefix| file.strip_prefix(prefix));
    let is_uuid = |text: &str| {
        text.len() == UUID_LENGTH && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
    };
    let is_id = file.len() == NAME_LENGTH && file.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id || uuid.is_some_and(is_uuid)
}

/// The directory that follows from the engine's `--exec-root`, if its command line can be seen and
/// has one.
fn engine_directory(dial: &EngineDial) -> Option<String> {
    if let EngineDial::Rootless { directory: Some(directory), .. } = dial {
        return Some(directory.clone());
    }
    let engine = dial.socket().ok()?;
    let pid = sys::process::peer(&engine).ok()??;
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    if is_podman(&words) {
        return Some(PODMANS.to_owned());
    }
    exec_root(&words).map(|root| format!("{root}/netns"))
}

fn is_podman(command_line: &[u8]) -> bool {
    let program = command_line.split(|byte| *byte == 0).next().unwrap_or_default();
    program.rsplit(|byte| *byte == b'/').next() == Some(b"podman")
}

fn exec_root(command_line: &[u8]) -> Option<String> {
    let mut words =
        command_line.split(|byte| *byte == 0).filter_map(|word| str::from_utf8(word).ok());
    while let Some(word) = words.next() {
        let root = match word.strip_prefix("--exec-root") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => continue,
        };
        return root.filter(|root| root.starts_with('/')).map(str::to_owned);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_files_are_told_from_networks() {
        assert!(is_containers("3f2a00c1b9de"));
        assert!(is_containers("netns-39d9ea16-ac60-5f84-9831-2a74a47b697a"));
        assert!(is_containers("cni-39d9ea16-ac60-5f84-9831-2a74a47b697a"));
        for other in ["blue", "netns-blue", "39d9ea16-ac60-5f84-9831-2a74a47b697a", "netns-"] {
            assert!(!is_containers(other), "{other}");
        }
        for other in ["default", "ingress_sbox", "lb_3f2a00c1b", "1-3f2a00c1b9", "3f2a00c1b9dg"] {
            assert!(!is_containers(other), "{other}");
        }
    }

    #[test]
    fn an_engines_own_directory_is_in_its_command_line() {
        let line = |words: &str| words.replace(' ', "\0").into_bytes();
        assert_eq!(exec_root(&line("dockerd --exec-root /x/exec -H a")).unwrap(), "/x/exec");
        assert_eq!(exec_root(&line("dockerd --exec-root=/x")).unwrap(), "/x");
        assert_eq!(exec_root(&line("dockerd --exec-root")), None);
        assert_eq!(exec_root(&line("dockerd -H fd://")), None);
        for (words, podman) in [("/usr/bin/podman system service", true), ("dockerd podman", false)]
        {
            assert_eq!(is_podman(&line(words)), podman, "{words}");
        }
    }
}
