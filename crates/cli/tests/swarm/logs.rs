//! What the tasks of a service noted of the requests that they received.

use std::{collections::BTreeMap, fs};

use tempfile::TempDir;

/// How many requests a task must have noted to be one that serves.
const SERVES: usize = 10;

/// A directory into which each task writes a file that is called like its container.
#[derive(Debug)]
pub(crate) struct Logs(TempDir);

impl Logs {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The directory as `--mount` has it.
    pub(crate) fn mount(&self) -> String {
        format!("type=bind,src={},dst=/log", self.0.path().display())
    }

    /// The numbers that each task noted, by the first 12 digits of its container's id.
    pub(crate) fn read(&self) -> BTreeMap<String, Vec<u64>> {
        let number = |line: &str| line.split_once(' ')?.1.parse().ok();
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap());
        let numbers = |text: String| text.lines().map(|line| number(line).unwrap()).collect();
        entries
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap();
                // The last line may be about to be written.
                let whole = text.rfind('\n').map_or(0, |end| end + 1);
                (entry.file_name().into_string().unwrap(), numbers(text[..whole].to_owned()))
            })
            .collect()
    }

    /// How many tasks have served until now.
    pub(crate) fn served(&self) -> usize {
        self.read().values().filter(|numbers| numbers.len() >= SERVES).count()
    }
}
