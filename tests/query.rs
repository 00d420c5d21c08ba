//! The search store from end to end: written by the program, killed and written on, asked while it is written.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Ground, append, lines, long, messages};

/// Lines into the store, and what the program says of itself.
fn graph(ground: &Ground) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[sources.self]
type = "internal"

[transforms.events]
type = "remap"
inputs = ["in"]
source = '''
line, why = parse_json(.message)
if why == null {{ . = object!(line) }}
'''

[sinks.store]
type = "sqlite"
inputs = ["events", "self"]
batch = {{ timeout = "50ms" }}
"#,
        ground.path("in.log").display()
    )
}

/// Rows of CSV by their header.
fn csv(ground: &Ground, args: &[&str]) -> Vec<BTreeMap<String, String>> {
    let mut all = vec!["query", "-c", "graph.toml", "--format", "csv"];
    all.extend(args);
    let output = support::program()
        .args(&all)
        .current_dir(ground.path(""))
        .output()
        .unwrap();
    let found = matches!(output.status.code(), Some(0 | 1));
    // Before the first batch there is no store.
    if !found {
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(
            why.contains("os error 2") || why.contains("holds nothing yet"),
            "{why}"
        );
        return Vec::new();
    }
    csv::Reader::from_reader(output.stdout.as_slice())
        .deserialize()
        .map(|row| row.unwrap())
        .collect()
}

/// The lines of the log that are stored; a question about them is recorded too, and is none of them.
fn told(ground: &Ground) -> Vec<BTreeMap<String, String>> {
    let mut rows = csv(ground, &["--node", "*", "--text", "line"]);
    rows.retain(|row| row["message"].starts_with("line "));
    rows
}

#[test]
fn killed_again_and_again_every_event_is_there_once_and_every_question_gets_an_answer() {
    let (kills, per_kill) = if long() { (200, 2000) } else { (8, 1500) };
    let ground = Ground::new();
    ground.configure(&graph(&ground));
    let mut random = fastrand::Rng::with_seed(5);
    let mut most = 0;
    for n in 0..kills {
        append(
            &ground.path("in.log"),
            &lines(n * per_kill..(n + 1) * per_kill),
        );
        let program = ground.start();
        std::thread::sleep(Duration::from_millis(random.u64(50..700)));
        // Asked in the middle of it: what was there stays there, and nothing is there twice.
        let rows = told(&ground);
        let mut ids: Vec<&String> = rows.iter().map(|row| &row["id"]).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), rows.len());
        assert!(rows.len() >= most, "{} after {most}", rows.len());
        most = rows.len();
        program.kill();
    }
    let program = ground.start();
    let wanted = messages(0..kills * per_kill);
    ground.until("everything has arrived", || {
        told(&ground).len() >= wanted.len()
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let mut found: Vec<String> = told(&ground)
        .into_iter()
        .map(|row| row["message"].clone())
        .collect();
    found.sort();
    assert!(found == wanted, "each line once");
}

/// What a day brings, as `event_id` and `correlate` tell it.
fn day() -> Vec<Value> {
    let event = |time: &str,
                 code: &str,
                 action: &str,
                 outcome: &str,
                 user: &str,
                 ip: &str,
                 object: (&str, &str)| {
        let (name, domain) = user.split_once('@').unwrap();
        let mut event = json!({
            "@timestamp": format!("2026-03-14T{time}Z"), "message": format!("{user} {action} {}", object.1),
            "event": { "code": code, "action": action, "kind": "event", "outcome": outcome, "severity": 5 },
            "user": { "id": user, "name": name, "domain": domain }, "host": { "name": "pve1" },
            "pve": { "record": "primary", "object": { "type": object.0, "id": object.1 }, "source": { "attribution": if ip.is_empty() { "none" } else { "matched" } } },
        });
        if !ip.is_empty() {
            event["source"] = json!({ "ip": ip });
        }
        if let Ok(vmid) = object.1.parse::<i64>() {
            event["pve"]["vmid"] = vmid.into();
        }
        event
    };
    let mut changed = event(
        "10:00:00",
        "PVE-2014",
        "vm-config-change",
        "success",
        "ops@pve",
        "192.0.2.20",
        ("vm", "104"),
    );
    changed["pve"]["changes"] = json!([
        { "key": "cores", "op": "change", "old": "2", "new": "8" },
        { "key": "description", "op": "add", "new": "=HYPERLINK(\"http://x\")\u{1b}[2J" },
        { "key": "cipassword", "op": "change", "old": "[redacted]", "new": "[redacted]", "redacted": true },
    ]);
    let mut destroyed = event(
        "23:41:11",
        "PVE-2002",
        "vm-destroy",
        "success",
        "m.keller@pam",
        "203.0.113.45",
        ("vm", "104"),
    );
    destroyed["pve"]["object"]["name"] = "db-prod-1".into();
    let mut all = vec![
        event(
            "08:00:00",
            "PVE-1001",
            "login",
            "success",
            "alice@pve",
            "192.0.2.11",
            ("user", "alice@pve"),
        ),
        changed,
        event(
            "11:00:00",
            "PVE-2011",
            "vm-migrate",
            "success",
            "alice@pve",
            "192.0.2.11",
            ("vm", "105"),
        ),
        event(
            "12:00:00",
            "PVE-2301",
            "console-open",
            "unknown",
            "alice@pve",
            "192.0.2.11",
            ("vm", "105"),
        ),
        destroyed,
        event(
            "23:50:00",
            "PVE-2102",
            "ct-destroy",
            "failure",
            "m.keller@pam",
            "",
            ("ct", "104"),
        ),
    ];
    for n in 0..6 {
        all.push(event(
            &format!("22:58:0{n}"),
            "PVE-1002",
            "login",
            "failure",
            "root@pam",
            "203.0.113.45",
            ("user", "root@pam"),
        ));
    }
    let mut line = event(
        "23:41:07",
        "PVE-1014",
        "api-write",
        "success",
        "m.keller@pam",
        "203.0.113.45",
        ("vm", "104"),
    );
    line["pve"]["record"] = "evidence".into();
    all.push(line);
    all
}

#[test]
fn each_of_the_questions_people_ask_is_one_command() {
    let ground = Ground::new();
    ground.configure(&graph(&ground));
    let text: String = day().iter().map(|event| format!("{event}\n")).collect();
    append(&ground.path("in.log"), &text);
    let program = ground.start();
    let count = |args: &[&str]| csv(&ground, args).len();
    ground.until("the day is stored", || {
        count(&["--all", "--to", "2026-03-15"]) == day().len()
    });
    let get = |args: &[&str], column: &str| -> Vec<String> {
        csv(&ground, args)
            .iter()
            .map(|row| row[column].clone())
            .collect()
    };
    // Who deleted guest 104, and from where, on what basis?
    let deleted = csv(
        &ground,
        &[
            "--object",
            "guest/104",
            "--action",
            "*-destroy",
            "--outcome",
            "success",
        ],
    );
    assert_eq!(deleted.len(), 1);
    let of = |column: &str| deleted[0][column].as_str();
    assert_eq!(
        [
            of("user"),
            of("source"),
            of("source_basis"),
            of("object"),
            of("object_name"),
            of("time")
        ],
        [
            "m.keller@pam",
            "203.0.113.45",
            "matched",
            "vm/104",
            "db-prod-1",
            "2026-03-14T23:41:11.000Z"
        ]
    );
    // Failed logins, here of a day long past.
    assert_eq!(
        count(&[
            "--action",
            "login",
            "--failed",
            "--from",
            "2026-03-14",
            "--to",
            "2026-03-14"
        ]),
        6
    );
    assert_eq!(
        count(&["--action", "login", "--failed", "--since", "24h"]),
        0
    );
    // What somebody did.
    assert_eq!(
        get(&["--user", "alice"], "action"),
        ["login", "vm-migrate", "console-open"]
    );
    // Logins with address and time.
    assert_eq!(
        get(
            &["--action", "login,ssh-login", "--outcome", "success"],
            "source"
        ),
        ["192.0.2.11"]
    );
    // Migrations, consoles.
    assert_eq!(get(&["--action", "*-migrate"], "object"), ["vm/105"]);
    assert_eq!(get(&["--code", "23*"], "user"), ["alice@pve"]);
    // What changed on an object: (type, id, key, old, new).
    let changes = csv(&ground, &["--object", "vm/104", "--explode"]);
    let rows: Vec<[&str; 5]> = changes
        .iter()
        .map(|row| ["type", "object", "key", "old", "new"].map(|column| row[column].as_str()))
        .collect();
    assert_eq!(rows[0], ["vm", "104", "cores", "2", "8"]);
    assert_eq!(
        rows[1][4], "'=HYPERLINK(\"http://x\")\u{1b}[2J",
        "no spreadsheet runs it"
    );
    assert_eq!(
        rows[2],
        ["vm", "104", "cipassword", "[redacted]", "[redacted]"]
    );
    // Repeated failures.
    let failures = csv(&ground, &["--failed", "--by", "user", "--min-count", "5"]);
    assert_eq!(
        (
            failures.len(),
            failures[0]["user"].as_str(),
            failures[0]["count"].as_str()
        ),
        (1, "root@pam", "6")
    );
    let night = get(
        &[
            "--between",
            "00:30-01:00",
            "--zone",
            "Europe/Berlin",
            "--user",
            "m.keller@pam",
        ],
        "time",
    );
    assert_eq!(
        night,
        [
            "2026-03-15T00:41:11.000+01:00",
            "2026-03-15T00:50:00.000+01:00"
        ]
    );
    // As a person reads it, in German, by the beginning of its id; the words people try lead to the same place.
    let id = of("id");
    let (code, shown) = ground.pvetrail(&["query", "show", id, "-c", "graph.toml", "--lang", "de"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("m.keller@pam hat VM 104 (db-prod-1) auf pve1 gelöscht"),
        "{shown}"
    );
    assert!(
        shown.contains("matched: exactly one API call fits the task"),
        "{shown}"
    );
    let (code, table) = ground.pvetrail(&[
        "access",
        "log",
        "-c",
        "graph.toml",
        "--failed",
        "1",
        "--count",
        "5",
        "--by",
        "user",
    ]);
    assert!(code == Some(0) && table.contains("root@pam"), "{table}");
    let (code, table) = ground.pvetrail(&[
        "query",
        "-c",
        "graph.toml",
        "--object",
        "vm/104",
        "--explode",
    ]);
    assert!(
        code == Some(0) && table.contains("\\x1b[2J") && !table.contains('\u{1b}'),
        "{table}"
    );
    let (code, none) = ground.pvetrail(&["query", "-c", "graph.toml", "--user", "nobody@pam"]);
    assert!(
        code == Some(1) && none.contains("nothing found; the store holds 2026-03-14T08:00:00.000Z"),
        "{none}"
    );
    let (code, json) = ground.pvetrail(&[
        "query",
        "-c",
        "graph.toml",
        "--vmid",
        "105",
        "--format",
        "json",
    ]);
    assert_eq!(code, Some(0));
    assert_eq!(
        serde_json::from_str::<Value>(&json)
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let (code, wrong) = ground.pvetrail(&["query", "-c", "graph.toml", "--from", "yesterday"]);
    assert!(
        code == Some(2) && wrong.contains("2026-03-14T18:00:00Z"),
        "{wrong}"
    );
    let (_, doubt) = ground.pvetrail(&["query", "-c", "graph.toml", "--action", "vm-destory"]);
    assert!(doubt.contains("did you mean vm-destroy?"), "{doubt}");
    // By its name, too.
    let named = get(&["--object", "db-prod-1"], "object");
    assert_eq!(named, ["vm/104"]);
    // What can fit nothing is no "nobody did it".
    for (words, wanted, says) in [
        (["--source", "300.1.1.1"], 2, "is no address and no network"),
        (
            ["--source", "10.0.0.0/99"],
            2,
            "is no address and no network",
        ),
        (["--user", ""], 2, "--user has no word in it"),
        (["--kind", "alerts"], 2, "invalid value 'alerts'"),
        (["--code", "2902"], 1, "the catalogue has no event ID"),
        (["--node", "pve9"], 1, "did you mean pve1?"),
        (["--user", "alise@pve"], 1, "did you mean alice@pve?"),
    ] {
        let (code, said) = ground.pvetrail(&["query", "-c", "graph.toml", words[0], words[1]]);
        assert!(
            code == Some(wanted) && said.contains(says),
            "{words:?}: {said}"
        );
    }
    // Every one of these questions is in the record, with who asked.
    ground.until("the questions are recorded", || {
        get(&["--code", "PVE-9041", "--text", "nobody"], "message")
            .iter()
            .any(|said| said.contains("--user nobody@pam"))
    });
    let asked = csv(&ground, &["--code", "PVE-9041", "--text", "nobody"]);
    assert!(
        asked[0]["user"].ends_with("@pam") && asked[0]["object"].ends_with("search.db"),
        "{asked:?}"
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    // Without the program the notes wait for its next start.
    let waiting = || {
        std::fs::read_dir(ground.path("data/inbox"))
            .unwrap()
            .count()
    };
    assert_eq!(count(&["--user", "alice@pve", "--text", "login"]), 1);
    assert!(waiting() > 0);
    let program = ground.start();
    ground.until("the notes are taken", || waiting() == 0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}
