use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::Program;

/// Where control groups are that count CPU time: of version 1, and of version 2 (alone, or
/// beside version 1).
const PLACES: [(&str, Version); 3] = [
    ("/sys/fs/cgroup/cpuacct", Version::One),
    ("/sys/fs/cgroup/unified", Version::Two),
    ("/sys/fs/cgroup", Version::Two),
];
/// What the names of groups begin with, before the process that made them.
const PREFIX: &str = "wt-bench-";
/// How long the kernel may take to see that a group is empty.
const EMPTY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A control group: what is started in it, and what that starts, is counted together, exactly
/// and after its end too. Dropping it removes it.
///
/// The times of `wait4` would leave out what a program did not wait for; ticks of `/proc/PID/stat`
/// are 10 ms wide.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
    version: Version,
}

impl Group {
    /// Ends what benches left running that were killed, and removes their groups.
    pub(super) fn sweep() -> Result<()> {
        let (place, version) = Self::place()?;
        for entry in fs::read_dir(place)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if owner.is_none_or(|pid| Path::new("/proc").join(pid).exists()) {
                continue;
            }
            let pids = fs::read_to_string(entry.path().join("cgroup.procs")).unwrap_or_default();
            if !pids.is_empty() {
                // One that ends by itself meanwhile makes kill fail: it is gone all the same.
                let _ = Program::new("kill").arg("-KILL").args(pids.lines()).finish();
            }
            drop(Self { path: entry.path(), version });
        }
        Ok(())
    }

    fn place() -> Result<(&'static str, Version)> {
        PLACES
            .into_iter()
            .find(|(place, _)| Path::new(place).join("cgroup.procs").exists())
            .context("no control groups are mounted on /sys/fs/cgroup")
    }

    /// A new, empty group.
    pub(super) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (place, version) = Self::place()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(place).join(format!("{PREFIX}{}-{number}", process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, version })
    }

    /// A program that joins the group and then becomes `command`.
    pub(super) fn program(&self, command: &[&str]) -> Program {
        Program::new("sh")
            .args(["-c", "echo $$ >\"$0\"/cgroup.procs && exec \"$@\""])
            .arg(&self.path)
            .args(command)
    }

    /// CPU seconds, user and system, of all that ever was in it.
    pub(super) fn cpu(&self) -> Result<f64> {
        let (file, to_seconds) = match self.version {
            Version::One => ("cpuacct.usage", 1e-9),
            Version::Two => ("cpu.stat", 1e-6),
        };
        let path = self.path.join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        // Version 2 has lines with names, the first of which is usage_usec.
        let number = text.split_whitespace().find_map(|word| word.parse::<u64>().ok());
        Ok(number.with_context(|| format!("no number in {}", path.display()))? as f64 * to_seconds)
    }

    /// PSS of all processes in it, in bytes, and how many they are.
    pub(super) fn pss(&self) -> Result<(f64, usize)> {
        let pids = fs::read_to_string(self.path.join("cgroup.procs"))?;
        let mut sum = 0;
        let mut processes = 0;
        for pid in pids.lines() {
            // It may have ended since.
            let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
                continue;
            };
            let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            sum += kib.with_context(|| format!("no Pss of process {pid}"))?;
            processes += 1;
        }
        ensure!(processes > 0, "all of it has ended, nothing is left to be measured");
        Ok((sum as f64 * 1024.0, processes))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let ends = Instant::now() + EMPTY;
        while fs::remove_dir(&self.path).is_err() && Instant::now() < ends {
            thread::sleep(Duration::from_millis(20));
        }
    }
}
