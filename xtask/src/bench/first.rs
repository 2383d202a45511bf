//! The first packet of a container that starts while others are captured, against the loop on
//! `docker events` that people write.

use std::{collections::HashMap, fs, path::Path, thread, time::Duration};

use anyhow::{Result, bail, ensure};
use lab::{Exchange, PrivateEngine, Program, Records, Running, Visitors, Visits};

use super::{Bench, Findings, machine, table::Table};

/// Containers of one measurement.
const ALL: u32 = 200;
/// Rounds of the first section for each of ours, which takes minutes.
const ROUNDS: usize = 5;
/// How long those stay that stay.
const STAY: Duration = Duration::from_secs(2);
/// How long a measurement may take: a second and a half for each container.
const LIFE: Duration = Duration::from_secs(300);
/// How long either may take until it follows.
const READY: Duration = Duration::from_secs(20);
/// How long the loop may take until it knows of a container.
const HEARD: Duration = Duration::from_secs(3);
/// How long whaletap may take until it has let go of the last container.
const OVER: Duration = Duration::from_secs(10);
/// How long either goes on after the last container: tcpdump hands over an unfinished block of its
/// ring after a second only, and loses it when it is stopped before.
const AWHILE: Duration = Duration::from_millis(1300);
/// How long either may take to stop.
const STOP: Duration = Duration::from_secs(10);
/// How long a measurement may wait for others.
const CALM: Duration = Duration::from_secs(10);

/// The recipe, of which $1 is the label and $2 the directory. (Its tcpdump stays root, as the
/// files.) What begins with `stat` and the two `echo` are the bench's: when the namespace got its
/// name, and what the loop has heard.
const RECIPE: &str = "\
echo loop >&2
docker events --filter event=start --filter \"label=$1\" --format '{{.ID}}' | \
while read -r id; do
  echo \"heard $id\" >&2
  (
    pid=$(docker inspect --format '{{.State.Pid}}' \"$id\") || exit
    stat -L -c %.9Z \"/proc/$pid/ns/net\" >\"$2/$id.made\" &
    exec nsenter --target \"$pid\" --net tcpdump -U -i any -Z root -w \"$2/$id.pcap\" udp
  ) &
done";

/// How containers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    at_once: usize,
    stays: bool,
}

impl Way {
    const ALL: [Self; 3] = [
        Self { at_once: 1, stays: false },
        Self { at_once: 20, stays: false },
        Self { at_once: 20, stays: true },
    ];

    fn words(self) -> String {
        let stays =
            if self.stays { format!(", staying {} s", STAY.as_secs()) } else { String::new() };
        match self.at_once {
            1 => format!("one after the other{stays}"),
            many => format!("{many} at a time{stays}"),
        }
    }
}

/// What of containers was captured.
#[derive(Debug, Clone, Default)]
struct Caught {
    containers: usize,
    seconds: f64,
    questions: usize,
    answers: usize,
    /// Milliseconds from each namespace's making to its capture.
    windows: Vec<f64>,
    /// Frames counted before; where that is told.
    before: Option<u64>,
    out_of_order: Option<u64>,
}

impl Caught {
    fn of(visits: &Visits) -> Self {
        let (containers, seconds) = (visits.all.len(), visits.took.as_secs_f64());
        Self { containers, seconds, ..Self::default() }
    }

    fn count(&mut self, exchange: Exchange) {
        self.questions += usize::from(exchange.questions > 0);
        self.answers += usize::from(exchange.answers > 0);
    }

    fn add(&mut self, other: Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a.unwrap_or(0) + b?);
        self.containers += other.containers;
        self.seconds += other.seconds;
        self.questions += other.questions;
        self.answers += other.answers;
        self.windows.extend(other.windows);
        self.before = sum(self.before, other.before);
        self.out_of_order = sum(self.out_of_order, other.out_of_order);
    }

    fn rate(&self) -> f64 {
        self.containers as f64 / self.seconds
    }

    fn cells(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or("–".to_owned(), |n| n.to_string());
        let window = |percent| {
            percentile(&self.windows, percent).map_or("–".to_owned(), |ms| format!("{ms:.1}"))
        };
        vec![
            format!("{:.1}", self.rate()),
            format!("{} of {}", self.questions, self.containers),
            format!("{} of {}", self.answers, self.containers),
            window(50),
            window(95),
            window(100),
            number(self.before),
            number(self.out_of_order),
        ]
    }
}

/// Who captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Whaletap,
    Recipe,
}

impl Who {
    const ALL: [Self; 2] = [Self::Whaletap, Self::Recipe];

    fn word(self) -> &'static str {
        match self {
            Self::Whaletap => "whaletap",
            Self::Recipe => "recipe",
        }
    }
}

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let count = if bench.options.quick { ALL / 10 } else { ALL };
    // Of its own: nobody else's containers are heard of.
    let private = PrivateEngine::start()?;
    let engine = private.engine();
    let mut raw = Table::new(
        "Every measurement: containers a second, and milliseconds from each namespace's making to \
         its capture, in the order of the file",
        &["round", "who", "containers come", "a second", "milliseconds"],
    );
    let mut sums: Vec<(Way, Who, Caught)> = Vec::new();
    for round in 0..bench.options.rounds.div_ceil(ROUNDS) {
        for way in Way::ALL {
            let mut both = Who::ALL;
            both.rotate_left(round % 2);
            for who in both {
                machine::wait_for_calm(CALM)?;
                let mut visitors = Visitors::of(engine)?;
                if way.stays {
                    visitors.stay(STAY);
                }
                let caught = match who {
                    Who::Whaletap => whaletap(bench, engine, &mut visitors, way, count)?,
                    Who::Recipe => recipe(bench, engine, &mut visitors, way, count)?,
                };
                bench.scratch.clear()?;
                println!("  {} {}: {}", who.word(), way.words(), caught.cells().join(", "));
                let windows: Vec<String> =
                    caught.windows.iter().map(|window| format!("{window:.1}")).collect();
                raw.row(vec![
                    (round + 1).to_string(),
                    who.word().to_owned(),
                    way.words(),
                    format!("{:.1}", caught.rate()),
                    windows.join(" "),
                ]);
                match sums.iter_mut().find(|sum| (sum.0, sum.1) == (way, who)) {
                    Some((_, _, sum)) => sum.add(caught),
                    None => sums.push((way, who, caught)),
                }
            }
        }
    }
    let mut findings = Findings { raw: vec![raw], ..Findings::default() };
    let version = engine.docker().args(["version", "--format", "{{.Server.Version}}"]).run()?;
    findings.notes.push(format!("engine {}", version.stdout_text().trim()));
    let mut summary = Table::new(
        "Containers a second, removal included; of how many the question and the answer is in the \
         file; milliseconds from the namespace's making to its capture; frames that its devices had \
         counted before; frames behind later ones in the file",
        &[
            "who",
            "containers come",
            "a second",
            "question",
            "answer",
            "median",
            "95 %",
            "longest",
            "before",
            "out of order",
        ],
    );
    sums.sort_by_key(|(_, who, _)| *who == Who::Recipe);
    for (way, who, caught) in sums {
        let mut row = vec![who.word().to_owned(), way.words()];
        row.extend(caught.cells());
        summary.row(row);
        if who == Who::Whaletap {
            let Caught { containers, questions, answers, .. } = caught;
            findings.judge(
                questions == containers && answers == containers,
                &format!(
                    "first datagrams in the file: {questions} of {containers}, and answers: \
                     {answers}, {}",
                    way.words()
                ),
            );
        }
    }
    findings.summary.push(summary);
    Ok(findings)
}

/// Lets containers come to one session.
fn whaletap(
    bench: &Bench,
    engine: &lab::Engine,
    visitors: &mut Visitors,
    way: Way,
    count: u32,
) -> Result<Caught> {
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
    running.wait_for("capturing, or waiting", READY, begins)?;
    let visits = visitors.come(count, way.at_once)?;
    let mut ended = 0;
    // Whether all of them were captured is judged by the file.
    let _ = running.wait_for("the end of all", OVER, |line| {
        ended += u32::from(line.ends_with(": ended"));
        ended == count
    });
    let said = interrupted(running)?;
    let records = Records::read(&file)?;
    let seen = Exchange::of_each(&records);
    let mut caught = Caught::of(&visits);
    for visit in &visits.all {
        let interface = visit.interface();
        caught.count(seen.get(&(Some(&*interface), visit.run)).copied().unwrap_or_default());
    }
    let comments = records.all.iter().flat_map(|record| &record.comments);
    let blind: Vec<(f64, u64)> = comments.filter_map(|comment| blind(comment)).collect();
    caught.windows = blind.iter().map(|(milliseconds, _)| *milliseconds).collect();
    caught.before = Some(blind.iter().map(|(_, frames)| frames).sum());
    let late = said.lines().find(|line| line.ends_with(" out of order"));
    let late = late.and_then(|line| line.split(' ').next()?.parse().ok());
    caught.out_of_order = Some(late.unwrap_or(0));
    Ok(caught)
}

fn interrupted(running: Running) -> Result<String> {
    Program::new("kill").args(["-INT", &running.pid().to_string()]).run()?;
    let finished = running.wait_at_most(STOP)?;
    if finished.code() != Some(0) {
        bail!("{} ended with {}: {}", finished.program, finished.status, finished.stderr);
    }
    Ok(finished.stderr)
}

/// What a comment tells of the time before a capture: milliseconds, and frames.
fn blind(comment: &str) -> Option<(f64, u64)> {
    let (before, behind) = comment.split_once(" ms after its namespace was made; ")?;
    let milliseconds = before.rsplit(' ').next()?.parse().ok()?;
    Some((milliseconds, behind.split(' ').next()?.parse().ok()?))
}

/// Lets containers come to the recipe.
fn recipe(
    bench: &Bench,
    engine: &lab::Engine,
    visitors: &mut Visitors,
    way: Way,
    count: u32,
) -> Result<Caught> {
    let directory = bench.scratch.file("");
    let program = Program::new("sh")
        .args(["-c", RECIPE, "recipe", visitors.label()])
        .arg(&directory)
        .env("DOCKER_HOST", engine.host())
        .own_group()
        .limit(LIFE);
    let mut running = program.start()?;
    running.wait_for_line("loop", READY)?;
    // `docker events` does not say from when on it hears: somebody comes until it has.
    let mut tries = 0;
    while running.wait_for_line("heard", Duration::ZERO).is_err() {
        ensure!(tries < 5, "the loop on docker events hears nothing: {}", running.stderr());
        tries += 1;
        visitors.come(1, 1)?;
        let _ = running.wait_for_line("heard", HEARD);
    }
    bench.scratch.clear()?;
    let visits = visitors.come(count, way.at_once)?;
    thread::sleep(AWHILE);
    // The loop and all that it has started: nothing of it ends by itself.
    Program::new("kill").args(["-TERM", "--", &format!("-{}", running.pid())]).run()?;
    running.wait_at_most(STOP)?;

    let mut caught = Caught::of(&visits);
    let mut seen: HashMap<u32, Exchange> = HashMap::new();
    for entry in fs::read_dir(&directory)?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "pcap") {
            continue;
        }
        caught.windows.extend(window(&path));
        // One that was stopped before it had written anything has nothing.
        let records = Records::read(&path).unwrap_or_default();
        for ((_, run), exchange) in Exchange::of_each(&records) {
            let sum = seen.entry(run).or_default();
            sum.questions += exchange.questions;
            sum.answers += exchange.answers;
        }
    }
    for visit in &visits.all {
        caught.count(seen.get(&visit.run).copied().unwrap_or_default());
    }
    Ok(caught)
}

/// Milliseconds from the making of a container's namespace until tcpdump made its file, which it
/// does as soon as it captures.
fn window(pcap: &Path) -> Option<f64> {
    let begun = fs::metadata(pcap).ok()?.created().ok()?;
    let begun = begun.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64();
    let made = fs::read_to_string(pcap.with_extension("made")).ok()?;
    Some((begun - made.trim().parse::<f64>().ok()?) * 1e3)
}

/// So many percent of the values are not greater.
fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_tells_what_was_missed() {
        let comment = "web: the capture begins here, 14.6 ms after its namespace was made; 3 \
                       frames had passed before";
        assert_eq!(blind(comment), Some((14.6, 3)));
        assert_eq!(blind("web: the capture begins here; what it sent is not in this file"), None);
    }

    #[test]
    fn percentiles_are_values_that_there_are() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        let found = [50, 95, 100].map(|percent| percentile(&values, percent).unwrap());
        assert_eq!(found, [100.0, 190.0, 200.0]);
        assert_eq!(percentile(&[7.0], 50), Some(7.0));
        assert_eq!(percentile(&[], 95), None);
    }
}
