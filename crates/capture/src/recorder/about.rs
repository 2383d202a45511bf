//! Why a file is there, in words: a comment of its section.

use std::time::Duration;

use super::{Keep, RecorderConfig, Trigger};
use crate::Moment;

/// What a window lacks.
#[derive(Debug)]
pub(super) struct Lack {
    /// It is shorter than asked for, for want of room.
    pub(super) is_short: bool,
    /// There is something before what is whole.
    pub(super) has_gaps: bool,
    /// There is a spill.
    pub(super) spills: bool,
}

/// What stands in a file of why it is there.
pub(super) fn about(
    target: &str,
    trigger: &Trigger,
    config: &RecorderConfig,
    held: Duration,
    lack: &Lack,
) -> String {
    let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    let (asked, is_whole) = match config.keep {
        Keep::Time(time) => (seconds(time), held >= time),
        Keep::Bytes(bytes) => (format!("{bytes} bytes"), !lack.is_short),
    };
    let why = match (lack.is_short, lack.spills, is_whole) {
        (true, false, _) => ": memory was used up (--memory)",
        (true, true, _) => ": memory and spill were used up (--memory, --spill-size)",
        (false, _, true) => "",
        (false, _, false) => ": it was not recorded before",
    };
    let gaps = if lack.has_gaps { "; before that there are gaps" } else { "" };
    let at = Moment::of(trigger.at).exactly();
    format!(
        "flight recorder: {target}: {} at {at}; window before it: asked for {asked}, held \
         {}{why}{gaps}; followed by {}",
        told(trigger),
        seconds(held),
        seconds(config.after),
    )
}

/// A trigger in words.
pub(super) fn told(trigger: &Trigger) -> String {
    match &*trigger.detail {
        "" => trigger.name.clone(),
        detail => format!("{} ({detail})", trigger.name),
    }
}
