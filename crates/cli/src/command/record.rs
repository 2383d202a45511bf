use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use session::{Outcome, Snapshot};

use super::{capture, face::Face};
use crate::{
    exit::Failure,
    flags::{GlobalFlags, RecordFlags},
    high::{Surroundings, record},
    show,
    terminal::safe,
};

/// `whaletap record`.
pub(super) fn run(
    flags: RecordFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<ExitCode, Failure> {
    let asked = record(flags, global, surroundings)?;
    let live = !asked.quiet && std::io::stderr().is_terminal();
    let mut face = Face::new(anstream::stderr(), asked.level, asked.quiet, live, asked.into);
    if let Some(recording) = &asked.request.recording {
        face.records(show::keeping(recording, asked.request.memory as u64));
    }
    let outcome = session::capture(asked.request, &mut face).map_err(|error| {
        face.finish();
        face.untold(error.into())
    })?;
    face.finish();
    let summary = summary(&outcome, asked.quiet);
    // Nobody is left to be told when this fails.
    let _ = face.out().write_all(summary.as_bytes());
    Ok(capture::failure(outcome, false)?.code().into())
}

/// The end of a recorder: the counts, what became of each target's packets and triggers, and why it
/// ended.
fn summary(outcome: &Outcome, quiet: bool) -> String {
    let mut lines = capture::counts(outcome, quiet);
    if !quiet {
        lines.push(files(&outcome.snapshot));
        lines.extend(show::recorded_table(&outcome.snapshot.recorded));
        lines.extend(outcome.snapshot.held.map(|held| format!("{} at the end", show::held(held))));
        lines.push(show::ending(outcome));
    }
    lines.extend(capture::mistakes(&outcome.snapshot));
    super::text(&lines)
}

fn files(snapshot: &Snapshot) -> String {
    let written = snapshot.recorded.iter().map(|target| u64::from(target.files)).sum();
    match (&snapshot.file, written) {
        (Some(file), 1..) => {
            let files = show::count_of(written, "file");
            format!("{files}, the last: {}", safe(&file.to_string_lossy()))
        }
        _ => "no file was written".to_owned(),
    }
}
