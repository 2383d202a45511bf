use std::path::Path;

use session::status::{EngineState, Held, Report, State, TargetReport};

use super::{bytes, counts::blind, json::escaped};
use crate::terminal::{Align, Columns, cut};

/// Columns of a cell, unless cells are wanted whole.
const MAX_CELL: usize = 40;

/// The same of a name, which is what people copy: root sees what strangers call theirs.
const MAX_NAME: usize = 250;

/// A row for each target of each session; one for a session that has none.
pub(crate) fn status_table(reports: &[Report], now: u64, whole: bool) -> Vec<String> {
    let (left, right) = (Align::Left, Align::Right);
    let loses = reports.iter().any(|report| report.dropped_by_us > 0);
    let records = reports.iter().any(|report| report.held.is_some());
    let mut heads = vec![
        ("PID", right),
        ("NAME", left),
        ("STATE", left),
        ("SINCE", left),
        ("PACKETS", right),
        ("BYTES", right),
        ("DROPPED BY KERNEL", right),
    ];
    heads.extend(loses.then_some(("DROPPED BY WHALETAP", right)));
    heads.push(("BLIND", right));
    heads.extend(
        records.then_some([("IN MEMORY", right), ("ON DISK", right)]).into_iter().flatten(),
    );
    heads.push(("FILE", left));
    let mut table = Columns::new(&heads);
    for report in reports {
        let file = file(report, whole);
        let mut row = |name: &str, state, since, target: Option<&TargetReport>| {
            let of = |count: fn(&TargetReport) -> String| target.map(count).unwrap_or_default();
            let mut cells = vec![
                report.pid.to_string(),
                if whole { name.to_owned() } else { cut(name, MAX_NAME).into_owned() },
                word(state).to_owned(),
                ago(now, since),
                of(|target| target.packets.to_string()),
                of(|target| bytes(target.bytes)),
                of(|target| target.dropped_by_kernel.to_string()),
            ];
            if loses {
                cells.push(of(|target| target.dropped_by_us.to_string()));
            }
            let window = target.and_then(|target| target.blind);
            let window = window.map(|window| blind(window.milliseconds, window.frames));
            cells.push(window.unwrap_or_default());
            if records {
                let held = |count: fn(Held) -> u64| report.held.map(|held| bytes(count(held)));
                let both = [held(|held| held.memory), held(|held| held.disk)];
                cells.extend(both.map(Option::unwrap_or_default));
            }
            cells.push(file.clone());
            table.row(cells);
        };
        for target in &report.targets {
            let since = target.ended.unwrap_or(target.since);
            row(&target.name, target.state, since, Some(target));
        }
        if report.targets.is_empty() {
            row("", report.state, report.since, None);
        }
    }
    table.lines()
}

/// A JSON object a line. What acts on a terminal is written as an escape of JSON's own.
///
/// # Errors
/// When a report cannot be written as JSON.
pub(crate) fn status_json(reports: &[Report]) -> Result<Vec<String>, serde_json::Error> {
    reports.iter().map(|report| Ok(escaped(&serde_json::to_string(report)?))).collect()
}

/// Whether a session has lost its engine.
pub(crate) fn has_lost_engine(report: &Report) -> bool {
    matches!(report.engine, Some(EngineState::LostSince(_)))
}

fn word(state: State) -> &'static str {
    match state {
        State::Capturing => "capturing",
        State::Waiting => "waiting",
        State::Ended => "ended",
    }
}

/// The name of the file alone, unless cells are wanted whole.
fn file(report: &Report, whole: bool) -> String {
    let Some(file) = &report.file else { return String::new() };
    if whole {
        return file.clone();
    }
    let name = Path::new(file).file_name().map(|name| name.to_string_lossy());
    cut(name.as_deref().unwrap_or(file), MAX_CELL).into_owned()
}

/// How long ago something was, roughly, as docker says it.
fn ago(now: u64, then: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];
    let seconds = now.saturating_sub(then) / 1_000_000_000;
    // Two of a unit at least: 90 minutes tell more than 1 hour.
    let unit = UNITS.into_iter().find(|(_, length)| seconds >= 2 * length);
    match unit {
        Some((unit, length)) => format!("{} {unit}s ago", seconds / length),
        None => "1 second ago".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use session::status::{BlindWindow, Owner};

    use super::*;

    const NOW: u64 = 1_720_958_477_000_000_000;

    fn target(name: &str, state: State) -> TargetReport {
        TargetReport {
            name: name.to_owned(),
            ids: vec!["3f2a".into()],
            netns: None,
            state,
            since: NOW - 90_000_000_000,
            ended: (state == State::Ended).then_some(NOW - 5_000_000_000),
            packets: 90,
            bytes: 12_345,
            received: 94,
            dropped_by_kernel: 1,
            dropped_by_us: 0,
            blind: None,
        }
    }

    fn report(pid: u32, targets: Vec<TargetReport>) -> Report {
        Report {
            pid,
            version: "whaletap 1.2.3".into(),
            command_line: "whaletap capture web".into(),
            since: NOW - 3 * 3_600_000_000_000,
            user: Owner { uid: 1000, name: None },
            state: State::Waiting,
            engine: None,
            file: Some("/var/tmp/x.pcapng".into()),
            files: 1,
            packets: 90,
            bytes: 12_345,
            received: 94,
            dropped_by_kernel: 1,
            dropped_by_us: 0,
            targets_past: 0,
            held: None,
            targets,
        }
    }

    #[test]
    fn a_row_for_each_target() {
        let mut blind = target("db", State::Ended);
        blind.blind = Some(BlindWindow { milliseconds: 0.31, frames: 2 });
        let mut reports =
            [report(7, vec![target("web\x1b[2J", State::Capturing), blind]), report(12, vec![])];
        reports[1].file = None;
        let rows = |rows: [[&str; 2]; 4]| rows.map(|row| row.concat());
        assert_eq!(
            status_table(&reports, NOW, false),
            rows([
                [
                    "PID   NAME         STATE       SINCE            PACKETS     BYTES   ",
                    "DROPPED BY KERNEL              BLIND   FILE",
                ],
                [
                    "  7   web\\x1b[2J   capturing   90 seconds ago        90   12.3 kB   ",
                    "                1                  -   x.pcapng",
                ],
                [
                    "  7   db           ended       5 seconds ago         90   12.3 kB   ",
                    "                1   0.3 ms, 2 frames   x.pcapng",
                ],
                [
                    " 12   -            waiting     3 hours ago            -         -   ",
                    "                -                  -   -",
                ],
            ])
        );
        assert!(status_table(&reports, NOW, true)[1].ends_with("/var/tmp/x.pcapng"));
        reports[0].dropped_by_us = 4;
        assert!(status_table(&reports, NOW, false)[0].contains("DROPPED BY WHALETAP"));
        reports[0].held = Some(Held { memory: 1000, disk: 2_000_000 });
        let rows = status_table(&reports, NOW, false);
        assert!(rows[0].ends_with("BLIND   IN MEMORY   ON DISK   FILE"), "{rows:?}");
        assert!(rows[1].ends_with("1.0 kB    2.0 MB   x.pcapng"), "{rows:?}");
        assert!(rows[3].ends_with("-         -   -"), "{rows:?}");
    }

    #[test]
    fn json_is_a_line_for_each_session_and_safe_to_look_at() {
        let reports = [report(7, vec![target("web\u{9b}2J", State::Capturing)]), report(8, vec![])];
        let lines = status_json(&reports).unwrap();
        assert!(lines.len() == 2 && !lines[0].contains('\u{9b}'), "{lines:?}");
        assert_eq!(serde_json::from_str::<Report>(&lines[0]).unwrap(), reports[0]);
    }

    #[test]
    fn times_are_rough() {
        for (seconds, text) in [
            (0, "1 second ago"),
            (2, "2 seconds ago"),
            (119, "119 seconds ago"),
            (120, "2 minutes ago"),
            (7199, "119 minutes ago"),
            (172_800, "2 days ago"),
            (86_400 * 14, "2 weeks ago"),
        ] {
            assert_eq!(ago(NOW, NOW - seconds * 1_000_000_000), text);
        }
        assert_eq!(ago(NOW, NOW + 1), "1 second ago", "a clock that was set");
    }
}
