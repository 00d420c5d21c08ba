//! `[enrichment_tables.NAME]`: each table is read by its own struct, and its file once, so that what is wrong with either
//! is told before anything starts.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::assemble::{Draft, meaning};
use super::built::place_of;
use super::de::{Reader, Shared};
use super::diagnostic::{Diagnostic, Diagnostics, Files};
use super::env::SystemEnv;
use super::suggest;
use super::tree::{self, Entry, Node, Table as Tree, Value};
use super::words;
use crate::component::{Place, Registry, Spanned};
use crate::table::{Table, TableEntry, TableError, Tables};

/// The section of the file.
pub(super) const SECTION: &str = "enrichment_tables";

/// The engine's only key of a table.
#[derive(Deserialize, JsonSchema)]
struct Keys {
    /// Which sort of table it is.
    #[serde(rename = "type")]
    type_name: Option<Spanned<String>>,
}

/// Opens every table of the section; what is wrong is in `shared`.
pub(super) fn open(section: Entry, registry: &Registry, shared: &Shared<'_>) -> Tables {
    let mut tables = Tables::default();
    let Value::Table(all) = section.node.value else {
        shared.say(
            Diagnostic::error(
                section.key_place,
                SECTION,
                format!("`{SECTION}` must be a table"),
            )
            .with_help(format!("write [{SECTION}.NAME]")),
        );
        return tables;
    };
    for entry in all.0 {
        let (id, place) = (entry.key.clone(), entry.key_place);
        match one(entry, registry, shared) {
            Some((meaning, table)) => {
                tables.meanings.insert(id.clone(), meaning);
                tables.places.push((id.clone(), place));
                tables.open.insert(id, table);
            }
            None => tables.broken.push(id),
        }
    }
    tables
}

/// Opens one table alone, by its own keys: for tests.
pub(crate) fn parse_table(
    id: &str,
    type_name: &str,
    toml: &str,
    registry: &Registry,
) -> Result<Arc<Table>, String> {
    let mut files = Files::default();
    let text = format!("type = {type_name:?}\n{toml}");
    let file = files.add(format!("{id}.toml"), text);
    let mut found = Vec::new();
    let table = tree::parse(&files, file, &mut found);
    let shared = Shared::new(&SystemEnv, &files);
    let place = Place::start_of(file);
    let entry = Entry {
        key: id.to_owned(),
        key_place: place,
        node: Node {
            place,
            value: Value::Table(table),
        },
    };
    let opened = one(entry, registry, &shared);
    found.extend(shared.found.into_inner());
    match opened {
        Some((_, table)) if found.is_empty() => Ok(table),
        _ => Err(Diagnostics::new(Arc::new(files), found).to_string()),
    }
}

fn one(entry: Entry, registry: &Registry, shared: &Shared<'_>) -> Option<(String, Arc<Table>)> {
    let Entry {
        key: id,
        key_place: place,
        node,
    } = entry;
    let path = format!("{SECTION}.{id}");
    let Value::Table(table) = node.value else {
        let message = format!("`{path}` must be a table, not {}", node.value.sort());
        shared.say(
            Diagnostic::error(place, &path, message)
                .with_help(format!("write [{path}] and below it type = \"…\"")),
        );
        return None;
    };
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if id.is_empty() || !id.bytes().all(good) {
        shared.say(
            Diagnostic::error(
                place,
                &path,
                format!("{id:?} cannot be the name of a table"),
            )
            .with_help("names are lower-case letters, digits and _"),
        );
        return None;
    }
    let written = meaning(&table, shared.env);
    let (engine, own) = table.split(|key| key == "type");
    let (keys, _) = Reader {
        shared,
        table: &engine,
        place,
        path: path.clone(),
        others: &[],
        what: format!("the enrichment table \"{id}\""),
    }
    .read::<Keys>()?;
    let kind = kind(keys.type_name, &id, place, registry, shared)?;
    let (config, whole) = (kind.parse)(&Reader {
        shared,
        table: &own,
        place,
        path: path.clone(),
        others: &["type"],
        what: format!("type \"{}\"", kind.type_name),
    })?;
    if !whole {
        return None;
    }
    let file = config.path().display().to_string();
    let text = meaning_text(&written);
    match Table::open(&id, kind.type_name, config, format!("{id} {text}")) {
        Ok(table) => Some((text, table)),
        Err(why) => {
            let key = words::join(&path, kind.path_key);
            let place = place_of(&own, kind.path_key).unwrap_or(place);
            let TableError {
                line,
                message,
                help,
            } = why;
            let line = line.map(|n| format!(":{n}")).unwrap_or_default();
            shared.say(Diagnostic {
                help,
                ..Diagnostic::error(place, key, format!("{file}{line}: {message}"))
            });
            None
        }
    }
}

fn kind<'r>(
    name: Option<Spanned<String>>,
    id: &str,
    place: Place,
    registry: &'r Registry,
    shared: &Shared<'_>,
) -> Option<&'r TableEntry> {
    let names = || registry.tables().map(|t| t.type_name);
    let path = format!("{SECTION}.{id}");
    let Some(name) = name else {
        let message = format!("the enrichment table \"{id}\" does not say its type");
        shared.say(
            Diagnostic::error(place, path, message)
                .with_help(format!("add type = {}", suggest::either(names(), '"'))),
        );
        return None;
    };
    if let Some(kind) = registry.tables().find(|t| t.type_name == name.get()) {
        return Some(kind);
    }
    let all = format!("enrichment tables are {}", suggest::list(names(), '"'));
    let help = match suggest::nearest(&name, names()) {
        Some(meant) => format!("did you mean \"{meant}\"? {all}"),
        None => all,
    };
    let message = format!("there is no enrichment table of type {:?}", name.get());
    shared.say(Diagnostic::error(name.place(), format!("{path}.type"), message).with_help(help));
    None
}

/// Tables that nobody uses.
pub(super) fn unused(draft: &Draft, shared: &Shared<'_>) {
    let used: Vec<String> = draft
        .graph
        .nodes()
        .chain(&draft.half)
        .flat_map(|node| node.component.tables())
        .collect();
    for (id, place) in &draft.graph.tables.places {
        if !used.contains(id) {
            let message = format!("nobody uses the enrichment table \"{id}\"");
            shared.say(
                Diagnostic::warning(*place, format!("{SECTION}.{id}"), message)
                    .with_help("name it in a transform of type \"enrich\", or remove it")
                    .guessed(),
            );
        }
    }
}

/// A table's keys as one text that does not depend on their places or order.
fn meaning_text(table: &Tree) -> String {
    fn text(value: &Value) -> String {
        match value {
            Value::Text(text) => format!("{text:?}"),
            Value::Date(date) => date.clone(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Bool(is) => is.to_string(),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| text(&item.value)).collect();
                format!("[{}]", items.join(","))
            }
            Value::Table(table) => meaning_text(table),
        }
    }
    let mut entries: Vec<_> = table
        .0
        .iter()
        .map(|entry| format!("{:?}={}", entry.key, text(&entry.node.value)))
        .collect();
    entries.sort();
    format!("{{{}}}", entries.join(","))
}
