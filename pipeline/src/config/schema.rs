//! The JSON Schema of a whole configuration file, from the same types that read it: editors complete and check by it.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::options::{EngineKeys, SINK_KEYS, SOURCE_KEYS, TRANSFORM_KEYS, Top};
use crate::component::{Entry, Kind, Registry};
use crate::table::TableEntry;

/// The schema (draft 2020-12) of a file with the components of `registry`.
pub fn schema(registry: &Registry) -> Value {
    let mut generator = SchemaGenerator::from(SchemaSettings::draft2020_12());
    let mut root = generator.root_schema_for::<Top>().to_value();
    let mut generator = SchemaGenerator::from(SchemaSettings::draft2020_12());
    let engine = <EngineKeys as schemars::JsonSchema>::json_schema(&mut generator).to_value();
    for kind in [Kind::Source, Kind::Transform, Kind::Sink] {
        let variants: Vec<Value> = registry
            .of(kind)
            .map(|entry| component(entry, &engine, &mut generator))
            .collect();
        let section = json!({
            "type": "object",
            "description": format!("The {}s, by the name you give them.", kind.name()),
            "propertyNames": { "pattern": "^[a-z0-9_]+$" },
            "additionalProperties": { "oneOf": variants },
        });
        insert(&mut root, "properties", kind.section(), section);
    }
    let tables: Vec<Value> = registry
        .tables()
        .map(|entry| table(entry, &mut generator))
        .collect();
    let section = json!({
        "type": "object",
        "description": "Tables that events are looked up in, by the name you give them.",
        "propertyNames": { "pattern": "^[a-z0-9_]+$" },
        "additionalProperties": { "oneOf": tables },
    });
    insert(&mut root, "properties", "enrichment_tables", section);
    for (name, definition) in generator.take_definitions(true) {
        insert(&mut root, "$defs", &name, definition);
    }
    allow_variables(&mut root);
    if let Some(root) = root.as_object_mut() {
        root.insert("title".to_owned(), json!("pvetrail configuration"));
    }
    root
}

/// One component: the engine's keys and its own.
fn component(entry: &Entry, engine: &Value, generator: &mut SchemaGenerator) -> Value {
    let mut own = entry.schema(generator).to_value();
    let keys = match entry.kind {
        Kind::Source => SOURCE_KEYS,
        Kind::Transform if entry.stateful => &TRANSFORM_KEYS[..2],
        Kind::Transform => TRANSFORM_KEYS,
        Kind::Sink => SINK_KEYS,
    };
    for key in keys {
        let schema = if *key == "type" {
            json!({ "const": entry.type_name })
        } else {
            engine["properties"][key].clone()
        };
        insert(&mut own, "properties", key, schema);
    }
    if let Some(own) = own.as_object_mut() {
        let required = own.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            required.insert(0, json!("type"));
            if entry.kind != Kind::Source {
                required.insert(1, json!("inputs"));
            }
        }
        own.insert("title".to_owned(), json!(entry.type_name));
        if !own.contains_key("description") {
            own.insert("description".to_owned(), json!(entry.summary()));
        }
    }
    own
}

/// One type of enrichment table.
fn table(entry: &TableEntry, generator: &mut SchemaGenerator) -> Value {
    let mut own = entry.schema(generator).to_value();
    insert(
        &mut own,
        "properties",
        "type",
        json!({ "const": entry.type_name }),
    );
    if let Some(own) = own.as_object_mut() {
        let required = own.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            required.insert(0, json!("type"));
        }
        own.insert("title".to_owned(), json!(entry.type_name));
    }
    own
}

fn insert(schema: &mut Value, into: &str, key: &str, value: Value) {
    if let Some(object) = schema.as_object_mut() {
        let inner = object
            .entry(into)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(inner) = inner.as_object_mut() {
            inner.insert(key.to_owned(), value);
        }
    }
}

/// A string that must look like something may also be filled in: `${VAR}` instead of an address.
fn allow_variables(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(pattern)) = object.get_mut("pattern")
                && !pattern.ends_with(VARIABLE)
            {
                *pattern = format!("(?:{pattern}){VARIABLE}");
            }
            // Names of components and of patterns are keys, and nothing is filled in there.
            let values = object.iter_mut().filter(|(key, _)| *key != "propertyNames");
            values.for_each(|(_, value)| allow_variables(value));
        }
        Value::Array(list) => list.iter_mut().for_each(allow_variables),
        _ => {}
    }
}

const VARIABLE: &str = r"|\$\{";
