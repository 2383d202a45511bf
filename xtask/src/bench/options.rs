use std::{fmt, path::PathBuf};

use anyhow::{Context, Result, bail};

/// What is measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// CPU, loss and memory on one namespace under load.
    Cpu,
    /// Many namespaces at once.
    Scale,
    /// What traffic loses that nobody captures.
    Bystander,
    /// The time from exec to the first packet.
    Start,
    /// The same through a helper container.
    Helper,
    /// The flight recorder with twenty targets.
    Record,
    /// A sink that stands still.
    Stall,
    /// The first packet of a container that starts later.
    First,
    /// What is left of thousands of containers. Not among those that are run where none is named:
    /// it judges, and does not compare.
    Soak,
}

impl Section {
    const ALL: [Self; 9] = [
        Self::Cpu,
        Self::Scale,
        Self::Bystander,
        Self::Start,
        Self::Helper,
        Self::Record,
        Self::Stall,
        Self::First,
        Self::Soak,
    ];

    /// Its word on the command line and in the page.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Scale => "scale",
            Self::Bystander => "bystander",
            Self::Start => "start",
            Self::Helper => "helper",
            Self::Record => "record",
            Self::Stall => "stall",
            Self::First => "first",
            Self::Soak => "soak",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The command line.
#[derive(Debug)]
pub(super) struct Options {
    /// Rounds of the first section; the others derive theirs.
    pub(super) rounds: usize,
    /// Less of everything, to see whether the bench itself works.
    pub(super) quick: bool,
    /// A built command, instead of building it.
    pub(super) whaletap: Option<PathBuf>,
    sections: Vec<Section>,
}

impl Options {
    /// Rounds where nobody says otherwise.
    const ROUNDS: usize = 5;

    /// Reads the words behind `bench`.
    pub(super) fn parse(words: &[&str]) -> Result<Self> {
        let mut rounds = None;
        let mut options = Self { rounds: 0, quick: false, whaletap: None, sections: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match *word {
                "--rounds" => rounds = Some(value()?.parse().context("--rounds takes a number")?),
                "--quick" => options.quick = true,
                "--whaletap" => options.whaletap = Some(PathBuf::from(value()?)),
                "--section" => {
                    let wanted = value()?;
                    let section = Section::ALL.into_iter().find(|known| known.word() == *wanted);
                    options.sections.push(section.with_context(|| {
                        format!(
                            "no section {wanted}: {}",
                            Section::ALL.map(Section::word).join(", ")
                        )
                    })?);
                }
                other => bail!(
                    "{other} is not understood: [--rounds N] [--section NAME]… [--quick] \
                     [--whaletap PATH]"
                ),
            }
        }
        options.rounds = rounds.unwrap_or(if options.quick { 1 } else { Self::ROUNDS }).max(1);
        Ok(options)
    }

    /// The sections to be run, in order.
    pub(super) fn sections(&self) -> Vec<Section> {
        if self.sections.is_empty() {
            return Section::ALL.into_iter().filter(|section| *section != Section::Soak).collect();
        }
        self.sections.clone()
    }

    /// The command that gives one section again.
    pub(super) fn command(&self, section: Section) -> String {
        if section == Section::Soak {
            return "cargo xtask soak".to_owned();
        }
        format!("cargo xtask bench --section {section} --rounds {}", self.rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        let options = Options::parse(&["--rounds", "7", "--section", "start"]).unwrap();
        assert_eq!((options.rounds, options.sections()), (7, vec![Section::Start]));
        let all = Options::parse(&[]).unwrap().sections();
        assert!(all.len() == 8 && !all.contains(&Section::Soak));
        for wrong in [&["--rounds"][..], &["--rounds", "x"], &["--section", "all"], &["fast"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
