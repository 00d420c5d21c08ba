//! Selections against a slow and obvious evaluator, and files made of anything.

use proptest::prelude::*;

use super::*;

/// A test of one field as the obvious evaluator sees it.
fn obvious(how: &str, wanted: &[String], value: Option<&serde_json::Value>) -> bool {
    let lower = |text: &str| {
        text.chars()
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    let values: Vec<String> = match value {
        None | Some(serde_json::Value::Null) => Vec::new(),
        Some(serde_json::Value::Array(items)) => items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        Some(serde_json::Value::String(text)) => vec![text.clone()],
        Some(other) => vec![other.to_string()],
    };
    let (how, cased) = (how.trim_end_matches("|cased"), how.ends_with("|cased"));
    let (how, all) = (how.trim_end_matches("|all"), how.ends_with("|all"));
    let (how, negated) = (how.trim_end_matches("|neq"), how.ends_with("|neq"));
    let met = |wanted: &String| {
        values.iter().any(|value| {
            let (value, wanted) = if cased {
                (value.clone(), wanted.clone())
            } else {
                (lower(value), lower(wanted))
            };
            let number = |text: &str| text.parse::<f64>().ok();
            match how {
                "|contains" => value.contains(&wanted),
                "|startswith" => value.starts_with(&wanted),
                "|endswith" => value.ends_with(&wanted),
                "|gt" => number(&value)
                    .zip(number(&wanted))
                    .is_some_and(|(value, wanted)| value > wanted),
                "|lte" => number(&value)
                    .zip(number(&wanted))
                    .is_some_and(|(value, wanted)| value <= wanted),
                _ => value == wanted,
            }
        })
    };
    let holds = if all {
        wanted.iter().all(met)
    } else {
        wanted.iter().any(met)
    };
    holds != negated
}

fn value() -> impl Strategy<Value = Option<serde_json::Value>> {
    prop_oneof![
        Just(None),
        Just(Some(serde_json::Value::Null)),
        "[aAbBäÄ1]{0,4}".prop_map(|text| Some(text.into())),
        prop::collection::vec("[aAbBäÄ]{1,3}", 0..4).prop_map(|items| Some(items.into())),
    ]
}

proptest! {
    #[test]
    fn selections_agree_with_the_obvious_evaluator(
        how in prop::sample::select(vec!["", "|neq", "|cased", "|contains", "|contains|neq", "|contains|all", "|startswith", "|endswith|cased", "|contains|all|cased"]),
        wanted in prop::collection::vec("[aAbBäÄ]{1,2}", 1..12),
        value in value(),
    ) {
        let list: Vec<String> = wanted.iter().map(|text| format!("{text:?}")).collect();
        let rule = selecting(&format!("\"user.id{how}\" = [{}]", list.join(", ")));
        let mut fields = serde_json::Map::new();
        if let Some(value) = &value {
            fields.insert("user.id".to_owned(), value.clone());
        }
        prop_assert_eq!(rule.holds(&event(fields.into())) == 1, obvious(how, &wanted, value.as_ref()));
    }

    #[test]
    fn numbers_agree_with_the_obvious_evaluator(how in prop::sample::select(vec!["|gt", "|lte"]), wanted in -50_i32..50, value in -50_i32..50, text in any::<bool>()) {
        let rule = selecting(&format!("\"pve.vmid{how}\" = {wanted}"));
        let json = if text { json!(value.to_string()) } else { json!(value) };
        prop_assert_eq!(rule.holds(&event(json!({"pve.vmid": json}))) == 1, obvious(how, &[wanted.to_string()], Some(&json)));
    }

    #[test]
    fn no_file_panics(text in prop_oneof![".{0,200}", "(\\[\\[rule\\]\\]|\\[rule\\.select\\.a\\]|\\[override\\.\"T\"\\]|\\[lists\\]|id = \"T\"|name = \"\"|type = \"(event|spike|absence)\"|severity = \"low\"|\"event.code\" = (1|\"PVE-2002\"|\\[\\[\\]\\])|when = \"(a|not|\\()\"|expect = [1]|test = [1]|\n){0,24}"]) {
        let _ = load(&text);
    }

    #[test]
    fn a_rule_with_any_value_for_any_key_is_read_or_told(key in prop::sample::select(vec![
        "id", "name", "severity", "type", "version", "tags", "when", "select", "exclude", "group_by", "aliases", "timespan", "window", "condition",
        "rules", "without", "hold", "unless", "every", "expect", "learn", "fields", "known", "min", "factor", "baseline", "dedupe", "escalate",
        "labels", "test", "max_groups", "during",
    ]), value in prop::sample::select(vec![
        "0", "-1", "1e400", "nan", "true", "\"\"", "\"1h\"", "\"a\"", "\"user.id\"", "[]", "[1]", "[\"a\"]", "[[\"a\"]]", "{}", "{ a = 1 }", "[{}]",
        "{ a = { \"event.code\" = \"PVE-2002\" } }", "[{ events = [{ n = 999999999 }], alerts = 1 }]", "\"99999999999d\"", "2026-01-01", "{ gte = 1e308 }",
        "{ type = \"session\" }", "[{ count = 1, severity = \"low\" }]",
    ]), sort in prop::sample::select(vec!["event", "event_count", "value_sum", "value_avg", "temporal", "absence", "new_term", "spike"])) {
        let mut text = format!("[[rule]]\n{key} = {value}\n");
        for (other, default) in [("id", "\"T\"".to_owned()), ("name", "\"t\"".to_owned()), ("severity", "\"low\"".to_owned()), ("type", format!("{sort:?}"))] {
            if other != key {
                text += &format!("{other} = {default}\n");
            }
        }
        if key != "select" {
            text += "[rule.select.a]\n\"event.code\" = \"PVE-2002\"\n";
        }
        let (set, told) = load(&text);
        prop_assert_eq!(set.rules().len() == 1, !told.contains("error"), "{}", told);
    }
}

#[test]
fn very_much_of_anything_is_told_and_not_taken() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for text in [
        format!("[[rule]]\nid = {deep}"),
        format!("[[rule]]\nwhen = \"{}a\"", "not ".repeat(100_000)),
        "[[rule]]\n".repeat(2000),
    ] {
        let (set, told) = load(&text);
        assert!(set.rules().is_empty() && !told.is_empty());
    }
    let select: String = (0..100)
        .map(|n| format!("[rule.select.s{n}]\n\"user.id\" = \"{n}\"\n"))
        .collect();
    let (set, told) = load(&format!(
        "[[rule]]\nid = \"T\"\nname = \"t\"\nseverity = \"low\"\ntype = \"event\"\n{select}"
    ));
    assert!(
        set.rules().is_empty() && told.contains("a rule has at most 63 selections"),
        "{told}"
    );
}
