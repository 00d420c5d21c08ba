//! Events that break writers, and what a reader of ours has to find of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::at;

/// Extension key, field, longest text [characters]; 0 is a number as it is.
const COLUMNS: &[(&str, &str, usize)] = &[
    ("externalId", "event.id", 40),
    ("act", "event.action", 63),
    ("outcome", "event.outcome", 63),
    ("reason", "event.reason", 1023),
    ("suser", "user.id", 1023),
    ("suid", "user.name", 1023),
    ("duser", "user.target.id", 1023),
    ("src", "source.ip", 63),
    ("spt", "source.port", 0),
    ("dvchost", "host.name", 100),
    ("sproc", "process.name", 1023),
    ("spid", "process.pid", 0),
    ("deviceExternalId", "orchestrator.cluster.name", 255),
    ("deviceFacility", "pve.origin", 1023),
    ("requestMethod", "http.request.method", 1023),
    ("cs1", "pve.object.type", 4000),
    ("cs2", "pve.object.id", 4000),
    ("cs3", "pve.task.upid", 4000),
    ("cn1", "pve.vmid", 0),
    ("flexString1", "rule.id", 1023),
    ("flexString2", "pve.source.attribution", 1023),
    ("msg", "message", 1023),
];
const LABELS: &[(&str, &str)] = &[
    ("cs1", "objectType"),
    ("cs2", "objectId"),
    ("cs3", "upid"),
    ("cs4", "changeKey"),
    ("cs5", "oldValue"),
    ("cs6", "newValue"),
    ("cn1", "vmid"),
    ("flexString1", "rule"),
    ("flexString2", "sourceBasis"),
];

/// Texts that break writers: separators, escapes, ends of lines and of elements, control characters, pairs of surrogates.
pub const HOSTILE: &[&str] = &[
    "plain",
    "a=b c\\=d suser=root@pam",
    "|CEF:0|x|y|1|2|3|4|act=forged",
    "C:\\path\\n\\\\server\\",
    "first\nsecond\r\nthird\ttab",
    "] [forged@32473 id=\"0\"] \"quoted\"",
    "żółć 漢字 🔒 \u{202e}right to left",
    "bell\u{7} escape\u{1b}[2J nul\u{0} del\u{7f} next\u{85}",
    "#012 is text, #011 too, and so is \\u0041",
    "{\"a\": [1, {\"b\": \"c\"}]}",
    " leading, trailing and  double  blanks ",
    "<13>1 - - - - - - a header",
    "=",
    "\\",
    "”“'`$(id);%s%n",
];

pub fn event(n: usize, text: &str) -> Value {
    json!({
        "@timestamp": format!("2026-03-14T22:41:{:02}.412Z", n % 60),
        "event": {
            "id": format!("{:032x}", 0x6179_1690_0000 + n),
            "code": (["PVE-9014", "PVE-9026", "X|Y\\Z", ""][n % 4]),
            "action": text, "outcome": "failure", "severity": ([1, 3, 5, 8, 10][n % 5]), "reason": text,
            "start": "2026-03-14T22:41:07Z", "original": format!("raw {text}"),
        },
        "user": { "id": text, "name": "m.keller", "target": { "id": format!("{text}@pve") } },
        "source": { "ip": "203.0.113.45", "port": 51234 },
        "host": { "name": "pve1" },
        "process": { "name": "pvedaemon", "pid": 4711 },
        "orchestrator": { "cluster": { "name": "prod" } },
        "http": { "request": { "method": "PUT" } },
        "url": { "path": "/api2/json/nodes", "query": "a=1&b=|" },
        "rule": { "id": "bruteforce" },
        "pve": {
            "origin": "access", "object": { "type": "vm", "id": text }, "vmid": 104,
            "task": { "upid": "UPID:pve1:0001A6B3:00F3C1D2:69B5F213:qmdestroy:104:m.keller@pam:" },
            "source": { "attribution": "matched" },
            // Where a member is called `key`, redaction takes its value for a secret.
            "changes": [{ "key": "[redacted]", "old": text, "new": format!("new {text}") }],
        },
        "message": format!("{n} {text}"),
    })
}

/// One that has nothing but its time and text.
pub fn bare(n: usize, text: &str) -> Value {
    json!({ "@timestamp": "2026-03-14T22:41:00Z", "event": { "id": format!("{n:032x}") }, "message": text })
}

/// How a text arrives in an extension: cut, and without control characters but line ends.
fn arrives(text: &str, most: usize) -> String {
    let longer = text.chars().count() > most;
    let kept = text.chars().take(if longer { most - 1 } else { most });
    let mut out: String = kept
        .map(|letter| match letter {
            '\n' | '\r' => letter,
            '\t' => ' ',
            letter if letter.is_control() => '\u{fffd}',
            letter => letter,
        })
        .collect();
    if longer {
        out.push('…');
    }
    out
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// What the extension of an event has to hold.
pub fn extension(event: &Value) -> Map<String, Value> {
    let mut wanted = Map::new();
    let mut put = |key: &str, text: String| {
        if let Some((_, label)) = LABELS.iter().find(|(slot, _)| *slot == key) {
            wanted.insert(format!("{key}Label"), json!(label));
        }
        wanted.insert(key.to_owned(), json!(text));
    };
    for (key, path, most) in COLUMNS {
        if let Some(text) = text(at(event, path)) {
            put(
                key,
                if *most == 0 {
                    text
                } else {
                    arrives(&text, *most)
                },
            );
        }
    }
    let change = &at(event, "pve.changes")[0];
    for (key, member) in [("cs4", "key"), ("cs5", "old"), ("cs6", "new")] {
        if let Some(text) = text(&change[member]) {
            put(key, arrives(&text, 4000));
        }
    }
    if let Some(path) = text(at(event, "url.path")) {
        let query = text(at(event, "url.query")).map(|query| format!("?{query}"));
        put(
            "request",
            arrives(&(path + &query.unwrap_or_default()), 1023),
        );
    }
    wanted
}

/// What the header of CEF has to hold: signature, name.
pub fn header(event: &Value) -> (String, String) {
    let one_line = |text: &str| arrives(&text.replace(['\n', '\r'], " "), 512);
    let code = text(at(event, "event.code"));
    let row = code
        .as_deref()
        .and_then(|code| pipeline::Catalogue::builtin().get(code));
    let name = match row {
        Some(row) => row.text.en.clone(),
        None => event["message"].as_str().unwrap().to_owned(),
    };
    (
        code.unwrap_or_else(|| "PVE-0000".to_owned()),
        one_line(&name),
    )
}

/// Parameters of our structured data, as their values arrive.
pub fn data(event: &Value) -> BTreeMap<&'static str, String> {
    let parameters = [
        ("id", "event.id"),
        ("code", "event.code"),
        ("action", "event.action"),
        ("outcome", "event.outcome"),
        ("user", "user.id"),
        ("src", "source.ip"),
        ("basis", "pve.source.attribution"),
        ("object", "pve.object.id"),
    ];
    let value = |path: &str| {
        let text = at(event, path).as_str()?;
        let blank = |letter: char| if letter.is_control() { ' ' } else { letter };
        Some(text.chars().map(blank).collect())
    };
    parameters
        .into_iter()
        .filter_map(|(name, path)| Some((name, value(path)?)))
        .collect()
}
