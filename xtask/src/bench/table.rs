use std::fmt;

/// A table in Markdown whose columns are also straight on a terminal.
#[derive(Debug)]
pub(super) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub(super) fn new(title: &str, heads: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            rows: vec![heads.iter().map(ToString::to_string).collect()],
        }
    }

    /// Adds a row and shows it at once: a measurement takes minutes.
    pub(super) fn row_shown(&mut self, cells: Vec<String>) {
        let heads = &self.rows[0];
        let line: Vec<String> =
            heads.iter().zip(&cells).map(|(head, cell)| format!("{head} {cell}")).collect();
        println!("  {}", line.join(", "));
        self.rows.push(cells);
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Its title.
    pub(super) fn title(&self) -> &str {
        &self.title
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                for width in &widths {
                    write!(f, "|{}", "-".repeat(width + 2))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new("t", &["a", "tool"]);
        table.row(vec!["1000".to_owned(), "x".to_owned()]);
        assert_eq!(table.to_string(), "| a    | tool |\n|------|------|\n| 1000 | x    |\n");
    }
}
