//! From the bytes of a file to rows: CSV with a header, a JSON array of objects, or one JSON object a line.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use pipeline::config::nearest;
use pipeline::table::TableError;
use pipeline::{Bytes, Value};
use schemars::JsonSchema;
use serde::Deserialize;

use super::cells::Cells;

/// Most columns of a table.
const MOST_COLUMNS: usize = 1000;

/// Which file, and how it is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileOptions {
    /// The file; replace it by writing beside it and renaming.
    pub(super) path: PathBuf,
    /// How it is written.
    #[serde(default)]
    pub(super) encoding: Encoding,
}

/// How a file is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Encoding {
    /// The form; without it `.json`, `.jsonl` and `.ndjson` files are what they are called, and all others are CSV.
    r#type: Option<Form>,
    /// CSV: the one character between two values.
    delimiter: char,
    /// CSV: whether the first line names the columns; otherwise they are called `0`, `1`, ….
    include_headers: bool,
}

impl Default for Encoding {
    fn default() -> Self {
        Encoding {
            r#type: None,
            delimiter: ',',
            include_headers: true,
        }
    }
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Form {
    /// Values between commas, or between what `delimiter` says; quoted where needed.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
}

/// What a column of a CSV file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ColumnType {
    /// Text.
    String,
    /// A whole number.
    #[serde(alias = "int")]
    Integer,
    /// A number.
    Float,
    /// `true` or `false`, `yes` or `no`, `1` or `0`.
    #[serde(alias = "bool")]
    Boolean,
}

/// How much of a file is taken, and what its columns hold.
pub(super) struct Limits<'a> {
    pub(super) schema: &'a BTreeMap<String, ColumnType>,
    pub(super) max_rows: usize,
}

/// Default of `max_rows` [rows].
pub(super) fn max_rows() -> usize {
    1_000_000
}

/// Default of `max_size`.
pub(super) fn max_size() -> Bytes {
    Bytes::mib(64)
}

impl FileOptions {
    pub(super) fn check(&self) -> Result<(), TableError> {
        if self.encoding.delimiter.is_ascii() {
            Ok(())
        } else {
            Err(TableError::new(format!(
                "encoding.delimiter {:?} is no ASCII character",
                self.encoding.delimiter
            ))
            .help("write one like \",\", \";\" or \"\\t\""))
        }
    }

    fn form(&self) -> Form {
        let ending = |path: &Path| {
            let ending = path.extension()?.to_str()?.to_ascii_lowercase();
            Some(match ending.as_str() {
                "json" => Form::Json,
                "jsonl" | "ndjson" => Form::Ndjson,
                _ => Form::Csv,
            })
        };
        self.encoding
            .r#type
            .or_else(|| ending(&self.path))
            .unwrap_or(Form::Csv)
    }

    pub(super) fn read(&self, file: &[u8], limits: &Limits<'_>) -> Result<Cells, TableError> {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let cells = match self.form() {
            Form::Csv => self.csv(file, limits),
            Form::Json => json(file, limits),
            Form::Ndjson => ndjson(file, limits),
        }?;
        for name in limits.schema.keys() {
            if !cells.columns.contains(name) {
                let known = cells.columns.iter().map(String::as_str);
                let help = match nearest(name, known) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("its columns are {}", cells.columns.join(", ")),
                };
                return Err(TableError::new(format!(
                    "`schema` names a column {name:?} that it does not have"
                ))
                .help(help));
            }
        }
        Ok(cells)
    }

    fn csv(&self, file: &[u8], limits: &Limits<'_>) -> Result<Cells, TableError> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.encoding.delimiter as u8)
            .has_headers(false)
            // Lengths are compared here, for the sake of the message.
            .flexible(true)
            .from_reader(file);
        let mut record = csv::ByteRecord::new();
        let mut cells: Option<(Cells, Vec<ColumnType>)> = None;
        loop {
            let more = reader
                .read_byte_record(&mut record)
                .map_err(|why| TableError::new(why.to_string()))?;
            if !more {
                break;
            }
            let line = record.position().map_or(0, csv::Position::line);
            let text = |n: usize| {
                let bytes = record.get(n).unwrap_or_default();
                std::str::from_utf8(bytes)
                    .map_err(|_| TableError::at(line, "it is not UTF-8").help("save it as UTF-8"))
            };
            let Some((cells, types)) = &mut cells else {
                let names: Vec<String> = match self.encoding.include_headers {
                    true => (0..record.len())
                        .map(|n| text(n).map(str::to_owned))
                        .collect::<Result<_, _>>()?,
                    false => (0..record.len()).map(|n| n.to_string()).collect(),
                };
                check_names(&names, line)?;
                let of = |name: &String| limits.schema.get(name).copied();
                let types = names
                    .iter()
                    .map(|name| of(name).unwrap_or(ColumnType::String));
                let types = types.collect();
                cells = Some((Cells::new(names, true), types));
                if self.encoding.include_headers {
                    continue;
                }
                let Some((cells, types)) = &mut cells else {
                    continue;
                };
                row(cells, types, line, &record, text, limits)?;
                continue;
            };
            row(cells, types, line, &record, text, limits)?;
        }
        let (cells, _) = cells.ok_or_else(|| {
            TableError::new("it is empty").help("its first line names the columns")
        })?;
        Ok(cells)
    }
}

fn check_names(names: &[String], line: u64) -> Result<(), TableError> {
    if names.len() > MOST_COLUMNS {
        return Err(TableError::at(
            line,
            format!("{} columns are more than {MOST_COLUMNS}", names.len()),
        ));
    }
    for (n, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(TableError::at(
                line,
                format!("the column number {} has no name", n + 1),
            ));
        }
        if names[..n].contains(name) {
            return Err(TableError::at(
                line,
                format!("two columns are called {name:?}"),
            ));
        }
    }
    Ok(())
}

fn row<'t>(
    cells: &mut Cells,
    types: &[ColumnType],
    line: u64,
    record: &csv::ByteRecord,
    text: impl Fn(usize) -> Result<&'t str, TableError>,
    limits: &Limits<'_>,
) -> Result<(), TableError> {
    let (has, should) = (record.len(), cells.columns.len());
    if has != should {
        let what = if has < should { "short" } else { "long" };
        return Err(TableError::at(
            line,
            format!("the row is too {what}: {has} values for {should} columns"),
        )
        .help("give every row as many values as there are columns; a value with the delimiter in it stands in \"…\""));
    }
    more(cells, limits)?;
    cells.row(line);
    for (n, kind) in types.iter().enumerate() {
        let text = text(n)?;
        if text.is_empty() {
            cells.push(Value::Null)?;
            continue;
        }
        let value = match kind {
            ColumnType::String => {
                cells.push_text(text)?;
                continue;
            }
            ColumnType::Integer => text.trim().parse().ok().map(Value::Int),
            ColumnType::Float => text.trim().parse().ok().map(Value::Float),
            ColumnType::Boolean => boolean(text.trim()).map(Value::Bool),
        };
        let Some(value) = value else {
            let column = &cells.columns[n];
            return Err(TableError::at(
                line,
                format!("{column} is {text:?}, which is no {}", kind.name()),
            )
            .help("correct it, leave it empty, or take the column out of `schema`"));
        };
        cells.push(value)?;
    }
    Ok(())
}

fn more(cells: &Cells, limits: &Limits<'_>) -> Result<(), TableError> {
    if cells.len() < limits.max_rows {
        return Ok(());
    }
    Err(
        TableError::new(format!("it has more than {} rows", limits.max_rows))
            .help("raise max_rows, or keep in it only what is looked up"),
    )
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

impl ColumnType {
    fn name(self) -> &'static str {
        match self {
            ColumnType::String => "text",
            ColumnType::Integer => "whole number",
            ColumnType::Float => "number",
            ColumnType::Boolean => "truth value",
        }
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

fn json(file: &[u8], limits: &Limits<'_>) -> Result<Cells, TableError> {
    let rows: Vec<Object> = serde_json::from_slice(file).map_err(|why| {
        TableError::at(
            why.line() as u64,
            format!("it is no JSON array of objects: {why}"),
        )
    })?;
    let numbered = rows.into_iter().zip(1..).map(|(row, n)| (n, row)).collect();
    objects(numbered, false, limits)
}

fn ndjson(file: &[u8], limits: &Limits<'_>) -> Result<Cells, TableError> {
    let mut rows = Vec::new();
    for (line, n) in file.split(|b| *b == b'\n').zip(1..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let row = serde_json::from_slice(line)
            .map_err(|why| TableError::at(n, format!("it is no JSON object: {why}")))?;
        rows.push((n, row));
    }
    objects(rows, true, limits)
}

fn objects(
    rows: Vec<(u64, Object)>,
    has_lines: bool,
    limits: &Limits<'_>,
) -> Result<Cells, TableError> {
    let mut names: Vec<String> = Vec::new();
    let mut places = HashMap::new();
    for (line, row) in &rows {
        for key in row.keys() {
            if !places.contains_key(key) {
                if names.len() >= MOST_COLUMNS {
                    return Err(TableError::at(
                        *line,
                        format!("its objects have more than {MOST_COLUMNS} different keys"),
                    ));
                }
                places.insert(key.clone(), names.len());
                names.push(key.clone());
            }
        }
    }
    let mut cells = Cells::new(names, has_lines);
    for (line, mut row) in rows {
        more(&cells, limits)?;
        cells.row(line);
        for n in 0..cells.columns.len() {
            let value = row.remove(&cells.columns[n]);
            let value = value.map_or(Value::Null, Value::from_json);
            let name = &cells.columns[n];
            let value =
                typed(value, limits.schema.get(name).copied()).map_err(|(text, kind)| {
                    cells.wrong(
                        cells.len() - 1,
                        format!("{name} is {text}, which is no {}", kind.name()),
                    )
                })?;
            cells.push(value)?;
        }
    }
    Ok(cells)
}

/// A value of JSON as `schema` wants it.
fn typed(value: Value, kind: Option<ColumnType>) -> Result<Value, (String, ColumnType)> {
    let Some(kind) = kind else { return Ok(value) };
    let typed = match (&value, kind) {
        (Value::Null, _) => Some(Value::Null),
        (Value::Str(_), ColumnType::String)
        | (Value::Int(_), ColumnType::Integer)
        | (Value::Float(_), ColumnType::Float)
        | (Value::Bool(_), ColumnType::Boolean) => Some(value.clone()),
        (Value::Int(v), ColumnType::Float) => Some(Value::Float(*v as f64)),
        (Value::Int(v), ColumnType::String) => Some(Value::Str(v.to_string())),
        (Value::Str(v), ColumnType::Integer) => v.trim().parse().ok().map(Value::Int),
        (Value::Str(v), ColumnType::Float) => v.trim().parse().ok().map(Value::Float),
        (Value::Str(v), ColumnType::Boolean) => boolean(v.trim()).map(Value::Bool),
        _ => None,
    };
    typed.ok_or_else(|| (value.as_ref().to_json().to_string(), kind))
}
