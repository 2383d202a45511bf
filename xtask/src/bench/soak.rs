//! Thousands of containers that come and go under one session: what it holds of the machine
//! meanwhile, and afterwards.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lab::{Census, Exchange, Footprint, PrivateEngine, Program, Records, Visit, Visitors, judge};

use super::{Bench, Findings, table::Table};

/// Containers in all, between two looks, before the first look, and at a time.
const ALL: u32 = 2000;
const BATCH: u32 = 200;
const WARM_UP: u32 = 40;
const AT_ONCE: usize = 20;
/// How long the session may live.
const LIFE: Duration = Duration::from_secs(1500);
/// How long it may take until it waits, until it holds what it held, and until it has ended.
const LIMIT: Duration = Duration::from_secs(30);
/// How long the kernel may take to free namespaces, and between two looks.
const FREED: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Connections to the engine that may be kept for the next question.
const CONNECTIONS: usize = 8;
/// What the kernel's count of namespaces may be off by.
const SLABS: usize = 64;
/// Memory that may be kept of a container that is gone, for the summary, and memory that may be
/// more in any case, in bytes.
const KEPT: u64 = 2048;
const SLACK: u64 = 4 << 20;

/// One look.
#[derive(Debug, Clone, Copy)]
struct Look {
    gone: u32,
    seconds: f64,
    footprint: Footprint,
    census: Census,
}

impl Look {
    fn cells(&self) -> Vec<String> {
        let Self { gone, seconds, footprint, census } = self;
        vec![
            gone.to_string(),
            format!("{seconds:.0}"),
            format!("{:.2}", footprint.pss as f64 / 1e6),
            format!("{:.2}", footprint.rss as f64 / 1e6),
            footprint.descriptors.to_string(),
            footprint.connections.to_string(),
            format!("{} in {}", footprint.threads, footprint.processes),
            census.mounted.to_string(),
            census.alive.map_or("–".to_owned(), |alive| alive.to_string()),
        ]
    }
}

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let (all, batch) = if bench.options.quick { (ALL / 10, BATCH / 5) } else { (ALL, BATCH) };
    // Of its own: nobody else's containers are counted, nor slow it down.
    let private = PrivateEngine::start()?;
    let engine = private.engine();
    let dockerd = private.pid().context("the engine has ended")?;
    let mut visitors = Visitors::of(engine)?;
    let file = bench.scratch.file("o.pcapng");
    let selector = format!("label:{}", visitors.label());
    let program = Program::new(&bench.whaletap)
        .args(["capture", "--wait", &selector, "-w", &file.to_string_lossy(), "--", "udp"])
        .env("DOCKER_HOST", engine.host())
        .env_remove("SUDO_UID")
        .env_remove("SUDO_GID")
        .env_remove("SUDO_USER");
    let mut running = program.limit(LIFE).start()?;
    let begins = |line: &str| line.contains("capturing ") || line.contains("waiting ");
    running.wait_for("capturing, or waiting", LIMIT, begins)?;

    let mut table = Table::new(
        "What whaletap and its opener hold after so many containers have come and gone: memory in \
         MB, descriptors, connections to the engine, threads in processes; namespaces that the \
         engine has mounted, and all of the machine's by the kernel's rough count",
        &[
            "containers",
            "seconds",
            "PSS",
            "RSS",
            "descriptors",
            "connections",
            "threads",
            "mounted",
            "machine",
        ],
    );
    let mut visits = visitors.come(WARM_UP, AT_ONCE)?.all;
    let footprint = Footprint::settled(running.pid(), LIMIT)?;
    let begun = Instant::now();
    let census = Census::seen_by(dockerd)?;
    let before = Look { gone: 0, seconds: 0.0, footprint, census };
    table.row_shown(before.cells());
    let mut last = before;
    while last.gone < all {
        visits.extend(visitors.come(batch, AT_ONCE)?.all);
        let footprint = Footprint::returned(running.pid(), &footprint, LIMIT)?;
        let census = freed(dockerd, &before.census)?;
        let seconds = begun.elapsed().as_secs_f64();
        last = Look { gone: last.gone + batch, seconds, footprint, census };
        table.row_shown(last.cells());
    }

    Program::new("kill").args(["-INT", &running.pid().to_string()]).run()?;
    let finished = running.wait_at_most(LIMIT)?;
    if finished.code() != Some(0) {
        bail!("{} ended with {}: {}", finished.program, finished.status, finished.stderr);
    }
    judge::all(&file, true)?;
    let records = Records::read(&file)?;
    let seen = Exchange::of_each(&records);
    let of = |visit: &Visit| seen.get(&(Some(&*visit.interface()), visit.run)).copied();
    let (whole, torn): (Vec<_>, Vec<_>) =
        visits.iter().partition(|visit| of(visit) == Some(Exchange::WHOLE));
    let whole = whole.len();

    let mut findings = Findings { summary: vec![table], ..Findings::default() };
    for visit in torn {
        let Exchange { questions, answers } = of(visit).unwrap_or_default();
        let lines = finished.stderr.lines().filter(|line| line.contains(&visit.name));
        let said: Vec<&str> = lines.collect();
        findings.notes.push(format!(
            "{}: questions {questions}, answers {answers}; whaletap said: {}",
            visit.name,
            said.join("; ")
        ));
    }
    let version = engine.docker().args(["version", "--format", "{{.Server.Version}}"]).run()?;
    findings.notes.push(format!("engine {}", version.stdout_text().trim()));
    findings.judge(
        whole == visits.len(),
        &format!("first datagram and answer in the file: {whole} of {}", visits.len()),
    );
    verdicts(&before, &last, &mut findings);
    Ok(findings)
}

/// Looks until there are as many namespaces as there were, or until the limit: the kernel frees
/// them when it comes to it.
fn freed(dockerd: u32, before: &Census) -> Result<Census> {
    let ends = Instant::now() + FREED;
    loop {
        let now = Census::seen_by(dockerd)?;
        if has_returned(&now, before) || Instant::now() >= ends {
            return Ok(now);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn has_returned(now: &Census, before: &Census) -> bool {
    let within = |now: usize, before: usize| now <= before + SLABS;
    let alive = now.alive.zip(before.alive).is_none_or(|(now, before)| within(now, before));
    now.mounted == before.mounted && alive
}

fn verdicts(before: &Look, last: &Look, findings: &mut Findings) {
    let (was, is) = (before.footprint, last.footprint);
    findings.judge(
        is.counted() == was.counted() && is.connections <= was.connections + CONNECTIONS,
        &format!(
            "descriptors, threads and processes are what they were, and at most {CONNECTIONS} \
             connections more"
        ),
    );
    findings.judge(
        has_returned(&last.census, &before.census),
        "as many namespaces are mounted as there were, and the machine has no more, within what the \
         kernel's count is off by",
    );
    // Not PSS: that depends on who else runs the same program.
    let grown = is.rss.saturating_sub(was.rss);
    let bound = u64::from(last.gone) * KEPT + SLACK;
    findings.judge(
        grown <= bound,
        &format!(
            "resident memory grew by {:.2} MB, of {:.2} that {KEPT} bytes for each line of the summary and \
             {} MiB come to",
            grown as f64 / 1e6,
            bound as f64 / 1e6,
            SLACK >> 20
        ),
    );
}
