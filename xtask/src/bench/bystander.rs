//! What traffic loses that nobody captures, while others are captured.

use std::{thread, time::Duration};

use anyhow::Result;

use super::{
    Bench, Findings,
    fleet::Fleet,
    group::Group,
    load::{self, Frames, Load, Wire},
    machine, scale,
    spread::Spread,
    table::Table,
    tool::{self, Tool},
};

/// Captured namespaces.
const CAPTURED: usize = 100;
/// Rounds for each round of the first section.
const TIMES: usize = 2;
/// Frames of a measurement.
const FRAMES: u64 = 3_000_000;
/// How long captures have to come to rest.
const REST: Duration = Duration::from_secs(1);
/// How long a round may wait for others.
const CALM: Duration = Duration::from_secs(5);

/// What else goes on while the bystander is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// One session of so many namespaces.
    Whaletap(usize),
    /// tcpdump on one namespace.
    Tcpdump,
    /// The same with stamps in nanoseconds, which the kernel is asked for in another way.
    TcpdumpNano,
}

impl Beside {
    fn words(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Whaletap(size) => format!("whaletap on {size}"),
            Self::Tcpdump => "tcpdump on 1".to_owned(),
            Self::TcpdumpNano => "tcpdump on 1, nanoseconds".to_owned(),
        }
    }
}

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let captured = if bench.options.quick { CAPTURED / 5 } else { CAPTURED };
    let wire = Wire::new()?;
    let fleet = Fleet::new(captured)?;
    let all = [
        Beside::Nothing,
        Beside::Whaletap(1),
        Beside::Whaletap(captured),
        Beside::Tcpdump,
        Beside::TcpdumpNano,
    ];
    let words = all.map(Beside::words);
    let mut heads = vec!["round"];
    heads.extend(words.iter().map(String::as_str));
    let mut table =
        Table::new("Every round: thousands of 64-byte frames a second that arrived", &heads);
    let mut rates = all.map(|_| Vec::new());
    for round in 0..bench.options.rounds * TIMES {
        machine::wait_for_calm(CALM)?;
        // The machine may become slower: in turn.
        for at in 0..all.len() {
            let at = (at + round) % all.len();
            rates[at].push(once(bench, &wire, &fleet, all[at])? / 1e3);
        }
        let mut row = vec![(round + 1).to_string()];
        row.extend(rates.iter().map(|rates| format!("{:.0}", rates[round])));
        table.row_shown(row);
    }
    let mut findings = Findings { raw: vec![table], ..Findings::default() };
    let mut summary = Table::new(
        "Medians (least–greatest): thousands of frames a second, and of what there was beside \
         nothing in the same round",
        &["beside", "arrived", "ratio"],
    );
    for (beside, these) in all.iter().zip(&rates) {
        let ratio = Spread::of(these.iter().zip(&rates[0]).map(|(with, none)| with / none));
        let (Some(ratio), Some(rate)) = (ratio, Spread::of(these.iter().copied())) else {
            continue;
        };
        summary.row(vec![beside.words(), format!("{rate:.0}"), format!("{ratio:.3}")]);
        if *beside == Beside::Whaletap(captured) {
            // Measurable is what is more than two measurements of the same differ by.
            let noise = noise(&rates[0]).unwrap_or_default();
            findings.judge(
                1.0 - ratio.median <= noise,
                &format!(
                    "a bystander loses nothing measurable beside {captured} captures: ratio \
                     {ratio:.3}, where measurements without any differ by {:.1} %",
                    noise * 100.0
                ),
            );
        }
    }
    findings.summary.push(summary);
    Ok(findings)
}

/// The median difference between one measurement and the next of the same, as a share.
fn noise(rates: &[f64]) -> Option<f64> {
    let steps = rates.windows(2).map(|pair| (pair[1] / pair[0] - 1.0).abs());
    Some(Spread::of(steps)?.median)
}

/// Frames a second that arrive.
fn once(bench: &Bench, wire: &Wire, fleet: &Fleet, beside: Beside) -> Result<f64> {
    let group = Group::new()?;
    let file = bench.scratch.file("o.pcapng");
    let file = file.to_string_lossy();
    let first = &fleet.namespaces()[0];
    let tcpdump = ["tcpdump", "-i", "eth0", "-Z", "root", "-w", &file];
    let nano = "--time-stamp-precision=nano";
    let program = match beside {
        Beside::Nothing => None,
        Beside::Whaletap(size) => Some((
            Tool::Whaletap,
            scale::whaletap(bench, &fleet.namespaces()[..size], &group, &file),
        )),
        Beside::Tcpdump => Some((Tool::Tcpdump, group.program(&tcpdump).inside(first))),
        Beside::TcpdumpNano => {
            Some((Tool::Tcpdump, group.program(&tcpdump).arg(nano).inside(first)))
        }
    };
    let running = program
        .map(|(tool, program)| anyhow::Ok((tool, tool::started(tool, program)?)))
        .transpose()?;
    thread::sleep(REST);
    let load = Load { frames: Frames::Of64, rate: None, count: FRAMES };
    let senders = Group::new()?;
    let before = wire.passed()?;
    let report = load::finished(wire.send(&load, &senders)?)?;
    let passed = wire.passed()? - before;
    if let Some((tool, running)) = running {
        tool::stop(tool, running)?;
        bench.scratch.clear()?;
    }
    Ok(passed as f64 / report.seconds)
}
