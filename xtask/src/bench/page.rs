use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Findings, Machine, Options, options::Section};

/// `docs/benchmarks.md`: prose by people, with a generated part for each section between two
/// marks.
#[derive(Debug)]
pub(super) struct Page {
    path: PathBuf,
}

impl Page {
    /// The page, which is there.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let page = Self { path };
        page.text()?;
        Ok(page)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn text(&self) -> Result<String> {
        fs::read_to_string(&self.path).with_context(|| self.path.display().to_string())
    }

    /// Replaces a section's part and writes the page: what was measured is not lost when a later
    /// section fails, and what was written into the page meanwhile stays.
    pub(super) fn put(
        &self,
        section: Section,
        machine: &Machine,
        options: &Options,
        findings: &Findings,
    ) -> Result<()> {
        let part = part(section, machine, options, findings)?;
        let text = replaced(&self.text()?, section.word(), &part)
            .with_context(|| format!("{} has no marks for {section}", self.path.display()))?;
        fs::write(&self.path, text).with_context(|| self.path.display().to_string())
    }
}

fn part(
    section: Section,
    machine: &Machine,
    options: &Options,
    findings: &Findings,
) -> Result<String> {
    let mut text = format!("```\n{}\n{machine}\n", options.command(section));
    for note in &findings.notes {
        writeln!(text, "{note}")?;
    }
    text.push_str("```\n\n");
    for verdict in &findings.verdicts {
        writeln!(text, "- {verdict}")?;
    }
    for table in &findings.summary {
        writeln!(text, "\n{}\n\n{table}", table.title())?;
    }
    for table in &findings.raw {
        writeln!(text, "<details><summary>{}</summary>\n\n{table}\n</details>\n", table.title())?;
    }
    Ok(text)
}

/// The text with what is between the marks of `name` replaced.
fn replaced(text: &str, name: &str, part: &str) -> Option<String> {
    let begin = format!("<!-- {name}: measured, do not edit -->\n");
    let end = format!("<!-- {name}: end -->");
    let from = text.find(&begin)? + begin.len();
    let to = from + text[from..].find(&end)?;
    Some(format!("{}{part}{}", &text[..from], &text[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_part_changes() {
        let page = "a\n<!-- x: measured, do not edit -->\nold\n<!-- x: end -->\nb\n";
        let wanted = "a\n<!-- x: measured, do not edit -->\nnew\n<!-- x: end -->\nb\n";
        assert_eq!(replaced(page, "x", "new\n").unwrap(), wanted);
        assert_eq!(replaced(page, "y", "new"), None);
    }
}
