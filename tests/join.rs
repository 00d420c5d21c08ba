//! `join` in a running program that is killed while it holds parts of messages.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::store::Store;
use support::{Ground, append};

/// A header of ESXi's.
const HEADER: &str = "info hostd[7] [Originator@6876 sub=Vimsvc opID=k1]";

fn graph(ground: &Ground, store: &Store) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[transforms.header]
type = "grok"
inputs = ["in"]
patterns = ['^%{{TIMESTAMP_ISO8601:stamp}} %{{NOTSPACE:host.name}} %{{WORD:process.name}}\[%{{INT:process.pid:int}}\]: %{{GREEDYDATA:message}}']
timestamp = {{ field = "stamp", format = "iso8601" }}
overwrite = ["message", "host.name"]

[transforms.mended]
type = "join"
inputs = ["header"]
timeout = "8s"

[sinks.es]
type = "elasticsearch"
inputs = ["mended"]
endpoints = ["{}"]
"#,
        ground.path("in.log").display(),
        store.uri()
    )
}

#[test]
fn killed_while_it_holds_parts_it_loses_none_and_makes_every_message_once() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store));
    let mut random = fastrand::Rng::with_seed(5);
    let (mut expected, mut parts) = (Vec::new(), 0_usize);
    // Three hosts speak in turn; the lines of their messages are mixed.
    let mut queues: [Vec<String>; 3] = Default::default();
    let mut messages = 0;
    let mut next = |random: &mut fastrand::Rng, host: usize| {
        let n = messages;
        messages += 1;
        let front = format!("2026-03-14T22:58:03.412Z esx{host} Hostd[7]: ");
        let lines = random.usize(0..6);
        let further: Vec<String> = (0..lines)
            .map(|line| format!("line {line} of {n}"))
            .collect();
        let first = format!("{HEADER} message {n}");
        expected.push([&[first.clone()], &further[..]].concat().join("\n"));
        let mut all = vec![format!("{front}{first}\n")];
        all.extend(further.iter().map(|line| format!("{front}--> {line}\n")));
        all.reverse();
        all
    };
    let kills = if support::long() { 200 } else { 12 };
    for _ in 0..kills {
        let mut text = String::new();
        for _ in 0..3000 {
            let host = random.usize(..3);
            if queues[host].is_empty() {
                queues[host] = next(&mut random, host);
            }
            text.push_str(&queues[host].pop().unwrap());
            parts += 1;
        }
        // The kill finds messages whose further lines are not written yet.
        let torn = random.usize(..text.len());
        append(&ground.path("in.log"), &text[..torn]);
        let program = ground.start();
        let most = if random.u32(..3) == 0 { 2500 } else { 300 };
        std::thread::sleep(Duration::from_millis(random.u64(20..most)));
        append(&ground.path("in.log"), &text[torn..]);
        std::thread::sleep(Duration::from_millis(random.u64(0..100)));
        program.kill();
    }
    let rest: String = queues
        .iter_mut()
        .flat_map(|queue| queue.drain(..).rev())
        .collect();
    parts += rest.lines().count();
    append(&ground.path("in.log"), &rest);
    let starts = || ground.log().matches("\"started\"").count();
    let before = starts();
    let program = ground.start();
    ground.until("it runs", || starts() > before);
    ground.until("everything has arrived", || store.len() >= expected.len());
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    expected.sort();
    assert_eq!(store.messages(), expected);
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    for (id, document) in store.documents() {
        assert_eq!(
            document["pve"]["truncated"],
            serde_json::Value::Null,
            "{document}"
        );
        *ids.entry(id).or_default() += 1;
        for link in document["pve"]["links"].as_array().into_iter().flatten() {
            *ids.entry(link.as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    // Every part is in one message, once.
    assert_eq!(ids.len(), parts);
    assert!(ids.values().all(|n| *n == 1));
}

#[test]
fn what_is_held_when_the_program_stops_goes_on_at_the_next_start() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store));
    let line = |text: &str| format!("2026-03-14T22:58:03.412Z esx1 Hostd[7]: {text}\n");
    append(&ground.path("in.log"), &line(&format!("{HEADER} one")));
    let program = ground.start();
    ground.until("it is held", || {
        ground.log().contains("\"started\"")
            && ground.metric("component_received_events_total", "mended") == 1.0
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.len(), 0);
    append(&ground.path("in.log"), &line("--> two"));
    let program = ground.start();
    ground.until("it is let go", || store.len() == 1);
    assert_eq!(store.messages(), [format!("{HEADER} one\ntwo")]);
    assert_eq!(ground.metric("events_joined_total", "mended"), 1.0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}
