use std::time::{SystemTime, UNIX_EPOCH};

use capture::{Snapshot, SourceReport};
use serde::{Deserialize, Serialize};

/// What a session says of itself. Keys are stable: none is removed or renamed, and each is always
/// there, `null` where there is nothing to say. Times are nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The session's process.
    pub pid: u32,
    /// The program and its version.
    pub version: String,
    /// How it was called.
    pub command_line: String,
    /// When it began.
    pub since: u64,
    /// Whose it is.
    pub user: Owner,
    /// What it does.
    pub state: State,
    /// What it hears of the engine; `None` when it follows none.
    pub engine: Option<EngineState>,
    /// The file that was opened last; `None` for a pipe.
    pub file: Option<String>,
    /// How many files there were.
    pub files: u32,
    /// Packets in files or on their way there.
    pub packets: u64,
    /// Bytes in files or on their way there, before they are compressed.
    pub bytes: u64,
    /// Packets that passed the expression.
    pub received: u64,
    /// Packets for which a ring had no room.
    pub dropped_by_kernel: u64,
    /// Packets for which the memory, or the disk, had no room.
    pub dropped_by_us: u64,
    /// What a recorder holds; `None` when nothing is recorded.
    pub held: Option<Held>,
    /// Captures that ended so long ago that they are not among the targets. Totals have them.
    #[serde(default)]
    pub targets_past: u64,
    /// Every capture, and the last that have ended.
    pub targets: Vec<TargetReport>,
}

/// What a recorder holds, and where, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// In memory.
    pub memory: u64,
    /// On disk.
    pub disk: u64,
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user that it runs as.
    pub uid: u32,
    /// The name, where sudo told it.
    pub name: Option<String>,
}

/// What a session, or one of its targets, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It captures.
    Capturing,
    /// It waits for something to capture.
    Waiting,
    /// It has ended.
    Ended,
}

/// What a session hears of its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineState {
    /// Everything.
    Following,
    /// Nothing, since this time.
    LostSince(u64),
}

/// One capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// Its name; of several targets in one namespace, all of them: `a+b`.
    pub name: String,
    /// The ids of its containers.
    pub ids: Vec<String>,
    /// The namespace.
    pub netns: Option<Netns>,
    /// What it does.
    pub state: State,
    /// When it was attached.
    pub since: u64,
    /// When it ended.
    pub ended: Option<u64>,
    /// Packets captured.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
    /// Packets that passed the expression.
    pub received: u64,
    /// Packets for which the ring had no room.
    pub dropped_by_kernel: u64,
    /// Packets for which the memory, or the disk, had no room.
    pub dropped_by_us: u64,
    /// What was before the capture; `None` when that is not known.
    pub blind: Option<BlindWindow>,
}

/// A namespace by its device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netns {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
}

/// The time from a sandbox's creation until its capture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BlindWindow {
    /// How long it was.
    pub milliseconds: f64,
    /// Frames that its interfaces had counted by then.
    pub frames: u64,
}

/// What does not change while a session runs.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) version: String,
    pub(crate) command_line: String,
    pub(crate) since: u64,
    pub(crate) user: Owner,
}

impl Report {
    /// A session that stands at `snapshot`. Of its captures `complete` adds what the snapshot does
    /// not know.
    pub(crate) fn new(
        about: &About,
        snapshot: &Snapshot,
        complete: impl Fn(&SourceReport, &mut TargetReport),
    ) -> Self {
        let total = snapshot.total();
        let target = |source: &SourceReport| {
            let mut target = TargetReport::from(source);
            complete(source, &mut target);
            target
        };
        let targets: Vec<_> = snapshot.sources.iter().map(target).collect();
        let waits = targets.iter().all(|target| target.state != State::Capturing);
        Self {
            pid: std::process::id(),
            version: about.version.clone(),
            command_line: about.command_line.clone(),
            since: about.since,
            user: about.user.clone(),
            state: if waits { State::Waiting } else { State::Capturing },
            engine: None,
            file: snapshot.file.as_ref().map(|file| file.to_string_lossy().into_owned()),
            files: snapshot.files,
            packets: snapshot.packets,
            bytes: snapshot.bytes,
            received: total.received,
            dropped_by_kernel: total.dropped_by_kernel,
            dropped_by_us: total.dropped_by_us,
            held: snapshot.held.map(|held| Held { memory: held.memory, disk: held.disk }),
            targets_past: snapshot.past.captures,
            targets,
        }
    }
}

impl From<&SourceReport> for TargetReport {
    fn from(source: &SourceReport) -> Self {
        Self {
            name: source.name.clone(),
            ids: Vec::new(),
            netns: Some(Netns { dev: source.netns.dev, ino: source.netns.ino }),
            // What has been let go may still be on its way to the file.
            state: if source.until.is_some() { State::Ended } else { State::Capturing },
            since: source.since,
            ended: source.until,
            packets: source.stats.captured,
            bytes: source.bytes,
            received: source.stats.received,
            dropped_by_kernel: source.stats.dropped_by_kernel,
            dropped_by_us: source.stats.dropped_by_us,
            blind: source.blind.map(|blind| BlindWindow {
                milliseconds: blind.time.as_secs_f64() * 1000.0,
                frames: blind.frames,
            }),
        }
    }
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use capture::{Blind, CaptureId, Past};
    use model::{NetnsId, Stats};
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn report(targets: u32) -> Report {
        let source = |number: u32| SourceReport {
            id: CaptureId(number),
            name: format!("web-{number}"),
            netns: NetnsId { dev: 4, ino: 4_026_532_321 },
            stats: Stats { captured: 90, received: 94, dropped_by_us: 4, ..Stats::default() },
            bytes: 12_345,
            since: 1_720_958_477_000_000_002,
            until: (number == 1).then_some(1_720_958_477_000_000_003),
            blind: (number == 0).then(|| Blind { time: Duration::from_micros(250), frames: 3 }),
            ended: false,
        };
        let snapshot = Snapshot {
            sources: (0..targets).map(source).collect(),
            past: Past::default(),
            packets: 180,
            bytes: 30_000,
            file: Some("/tmp/x.pcapng".into()),
            files: 1,
            recorded: Vec::new(),
            held: None,
        };
        let about = About {
            version: "whaletap 1.2.3".into(),
            command_line: "whaletap capture web".into(),
            since: 1_720_958_477_000_000_001,
            user: Owner { uid: 1000, name: None },
        };
        Report::new(&about, &snapshot, |source, target| {
            target.ids = vec![format!("3f2a{}", source.id.0)];
        })
    }

    #[test]
    fn keys_are_stable() {
        let report = report(2);
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(
            value,
            json!({
                "pid": std::process::id(),
                "version": "whaletap 1.2.3",
                "command_line": "whaletap capture web",
                "since": 1_720_958_477_000_000_001_u64,
                "user": {"uid": 1000, "name": null},
                "state": "capturing",
                "engine": null,
                "file": "/tmp/x.pcapng",
                "files": 1,
                "packets": 180,
                "bytes": 30_000,
                "received": 188,
                "dropped_by_kernel": 0,
                "dropped_by_us": 8,
                "held": null,
                "targets_past": 0,
                "targets": [
                    {"name": "web-0", "ids": ["3f2a0"],
                     "netns": {"dev": 4, "ino": 4_026_532_321_u64}, "state": "capturing",
                     "since": 1_720_958_477_000_000_002_u64, "ended": null, "packets": 90, "bytes": 12_345,
                     "received": 94, "dropped_by_kernel": 0, "dropped_by_us": 4,
                     "blind": {"milliseconds": 0.25, "frames": 3}},
                    {"name": "web-1", "ids": ["3f2a1"],
                     "netns": {"dev": 4, "ino": 4_026_532_321_u64}, "state": "ended",
                     "since": 1_720_958_477_000_000_002_u64,
                     "ended": 1_720_958_477_000_000_003_u64, "packets": 90, "bytes": 12_345,
                     "received": 94, "dropped_by_kernel": 0, "dropped_by_us": 4,
                     "blind": null},
                ],
            })
        );
        assert_eq!(serde_json::from_value::<Report>(value).unwrap(), report);
        for (state, text) in [
            (EngineState::Following, json!("following")),
            (EngineState::LostSince(7), json!({"lost_since": 7})),
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), text);
        }
    }

    #[test]
    fn a_later_version_may_say_more() {
        let mut value = serde_json::to_value(report(1)).unwrap();
        value["weather"] = Value::from("fine");
        serde_json::from_value::<Report>(value).unwrap();
    }

    #[test]
    fn with_nothing_to_capture_it_waits() {
        assert_eq!(report(0).state, State::Waiting);
    }
}
