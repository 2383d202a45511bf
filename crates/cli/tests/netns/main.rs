//! The command on namespaces of its own, without an engine: what it counts, writes and leaves.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod accounting;
mod blocks;
mod compression;
mod ends;
mod files;
mod mistakes;
mod order;
mod privileges;
mod record;
mod rotation;
mod stalls;
mod status;
mod whaletap;

use std::{
    fs,
    path::{Path, PathBuf},
};

use lab::{
    Namespace,
    traffic::{RawSender, Report},
};

/// No further words.
const NONE: [&str; 0] = [];

/// A directory that goes away, and paths in it.
fn scratch() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    (directory, move |name: &str| path.join(name))
}

/// Sends frames out of a device, one after the other.
fn inject(namespace: &Namespace, device: &str, frames: &[Vec<u8>]) {
    namespace.enter(|| RawSender::open(device)?.send_all(frames)).unwrap().unwrap();
}

/// Runs the traffic program to its end, and says how much it sent.
fn send(namespace: &Namespace, arguments: &str) -> u64 {
    let sent = namespace.traffic(arguments).unwrap().wait().unwrap();
    Report::of(sent.success().unwrap()).unwrap().count
}

/// The names of a directory's files, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
