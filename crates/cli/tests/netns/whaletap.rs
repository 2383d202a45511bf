//! The command under test, and what it says at its end.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lab::{Finished, Namespace, Program, Running, traffic::RawSender};

/// How long anything may take that should take a moment.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// How long a capture may live.
const LIFE: Duration = Duration::from_secs(120);
/// Between two questions where nothing tells of a change.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// The command with these words; nothing of the caller's environment decides what it does.
pub(crate) fn whaletap<A: AsRef<OsStr>>(words: impl IntoIterator<Item = A>) -> Program {
    Program::new(env!("CARGO_BIN_EXE_whaletap"))
        .env_remove("SUDO_UID")
        .env_remove("SUDO_GID")
        .env_remove("SUDO_USER")
        .args(words)
        .limit(LIFE)
}

/// `netns:PATH`.
pub(crate) fn selector(namespace: &Namespace) -> String {
    format!("netns:{}", namespace.path().display())
}

/// The name of a namespace's interface in a file.
pub(crate) fn interface(namespace: &Namespace, device: &str) -> String {
    format!("{}/{device}", namespace.name())
}

/// A directory that goes away, and paths in it.
pub(crate) fn scratch() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    (directory, move |name: &str| path.join(name))
}

/// Sends frames out of a device, one after the other.
pub(crate) fn inject(namespace: &Namespace, device: &str, frames: &[Vec<u8>]) {
    namespace.enter(|| RawSender::open(device)?.send_all(frames)).unwrap().unwrap();
}

/// Waits until something is so that nobody tells of.
pub(crate) fn eventually(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let ends = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < ends, "{what}: not so within {limit:?}");
        std::thread::sleep(ASK_EVERY);
    }
}

/// A capture that runs.
#[derive(Debug)]
pub(crate) struct Whaletap {
    pub(crate) running: Running,
    asked: usize,
}

impl Whaletap {
    /// `whaletap capture` of these namespaces into a file, with further words behind; it captures
    /// when this returns.
    pub(crate) fn capture<A: AsRef<OsStr>>(
        namespaces: &[&Namespace],
        file: &Path,
        more: impl IntoIterator<Item = A>,
    ) -> Self {
        let program = whaletap(["capture"]).args(namespaces.iter().map(|ns| selector(ns)));
        Self::start(program.arg("-w").arg(file).args(more))
    }

    /// The same with all of the command given.
    pub(crate) fn start(program: Program) -> Self {
        Self::start_saying(program, "capturing ")
    }

    /// `whaletap record` of these namespaces into a directory, with further words behind; it
    /// records when this returns.
    pub(crate) fn record<A: AsRef<OsStr>>(
        namespaces: &[&Namespace],
        directory: &Path,
        more: impl IntoIterator<Item = A>,
    ) -> Self {
        let program = whaletap(["record"]).args(namespaces.iter().map(|ns| selector(ns)));
        Self::start_saying(program.arg("-w").arg(directory).args(more), "recording ")
    }

    fn start_saying(program: Program, word: &str) -> Self {
        let mut running = program.start().unwrap();
        running.wait_for_line(word, LIMIT).unwrap();
        Self { running, asked: 0 }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Sends a signal: `INT`, `USR1` …
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.pid(), name);
    }

    /// The answer to SIGUSR1.
    pub(crate) fn counts(&mut self) -> Summary {
        self.asked += 1;
        self.signal("USR1");
        let mut left = self.asked;
        let answer = self.running.wait_for("counts", LIMIT, |line| {
            let is_answer = line.starts_with("whaletap: ") && line.contains(" captured, ");
            left -= usize::from(is_answer);
            is_answer && left == 0
        });
        Summary::parse(&answer.unwrap().replace(", ", "\n"))
    }

    /// Waits until this many packets have been taken out of the rings.
    pub(crate) fn wait_for(&mut self, captured: u64) {
        let ends = Instant::now() + LIMIT;
        loop {
            let counts = self.counts();
            if counts.captured >= captured {
                return;
            }
            assert!(Instant::now() < ends, "{captured} packets were expected: {counts:?}");
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Ends it with SIGINT, which is a success, and reads its summary.
    pub(crate) fn stop(self) -> Summary {
        self.signal("INT");
        self.ended(0)
    }

    /// Waits for its end with this exit code.
    pub(crate) fn ended(self, code: i32) -> Summary {
        let finished = self.running.wait_at_most(LIMIT).unwrap();
        assert_eq!(finished.code(), Some(code), "{finished:?}");
        Summary::of(&finished)
    }
}

/// Sends a signal by its name to a process that may have ended.
pub(crate) fn send_signal(pid: u32, name: &str) {
    Program::new("sh").args(["-c", &format!("kill -{name} {pid}")]).finish().unwrap();
}

/// The counts that a capture ended with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    pub(crate) captured: u64,
    pub(crate) received: u64,
    pub(crate) dropped_by_kernel: u64,
    pub(crate) dropped_by_us: u64,
    pub(crate) refused: u64,
    pub(crate) discarded: u64,
    pub(crate) truncated: u64,
    pub(crate) out_of_order: u64,
    /// A row for each target, by the names of the columns.
    pub(crate) targets: Vec<BTreeMap<String, String>>,
    /// All that was said.
    pub(crate) text: String,
}

impl Summary {
    pub(crate) fn of(finished: &Finished) -> Self {
        Self::parse(&finished.stderr)
    }

    fn parse(text: &str) -> Self {
        let mut summary = Self { text: text.to_owned(), ..Self::default() };
        for line in text.lines() {
            let line = line.trim_start_matches("whaletap: ");
            let Some((number, what)) = line.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            let what = what.trim_start_matches("packets ").trim_start_matches("packet ");
            match what {
                "captured" => summary.captured = number,
                "received by filter" => summary.received = number,
                "dropped by kernel" => summary.dropped_by_kernel = number,
                "dropped by whaletap" => summary.dropped_by_us = number,
                "refused in user space" => summary.refused = number,
                "discarded at stop" => summary.discarded = number,
                "truncated" => summary.truncated = number,
                "out of order" => summary.out_of_order = number,
                _ => {}
            }
        }
        let table = text.lines().skip_while(|line| !line.starts_with("NAME "));
        let mut rows = table.take_while(|line| line.contains("   ")).map(cells);
        let heads = rows.next().unwrap_or_default();
        summary.targets = rows.map(|row| heads.iter().cloned().zip(row).collect()).collect();
        summary
    }

    /// Every packet that was received is accounted for, in all and for each target.
    pub(crate) fn assert_adds_up(&self) {
        let accounted = self.captured
            + self.dropped_by_kernel
            + self.dropped_by_us
            + self.refused
            + self.discarded;
        assert_eq!(self.received, accounted, "{self:?}");
        assert!(!self.text.contains("this is a bug"), "{}", self.text);
        assert!(!self.targets.is_empty(), "{}", self.text);
        let mut captured = 0;
        for target in &self.targets {
            let count = |column: &str| {
                target.get(column).map_or(0, |cell| cell.parse::<u64>().expect("a number"))
            };
            let parts =
                ["PACKETS", "DROPPED BY KERNEL", "DROPPED BY WHALETAP", "REFUSED", "DISCARDED"];
            assert_eq!(count("RECEIVED"), parts.map(count).iter().sum::<u64>(), "{target:?}");
            captured += count("PACKETS");
        }
        assert_eq!(captured, self.captured, "{self:?}");
    }
}

/// Cells stand at least three blanks apart.
fn cells(line: &str) -> Vec<String> {
    line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}
