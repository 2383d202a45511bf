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
/// Pairs for each round of the first section.
const PAIRS: usize = 2;
/// Frames of a measurement.
const FRAMES: u64 = 3_000_000;
/// How long captures have to come to rest.
const REST: Duration = Duration::from_secs(1);
/// How long a pair may wait for others.
const CALM: Duration = Duration::from_secs(5);

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let captured = if bench.options.quick { CAPTURED / 5 } else { CAPTURED };
    let wire = Wire::new()?;
    let fleet = Fleet::new(captured)?;
    let mut table = Table::new(
        "Every pair: thousands of 64-byte frames a second that arrived, and the ratio",
        &["pair", "none", "with captures", "ratio"],
    );
    let mut ratios = Vec::new();
    let mut rates = [Vec::new(), Vec::new()];
    for pair in 0..bench.options.rounds * PAIRS {
        machine::wait_for_calm(CALM)?;
        let mut both = [0.0; 2];
        // The one that comes second may find a warmer machine: in turn.
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            both[which] = if which == 0 { once(&wire)? } else { beside(bench, &wire, &fleet)? };
            rates[which].push(both[which]);
        }
        let ratio = both[1] / both[0];
        table.row_shown(vec![
            (pair + 1).to_string(),
            format!("{:.0}", both[0] / 1e3),
            format!("{:.0}", both[1] / 1e3),
            format!("{ratio:.3}"),
        ]);
        ratios.push(ratio);
    }
    let mut findings = Findings::default();
    let [without, with] = rates;
    if let (Some(ratio), Some(noise), Some(without), Some(with)) = (
        Spread::of(ratios),
        noise(&without),
        Spread::of(without.iter().map(|rate| rate / 1e3)),
        Spread::of(with.iter().map(|rate| rate / 1e3)),
    ) {
        let mut summary = Table::new(
            "Medians (least–greatest), thousands of frames a second",
            &["captures", "arrived", "ratio in pairs"],
        );
        summary.row(vec!["0".to_owned(), format!("{without:.0}"), String::new()]);
        summary.row(vec![captured.to_string(), format!("{with:.0}"), format!("{ratio:.3}")]);
        findings.summary.push(summary);
        // Measurable is what is more than two measurements of the same differ by.
        findings.judge(
            1.0 - ratio.median <= noise,
            &format!(
                "a bystander loses nothing measurable beside {captured} captures: ratio \
                 {ratio:.3}, where measurements without any differ by {:.1} %",
                noise * 100.0
            ),
        );
    }
    findings.raw.push(table);
    Ok(findings)
}

/// The median difference between one measurement and the next of the same, as a share.
fn noise(rates: &[f64]) -> Option<f64> {
    let steps = rates.windows(2).map(|pair| (pair[1] / pair[0] - 1.0).abs());
    Some(Spread::of(steps)?.median)
}

/// Frames a second that arrive.
fn once(wire: &Wire) -> Result<f64> {
    let load = Load { frames: Frames::Of64, rate: None, count: FRAMES };
    let group = Group::new()?;
    let before = wire.arrived()?;
    let report = load::finished(wire.send(&load, &group)?)?;
    Ok((wire.arrived()? - before) as f64 / report.seconds)
}

/// The same while a session captures the fleet, which says nothing.
fn beside(bench: &Bench, wire: &Wire, fleet: &Fleet) -> Result<f64> {
    let group = Group::new()?;
    let file = bench.scratch.file("o.pcapng");
    let program = scale::whaletap(bench, fleet.namespaces(), &group, &file.to_string_lossy());
    let running = tool::started(Tool::Whaletap, program)?;
    thread::sleep(REST);
    let rate = once(wire)?;
    tool::stop(Tool::Whaletap, running)?;
    bench.scratch.clear()?;
    Ok(rate)
}
