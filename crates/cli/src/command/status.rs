use std::{io::Write, process::ExitCode};

use session::status::{Found, ask};

use super::{text, to_stdout};
use crate::{
    exit::{Exit, Failure},
    flags::{GlobalFlags, ListFormat, StatusFlags},
    show,
    terminal::{Level, safe},
};

/// The most sessions of which it is told one by one that they do not answer.
const MAX_SILENT: usize = 16;

/// `whaletap status`.
pub(super) fn run(flags: &StatusFlags, global: &GlobalFlags) -> Result<ExitCode, Failure> {
    let found = ask(flags.pid).map_err(|error| {
        let what = format!("cannot see which sessions run: {error}");
        let hint = "they are found in /proc/net/unix: mount /proc, and with all of it";
        Failure { hint: Some(hint.into()), ..Failure::new(Exit::Failure, what) }
    })?;
    let exit = exit(&found, flags.pid)?;
    let reports = &found.reports;
    let lines = match flags.format {
        ListFormat::Json => show::status_json(reports)
            .map_err(|error| Failure::bug(format!("cannot write JSON: {error}")))?,
        ListFormat::Table if reports.is_empty() => Vec::new(),
        ListFormat::Table => show::status_table(reports, now(), flags.no_trunc),
    };
    let code = to_stdout(&text(&lines), exit)?;
    let mut err = anstream::stderr().lock();
    for (level, line) in remarks(&found, flags.format) {
        if global.log_level <= level {
            // Nobody is left to be told when this fails.
            let _ = writeln!(err, "whaletap: {}", safe(&line));
        }
    }
    Ok(code)
}

fn exit(found: &Found, pid: Option<u32>) -> Result<Exit, Failure> {
    match (found.reports.len(), found.silent.len(), pid) {
        (0, 0, Some(pid)) if found.unasked == 0 => {
            let what = format!("no session of yours runs as process {pid}");
            let hint = "`whaletap status` lists those that run; with sudo, everybody's";
            Err(Failure { hint: Some(hint.into()), ..Failure::new(Exit::NoSuchTarget, what) })
        }
        (0, 0, Some(_)) => Ok(Exit::Partial),
        (_, 0, _) => Ok(Exit::Success),
        _ => Ok(Exit::Partial),
    }
}

/// What the table has no room for.
fn remarks(found: &Found, format: ListFormat) -> Vec<(Level, String)> {
    let mut lines = Vec::new();
    if found.reports.is_empty() && found.silent.is_empty() {
        lines.push((Level::Info, "no session of yours runs".to_owned()));
    }
    for silent in found.silent.iter().take(MAX_SILENT) {
        let line = format!("session {} does not answer: {}", silent.pid, silent.why);
        lines.push((Level::Warn, line));
    }
    let more = found.silent.len().saturating_sub(MAX_SILENT);
    if more > 0 {
        lines.push((Level::Warn, format!("{more} more sessions do not answer")));
    }
    if found.unasked > 0 {
        let line = format!("{} more could not be asked, whosever they are", found.unasked);
        lines.push((Level::Warn, line));
    }
    if format == ListFormat::Table {
        let lost = found.reports.iter().filter(|report| show::has_lost_engine(report));
        lines.extend(lost.map(|report| {
            let line = format!("session {}: the engine is not heard any more", report.pid);
            (Level::Warn, line)
        }));
    }
    lines
}

/// Now, in nanoseconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use session::status::Silent;

    use super::*;

    #[test]
    fn no_session_is_no_failure_unless_one_was_named() {
        assert_eq!(exit(&Found::default(), None).unwrap(), Exit::Success);
        assert_eq!(exit(&Found::default(), Some(7)).unwrap_err().exit, Exit::NoSuchTarget);
        assert_eq!(remarks(&Found::default(), ListFormat::Json).len(), 1);
        let why = std::io::ErrorKind::TimedOut.into();
        let silent = Found { silent: vec![Silent { pid: 7, why }], ..Found::default() };
        for pid in [None, Some(7)] {
            assert_eq!(exit(&silent, pid).unwrap(), Exit::Partial);
        }
        let unasked = Found { unasked: 1, ..Found::default() };
        assert_eq!(exit(&unasked, Some(7)).unwrap(), Exit::Partial);
        assert_eq!(exit(&unasked, None).unwrap(), Exit::Success, "whosever it is");
        let told = remarks(&silent, ListFormat::Table);
        assert!(told.len() == 1 && told[0].1.starts_with("session 7 does not answer"), "{told:?}");
    }
}
