//! Mistakes in words: what is wrong, and what to write instead.

use super::fault::Problem;
use super::render::is_secret_key;
use super::suggest;
use super::tree::{Node, Value};
use crate::component::{BuildError, Spot};

/// `a` and `b` as `a.b`; quoted where a key has other letters.
pub(crate) fn join(path: &str, key: &str) -> String {
    if key.is_empty() || path.is_empty() {
        return format!("{path}{key}");
    }
    if key.starts_with('[') {
        format!("{path}{key}")
    } else {
        format!("{path}.{key}")
    }
}

/// The path without its last key.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// The last key of a path.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// A value as it would be written.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if text.len() <= 40 => Some(format!("{text:?}")),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    }
}

/// What an unknown key is called and what it should have been.
pub(crate) fn unknown_key(
    key: &str,
    node: &Node,
    expected: &[&str],
    others: &[&str],
    what: &str,
) -> (String, String) {
    let known = || expected.iter().chain(others).copied();
    let message = format!("{what} has no key `{key}`");
    if let Some(help) = elsewhere(key, node, others) {
        return (message, help);
    }
    for (suffix, unit) in [
        ("_secs", "s"),
        ("_seconds", "s"),
        ("_ms", "ms"),
        ("_millis", "ms"),
        ("_bytes", "B"),
        ("_size", "B"),
    ] {
        let Some(stem) = key.strip_suffix(suffix) else {
            continue;
        };
        let meant = known().find(|k| *k == stem).or_else(|| {
            let size = unit == "B";
            known().find(|k| {
                size && (*k == format!("{stem}_size") || *k == stem.replacen("max", "max_size", 1))
            })
        });
        let meant = meant.or_else(|| suggest::nearest(stem, known()));
        if let Some(meant) = meant {
            let value = with_unit(node, unit);
            return (message, format!("write {meant} = \"{value}\""));
        }
    }
    let help = match suggest::nearest(key, known()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if expected.is_empty() => "remove it: there are no keys here".to_owned(),
        None if others.contains(&"sources") => {
            format!("its keys are {}", suggest::list(known(), '`'))
        }
        None => format!(
            "its keys are {}",
            suggest::list(expected.iter().copied(), '`')
        ),
    };
    (message, help)
}

/// The value with a unit, for a key that said it in its name.
fn with_unit(node: &Node, unit: &str) -> String {
    match node.value {
        Value::Int(number) => format!("{number}{unit}"),
        Value::Float(number) => format!("{number}{unit}"),
        _ if unit == "B" => "64MiB".to_owned(),
        _ => "10s".to_owned(),
    }
}

/// Options that other programs have at the top of a sink and this one in a table.
fn elsewhere(key: &str, node: &Node, others: &[&str]) -> Option<String> {
    let (table, inner, unit) = match key {
        "timeout" | "timeout_secs" | "request_timeout" => ("request", "timeout", "s"),
        "concurrency" => ("request", "concurrency", ""),
        "headers" => {
            return others
                .contains(&"request")
                .then(|| "write request = { headers = { … } }".to_owned());
        }
        "batch_size" | "max_events" => ("batch", "max_events", ""),
        "batch_timeout" => ("batch", "timeout", "s"),
        "batch_bytes" | "max_bytes" => ("batch", "max_size", "B"),
        _ => return None,
    };
    if !others.contains(&table) {
        return None;
    }
    let value = match &node.value {
        Value::Text(text) => format!("{text:?}"),
        _ if unit.is_empty() => written(&node.value).unwrap_or_else(|| "4".to_owned()),
        _ => format!("\"{}\"", with_unit(node, unit)),
    };
    Some(format!("write {table} = {{ {inner} = {value} }}"))
}

/// Any other mistake: (what is wrong, what to write instead).
pub(crate) fn say(
    problem: &Problem,
    node: Option<&(Value, bool)>,
    path: &str,
    what: &str,
) -> (String, Option<String>) {
    let key = last(path);
    let filled = node.is_some_and(|(_, filled)| *filled);
    // What a variable or a secret stood for is not repeated: the line shows how it was written.
    let raw = match node {
        Some((Value::Text(raw), true)) => raw.as_str(),
        _ => "",
    };
    match problem {
        Problem::Variant { .. } if filled => {
            (format!("`{key}` cannot be what {raw:?} stands for"), None)
        }
        Problem::Variant { written, known } => {
            let list = suggest::either(known.iter().copied(), '"');
            let help = match suggest::nearest(written, known.iter().copied()) {
                Some(meant) => format!("did you mean \"{meant}\"? It can be {list}"),
                None => format!("it can be {list}"),
            };
            (format!("`{key}` cannot be {written:?}"), Some(help))
        }
        Problem::Type { got, expected } => {
            let expected = wanted(expected);
            let (is, help) = match node {
                // What stands after a key for secrets is not repeated, even if it has the wrong type.
                Some((value, false)) if is_secret_key(key) => (
                    value.sort().to_owned(),
                    Some(format!("write {key} = \"…\"")),
                ),
                Some((value, false)) => (
                    written(value).map_or_else(
                        || value.sort().to_owned(),
                        |text| match value {
                            Value::Text(_) => format!("the string {text}"),
                            _ => text,
                        },
                    ),
                    instead(value, &expected, key),
                ),
                Some((_, true)) => (format!("what {raw:?} stands for"), None),
                None => (got.clone(), None),
            };
            (format!("`{key}` must be {expected}, not {is}"), help)
        }
        Problem::Custom(text) => {
            let (why, help) = text.split_once('\n').unwrap_or((text, ""));
            let (why, known) = common(why);
            let (why, apart) = remedy_apart(why);
            let help = (!help.is_empty()).then(|| help.to_owned());
            let help = help.or(known).or(apart).or_else(|| of_system(why));
            if filled {
                return (
                    format!("`{key}`: what {raw:?} stands for is not accepted"),
                    None,
                );
            }
            let subject = if key.is_empty() {
                what.to_owned()
            } else {
                format!("`{key}`")
            };
            (format!("{subject}: {why}"), help)
        }
        Problem::Missing(missing) => (
            format!("{what} needs `{missing}`"),
            Some(format!("add {missing} = …")),
        ),
        Problem::Said | Problem::Unknown { .. } => (String::new(), None),
    }
}

/// A component's own words: with the key as subject where they begin with a verb, the remedy apart.
pub(crate) fn of_build(error: &BuildError, key: &str) -> (String, Option<String>) {
    let (message, remedy) = remedy_apart(&error.message);
    let verbs = [
        "is ", "has ", "must ", "needs ", "cannot ", "holds ", "names ",
    ];
    let verb = matches!(error.spot, Spot::Key(_)) && verbs.iter().any(|v| message.starts_with(v));
    let subject = if verb {
        format!("`{key}` ")
    } else {
        String::new()
    };
    let help = error.help.clone().or(remedy).or_else(|| of_system(message));
    (format!("{subject}{message}"), help)
}

/// `what is wrong; what to write` in its two parts.
fn remedy_apart(message: &str) -> (&str, Option<String>) {
    match message.rsplit_once("; ") {
        // Not inside of what is quoted.
        Some((what, remedy)) if !what.is_empty() && what.matches(['"', '`']).count() % 2 == 0 => {
            (what, Some(remedy.to_owned()))
        }
        _ => (message, None),
    }
}

/// The remedy for what the operating system says.
fn of_system(message: &str) -> Option<String> {
    let remedies = [
        (
            "os error 2)",
            "check the path; relative paths start where the program was started",
        ),
        (
            "os error 13)",
            "let this user read it (chmod, chown), or run as one who may",
        ),
        ("os error 21)", "name a file, not a folder"),
        ("os error 20)", "name a folder, not a file"),
    ];
    let remedy = remedies.iter().find(|(error, _)| message.contains(error));
    remedy.map(|(_, remedy)| (*remedy).to_owned())
}

/// What the standard library says about a text, in our words and with a remedy.
fn common(why: &str) -> (&str, Option<String>) {
    match why {
        "invalid socket address syntax" => (
            "that is no address with a port",
            Some(
                "write an IP address and a port, like \"127.0.0.1:8687\" or \"[::1]:8687\""
                    .to_owned(),
            ),
        ),
        "invalid IP address syntax"
        | "invalid IPv4 address syntax"
        | "invalid IPv6 address syntax" => (
            "that is no IP address",
            Some("write one like \"192.0.2.1\" or \"2001:db8::1\"".to_owned()),
        ),
        "an address starts with http:// or https://" => {
            (why, Some("write one like \"https://es1:9200\"".to_owned()))
        }
        _ => (why, None),
    }
}

/// serde's word for what it expected, in ours.
fn wanted(expected: &str) -> String {
    let range = |low: &str, high: &str| format!("a whole number from {low} to {high}");
    match expected {
        "a string" | "a borrowed string" | "path string" => "a string".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        "u8" => range("0", "255"),
        "u16" => range("0", "65535"),
        "u32" => range("0", "4294967295"),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        text if text.starts_with("a nonzero ") => "a whole number, 1 or more".to_owned(),
        text if text.starts_with("struct ") || text.contains(" struct ") => "a table".to_owned(),
        text => text.to_owned(),
    }
}

fn yes_or_no(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The value as it should have been written.
fn instead(value: &Value, expected: &str, key: &str) -> Option<String> {
    let text = match (expected, value) {
        ("a string", Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
            format!("\"{}\"", written(value)?)
        }
        ("a string", Value::Date(date)) => format!("\"{date}\""),
        ("a string", Value::List(items)) if items.len() == 1 => written(&items[0].value)?,
        ("a list", Value::Text(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
            format!("[{}]", written(value)?)
        }
        ("true or false", Value::Text(text)) if yes_or_no(text).is_some() => {
            yes_or_no(text).unwrap_or_default().to_string()
        }
        ("true or false", Value::Int(number @ (0 | 1))) => (*number == 1).to_string(),
        (_, Value::Text(text))
            if expected.contains("number") && text.trim().parse::<f64>().is_ok() =>
        {
            text.trim().to_owned()
        }
        _ if expected.starts_with("a duration") => "\"10s\"".to_owned(),
        _ if expected.starts_with("a size") => "\"64MiB\"".to_owned(),
        ("a table", _) => "{ … }".to_owned(),
        ("a list", Value::Table(_)) => "[…]".to_owned(),
        ("true or false", _) => {
            return Some(format!(
                "write {key} = true or {key} = false, without quotes"
            ));
        }
        (_, Value::Text(_)) if expected.contains("number") => {
            return Some(format!("write the number without quotes: {key} = 1"));
        }
        ("a string", _) => "\"…\"".to_owned(),
        ("a list", _) => "[…]".to_owned(),
        (_, Value::Int(number)) if expected.contains("number") => {
            let low = if expected.contains("1 or more") { 1 } else { 0 };
            let high = expected
                .rsplit(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(i64::MAX);
            (*number).clamp(low, high).to_string()
        }
        _ if expected.contains("number") => "1".to_owned(),
        _ => return Some(format!("write {key} as {expected}")),
    };
    // Of one item in a list, the list need not be written again.
    Some(match key.contains('[') {
        true => format!("write {text}"),
        false => format!("write {key} = {text}"),
    })
}
