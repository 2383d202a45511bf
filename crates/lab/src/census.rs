use std::fs;

use crate::Error;

/// How many network namespaces there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Namespaces that are mounted where a process sees it: an engine has one mount for each
    /// container's network, and one for its own.
    pub mounted: usize,
    /// Namespaces of the whole machine, whoever holds them and by whatever: a process, a mount, a
    /// socket. The kernel counts some tens too many, because it counts by slabs, and those that it
    /// has not come to free yet. `None` where it does not tell.
    pub alive: Option<usize>,
}

impl Census {
    /// Counts now; mounts as process `pid` sees them.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when the process does not live.
    ///
    /// # Privileges
    ///
    /// root.
    pub fn seen_by(pid: u32) -> Result<Self, Error> {
        let path = format!("/proc/{pid}/mountinfo");
        let mounts = fs::read_to_string(&path).map_err(Error::file(path))?;
        // Unreadable, or without this line where the kernel has put namespaces together with
        // something else of their size: it does not tell.
        let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        Ok(Self { mounted: mounted(&mounts), alive: alive(&slabs) })
    }
}

/// Source: proc_pid_mountinfo(5); the root of such a mount is `net:[4026532321]`.
fn mounted(mounts: &str) -> usize {
    let is_netns = |line: &&str| {
        let is_nsfs = line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("nsfs "));
        is_nsfs && line.split(' ').nth(3).is_some_and(|root| root.starts_with("net:["))
    };
    mounts.lines().filter(is_netns).count()
}

/// Source: slabinfo(5); the cache is made by `net_ns_init` of net/core/net_namespace.c.
fn alive(slabs: &str) -> Option<usize> {
    let line = slabs.lines().find_map(|line| line.strip_prefix("net_namespace "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_other_kinds_are_left_out() {
        let text = "\
            22 1 0:21 / /sys rw - sysfs sysfs rw\n\
            90 22 0:4 net:[4026532321] /run/docker/netns/default rw shared:9 - nsfs nsfs rw\n\
            91 22 0:4 net:[4026532322] /run/docker/netns/3f2a00c1b9de rw - nsfs nsfs rw\n\
            92 22 0:4 mnt:[4026532323] /run/snapd/ns/a.mnt rw - nsfs nsfs rw\n";
        assert_eq!(mounted(text), 2);
    }

    #[test]
    fn the_kernels_count_is_found() {
        let text =
            "slabinfo - version: 2.1\nnet_namespace         28     63   4288    7    8 : x\n";
        assert_eq!(alive(text), Some(28));
        assert_eq!(alive("slabinfo - version: 2.1\n"), None);
    }
}
