//! Events by HTTP to a real Alertmanager, which tells us back what it made of them.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::Ground;
use support::http::{TOKEN, free_port, post};
use support::service::Service;

/// An alert as `anomaly` makes it.
fn alert(n: u32, code: &str, rule: &str, more: Value) -> Value {
    let now = pipeline::Clock::system().now();
    let mut event = json!({
        "@timestamp": now.to_string(),
        "event": { "id": format!("{n:032x}"), "code": code, "kind": "alert", "severity": 8 },
        "rule": { "id": format!("PVR-{rule}"), "name": rule },
        "pve": { "alert": { "id": format!("alert-{rule}-{}", n % 100), "state": if code == "PVE-9103" { "resolved" } else { "open" } } },
        "message": format!("something about {rule} & <others>"),
        "host": { "name": "pve1" },
        "orchestrator": { "cluster": { "name": "prod" } },
    });
    event
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    event
}

#[test]
fn alertmanager_takes_alerts_groups_them_and_ends_what_is_resolved() {
    let (events, told, ground) = (free_port(), free_port(), Ground::new());
    let back = format!("http://127.0.0.1:{told}/");
    let Some(manager) = Service::start("alertmanager", &[&back, TOKEN]) else {
        return;
    };
    // What Alertmanager tells comes back by another `http`, into a file.
    ground.configure(&format!(
        r#"
[admin]
address = "127.0.0.1:0"
[sources.alerts]
type = "http"
address = "127.0.0.1:{events}"
auth = [{{ strategy = "bearer", token = "{TOKEN}" }}]
[sinks.manager]
type = "webhook"
inputs = ["alerts"]
uri = "{}/api/v2/alerts"
encoding = {{ codec = "alertmanager" }}
batch = {{ timeout = "20ms" }}
[sources.told]
type = "http"
address = "127.0.0.1:{told}"
auth = [{{ strategy = "bearer", token = "{TOKEN}" }}]
[sinks.file]
type = "file"
inputs = ["told"]
path = {:?}
batch = {{ timeout = "20ms" }}
"#,
        manager.url,
        ground.path("told.jsonl")
    ));
    let program = ground.start();
    ground.until("it listens", || post(events, b"[]").is_some());
    let opened: Vec<Value> = (1..=3)
        .map(|n| {
            alert(
                n,
                "PVE-9101",
                "root_login",
                json!({ "user": { "id": "root@pam" } }),
            )
        })
        .chain([alert(11, "PVE-9101", "vm_destroyed", json!({}))])
        .collect();
    let (status, _, body) = post(events, json!(opened).to_string().as_bytes()).unwrap();
    assert_eq!(status, 200, "{body}");

    // Read back by its own API.
    let held = manager.ask("GET", "/api/v2/alerts", "");
    let held = held.as_array().unwrap();
    assert_eq!(held.len(), 4, "{held:?}");
    let one = held
        .iter()
        .find(|alert| alert["labels"]["alert_id"] == "alert-root_login-2")
        .unwrap();
    assert_eq!(
        one["labels"],
        json!({ "alertname": "root_login", "rule_id": "PVR-root_login", "alert_id": "alert-root_login-2", "severity": "high", "cluster": "prod" })
    );
    assert_eq!(
        one["annotations"]["description"],
        "something about root_login & <others>"
    );
    assert_eq!(one["annotations"]["user"], "root@pam");
    let groups = manager.ask("GET", "/api/v2/alerts/groups", "");
    let mut sizes: Vec<(String, usize)> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            (
                group["labels"]["alertname"].as_str().unwrap().to_owned(),
                group["alerts"].as_array().unwrap().len(),
            )
        })
        .collect();
    sizes.sort();
    assert_eq!(
        sizes,
        [("root_login".to_owned(), 3), ("vm_destroyed".to_owned(), 1)]
    );

    let notes = || {
        let text = std::fs::read_to_string(ground.path("told.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect::<Vec<_>>()
    };
    ground.until("it has told of all", || {
        let text = notes().iter().map(Value::to_string).collect::<String>();
        text.contains("alert-root_login-2") && text.contains("alert-vm_destroyed-11")
    });

    // Two of them end; by other words, from another node, and by another user.
    let resolved: Vec<Value> = [2, 11]
        .into_iter()
        .zip(["root_login", "vm_destroyed"])
        .map(|(n, rule)| {
            let mut event = alert(n, "PVE-9103", rule, json!({ "host": { "name": "pve2" } }));
            event["event"]["id"] = format!("{:032x}", n + 1000).into();
            event
        })
        .collect();
    assert_eq!(
        post(events, json!(resolved).to_string().as_bytes())
            .unwrap()
            .0,
        200
    );
    ground.until("only two stand", || {
        let active = manager.ask("GET", "/api/v2/alerts", "");
        active.as_array().unwrap().len() == 2
    });
    ground.until("it has told of both ends", || {
        let notes = notes();
        let alerts = notes
            .iter()
            .flat_map(|note| note["pve"]["extra"]["alerts"].as_array().unwrap());
        let ended: BTreeSet<&str> = alerts
            .filter(|alert| alert["status"] == "resolved")
            .map(|alert| alert["labels"]["alert_id"].as_str().unwrap())
            .collect();
        ended
            .into_iter()
            .eq(["alert-root_login-2", "alert-vm_destroyed-11"])
    });
    // What was sent twice stands once.
    assert_eq!(
        post(events, json!(opened[..1]).to_string().as_bytes())
            .unwrap()
            .0,
        200
    );
    assert_eq!(
        manager
            .ask("GET", "/api/v2/alerts", "")
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}
