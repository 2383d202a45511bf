use std::{collections::BTreeMap, str::FromStr};

use crate::{
    Error,
    traffic::{DEFAULT_SECONDS, MAX_SECONDS, Pace},
};

/// The `--name value` pairs of a command line. A hand-made parser, so that the static binary
/// stays small.
#[derive(Debug, Default)]
pub struct Options {
    given: BTreeMap<String, String>,
}

impl Options {
    /// Reads pairs.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for what is no pair, or comes twice.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let mut given = BTreeMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let Some(name) = argument.strip_prefix("--").map(str::to_owned) else {
                return Err(Error::Usage { argument, reason: "is no option" });
            };
            let Some(value) = arguments.next() else {
                return Err(Error::Usage { argument, reason: "has no value" });
            };
            if given.insert(name, value).is_some() {
                return Err(Error::Usage { argument, reason: "was given twice" });
            }
        }
        Ok(Self { given })
    }

    pub(crate) fn take<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.given.remove(name) else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Error::Usage {
                argument: format!("--{name} {value}"),
                reason: "is not understood",
            }),
        }
    }

    pub(crate) fn need<T: FromStr>(&mut self, name: &str) -> Result<T, Error> {
        self.take(name)?.ok_or(Error::Usage { argument: format!("--{name}"), reason: "is needed" })
    }

    /// `--seconds`, at most [`MAX_SECONDS`].
    pub(crate) fn seconds(&mut self) -> Result<f64, Error> {
        let seconds: f64 = self.take("seconds")?.unwrap_or(DEFAULT_SECONDS);
        if seconds.is_finite() && seconds >= 0.0 {
            return Ok(seconds.min(MAX_SECONDS));
        }
        Err(Error::Usage { argument: "--seconds".to_owned(), reason: "is not a time" })
    }

    /// `--count`, `--seconds` and `--rate`.
    pub(crate) fn pace(&mut self) -> Result<Pace, Error> {
        let seconds = self.seconds()?;
        Ok(Pace::new(self.take("count")?, seconds, self.take("rate")?))
    }

    /// `--run`, 1 when not given.
    pub(crate) fn run(&mut self) -> Result<u32, Error> {
        Ok(self.take("run")?.unwrap_or(1))
    }

    /// Whether all were used.
    pub(crate) fn end(self) -> Result<(), Error> {
        match self.given.into_keys().next() {
            Some(name) => Err(Error::Usage {
                argument: format!("--{name}"),
                reason: "is no option of this mode",
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Error> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["send", "--size", "--size 1 --size 2"] {
            assert!(matches!(parse(line), Err(Error::Usage { .. })), "{line}");
        }
        assert!(parse("--size many").unwrap().take::<usize>("size").is_err());
        assert!(parse("--other 1").unwrap().end().is_err());
        assert!(parse("--seconds NaN").unwrap().seconds().is_err());
    }

    #[test]
    fn time_is_capped() {
        let mut options = parse("--seconds 1e9").unwrap();
        assert!(options.seconds().unwrap() <= MAX_SECONDS);
    }
}
