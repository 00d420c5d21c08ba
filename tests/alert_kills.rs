//! `kill -9` at random moments of a stream with known alerts, from the file to the receiver of messages: the same alerts under
//! the same ids, none missing, none told under a second key, and of each kill one message repeated at most.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Ground, long};

/// What the receiver got: key and body of each request, in their order.
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
        let body = serde_json::from_slice(&body).ok()?;
        got.lock().unwrap().push((key, body));
        writer
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
    }
}

const RULES: &str = r#"
schema = 1
[[rule]]
id = "T-202"
name = "mass_delete"
severity = "critical"
version = 1
type = "event_count"
group_by = ["user.id"]
timespan = "10m"
condition = { gte = 3 }
resolve_after = "30d"
repeat = "0s"
[rule.select.destroyed]
"event.code" = "PVE-2002"
[[rule]]
id = "T-105"
name = "spray"
severity = "critical"
version = 1
type = "value_count"
group_by = ["user.id"]
timespan = "10m"
condition = { field = "pve.vmid", gte = 3 }
resolve_after = "30d"
repeat = "0s"
[rule.select.destroyed]
"event.code" = "PVE-2002"
[[rule]]
id = "T-106"
name = "then"
severity = "critical"
version = 1
type = "temporal_ordered"
rules = ["T-202", "login"]
group_by = ["user.id"]
timespan = "30m"
resolve_after = "30d"
repeat = "0s"
[rule.select.login]
"event.code" = "PVE-1001"
[[rule]]
id = "T-601"
name = "held"
severity = "critical"
version = 1
type = "event"
when = "down"
hold = "1s"
unless = "up"
group_by = ["user.id"]
dedupe = "30d"
repeat = "0s"
[rule.select.down]
"event.code" = "PVE-6004"
[rule.select.up]
"event.code" = "PVE-6005"
"#;

const FIRST: &str = "{\"@timestamp\":\"2026-03-02T00:00:00.000Z\",\"event\":{\"code\":\"PVE-1003\"},\"pve\":{\"record\":\"primary\"}}\n";

fn graph(ground: &Ground, uri: &str) -> String {
    format!(
        r#"
cluster = "kills"
[admin]
enabled = false
[sources.lines]
type = "file"
include = [{:?}]
family = "stories"
[transforms.read]
type = "remap"
inputs = ["lines"]
source = '''
. = object!(parse_json!(string!(.message)))
."@timestamp" = parse_timestamp!(."@timestamp", format: "%+")
'''
[transforms.watch]
type = "anomaly"
inputs = ["read"]
rules = [{:?}]
[transforms.notify]
type = "notify"
inputs = ["watch.alerts"]
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
        ground.path("in.jsonl"),
        ground.path("rules.toml"),
    )
}

/// One person's story: what is done, and which alerts that makes. The same in both runs, as an event's id is made of its place
/// and its text; `start` is when the first begins [ns].
fn story(n: u32, start: i64) -> (String, Vec<(String, String)>) {
    let user = format!("u{n}@pve");
    let start = start + i64::from(n) * 10_000_000;
    let mut lines = String::new();
    let mut line = |step: i64, code: &str, vmid: u32| {
        let at = pipeline::Time(start + step * 1_000_000);
        let event = json!({
            "@timestamp": at.to_string(),
            "event": { "code": code, "kind": "event", "outcome": "success" },
            "pve": { "record": "primary", "vmid": vmid },
            "user": { "id": user },
            "host": { "name": "pve1" },
        });
        lines.push_str(&format!("{event}\n"));
    };
    line(0, "PVE-2002", 1);
    line(1, "PVE-2002", 1);
    line(2, "PVE-6004", 1);
    line(3, "PVE-2002", 2);
    line(4, "PVE-1001", 0);
    let mut rules = vec!["T-202", "T-106"];
    if n.is_multiple_of(2) {
        line(5, "PVE-2002", 3);
        rules.push("T-105");
    }
    if n.is_multiple_of(3) {
        line(6, "PVE-6005", 1);
    } else {
        rules.push("T-601");
    }
    let group = json!({ "user.id": user }).to_string();
    let alerts = rules.iter().map(|rule| ((*rule).to_owned(), group.clone()));
    (lines, alerts.collect())
}

/// Alerts that were told, by rule and group: id, key and user, as often as they came.
type Told = BTreeMap<(String, String), Vec<(String, String, String)>>;

fn told(got: &Got) -> Told {
    let mut told = Told::new();
    for (key, body) in got.lock().unwrap().iter() {
        for alert in body.as_array().unwrap() {
            let text = |pointer: &str| {
                let text = alert.pointer(pointer).and_then(Value::as_str);
                text.unwrap_or_default().to_owned()
            };
            let alerts = told
                .entry((text("/rule/id"), text("/pve/alert/key")))
                .or_default();
            alerts.push((text("/pve/alert/id"), key.clone(), text("/user/id")));
        }
    }
    told
}

/// The stories, told to a program that is killed so often while they are; 0: never.
fn run(stories: u32, kills: u32, start: i64) -> (Told, u32) {
    let (ground, (uri, got)) = (Ground::new(), receiver());
    std::fs::write(ground.path("rules.toml"), RULES).unwrap();
    ground.configure(&graph(&ground, &uri));
    let mut random = fastrand::Rng::with_seed(u64::from(kills) + 7);
    // The first line is what the file is known by, and the same in every run.
    support::append(&ground.path("in.jsonl"), FIRST);
    let mut expected = Vec::new();
    let mut program = ground.start();
    let mut done = 0;
    for n in 0..stories {
        let (lines, alerts) = story(n, start);
        support::append(&ground.path("in.jsonl"), &lines);
        expected.extend(alerts);
        // Spread over the stories: now before the first snapshot, now while a message is on its way.
        if u64::from(done) * u64::from(stories) < u64::from(kills) * u64::from(n + 1) {
            let seen = got.lock().unwrap().len();
            let until = Instant::now() + Duration::from_secs(5);
            while random.bool() && got.lock().unwrap().len() == seen && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(random.u64(0..500)));
            program.kill();
            done += 1;
            program = ground.start();
        }
    }
    ground.until("every alert is told", || {
        let told = told(&got);
        expected.iter().all(|key| told.contains_key(key))
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let told = told(&got);
    let others: Vec<_> = told.keys().filter(|key| !expected.contains(key)).collect();
    assert!(others.is_empty(), "nobody did that: {others:?}");
    (told, done)
}

#[test]
fn killed_at_any_moment_it_tells_the_same_alerts_once_each() {
    let (kills, stories) = if long() { (200, 400) } else { (10, 40) };
    // None of it is yet to come.
    let start = pipeline::Clock::system().now().0 - i64::from(stories) * 20_000_000;
    let (calm, none) = run(stories, 0, start);
    let (rough, done) = run(stories, kills, start);
    assert_eq!((none, done), (0, kills));
    let mut repeated = 0;
    for (alert, times) in &rough {
        repeated += times.len() - 1;
        assert!(
            times.iter().all(|one| *one == times[0]),
            "{alert:?} was told in several ways: {times:?}"
        );
        let before = &calm[alert][0];
        assert_eq!(before, &times[0], "{alert:?} is another one");
        assert!(
            alert.1.contains(&times[0].2),
            "{alert:?} names {}",
            times[0].2
        );
    }
    assert_eq!(calm.len(), rough.len(), "none is missing");
    assert!(
        repeated <= kills as usize,
        "{repeated} repeated over {kills} kills"
    );
}
