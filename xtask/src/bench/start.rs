//! From exec to the first packet of a container, against the recipe that people type by hand.

use std::{
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use lab::{Container, ContainerSpec, Program, Records, engine::Borrowed};

use super::{
    Bench, Findings, machine,
    spread::Spread,
    table::Table,
    tool::{LIFE, Tool},
};

/// Pairs for each round of the first section.
const PAIRS: usize = 4;
/// How long a tool may take until it says that it captures.
const READY: Duration = Duration::from_secs(20);
/// How long it captures after it said so: tcpdump hands over an unfinished block of its ring after
/// a second only, and loses it when it is stopped before.
const AWHILE: Duration = Duration::from_millis(1300);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(10);
/// How long a pair may wait for others.
pub(super) const CALM: Duration = Duration::from_secs(3);
/// What the project wants: our time against the recipe's.
const TARGET: f64 = 0.5;
/// The recipe, of which $1 is the name and $2 the file. (Its tcpdump stays root, as the file.)
const RECIPE: &str = "\
id=$(docker ps | grep \"$1\" | cut -d ' ' -f 1) && \
pid=$(docker inspect --format '{{.State.Pid}}' \"$id\") && \
exec nsenter --target \"$pid\" --net tcpdump -i any -Z root -w \"$2\"";

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let borrowed = Borrowed::engine()?;
    let engine = borrowed.get();
    let clock =
        ContainerSpec::new("clock").traffic("clock --dev eth0 --interval-us 500 --seconds 600");
    let container = engine.run(clock)?;
    let mut table = Table::new(
        "Every pair: milliseconds from exec to the first packet in the file, and the ratio",
        &["pair", "whaletap", "recipe", "ratio"],
    );
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..bench.options.rounds * PAIRS {
        machine::wait_for_calm(CALM)?;
        let mut both = [0.0; 2];
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let file = bench.scratch.file(if which == 0 { "o.pcapng" } else { "o.pcap" });
            let name = file.to_string_lossy();
            let (tool, program) = if which == 0 {
                let program = Program::new(&bench.whaletap);
                (Tool::Whaletap, program.args(["capture", container.name(), "-w", &name]))
            } else {
                let words = ["-c", RECIPE, "recipe", container.name(), &name];
                (Tool::Tcpdump, Program::new("sh").args(words))
            };
            let program = program.env("DOCKER_HOST", engine.host());
            both[which] = first_packet(tool, program, &file, &container)?;
            bench.scratch.clear()?;
        }
        let ratio = both[0] / both[1];
        table.row_shown(vec![
            (pair + 1).to_string(),
            format!("{:.1}", both[0]),
            format!("{:.1}", both[1]),
            format!("{ratio:.2}"),
        ]);
        ours.push(both[0]);
        theirs.push(both[1]);
        ratios.push(ratio);
    }
    let mut findings = Findings { raw: vec![table], ..Findings::default() };
    let version = engine.docker().args(["version", "--format", "{{.Server.Version}}"]).run()?;
    findings.notes.push(format!("engine {}", version.stdout_text().trim()));
    if let (Some(ours), Some(theirs), Some(ratio)) =
        (Spread::of(ours), Spread::of(theirs), Spread::of(ratios))
    {
        let mut summary = Table::new(
            "Medians (least–greatest), milliseconds",
            &["whaletap", "recipe", "ratio in pairs"],
        );
        summary.row(vec![format!("{ours:.1}"), format!("{theirs:.1}"), format!("{ratio:.2}")]);
        findings.summary.push(summary);
        findings.judge(
            ratio.median <= TARGET,
            &format!("exec to first packet at most {TARGET} × the recipe's: {ratio:.2}"),
        );
    }
    Ok(findings)
}

/// Milliseconds from exec to the send time that the first packet in the file carries.
pub(super) fn first_packet(
    tool: Tool,
    program: Program,
    file: &Path,
    container: &Container,
) -> Result<f64> {
    let program = program.env_remove("SUDO_UID").env_remove("SUDO_GID").env_remove("SUDO_USER");
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut running = program.limit(LIFE).start()?;
    running.wait_for_line(tool.ready(), READY)?;
    thread::sleep(AWHILE);
    Program::new("kill").args(["-INT", &running.pid().to_string()]).run()?;
    let finished = running.wait_at_most(STOP)?;
    if finished.code() != Some(0) {
        bail!("{} ended with {}: {}", finished.program, finished.status, finished.stderr);
    }
    let records = Records::read(file)?;
    let first = records.all.first().with_context(|| format!("{} is silent", container.name()))?;
    // The clock's frames end with the time, in nanoseconds.
    let sent = first.data.last_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    let sent = Duration::from_nanos(sent.context("the first packet is not the clock's")?);
    let took = sent.checked_sub(began).context("the first packet is older than the exec")?;
    ensure!(took < READY, "the first packet carries no time: {took:?}");
    Ok(took.as_secs_f64() * 1e3)
}
