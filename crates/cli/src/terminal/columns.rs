use unicode_width::UnicodeWidthStr;

use super::safe;

/// Blanks between columns, as docker has them.
const GAP: usize = 3;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table in docker's style: upper-case heads, three blanks between columns. Every cell is made
/// safe for a terminal.
#[derive(Debug)]
pub(crate) struct Columns {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A table with these heads.
    pub(crate) fn new(heads: &[(&str, Align)]) -> Self {
        Self {
            aligns: heads.iter().map(|(_, align)| *align).collect(),
            rows: vec![heads.iter().map(|(head, _)| (*head).to_owned()).collect()],
        }
    }

    /// Adds a row: as many cells as there are heads. An empty cell shows as `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| match cell.as_str() {
            "" => "-".to_owned(),
            cell => safe(cell).into_owned(),
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// The lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max()
        };
        let widths: Vec<usize> = (0..self.aligns.len()).filter_map(width).collect();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(&widths).zip(&self.aligns) {
                let fill = " ".repeat(width.saturating_sub(cell.width()));
                match align {
                    Align::Left => line.extend([cell.as_str(), &fill]),
                    Align::Right => line.extend([&fill, cell.as_str()]),
                }
                line.push_str(&" ".repeat(GAP));
            }
            line.truncate(line.trim_end().len());
            line
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_their_text_is() {
        let mut table = Columns::new(&[("NAME", Align::Left), ("N", Align::Right)]);
        table.row(["网络".to_owned(), "7".to_owned()]);
        table.row(["web\x1b[2J".to_owned(), "1000".to_owned()]);
        table.row([String::new(), "1".to_owned()]);
        assert_eq!(
            table.lines(),
            ["NAME            N", "网络            7", "web\\x1b[2J   1000", "-               1",]
        );
    }
}
