//! Names that no two tests share, and whose owner can be told.

use std::{
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// What all names of the lab begin with.
const PREFIX: &str = "wt-";

/// `wt-<pid>-<n>`: short enough for a device's name as long as `n` is.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether `name` is one of ours and the process that made it is gone.
pub(crate) fn is_stale(name: &str) -> bool {
    owner(name).is_some_and(is_gone)
}

/// Whether no process has this id.
pub(crate) fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// The process that made what carries this name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_dead_owners_are_stale() {
        assert!(!is_stale(&unique()));
        assert!(!is_stale("wt-1-0"), "init lives");
        assert!(!is_stale("somebody-elses"));
        assert!(!is_stale("wt-x-1"));
        assert!(is_stale("wt-4294967295-3"), "above the highest pid there can be");
    }
}
