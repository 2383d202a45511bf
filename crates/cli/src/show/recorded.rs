//! What a flight recorder tells.

use std::{path::Path, time::Duration};

use session::{
    CaptureError, HeldBytes, Keep, Limit, Record, Recorded, Recording, SpillTrouble, Trigger,
};

use super::{bytes, count_of};
use crate::{
    exit::chain,
    terminal::{Align, Columns},
};

/// `web: die (exit code 137): 60.0 s and 1,234 packets in web-die.pcapng`.
pub(crate) fn recorded(record: &Record) -> String {
    let mut text = format!(
        "{}: {}: {} before it and {} in {}",
        record.target,
        trigger(&record.trigger),
        seconds(record.held),
        count_of(record.packets, "packet"),
        record.path.display()
    );
    if record.further > 0 {
        let further = count_of(record.further, "further trigger");
        text.push_str(&format!(" ({further} meanwhile)"));
    }
    if record.short {
        text.push_str("; memory was used up, so the window is short (--memory, --spill)");
    }
    text
}

/// A file that there is not.
pub(crate) fn not_recorded(target: &str, why: &Trigger, error: &CaptureError) -> String {
    format!("{target}: {}: not written: {}", trigger(why), chain(error))
}

/// No more files.
pub(crate) fn recorder_full(limit: Limit) -> String {
    let limit = match limit {
        Limit::Files(files) => format!("{} (--max-files)", count_of(files.into(), "file")),
        Limit::Bytes(size) => format!("{} (--max-size)", bytes(size)),
        other => format!("{other:?}"),
    };
    format!("the limit of {limit} is reached: triggers are only counted from here on")
}

/// Windows are shorter than they are to be, or as long again.
pub(crate) fn window_short(asked: Keep, possible: Option<Keep>, spills: bool) -> String {
    let (who, options) = match spills {
        false => ("memory holds", "--memory says how much there is, --spill goes on on disk"),
        true => ("memory and spill hold", "--memory and --spill-size say how much there is"),
    };
    match possible {
        Some(possible) => {
            format!(
                "{who} {} of the {} that are to be kept: {options}",
                keep(possible),
                keep(asked)
            )
        }
        None => format!("{who} the whole {} again", keep(asked)),
    }
}

/// What is wrong with the spill.
pub(crate) fn spill_trouble(directory: &Path, trouble: &SpillTrouble) -> String {
    let what = match trouble {
        SpillTrouble::Full { room } => format!(
            "its file system has room for {} only (--keep-free is left): the oldest packets go",
            bytes(*room)
        ),
        SpillTrouble::Slow => "it is slower than packets come: windows have gaps".to_owned(),
        SpillTrouble::Failed { source } => {
            format!("nothing more is written there, memory has to do: {}", chain(source))
        }
        other => format!("{other:?}"),
    };
    format!("--spill {}: {what}", directory.display())
}

/// What is kept, and where there is room for it.
pub(crate) fn keeping(recording: &Recording, memory: u64) -> String {
    let mut text = format!("keeping {} of each target: {}", keep(recording.keep), bytes(memory));
    text.push_str(" in memory");
    if let Some(spill) = &recording.spill {
        let (size, directory) = (bytes(spill.size), spill.directory.display());
        text.push_str(&format!(", then {size} on disk in {directory}"));
    }
    text
}

/// Where that is what is held.
pub(crate) fn held(held: HeldBytes) -> String {
    match held.disk {
        0 => format!("{} held in memory", bytes(held.memory)),
        disk => format!("{} held in memory, {} on disk", bytes(held.memory), bytes(disk)),
    }
}

fn trigger(trigger: &Trigger) -> String {
    match &*trigger.detail {
        "" => trigger.name.clone(),
        detail => format!("{} ({detail})", trigger.name),
    }
}

fn keep(keep: Keep) -> String {
    match keep {
        Keep::Time(time) => seconds(time),
        Keep::Bytes(size) => bytes(size),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A row for each target.
pub(crate) fn recorded_table(targets: &[Recorded]) -> Vec<String> {
    let heads = [
        ("RECORDED", Align::Left),
        ("TRIGGERS", Align::Right),
        ("IGNORED", Align::Right),
        ("FILES", Align::Right),
        ("FAILED", Align::Right),
        ("IN FILES", Align::Right),
        ("EVICTED", Align::Right),
    ];
    let mut table = Columns::new(&heads);
    for target in targets {
        table.row(vec![
            target.target.clone(),
            target.triggers.to_string(),
            target.ignored.to_string(),
            target.files.to_string(),
            target.failed.to_string(),
            target.written.to_string(),
            target.evicted.to_string(),
        ]);
    }
    table.lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_with_what_is_in_them() {
        let mut record = Record {
            path: "web-die.pcapng".into(),
            target: "web".to_owned(),
            trigger: Trigger { name: "die".to_owned(), detail: "exit code 137".to_owned(), at: 0 },
            further: 0,
            asked: Keep::Time(Duration::from_secs(60)),
            held: Duration::from_secs(60),
            short: false,
            packets: 1,
            bytes: 4,
        };
        assert_eq!(
            recorded(&record),
            "web: die (exit code 137): 60.0 s before it and 1 packet in web-die.pcapng"
        );
        (record.further, record.short) = (2, true);
        record.trigger.detail.clear();
        assert_eq!(
            recorded(&record),
            "web: die: 60.0 s before it and 1 packet in web-die.pcapng (2 further triggers \
             meanwhile); memory was used up, so the window is short (--memory, --spill)"
        );
    }

    #[test]
    fn limits_are_told_with_their_options() {
        assert!(recorder_full(Limit::Files(3)).contains("3 files (--max-files)"));
        assert!(recorder_full(Limit::Bytes(3_000_000)).contains("3.0 MB (--max-size)"));
        let time = |seconds| Keep::Time(Duration::from_secs(seconds));
        assert_eq!(
            window_short(time(60), Some(time(20)), false),
            "memory holds 20.0 s of the 60.0 s that are to be kept: --memory says how much there \
             is, --spill goes on on disk"
        );
        assert_eq!(window_short(time(60), None, false), "memory holds the whole 60.0 s again");
        let spilled = window_short(time(60), Some(time(20)), true);
        assert!(spilled.starts_with("memory and spill hold 20.0 s of the 60.0 s "), "{spilled}");
        let told = spill_trouble(Path::new("/x"), &SpillTrouble::Full { room: 3_000_000 });
        assert!(told.starts_with("--spill /x: its file system has room for 3.0 MB"), "{told}");
    }

    #[test]
    fn what_is_held_is_told_with_its_place() {
        assert_eq!(held(HeldBytes { memory: 1000, disk: 0 }), "1.0 kB held in memory");
        let both = HeldBytes { memory: 1000, disk: 2_000_000 };
        assert_eq!(held(both), "1.0 kB held in memory, 2.0 MB on disk");
    }

    #[test]
    fn targets_have_a_row_each() {
        let web = Recorded { target: "web".to_owned(), triggers: 5, ignored: 2, ..<_>::default() };
        assert_eq!(
            recorded_table(&[web]),
            [
                "RECORDED   TRIGGERS   IGNORED   FILES   FAILED   IN FILES   EVICTED",
                "web               5         2       0        0          0         0",
            ]
        );
    }
}
