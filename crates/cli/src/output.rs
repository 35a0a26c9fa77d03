//! Results on standard output: a table on a terminal, one JSON object a line when piped.
//!
//! Field names of the JSON objects are API: programs read them. A table that does not fit the
//! terminal breaks its last column between words, or is written as one block a row, so that nothing
//! is cut. What comes from records and
//! names never steers the terminal: control characters are shown as escapes in tables.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use clap::ValueEnum;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, TableStyle};
use serde::Serialize;
use serde_json::Value;

use crate::Failure;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// The same with every column.
    Wide,
    /// One JSON object a line for programs.
    Json,
    /// A YAML list.
    Yaml,
    /// Comma-separated values with a heading.
    Csv,
    /// Names only, one a line.
    Name,
}

/// Rows buffered before columns are aligned; a longer listing is aligned in pieces of this size.
const ROWS_ALIGNED: usize = 10_000;
/// Blanks between two columns.
const GAP: u16 = 2;
/// A last column that gets fewer columns of the terminal than this cannot be read.
const LAST_COLUMN_MIN: usize = 30;
/// Where a column's name begins with this, only the wide table has it.
const WIDE: char = '+';

/// Where a command writes its results.
pub struct Output {
    format: Format,
    writer: BufWriter<Stdout>,
    /// Columns of the terminal; none where lines may be as long as they like.
    width: Option<usize>,
    colour: bool,
    /// CSV and YAML listings begin once.
    begun: bool,
}

impl Output {
    /// On a terminal a table, else JSON, unless a format was asked for.
    pub fn new(asked: Option<Format>) -> Output {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let natural = if terminal {
            Format::Table
        } else {
            Format::Json
        };
        let told = std::env::var("COLUMNS").ok().and_then(|n| n.parse().ok());
        let width = told.or_else(|| {
            // A terminal may know its width and not its height.
            let size = terminal.then(|| rustix::termios::tcgetwinsize(&stdout));
            size.and_then(Result::ok)
                .map(|size| usize::from(size.ws_col))
        });
        Output {
            format: asked.unwrap_or(natural),
            writer: BufWriter::new(stdout),
            width: width.filter(|width| *width > 0),
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            begun: false,
        }
    }

    /// Whether people read it: a table.
    pub fn is_table(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Whether colours may be used.
    pub fn has_colour(&self) -> bool {
        self.colour && self.is_table()
    }

    /// Writes a listing: `columns` name the cells that `cells` makes of each row, the first being
    /// the row's name. A column whose name begins with `+` is in the wide table only.
    pub fn rows<R: Serialize>(
        &mut self,
        columns: &[&str],
        rows: &[R],
        cells: impl Fn(&R) -> Vec<String>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => {
                for (number, piece) in rows.chunks(ROWS_ALIGNED).enumerate() {
                    let lines = piece.iter().map(&cells).collect();
                    self.table(columns, lines, number == 0)?;
                }
                if rows.is_empty() {
                    self.table(columns, Vec::new(), true)?;
                }
            }
            Format::Name => {
                for row in rows {
                    let name = cells(row).into_iter().next().unwrap_or_default();
                    self.write(&format!("{name}\n"))?;
                }
            }
            Format::Json | Format::Yaml | Format::Csv => {
                for row in rows {
                    self.json(row)?;
                }
            }
        }
        self.flush()
    }

    /// Writes one object to programs: a JSON line, or what stands for it in the format asked for.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let bug = |error: serde_json::Error| {
            Failure::new("output", error.to_string(), "report this as a bug")
        };
        let text = match self.format {
            Format::Yaml => yaml_item(&serde_json::to_value(value).map_err(bug)?),
            Format::Csv => {
                let value = serde_json::to_value(value).map_err(bug)?;
                let heading = !std::mem::replace(&mut self.begun, true);
                csv_lines(&value, heading)
            }
            _ => serde_json::to_string(value).map_err(bug)? + "\n",
        };
        self.write(&text)
    }

    /// Writes text as it is, for people; programs do not get it.
    pub fn note(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_table() {
            self.write(text)?;
        }
        self.flush()
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

    fn table(
        &mut self,
        columns: &[&str],
        lines: Vec<Vec<String>>,
        heading: bool,
    ) -> Result<(), Failure> {
        let wide = self.format == Format::Wide;
        let text = lay_out(columns, lines, heading, wide, self.width, self.colour);
        self.write(&text)
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

/// Text with its control characters as escapes, so that it stays on its line and in its colour.
pub fn visible(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control();
            let (plain, escape) = if escaped {
                (None, Some(c.escape_default()))
            } else {
                (Some(c), None)
            };
            plain.into_iter().chain(escape.into_iter().flatten())
        })
        .collect()
}

fn lay_out(
    columns: &[&str],
    lines: Vec<Vec<String>>,
    heading: bool,
    wide: bool,
    width: Option<usize>,
    colour: bool,
) -> String {
    let shown: Vec<usize> = (0..columns.len())
        .filter(|at| wide || !columns[*at].starts_with(WIDE))
        .collect();
    let names: Vec<String> = shown
        .iter()
        .map(|at| columns[*at].trim_start_matches(WIDE).to_uppercase())
        .collect();
    let lines: Vec<Vec<String>> = lines
        .into_iter()
        .map(|cells| {
            let cell = |at: &usize| cells.get(*at).map(|cell| visible(cell));
            shown
                .iter()
                .map(|at| cell(at).unwrap_or_default())
                .collect()
        })
        .collect();
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(names.clone());
    table.add_rows(lines.clone());
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let widths = table.column_max_content_widths();
    let lead = widths.iter().rev().skip(1);
    let lead: usize = lead.map(|width| usize::from(width + GAP)).sum();
    let last = usize::from(widths.last().copied().unwrap_or(0));
    if let Some(width) = width.filter(|width| lead + last > *width && !lines.is_empty()) {
        if width < lead + LAST_COLUMN_MIN {
            return blocks(&names, &lines, heading, width);
        }
        // The last column, where the words are, is broken between them.
        table.set_content_arrangement(ContentArrangement::Dynamic);
        let room = width + usize::from(GAP);
        table.set_width(u16::try_from(room).unwrap_or(u16::MAX));
        for column in table.column_iter_mut().rev().skip(1) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match (number, heading, colour) {
            (0, false, _) => {}
            (0, true, true) => text.push_str(&format!("\x1b[1m{line}\x1b[0m\n")),
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// One block a row: what is left when a table is wider than its terminal.
fn blocks(names: &[String], lines: &[Vec<String>], first: bool, width: usize) -> String {
    let label = names.iter().map(|name| name.chars().count()).max();
    let label = label.unwrap_or(0);
    let mut text = String::new();
    for (number, cells) in lines.iter().enumerate() {
        if number > 0 || !first {
            text.push('\n');
        }
        for (name, cell) in names.iter().zip(cells) {
            let mut name = name.to_lowercase();
            let room = width.saturating_sub(label + usize::from(GAP));
            for piece in broken(cell, room) {
                text.push_str(format!("{name:label$}  {piece}").trim_end());
                text.push('\n');
                name.clear();
            }
        }
    }
    text
}

/// Text in pieces that fit into so many columns, broken between words; a longer word stays whole.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in text.split(' ') {
        let last = pieces.len() - 1;
        let piece = &mut pieces[last];
        let length = piece.chars().count() + 1 + word.chars().count();
        if piece.is_empty() {
            piece.push_str(word);
        } else if length > room {
            pieces.push(word.to_owned());
        } else {
            piece.push(' ');
            piece.push_str(word);
        }
    }
    pieces
}

/// A list item. Scalars are written as JSON writes them, which YAML reads as the same.
fn yaml_item(value: &Value) -> String {
    let Value::Object(fields) = value else {
        return format!("- {value}\n");
    };
    let mut text = String::new();
    for (number, (name, value)) in fields.iter().enumerate() {
        let lead = if number == 0 { "- " } else { "  " };
        text.push_str(&format!("{lead}{name}: {value}\n"));
    }
    text
}

fn csv_lines(value: &Value, heading: bool) -> String {
    let Value::Object(fields) = value else {
        return format!("{}\n", csv_cell(value));
    };
    let line = |cells: Vec<String>| cells.join(",") + "\n";
    let mut text = String::new();
    if heading {
        text.push_str(&line(fields.keys().cloned().collect()));
    }
    text.push_str(&line(fields.values().map(csv_cell).collect()));
    text
}

/// RFC 4180: quoted where a comma, a quote or a line end would be misread.
fn csv_cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines() -> Vec<Vec<String>> {
        vec![
            vec!["orders".to_owned(), "6".to_owned(), "x".to_owned()],
            vec!["a".to_owned(), "12".to_owned(), "y".to_owned()],
        ]
    }

    const COLUMNS: [&str; 3] = ["topic", "partitions", "+id"];

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let table = lay_out(&COLUMNS, lines(), true, false, None, false);
        assert_eq!(table, "TOPIC   PARTITIONS\norders  6\na       12\n");
        let table = lay_out(&COLUMNS, lines(), true, true, None, false);
        assert!(table.starts_with("TOPIC   PARTITIONS  ID\n"), "{table}");
        let table = lay_out(&COLUMNS, Vec::new(), true, false, Some(10), false);
        assert_eq!(
            table, "TOPIC  PARTITIONS\n",
            "an empty listing has its heading"
        );
    }

    #[test]
    fn a_table_that_does_not_fit_becomes_blocks_and_loses_nothing() {
        assert!(lay_out(&COLUMNS, lines(), true, false, Some(18), false).starts_with("TOPIC "));
        assert_eq!(
            lay_out(&COLUMNS, lines(), true, false, Some(17), false),
            "topic       orders\npartitions  6\n\ntopic       a\npartitions  12\n"
        );
    }

    #[test]
    fn words_in_blocks_are_broken_and_whole() {
        assert_eq!(broken("a leader, and all", 9), ["a leader,", "and all"]);
        assert_eq!(broken("unbreakable", 4), ["unbreakable"]);
        assert_eq!(broken("", 4), [""]);
    }

    #[test]
    fn a_last_column_of_words_is_broken_between_them() {
        let sentence = "a leader, all its copies, and a disk that works";
        let lines = vec![
            vec!["health".to_owned(), sentence.to_owned()],
            vec!["disk".to_owned(), "32 GB free".to_owned()],
        ];
        let table = lay_out(&["check", "detail"], lines, true, false, Some(40), false);
        assert_eq!(
            table,
            "CHECK   DETAIL\n\
             health  a leader, all its copies, and a\n        disk that works\n\
             disk    32 GB free\n"
        );
    }

    #[test]
    fn wide_letters_count_as_two_columns() {
        let lines = vec![
            vec!["注文".to_owned(), "1".to_owned(), String::new()],
            vec!["ab".to_owned(), "2".to_owned(), String::new()],
        ];
        let table = lay_out(&COLUMNS, lines, true, false, None, false);
        assert_eq!(table, "TOPIC  PARTITIONS\n注文   1\nab     2\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(visible("a\x1b[31m\n"), "a\\u{1b}[31m\\n");
        assert_eq!(visible("ü"), "ü");
    }

    #[test]
    fn colour_is_in_the_heading_only() {
        let table = lay_out(&COLUMNS, lines(), true, false, None, true);
        assert!(
            table.starts_with("\x1b[1mTOPIC   PARTITIONS\x1b[0m\norders"),
            "{table:?}"
        );
    }

    #[test]
    fn yaml_and_csv_keep_the_order_of_fields() {
        let row = json!({"topic": "a,b", "n": 1, "none": null, "list": [1, 2]});
        assert_eq!(
            yaml_item(&row),
            "- topic: \"a,b\"\n  n: 1\n  none: null\n  list: [1,2]\n"
        );
        assert_eq!(
            csv_lines(&row, true),
            "topic,n,none,list\n\"a,b\",1,,\"[1,2]\"\n"
        );
        assert_eq!(csv_cell(&json!("say \"x\"")), "\"say \"\"x\"\"\"");
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure_to_report() {
        assert_eq!(closed(io::Error::from(io::ErrorKind::BrokenPipe)).exit, 0);
    }
}
