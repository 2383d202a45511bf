//! The command, and a capture that it makes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use lab::{Container, ContainerSpec, Engine, Finished, Program, Records, Running, Tag};
use tempfile::TempDir;

/// How long anything may take that takes a moment.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at what cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The command, with the engine that tests share. Who runs the tests by sudo is nobody to it.
pub(crate) fn whaletap(words: &[&str]) -> Program {
    whaletap_at(&Engine::endpoint(), words)
}

/// The command, with the engine at this address.
pub(crate) fn whaletap_at(host: &str, words: &[&str]) -> Program {
    let program = Program::new(env!("CARGO_BIN_EXE_whaletap")).args(["--host", host]).args(words);
    ["SUDO_UID", "SUDO_GID", "SUDO_USER", "DOCKER_CONTEXT"]
        .into_iter()
        .fold(program, Program::env_remove)
}

/// Ended with this code, and said these words.
#[track_caller]
pub(crate) fn assert_ended(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code(), Some(code), "{finished:?}");
    for word in words {
        assert!(finished.stderr.contains(word), "{word:?} is not in:\n{}", finished.stderr);
    }
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(LOOK_EVERY);
    }
    begun.elapsed()
}

/// A name that nobody else has, for what a test names itself.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("e2e-{}-{}-{name}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Sends a signal by its name.
#[track_caller]
pub(crate) fn signal(pid: u32, name: &str) {
    Program::new("kill").args([format!("-{name}"), pid.to_string()]).run().unwrap();
}

/// Sends numbered datagrams from one container to another, which does not listen.
#[track_caller]
pub(crate) fn send(from: &Container, to: &Container, count: u32, more: &str) {
    let program = lab::traffic::program().unwrap();
    let address = to.address().unwrap();
    let line = format!("udp --to {address}:9 --count {count} {more}");
    let program = Program::new(program).args(line.split_whitespace()).limit(LIMIT);
    from.enter(program).unwrap().run().unwrap();
}

/// A container that waits for what is done to it.
pub(crate) fn idle(name: &str) -> ContainerSpec {
    ContainerSpec::new(name).command(["sleep", "600"])
}

/// A capture that has begun, and the directory that it writes to.
#[derive(Debug)]
pub(crate) struct Tap {
    running: Running,
    directory: TempDir,
}

/// A capture that has ended.
#[derive(Debug)]
pub(crate) struct Tapped {
    pub(crate) finished: Finished,
    pub(crate) directory: TempDir,
}

impl Tap {
    /// `whaletap capture -w FILE WORDS…`, as soon as it captures.
    #[track_caller]
    pub(crate) fn start(words: &[&str]) -> Self {
        Self::start_at(&Engine::endpoint(), words)
    }

    /// The same with the engine at this address.
    #[track_caller]
    pub(crate) fn start_at(host: &str, words: &[&str]) -> Self {
        Self::start_for(3 * LIMIT, host, words)
    }

    /// The same for one that may live so long.
    #[track_caller]
    pub(crate) fn start_for(life: Duration, host: &str, words: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = capture(host, &directory.path().join(FILE), words);
        let mut running = program.limit(life).start().unwrap();
        running.wait_for_line("capturing ", LIMIT).unwrap();
        Self { running, directory }
    }

    /// Its main process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Its process.
    pub(crate) fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// The file that was asked for.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    /// Waits for a line on its standard error.
    #[track_caller]
    pub(crate) fn hears(&mut self, words: &str) -> String {
        self.running.wait_for_line(words, LIMIT).unwrap()
    }

    /// Waits until so many of a run's datagrams are in the file.
    #[track_caller]
    pub(crate) fn sees(&self, run: u32, times: usize, limit: Duration) {
        // What all of a run's tags begin with.
        let said = &Tag { run, number: 0 }.to_bytes()[..Tag::LENGTH / 2];
        until(&format!("{times} datagrams of run {run} are in the file"), limit, || {
            // Everything that is known goes out.
            signal(self.pid(), "USR2");
            let bytes = fs::read(self.file()).unwrap_or_default();
            bytes.windows(said.len()).filter(|part| *part == said).count() >= times
        });
    }

    /// Stops it as ^C does; it must end well.
    #[track_caller]
    pub(crate) fn stop(self) -> Tapped {
        signal(self.pid(), "INT");
        let tapped = self.wait();
        assert_ended(&tapped.finished, 0, &["ended: stopped"]);
        tapped
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn wait(self) -> Tapped {
        let finished = self.running.wait().unwrap();
        let tapped = Tapped { finished, directory: self.directory };
        assert!(!tapped.finished.stderr.contains("bug"), "{}", tapped.finished.stderr);
        tapped
    }
}

/// The name of the file.
pub(crate) const FILE: &str = "x.pcapng";

/// `whaletap capture -w FILE WORDS…`.
pub(crate) fn capture(host: &str, file: &Path, words: &[&str]) -> Program {
    let file = file.to_str().unwrap();
    let words: Vec<&str> =
        ["capture", "-w", file].into_iter().chain(words.iter().copied()).collect();
    whaletap_at(host, &words)
}

impl Tapped {
    /// The file that was asked for.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    /// What is in the file, which has the frames that the summary tells of.
    #[track_caller]
    pub(crate) fn records(&self) -> Records {
        let records = Records::read(self.file()).unwrap();
        assert_eq!(records.len() as u64, self.count("captured"), "{}", self.finished.stderr);
        records
    }

    /// One of the summary's counts: `12 packets received by filter`; 0 where there is no such
    /// line.
    #[track_caller]
    pub(crate) fn count(&self, what: &str) -> u64 {
        count(&self.finished.stderr, what)
    }

    /// The names in the summary's table.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.finished.stderr)
    }

    /// Nothing was lost, and everything is accounted for.
    #[track_caller]
    pub(crate) fn assert_whole(&self) {
        assert_eq!(self.count("dropped by kernel"), 0, "{}", self.finished.stderr);
        assert_eq!(self.count("dropped by whaletap"), 0, "{}", self.finished.stderr);
        assert_eq!(self.count("captured"), self.count("received by filter"));
    }
}

/// A count of a summary.
pub(crate) fn count(summary: &str, what: &str) -> u64 {
    let number = |line: &str| {
        let (number, rest) = line.split_once(" packet")?;
        rest.trim_start_matches('s').trim().eq(what).then(|| number.parse().unwrap())
    };
    summary.lines().rev().find_map(number).unwrap_or(0)
}

/// The first column of a summary's table.
pub(crate) fn names(summary: &str) -> Vec<String> {
    summary
        .lines()
        .skip_while(|line| !line.starts_with("NAME "))
        .skip(1)
        .take_while(|line| !line.starts_with("file:") && !line.starts_with("ended:"))
        .map(|line| line.split_whitespace().next().unwrap_or_default().to_owned())
        .collect()
}

/// The permissions of a file, without its kind.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
