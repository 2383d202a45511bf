//! CPU, loss and memory of each tool on one namespace.

use std::{thread, time::Duration};

use anyhow::Result;

use super::{
    Bench, Findings,
    group::Group,
    load::{self, Frames, Hog, Load, Wire},
    machine::{self, Activity},
    spread::Spread,
    table::Table,
    tool::{self, Tool},
};

/// How long a tool may work on after the last frame. tcpdump hands over an unfinished block of
/// its ring after a second only.
const DRAIN: Duration = Duration::from_millis(1500);
/// When memory is looked at, after the first frame. Once: looking stops the one looked at.
const LOOK: Duration = Duration::from_millis(700);
/// How long a round may wait for others.
const CALM: Duration = Duration::from_secs(10);
/// What the project wants at most: CPU of whaletap against tcpdump's at 64 bytes.
const CPU_TARGET: f64 = 0.8;

/// Frames a second of the fixed rate.
const FIXED: u64 = 280_000;
/// Bytes a second of the fixed rate of a stream: about as many as of frames of 1400 bytes.
const FIXED_BYTES: u64 = 400_000_000;

/// So many times as many rounds have small frames at full speed, which are judged by CPU time: a run takes
/// 3 s, and medians of five on one day were 0.76 and 0.81.
const MORE_ROUNDS: usize = 3;

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Run {
    tool: Tool,
    sent: u64,
    offered: u64,
    rate: f64,
    captured: u64,
    dropped: u64,
    cpu: f64,
    pss: f64,
    others: f64,
}

impl Run {
    fn lost(&self) -> u64 {
        self.offered.saturating_sub(self.captured)
    }

    fn lost_percent(&self) -> f64 {
        self.lost() as f64 / self.offered.max(1) as f64 * 100.0
    }

    fn cpu_per_million(&self) -> f64 {
        self.cpu / (self.captured.max(1) as f64 / 1e6)
    }
}

/// A load, alone or beside a hog.
#[derive(Debug)]
struct Case {
    load: Load,
    hog: bool,
    rounds: Vec<[Run; 3]>,
}

impl Case {
    fn words(&self) -> String {
        let beside = if self.hog { ", beside a hog" } else { "" };
        format!("{}{beside}", self.load.words())
    }

    /// How many rounds it has where others have this many.
    fn count_of_rounds(&self, rounds: usize) -> usize {
        match (self.load.frames, self.load.rate) {
            (Frames::Of64, None) => rounds * MORE_ROUNDS,
            _ => rounds,
        }
    }

    fn of(&self, tool: Tool) -> impl Iterator<Item = &Run> {
        self.rounds.iter().flatten().filter(move |run| run.tool == tool)
    }

    fn spread(&self, tool: Tool, value: impl Fn(&Run) -> f64) -> Option<Spread> {
        Spread::of(self.of(tool).map(value))
    }

    /// whaletap's value over another tool's, round by round.
    fn ratio(&self, other: Tool, value: impl Fn(&Run) -> f64) -> Option<Spread> {
        let pairs = self.of(Tool::Whaletap).zip(self.of(other));
        Spread::of(pairs.map(|(ours, theirs)| value(ours) / value(theirs)))
    }

    /// Rounds in which whaletap lost a greater share than the other one.
    fn rounds_lost_more(&self, other: Tool) -> usize {
        let pairs = self.of(Tool::Whaletap).zip(self.of(other));
        pairs.filter(|(ours, theirs)| ours.lost_percent() > theirs.lost_percent()).count()
    }
}

fn cases(quick: bool) -> Vec<Case> {
    let part = if quick { 4 } else { 1 };
    let case = |frames, rate, count: u64, hog| Case {
        load: Load { frames, rate, count: count / part },
        hog,
        rounds: Vec::new(),
    };
    let mut cases = vec![
        case(Frames::Of64, None, 4_000_000, false),
        case(Frames::Of64, None, 4_000_000, true),
        case(Frames::Of64, Some(FIXED), 2_000_000, false),
        case(Frames::Of64, Some(FIXED), 2_000_000, true),
        case(Frames::Of1400, None, 1_000_000, false),
        case(Frames::Of1400, None, 1_000_000, true),
        case(Frames::Of1400, Some(FIXED), 840_000, false),
        case(Frames::Gso, None, 4_000_000_000, false),
        case(Frames::Gso, None, 4_000_000_000, true),
        case(Frames::Gso, Some(FIXED_BYTES), 1_200_000_000, false),
    ];
    if quick {
        cases.retain(|case| case.load.rate.is_none() || !case.hog);
    }
    cases
}

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let wire = Wire::new()?;
    let mut findings = Findings::default();
    findings.notes.push(idle_cost(bench, &wire)?);
    println!("{}", findings.notes[0]);
    let mut cases = cases(bench.options.quick);
    for case in &mut cases {
        println!("\n{}", case.words());
        for round in 0..case.count_of_rounds(bench.options.rounds) {
            machine::wait_for_calm(CALM)?;
            let mut runs = Vec::new();
            for tool in Tool::turned(round) {
                let run = once(bench, &wire, tool, case)?;
                println!("  round {} {}", round + 1, cells(&run).join("  "));
                runs.push(run);
            }
            if let Ok(runs) = runs.try_into() {
                case.rounds.push(runs);
            }
        }
    }
    findings.raw.push(raw(&cases));
    findings.summary.push(summary(&cases));
    judge(&cases, &mut findings);
    Ok(findings)
}

fn once(bench: &Bench, wire: &Wire, tool: Tool, case: &Case) -> Result<Run> {
    let (tools, senders) = (Group::new()?, Group::new()?);
    let file = bench.scratch.file("o.pcapng");
    let reserve = bench.scratch.reserve(case.load.bytes())?;
    let running = tool.start(&bench.whaletap, &tools, wire.far(), &file)?;
    let hog = case.hog.then(Hog::start).transpose()?;
    let hog_cpu = || hog.as_ref().map_or(Ok(0.0), Hog::cpu);

    let sink = wire.sink(&case.load)?;
    let passed = wire.passed()?;
    let (before, burnt) = (Activity::now()?, tools.cpu()? + hog_cpu()?);
    drop(reserve);
    let sender = wire.send(&case.load, &senders)?;
    thread::sleep(LOOK);
    let (pss, _) = tools.pss()?;
    let report = load::finished(sender)?;
    thread::sleep(DRAIN);
    let rates = before.since()?;
    let burnt = tools.cpu()? + hog_cpu()? - burnt + senders.cpu()?;
    let offered = wire.passed()? - passed;

    drop((hog, sink));
    let counts = tool::stop(tool, running)?;
    let cpu = tools.cpu()?;
    bench.scratch.clear()?;
    Ok(Run {
        tool,
        sent: report.count,
        offered,
        rate: offered as f64 / report.seconds,
        captured: counts.captured,
        dropped: counts.dropped,
        cpu,
        pss,
        others: (rates.busy - burnt / rates.seconds).max(0.0),
    })
}

/// What a tool's start and end cost without a packet: it is in every number of CPU time.
fn idle_cost(bench: &Bench, wire: &Wire) -> Result<String> {
    let mut told = Vec::new();
    for tool in Tool::ALL {
        let group = Group::new()?;
        let file = bench.scratch.file("o.pcapng");
        let running = tool.start(&bench.whaletap, &group, wire.far(), &file)?;
        thread::sleep(DRAIN);
        tool::stop(tool, running)?;
        told.push(format!("{} {:.3} s", tool.word(), group.cpu()?));
        bench.scratch.clear()?;
    }
    Ok(format!("start and end without a packet cost: {}", told.join(", ")))
}

fn cells(run: &Run) -> Vec<String> {
    vec![
        format!("{:9}", run.tool.word()),
        format!("{} sent", run.sent),
        format!("{} offered", run.offered),
        format!("{:.0} kpps", run.rate / 1e3),
        format!("{} captured", run.captured),
        format!("{} lost ({:.2} %, told {})", run.lost(), run.lost_percent(), run.dropped),
        format!("{:.3} s", run.cpu),
        format!("{:.4} s/M", run.cpu_per_million()),
        format!("PSS {:.1} MB", run.pss / 1e6),
        format!("others {:.2}", run.others),
    ]
}

fn raw(cases: &[Case]) -> Table {
    let mut table = Table::new(
        "Every run: packets (sent: bytes, of a stream); seconds of CPU time; PSS in MB; CPUs that others kept busy meanwhile",
        &[
            "load",
            "round",
            "tool",
            "sent",
            "k/s",
            "offered",
            "captured",
            "lost",
            "told lost",
            "CPU",
            "CPU/M",
            "PSS",
            "others",
        ],
    );
    for case in cases {
        for (round, runs) in case.rounds.iter().enumerate() {
            for run in runs {
                table.row(vec![
                    case.words(),
                    (round + 1).to_string(),
                    run.tool.word().to_owned(),
                    run.sent.to_string(),
                    format!("{:.0}", run.rate / 1e3),
                    run.offered.to_string(),
                    run.captured.to_string(),
                    run.lost().to_string(),
                    run.dropped.to_string(),
                    format!("{:.3}", run.cpu),
                    format!("{:.4}", run.cpu_per_million()),
                    format!("{:.1}", run.pss / 1e6),
                    format!("{:.2}", run.others),
                ]);
            }
        }
    }
    table
}

fn summary(cases: &[Case]) -> Table {
    let mut table = Table::new(
        "Medians (least–greatest). CPU/M: seconds of user and system time for a million captured \
         packets; ratio: whaletap's CPU/M over this tool's in the same round",
        &["load", "tool", "offered k/s", "lost %", "CPU/M", "ratio", "PSS MB"],
    );
    let text = |spread: Option<Spread>, digits: usize| {
        spread.map_or_else(String::new, |spread| format!("{spread:.digits$}"))
    };
    for case in cases {
        for tool in Tool::ALL {
            let ratio = case.ratio(tool, Run::cpu_per_million).filter(|_| tool != Tool::Whaletap);
            table.row(vec![
                case.words(),
                tool.word().to_owned(),
                text(case.spread(tool, |run| run.rate / 1e3), 0),
                text(case.spread(tool, Run::lost_percent), 2),
                text(case.spread(tool, Run::cpu_per_million), 3),
                text(ratio, 2),
                text(case.spread(tool, |run| run.pss / 1e6), 1),
            ]);
        }
    }
    table
}

fn judge(cases: &[Case], findings: &mut Findings) {
    for case in cases.iter().filter(|case| case.load.frames == Frames::Of64) {
        let Some(ratio) = case.ratio(Tool::Tcpdump, Run::cpu_per_million) else { continue };
        findings.judge(
            ratio.median <= CPU_TARGET,
            &format!("CPU at most {CPU_TARGET} × tcpdump's: {ratio} at {}", case.words()),
        );
    }
    for case in cases {
        let rounds = case.rounds.len();
        let worse = [Tool::Tcpdump, Tool::Dumpcap].map(|other| case.rounds_lost_more(other));
        findings.judge(
            worse == [0, 0],
            &format!(
                "never loses more: of {rounds} rounds it lost more than tcpdump in {}, than \
                 dumpcap in {}, at {}",
                worse[0],
                worse[1],
                case.words()
            ),
        );
    }
}
