//! `on_failure`: a sink that must not miss anything and cannot take it holds every source, `/ready` says so, and all goes
//! on when it delivers again; or a command runs.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::io::{Read, Write};
use std::path::Path;

use serde_json::Value;
use support::store::{Store, Trouble};
use support::{Ground, append, lines};

fn graph(ground: &Ground, store: &Store, options: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{input}"]

[sources.self]
type = "internal"

[sinks.evidence]
type = "elasticsearch"
inputs = ["in"]
endpoints = ["{uri}"]
failure_after = "1s"
request = {{ retry_initial_backoff = "50ms", retry_max_backoff = "200ms" }}
{options}

[sinks.told]
type = "file"
inputs = ["self"]
path = "{told}"
"#,
        input = ground.path("in.log").display(),
        uri = store.uri(),
        told = ground.path("told.log").display(),
    )
}

/// `GET /ready`.
fn ready(ground: &Ground) -> (u16, Value) {
    let address = ground.admin();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(stream, "GET /ready HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// Codes of the program's own events that were delivered so far.
fn told(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let code = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        Some(event["event"]["code"].as_str()?.to_owned())
    };
    text.lines().filter_map(code).collect()
}

#[test]
fn hold_stops_every_source_until_the_sink_delivers_again() {
    let ground = Ground::new();
    let store = Store::start();
    ground.configure(&graph(&ground, &store, "on_failure = \"hold\""));
    let input = ground.path("in.log");
    append(&input, &lines(0..100));
    let program = ground.start();
    ground.until("the first lines are delivered", || store.len() == 100);
    ground.until("it is ready", || ready(&ground).0 == 200);

    store.on_request(|_| Some(Trouble::Status(503, String::new())));
    append(&input, &lines(100..200));
    ground.until("the sources are held", || {
        ready(&ground).1["held_by"][0] == "evidence"
    });
    assert_eq!(ready(&ground).0, 503);
    let held = ground
        .metrics()
        .into_iter()
        .find(|(name, _)| name.starts_with("sources_held"));
    assert_eq!(held.unwrap().1, 1.0);

    let read = ground.metric("component_received_events_total", "in");
    append(&input, &lines(200..5000));
    let log = ground.path("told.log");
    ground.until("the program's own events still come", || {
        told(&log).contains(&"PVE-9025".to_owned())
    });
    // The source was told to wait before this point, and the second it looks at its file is over.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let since = ground.metric("component_received_events_total", "in") - read;
    assert_eq!(since, 0.0, "a source that is held takes nothing in");

    store.heal();
    ground.until("everything is delivered", || store.len() == 5000);
    ground.until("it is ready again", || ready(&ground).0 == 200);
    ground.until("the end is told", || {
        told(&log).contains(&"PVE-9026".to_owned())
    });
    let codes = told(&log);
    let place = |code: &str| codes.iter().position(|told| told == code).unwrap();
    assert!(
        place("PVE-9021") < place("PVE-9025") && place("PVE-9025") < place("PVE-9026"),
        "{codes:?}"
    );
    assert!(
        codes.contains(&"PVE-9001".to_owned()) && codes.contains(&"PVE-9011".to_owned()),
        "{codes:?}"
    );
    assert_eq!(program.stop(), Some(0));
    assert!(
        told(&log).contains(&"PVE-9002".to_owned()),
        "the end of the program is told too"
    );
}

#[test]
fn a_program_that_is_killed_while_it_holds_loses_nothing() {
    let ground = Ground::new();
    let store = Store::start();
    ground.configure(&graph(&ground, &store, "on_failure = \"hold\""));
    append(&ground.path("in.log"), &lines(0..1000));
    store.on_request(|_| Some(Trouble::Status(503, String::new())));
    let program = ground.start();
    ground.until("it listens", || {
        ground.log().contains("metrics, health and reload")
    });
    ground.until("the sources are held", || {
        ready(&ground).1["held_by"][0] == "evidence"
    });
    program.kill();
    store.heal();
    let program = ground.start();
    ground.until("everything is delivered", || store.len() == 1000);
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn exec_runs_the_command_once_for_each_failure() {
    let ground = Ground::new();
    let store = Store::start();
    let page = ground.path("page.jsonl");
    let command = format!(
        "on_failure = \"exec\"\nfailure_command = [\"sh\", \"-c\", \"cat >> {}\"]",
        page.display()
    );
    ground.configure(&graph(&ground, &store, &command));
    append(&ground.path("in.log"), &lines(0..10));
    store.on_request(|_| Some(Trouble::Status(503, String::new())));
    let program = ground.start();
    let pages = || std::fs::read_to_string(&page).unwrap_or_default();
    ground.until("the command has run", || pages().ends_with('\n'));
    store.heal();
    ground.until("everything is delivered", || store.len() == 10);
    ground.until("the end is told", || {
        told(&ground.path("told.log")).contains(&"PVE-9026".to_owned())
    });
    let text = pages();
    assert_eq!(text.lines().count(), 1, "{text}");
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["event"]["code"], "PVE-9025");
    assert_eq!(event["sink"]["id"], "evidence");
    assert!(
        event["event"]["reason"].as_str().unwrap().contains("503"),
        "{event}"
    );
    assert_eq!(program.stop(), Some(0));
}
