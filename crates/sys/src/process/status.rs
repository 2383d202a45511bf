use std::fs;

use crate::Error;

/// What `/proc/PID/status` tells everybody of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The user that it acts as.
    pub uid: u32,
    /// Whether it is in the pid namespace that /proc shows, and not in one below: containers have
    /// one of their own, unless the machine's was given to them.
    pub is_in_own_pid_namespace: bool,
}

impl Status {
    /// That of a process.
    ///
    /// # Errors
    /// When there is no such process, or /proc hides those of other users (`hidepid`).
    pub fn of(pid: u32) -> Result<Self, Error> {
        let path = format!("/proc/{pid}/status");
        let text = fs::read(&path).map_err(Error::path("read", path))?;
        let unreadable = Error::Malformed { what: "the status of a process does not read" };
        Self::parse(&String::from_utf8_lossy(&text)).ok_or(unreadable)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let mut field = |key| fields.find(|(name, _)| *name == key).map(|(_, value)| value);
        // In this order: real, effective and further ids; a number in each namespace down to its own.
        let uid = field("Uid")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let numbers = field("NSpid").map_or(1, |numbers| numbers.split_ascii_whitespace().count());
        Some(Self { uid, is_in_own_pid_namespace: numbers == 1 })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::privileges::own_uid;

    #[test]
    fn a_process_of_another_pid_namespace_is_known() {
        let own = Status::of(std::process::id()).unwrap();
        assert_eq!(own, Status { uid: own_uid(), is_in_own_pid_namespace: true });
        // What unshare has forked is killed with it.
        let words = ["--pid", "--fork", "--kill-child", "sleep", "20"];
        let mut unshare = Command::new("unshare").args(words).spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let below: u32 = loop {
            if let Ok(child) = fs::read_to_string(&children).unwrap().trim().parse() {
                break child;
            }
        };
        assert!(!Status::of(below).unwrap().is_in_own_pid_namespace);
        assert!(Status::of(unshare.id()).unwrap().is_in_own_pid_namespace);
        unshare.kill().unwrap();
        unshare.wait().unwrap();
        Status::of(u32::MAX).unwrap_err();
    }

    #[test]
    fn kernels_without_pid_namespaces_have_one() {
        let text = "Name:\ta: b\nUid:\t1000\t1001\t0\t0\nGid:\t0\t0\t0\t0\n";
        let status = Status { uid: 1001, is_in_own_pid_namespace: true };
        assert_eq!(Status::parse(text), Some(status));
        let below = Status { is_in_own_pid_namespace: false, ..status };
        assert_eq!(Status::parse(&format!("{text}NSpid:\t4711\t1\n")), Some(below));
        assert_eq!(Status::parse("Name:\tx\n"), None);
    }
}
