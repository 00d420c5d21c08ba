//! Cases of public grok suites, as data beside the repository.

use std::path::PathBuf;

use serde_json::Value;

use crate::grok::*;

/// Cases whose expected result is not Logstash's, by id, and why.
const READ_OVER: &str = "`%{NAME - anything}`: Logstash reads over what follows the name, so that a typo like `%{IP client}` loses the field \
    without a word; here it is an error that says so";

const EXCEPTIONS: &[(&str, &str)] = &[
    ("g0372", READ_OVER),
    ("g0373", READ_OVER),
    ("g0374", READ_OVER),
    ("g0378", READ_OVER),
    ("g0379", READ_OVER),
    ("g0380", READ_OVER),
    ("g0381", READ_OVER),
    ("g0383", READ_OVER),
    ("g0386", READ_OVER),
    ("g0387", READ_OVER),
];

fn cases() -> Option<Vec<Value>> {
    let folder = std::env::var_os("PVETRAIL_CONFORMANCE")
        .map(PathBuf::from)
        .or_else(|| {
            let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            ["../../shared/conformance", "../../../shared/conformance"]
                .iter()
                .map(|p| root.join(p))
                .find(|p| p.is_dir())
        })?;
    let text = std::fs::read_to_string(folder.join("grok.jsonl")).ok()?;
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn cast(cast: Cast, text: &str) -> Value {
    match cast {
        Cast::Int => super::super::cast::int(text).map_or_else(|| Value::from(text), Value::from),
        Cast::Float => Value::from(super::super::cast::float(text)),
        Cast::Bool => {
            super::super::cast::boolean(text).map_or_else(|| Value::from(text), Value::from)
        }
        Cast::Text => Value::from(text),
    }
}

fn flat(path: &str, value: &Value, out: &mut std::collections::BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key: String = key.replace("][", ".").replace(['[', ']'], "");
                let path = if path.is_empty() {
                    key
                } else {
                    format!("{path}.{key}")
                };
                flat(&path, value, out);
            }
        }
        Value::Null => {}
        value => {
            out.insert(path.to_owned(), value.clone());
        }
    }
}

fn run(case: &Value, only: Option<Engine>) -> Result<(), String> {
    let mut library = Library::empty();
    for (name, text) in case["definitions"].as_object().unwrap() {
        library.add(name, text.as_str().unwrap());
    }
    let named = case["named_captures_only"].as_bool().unwrap_or(true);
    let typed = case["typed"].as_bool().unwrap_or(true);
    let keep_empty = case["keep_empty_captures"].as_bool().unwrap_or(false);
    let pattern = Pattern::new(
        case["pattern"].as_str().unwrap(),
        &library,
        Options {
            named_captures_only: named,
            only,
        },
    )
    .map_err(|error| format!("does not compile: {error}"))?;
    let grok = Grok::new(vec![pattern]);
    let mut scratch = grok.scratch();
    let line = case["input"].as_str().unwrap();
    let outcome = grok.matches(&mut scratch, line);
    if (outcome == Outcome::Match(0)) != case["match"].as_bool().unwrap() {
        return Err(format!(
            "{} {outcome:?} but expected match {}",
            case["input"], case["match"]
        ));
    }
    if outcome != Outcome::Match(0) || case["captures"].is_null() {
        return Ok(());
    }
    let pattern = &grok.patterns()[0];
    // Of groups that share a name, these engines keep the last, one of them be it empty; Logstash keeps all that are not.
    let last_only = case["source_engine"]
        .as_str()
        .is_some_and(|engine| engine.starts_with("go RE2"));
    let last_even_empty = case["source"]
        .as_str()
        .is_some_and(|source| source.starts_with("vjeantet/"));
    let mut got: std::collections::BTreeMap<String, Value> = Default::default();
    for &group in pattern.order() {
        let info = &pattern.groups()[group];
        // One suite's names could not have dots and were written with underscores.
        let field = info.field.replace("___", ".");
        let Some((start, len)) = scratch.span(group) else {
            if last_even_empty {
                got.remove(&field);
            }
            continue;
        };
        if len == 0 && !keep_empty {
            continue;
        }
        let text = &line[start as usize..(start + len) as usize];
        let value = if typed {
            cast(info.cast, text)
        } else {
            Value::from(text)
        };
        match got.get_mut(&field) {
            None => {
                got.insert(field, value);
            }
            Some(before) if last_only => *before = value,
            Some(Value::Array(list)) => list.push(value),
            Some(Value::String(before)) => {
                let list = Value::Array(vec![Value::from(before.clone()), value]);
                got.insert(field, list);
            }
            Some(_) => {}
        }
    }
    let mut expected = Default::default();
    flat("", &case["captures"], &mut expected);
    let text =
        |map: &std::collections::BTreeMap<String, Value>| serde_json::to_string(map).unwrap();
    if got == expected {
        Ok(())
    } else {
        Err(format!(
            "\n    got      {}\n    expected {}",
            text(&got),
            text(&expected)
        ))
    }
}

/// Tells `tests/all`, which shows it in its table.
fn skipped() {
    use std::io::Write as _;
    let why = "conformance: grok: the public suites are not beside the repository (PVETRAIL_CONFORMANCE names their folder)";
    eprintln!("SKIPPED: {why}");
    if let Some(skips) = std::env::var_os("PVETRAIL_SKIPS") {
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(skips)
            .unwrap();
        writeln!(file, "{why}").unwrap();
    }
}

#[test]
fn public_suites_agree() {
    let Some(cases) = cases() else {
        skipped();
        return;
    };
    let mut failed = Vec::new();
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let excepted = EXCEPTIONS.iter().any(|(known, _)| *known == id);
        let result = run(case, None);
        if result.is_err() != excepted {
            failed.push(format!(
                "{id} {} [{}]: {}",
                case["pattern"],
                case["source_engine"],
                result.err().unwrap_or_else(|| "matches by now".into())
            ));
        }
    }
    eprintln!("{} cases, {} exceptions", cases.len(), EXCEPTIONS.len());
    assert!(
        failed.is_empty(),
        "{} of {} differ:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}
