//! What a table must have, from the schema of its struct: serde names only the first thing that is missing.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

/// One key that must be there.
pub(super) struct Need {
    pub(super) key: String,
    /// What it is, in brackets after its name; may be empty.
    pub(super) about: String,
    /// A value as it might be written.
    pub(super) sample: String,
}

/// The keys that must be there in the table at `path` below a `T`.
pub(super) fn needs<T: JsonSchema>(path: &str) -> Vec<Need> {
    // Everything inline, so that there are no references to follow.
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let schema = T::json_schema(&mut SchemaGenerator::from(settings)).to_value();
    let Some(table) = at(&schema, path) else {
        return Vec::new();
    };
    let required = table["required"].as_array().into_iter().flatten();
    required
        .filter_map(Value::as_str)
        .map(|key| need(&table["properties"][key], key))
        .collect()
}

pub(super) fn need(schema: &Value, key: &str) -> Need {
    let about = schema["description"].as_str().unwrap_or_default();
    let about = about.lines().next().unwrap_or_default();
    let about = match about.trim().trim_end_matches('.') {
        "" => String::new(),
        text => format!(" ({text})"),
    };
    Need {
        key: key.to_owned(),
        about,
        sample: sample(schema).to_owned(),
    }
}

/// The schema of the value at `route[0].match`; an optional value is looked into.
fn at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(schema);
    }
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (key, index) = step
        .split_once('[')
        .map_or((step, false), |(k, _)| (k, true));
    let choices = ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|list| schema[list].as_array())
        .flatten();
    for choice in std::iter::once(schema).chain(choices) {
        let next = match &choice["properties"][key] {
            Value::Null => &choice["additionalProperties"],
            next => next,
        };
        let next = if index { &next["items"] } else { next };
        let found = match next {
            Value::Null | Value::Bool(_) => None,
            next => at(next, rest),
        };
        let inner = found.map(|found| {
            let choices = found["anyOf"].as_array();
            match choices.and_then(|list| list.iter().find(|c| c["properties"].is_object())) {
                Some(choice) if found["properties"].is_null() => choice,
                _ => found,
            }
        });
        if inner.is_some() {
            return inner;
        }
    }
    None
}

/// What to write for a key, from its schema.
fn sample(schema: &Value) -> &'static str {
    let sort = match &schema["type"] {
        Value::Array(list) => list.first().and_then(Value::as_str),
        other => other.as_str(),
    };
    match (sort, schema["format"].as_str()) {
        (_, Some("duration")) => "\"10s\"",
        (_, Some("bytes")) => "\"1MiB\"",
        (Some("string"), _) => "\"…\"",
        (Some("integer"), _) => "1",
        (Some("number"), _) => "1.0",
        (Some("boolean"), _) => "true",
        (Some("array"), _) => "[\"…\"]",
        (Some("object"), _) => "{ … }",
        _ => "…",
    }
}
