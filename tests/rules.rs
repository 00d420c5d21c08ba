//! Rules over what is past: a replay of a changed threshold, a near miss explained, and a store that knows what is not new.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::fmt::Write;

use serde_json::{Value, json};
use support::{Ground, append};

/// Lines of the access log into the store.
fn graph(ground: &Ground, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[transforms.parsed]
type = "grok"
inputs = ["in"]
patterns = ['%{{PVEPROXY_ACCESS}}']

[transforms.audit]
type = "event_id"
inputs = ["parsed"]
policy = []

[sinks.store]
type = "sqlite"
inputs = ["audit"]
batch = {{ timeout = "50ms" }}
{more}"#,
        ground.path("access.log").display()
    )
}

/// A line of the access log, seconds after 12:00 of a Monday.
fn line(seconds: u32, who: &str, address: &str, call: &str) -> String {
    let (minute, second) = (seconds / 60, seconds % 60);
    format!(
        "::ffff:{address} - {who} [02/03/2026:12:{minute:02}:{second:02} +0000] \"{call} HTTP/1.1\" 200 13\n"
    )
}

/// A rule about changed rights.
fn rule(threshold: u32) -> String {
    format!(
        r#"schema = 1
[[rule]]
id = "SITE-1"
name = "many_rights"
severity = "high"
type = "event_count"
group_by = ["user.id"]
timespan = "10m"
condition = {{ gte = {threshold} }}
[rule.select.rights]
"event.code" = ["PVE-3031", "PVE-3032"]
"event.outcome" = "success"
"#
    )
}

/// Fills the store with five changes of rights by one person, two by another.
fn filled() -> Ground {
    let ground = Ground::new();
    ground.configure(&graph(&ground, ""));
    let mut log = String::new();
    for n in 0..5 {
        log += &line(n * 60, "eve@pve", "192.0.2.66", "PUT /api2/json/access/acl");
    }
    for n in 0..2 {
        log += &line(n * 60, "bob@pve", "192.0.2.67", "PUT /api2/json/access/acl");
    }
    append(&ground.path("access.log"), &log);
    let program = ground.start();
    ground.until("seven events are stored", || {
        let (status, text) = ground.pvetrail(&["query", "-c", "graph.toml", "--code", "3031,3032"]);
        status == Some(0) && text.matches("@pve").count() >= 7
    });
    program.kill();
    ground
}

#[test]
fn a_replay_says_what_a_changed_threshold_would_have_fired_and_explain_why_not() {
    let ground = filled();
    let replay = |threshold: u32, more: &[&str]| {
        std::fs::write(ground.path("site.toml"), rule(threshold)).unwrap();
        let mut args = vec!["rules", "run", "--replay", "--rules", "site.toml"];
        args.extend(more);
        let (status, text) = ground.pvetrail(&args);
        assert_eq!(status, Some(0), "{text}");
        text
    };
    let store = ground.path("data/search.db");
    let store = ["--store", store.to_str().unwrap(), "--alerts"];
    let text = replay(5, &store);
    assert!(
        text.contains("SITE-1") && text.contains("1 alerts"),
        "{text}"
    );
    assert!(
        text.contains(r#"{"user.id":"eve@pve"}  5 events"#),
        "{text}"
    );
    let text = replay(6, &store);
    assert!(
        text.contains("0 alerts") && !text.contains("SITE-1"),
        "{text}"
    );
    let text = replay(2, &store);
    assert!(
        text.contains("2 alerts") && text.contains("bob@pve"),
        "{text}"
    );
    // The span counts: from 12:03 on eve has two, bob none.
    let span = [&store[..], &["--from", "2026-03-02T12:03:00Z"]].concat();
    let text = replay(2, &span);
    assert!(
        text.contains("1 alerts") && !text.contains("bob@pve"),
        "{text}"
    );
    // The same events as two files, each of which is in order and neither behind the other.
    let (_, rows) = ground.pvetrail(&[
        "query",
        "-c",
        "graph.toml",
        "--code",
        "3031",
        "--format",
        "ndjson",
    ]);
    let mut rows: Vec<&str> = rows.lines().filter(|row| row.starts_with('{')).collect();
    rows.sort_by_key(|row| {
        let event: Value = serde_json::from_str(row).unwrap();
        event["@timestamp"].as_str().unwrap().to_owned()
    });
    assert_eq!(rows.len(), 7);
    let mut files = [String::new(), String::new()];
    for (n, row) in rows.iter().enumerate() {
        writeln!(files[n % 2], "{row}").unwrap();
    }
    for (n, text) in files.iter().enumerate() {
        std::fs::write(ground.path(&format!("{n}.ndjson")), text).unwrap();
    }
    let text = replay(5, &["0.ndjson", "1.ndjson", "--alerts"]);
    assert!(
        text.contains(r#"{"user.id":"eve@pve"}  5 events"#),
        "{text}"
    );
    assert!(
        text.contains("7 events, 1 alerts") && !text.contains("too late"),
        "{text}"
    );
    // What is left out is said: the same file backwards is more than its lateness behind.
    let mut late: Value = serde_json::from_str(rows[0]).unwrap();
    late["@timestamp"] = json!("2026-03-02T14:00:00Z");
    late["event"]["id"] = json!("00000000000000000000000000000001");
    std::fs::write(ground.path("late.ndjson"), format!("{late}\n")).unwrap();
    let far: String = (0..20_000)
        .map(|n| {
            let mut event = late.clone();
            event["event"]["id"] = json!(format!("{n:032x}"));
            format!("{event}\n")
        })
        .collect();
    std::fs::write(ground.path("far.ndjson"), far + &files[0]).unwrap();
    let text = replay(1000, &["far.ndjson"]);
    assert!(
        text.contains("4 matches came too late for their windows"),
        "{text}"
    );
    // A near miss: the event that was refused.
    let mut refused: Value = serde_json::from_str(rows[0]).unwrap();
    refused["event"]["outcome"] = json!("failure");
    std::fs::write(ground.path("event.json"), refused.to_string()).unwrap();
    let explain = [
        "rules",
        "explain",
        "SITE-1",
        "--event",
        "event.json",
        "--rules",
        "site.toml",
    ];
    let (status, text) = ground.pvetrail(&explain);
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains(r#"no   event.outcome = "success": found "failure""#),
        "{text}"
    );
    assert!(text.contains("it is no match"), "{text}");
}

#[test]
fn what_the_store_knows_is_not_new_at_the_first_start() {
    let ground = filled();
    let site = r#"schema = 1
[[rule]]
id = "SITE-2"
name = "new_address"
severity = "high"
type = "new_term"
group_by = ["user.id"]
fields = ["user.id", "source.ip"]
known = ["user.id"]
history = "3650d"
warmup = "0s"
[rule.select.any]
"event.code|startswith" = "PVE-3"
"#;
    std::fs::write(ground.path("site.toml"), site).unwrap();
    let more = format!(
        r#"
[transforms.watch]
type = "anomaly"
inputs = ["audit"]
rules = ["{}"]
members = "/nowhere/.members"

[sinks.rest]
type = "blackhole"
inputs = ["watch"]

[sinks.alerts]
type = "file"
inputs = ["watch.alerts"]
path = "{}"
"#,
        ground.path("site.toml").display(),
        ground.path("alerts.log").display()
    );
    ground.configure(&graph(&ground, &more));
    let program = ground.start();
    // The address that eve had is known from the store, the other one is not; bob is known, nobody else is.
    let mut log = line(600, "eve@pve", "192.0.2.66", "PUT /api2/json/access/acl");
    log += &line(601, "eve@pve", "192.0.2.99", "PUT /api2/json/access/acl");
    log += &line(602, "new@pve", "192.0.2.99", "PUT /api2/json/access/acl");
    log += &line(603, "bob@pve", "192.0.2.98", "PUT /api2/json/access/acl");
    append(&ground.path("access.log"), &log);
    let alerts = || -> Vec<String> {
        let text = std::fs::read_to_string(ground.path("alerts.log")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|alert| alert["event"]["code"] == "PVE-9101")
            .map(|alert| alert["user"]["id"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    ground.until("bob's new address is told", || {
        alerts().contains(&"bob@pve".to_owned())
    });
    assert_eq!(alerts(), ["eve@pve", "bob@pve"]);
    program.kill();
    let log = ground.log();
    assert!(
        log.contains("what is new is held against the search store"),
        "{log}"
    );
}

#[test]
fn a_log_that_gets_shorter_is_a_critical_alert_about_that_file() {
    let ground = Ground::new();
    let log = ground.path("auth.log");
    append(&log, "one line\nanother line\nand a third one\n");
    ground.configure(&format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[sources.self]
type = "internal"

[transforms.watch]
type = "anomaly"
inputs = ["self"]
members = "/nowhere/.members"

[sinks.rest]
type = "blackhole"
inputs = ["in", "watch"]

[sinks.alerts]
type = "file"
inputs = ["watch.alerts"]
path = "{}"
"#,
        log.display(),
        ground.path("alerts.log").display()
    ));
    let program = ground.start();
    ground.until("three lines are read", || {
        ground.log().contains("metrics, health and reload")
            && ground.metric("component_sent_events_total", "in") >= 3.0
    });
    std::fs::write(&log, "nothing happened\n").unwrap();
    let alerts = || -> Vec<Value> {
        let text = std::fs::read_to_string(ground.path("alerts.log")).unwrap_or_default();
        let alerts = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        alerts
            .filter(|alert: &Value| alert["rule"]["id"] == "PVR-902")
            .collect()
    };
    ground.until("it is told", || !alerts().is_empty());
    program.kill();
    let alert = &alerts()[0];
    assert_eq!(alert["pve"]["alert"]["severity"], "critical");
    assert_eq!(alert["pve"]["object"]["id"], log.to_str().unwrap());
    assert_eq!(alert["pve"]["object"]["type"], "file");
}
