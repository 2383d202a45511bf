//! A session's flight recorder: what it was asked for, and what follows from each file.

use std::{
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use capture::{Event, Keep, Record, RecorderConfig, SpillConfig, Trigger};
use filter::{Expression, Plan};
use model::{Direction, Snaplen};
use serde::Serialize;

use crate::{
    Error, Notice, Observer,
    runner::Runner,
    trigger::{On, Triggers},
};

/// The longest detail of a trigger that a command is told, in bytes: what is written for it has to
/// fit into a pipe that nobody has begun to read.
const MAX_DETAIL: usize = 4096;

/// A flight recorder as it was asked for.
#[derive(Debug, Clone)]
pub struct Recording {
    /// What is kept of each target.
    pub keep: Keep,
    /// How long a file goes on behind its trigger.
    pub after: Duration,
    /// For what files are written.
    pub on: Triggers,
    /// How long behind a file's end nothing is written for its target and triggers of the same kind.
    pub cooldown: Duration,
    /// The most files.
    pub max_files: Option<u32>,
    /// The most bytes of all files.
    pub max_bytes: Option<u64>,
    /// A command that is run with each file that was written, and told of it in JSON.
    pub exec: Option<String>,
    /// Where what memory cannot hold goes.
    pub spill: Option<Spilling>,
}

/// `--spill`: where windows go on that memory cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spilling {
    /// The directory.
    pub directory: PathBuf,
    /// The most bytes.
    pub size: u64,
}

impl Spilling {
    /// Opens the file, which has no name. To be done while there are rights: it is used without any,
    /// and the directory need not be writable any more.
    pub(crate) fn open(&self, working: &Path) -> Result<SpillConfig, Error> {
        let directory = working.join(&self.directory);
        let file = sys::disk::nameless(&directory).map_err(|error| Error::Spill {
            directory: directory.clone(),
            source: match error {
                sys::Error::Path { source, .. } => source,
                other => std::io::Error::other(other),
            },
        })?;
        Ok(SpillConfig { file, directory, size: self.size })
    }
}

impl Recording {
    /// For the pipeline. Expressions are compiled by this, so it is done while there are rights.
    pub(crate) fn config(&self) -> Result<RecorderConfig, Error> {
        let mut config = RecorderConfig {
            keep: self.keep,
            after: self.after,
            cooldown: self.cooldown,
            max_files: self.max_files,
            max_bytes: self.max_bytes,
            resets: Vec::new(),
            drops: false,
            matches: Vec::new(),
        };
        for on in self.on.iter() {
            match on {
                On::Resets(limit) => config.resets.push(*limit),
                On::Drop => config.drops = true,
                On::Match(expression) => {
                    config.matches.push((expression.clone(), Arc::new(compile(expression)?)));
                }
                On::Die(_) | On::OutOfMemory | On::Restart | On::Unhealthy | On::Signal => {}
            }
        }
        Ok(config)
    }

    /// The trigger that SIGUSR2 is now, if it is one.
    pub(crate) fn signalled(&self) -> Option<Trigger> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.on.signalled(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Tells what the recorder did, and runs the user's command.
    pub(crate) fn hear(
        &self,
        event: &Event,
        directory: &Path,
        runner: Option<&Runner>,
        observer: &mut dyn Observer,
    ) {
        match event {
            Event::Recorded(record) => {
                observer.notice(Notice::Recorded(record));
                observer.file_done(&record.path);
                if let (Some(command), Some(runner)) = (&self.exec, runner)
                    && let Err(error) = run(command, record, directory, runner)
                {
                    let what = error.to_string();
                    observer.notice(Notice::Command { command, what: &what });
                }
            }
            Event::NotRecorded { target, trigger, error } => {
                observer.notice(Notice::NotRecorded { target, trigger, error });
            }
            Event::RecorderFull { limit } => {
                observer.notice(Notice::RecorderFull { limit: *limit })
            }
            Event::WindowShort { asked, possible, spills } => {
                let (asked, possible, spills) = (*asked, *possible, *spills);
                observer.notice(Notice::WindowShort { asked, possible, spills });
            }
            Event::Spill { directory, trouble } => {
                observer.notice(Notice::Spill { directory, trouble });
            }
            _ => {}
        }
    }
}

/// An expression for frames that have been captured, whichever way they travel.
fn compile(expression: &str) -> Result<Plan, Error> {
    let wrong = |source| Error::Expression { expression: expression.to_owned(), source };
    let compiled = Expression::new(expression)
        .compile(Snaplen::MAX, |job| sys::netns::in_private_namespace(|| job.run()))
        .map_err(wrong)?;
    Plan::compose(&compiled, Direction::InOut).map_err(wrong)
}

/// What a command is told of a file on its standard input: one JSON object. Keys are stable: none is
/// removed or renamed, and every one is always there.
#[derive(Debug, Serialize)]
struct Told<'a> {
    file: PathBuf,
    target: &'a str,
    trigger: &'a str,
    detail: &'a str,
    /// Seconds since 1970.
    at: f64,
    /// Triggers that came while the file was written.
    further: u64,
    /// `null` where bytes were asked for.
    window_seconds_asked: Option<f64>,
    /// `null` where a time was asked for.
    window_bytes_asked: Option<u64>,
    window_seconds_held: f64,
    /// The window is shorter than asked for, because memory was used up.
    short: bool,
    packets: u64,
    bytes: u64,
}

impl<'a> Told<'a> {
    fn of(record: &'a Record, directory: &Path) -> Self {
        let (seconds, bytes) = match record.asked {
            Keep::Time(time) => (Some(time.as_secs_f64()), None),
            Keep::Bytes(bytes) => (None, Some(bytes)),
        };
        let detail = &record.trigger.detail;
        let end = (0..=detail.len().min(MAX_DETAIL)).rfind(|end| detail.is_char_boundary(*end));
        Self {
            file: directory.join(&record.path),
            target: &record.target,
            trigger: &record.trigger.name,
            detail: &detail[..end.unwrap_or_default()],
            at: Duration::from_nanos(record.trigger.at).as_secs_f64(),
            further: record.further,
            window_seconds_asked: seconds,
            window_bytes_asked: bytes,
            window_seconds_held: record.held.as_secs_f64(),
            short: record.short,
            packets: record.packets,
            bytes: record.bytes,
        }
    }
}

fn run(command: &str, record: &Record, directory: &Path, runner: &Runner) -> Result<(), Error> {
    let told = Told::of(record, directory);
    let failed = |source| Error::Command { command: command.to_owned(), source };
    let mut text = serde_json::to_vec(&told).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    let (reader, mut writer) = std::io::pipe().map_err(sys::Error::call("pipe2"))?;
    // Nobody reads yet, and what is written fits into a pipe: see `MAX_DETAIL`.
    writer.write_all(&text).map_err(failed)?;
    let file = told.file.to_string_lossy();
    runner.run_told(&[command, &file], &File::from(OwnedFd::from(reader)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_all_of_it() {
        let detail = format!("{}ä", "x".repeat(MAX_DETAIL - 1));
        let mut record = Record {
            path: "web-die.pcapng".into(),
            target: "web\n".to_owned(),
            trigger: Trigger { name: "die".to_owned(), detail, at: 1_500_000_000 },
            further: 2,
            asked: Keep::Time(Duration::from_secs(60)),
            held: Duration::from_millis(42_500),
            short: true,
            packets: 3,
            bytes: 4,
        };
        let told = serde_json::to_value(Told::of(&record, Path::new("/d"))).unwrap();
        assert_eq!(told["detail"], "x".repeat(MAX_DETAIL - 1), "cut before the letter");
        record.trigger.detail = "exit code 137".to_owned();
        record.asked = Keep::Bytes(1000);
        let text = serde_json::to_string(&Told::of(&record, Path::new("/d"))).unwrap();
        assert_eq!(
            text,
            r#"{"file":"/d/web-die.pcapng","target":"web\n","trigger":"die","#.to_owned()
                + r#""detail":"exit code 137","at":1.5,"further":2,"window_seconds_asked":null,"#
                + r#""window_bytes_asked":1000,"window_seconds_held":42.5,"short":true,"#
                + r#""packets":3,"bytes":4}"#
        );
        assert_eq!(told["window_seconds_asked"], 60.0);
    }
}
