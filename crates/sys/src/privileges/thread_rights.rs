use std::{
    fs, thread,
    time::{Duration, Instant},
};

use super::CapabilitySet;
use crate::Error;

/// Where the kernel lists this process's threads.
const TASKS: &str = "/proc/self/task";

/// How long a thread that has ended may still be listed.
const GONE_WITHIN: Duration = Duration::from_millis(250);

/// Between two looks whether it is: nothing tells.
const LOOK_EVERY: Duration = Duration::from_micros(50);

/// The rights of one thread, as /proc/self/task/TID/status tells them (`proc_pid_status(5)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadRights {
    /// The thread.
    pub tid: u32,
    /// Real, effective, saved and file-system user.
    pub uids: [u32; 4],
    /// Real, effective, saved and file-system group.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Passed on through exec, if the file has them, too.
    pub inheritable: CapabilitySet,
    /// May be made effective.
    pub permitted: CapabilitySet,
    /// In force.
    pub effective: CapabilitySet,
    /// The most that an exec can give.
    pub bounding: CapabilitySet,
    /// Passed on through exec.
    pub ambient: CapabilitySet,
    /// Whether exec can give nothing new.
    pub no_new_privs: bool,
}

impl ThreadRights {
    fn parse(tid: u32, status: &str) -> Option<Self> {
        let field = |name: &str| {
            status
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim())
        };
        let ids = |name| -> Option<[u32; 4]> { numbers(field(name)?)?.try_into().ok() };
        let set = |name| field(name).and_then(CapabilitySet::from_hexadecimal);
        Some(Self {
            tid,
            uids: ids("Uid")?,
            gids: ids("Gid")?,
            groups: numbers(field("Groups")?)?,
            inheritable: set("CapInh")?,
            permitted: set("CapPrm")?,
            effective: set("CapEff")?,
            bounding: set("CapBnd")?,
            ambient: set("CapAmb")?,
            no_new_privs: field("NoNewPrivs")? == "1",
        })
    }

    /// The first thing that a process without rights must not have.
    fn held(&self) -> Option<String> {
        let sets = [
            ("effective", self.effective),
            ("permitted", self.permitted),
            ("inheritable", self.inheritable),
            ("ambient", self.ambient),
        ];
        sets.into_iter()
            .find(|(_, set)| !set.is_empty())
            .map(|(name, set)| format!("{name} {set}"))
            .or_else(|| (!self.no_new_privs).then(|| "no_new_privs is not set".to_owned()))
    }
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
}

/// The rights of each thread of this process. Threads that end meanwhile are left out.
///
/// # Errors
/// When /proc is not mounted or cannot be read.
pub fn thread_rights() -> Result<Vec<ThreadRights>, Error> {
    let mut threads = Vec::new();
    for tid in thread_ids()? {
        let path = format!("{TASKS}/{tid}/status");
        // A thread that has just ended has no status.
        let Ok(status) = fs::read_to_string(&path) else { continue };
        let rights = ThreadRights::parse(tid, &status).ok_or_else(|| {
            let source = std::io::Error::from(std::io::ErrorKind::InvalidData);
            Error::Path { call: "parse", path: path.into(), source }
        })?;
        threads.push(rights);
    }
    Ok(threads)
}

/// Checks that no thread of this process has a capability left in any set that counts, and that
/// all have `no_new_privs`; answers what /proc says of them. The bounding set is not judged: it
/// cannot be emptied without `CAP_SETPCAP`, and under `no_new_privs` it gives nothing.
///
/// # Errors
/// [`Error::StillPrivileged`] when a thread has rights left; when /proc cannot be read.
pub fn verify_unprivileged() -> Result<Vec<ThreadRights>, Error> {
    let threads = thread_rights()?;
    for thread in &threads {
        if let Some(held) = thread.held() {
            return Err(Error::StillPrivileged { what: format!("thread {}: {held}", thread.tid) });
        }
    }
    if threads.is_empty() {
        return Err(Error::StillPrivileged { what: "no thread could be checked".to_owned() });
    }
    Ok(threads)
}

/// Refuses to go on when other threads run: what follows changes the calling thread only.
///
/// A thread that has been joined may still be listed for a moment, so a moment is waited.
pub(crate) fn require_single_thread() -> Result<(), Error> {
    let since = Instant::now();
    loop {
        match thread_ids()?.len() {
            1 => return Ok(()),
            _ if since.elapsed() < GONE_WITHIN => thread::sleep(LOOK_EVERY),
            count => {
                return Err(Error::StillPrivileged {
                    what: format!("{count} threads run, and each would have to give them up"),
                });
            }
        }
    }
}

fn thread_ids() -> Result<Vec<u32>, Error> {
    let entries = fs::read_dir(TASKS).map_err(Error::path("open", TASKS))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privileges::Capability;

    const STATUS: &str = "Name:\twhale: Uid:\t0\nUmask:\t0022\nUid:\t1000\t1001\t1002\t1003\n\
        Gid:\t100\t100\t100\t100\nGroups:\t4 27 \nCapInh:\t0000000000000000\n\
        CapPrm:\t0000000000002000\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n\
        CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";

    #[test]
    fn a_status_file_is_read() {
        let rights = ThreadRights::parse(7, STATUS).unwrap();
        assert_eq!((rights.tid, rights.uids, rights.gids), (7, [1000, 1001, 1002, 1003], [100; 4]));
        assert_eq!(rights.groups, [4, 27]);
        assert!(rights.permitted.contains(Capability::NET_RAW));
        assert!(rights.bounding.contains(Capability::SYS_ADMIN));
        assert_eq!(rights.held().as_deref(), Some("permitted CAP_NET_RAW"));
    }

    #[test]
    fn nothing_held_needs_no_new_privs() {
        let status = STATUS.replace("2000", "0000");
        assert_eq!(ThreadRights::parse(7, &status).unwrap().held(), None);
        let status = status.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0");
        let held = ThreadRights::parse(7, &status).unwrap().held();
        assert_eq!(held.as_deref(), Some("no_new_privs is not set"));
    }

    #[test]
    fn a_status_file_without_a_field_is_not_taken_for_harmless() {
        for line in STATUS.lines().skip(2) {
            let without: String =
                STATUS.lines().filter(|l| *l != line).collect::<Vec<_>>().join("\n");
            assert_eq!(ThreadRights::parse(7, &without), None, "without {line:?}");
        }
    }

    #[test]
    fn this_process_is_read_with_all_its_threads() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let (say, tid) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            say.send(rustix::thread::gettid().as_raw_pid()).unwrap();
            wait.recv().unwrap_err();
        });
        let tid = u32::try_from(tid.recv().unwrap()).unwrap();
        assert!(thread_rights().unwrap().iter().any(|rights| rights.tid == tid));
        assert!(matches!(require_single_thread(), Err(Error::StillPrivileged { .. })));
        drop(stop);
        thread.join().unwrap();
    }
}
