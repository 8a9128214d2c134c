//! Standard output: documents for programs, or text and tables of 80 columns for people.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use serde::Serialize;

/// The width that tables keep to.
pub const WIDTH: usize = 80;

/// Where answers go.
pub struct Screen {
    out: BufWriter<Stdout>,
    pub json: bool,
    coloured: bool,
}

/// Colours, for terminals only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
}

impl Screen {
    /// Colours only on a terminal, and not where `NO_COLOR` is set (no-color.org).
    #[must_use]
    pub fn stdout(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let out = io::stdout();
        let coloured = wanted && out.is_terminal();
        Screen { out: BufWriter::new(out), json, coloured }
    }

    /// # Errors
    /// As of standard output.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Text that brings its own line breaks; a last one is added where it has none.
    ///
    /// # Errors
    /// As of standard output.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.line(text.strip_suffix('\n').unwrap_or(text))
    }

    /// Writes to the terminal as it is, at once.
    ///
    /// # Errors
    /// As of standard output.
    pub fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// One JSON document on one line.
    ///
    /// # Errors
    /// As of standard output.
    pub fn document(&mut self, document: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, document)?;
        self.out.write_all(b"\n")
    }

    /// The document where JSON is wanted, else the line.
    ///
    /// # Errors
    /// As of standard output.
    pub fn answer(&mut self, document: &impl Serialize, line: &str) -> io::Result<()> {
        if self.json { self.document(document) } else { self.line(line) }
    }

    /// # Errors
    /// As of standard output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    #[must_use]
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            _ if !self.coloured => return text.to_owned(),
            Colour::Plain => return text.to_owned(),
            Colour::Bold => "1",
            Colour::Dim => "2",
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Blue => "34",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// # Errors
    /// As of standard output.
    pub fn table(&mut self, mut table: Table) -> io::Result<()> {
        self.part(&mut table)
    }

    /// Shows the rows that a table has by now and empties it; its head stands above the first of them.
    ///
    /// # Errors
    /// As of standard output.
    pub fn part(&mut self, table: &mut Table) -> io::Result<()> {
        if table.rows.is_empty() {
            return Ok(());
        }
        let widths = table.widths();
        if !std::mem::replace(&mut table.begun, true) {
            let heads = table.columns.iter().map(|column| (column.head.to_owned(), Colour::Dim)).collect();
            self.row(table, &widths, &heads)?;
        }
        let rows = std::mem::take(&mut table.rows);
        rows.iter().try_for_each(|row| self.row(table, &widths, row))
    }

    fn row(&mut self, table: &Table, widths: &[usize], cells: &Vec<(String, Colour)>) -> io::Result<()> {
        let mut line = String::new();
        for ((column, width), (text, colour)) in table.columns.iter().zip(widths).zip(cells) {
            let text = if column.whole { text.clone() } else { cut(text, *width) };
            let padding = " ".repeat(width.saturating_sub(text.chars().count()));
            let text = self.paint(*colour, &text);
            if !line.is_empty() {
                line.push_str("  ");
            }
            line.push_str(&if column.right { padding + &text } else { text + &padding });
        }
        self.line(line.trim_end())
    }
}

/// A column: its head and how it gives way where the line is too long.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    head: &'static str,
    right: bool,
    /// Never cut: an id is there to be copied.
    whole: bool,
}

impl Column {
    #[must_use]
    pub fn left(head: &'static str) -> Self {
        Column { head, right: false, whole: false }
    }

    #[must_use]
    pub fn right(head: &'static str) -> Self {
        Column { head, right: true, whole: true }
    }

    #[must_use]
    pub fn whole(head: &'static str) -> Self {
        Column { head, right: false, whole: true }
    }
}

/// Rows under columns.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Colour)>>,
    /// Its head has been shown.
    begun: bool,
}

impl Table {
    #[must_use]
    pub fn new(columns: &[Column]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new(), begun: false }
    }

    /// Adds a row of plain cells.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.painted(cells.into_iter().map(|text| (text, Colour::Plain)));
    }

    pub fn painted(&mut self, cells: impl IntoIterator<Item = (String, Colour)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As wide as needed; where that is over [`WIDTH`], the widest column that may be cut gives way.
    fn widths(&self) -> Vec<usize> {
        let widest = |index: usize, column: &Column| {
            let cells = self.rows.iter().map(|row| row[index].0.chars().count());
            cells.chain([column.head.len()]).max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(|(index, column)| widest(index, column)).collect();
        loop {
            let line = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            let soft =
                self.columns.iter().zip(&mut widths).filter(|(column, width)| !column.whole && **width > column.head.len());
            match soft.max_by_key(|(_, width)| **width) {
                Some((_, width)) if line > WIDTH => *width -= 1,
                _ => return widths,
            }
        }
    }
}

/// The text on one line of at most `width` characters, `…` for what is missing.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    let text = text.replace(|character: char| character.is_control(), " ");
    if text.chars().count() <= width {
        return text;
    }
    let mut kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gives_way_where_it_may_be_cut_and_never_cuts_an_id() {
        let mut table = Table::new(&[Column::whole("ID"), Column::left("TYPE"), Column::right("AGE")]);
        table.row(["i".repeat(36), "t".repeat(70), "3m".into()]);
        let widths = table.widths();
        assert_eq!(widths[0], 36);
        assert_eq!(widths.iter().sum::<usize>() + 4, WIDTH);
        table.row(["i".repeat(300), "t".into(), "3m".into()]);
        assert_eq!(table.widths(), [300, 4, 3]);
    }

    #[test]
    fn what_is_cut_says_so_and_stays_on_its_line() {
        assert_eq!(cut("two\nlines", 20), "two lines");
        assert_eq!(cut("ééééé", 3), "éé…");
    }
}
