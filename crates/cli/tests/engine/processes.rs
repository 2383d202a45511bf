//! What runs, as /proc tells it.

use std::fs;

/// Processes with this word in their environment: what a command started, and what that
/// started, whoever has adopted it.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let has_mark = |pid: &u32| {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
    };
    all().filter(has_mark).collect()
}

/// The child of a process that is called like this.
#[track_caller]
pub(crate) fn child_called(parent: u32, name: &str) -> u32 {
    let found =
        children(parent).into_iter().find(|pid| words(*pid).first().is_some_and(|w| w == name));
    found.unwrap_or_else(|| panic!("{parent} has no child {name}"))
}

/// The children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        // Behind the name's last bracket stand the state and the parent (proc_pid_stat(5)).
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        rest.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    all().filter(is_child).collect()
}

/// A process's command line.
pub(crate) fn words(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&line).into_owned();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// A field of the status of every thread of a process.
pub(crate) fn of_threads(pid: u32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let value = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    };
    let values: Vec<_> = tasks.filter_map(value).collect();
    // Of none everything is true.
    assert!(!values.is_empty(), "{pid} has no thread with {field}");
    values
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
