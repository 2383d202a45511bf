//! A sink that stands still while a target is sent 100 MB a second: what memory holds, and whether what
//! it does not hold is counted.

use std::{
    fs::File,
    io::{self, PipeReader},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use lab::{Program, judge};

use super::{
    Bench, Findings,
    group::Group,
    load::{self, Frames, Load, Wire},
    machine,
    table::Table,
    tool::{LIFE, Tool, started},
};

/// Bytes a second, and of a frame.
const RATE: u64 = 100_000_000;
const FRAME: u64 = 1400;
/// How long a session may take to write what it holds, and to stop.
const STOP: Duration = Duration::from_secs(60);
/// How long a round may wait for others.
const CALM: Duration = Duration::from_secs(3);

/// How long the sink stands still, and what is expected then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    words: &'static str,
    options: &'static [&'static str],
    /// In milliseconds.
    stall: u64,
    /// Whether memory is to hold all of it.
    holds: bool,
}

const CASES: [Case; 3] = [
    Case { words: "--memory 512M", options: &["--memory", "512M"], stall: 3000, holds: true },
    Case { words: "defaults", options: &[], stall: 600, holds: true },
    Case { words: "defaults", options: &[], stall: 2000, holds: false },
];

impl Case {
    fn words(self) -> String {
        format!("{}, {:.1} s", self.words, Duration::from_millis(self.stall).as_secs_f64())
    }

    fn load(self) -> Load {
        let count = RATE * self.stall / 1000 / FRAME;
        Load { frames: Frames::Of1400, rate: Some(RATE / FRAME), count }
    }
}

/// What became of the frames of one stall.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    sent: u64,
    seconds: f64,
    received: u64,
    captured: u64,
    dropped: u64,
    by_kernel: u64,
    in_file: u64,
}

impl Outcome {
    fn lost(self) -> u64 {
        self.sent.saturating_sub(self.in_file)
    }

    /// Whether each frame is in the file or counted as lost.
    fn is_exact(self) -> bool {
        self.received == self.sent
            && self.captured == self.in_file
            && self.captured + self.dropped + self.by_kernel == self.sent
    }
}

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let wire = Wire::new()?;
    let mut raw = Table::new(
        "Every stall: frames, and the seconds in which they were sent",
        &[
            "case",
            "round",
            "sent",
            "seconds",
            "received",
            "captured",
            "dropped by whaletap",
            "dropped by kernel",
            "in the file",
        ],
    );
    let mut findings = Findings::default();
    let mut summary = Table::new(
        "Stalls, those that cost something, and the percentage that the worst of them cost",
        &["case", "stalls", "with losses", "most lost %"],
    );
    for case in CASES {
        let (mut lost, mut exact, mut most) = (0, 0, 0.0_f64);
        let rounds = bench.options.rounds;
        for round in 0..rounds {
            machine::wait_for_calm(CALM)?;
            let outcome = stalled(bench, &wire, case)?;
            bench.scratch.clear()?;
            lost += usize::from(outcome.lost() > 0);
            exact += usize::from(outcome.is_exact());
            most = most.max(outcome.lost() as f64 / outcome.sent.max(1) as f64 * 100.0);
            let Outcome { sent, seconds, received, captured, dropped, by_kernel, in_file } =
                outcome;
            let mut row = vec![case.words(), (round + 1).to_string()];
            row.extend([sent.to_string(), format!("{seconds:.2}")]);
            row.extend([received, captured, dropped, by_kernel, in_file].map(|it| it.to_string()));
            raw.row_shown(row);
        }
        let mut row = vec![case.words(), rounds.to_string(), lost.to_string()];
        row.push(format!("{most:.2}"));
        summary.row(row);
        if case.holds {
            let text = format!(
                "nothing lost in {}: in {} of {rounds} stalls",
                case.words(),
                rounds - lost
            );
            findings.judge(lost == 0, &text);
        } else {
            let text =
                format!("too little memory in {}: lost in {lost} of {rounds} stalls", case.words());
            findings.judge(lost == rounds, &text);
        }
        let text =
            format!("each frame written or counted, {}: in {exact} of {rounds}", case.words());
        findings.judge(exact == rounds, &text);
    }
    findings.summary.push(summary);
    findings.raw.push(raw);
    Ok(findings)
}

/// Lets a session write into a pipe that nobody reads until the sender has ended.
fn stalled(bench: &Bench, wire: &Wire, case: Case) -> Result<Outcome> {
    let (reader, writer) = io::pipe()?;
    let file = bench.scratch.file("o.pcapng");
    let target = format!("netns:{}", wire.far().path().display());
    let program = Program::new(&bench.whaletap).args(["capture", &target, "-w", "-"]);
    let program = program.args(case.options).stdout_to(writer);
    let running = started(Tool::Whaletap, program)?;
    let group = Group::new()?;
    let report = load::finished(wire.send(&case.load(), &group)?)?;
    ensure!(report.failed == 0, "the sender failed {} times", report.failed);
    let copying = copied(reader, file.clone());
    Program::new("kill").args(["-INT", &running.pid().to_string()]).run()?;
    let finished = running.wait_at_most(STOP.min(LIFE))?;
    if finished.code() != Some(0) {
        bail!("{} ended with {}: {}", finished.program, finished.status, finished.stderr);
    }
    copying.join().map_err(|_| anyhow::anyhow!("the reader has panicked"))??;
    let count = |words: &str| -> Result<u64> {
        let line = finished.stderr.lines().find(|line| line.ends_with(words));
        match line.and_then(|line| line.split(' ').next()) {
            Some(number) => number.parse().context("a count that is no number"),
            None => Ok(0),
        }
    };
    Ok(Outcome {
        sent: report.count,
        seconds: report.seconds,
        received: count("received by filter")?,
        captured: count("captured")?,
        dropped: count("dropped by whaletap")?,
        by_kernel: count("dropped by kernel")?,
        in_file: packets(&file)?,
    })
}

/// Reads to the end.
fn copied(mut reader: PipeReader, file: PathBuf) -> JoinHandle<io::Result<u64>> {
    thread::spawn(move || io::copy(&mut reader, &mut File::create(file)?))
}

/// How many packets are in a file, by capinfos.
fn packets(file: &Path) -> Result<u64> {
    let told = judge::capinfos(file)?;
    let number = told.get("Number of packets").context("capinfos tells no number")?;
    Ok(number.parse()?)
}
