//! The manual page of the language, made of the types that read it.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;

use super::table::{CalendarTable, FileTable, RuleTable, TestTable};

/// The JSON Schema of a rule file.
pub fn schema() -> serde_json::Value {
    let settings = || SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let of = |schema: schemars::Schema| schema.to_value();
    let mut file = of(SchemaGenerator::from(settings()).into_root_schema_for::<FileTable>());
    let mut rule = of(SchemaGenerator::from(settings()).into_root_schema_for::<RuleTable>());
    let test = of(SchemaGenerator::from(settings()).into_root_schema_for::<TestTable>());
    let calendar = of(SchemaGenerator::from(settings()).into_root_schema_for::<CalendarTable>());
    let list = |items: serde_json::Value| serde_json::json!({ "type": "array", "items": items });
    rule["properties"]["test"] = list(test);
    file["properties"]["rule"] = list(rule);
    file["properties"]["calendar"] = list(calendar);
    file["title"] = "pvetrail rules".into();
    file
}

/// The page.
pub fn manual() -> String {
    String::new()
}
