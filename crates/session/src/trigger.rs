//! `--on`: for what a recorder writes.

use std::{fmt, str::FromStr, time::Duration};

use capture::{ResetLimit, Trigger};
use docker::What;

/// One thing for which a recorder writes a target's window.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum On {
    /// The container's process has ended, with this exit code where one is given.
    Die(Option<i64>),
    /// The kernel has ended a process of the container for want of memory.
    OutOfMemory,
    /// Somebody has restarted the container.
    Restart,
    /// The container's health check has failed.
    Unhealthy,
    /// SIGUSR2: all targets.
    Signal,
    /// More than so many TCP resets in so much time.
    Resets(ResetLimit),
    /// Frames were lost, to the kernel or to us.
    Drop,
    /// A frame that this expression accepts.
    Match(String),
}

/// A word for `--on` that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadTrigger {
    /// There is no such trigger.
    #[error(
        "expected die, die:CODE, oom, restart, unhealthy, signal, drop, rst>N/TIME or \
         match:EXPRESSION"
    )]
    Unknown,
    /// Something else than an exit code.
    #[error("die: expected an exit code, as in die:137")]
    ExitCode,
    /// Something else than a number and a time.
    #[error(
        "rst: expected a number and a time, as in rst>50/1s; at most {}",
        ResetLimit::MAX_COUNT
    )]
    Resets,
    /// Every frame would be a trigger.
    #[error(
        "match: expected a pcap-filter(7) expression, as in match:'tcp[tcpflags] & tcp-rst != 0'"
    )]
    NoExpression,
}

impl FromStr for On {
    type Err = BadTrigger;

    fn from_str(text: &str) -> Result<Self, BadTrigger> {
        Ok(match text {
            "die" => Self::Die(None),
            "oom" => Self::OutOfMemory,
            "restart" => Self::Restart,
            "unhealthy" => Self::Unhealthy,
            "signal" => Self::Signal,
            "drop" => Self::Drop,
            _ => {
                if let Some(code) = text.strip_prefix("die:") {
                    Self::Die(Some(code.parse().map_err(|_| BadTrigger::ExitCode)?))
                } else if let Some(expression) = text.strip_prefix("match:") {
                    let expression = expression.trim();
                    if expression.is_empty() {
                        return Err(BadTrigger::NoExpression);
                    }
                    Self::Match(expression.to_owned())
                } else if let Some(limit) = text.strip_prefix("rst>") {
                    Self::Resets(resets(limit).ok_or(BadTrigger::Resets)?)
                } else {
                    return Err(BadTrigger::Unknown);
                }
            }
        })
    }
}

/// `50/1s`, `3/500ms`, `10/1m`.
fn resets(text: &str) -> Option<ResetLimit> {
    let (count, span) = text.split_once('/')?;
    let count = count.parse().ok().filter(|count| *count <= ResetLimit::MAX_COUNT)?;
    let digits = span.find(|c: char| !c.is_ascii_digit()).unwrap_or(span.len());
    let (number, unit) = span.split_at(digits);
    let number: u32 = if number.is_empty() { 1 } else { number.parse().ok()? };
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "" | "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return None,
    };
    Some(ResetLimit { count, span: unit * number }).filter(|limit| !limit.span.is_zero())
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Die(None) => f.write_str("die"),
            Self::Die(Some(code)) => write!(f, "die:{code}"),
            Self::OutOfMemory => f.write_str("oom"),
            Self::Restart => f.write_str("restart"),
            Self::Unhealthy => f.write_str("unhealthy"),
            Self::Signal => f.write_str("signal"),
            Self::Resets(limit) => write!(f, "rst>{}/{:?}", limit.count, limit.span),
            Self::Drop => f.write_str("drop"),
            Self::Match(expression) => write!(f, "match:{expression}"),
        }
    }
}

/// What a recorder was told to write for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triggers(Vec<On>);

impl Triggers {
    /// These.
    #[must_use]
    pub fn new(on: Vec<On>) -> Self {
        Self(on)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &On> {
        self.0.iter()
    }

    /// Whether some of them are told by an engine.
    #[must_use]
    pub fn need_engine(&self) -> bool {
        self.0
            .iter()
            .any(|on| matches!(on, On::Die(_) | On::OutOfMemory | On::Restart | On::Unhealthy))
    }

    /// The trigger that something is which happened to a container at `at`, in nanoseconds since
    /// 1970; `None` where nothing is to be written for it.
    #[must_use]
    pub fn fires(&self, what: &What, at: u64) -> Option<Trigger> {
        let has = |on: On| self.0.contains(&on);
        let (name, detail) = match what {
            What::Died { exit_code } => {
                let wants =
                    has(On::Die(None)) || exit_code.is_some_and(|code| has(On::Die(Some(code))));
                let detail = exit_code.map(|code| format!("exit code {code}"));
                wants.then(|| ("die", detail.unwrap_or_default()))?
            }
            What::OutOfMemory => has(On::OutOfMemory).then(|| ("oom", String::new()))?,
            What::Restarted => has(On::Restart).then(|| ("restart", String::new()))?,
            What::Health { healthy: false } => {
                has(On::Unhealthy).then(|| ("unhealthy", String::new()))?
            }
            _ => return None,
        };
        Some(Trigger { name: name.to_owned(), detail, at })
    }

    /// The trigger that SIGUSR2 is at `at`, if it is one.
    #[must_use]
    pub fn signalled(&self, at: u64) -> Option<Trigger> {
        self.0.contains(&On::Signal).then(|| Trigger {
            name: "signal".to_owned(),
            detail: String::new(),
            at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triggers(words: &[&str]) -> Triggers {
        Triggers::new(words.iter().map(|word| word.parse().unwrap()).collect())
    }

    #[test]
    fn words_are_understood_and_told_again() {
        for word in ["die", "die:137", "oom", "restart", "unhealthy", "signal", "drop", "rst>50/1s"]
        {
            assert_eq!(word.parse::<On>().unwrap().to_string(), word);
        }
        let limit = |count, milliseconds| {
            On::Resets(ResetLimit { count, span: Duration::from_millis(milliseconds) })
        };
        assert_eq!("rst>3/500ms".parse(), Ok(limit(3, 500)));
        assert_eq!("rst>0/s".parse(), Ok(limit(0, 1000)));
        assert_eq!("rst>10/2m".parse(), Ok(limit(10, 120_000)));
        assert_eq!("match: tcp port 80 ".parse(), Ok(On::Match("tcp port 80".to_owned())));
        for (word, error) in [
            ("", BadTrigger::Unknown),
            ("dies", BadTrigger::Unknown),
            ("rst", BadTrigger::Unknown),
            ("die:", BadTrigger::ExitCode),
            ("die:x", BadTrigger::ExitCode),
            ("match:", BadTrigger::NoExpression),
            ("match: ", BadTrigger::NoExpression),
            ("rst>5", BadTrigger::Resets),
            ("rst>x/1s", BadTrigger::Resets),
            ("rst>5/0s", BadTrigger::Resets),
            ("rst>5/1h", BadTrigger::Resets),
            ("rst>10001/1s", BadTrigger::Resets),
            ("rst>-1/1s", BadTrigger::Resets),
        ] {
            assert_eq!(word.parse::<On>(), Err(error), "{word}");
        }
    }

    #[test]
    fn events_fire_what_was_asked_for() {
        let died = |exit_code| What::Died { exit_code };
        let name = |words: &[&str], what: &What| {
            triggers(words).fires(what, 7).map(|trigger| (trigger.name, trigger.detail, trigger.at))
        };
        let fired = |name: &str, detail: &str| Some((name.to_owned(), detail.to_owned(), 7));
        assert_eq!(name(&["die"], &died(Some(0))), fired("die", "exit code 0"));
        assert_eq!(name(&["die"], &died(None)), fired("die", ""));
        assert_eq!(name(&["die:137"], &died(Some(137))), fired("die", "exit code 137"));
        assert_eq!(name(&["die:137"], &died(Some(1))), None);
        assert_eq!(name(&["die:137"], &died(None)), None);
        assert_eq!(name(&["die:1", "die:2"], &died(Some(2))), fired("die", "exit code 2"));
        assert_eq!(name(&["oom"], &What::OutOfMemory), fired("oom", ""));
        assert_eq!(name(&["restart"], &What::Restarted), fired("restart", ""));
        assert_eq!(name(&["restart"], &What::Started), None);
        let health = |healthy| What::Health { healthy };
        assert_eq!(name(&["unhealthy"], &health(false)), fired("unhealthy", ""));
        assert_eq!(name(&["unhealthy"], &health(true)), None);
        for what in [died(Some(137)), What::OutOfMemory, What::Restarted, health(false)] {
            assert_eq!(name(&["signal", "drop", "rst>1/1s", "match:tcp"], &what), None);
        }
    }

    #[test]
    fn a_signal_is_one_when_it_was_asked_for() {
        assert_eq!(triggers(&["die"]).signalled(7), None);
        assert_eq!(triggers(&["signal"]).signalled(7).map(|trigger| trigger.at), Some(7));
        assert!(!triggers(&["signal", "drop", "match:tcp"]).need_engine());
        assert!(triggers(&["signal", "die:1"]).need_engine());
    }
}
