//! The flight recorder: twenty targets at five thousand packets a second each.
//!
//! Real containers on a network of their own. What is sent into its bridge to a station that nobody
//! is reaches each of them, so one sender makes the load of all.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use lab::{
    Container, ContainerSpec, DockerNetwork, Engine, Program, Records, Running, engine::Borrowed,
};

use super::{
    Bench, Findings,
    group::Group,
    load, machine,
    table::Table,
    tool::{LIFE, Tool},
};

/// Containers that are recorded.
const TARGETS: usize = 20;
/// Packets a second for each.
const RATE: u64 = 5000;
/// Bytes of a packet.
const SIZE: u64 = 200;
/// The window of the container that is killed, and how long traffic runs before.
const KEEP: Duration = Duration::from_secs(5);
const BEFORE: Duration = Duration::from_secs(10);
/// The window of which most is on disk.
const LONG: Duration = Duration::from_secs(20);
/// Memory that holds every window, and such as does not, in MiB.
const ENOUGH: u64 = 512;
const LITTLE: u64 = 32;
/// Triggers that memory is looked at through.
const TRIGGERS: usize = 200;
/// What a recorder may have beside its windows and rings, in MiB: the program, and files on their
/// way.
const BESIDE: u64 = 16;
/// How long anything may take that takes a moment.
const SOON: Duration = Duration::from_secs(30);
/// How long a part may wait for others.
const CALM: Duration = Duration::from_secs(10);
const LABEL: &str = "whaletap.bench";

/// The containers, and what reaches all of them.
struct World {
    containers: Vec<Container>,
    engine: Engine,
    bridge: String,
    label: String,
    // In this order: a network goes when nobody is on it.
    _network: DockerNetwork,
}

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let borrowed = Borrowed::engine()?;
    let mut findings = Findings::default();
    let version = borrowed.get().docker().args(["version", "--format", "{{.Server.Version}}"]);
    findings.notes.push(format!("engine {}", version.run()?.stdout_text().trim()));
    let mut world = World::new(borrowed.get(), if bench.options.quick { 5 } else { TARGETS })?;
    findings.notes.push(format!(
        "{} containers, each sent {RATE} packets of {SIZE} bytes a second",
        world.containers.len()
    ));
    machine::wait_for_calm(CALM)?;
    death(bench, &mut world, &mut findings)?;
    bench.scratch.clear()?;
    machine::wait_for_calm(CALM)?;
    triggers(bench, &world, &mut findings)?;
    bench.scratch.clear()?;
    machine::wait_for_calm(CALM)?;
    spilled(bench, &world, &mut findings)?;
    Ok(findings)
}

/// One is killed, with tcpdump beside it.
fn death(bench: &Bench, world: &mut World, findings: &mut Findings) -> Result<()> {
    let group = Group::new()?;
    let (keep, memory) = (words(KEEP), format!("{ENOUGH}MiB"));
    let options = ["--keep", &keep, "--after", "1s", "--memory", &memory, "--on", "die:137"];
    let mut ours = world.record(bench, &group, &options)?;
    let victim = &world.containers[0];
    let file = bench.scratch.file("tcpdump.pcap");
    let tcpdump = Program::new("tcpdump")
        .args(["-i", "eth0", "-Z", "root", "--time-stamp-precision=nano", "-B", "65536", "-w"])
        .arg(&file)
        .limit(LIFE);
    let mut tcpdump = victim.enter(tcpdump)?.start()?;
    tcpdump.wait_for_line(Tool::Tcpdump.ready(), SOON)?;
    let traffic = world.send(BEFORE + KEEP)?;
    std::thread::sleep(BEFORE);
    let before = now()?;
    victim.kill()?;
    let line = recorded(&mut ours, "die", 1)?.remove(0);
    traffic.kill();
    tcpdump.interrupt()?;
    let counts = stop(ours)?;

    let ours = Records::read(file_of(&line)?)?;
    let theirs = Records::read(&file)?;
    let stamps = |records: &Records| -> Vec<(u64, Vec<u8>)> {
        let all = records.all.iter().map(|record| (record.timestamp_ns, record.data.clone()));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        all
    };
    let ours = stamps(&ours);
    let (first, last) = (ours.first().context("the file is empty")?.0, ours[ours.len() - 1].0);
    let mut theirs = stamps(&theirs);
    theirs.retain(|(stamp, _)| (first..=last).contains(stamp));
    let missing = theirs.iter().filter(|frame| ours.binary_search(frame).is_err()).count();
    let begins = (before.saturating_sub(first)) as f64 / 1e9;
    let mut table = Table::new(
        "A container is killed: its file beside tcpdump's in the same time",
        &["begins before its death", "asked for", "packets", "tcpdump's", "missing", "lost by all"],
    );
    table.row_shown(vec![
        format!("{begins:.2} s"),
        keep,
        ours.len().to_string(),
        theirs.len().to_string(),
        missing.to_string(),
        counts.lost.to_string(),
    ]);
    findings.summary.push(table);
    findings.judge(
        begins >= KEEP.as_secs_f64(),
        &format!("the file begins at least {KEEP:?} before the death: {begins:.2} s"),
    );
    findings.judge(
        missing == 0 && !theirs.is_empty(),
        &format!("every packet of tcpdump's in the file: {missing} of {} missing", theirs.len()),
    );
    world.containers.remove(0);
    Ok(())
}

/// Far too little memory, and many triggers.
fn triggers(bench: &Bench, world: &World, findings: &mut Findings) -> Result<()> {
    let count = if bench.options.quick { TRIGGERS / 10 } else { TRIGGERS };
    let group = Group::new()?;
    let memory = format!("{LITTLE}MiB");
    let mut options = vec!["--keep", "60s", "--after", "0", "--cooldown", "0", "--on", "signal"];
    options.extend(["--memory", &memory]);
    let mut ours = world.record(bench, &group, &options)?;
    let traffic = world.send(LIFE)?;
    ours.wait_for_line("warning: memory holds ", SOON)?;
    // The windows are full some seconds later, whatever is held.
    std::thread::sleep(Duration::from_secs(5));
    let anonymous_before = anonymous(ours.pid())?;
    let (mut most, mut most_anonymous) = (0_f64, 0);
    let mut last: Option<PathBuf> = None;
    let (mut files, mut written) = (0, 0);
    for _ in 0..count {
        signal(ours.pid(), "USR2")?;
        files += world.containers.len();
        for line in recorded(&mut ours, "signal", files)?.split_off(files - world.containers.len())
        {
            if let Some(earlier) = last.replace(file_of(&line)?) {
                written += fs::metadata(&earlier)?.len();
                fs::remove_file(earlier)?;
            }
        }
        most = most.max(group.pss()?.0);
        most_anonymous = most_anonymous.max(anonymous(ours.pid())?);
    }
    traffic.kill();
    let told = told_in(&last.context("no file was written")?)?;
    let counts = stop(ours)?;
    let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
    let title = format!(
        "{count} triggers of all targets with {memory}: the recorder's memory, and what it wrote"
    );
    let mut table = Table::new(
        &title,
        &["PSS with rings, most", "own memory before", "most", "files", "lost packets"],
    );
    table.row_shown(vec![
        mib(most),
        mib(anonymous_before as f64),
        mib(most_anonymous as f64),
        mib(written as f64),
        counts.lost.to_string(),
    ]);
    findings.summary.push(table);
    findings.judge(
        most_anonymous <= (LITTLE + BESIDE) << 20,
        &format!(
            "own memory at most --memory and {BESIDE} MiB through {count} triggers: {} of {}",
            mib(most_anonymous as f64),
            mib(((LITTLE + BESIDE) << 20) as f64)
        ),
    );
    findings.judge(
        told.contains("asked for 60.000 s, held ") && told.contains("memory was used up"),
        &format!("a shorter window is told in its file: \"{told}\""),
    );
    Ok(())
}

/// A window that is far longer than memory, on disk.
fn spilled(bench: &Bench, world: &World, findings: &mut Findings) -> Result<()> {
    let group = Group::new()?;
    let directory = directory_on_disk()?;
    let (keep, memory) = (words(LONG), format!("{LITTLE}MiB"));
    let spill = directory.to_string_lossy().into_owned();
    let mut options = vec!["--keep", &keep, "--after", "0", "--on", "signal"];
    options.extend(["--memory", &memory, "--spill", &spill]);
    let mut ours = world.record(bench, &group, &options)?;
    let traffic = world.send(LIFE)?;
    std::thread::sleep(LONG + BEFORE);
    let began = Instant::now();
    signal(ours.pid(), "USR2")?;
    let mut shortest = f64::MAX;
    let mut written = 0;
    for line in recorded(&mut ours, "signal", world.containers.len())? {
        let (_, rest) = line.split_once("signal: ").context("no window is told")?;
        let held = rest.split(' ').next().unwrap_or_default().parse::<f64>()?;
        shortest = shortest.min(held);
        let file = file_of(&line)?;
        written += fs::metadata(&file)?.len();
        fs::remove_file(file)?;
    }
    let took = began.elapsed().as_secs_f64();
    let memory_used = anonymous(ours.pid())?;
    traffic.kill();
    let counts = stop(ours)?;
    let left = fs::read_dir(&directory)?.count();
    fs::remove_dir(&directory)?;
    let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
    let title = format!("--spill with {memory}: the windows of all targets, mostly from disk");
    let mut table = Table::new(
        &title,
        &["shortest window", "asked for", "files", "written in", "own memory", "evicted", "lost"],
    );
    table.row_shown(vec![
        format!("{shortest:.1} s"),
        keep,
        mib(written as f64),
        format!("{took:.2} s"),
        mib(memory_used as f64),
        counts.evicted.to_string(),
        counts.lost.to_string(),
    ]);
    findings.summary.push(table);
    findings.judge(
        shortest >= LONG.as_secs_f64() && counts.evicted == 0 && counts.lost == 0 && left == 0,
        &format!(
            "with --spill windows of {LONG:?} are whole: the shortest is {shortest:.1} s, {} \
             packets were evicted and {} lost",
            counts.evicted, counts.lost
        ),
    );
    Ok(())
}

impl World {
    fn new(engine: &Engine, targets: usize) -> Result<Self> {
        let network = engine.network("record")?;
        let bridge = format!("br-{}", network.id().get(..12).context("the network has no id")?);
        let label = format!("record-{}", std::process::id());
        let containers: std::result::Result<Vec<_>, _> = (0..targets)
            .map(|number| {
                let spec = ContainerSpec::new(&format!("target{number}"));
                let spec = spec.command(["sleep", "3600"]).label(LABEL, &label).network(&network);
                engine.run(spec)
            })
            .collect();
        let (engine, containers) = (engine.clone(), containers?);
        Ok(Self { containers, engine, bridge, label, _network: network })
    }

    /// Starts a recorder of all of them, and waits until it records.
    fn record(&self, bench: &Bench, group: &Group, options: &[&str]) -> Result<Running> {
        let (whaletap, out) = (bench.whaletap.to_string_lossy(), bench.scratch.file(""));
        let out = out.to_string_lossy();
        let label = format!("label:{LABEL}={}", self.label);
        let mut command = vec![&*whaletap, "--host", self.engine.host(), "record", &label];
        command.extend(["-w", &out]);
        command.extend(options);
        let program = ["SUDO_UID", "SUDO_GID", "SUDO_USER", "DOCKER_CONTEXT"]
            .into_iter()
            .fold(group.program(&command), Program::env_remove);
        let mut running = program.limit(LIFE).start()?;
        running.wait_for_line("recording ", SOON)?;
        Ok(running)
    }

    /// Sends into the bridge for at most so long.
    fn send(&self, time: Duration) -> Result<Running> {
        let line = format!(
            "send --dev {} --size {SIZE} --rate {RATE} --seconds {}",
            self.bridge,
            time.as_secs()
        );
        Ok(load::here(&line)?.limit(LIFE).start()?)
    }
}

/// The counts at a recorder's end.
struct Counts {
    lost: u64,
    evicted: u64,
}

fn stop(running: Running) -> Result<Counts> {
    signal(running.pid(), "INT")?;
    let finished = running.wait_at_most(SOON)?;
    ensure!(finished.code() == Some(0), "{} ended: {}", finished.program, finished.stderr);
    let mut counts = Counts { lost: 0, evicted: 0 };
    for line in finished.stderr.lines() {
        if line.contains(" packets dropped by ") || line.contains(" packet dropped by ") {
            let number = line.split_whitespace().next().unwrap_or_default();
            counts.lost += number.parse::<u64>().unwrap_or_default();
        }
    }
    let table = finished.stderr.lines().skip_while(|line| !line.starts_with("RECORDED "));
    for row in table.skip(1).take_while(|line| line.contains("   ")) {
        // The last column.
        let evicted = row.split_whitespace().last().unwrap_or_default();
        counts.evicted += evicted.parse::<u64>().context("the table has no counts")?;
    }
    Ok(counts)
}

/// Waits until so many files of a trigger were told of; the lines that tell of them.
fn recorded(recorder: &mut Running, trigger: &str, count: usize) -> Result<Vec<String>> {
    let word = format!(": {trigger}");
    let mut lines = Vec::new();
    recorder.wait_for("files", SOON, |line| {
        if line.contains(&word) && line.contains(" before it and ") {
            lines.push(line.to_owned());
        }
        lines.len() == count
    })?;
    Ok(lines)
}

fn file_of(line: &str) -> Result<PathBuf> {
    let (_, file) = line.rsplit_once(" in ").context("no file is named")?;
    Ok(file.split([' ', ';']).next().unwrap_or_default().into())
}

/// What a file says of why it is there.
fn told_in(file: &Path) -> Result<String> {
    const WORDS: &[u8] = b"flight recorder: ";
    let bytes = fs::read(file)?;
    let at = bytes.windows(WORDS.len()).position(|window| window == WORDS);
    let text = &bytes[at.context("the file does not say why it is there")?..];
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    Ok(String::from_utf8_lossy(&text[..end]).into_owned())
}

/// Bytes of a process's own memory: neither files nor rings.
fn anonymous(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("the process tells no RssAnon")? << 10)
}

fn signal(pid: u32, name: &str) -> Result<()> {
    Program::new("kill").args([&format!("-{name}"), &pid.to_string()]).run()?;
    Ok(())
}

fn now() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

fn words(time: Duration) -> String {
    format!("{}s", time.as_secs())
}

/// A directory on a disk, where this machine has one.
fn directory_on_disk() -> Result<PathBuf> {
    let path = Path::new("/var/tmp").join(format!("whaletap-bench-{}", std::process::id()));
    fs::create_dir(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}
