//! Many namespaces at once: one whaletap against as many tcpdumps.

use std::{
    io::{self, PipeReader, Read},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use lab::Running;

use super::{
    Bench, Findings,
    fleet::Fleet,
    group::Group,
    machine::{self, Activity, Rates},
    spread::Spread,
    table::Table,
    tool::{self, Counts, Tool},
};

/// How many namespaces.
const SIZES: [usize; 4] = [1, 10, 50, 100];
/// Rounds at most: they are long, and memory differs little from one to the next.
const ROUNDS: usize = 3;
/// Frames of 1400 bytes that all namespaces together see in a second.
const FRAMES: u64 = 100_000;
/// How long tools have to come to rest after their start.
const REST: Duration = Duration::from_secs(2);
/// How long the idle machine is watched.
const WATCH: Duration = Duration::from_secs(5);
/// How often it is watched at the most, and what others may do meanwhile, in CPUs.
const WATCHES: usize = 3;
const OTHERS: f64 = 0.05;
/// How long a measurement may wait for others.
const CALM: Duration = Duration::from_secs(20);
/// How long the load lasts before the reader of whaletap's pipe stops reading.
const FLOWING: Duration = Duration::from_secs(2);
/// How long it does not read: longer than it takes to fill the pool.
const STALLED: Duration = Duration::from_secs(3);
/// The load's whole length in seconds, and the rest of it.
const LOAD: u64 = 6;
const AFTERWARDS: Duration = Duration::from_millis(2500);
/// What the project wants: memory against tcpdumps', and timer interrupts a second.
const MEMORY_TARGET: f64 = 0.5;
const TIMER_TARGET: f64 = 2000.0;

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Run {
    size: usize,
    tool: Tool,
    processes: usize,
    pss_idle: f64,
    pss_flowing: f64,
    pss_full: f64,
    /// Of the tool alone while idle, in CPUs.
    cpu_idle: f64,
    /// Of the whole machine while idle, without that of the machine without it, in CPUs.
    machine_idle: f64,
    timers: f64,
    cpu_load: f64,
    offered: u64,
    counts: Counts,
}

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let sizes = if bench.options.quick { &[1, 20][..] } else { &SIZES[..] };
    let fleet = Fleet::new(*sizes.last().context("no sizes")?)?;
    let mut runs = Vec::new();
    let mut table = Table::new(
        "Every run. PSS in MB, last while the reader of whaletap's pipe does not read for 3 s (its \
         losses are from then); CPU in thousandths of one CPU; timer interrupts a second of the \
         whole machine, less those without a capture",
        &[
            "targets",
            "tool",
            "processes",
            "PSS idle",
            "PSS load",
            "PSS full",
            "CPU idle",
            "machine idle",
            "timers idle",
            "CPU load",
            "offered",
            "captured",
            "lost",
        ],
    );
    let mut present = 0;
    for size in sizes {
        fleet.join(present, *size)?;
        present = *size;
        for round in 0..bench.options.rounds.min(ROUNDS) {
            let mut tools = [Tool::Whaletap, Tool::Tcpdump];
            tools.rotate_left(round % 2);
            for tool in tools {
                let run = once(bench, &fleet, *size, tool)?;
                table.row_shown(cells(&run));
                runs.push(run);
            }
        }
    }
    let mut findings = Findings { summary: vec![summary(&runs, sizes)], ..Findings::default() };
    findings.raw.push(table);
    judge(&runs, present, &mut findings);
    Ok(findings)
}

fn once(bench: &Bench, fleet: &Fleet, size: usize, tool: Tool) -> Result<Run> {
    machine::wait_for_calm(CALM)?;
    let (baseline, _) = watch(None)?;
    let group = Group::new()?;
    let crew = Crew::start(bench, &fleet.namespaces()[..size], tool, &group)?;
    thread::sleep(REST);
    let (pss_idle, processes) = group.pss()?;
    let (idle, cpu_idle) = watch(Some(&group))?;

    let cpu = group.cpu()?;
    let sender = fleet.send(FRAMES / size as u64, LOAD)?.start()?;
    thread::sleep(FLOWING);
    let (pss_flowing, _) = group.pss()?;
    crew.reader(Reading::Stop);
    thread::sleep(STALLED);
    let (pss_full, _) = group.pss()?;
    crew.reader(Reading::Go);
    let report = super::load::finished(sender)?;
    thread::sleep(AFTERWARDS);
    let cpu_load = (group.cpu()? - cpu) / report.seconds;
    let counts = crew.stop()?;
    bench.scratch.clear()?;
    Ok(Run {
        size,
        tool,
        processes,
        pss_idle,
        pss_flowing,
        pss_full,
        cpu_idle,
        machine_idle: idle.busy - baseline.busy,
        timers: idle.timers - baseline.timers,
        cpu_load,
        offered: report.count * size as u64,
        counts,
    })
}

/// What the machine does while nobody sends, and what the group has of it, in CPUs. Watches again
/// when others were at work meanwhile, and takes the quietest time of all.
fn watch(group: Option<&Group>) -> Result<(Rates, f64)> {
    let cpu = || group.map_or(Ok(0.0), Group::cpu);
    let mut best: Option<(Rates, f64)> = None;
    for _ in 0..WATCHES {
        let before = cpu()?;
        let rates = Activity::during(WATCH)?;
        let own = (cpu()? - before) / rates.seconds;
        if best.is_none_or(|(known, known_own)| rates.busy - own < known.busy - known_own) {
            best = Some((rates, own));
        }
        if best.is_some_and(|(known, known_own)| known.busy - known_own <= OTHERS) {
            break;
        }
    }
    best.context("nothing was watched")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Go,
    Stop,
}

/// All processes that capture the fleet: one whaletap, whose pipe we read, or tcpdumps with a
/// file each. (Their memory is the same whoever takes their packets.)
#[derive(Debug)]
struct Crew {
    tool: Tool,
    running: Vec<Running>,
    reader: Option<(Sender<Reading>, JoinHandle<io::Result<()>>)>,
}

impl Crew {
    fn start(
        bench: &Bench,
        namespaces: &[lab::Namespace],
        tool: Tool,
        group: &Group,
    ) -> Result<Self> {
        if tool != Tool::Whaletap {
            let mut running = Vec::new();
            for (number, namespace) in namespaces.iter().enumerate() {
                let file = bench.scratch.file(&format!("{number}.pcap"));
                running.push(tool.start(&bench.whaletap, group, namespace, &file)?);
            }
            return Ok(Self { tool, running, reader: None });
        }
        let (output, input) = io::pipe()?;
        let program = whaletap(bench, namespaces, group, "-").stdout_to(input);
        let (orders, received) = mpsc::channel();
        // It must be read from before whaletap says that it is ready: the pipe is short.
        let reader = thread::spawn(move || read(output, &received));
        let running = tool::started(tool, program)?;
        Ok(Self { tool, running: vec![running], reader: Some((orders, reader)) })
    }

    fn reader(&self, what: Reading) {
        if let Some((orders, _)) = &self.reader {
            // A reader that has ended tells why when it is joined.
            let _ = orders.send(what);
        }
    }

    fn stop(self) -> Result<Counts> {
        let mut sum = Counts::default();
        for running in self.running {
            let counts = tool::stop(self.tool, running)?;
            sum.captured += counts.captured;
            sum.dropped += counts.dropped;
        }
        if let Some((orders, reader)) = self.reader {
            drop(orders);
            reader.join().ok().context("the pipe's reader panicked")??;
        }
        Ok(sum)
    }
}

/// One session of all namespaces.
pub(super) fn whaletap(
    bench: &Bench,
    namespaces: &[lab::Namespace],
    group: &Group,
    output: &str,
) -> lab::Program {
    let whaletap = bench.whaletap.to_string_lossy();
    let mut command = vec![whaletap.into_owned(), "capture".to_owned()];
    command.extend(["-w".to_owned(), output.to_owned()]);
    command
        .extend(namespaces.iter().map(|namespace| format!("netns:{}", namespace.path().display())));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    group.program(&command)
}

/// Reads to the end, except while it was told not to.
fn read(mut pipe: PipeReader, orders: &Receiver<Reading>) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        if orders.try_recv() == Ok(Reading::Stop) {
            // Until the other order, or until nobody gives any.
            while orders.recv() == Ok(Reading::Stop) {}
        }
        if pipe.read(&mut buffer)? == 0 {
            return Ok(());
        }
    }
}

fn cells(run: &Run) -> Vec<String> {
    vec![
        run.size.to_string(),
        run.tool.word().to_owned(),
        run.processes.to_string(),
        format!("{:.1}", run.pss_idle / 1e6),
        format!("{:.1}", run.pss_flowing / 1e6),
        format!("{:.1}", run.pss_full / 1e6),
        format!("{:.1}", run.cpu_idle * 1e3),
        format!("{:.1}", run.machine_idle * 1e3),
        format!("{:.0}", run.timers),
        format!("{:.0}", run.cpu_load * 1e3),
        run.offered.to_string(),
        run.counts.captured.to_string(),
        run.offered.saturating_sub(run.counts.captured).to_string(),
    ]
}

fn median(runs: &[Run], size: usize, tool: Tool, value: impl Fn(&Run) -> f64) -> f64 {
    let these = runs.iter().filter(|run| run.size == size && run.tool == tool);
    Spread::of(these.map(value)).map_or(f64::NAN, |spread| spread.median)
}

fn summary(runs: &[Run], sizes: &[usize]) -> Table {
    let mut table = Table::new(
        "Medians, whaletap / tcpdumps. PSS in MB, with whaletap's pool full in the last; timer \
         interrupts a second; CPU of the tools in thousandths of one CPU, idle and under load",
        &["targets", "PSS idle", "PSS load", "PSS full", "timers idle", "CPU idle", "CPU load"],
    );
    for size in sizes {
        let both = |value: fn(&Run) -> f64, scale: f64, digits: usize| {
            let [ours, theirs] = [Tool::Whaletap, Tool::Tcpdump]
                .map(|tool| median(runs, *size, tool, value) * scale);
            format!("{ours:.digits$} / {theirs:.digits$}")
        };
        table.row(vec![
            size.to_string(),
            both(|run| run.pss_idle, 1e-6, 1),
            both(|run| run.pss_flowing, 1e-6, 1),
            both(|run| run.pss_full, 1e-6, 1),
            both(|run| run.timers, 1.0, 0),
            both(|run| run.cpu_idle, 1e3, 1),
            both(|run| run.cpu_load, 1e3, 0),
        ]);
    }
    table
}

fn judge(runs: &[Run], size: usize, findings: &mut Findings) {
    type Value = fn(&Run) -> f64;
    let values: [(&str, Value); 3] = [
        ("idle", |run| run.pss_idle),
        ("under load", |run| run.pss_flowing),
        ("with a full pool", |run| run.pss_full),
    ];
    for (when, value) in values {
        let ratio =
            median(runs, size, Tool::Whaletap, value) / median(runs, size, Tool::Tcpdump, value);
        findings.judge(
            ratio <= MEMORY_TARGET,
            &format!(
                "memory of {size} targets at most {MEMORY_TARGET} × tcpdumps': {ratio:.2} {when}"
            ),
        );
    }
    let timers = median(runs, size, Tool::Whaletap, |run| run.timers);
    findings.judge(
        timers <= TIMER_TARGET,
        &format!("at most {TIMER_TARGET} timer interrupts a second, idle: {timers:.0}"),
    );
}
