use session::{CommandEnd, Ending, Limit, Outcome};

use super::{bytes, count_of};

/// Why a capture ended, for people. What failed is a failure's own matter.
pub(crate) fn ending(outcome: &Outcome) -> String {
    if outcome.all_targets_ended {
        return "ended: all targets have ended".to_owned();
    }
    let why = match &outcome.ending {
        Ending::Stopped if outcome.command.is_some() => command(outcome.command.as_ref()),
        Ending::Stopped => "stopped".to_owned(),
        Ending::Limit(Limit::Packets(number)) => {
            format!("the limit of {} was reached", count_of(*number, "packet"))
        }
        Ending::Limit(Limit::Files(number)) => {
            format!("the limit of {} was reached", count_of((*number).into(), "file"))
        }
        Ending::Limit(Limit::Bytes(number)) => {
            format!("the limit of {} was reached", bytes(*number))
        }
        Ending::Limit(Limit::Duration) => "the time was over".to_owned(),
        Ending::PipeClosed => "nobody reads the output any more".to_owned(),
        Ending::NoRoom { free, keep, .. } => format!(
            "the file system has {} left, and {} are kept free (--keep-free)",
            bytes(*free),
            bytes(*keep)
        ),
        Ending::Failed(_) => "something failed".to_owned(),
        other => format!("{other:?}"),
    };
    format!("ended: {why}")
}

fn command(end: Option<&CommandEnd>) -> String {
    match end {
        Some(CommandEnd::Exited { code }) => {
            format!("the command has ended with exit code {code}")
        }
        Some(CommandEnd::Killed { signal }) => format!("signal {signal} ended the command"),
        Some(CommandEnd::NotStarted { .. }) => "the command could not be run".to_owned(),
        Some(CommandEnd::Unknown) | None => "the command is out of sight".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use session::Snapshot;

    use super::*;

    fn outcome(ending: Ending) -> Outcome {
        let snapshot = Snapshot::default();
        let failed = Vec::new();
        Outcome { snapshot, ending, failed, all_targets_ended: false, command: None }
    }

    #[test]
    fn every_end_has_its_reason() {
        for (end, text) in [
            (Ending::Stopped, "ended: stopped"),
            (Ending::Limit(Limit::Packets(1)), "ended: the limit of 1 packet was reached"),
            (Ending::Limit(Limit::Files(3)), "ended: the limit of 3 files was reached"),
            (Ending::Limit(Limit::Bytes(10_000)), "ended: the limit of 10.0 kB was reached"),
            (Ending::Limit(Limit::Duration), "ended: the time was over"),
            (Ending::PipeClosed, "ended: nobody reads the output any more"),
        ] {
            assert_eq!(ending(&outcome(end)), text);
        }
        for (end, text) in [
            (CommandEnd::Exited { code: 3 }, "ended: the command has ended with exit code 3"),
            (CommandEnd::Killed { signal: 9 }, "ended: signal 9 ended the command"),
        ] {
            let ran = Outcome { command: Some(end), ..outcome(Ending::Stopped) };
            assert_eq!(ending(&ran), text);
        }
        let gone = Outcome { all_targets_ended: true, ..outcome(Ending::Stopped) };
        assert_eq!(ending(&gone), "ended: all targets have ended");
    }
}
