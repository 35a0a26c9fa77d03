//! Results on standard output: aligned columns on a terminal, one JSON object a line when piped.
//!
//! Field names of the JSON objects are API: programs read them.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use crate::{Failure, Format};

/// Rows buffered before columns are aligned; a longer listing is aligned in pieces of this size.
const ROWS_ALIGNED: usize = 10_000;

/// Where a command writes its results.
pub struct Output {
    format: Format,
    writer: BufWriter<Stdout>,
}

impl Output {
    /// On a terminal a table, else JSON, unless a format was asked for.
    pub fn new(asked: Option<Format>) -> Output {
        let stdout = io::stdout();
        let natural = if stdout.is_terminal() {
            Format::Table
        } else {
            Format::Json
        };
        Output {
            format: asked.unwrap_or(natural),
            writer: BufWriter::new(stdout),
        }
    }

    /// Whether rows go out as a table.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Writes a listing: `columns` name the cells that `cells` makes of each row; JSON gets the rows
    /// themselves.
    pub fn rows<R: Serialize>(
        &mut self,
        columns: &[&str],
        rows: &[R],
        cells: impl Fn(&R) -> Vec<String>,
    ) -> Result<(), Failure> {
        if self.is_table() {
            for (number, piece) in rows.chunks(ROWS_ALIGNED).enumerate() {
                let lines: Vec<Vec<String>> = piece.iter().map(&cells).collect();
                let heading = (number == 0).then_some(columns);
                self.write(&align(heading, &lines))?;
            }
            if rows.is_empty() {
                self.write(&align(Some(columns), &[]))?;
            }
        } else {
            for row in rows {
                self.json(row)?;
            }
        }
        self.flush()
    }

    /// Writes one JSON line.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_string(value)
            .map_err(|error| Failure::new("output", error.to_string(), "report this as a bug"))?;
        line.push('\n');
        self.write(&line)
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text)?;
        self.flush()
    }

    /// Writes bytes as they are, without flushing.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(closed)
    }

    /// Passes everything on.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(closed)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }
}

/// A reader that went away (`| head`) ends the command quietly, as for any Unix tool.
fn closed(error: io::Error) -> Failure {
    let quiet = error.kind() == io::ErrorKind::BrokenPipe;
    let failure = Failure::new(
        "standard output",
        error.to_string(),
        "check where it leads to",
    );
    if quiet {
        Failure { exit: 0, ..failure }
    } else {
        failure
    }
}

fn align(heading: Option<&[&str]>, lines: &[Vec<String>]) -> String {
    let heading: Option<Vec<String>> =
        heading.map(|names| names.iter().map(|name| name.to_uppercase()).collect());
    let all = || heading.iter().chain(lines);
    let columns = all().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            all()
                .filter_map(|cells| cells.get(at))
                .map(|c| c.chars().count())
                .max()
        })
        .map(|width| width.unwrap_or(0))
        .collect();
    let mut text = String::new();
    for cells in all() {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(cell);
            let padding = width - cell.chars().count() + 2;
            line.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let lines = vec![
            vec!["orders".to_owned(), "6".to_owned()],
            vec!["a".to_owned(), "12".to_owned()],
        ];
        assert_eq!(
            align(Some(&["topic", "partitions"]), &lines),
            "TOPIC   PARTITIONS\norders  6\na       12\n"
        );
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure_to_report() {
        assert_eq!(closed(io::Error::from(io::ErrorKind::BrokenPipe)).exit, 0);
    }
}
