//! Printing for people and for programs.

use std::io::{self, Write};

use indicatif::HumanBytes;
use jiff::Timestamp;
use serde::Serialize;

/// Prints a document for programs.
pub(super) fn json(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}

/// Prints rows with columns that line up; the last one is as wide as it likes.
pub(super) fn table<const COLUMNS: usize>(
    out: &mut dyn Write,
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> io::Result<()> {
    let rows: Vec<_> = rows.into_iter().map(|row| row.map(|cell| printable(&cell))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// A text from the server as a terminal may show it: what would move its cursor or change its colours is escaped.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// A number of bytes for people; a dash if it is not known.
pub(super) fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| HumanBytes(bytes).to_string())
}

/// A moment for people.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        let rows = [["a", "bb", "c"], ["ä\u{1b}[1m", "b", ""]].map(|row| row.map(str::to_owned));
        table(&mut out, rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a           bb  c\nä\\u{1b}[1m  b\n");
    }
}
