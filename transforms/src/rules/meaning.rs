//! What a rule's state depends on, as a hash, and the rule as text.

use std::fmt::Write;

use pipeline::Duration;
use pipeline::config::document::{Table, Value};
use pipeline::event::digest_parts;

use super::calendar::Calendar;
use super::compile::{key, written};

/// Keys that decide what is remembered. Names, texts, severity, routes and the life of alerts do not.
const MEANING: [&str; 30] = [
    "type",
    "when",
    "select",
    "exclude",
    "group_by",
    "aliases",
    "missing",
    "timespan",
    "window",
    "condition",
    "rules",
    "without",
    "hold",
    "unless",
    "unless_before",
    "fields",
    "known",
    "seen",
    "history",
    "warmup",
    "every",
    "grace",
    "expect",
    "learn",
    "forget",
    "min",
    "factor",
    "baseline",
    "floor",
    "id",
];

/// Changes with what the rule's state means; the order of keys and the spelling of durations do not matter. Lists count by
/// their name: a host more in a list drops no state.
pub(super) fn hash(rule: &Table, calendar: Option<&Calendar>) -> [u8; 16] {
    let mut text = String::new();
    for name in MEANING {
        if let Some(entry) = rule.get(name) {
            _ = write!(text, "{name}=");
            canonical(&entry.node.value, &mut text);
            text.push('\n');
        }
    }
    if let Some(calendar) = calendar {
        let inside = rule.get("during").is_some();
        _ = write!(text, "during={inside} {}", calendar.meaning());
    }
    let digest = digest_parts(&[b"pvetrail rule/1", text.as_bytes()]);
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest.as_ref()[..16]);
    hash
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Text(text) | Value::Date(text) => {
            let spelled = text.starts_with(|c: char| c.is_ascii_digit());
            match text.parse::<Duration>() {
                Ok(time) if spelled => _ = write!(out, "{}ns", time.as_nanos()),
                _ => _ = write!(out, "{text:?}"),
            }
        }
        Value::Int(number) => _ = write!(out, "{number}"),
        Value::Float(number) => _ = write!(out, "{number}"),
        Value::Bool(is) => _ = write!(out, "{is}"),
        Value::List(items) => {
            out.push('[');
            for item in items {
                canonical(&item.value, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Table(table) => {
            let mut entries: Vec<_> = table.0.iter().collect();
            entries.sort_by(|one, other| one.key.cmp(&other.key));
            out.push('{');
            for entry in entries {
                _ = write!(out, "{:?}=", entry.key);
                canonical(&entry.node.value, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}

/// The rule as it could stand in a file.
pub(super) fn toml(rule: &Table) -> String {
    let mut out = String::from("[[rule]]\n");
    let table = |name: &str| ["select", "test"].contains(&name);
    for entry in rule.0.iter().filter(|entry| !table(&entry.key)) {
        _ = writeln!(out, "{} = {}", key(&entry.key), written(&entry.node));
    }
    if let Some(Value::Table(selections)) = rule.get("select").map(|entry| &entry.node.value) {
        for one in &selections.0 {
            match &one.node.value {
                Value::Table(tests) => {
                    _ = writeln!(out, "[rule.select.{}]", key(&one.key));
                    for test in &tests.0 {
                        _ = writeln!(out, "{} = {}", key(&test.key), written(&test.node));
                    }
                }
                Value::List(items) => {
                    for item in items {
                        _ = writeln!(out, "[[rule.select.{}]]", key(&one.key));
                        if let Value::Table(tests) = &item.value {
                            for test in &tests.0 {
                                _ = writeln!(out, "{} = {}", key(&test.key), written(&test.node));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }
    out
}
