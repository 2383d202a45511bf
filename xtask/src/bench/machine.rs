//! The machine: what it is, and what it is doing.

use std::{
    fmt, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lab::Program;

/// What the machine and the tools are called.
#[derive(Debug)]
pub(super) struct Machine {
    lines: Vec<String>,
}

impl Machine {
    /// Looks at this machine, and asks the tools for their versions.
    pub(super) fn look(whaletap: &Path) -> Self {
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let memory = line_of("/proc/meminfo", "MemTotal").replace(" kB", "");
        let memory = memory.parse::<f64>().unwrap_or_default() / f64::from(1 << 20);
        let system = line_of("/etc/os-release", "PRETTY_NAME").replace('"', "");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let commit = said("git", &["log", "-1", "--format=%h of %cs"]);
        let whaletap = said(&whaletap.to_string_lossy(), &["version"]);
        Self {
            lines: vec![
                format!(
                    "machine: {}, {cores} cores, {memory:.0} GiB; Linux {}; {system}",
                    line_of("/proc/cpuinfo", "model name"),
                    kernel.trim()
                ),
                format!(
                    "tools: {whaletap} ({commit}); {}; {}",
                    said("tcpdump", &["--version"]),
                    said("dumpcap", &["--version"])
                ),
            ],
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

/// What stands behind `name` and a colon or an equals sign.
fn line_of(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once([':', '=']).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// The first line that a program says about itself, on either output.
fn said(program: &str, arguments: &[&str]) -> String {
    let finished = Program::new(program).args(arguments).finish();
    let Ok(finished) = finished else { return format!("no {program}") };
    let text = finished.stdout_text() + &finished.stderr;
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// What the machine has done since it was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activity {
    at: Instant,
    /// CPU seconds of everybody, stolen ones too: in 10 ms.
    busy: f64,
    /// Interrupts of the local timers of all CPUs.
    timers: f64,
}

/// What the machine did between two looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// How many CPUs were busy on the average.
    pub(super) busy: f64,
    /// Timer interrupts in a second.
    pub(super) timers: f64,
    /// For how long, in seconds.
    pub(super) seconds: f64,
}

impl Activity {
    /// Looks now.
    pub(super) fn now() -> Result<Self> {
        /// Of the numbers in `/proc/stat`, for every architecture that Linux has today.
        const TICKS: f64 = 100.0;
        let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let line = stat.lines().next().context("/proc/stat is empty")?;
        let times: Vec<f64> =
            line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guests are in user (proc_stat(5)).
        let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| times.get(*at)).sum();
        let interrupts = fs::read_to_string("/proc/interrupts").context("/proc/interrupts")?;
        // Architectures without this line have their timer among the others; then there is no
        // number, and the difference of 0 shows it.
        let line = interrupts.lines().find(|line| line.trim_start().starts_with("LOC:"));
        let timers = line.unwrap_or_default().split_whitespace();
        let timers = timers.filter_map(|word| word.parse::<f64>().ok()).sum();
        Ok(Self { at: Instant::now(), busy: busy / TICKS, timers })
    }

    /// What was done since.
    pub(super) fn since(self) -> Result<Rates> {
        let now = Self::now()?;
        let seconds = (now.at - self.at).as_secs_f64();
        Ok(Rates {
            busy: (now.busy - self.busy) / seconds,
            timers: (now.timers - self.timers) / seconds,
            seconds,
        })
    }

    /// Watches for a while.
    pub(super) fn during(time: Duration) -> Result<Rates> {
        let before = Self::now()?;
        thread::sleep(time);
        before.since()
    }
}

/// Waits until nearly nothing runs, or until the limit; says what it found.
pub(super) fn wait_for_calm(limit: Duration) -> Result<String> {
    /// Busy CPUs that are taken for silence.
    const CALM: f64 = 0.2;
    let ends = Instant::now() + limit;
    loop {
        let rates = Activity::during(Duration::from_secs(1))?;
        let calm = rates.busy <= CALM;
        if calm || Instant::now() >= ends {
            let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
            let load = load.split(' ').next().unwrap_or_default().to_owned();
            let word = if calm { "the machine was quiet" } else { "others were at work" };
            return Ok(format!(
                "{word} at its beginning: {:.2} CPUs busy, load average {load}",
                rates.busy
            ));
        }
    }
}
