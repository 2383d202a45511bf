use std::{
    fs::File,
    io::{IsTerminal, Write},
    process::ExitCode,
};

use session::{CommandEnd, Ending, Outcome, Output, Snapshot};

use super::face::Face;
use crate::{
    exit::{Exit, Failure, chain},
    flags::{CaptureFlags, GlobalFlags},
    high::{Surroundings, capture},
    show::{self, TargetCounts},
    terminal::safe,
};

/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

/// `whaletap capture`.
pub(super) fn run(
    flags: CaptureFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<ExitCode, Failure> {
    let runs = flags.run;
    let ended = run_to_its_end(flags, global, surroundings);
    if runs { ended.map_err(beside_command) } else { ended }
}

fn run_to_its_end(
    flags: CaptureFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<ExitCode, Failure> {
    let asked = capture(flags, global, surroundings)?;
    let into = match &asked.request.output {
        Output::Files(name) | Output::Chosen(name) => name.clone(),
        Output::Stdout => "standard output".to_owned(),
    };
    let words = asked.request.selection.selectors.iter().map(ToString::to_string).collect();
    let command = asked.request.run.as_ref().map(|words| words[0].to_string_lossy().into_owned());
    // A line that is drawn again and again would be drawn over what the command writes.
    let live = !asked.quiet && command.is_none() && std::io::stderr().is_terminal();
    let mut face = Face::new(anstream::stderr(), asked.level, asked.quiet, live, into);
    if let Some(name) = &asked.print_names {
        face.print_names(names_writer(name)?);
    }
    let mut outcome = session::capture(asked.request, &mut face).map_err(|error| {
        face.finish();
        behind_dashes(face.untold(error.into()), words)
    })?;
    face.finish();
    let summary = summary(&outcome, asked.quiet);
    // Nobody is left to be told when this fails.
    let _ = face.out().write_all(summary.as_bytes());
    let end = outcome.command.take();
    let judged = failure(outcome, asked.fail_on_drop);
    match command {
        Some(command) => with_command(&command, end, judged),
        None => Ok(judged?.code().into()),
    }
}

/// The exit code where a command was run: its own, unless something was wrong with the capture.
fn with_command(
    command: &str,
    end: Option<CommandEnd>,
    judged: Result<Exit, Failure>,
) -> Result<ExitCode, Failure> {
    let (code, how) = match end {
        Some(CommandEnd::NotStarted { source }) => {
            let exit = match source.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::CannotRun,
            };
            return Err(Failure::new(exit, format!("cannot run {command}: {}", chain(&source))));
        }
        Some(CommandEnd::Exited { code }) => (code, format!("ended with exit code {code}")),
        Some(CommandEnd::Killed { signal }) => {
            (SIGNALLED + signal, format!("was ended by signal {signal}"))
        }
        Some(CommandEnd::Unknown) | None => {
            let what = format!("{command}: the process that ran it has ended before it");
            return Err(Failure::new(Exit::OwnFailure, what));
        }
    };
    let mut failure = match judged {
        Ok(Exit::Success) => {
            return Ok(u8::try_from(code).unwrap_or(Exit::OwnFailure.code()).into());
        }
        Ok(_) => Failure::new(
            Exit::OwnFailure,
            "the capture is not whole: some targets failed, or packets were lost",
        ),
        Err(failure) => failure,
    };
    failure.lines.push(format!("{command} {how}"));
    Err(failure)
}

/// A failure of ours where the exit code is the command's otherwise.
fn beside_command(failure: Failure) -> Failure {
    match failure.exit {
        Exit::NotFound | Exit::CannotRun => failure,
        _ => Failure { exit: Exit::OwnFailure, ..failure },
    }
}

/// Where names of finished files go. Opened now, while there are the rights to.
fn names_writer(name: &str) -> Result<Box<dyn Write>, Failure> {
    match name {
        "-" | "stdout" => Ok(Box::new(std::io::stdout())),
        "stderr" => Ok(Box::new(std::io::stderr())),
        file => match File::create(file) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(Failure::new(
                Exit::Failure,
                format!("-b printname: cannot create {}: {error}", safe(file)),
            )),
        },
    }
}

/// The end of a capture: the counts, a row for each target, the file, and why it ended.
fn summary(outcome: &Outcome, quiet: bool) -> String {
    let snapshot = &outcome.snapshot;
    let mut lines = counts(outcome, quiet);
    if !quiet {
        if let Some(file) = &snapshot.file {
            let file = file.to_string_lossy();
            lines.push(match snapshot.files {
                0 | 1 => format!("file: {}", safe(&file)),
                files => format!("{files} files, the last: {}", safe(&file)),
            });
        }
        lines.push(show::ending(outcome));
    }
    lines.extend(mistakes(snapshot));
    super::text(&lines)
}

/// The counts, and a row for each target.
pub(super) fn counts(outcome: &Outcome, quiet: bool) -> Vec<String> {
    let snapshot = &outcome.snapshot;
    let mut lines = show::count_lines(&snapshot.total());
    if !quiet {
        let past = (snapshot.past.captures > 0).then(|| TargetCounts::from(&snapshot.past));
        let listed = snapshot.sources.iter().map(TargetCounts::from);
        let targets: Vec<_> = past.into_iter().chain(listed).collect();
        lines.extend(show::target_table(&targets));
    }
    lines
}

/// Counts that do not add up.
pub(super) fn mistakes(snapshot: &Snapshot) -> Vec<String> {
    let wrong = snapshot.sources.iter().filter(|source| !source.stats.adds_up());
    let told = wrong.map(|source| {
        format!(
            "whaletap: {}: received {}, accounted for {}: this is a bug in whaletap",
            safe(&source.name),
            source.stats.received,
            source.stats.accounted()
        )
    });
    told.collect()
}

/// The exit code of a capture that took place, or what broke it off.
pub(super) fn failure(outcome: Outcome, fail_on_drop: bool) -> Result<Exit, Failure> {
    match outcome.ending {
        Ending::Failed(error) => return Err(error.into()),
        Ending::NoRoom { path, free, keep } => {
            let what = format!(
                "{}: no room: {} are left on the file system, and {} are kept free",
                path.display(),
                show::bytes(free),
                show::bytes(keep)
            );
            let hint = "what was written can be read; --keep-free says how much is left alone, and \
                        -C with -W makes a ring of files";
            return Err(Failure { hint: Some(hint.into()), ..Failure::new(Exit::Failure, what) });
        }
        _ => {}
    }
    let lost = outcome.snapshot.total().lost();
    let unwritten = outcome.snapshot.recorded.iter().any(|target| target.failed > 0);
    if !outcome.failed.is_empty() || unwritten || (fail_on_drop && lost > 0) {
        return Ok(Exit::Partial);
    }
    Ok(Exit::Success)
}

/// Adds the likeliest mistake to a failure: an expression where selectors stand.
fn behind_dashes(mut failure: Failure, selectors: Vec<String>) -> Failure {
    const WORDS: [&str; 14] = [
        "tcp",
        "udp",
        "icmp",
        "icmp6",
        "arp",
        "ip",
        "ip6",
        "port",
        "portrange",
        "src",
        "dst",
        "net",
        "not",
        "vlan",
    ];
    let at = selectors.iter().position(|word| {
        word.split_whitespace().next().is_some_and(|first| WORDS.contains(&first))
    });
    if let (Exit::NoSuchTarget, Some(at)) = (failure.exit, at) {
        let (targets, expression) = selectors.split_at(at);
        let targets = if targets.is_empty() { "NAME".to_owned() } else { targets.join(" ") };
        failure.hint = Some(format!(
            "an expression stands behind `--`: whaletap capture {targets} -- {}",
            expression.join(" ")
        ));
    }
    failure
}

#[cfg(test)]
mod tests {
    use session::{CaptureError, Failed};

    use super::*;

    fn outcome(ending: Ending) -> Outcome {
        let snapshot = Snapshot { file: Some("a.pcapng".into()), files: 1, ..Snapshot::default() };
        let failed = Vec::new();
        Outcome { snapshot, ending, failed, all_targets_ended: false, command: None }
    }

    #[test]
    fn the_summary_begins_with_tcpdumps_lines() {
        let text = summary(&outcome(Ending::Stopped), false);
        assert_eq!(
            text,
            "0 packets captured\n0 packets received by filter\n0 packets dropped by kernel\n\
             NAME   PACKETS   BYTES   RECEIVED   DROPPED BY KERNEL\n\
             file: a.pcapng\nended: stopped\n"
        );
        assert_eq!(summary(&outcome(Ending::Stopped), true).lines().count(), 3);
    }

    #[test]
    fn exit_codes_of_ends() {
        for end in [Ending::Stopped, Ending::PipeClosed] {
            assert_eq!(failure(outcome(end), true).unwrap(), Exit::Success);
        }
        let error = session::Error::NoInterface { target: "db".into(), interfaces: "x".into() };
        let partial = Outcome {
            failed: vec![Failed { name: "db".into(), error }],
            ..outcome(Ending::Stopped)
        };
        assert_eq!(failure(partial, false).unwrap(), Exit::Partial);
        let full = Ending::NoRoom { path: "a".into(), free: 1000, keep: 2000 };
        let told = failure(outcome(full), false).unwrap_err();
        assert_eq!(told.exit, Exit::Failure);
        assert!(told.lines[0].contains("1.0 kB"), "{told:?}");
        let broken = Ending::Failed(CaptureError::Panicked { thread: "reader" });
        let told = failure(outcome(broken), false).unwrap_err();
        assert!(told.hint.is_some_and(|hint| hint.contains("bug")));
    }

    #[test]
    fn the_exit_code_is_the_commands_unless_the_capture_failed() {
        let code = |end, judged| match with_command("make", Some(end), judged) {
            Ok(code) => (format!("{code:?}"), Vec::new()),
            Err(failure) => {
                let failure = beside_command(failure);
                (format!("{:?}", ExitCode::from(failure.exit.code())), failure.lines)
            }
        };
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        let exited = |code| CommandEnd::Exited { code };
        let missing = |kind: std::io::ErrorKind| CommandEnd::NotStarted { source: kind.into() };
        for (end, expected) in [
            (exited(0), 0),
            (exited(3), 3),
            (exited(255), 255),
            (CommandEnd::Killed { signal: 9 }, 137),
            (CommandEnd::Killed { signal: 15 }, 143),
            (missing(std::io::ErrorKind::NotFound), 127),
            (missing(std::io::ErrorKind::PermissionDenied), 126),
            (missing(std::io::ErrorKind::ArgumentListTooLong), 126),
            (CommandEnd::Unknown, 125),
        ] {
            assert_eq!(code(end, Ok(Exit::Success)).0, is(expected), "{expected}");
        }
        let (partial, lines) = code(exited(0), Ok(Exit::Partial));
        assert_eq!((partial, lines.len()), (is(125), 2), "{lines:?}");
        let full = || Err(Failure::new(Exit::Failure, "the disk is full"));
        let (failed, lines) = code(exited(3), full());
        assert_eq!(failed, is(125));
        assert_eq!(lines, ["the disk is full", "make ended with exit code 3"]);
        assert_eq!(code(missing(std::io::ErrorKind::NotFound), full()).0, is(127));
    }

    #[test]
    fn an_expression_among_selectors_is_recognised() {
        let missing = || Failure::new(Exit::NoSuchTarget, "no such container: tcp");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let told = behind_dashes(missing(), words(&["web", "tcp", "port", "80"]));
        assert!(told.hint.unwrap().ends_with("whaletap capture web -- tcp port 80"));
        let told = behind_dashes(missing(), words(&["tcp port 80"]));
        assert!(told.hint.unwrap().ends_with("capture NAME -- tcp port 80"));
        assert_eq!(behind_dashes(missing(), words(&["wbe"])).hint, None);
    }
}
