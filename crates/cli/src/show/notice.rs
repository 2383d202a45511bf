use std::time::Duration;

use session::{Blind, Notice};

use crate::{
    exit::chain,
    terminal::{Level, safe},
};

/// What a person is told about something that happened, and how much it matters. Safe for a
/// terminal.
pub(crate) fn notice(notice: &Notice<'_>) -> (Level, String) {
    let (level, text) = match notice {
        Notice::Unprivileged { uid, landlock } => {
            (Level::Debug, format!("runs as uid {uid} without capabilities; landlock: {landlock}"))
        }
        Notice::StayedRoot { directory, uid } => (
            Level::Warn,
            format!(
                "uid {uid} cannot write into {}, so files are root's; no capabilities are kept",
                directory.display()
            ),
        ),
        Notice::OfThisUser => (
            Level::Debug,
            "the engine is a rootless one of your own: no other rights are used".into(),
        ),
        // Of which image shows when the engine has said what its architecture is.
        Notice::ThroughHelper { instead_of } => {
            let why = instead_of.map(|why| format!("{why}: ")).unwrap_or_default();
            (Level::Info, format!("{why}through a helper container of whaletap-agent"))
        }
        Notice::Failed(failed) => {
            let why = chain(&failed.error);
            // Some errors begin with the target's name already.
            let text = match why.strip_prefix(&*failed.name) {
                Some(rest) if rest.starts_with([':', ' ']) => why,
                _ => format!("{}: {why}", failed.name),
            };
            (Level::Error, text)
        }
        Notice::Ended { name } => (Level::Info, format!("{name}: ended")),
        Notice::HostNetwork { name } => (
            Level::Warn,
            format!("{name} has the host's own network: everything of this host is captured"),
        ),
        Notice::Shared { name, .. } => {
            (Level::Info, format!("{name}: one namespace, captured once"))
        }
        Notice::NotRunning { name, state } => (Level::Warn, format!("{name}: left out, {state}")),
        Notice::WaitedFor { name, state } => {
            (Level::Info, format!("{name}: is {state}; captured once it runs"))
        }
        Notice::Attached { name, blind, gap } => (Level::Info, attached(name, *blind, *gap)),
        Notice::EngineLost { why } => (
            Level::Warn,
            format!("{}: captures go on; what is started meanwhile is noticed late", chain(*why)),
        ),
        Notice::EngineBack => (Level::Info, "the engine answers again".to_owned()),
        Notice::ExcludesNothing { selector } => {
            (Level::Warn, format!("--exclude {selector}: it takes nothing"))
        }
        Notice::MissingInterface { name, interface } => {
            (Level::Warn, format!("{name}: no interface {interface}"))
        }
        Notice::NeverMatches { link_type, message } => {
            (Level::Warn, format!("the expression matches nothing on {link_type}: {message}"))
        }
        Notice::InUserSpace { why } => {
            (Level::Warn, format!("the expression is evaluated in user space: {why}"))
        }
        Notice::ClockStepped { nanoseconds } => {
            let sign = if *nanoseconds < 0 { '-' } else { '+' };
            let milliseconds = nanoseconds.unsigned_abs() / 1_000_000;
            let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
            (Level::Warn, format!("the clock was set: {sign}{seconds}.{rest:03} s; stamps jump"))
        }
        Notice::OpenerGone => (
            Level::Warn,
            "the opener process has ended: captures go on, nothing new can be attached".to_owned(),
        ),
        Notice::Command { command, what } => (Level::Warn, format!("{command}: {what}")),
        Notice::Recorded(record) => (Level::Info, super::recorded(record)),
        Notice::NotRecorded { target, trigger, error } => {
            (Level::Error, super::not_recorded(target, trigger, error))
        }
        Notice::RecorderFull { limit } => (Level::Warn, super::recorder_full(*limit)),
        Notice::WindowShort { asked, possible, spills } => {
            let level = if possible.is_some() { Level::Warn } else { Level::Info };
            (level, super::window_short(*asked, *possible, *spills))
        }
        Notice::Spill { directory, trouble } => {
            (Level::Warn, super::spill_trouble(directory, trouble))
        }
        Notice::Remark { text } => (Level::Info, (*text).to_owned()),
        other => (Level::Info, format!("{other:?}")),
    };
    (level, safe(&text).into_owned())
}

/// How a target came that was not there at the start.
fn attached(name: &str, blind: Option<Blind>, gap: Option<Duration>) -> String {
    let mut text = format!("{name}: captured");
    if let Some(Blind { time, frames }) = blind {
        text += &format!(", {:.1} ms after its network was made", time.as_secs_f64() * 1e3);
        match frames {
            0 => text += ", nothing missed",
            1 => text += ", 1 frame missed",
            _ => text += &format!(", {frames} frames missed"),
        }
    }
    if let Some(gap) = gap {
        text += &format!("; it was gone for {:.1} s", gap.as_secs_f64());
    }
    text
}

#[cfg(test)]
mod tests {
    use model::LinkType;
    use session::{Error, Failed};

    use super::*;

    #[test]
    fn what_happened_is_told_with_its_weight() {
        for (what, level, text) in [
            (Notice::Ended { name: "web" }, Level::Info, "web: ended"),
            (
                Notice::NotRunning { name: "web", state: "exited" },
                Level::Warn,
                "web: left out, exited",
            ),
            (
                Notice::NeverMatches { link_type: LinkType::RAW, message: "not Ethernet" },
                Level::Warn,
                "the expression matches nothing on RAW: not Ethernet",
            ),
            (
                Notice::ClockStepped { nanoseconds: -1_500_000_000 },
                Level::Warn,
                "the clock was set: -1.500 s; stamps jump",
            ),
            (
                Notice::Attached {
                    name: "web",
                    blind: Some(Blind { time: Duration::from_micros(420), frames: 2 }),
                    gap: Some(Duration::from_millis(3_210)),
                },
                Level::Info,
                "web: captured, 0.4 ms after its network was made, 2 frames missed; it was gone for 3.2 s",
            ),
            (
                Notice::WaitedFor { name: "web", state: "exited" },
                Level::Info,
                "web: is exited; captured once it runs",
            ),
            (Notice::Remark { text: "a\x1b[2Jb" }, Level::Info, "a\\x1b[2Jb"),
        ] {
            assert_eq!(notice(&what), (level, text.to_owned()));
        }
    }

    #[test]
    fn a_failed_target_is_named_once() {
        let error = Error::NoInterface { target: "web".into(), interfaces: "eth7".into() };
        let failed = Failed { name: "web".into(), error };
        let (level, text) = notice(&Notice::Failed(&failed));
        assert_eq!((level, &*text), (Level::Error, "web has no interface eth7"));
        let error = Error::Opener { target: "db".into(), source: opener::Error::Gone };
        let (_, text) = notice(&Notice::Failed(&Failed { name: "db".into(), error }));
        assert!(text.starts_with("db: the opener"), "{text}");
    }
}
