//! `cargo xtask bench`: whaletap, tcpdump and dumpcap in turn on the same offered load.
//!
//! Everything is measured from outside and in the same way for every tool: CPU by the control
//! group that the tool and all its processes are in, memory by `/proc/PID/smaps_rollup`, packets
//! by what the tool itself says at its end, the offered load by the counter of the receiving
//! device. Files lie on a tmpfs of our own, so that no disk is measured.
//!
//! Rounds are paired: within a round each tool meets the same load one after the other, in an
//! order that turns with the rounds, and ratios are taken within a round. So a machine that gets
//! slower for a minute hits all of them.

mod bystander;
mod cpu;
mod first;
mod fleet;
mod group;
mod helper;
mod load;
mod machine;
mod options;
mod page;
mod record;
mod scale;
mod scratch;
mod soak;
mod spread;
mod stall;
mod start;
mod table;
mod tool;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lab::Program;

use self::{
    machine::Machine,
    options::{Options, Section},
    page::Page,
    scratch::Scratch,
    table::Table,
};

/// What a section has measured.
#[derive(Debug, Default)]
struct Findings {
    /// One line for each target that the project has set itself.
    verdicts: Vec<String>,
    /// Medians and ratios.
    summary: Vec<Table>,
    /// Every single measurement.
    raw: Vec<Table>,
    /// What a reader should know about this run.
    notes: Vec<String>,
}

impl Findings {
    /// Adds a verdict and shows it.
    fn judge(&mut self, met: bool, text: &str) {
        let line = format!("{}: {text}", if met { "met" } else { "**MISSED**" });
        println!("{line}");
        self.verdicts.push(line);
    }
}

/// What every section works with.
#[derive(Debug)]
struct Bench {
    options: Options,
    /// The command that is measured.
    whaletap: PathBuf,
    scratch: Scratch,
}

/// How long to wait before a section for others to be done with the machine.
const QUIET_WAIT: Duration = Duration::from_secs(60);

/// Measures, prints, and writes `docs/benchmarks.md`.
///
/// # Errors
///
/// When the words make no sense, when a tool is missing or cannot be started, and when the page
/// cannot be written.
///
/// # Privileges
///
/// root.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace is the folder above xtask")?;
    lab::judge::installed()?;
    let whaletap = match &options.whaletap {
        Some(path) => path.canonicalize().with_context(|| format!("no {}", path.display()))?,
        None => build(root)?,
    };
    lab::traffic::program().context("the traffic program does not build")?;
    // In this order: a file system that is in use cannot be unmounted.
    group::Group::sweep()?;
    Scratch::sweep()?;
    let bench = Bench { options, whaletap, scratch: Scratch::mount()? };
    let machine = Machine::look(&bench.whaletap);
    println!("{machine}");

    let page = Page::open(root.join("docs/benchmarks.md"))?;
    for section in bench.options.sections() {
        let calm = machine::wait_for_calm(QUIET_WAIT)?;
        println!("\n== {section} ==  ({calm})\n");
        let began = Instant::now();
        let mut findings = match section {
            Section::Cpu => cpu::run(&bench)?,
            Section::Scale => scale::run(&bench)?,
            Section::Bystander => bystander::run(&bench)?,
            Section::Start => start::run(&bench)?,
            Section::Helper => helper::run(&bench)?,
            Section::Record => record::run(&bench)?,
            Section::Stall => stall::run(&bench)?,
            Section::First => first::run(&bench)?,
            Section::Soak => soak::run(&bench)?,
        };
        findings.notes.push(calm);
        findings.notes.push(format!("measured in {:.0} s", began.elapsed().as_secs_f64()));
        for table in &findings.summary {
            println!("\n{table}");
        }
        if !bench.options.quick {
            page.put(section, &machine, &bench.options, &findings)?;
        }
    }
    if bench.options.quick {
        println!("\nquick: docs/benchmarks.md stays as it is");
    } else {
        println!("\nwritten: {}", page.path().display());
    }
    Ok(())
}

/// Builds the command, optimised, and says where it is.
fn build(root: &Path) -> Result<PathBuf> {
    /// From nothing, on a busy machine.
    const LIMIT: Duration = Duration::from_secs(1200);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Program::new(&cargo)
        .args(["build", "--quiet", "--release", "--locked", "--package", "whaletap"])
        .current_dir(root)
        .limit(LIMIT)
        .run()?;
    let told = Program::new(&cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .run()?;
    let told: serde_json::Value = serde_json::from_slice(&told.stdout)?;
    let target = told["target_directory"].as_str().context("cargo names no target directory")?;
    Ok(Path::new(target).join("release/whaletap"))
}
