//! The parsed files as one tree of values that know their places, before anything is known about their meaning.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Files};
use crate::component::Place;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// What was written, before anything is known about its meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text in any kind of quotes.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Dates are text to everyone here.
    Date(String),
    /// A list.
    List(Vec<Node>),
    /// A table, written in any of the ways TOML has for it.
    Table(Table),
}

impl Value {
    /// The sort of value in the words of a message.
    pub fn sort(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Keys in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(pub Vec<Entry>);

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key, without quotes.
    pub key: String,
    /// Where the key stands.
    pub key_place: Place,
    /// The value.
    pub node: Node,
}

impl Table {
    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    /// The table at a path like `route[0].match`.
    pub(crate) fn at(&self, path: &str) -> Option<&Table> {
        let (step, rest) = path.split_once('.').unwrap_or((path, ""));
        let (key, index) = step.split_once('[').unwrap_or((step, ""));
        let mut node = &self.get(key)?.node;
        if let Value::List(items) = &node.value {
            node = items.get(index.trim_end_matches(']').parse::<usize>().ok()?)?;
        }
        match &node.value {
            Value::Table(table) if rest.is_empty() => Some(table),
            Value::Table(table) => table.at(rest),
            _ => None,
        }
    }

    /// Takes an entry out.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(at))
    }

    /// The entries for which `wanted` holds, and the others.
    pub(crate) fn split(self, wanted: impl Fn(&str) -> bool) -> (Table, Table) {
        let (yes, no) = self.0.into_iter().partition(|entry| wanted(&entry.key));
        (Table(yes), Table(no))
    }
}

/// Parses one file, adding every syntax error to `errors`; what could be read is returned all the same.
pub(crate) fn parse(files: &Files, file: u32, errors: &mut Vec<Diagnostic>) -> Table {
    let text = files.text(file);
    let (root, broken) = DeTable::parse_recoverable(text);
    for error in broken {
        let span = error.span().unwrap_or(0..0);
        errors.push(syntax_error(file, error.message(), span));
    }
    let mut tree = Builder { file, errors };
    tree.table(root.get_ref())
}

fn place(file: u32, span: Range<usize>) -> Place {
    // A configuration file is read only up to 16 MiB, so positions fit.
    let position = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        file,
        start: position(span.start),
        end: position(span.end),
    }
}

fn syntax_error(file: u32, message: &str, span: Range<usize>) -> Diagnostic {
    let at = place(file, span.clone());
    let help = if message.contains("duplicate key") {
        Some("a key may be set once: keep one of the two".to_owned())
    } else if message.contains("string values must be quoted") {
        Some("put the text in quotes".to_owned())
    } else if message.contains("escape") {
        Some(
            "in \"…\" a backslash starts an escape: write '…' instead, where it stands for itself"
                .to_owned(),
        )
    } else if message.contains("comma") {
        Some("put a comma between the two".to_owned())
    } else if message.contains("basic string") || message.contains("literal string") {
        Some("close the text with the quote it began with".to_owned())
    } else {
        Some(
            "TOML is written key = \"text\", [section], list = [1, 2]; see https://toml.io"
                .to_owned(),
        )
    };
    Diagnostic {
        help,
        ..Diagnostic::error(at, "", format!("this is not TOML: {}", message.trim()))
    }
}

struct Builder<'a> {
    file: u32,
    errors: &'a mut Vec<Diagnostic>,
}

impl Builder<'_> {
    fn table(&mut self, table: &DeTable<'_>) -> Table {
        let entries = table.iter().map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_place: place(self.file, key.span()),
            node: self.node(value.get_ref(), value.span(), key.span()),
        });
        Table(entries.collect())
    }

    fn node(&mut self, value: &DeValue<'_>, span: Range<usize>, key: Range<usize>) -> Node {
        let at = place(self.file, span.clone());
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::Int(number),
                    Err(_) => {
                        self.errors.push(
                        Diagnostic::error(at, "", format!("the number {} is too large", number.as_str()))
                            .with_help("the largest is 9223372036854775807; longer ones are written as text in quotes"),
                    );
                        Value::Int(0)
                    }
                }
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(is) => Value::Bool(*is),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(list) => Value::List(
                list.iter()
                    .map(|item| self.node(item.get_ref(), item.span(), key.clone()))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        // A table that only dotted keys make has no text of its own: its key stands for it.
        let at = if span.is_empty() {
            place(self.file, key)
        } else {
            at
        };
        Node { place: at, value }
    }
}
