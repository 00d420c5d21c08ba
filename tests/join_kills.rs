//! `kill -9` while records wait for what belongs to them: whoever joins them after the restart tells the same, under the same
//! ids, as a program that nobody disturbed.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use support::{Ground, long};

/// Two hours and a half of a night with everything in it that is joined: relayed calls, consoles, logins, backups, edits.
/// The attack of that night is in it.
fn graph(ground: &Ground, rate: u32) -> String {
    format!(
        r#"
cluster = "demo"

[admin]
enabled = false

[sources.cluster]
type = "demo"
seed = 7
start = "2026-03-14T21:52:00Z"
lasts = "150m"
stays = "45s"
rate = {rate}
noise = false

[transforms.record]
type = "route"
inputs = ["cluster"]
mode = "first"
route.access = '.log.file.path == "/var/log/pveproxy/access.log"'

[transforms.parsed]
type = "grok"
inputs = ["record.access"]
patterns = ['%{{PVEPROXY_ACCESS}}']

[transforms.audit]
type = "event_id"
inputs = ["parsed", "record._unmatched"]

[transforms.who]
type = "correlate"
inputs = ["audit"]
cluster_nodes = ["pve1=192.168.10.2", "pve2=192.168.10.3", "pve3=192.168.10.4"]

[sinks.out]
type = "file"
inputs = ["who"]
path = "{}"
"#,
        ground.path("out.ndjson").display()
    )
}

/// Every event that was written, as its bytes are without what differs between any two runs: when an event was read
/// (`event.created`, wall time) and which installation read it (`agent.id`). One written twice, before and after a kill,
/// must be the same both times.
fn told(ground: &Ground) -> (BTreeMap<String, String>, usize) {
    let text = std::fs::read_to_string(ground.path("out.ndjson")).unwrap();
    let (mut events, mut twice) = (BTreeMap::new(), 0);
    for line in text.lines() {
        // A kill may tear a line; what was torn is written again.
        let Ok(mut event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        event["event"].as_object_mut().unwrap().remove("created");
        event["agent"].as_object_mut().unwrap().remove("id");
        let id = event["event"]["id"].as_str().unwrap().to_owned();
        let event = event.to_string();
        if let Some(before) = events.insert(id.clone(), event.clone()) {
            twice += 1;
            assert_eq!(before, event, "{id} was told in two ways");
        }
    }
    (events, twice)
}

fn undisturbed(rate: u32) -> BTreeMap<String, String> {
    let ground = Ground::new();
    ground.configure(&graph(&ground, rate));
    let mut program = ground.start();
    ground.until("the night is over", || !program.is_running());
    assert_eq!(program.wait(), Some(0), "{}", ground.log());
    let (events, twice) = told(&ground);
    assert_eq!(twice, 0);
    events
}

/// The same night, killed again and again; what was told, and how often.
fn killed(rate: u32, kills: u32, seed: u64) -> (BTreeMap<String, String>, u32) {
    let mut random = fastrand::Rng::with_seed(seed);
    let ground = Ground::new();
    ground.configure(&graph(&ground, rate));
    let mut done = 0;
    let mut program = ground.start();
    while done < kills {
        // A random moment: before the first snapshot, between two, and while everything waits.
        std::thread::sleep(Duration::from_millis(random.u64(200..6_000)));
        if !program.is_running() {
            break;
        }
        program.kill();
        done += 1;
        program = ground.start();
    }
    ground.until("the night is over", || !program.is_running());
    assert_eq!(program.wait(), Some(0), "{}", ground.log());
    (told(&ground).0, done)
}

#[test]
fn killed_while_records_wait_it_tells_the_same_under_the_same_ids() {
    let (rate, kills, nights) = if long() { (20, 200, 5) } else { (60, 10, 1) };
    for night in 0..nights {
        let (calm, (rough, done)) = std::thread::scope(|scope| {
            let calm = scope.spawn(|| undisturbed(rate));
            let rough = scope.spawn(|| killed(rate, kills, 7 + night));
            (calm.join().unwrap(), rough.join().unwrap())
        });
        assert!(done >= kills.min(8), "only {done} kills hit it running");
        assert!(calm.len() > 1_000, "{} events are no night", calm.len());
        let joined = |events: &BTreeMap<String, String>| {
            let matched = events.values();
            matched
                .filter(|event| event.contains(r#""attribution":"matched""#))
                .count()
        };
        assert!(joined(&calm) > 50, "nothing was joined");
        let mut differ: Vec<String> = Vec::new();
        for (id, event) in &calm {
            match rough.get(id) {
                Some(other) if other == event => {}
                other => differ.push(format!(
                    "calm  {event}\nrough {}",
                    other.map_or("never told", String::as_str)
                )),
            }
        }
        let more: Vec<&String> = rough.keys().filter(|id| !calm.contains_key(*id)).collect();
        assert!(
            differ.is_empty() && more.is_empty(),
            "{} of {} differ, {} more\n{}",
            differ.len(),
            calm.len(),
            more.len(),
            differ
                .iter()
                .take(5)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n")
        );
    }
}
