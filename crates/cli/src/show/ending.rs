use session::{Ending, Limit, Outcome};

use super::{bytes, count_of};

/// Why a capture ended, for people. What failed is a failure's own matter.
pub(crate) fn ending(outcome: &Outcome) -> String {
    if outcome.all_targets_ended {
        return "ended: all targets have ended".to_owned();
    }
    let why = match &outcome.ending {
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

#[cfg(test)]
mod tests {
    use session::Snapshot;

    use super::*;

    fn outcome(ending: Ending) -> Outcome {
        let snapshot = Snapshot::default();
        Outcome { snapshot, ending, failed: Vec::new(), all_targets_ended: false }
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
        let gone = Outcome { all_targets_ended: true, ..outcome(Ending::Stopped) };
        assert_eq!(ending(&gone), "ended: all targets have ended");
    }
}
