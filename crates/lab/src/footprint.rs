use std::{
    collections::HashMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::Error;

/// Between two looks at what cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// What does not change for so long has come to rest.
const SETTLED: Duration = Duration::from_secs(2);

/// What a program holds of the machine, with all processes that it has started and that live.
///
/// Each value is read for itself: what changes meanwhile is in one of them and not in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Processes.
    pub processes: usize,
    /// Their threads.
    pub threads: usize,
    /// Their descriptors, without connections.
    pub descriptors: usize,
    /// Unix sockets with a peer: connections to an engine come and go as they are needed.
    pub connections: usize,
    /// Bytes of resident memory, in each process for itself.
    pub rss: u64,
    /// Bytes of memory, what is shared divided among those who share it.
    pub pss: u64,
}

impl Footprint {
    /// Looks at a process, and at those that it has started.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when it does not live.
    ///
    /// # Privileges
    ///
    /// root, or its user.
    pub fn of(pid: u32) -> Result<Self, Error> {
        let mut all = Self::default();
        let families = families();
        let mut waiting = vec![pid];
        while let Some(next) = waiting.pop() {
            match Self::of_one(next) {
                Ok(one) => all.add(one),
                // A child may end at any time.
                Err(_) if next != pid => {}
                Err(error) => return Err(error),
            }
            waiting.extend(families.get(&next).into_iter().flatten());
        }
        Ok(all)
    }

    /// Looks until for two seconds nothing but memory and connections has changed, or until the
    /// limit; gives the last look.
    ///
    /// # Errors
    ///
    /// Those of [`Footprint::of`].
    pub fn settled(pid: u32, limit: Duration) -> Result<Self, Error> {
        let mut last = (Self::of(pid)?.counted(), Instant::now());
        Self::look_until(pid, limit, |now| {
            if last.0 != now.counted() {
                last = (now.counted(), Instant::now());
            }
            last.1.elapsed() >= SETTLED
        })
    }

    /// Looks until it is again what it was, but for memory and connections, or until the limit;
    /// gives the last look, which is the caller's to judge.
    ///
    /// # Errors
    ///
    /// Those of [`Footprint::of`].
    pub fn returned(pid: u32, before: &Self, limit: Duration) -> Result<Self, Error> {
        Self::look_until(pid, limit, |now| now.counted() == before.counted())
    }

    fn look_until(
        pid: u32,
        limit: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<Self, Error> {
        let ends = Instant::now() + limit;
        loop {
            thread::sleep(LOOK_EVERY);
            let now = Self::of(pid)?;
            if is_so(&now) || Instant::now() >= ends {
                return Ok(now);
            }
        }
    }

    fn of_one(pid: u32) -> Result<Self, Error> {
        let process = Path::new("/proc").join(pid.to_string());
        let read = |name: &str| {
            let path = process.join(name);
            fs::read_to_string(&path).map_err(Error::file(path))
        };
        let rollup = read("smaps_rollup")?;
        let (connected, status) = (connections(&read("net/unix")?), read("status")?);
        let directory = process.join("fd");
        let descriptors = fs::read_dir(&directory).map_err(Error::file(directory))?;
        // One that is closed meanwhile leads nowhere.
        let links = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let (connections, descriptors): (Vec<_>, Vec<_>) =
            links.partition(|link| connected.iter().any(|socket| link == Path::new(socket)));
        let bytes = |text: &str, field| number(text, field).unwrap_or_default() * 1024;
        Ok(Self {
            processes: 1,
            threads: usize::try_from(number(&status, "Threads:").unwrap_or_default()).unwrap_or(0),
            descriptors: descriptors.len(),
            connections: connections.len(),
            rss: bytes(&rollup, "Rss:"),
            pss: bytes(&rollup, "Pss:"),
        })
    }

    fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.threads += other.threads;
        self.descriptors += other.descriptors;
        self.connections += other.connections;
        self.rss += other.rss;
        self.pss += other.pss;
    }

    /// The same without memory, of which no two looks find the same, and without connections.
    #[must_use]
    pub fn counted(self) -> Self {
        Self { connections: 0, rss: 0, pss: 0, ..self }
    }
}

/// The number behind a field's name.
fn number(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The sockets of a table like `/proc/net/unix` that are connected, as their descriptors' links name
/// them: `socket:[4711]`. Those that were made as pairs are.
///
/// Source: `unix_seq_show` of net/unix/af_unix.c, `SS_CONNECTED` of linux/net.h.
fn connections(table: &str) -> Vec<String> {
    const CONNECTED: &str = "03";
    let columns = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    columns
        .filter(|columns| columns.get(5) == Some(&CONNECTED))
        .filter_map(|columns| Some(format!("socket:[{}]", columns.get(6)?)))
        .collect()
}

/// All living processes by the one that has started them, or has adopted them.
fn families() -> HashMap<u32, Vec<u32>> {
    let mut families: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name's last bracket stand the state and the parent (proc_pid_stat(5)).
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if let (Some(pid), Some(parent)) = (pid, parent.and_then(|parent| parent.parse().ok())) {
            families.entry(parent).or_default().push(pid);
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::net::UnixStream, process};

    use super::*;
    use crate::Program;

    #[test]
    fn what_is_taken_is_seen() {
        let before = Footprint::of_one(process::id()).unwrap();
        let files: Vec<File> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
        let pairs: Vec<_> = (0..100).map(|_| UnixStream::pair().unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        let now = Footprint::of_one(process::id()).unwrap();
        // Tests run beside each other.
        assert!(now.descriptors >= before.descriptors + files.len() - 50, "{before:?} {now:?}");
        assert!(now.connections >= before.connections + 2 * pairs.len() - 50, "{before:?} {now:?}");
        assert!(now.rss >= before.rss + memory.len() as u64 / 2, "{before:?} {now:?}");
        assert!(now.pss > 0 && now.pss <= now.rss);
    }

    #[test]
    fn children_belong_to_it() {
        let words = ["-c", "sleep 9 & echo up >&2; wait"];
        let mut shell = Program::new("sh").args(words).start().unwrap();
        shell.wait_for_line("up", Duration::from_secs(5)).unwrap();
        let found = Footprint::of(shell.pid()).unwrap();
        assert_eq!((found.processes, found.threads), (2, 2));
        let child = families()[&shell.pid()][0];
        Program::new("kill").arg(child.to_string()).run().unwrap();
        shell.wait().unwrap();
        assert!(Footprint::of(child).is_err());
    }

    #[test]
    fn threads_are_counted() {
        let seen = || Footprint::of_one(process::id()).unwrap().threads;
        assert!(thread::scope(|scope| scope.spawn(seen).join().unwrap()) >= 2);
    }
}
