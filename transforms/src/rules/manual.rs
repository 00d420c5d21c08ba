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
    let mut out = HEAD.to_owned();
    let schema = schema();
    out.push_str("\n## A rule file\n\n");
    pipeline::config::options(&without(&schema, &["rule", "calendar"]), &mut out);
    out.push_str("\n## [[calendar]]\n\n");
    pipeline::config::options(&schema["properties"]["calendar"]["items"], &mut out);
    let rule = &schema["properties"]["rule"]["items"];
    out.push_str("\n## [[rule]]\n\n");
    pipeline::config::options(&without(rule, &["test"]), &mut out);
    out.push_str("\n## [[rule.test]]\n\n");
    pipeline::config::options(&rule["properties"]["test"]["items"], &mut out);
    out
}

/// A schema without some of its keys.
fn without(schema: &serde_json::Value, keys: &[&str]) -> serde_json::Value {
    let mut schema = schema.clone();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|key, _| !keys.contains(&key.as_str()));
    }
    schema
}

const HEAD: &str = r#"# The language of detection rules

A rule file is TOML. The `anomaly` transform reads those its `rules` names; `builtin` is the pack that is part of the program.

```toml
schema = 1
[lists]
shared_accounts = ["root@pam"]
admin_networks  = { file = "networks.txt", values = ["10.0.0.0/8"] }
[[calendar]]
name = "business"
zone = "Europe/Berlin"
days = ["mon", "tue", "wed", "thu", "fri"]
from = "08:00"
to   = "18:00"
[[rule]]
id = "SITE-001"
name = "mass_delete"
severity = "critical"
type = "event_count"
when = "destroyed and not test"
timespan = "10m"
condition = { gt = 5 }
[rule.select.destroyed]
"event.code" = ["PVE-2002", "PVE-2102"]
"event.outcome" = "success"
[rule.select.test]
"pve.object.name|startswith" = "test-"
[[rule.test]]
events = [{ n = 5, every = "60s", code = "PVE-2002" }, { at = "9m59s", code = "PVE-2002" }]
alerts = 1
[override."PVR-103"]
condition = { gte = 5 }
```

## Tests of a selection

A selection is a table of tests that must all hold; a list of tables is an "or" of them. A list of values is an "or" too, and
`"@NAME"` stands for the values of a list. On a field with several values a test holds if one of them passes. A table as value
is held against the rows of a field: `"pve.changes" = { key = "protection", op = "remove" }`.

A field that is absent fails every test; `neq` and `not` turn the answer round, so they pass. Text compares without case,
numbers and addresses by value; a network in a list stands for its addresses.

`"field|modifier|modifier"`, from left to right:

- `contains` `startswith` `endswith`: a part of the text
- `glob`: `*` is anything, `?` one letter
- `re`: a regular expression in linear time, without look-around and back-references
- `cidr`: an address in a network
- `gt` `gte` `lt` `lte`: numbers and times
- `exists`: true or false
- `in`: one of a list; `all`: every one of the values
- `cased`: letter by letter
- `fieldref`: the value names another field of the event
- `neq`: the test must fail

## Windows

`sliding` (default): the window that ends at t is (t - timespan, t]. `tumbling`: one after the other from the epoch, or from
local midnight of a `zone`. `session`: events that follow one another within `gap`, at most a timespan long.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_key_and_its_example_holds() {
        let page = manual();
        for key in [
            "`dedupe`",
            "`resolve_after`",
            "`zone`",
            "`alerts`",
            "`escalate`",
            "`value_avg`",
            "`new_term`",
        ] {
            assert!(page.contains(&key.replace('`', "")), "{key}\n{page}");
        }
        let example = page
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .expect("an example");
        let example = example.replace(
            "{ file = \"networks.txt\", values = [\"10.0.0.0/8\"] }",
            "[\"10.0.0.0/8\"]",
        );
        let cx = super::super::LoadCx {
            texts: vec![("example.toml".to_owned(), example)],
            ..Default::default()
        };
        let (set, told) = super::super::RuleSet::load(&super::super::Options::default(), &cx);
        assert_eq!(told.render(false), "");
        assert!(set.rule("SITE-001").is_some());
    }
}
