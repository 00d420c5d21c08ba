//! The manual page of a component, in Markdown, from its schema, its comments and its example: it cannot be out of date.

use std::fmt::Write;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::options::{EngineKeys, SINK_KEYS, TRANSFORM_KEYS};
use crate::component::{Entry, Kind, Registry, Workers};
use crate::table::TableEntry;

/// The manual pages of every component of that type (a source, a sink and a table may share a name), or `None` if there is none.
pub fn manual(registry: &Registry, type_name: &str) -> Option<String> {
    let pages: Vec<String> = registry
        .iter()
        .filter(|entry| entry.type_name == type_name)
        .map(page)
        .chain(
            registry
                .tables()
                .filter(|entry| entry.type_name == type_name)
                .map(table_page),
        )
        .collect();
    (!pages.is_empty()).then(|| pages.join("\n"))
}

fn page(entry: &Entry) -> String {
    // Everything inline: a reader of a manual follows no references.
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut generator = SchemaGenerator::from(settings);
    let own = entry.schema(&mut generator).to_value();
    let engine = <EngineKeys as schemars::JsonSchema>::json_schema(&mut generator).to_value();
    let mut out = format!("# {} (a {})\n\n", entry.type_name, entry.kind);
    let about = own["description"]
        .as_str()
        .map_or_else(|| entry.summary(), str::to_owned);
    if !about.is_empty() {
        _ = writeln!(out, "{about}\n");
    }
    _ = writeln!(
        out,
        "```toml\n[{}.NAME]\ntype = \"{}\"",
        entry.kind.section(),
        entry.type_name
    );
    if entry.kind != Kind::Source {
        _ = writeln!(out, "inputs = [\"…\"]");
    }
    if !entry.example.trim().is_empty() {
        _ = writeln!(out, "{}", entry.example.trim());
    }
    _ = writeln!(out, "```\n\n## Options\n");
    options(&own, &mut out);
    let keys: &[&str] = match entry.kind {
        Kind::Source => &[],
        Kind::Transform if entry.stateful => &TRANSFORM_KEYS[1..2],
        Kind::Transform => &TRANSFORM_KEYS[1..],
        Kind::Sink => &SINK_KEYS[1..],
    };
    if !keys.is_empty() {
        _ = writeln!(out, "\n## Options of the engine\n");
        for key in keys {
            if *key == "request" && !entry.network {
                continue;
            }
            one(
                key,
                &engine["properties"][key],
                *key == "inputs",
                "",
                &mut out,
            );
        }
        if entry.workers == Workers::One && entry.kind == Kind::Sink {
            _ = writeln!(
                out,
                "\nIt writes in order and runs once: `workers` can only be 1."
            );
        }
    }
    out
}

fn table_page(entry: &TableEntry) -> String {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let own = entry
        .schema(&mut SchemaGenerator::from(settings))
        .to_value();
    let mut out = format!("# {} (an enrichment table)\n\n", entry.type_name);
    if let Some(about) = own["description"].as_str() {
        _ = writeln!(out, "{about}\n");
    }
    _ = writeln!(
        out,
        "```toml\n[enrichment_tables.NAME]\ntype = \"{}\"\n{}\n```\n\n## Options\n",
        entry.type_name,
        entry.example.trim()
    );
    options(&own, &mut out);
    out
}

/// The keys of a table as a list in Markdown, from its schema with everything inline.
pub fn options(schema: &Value, out: &mut String) {
    below(schema, "", out);
}

fn below(schema: &Value, indent: &str, out: &mut String) {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let Some(properties) = schema["properties"].as_object() else {
        if indent.is_empty() {
            _ = writeln!(out, "None.");
        }
        return;
    };
    // What must be said comes first.
    for wanted in [true, false] {
        for (key, property) in properties {
            if required.contains(&key.as_str()) == wanted {
                one(key, property, wanted, indent, out);
            }
        }
    }
}

fn one(key: &str, schema: &Value, required: bool, indent: &str, out: &mut String) {
    let about = schema["description"]
        .as_str()
        .unwrap_or_default()
        .replace('\n', " ");
    let about = about.trim().trim_end_matches('.');
    let mut facts = vec![sort(schema)];
    if required {
        facts.push("required".to_owned());
    }
    match &schema["default"] {
        Value::Null | Value::Object(_) => {}
        default => facts.push(format!("default `{default}`")),
    }
    let about = if about.is_empty() {
        String::new()
    } else {
        format!(": {about}.")
    };
    _ = writeln!(out, "{indent}- `{key}` ({}){about}", facts.join(", "));
    let deeper = format!("{indent}  ");
    below(schema, &deeper, out);
    choices(schema, &deeper, out);
    if schema["type"] == "array" {
        below(&schema["items"], &deeper, out);
    }
}

/// What a value may be one of: words, or tables told apart by a word in them.
fn choices(schema: &Value, indent: &str, out: &mut String) {
    let choices = ["oneOf", "anyOf"]
        .into_iter()
        .filter_map(|list| schema[list].as_array())
        .flatten();
    for choice in choices {
        let about = choice["description"].as_str().unwrap_or_default();
        let about = about.replace('\n', " ");
        if let Some(word) = choice["const"].as_str() {
            if !about.is_empty() {
                _ = writeln!(out, "{indent}- `{word:?}`: {about}");
            }
            continue;
        }
        let tag = choice["properties"].as_object().and_then(|properties| {
            let mut words = properties.iter();
            words.find_map(|(key, value)| value["const"].as_str().map(|word| (key, word)))
        });
        match tag {
            Some((key, word)) => {
                _ = writeln!(out, "{indent}- `{key} = {word:?}`: {about}");
                let mut rest = choice.clone();
                if let Some(properties) = rest["properties"].as_object_mut() {
                    properties.remove(key);
                }
                below(&rest, &format!("{indent}  "), out);
            }
            None => {
                below(choice, indent, out);
                self::choices(choice, indent, out);
            }
        }
    }
}

/// The sort of a value, for people.
fn sort(schema: &Value) -> String {
    if let Some(choices) = schema["enum"].as_array() {
        return choices
            .iter()
            .filter(|c| !c.is_null())
            .map(|c| format!("`{c}`"))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    for list in ["oneOf", "anyOf"] {
        let Some(choices) = schema[list].as_array() else {
            continue;
        };
        let mut sorts: Vec<String> = choices
            .iter()
            .filter(|c| c["type"] != "null")
            .map(|c| {
                if c["const"].is_null() {
                    sort(c)
                } else {
                    format!("`{}`", c["const"])
                }
            })
            .collect();
        sorts.dedup();
        return sorts.join(" or ");
    }
    let kind = match &schema["type"] {
        Value::Array(list) => list
            .iter()
            .filter_map(Value::as_str)
            .find(|t| *t != "null")
            .unwrap_or("value")
            .to_owned(),
        Value::String(kind) => kind.clone(),
        _ => "value".to_owned(),
    };
    match (kind.as_str(), schema["format"].as_str()) {
        (_, Some("duration")) => "duration".to_owned(),
        (_, Some("bytes")) => "size".to_owned(),
        (_, Some("password")) => "secret".to_owned(),
        ("array", _) => format!("list of {}", sort(&schema["items"])),
        ("object", _) => "table".to_owned(),
        (other, _) => other.to_owned(),
    }
}
