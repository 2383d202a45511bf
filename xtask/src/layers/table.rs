use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

/// The crate table of `ARCHITECTURE.md`: each crate, its layer, and what it may use.
///
/// Rows stand in the order of the house, foundations first, so "above in the table" is a total
/// order and a table that passes [`Table::parse`] has no cycle.
#[derive(Debug)]
pub(crate) struct Table {
    /// In the page's order.
    pub(crate) rows: Vec<Row>,
}

/// One crate's row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The crate, by the name of its folder.
    pub(crate) name: String,
    /// Its layer; `None` for what stands beside the house and is never shipped.
    pub(crate) layer: Option<u8>,
    /// The crates of the workspace that it may depend on.
    pub(crate) may_use: BTreeSet<String>,
}

/// The columns that are needed; others, and their order, are the page's business.
const COLUMNS: [&str; 3] = ["layer", "crate", "may use"];

/// What the page writes where there is nothing.
const NONE: &str = "–";

impl Table {
    /// Finds the table in the page by its columns, and reads it.
    ///
    /// # Errors
    ///
    /// When no table has the columns, when a row is not understood or names a crate twice, when
    /// layers are not in ascending order, and when a row may use a crate that is not above it.
    pub(crate) fn parse(page: &str) -> Result<Self> {
        let mut lines = page.lines().map(cells);
        let columns = lines
            .by_ref()
            .flatten()
            .find_map(|header| {
                let position = |column| header.iter().position(|cell| cell == column);
                Some([position(COLUMNS[0])?, position(COLUMNS[1])?, position(COLUMNS[2])?])
            })
            .with_context(|| format!("no table has the columns {COLUMNS:?}"))?;

        let mut table = Self { rows: Vec::new() };
        // The line below the header is dashes; the table ends where lines stop being rows.
        for row in lines.skip(1).map_while(|cells| cells) {
            let cell = |column: usize| {
                row.get(columns[column])
                    .map(String::as_str)
                    .with_context(|| format!("a row without `{}`: {row:?}", COLUMNS[column]))
            };
            let name = cell(1)?.to_owned();
            let layer = match cell(0)? {
                NONE => None,
                text => {
                    Some(text.parse().with_context(|| format!("{name}: `{text}` is not a layer"))?)
                }
            };
            let may_use = match cell(2)? {
                NONE => BTreeSet::new(),
                list => list.split(',').map(|name| name.trim().to_owned()).collect(),
            };
            table.push(Row { name, layer, may_use })?;
        }
        Ok(table)
    }

    /// The row of a crate.
    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    fn push(&mut self, row: Row) -> Result<()> {
        let name = &row.name;
        if self.row(name).is_some() {
            bail!("{name} has two rows");
        }
        if let Some(above) = self.rows.last() {
            // What has no layer stands below everything that has one.
            let ascending = match (above.layer, row.layer) {
                (Some(above), Some(layer)) => above <= layer,
                (Some(_) | None, None) => true,
                (None, Some(_)) => false,
            };
            if !ascending {
                bail!("{name} stands below {}, which is in a higher layer", above.name);
            }
        }
        for used in &row.may_use {
            match self.row(used) {
                None => bail!("{name} may use {used}, which is not above it"),
                Some(used) if used.layer.is_none() && row.layer.is_some() => {
                    bail!("{name} may use {}, which is not shipped", used.name)
                }
                Some(_) => {}
            }
        }
        self.rows.push(row);
        Ok(())
    }
}

/// The cells of a markdown table row, without blanks and code marks; `None` for other lines.
fn cells(line: &str) -> Option<Vec<String>> {
    let row = line.trim().strip_prefix('|')?;
    let row = row.strip_suffix('|').unwrap_or(row);
    Some(row.split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &str) -> String {
        format!(
            "# House\n\n| word | meaning |\n|---|---|\n| a | b |\n\n\
             | layer | crate | what it is | may use |\n|---|---|---|---|\n{rows}\nMore text.\n\
             | 9 | `late` | not part of the table | – |\n"
        )
    }

    fn refusal(rows: &str) -> String {
        format!("{:#}", Table::parse(&page(rows)).unwrap_err())
    }

    #[test]
    fn rows_are_read() {
        let rows = "| 0 | `model` | words | – |\n| 1 | `sys` | kernel | `model` |\n\
                    | 3 | `session` | glue | `model`, `sys` |\n| – | `lab` | tests | `sys` |\n";
        let table = Table::parse(&page(rows)).unwrap();
        let names: Vec<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["model", "sys", "session", "lab"]);
        assert_eq!(table.row("lab").unwrap().layer, None);
        let session = table.row("session").unwrap();
        assert_eq!(session.layer, Some(3));
        assert_eq!(session.may_use, BTreeSet::from(["model".to_owned(), "sys".to_owned()]));
    }

    #[test]
    fn a_page_without_the_table_is_refused() {
        assert!(Table::parse("| layer | crate |\n|---|---|\n| 0 | model |\n").is_err());
    }

    #[test]
    fn a_crate_may_not_use_what_is_below_it() {
        let rows = "| 0 | `model` | words | `sys` |\n| 1 | `sys` | kernel | – |\n";
        assert_eq!(refusal(rows), "model may use sys, which is not above it");
    }

    #[test]
    fn a_crate_may_not_use_itself() {
        assert!(refusal("| 0 | `model` | words | `model` |\n").contains("not above it"));
    }

    #[test]
    fn layers_ascend() {
        let rows = "| 1 | `sys` | kernel | – |\n| 0 | `model` | words | – |\n";
        assert_eq!(refusal(rows), "model stands below sys, which is in a higher layer");
        let rows = "| – | `lab` | tests | – |\n| 0 | `model` | words | – |\n";
        assert!(refusal(rows).contains("stands below lab"));
    }

    #[test]
    fn what_is_shipped_uses_nothing_that_is_not() {
        let mut table = Table { rows: Vec::new() };
        let lab = Row { name: "lab".into(), layer: None, may_use: BTreeSet::new() };
        table.push(lab).unwrap();
        let xtask = Row { name: "xtask".into(), layer: None, may_use: ["lab".into()].into() };
        table.push(xtask).unwrap();
        let cli = Row { name: "cli".into(), layer: Some(5), may_use: ["lab".into()].into() };
        assert!(table.push(cli).is_err());
    }

    #[test]
    fn two_rows_for_one_crate_are_refused() {
        let rows = "| 0 | `model` | words | – |\n| 0 | `model` | words | – |\n";
        assert_eq!(refusal(rows), "model has two rows");
    }

    #[test]
    fn a_layer_is_a_number() {
        assert!(refusal("| low | `model` | words | – |\n").contains("not a layer"));
    }

    #[test]
    fn the_real_page_has_the_table() {
        let table = Table::parse(include_str!("../../../ARCHITECTURE.md")).unwrap();
        assert_eq!(table.row("model").unwrap().may_use, BTreeSet::new());
        assert_eq!(table.row("xtask").unwrap().layer, None);
    }
}
