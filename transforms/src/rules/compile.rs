//! Selections from TOML: keys with modifiers, values, lists of tables.

mod checks;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use pipeline::catalogue::Catalogue;
use pipeline::config::document::{Documents, Node, Table, Value};
use pipeline::config::{Diagnostic, nearest};
use pipeline::{Place, Time};
use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use super::fields::Known;
use super::fold;
use super::number::Number;
use super::path::Path;
use super::selection::{Case, Check, How, Ordered, Relation, Selection, Test, Word, Words};

/// Largest compiled pattern [bytes].
const REGEX_SIZE: usize = 256 << 10;
/// Longest pattern [bytes].
const LONGEST_PATTERN: usize = 4096;
/// Most tests, rows in one another and such, of one selection.
const MOST_ROWS: usize = 4;

pub(super) const MODIFIERS: [&str; 15] = [
    "contains",
    "startswith",
    "endswith",
    "re",
    "cidr",
    "gt",
    "gte",
    "lt",
    "lte",
    "exists",
    "in",
    "all",
    "cased",
    "neq",
    "fieldref",
];

/// What selections may refer to.
pub(super) struct Names<'a> {
    pub(super) fields: &'a Known,
    pub(super) lists: &'a BTreeMap<String, Vec<String>>,
}

/// How the value of a field is compared, as its key says.
#[derive(Default)]
struct Key {
    compare: Option<&'static str>,
    list: bool,
    all: bool,
    cased: bool,
    negated: bool,
    other: bool,
}

/// Reads one selection: a table, or a list of tables.
pub(super) fn selection(
    name: &str,
    node: &Node,
    path: &str,
    names: &Names<'_>,
    docs: &mut Documents,
) -> Selection {
    Selection {
        name: name.into(),
        either: either(node, path, names, false, 0, docs),
    }
}

fn either(
    node: &Node,
    path: &str,
    names: &Names<'_>,
    row: bool,
    depth: usize,
    docs: &mut Documents,
) -> Vec<Vec<Test>> {
    let say = |docs: &mut Documents, place, message: &str, help: &str| {
        docs.say(Diagnostic::error(place, path, message).with_help(help));
    };
    let tables: Vec<&Node> = match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    if tables.is_empty() {
        say(
            docs,
            node.place,
            "this selection is empty",
            "name at least one field",
        );
    }
    let mut all = Vec::new();
    for node in tables {
        match &node.value {
            Value::Table(table) if table.0.is_empty() => {
                say(
                    docs,
                    node.place,
                    "this selection is empty",
                    "name at least one field",
                );
            }
            Value::Table(table) => all.push(tests(table, path, names, row, depth, docs)),
            _ => say(
                docs,
                node.place,
                "a selection is a table of tests",
                "write { \"event.code\" = \"PVE-2002\" }, or a list of such tables",
            ),
        }
    }
    all
}

fn tests(
    table: &Table,
    path: &str,
    names: &Names<'_>,
    row: bool,
    depth: usize,
    docs: &mut Documents,
) -> Vec<Test> {
    let mut tests = Vec::new();
    for entry in &table.0 {
        let path = format!("{path}.\"{}\"", entry.key);
        let one = One {
            key: &entry.key,
            place: entry.key_place,
            path: &path,
            names,
            row,
            depth,
        };
        tests.extend(one.read(&entry.node, docs));
    }
    // The code tells most events apart, and what is only there or not costs least.
    tests.sort_by_key(|test: &Test| match test.how {
        _ if test.path.name() == "event.code" => 0,
        How::Exists(_) => 1,
        How::One(_) => 2,
        _ => 3,
    });
    tests
}

struct One<'a> {
    key: &'a str,
    place: Place,
    path: &'a str,
    names: &'a Names<'a>,
    row: bool,
    depth: usize,
}

impl One<'_> {
    fn wrong(
        &self,
        docs: &mut Documents,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        docs.say(Diagnostic::error(place, self.path, message).with_help(help));
    }

    fn read(&self, node: &Node, docs: &mut Documents) -> Option<Test> {
        let mut parts = self.key.split('|');
        let field = parts.next().unwrap_or_default();
        let before = docs.errors();
        // The names in a row are those of the row.
        if !self.row
            && let Err(help) = self.names.fields.check(field)
        {
            self.wrong(
                docs,
                self.place,
                format!("no event has a field \"{field}\""),
                help,
            );
        }
        let key = self.modifiers(parts, docs);
        let how = self.how(field, &key, node, docs)?;
        (docs.errors() == before).then(|| Test {
            path: Path::new(field),
            how,
            negated: key.negated,
            written: format!("{} = {}", self.key, written(node)).into(),
        })
    }

    fn modifiers<'k>(&self, parts: impl Iterator<Item = &'k str>, docs: &mut Documents) -> Key {
        let mut key = Key::default();
        for word in parts {
            match word {
                "in" => key.list = true,
                "all" => key.all = true,
                "cased" => key.cased = true,
                "neq" => key.negated = !key.negated,
                "fieldref" => key.other = true,
                word => match MODIFIERS
                    .iter()
                    .chain(&["glob"])
                    .find(|known| **known == word)
                {
                    Some(known) if key.compare.is_none() => key.compare = Some(known),
                    Some(_) => {
                        let first = key.compare.unwrap_or_default();
                        let message = format!(
                            "`{word}` cannot follow `{first}`: a value is compared in one way"
                        );
                        self.wrong(docs, self.place, message, "write two tests");
                    }
                    None => {
                        let help = match nearest(word, MODIFIERS.iter().copied().chain(["glob"])) {
                            Some(meant) => format!("did you mean `{meant}`?"),
                            None => format!("there are {} and glob", MODIFIERS.join(", ")),
                        };
                        self.wrong(
                            docs,
                            self.place,
                            format!("there is no modifier `{word}`"),
                            help,
                        );
                    }
                },
            }
        }
        let compare = key.compare.unwrap_or_default();
        let numeric = matches!(compare, "gt" | "gte" | "lt" | "lte");
        for (wrong, what) in [
            (
                key.cased && (numeric || matches!(compare, "cidr" | "exists")),
                "cased",
            ),
            (
                key.other && matches!(compare, "re" | "cidr" | "exists" | "glob"),
                "fieldref",
            ),
            (key.all && matches!(compare, "exists"), "all"),
            (key.list && matches!(compare, "exists"), "in"),
        ] {
            if wrong {
                let message = format!("`{what}` has no meaning with `{compare}`");
                self.wrong(docs, self.place, message, format!("remove `{what}`"));
            }
        }
        key
    }

    fn how(&self, field: &str, key: &Key, node: &Node, docs: &mut Documents) -> Option<How> {
        if key.compare == Some("exists") {
            let Value::Bool(wanted) = node.value else {
                self.wrong(
                    docs,
                    node.place,
                    "`exists` must be true or false",
                    "write true or false, without quotes",
                );
                return None;
            };
            return Some(How::Exists(wanted));
        }
        let rows = match &node.value {
            Value::Table(_) => true,
            Value::List(items) => items
                .iter()
                .any(|item| matches!(item.value, Value::Table(_))),
            _ => false,
        };
        if rows {
            if key.compare.is_some() || key.other || key.list || key.all {
                self.wrong(
                    docs,
                    self.place,
                    "only `neq` goes with a table",
                    "put the modifiers into the table",
                );
            }
            if self.depth >= MOST_ROWS {
                self.wrong(
                    docs,
                    self.place,
                    "these tables are too deep in one another",
                    "no event has such rows",
                );
                return None;
            }
            return Some(How::Row(either(
                node,
                self.path,
                self.names,
                true,
                self.depth + 1,
                docs,
            )));
        }
        let words = self.words(key, node, docs)?;
        if !key.other {
            self.check_words(field, key, &words, docs);
        }
        let case = if key.cased { Case::Exact } else { Case::Folded };
        let checks = self.checks(key, &words, case, docs)?;
        Some(if key.all {
            How::Each(checks)
        } else {
            How::One(checks)
        })
    }
}

/// A value as one would write it.
pub(super) fn written(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => format!("{text:?}"),
        Value::Date(date) => date.clone(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Bool(is) => is.to_string(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let entries: Vec<String> = table
                .0
                .iter()
                .map(|entry| format!("{} = {}", key(&entry.key), written(&entry.node)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A key as one would write it.
pub(super) fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-');
    if bare {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}
