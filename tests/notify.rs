//! Messages about alerts: to a real Alertmanager and to a webhook, over silences, ends and kills.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http::{TOKEN, free_port, post};
use support::service::Service;
use support::{Ground, long};

/// An alert as `anomaly` makes it.
fn alert(n: u32, id: &str, rule: &str, severity: &str, code: u32) -> Value {
    let now = pipeline::Clock::system().now();
    let level = match severity {
        "critical" => 10,
        "high" => 8,
        _ => 5,
    };
    json!({
        "@timestamp": now.to_string(),
        "event": { "id": format!("{n:032x}"), "code": format!("PVE-{code}"), "kind": "alert", "severity": level, "dataset": "pve.alert" },
        "rule": { "id": rule, "name": format!("rule_{rule}") },
        "pve": {
            "record": "primary", "origin": "pipeline",
            "alert": { "id": id, "severity": severity, "state": if code == 9103 { "resolved" } else { "open" }, "count": 1 },
        },
        "message": format!("something about {id}"),
        "host": { "name": "pve1" },
        "user": { "id": "eve@pve" },
        "orchestrator": { "cluster": { "name": "prod" } },
    })
}

/// What a receiver got: key and body of each request, in their order.
type Got = Arc<Mutex<Vec<(String, Value)>>>;

/// A receiver that answers 200 to everything and remembers it.
fn receiver() -> (String, Got) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let got = Got::default();
    let held = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let held = Arc::clone(&held);
            std::thread::spawn(move || answer(stream, &held));
        }
    });
    (address, got)
}

/// Answers the requests of one connection, until it ends: its peer may be killed at any byte.
fn answer(stream: std::net::TcpStream, got: &Got) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut key, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                match name.to_ascii_lowercase().as_str() {
                    "idempotency-key" => key = value.to_owned(),
                    "content-length" => length = value.parse().ok()?,
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        got.lock()
            .unwrap()
            .push((key, serde_json::from_slice(&body).ok()?));
        writer
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
    }
}

fn keys(got: &Got) -> Vec<String> {
    got.lock()
        .unwrap()
        .iter()
        .map(|(key, _)| key.clone())
        .collect()
}

#[test]
fn alertmanager_and_a_webhook_get_groups_ends_and_repetitions_and_nothing_that_is_silenced() {
    let (events, ground) = (free_port(), Ground::new());
    let Some(manager) = Service::start("alertmanager", &["http://127.0.0.1:9/", TOKEN]) else {
        return;
    };
    let (uri, got) = receiver();
    ground.configure(&format!(
        r#"
[admin]
address = "127.0.0.1:0"
[sources.alerts]
type = "http"
address = "127.0.0.1:{events}"
auth = [{{ strategy = "bearer", token = "{TOKEN}" }}]
[sources.self]
type = "internal"
[sinks.search]
type = "sqlite"
inputs = ["alerts", "self"]
batch = {{ timeout = "20ms" }}
[transforms.notify]
type = "notify"
inputs = ["alerts"]
[[transforms.notify.route]]
receiver = "manager"
continue = true
group_wait = "500ms"
group_interval = "1s"
[[transforms.notify.route]]
receiver = "hook"
group_wait = "500ms"
group_interval = "1s"
repeat_interval = "4s"
[sinks.manager]
type = "webhook"
inputs = ["notify.manager"]
uri = "{}/api/v2/alerts"
encoding = {{ codec = "alertmanager" }}
batch = {{ timeout = "20ms" }}
[sinks.hook]
type = "webhook"
inputs = ["notify.hook"]
uri = "{uri}"
batch = {{ timeout = "20ms" }}
"#,
        manager.url
    ));
    let program = ground.start();
    ground.until("it listens", || post(events, b"[]").is_some());
    let send =
        |alerts: Value| assert_eq!(post(events, alerts.to_string().as_bytes()).unwrap().0, 200);
    let has = |key: &str| keys(&got).iter().any(|held| held == key);

    // Two alerts of one rule are one message, the critical one is another and does not wait.
    send(json!([
        alert(1, "a1", "PVR-101", "high", 9101),
        alert(2, "a2", "PVR-101", "high", 9101),
        alert(3, "c1", "PVR-603", "critical", 9101),
    ]));
    ground.until("all are told", || got.lock().unwrap().len() >= 2);
    {
        let got = got.lock().unwrap();
        assert_eq!(got[0].0, "c1-opened");
        let document = &got[0].1[0];
        assert_eq!(document["pve"]["alert"]["id"], "c1", "{document}");
        let text = document["pve"]["alert"]["text"].as_str().unwrap();
        assert!(text.starts_with("🔴 critical: PVR-603"), "{text}");
        assert_eq!(got[1].1.as_array().unwrap().len(), 2, "{}", got[1].1);
    }
    ground.until("Alertmanager has three", || {
        manager
            .ask("GET", "/api/v2/alerts", "")
            .as_array()
            .unwrap()
            .len()
            == 3
    });

    // Silenced: no message, but the record and a count.
    let graph = ground.path("graph.toml");
    let graph = graph.to_str().unwrap();
    let (code, text) = ground.pvetrail(&[
        "alerts",
        "silence",
        "add",
        "-c",
        graph,
        "rule=PVR-2*",
        "--for",
        "1h",
        "--reason",
        "upgrade",
    ]);
    assert_eq!(code, Some(0), "{text}");
    let silence = text.split_whitespace().next().unwrap().to_owned();
    let stored = |code: &str| ground.pvetrail(&["query", "-c", graph, "--code", code]).0 == Some(0);
    ground.until("the silence is recorded", || stored("PVE-9105"));
    send(json!([alert(4, "s1", "PVR-202", "critical", 9101)]));
    ground.until("it is told that a message is held back", || {
        stored("PVE-9104")
    });
    assert!(!has("s1-opened"));
    let held = ground.metrics();
    let held = held.iter().find(|(name, _)| {
        name.starts_with("alerts_suppressed_total") && name.contains("rule=\"PVR-202\"")
    });
    assert!(held.is_some_and(|(_, n)| *n >= 1.0), "{held:?}");
    let (code, text) = ground.pvetrail(&["alerts", "ls", "-c", graph]);
    assert!(
        code == Some(0) && text.contains("s1") && text.contains("PVR-202"),
        "{text}"
    );
    let (code, text) = ground.pvetrail(&["alerts", "silence", "rm", "-c", graph, &silence]);
    assert_eq!(code, Some(0), "{text}");
    ground.until("it is told now", || has("s1-opened"));

    // An end is told to both, and what stands is told again.
    send(json!([alert(5, "c1", "PVR-603", "critical", 9103)]));
    ground.until("its end is told", || {
        keys(&got).iter().any(|key| key.starts_with("c1-resolved"))
    });
    ground.until("it stands no more", || {
        let alerts = manager.ask("GET", "/api/v2/alerts", "");
        !alerts
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["labels"]["alert_id"] == "c1")
    });
    ground.until("what stands is told again", || {
        keys(&got).iter().any(|key| key.starts_with("s1-reminder"))
    });
    let (code, text) = ground.pvetrail(&["alerts", "summary", "-c", graph, "--format", "ndjson"]);
    assert_eq!(code, Some(0), "{text}");
    let rows: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let critical = rows
        .iter()
        .find(|row| row["severity"] == "critical" && row["rule"] == "")
        .unwrap();
    assert_eq!(
        (&critical["alerts"], &critical["open"]),
        (&json!(2), &json!(1)),
        "{critical}"
    );
    let (code, text) = ground.pvetrail(&["alerts", "show", "-c", graph, "c1"]);
    assert!(code == Some(0) && text.contains("resolved"), "{text}");
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn a_kill_loses_no_message_and_repeats_at_most_one_under_its_key() {
    let kills = if long() { 200 } else { 6 };
    let alerts = kills * 8;
    let (ground, (uri, got)) = (Ground::new(), receiver());
    ground.configure(&format!(
        r#"
[admin]
enabled = false
[sources.alerts]
type = "file"
include = [{:?}]
[transforms.read]
type = "remap"
inputs = ["alerts"]
source = '. = object!(parse_json!(string!(.message)))'
[transforms.notify]
type = "notify"
inputs = ["read"]
[[transforms.notify.route]]
receiver = "hook"
group_by = ["alert"]
repeat_interval = "0s"
[sinks.hook]
type = "webhook"
inputs = ["notify.hook"]
uri = "{uri}"
batch = {{ timeout = "5ms" }}
"#,
        ground.path("in.jsonl")
    ));
    let mut expected = Vec::new();
    let mut seed = fastrand::Rng::with_seed(7);
    let mut program = ground.start();
    for kill in 0..kills {
        for n in kill * 8..(kill + 1) * 8 {
            let mut event = alert(n, &format!("alert-{n}"), "PVR-202", "critical", 9101);
            // Each line is an event of its own, whose id is its place in the file.
            event["event"].as_object_mut().unwrap().remove("id");
            support::append(&ground.path("in.jsonl"), &format!("{event}\n"));
            expected.push(format!("alert-{n}-opened"));
        }
        let seen = got.lock().unwrap().len();
        let until = Instant::now() + Duration::from_secs(5);
        // Now in its start, now in the middle of a message: a random time after the first message since the last kill.
        if seed.bool() {
            while got.lock().unwrap().len() == seen && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        std::thread::sleep(Duration::from_millis(seed.u64(0..400)));
        program.kill();
        program = ground.start();
    }
    ground.until("every alert is told", || {
        let keys = keys(&got);
        expected.iter().all(|key| keys.contains(key))
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let mut times: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (key, body) in got.lock().unwrap().iter() {
        times.entry(key.clone()).or_default().push(body.clone());
    }
    assert_eq!(
        times.len(),
        alerts as usize,
        "no other key: {:?}",
        times.keys()
    );
    let repeated: usize = times.values().map(|bodies| bodies.len() - 1).sum();
    assert!(
        repeated <= kills as usize,
        "{repeated} repeated over {kills} kills"
    );
    for (key, bodies) in &times {
        assert!(
            bodies.iter().all(|body| *body == bodies[0]),
            "{key} is the same message"
        );
    }
}
