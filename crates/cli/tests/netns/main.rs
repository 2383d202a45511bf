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
mod spill;
mod stalls;
mod status;
mod whaletap;

use std::{fs, path::Path};

use lab::{Namespace, Program, traffic::Report};

use crate::whaletap::{LIMIT, Whaletap, eventually, inject, scratch};

/// No further words.
const NONE: [&str; 0] = [];

/// Runs the traffic program to its end, and says how much it sent.
fn send(namespace: &Namespace, arguments: &str) -> u64 {
    let sent = namespace.traffic(arguments).unwrap().wait().unwrap();
    Report::of(sent.success().unwrap()).unwrap().count
}

/// Floods a capture until its file is longer than this, and kills it with SIGKILL.
fn kill_in_a_flood([a, b]: [&Namespace; 2], file: &Path, bytes: u64) {
    let mut ours = Whaletap::capture(&[b], file, NONE);
    let flood = a.traffic("send --dev eth0 --size 300 --seconds 20 --rate 20000").unwrap();
    eventually("some of it is written", LIMIT, || fs::metadata(file).unwrap().len() > bytes);
    assert!(ours.running.is_alive());
    ours.running.kill();
    flood.kill();
}

/// How many frames tshark reads in a file, and what it says of its end.
fn frames_for_tshark(file: &Path) -> (u64, String) {
    let read = Program::new("tshark").args(["-n", "-T", "fields", "-e", "frame.len", "-r"]);
    let read = read.arg(file).finish().unwrap();
    (read.stdout_text().lines().count() as u64, read.stderr)
}

/// The names of a directory's files, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
