use std::{
    collections::HashMap,
    net::IpAddr,
    panic::resume_unwind,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Container, ContainerSpec, Engine, Error, Program, Records, Tag, name,
    traffic::{self, Report},
};

/// The label that visitors have; its value is that of one [`Visitors`].
const LABEL: &str = "whaletap.visitor";
/// Where the neighbour answers.
const PORT: u16 = 7;
/// How long a visitor waits for its answer, in seconds: a busy machine is slow, and loses nothing.
const PATIENCE: u32 = 20;
/// How long a neighbour answers, in seconds: the most that the traffic program does anything.
const LIFE: u32 = 600;
/// Beyond this age a neighbour is replaced by the next one before visitors come to it.
const FRESH: Duration = Duration::from_secs(240);
/// How long the neighbour may take until it answers, and between two questions to it.
const READY: Duration = Duration::from_secs(20);
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Containers that come, ask a neighbour one thing as their first instruction, and go as soon as
/// they have their answer: a UDP datagram to port 7 and its echo, each with the visit's number as the
/// run of its [`Tag`].
///
/// The neighbour has no label, and visitors have the same one.
#[derive(Debug)]
pub struct Visitors {
    engine: Engine,
    label: String,
    stay: Option<Duration>,
    neighbour: Neighbour,
    next: u32,
}

/// One that has come and gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Visit {
    /// The run of its tags; none has that of another.
    pub run: u32,
    /// The container's name.
    pub name: String,
}

/// Some that have come and gone.
#[derive(Debug, Clone)]
pub struct Visits {
    /// Each.
    pub all: Vec<Visit>,
    /// From the first one's beginning until the last one was removed.
    pub took: Duration,
}

/// How often a question and its answer were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exchange {
    /// Datagrams to the neighbour.
    pub questions: usize,
    /// Datagrams from it.
    pub answers: usize,
}

#[derive(Debug)]
struct Neighbour {
    // Lives as long as this.
    _container: Container,
    address: IpAddr,
    since: Instant,
}

impl Visitors {
    /// Starts the neighbour, and nobody else yet.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said, and [`Error::NotSaid`] when the neighbour does not
    /// answer.
    ///
    /// # Privileges
    ///
    /// root.
    pub fn of(engine: &Engine) -> Result<Self, Error> {
        let neighbour = Neighbour::start(engine)?;
        let label = format!("{LABEL}={}", name::unique());
        Ok(Self { engine: engine.clone(), label, stay: None, neighbour, next: 1 })
    }

    /// Lets those that come from now on stay for a while after their answer.
    pub fn stay(&mut self, time: Duration) {
        self.stay = Some(time);
    }

    /// Their label as `docker events --filter label=…` takes it: `KEY=VALUE`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Lets `count` come, `at_once` at a time, and comes back when the last one is removed.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said, and [`Error::Unexpected`] for a visitor that got no
    /// answer. The others come all the same.
    pub fn come(&mut self, count: u32, at_once: usize) -> Result<Visits, Error> {
        if self.neighbour.since.elapsed() > FRESH {
            self.neighbour = Neighbour::start(&self.engine)?;
        }
        let runs = self.next..self.next + count;
        self.next = runs.end;
        let waiting = AtomicU32::new(runs.start);
        let begun = Instant::now();
        let all = thread::scope(|scope| {
            let usher = || {
                let mut visits = Vec::new();
                let mut failed = None;
                loop {
                    let run = waiting.fetch_add(1, Ordering::Relaxed);
                    if !runs.contains(&run) {
                        return (visits, failed);
                    }
                    match self.visit(run) {
                        Ok(visit) => visits.push(visit),
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
            };
            let ushers: Vec<_> = (0..at_once).map(|_| scope.spawn(usher)).collect();
            let mut all = Vec::new();
            let mut failed = None;
            for usher in ushers {
                let (visits, error) = usher.join().unwrap_or_else(|panic| resume_unwind(panic));
                all.extend(visits);
                failed = failed.or(error);
            }
            failed.map_or(Ok(all), Err)
        });
        let took = begun.elapsed();
        let mut all = all?;
        all.sort_by_key(|visit| visit.run);
        Ok(Visits { all, took })
    }

    fn visit(&self, run: u32) -> Result<Visit, Error> {
        let ask = format!(
            "whaletap-traffic udp-ping --to {}:{PORT} --count 1 --run {run} --patience {PATIENCE}",
            self.neighbour.address
        );
        let name = format!("{}-visitor-{run}", name::unique());
        let spec = ContainerSpec::named(&name).option("--label", &self.label);
        let spec = match self.stay {
            None => spec.command(ask.split(' ')),
            Some(stay) => {
                let script = format!("{ask} && sleep {}", stay.as_secs_f64());
                spec.command(["sh", "-c", &script])
            }
        };
        let limit = Duration::from_secs(LIFE.into());
        let ended = self.engine.run_to_end(spec, limit)?;
        let (program, text) = (ended.program.clone(), ended.stdout_text());
        match Report::of(ended)? {
            Report { count: 1, failed: 0, .. } => Ok(Visit { run, name }),
            _ => Err(Error::Unexpected { program, text }),
        }
    }
}

impl Neighbour {
    fn start(engine: &Engine) -> Result<Self, Error> {
        let words = format!("udp-echo --listen 0.0.0.0:{PORT} --seconds {LIFE}");
        let container = engine.run(ContainerSpec::new("neighbour").traffic(&words))?;
        let (address, since) = (container.address()?, Instant::now());
        let words = format!("udp-ping --to 127.0.0.1:{PORT} --count 1 --run 0");
        loop {
            let ask = Program::new(traffic::program()?).args(words.split(' '));
            let told = container.enter(ask)?.finish()?;
            let Report { failed, .. } = Report::of(told)?;
            if failed == 0 {
                return Ok(Self { _container: container, address, since });
            }
            if since.elapsed() > READY {
                return Err(Error::NotSaid {
                    program: container.name().to_owned(),
                    wanted: "an answer".to_owned(),
                    limit: READY,
                    stderr: String::new(),
                });
            }
            thread::sleep(ASK_EVERY);
        }
    }
}

impl Visit {
    /// What its interface is called in whaletap's files.
    #[must_use]
    pub fn interface(&self) -> String {
        format!("{}/eth0", self.name)
    }
}

impl Exchange {
    /// Each was seen once.
    pub const WHOLE: Self = Self { questions: 1, answers: 1 };

    /// What there is in files of each visit, by interface and run; classic pcap has no interfaces.
    #[must_use]
    pub fn of_each(records: &Records) -> HashMap<(Option<&str>, u32), Self> {
        let mut all: HashMap<_, Self> = HashMap::new();
        for record in &records.all {
            let Some(tag) = Tag::find(&record.data) else { continue };
            let Some([from, to]) = ports(&record.data) else { continue };
            let seen = all.entry((record.interface.as_deref(), tag.run)).or_default();
            seen.questions += usize::from(to == PORT);
            seen.answers += usize::from(from == PORT);
        }
        all
    }
}

/// The ports of a datagram that begins with a tag. Its header, whose first four bytes they are, has
/// eight (RFC 768).
fn ports(frame: &[u8]) -> Option<[u16; 2]> {
    let header = Tag::position(frame)?.checked_sub(8)?;
    let port = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    Some([port(header)?, port(header + 2)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    #[test]
    fn questions_are_told_from_answers() {
        let record = |from: u16, to: u16, run| {
            let mut data = vec![0; 34];
            data.extend([from.to_be_bytes(), to.to_be_bytes(), [0, 24], [0, 0]].concat());
            data.extend(Tag { run, number: 0 }.to_bytes());
            let interface = Some("a/eth0".to_owned());
            Record { interface, data, ..Record::default() }
        };
        let all = vec![record(40_000, 7, 1), record(7, 40_000, 1), record(40_001, 7, 2)];
        let records = Records { all };
        let seen = Exchange::of_each(&records);
        assert_eq!(seen[&(Some("a/eth0"), 1)], Exchange::WHOLE);
        assert_eq!(seen[&(Some("a/eth0"), 2)], Exchange { questions: 1, answers: 0 });
        assert_eq!(seen.len(), 2);
    }
}
