//! Rows on standard output: a table for people, JSON, CSV. Nothing that stands in an event reaches a terminal as it is.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use pipeline::printable;
use pipeline::printable::is_unsafe;

use crate::exit::Exit;
use crate::say;

/// Rows of one table; a longer list goes out in several.
const CHUNK: usize = 5000;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum Format {
    Table,
    Json,
    Ndjson,
    Csv,
}

/// Where rows go.
pub(in crate::commands) struct Out {
    format: Format,
    names: Vec<&'static str>,
    rows: u64,
    table: Table,
    held: usize,
    to: BufWriter<io::Stdout>,
    csv: Csv,
    /// What went wrong, or that nobody reads any more.
    ended: Option<io::Error>,
}

/// One cell of a row.
pub(in crate::commands) enum Cell<'a> {
    Text(&'a str),
    Owned(String),
    Number(i64),
    Nothing,
}

impl Cell<'_> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Cell::Text(text) => Cow::Borrowed(*text),
            Cell::Owned(text) => Cow::Borrowed(text),
            Cell::Number(number) => Cow::Owned(number.to_string()),
            Cell::Nothing => Cow::Borrowed(""),
        }
    }
}

impl Out {
    /// `names` are the columns of a table or CSV, and the keys of JSON.
    pub(in crate::commands) fn new(format: Format, names: Vec<&'static str>) -> Out {
        let mut out = Out {
            format,
            names,
            rows: 0,
            table: Table::new(),
            held: 0,
            to: BufWriter::with_capacity(256 << 10, io::stdout()),
            csv: Csv {
                terminal: io::stdout().is_terminal(),
                line: Vec::new(),
            },
            ended: None,
        };
        match format {
            Format::Table => out.new_table(),
            Format::Csv => {
                let names = std::mem::take(&mut out.names);
                let header: Vec<Cell<'_>> = names.iter().map(|name| Cell::Text(name)).collect();
                out.csv(&header);
                out.names = names;
            }
            Format::Json | Format::Ndjson => {}
        }
        out
    }

    fn new_table(&mut self) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(self.names.iter().map(|name| name.to_uppercase()));
        if let Some(width) = width() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        self.table = table;
        self.held = 0;
    }

    /// Writes a row; false once nobody reads it any more.
    pub(in crate::commands) fn row(&mut self, cells: &[Cell<'_>]) -> bool {
        self.rows += 1;
        match self.format {
            Format::Table => {
                let cells = cells
                    .iter()
                    .map(|cell| printable(&cell.text()).into_owned());
                self.table.add_row(cells.collect::<Vec<_>>());
                self.held += 1;
                if self.held >= CHUNK {
                    self.flush_table();
                }
            }
            Format::Csv => self.csv(cells),
            Format::Json | Format::Ndjson => {
                let members = self.names.iter().zip(cells).map(|(name, cell)| {
                    let value = match cell {
                        Cell::Number(number) => (*number).into(),
                        Cell::Nothing => serde_json::Value::Null,
                        other => other.text().into_owned().into(),
                    };
                    ((*name).to_owned(), value)
                });
                let object: serde_json::Map<_, _> = members.collect();
                let text = serde_json::Value::Object(object).to_string();
                self.rows -= 1;
                return self.json(&text);
            }
        }
        self.ended.is_none()
    }

    /// Writes a whole object; for the formats that have them.
    pub(in crate::commands) fn json(&mut self, object: &str) -> bool {
        let before = match (self.format, self.rows) {
            (Format::Json, 0) => "[\n",
            (Format::Json, _) => ",\n",
            _ => "",
        };
        self.rows += 1;
        let after = if self.format == Format::Json {
            ""
        } else {
            "\n"
        };
        self.write(before.as_bytes());
        self.write(say::safe_json(object).as_bytes());
        self.write(after.as_bytes());
        self.ended.is_none()
    }

    fn csv(&mut self, cells: &[Cell<'_>]) {
        let mut csv = std::mem::take(&mut self.csv);
        csv.line.clear();
        for (n, cell) in cells.iter().enumerate() {
            if n > 0 {
                csv.line.push(b',');
            }
            match cell {
                Cell::Text(text) => csv.cell(text),
                Cell::Owned(text) => csv.cell(text),
                Cell::Number(number) => csv.line.extend_from_slice(number.to_string().as_bytes()),
                Cell::Nothing => {}
            }
        }
        csv.line.extend_from_slice(b"\r\n");
        self.write(&csv.line);
        self.csv = csv;
    }

    fn flush_table(&mut self) {
        let text: String = self
            .table
            .lines()
            .flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()])
            .collect();
        self.write(text.as_bytes());
        self.new_table();
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.ended.is_none()
            && let Err(why) = self.to.write_all(bytes)
        {
            self.ended = Some(why);
        }
    }

    /// Writes what is left.
    pub(in crate::commands) fn finish(mut self) -> Result<u64, Exit> {
        match self.format {
            Format::Table if self.held > 0 => self.flush_table(),
            Format::Json if self.rows == 0 => self.write(b"[]\n"),
            Format::Json => self.write(b"\n]\n"),
            _ => {}
        }
        let flushed = match self.ended.take() {
            Some(why) => Err(why),
            None => self.to.flush(),
        };
        match flushed {
            Ok(()) => Ok(self.rows),
            // Whoever read has seen enough.
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(self.rows),
            Err(why) => {
                say::error(format!("standard output: {why}"));
                Err(Exit::Failed)
            }
        }
    }
}

/// Lines of CSV, RFC 4180.
#[derive(Default)]
struct Csv {
    terminal: bool,
    line: Vec<u8>,
}

impl Csv {
    /// A cell that begins like a formula gets an apostrophe in front: a spreadsheet must not run what an attacker wrote.
    fn cell(&mut self, text: &str) {
        let escaped;
        let text = if self.terminal && text.chars().any(is_unsafe) {
            escaped = printable(text);
            escaped.as_ref()
        } else {
            text
        };
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let quoted = text
            .bytes()
            .any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n'));
        if quoted {
            self.line.push(b'"');
        }
        if formula {
            self.line.push(b'\'');
        }
        if quoted {
            for byte in text.bytes() {
                if byte == b'"' {
                    self.line.push(b'"');
                }
                self.line.push(byte);
            }
            self.line.push(b'"');
        } else {
            self.line.extend_from_slice(text.as_bytes());
        }
    }
}

/// The terminal's width [columns]; none where it is no terminal.
fn width() -> Option<u16> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(out).ok()?;
    (size.ws_col > 40).then_some(size.ws_col)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> String {
        let mut csv = Csv::default();
        csv.cell(text);
        String::from_utf8(csv.line).unwrap()
    }

    #[test]
    fn cells_are_those_of_rfc_4180_and_no_formula() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-1", "'-1"),
            ("+1", "'+1"),
            ("\tx", "'\tx"),
            ("=\"a\",b", "\"'=\"\"a\"\",b\""),
        ] {
            assert_eq!(cell(text), wanted);
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(wanted.as_bytes());
            let back = reader.records().next().unwrap().unwrap();
            assert_eq!(back[0].trim_start_matches('\''), text);
        }
        let mut csv = Csv {
            terminal: true,
            line: Vec::new(),
        };
        csv.cell("\u{1b}[2J");
        assert_eq!(csv.line, b"\\x1b[2J");
    }
}
