//! What the program says about itself: good for promtool, read by a real Prometheus, and its books balance.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use support::service::Service;
use support::store::Store;
use support::{Ground, append};

/// Lines that match, lines that do not, lines that come twice, and lines the store refuses, into three sinks.
fn busy(ground: &Ground, store: &Store) {
    let graph = format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{input}"]

[transforms.parsed]
type = "grok"
inputs = ["in"]
patterns = ['^line %{{INT:number:int}} of %{{WORD:kind}}$']

[transforms.once]
type = "dedupe"
inputs = ["parsed"]
fields.match = ["message"]

[sinks.store]
type = "elasticsearch"
inputs = ["once"]
endpoints = ["{uri}"]
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}

[sinks.unmatched]
type = "file"
inputs = ["parsed.errors"]
path = "{unmatched}"

[sinks.all]
type = "blackhole"
inputs = ["in"]
"#,
        input = ground.path("in.log").display(),
        uri = store.uri(),
        unmatched = ground.path("unmatched.log").display(),
    );
    ground.configure(&graph);
    store.on_item(|message| {
        message.contains("of poison").then_some((
            400,
            "document_parsing_exception",
            "failed to parse \"it\"\nin two lines",
        ))
    });
    let mut text = String::new();
    for n in 0..3000 {
        text += &match n % 10 {
            7 => format!("no match for {n}\n"),
            8 => format!("line {n} of poison\n"),
            9 => "line 9 of repetition\n".to_owned(),
            _ => format!("line {n} of many\n"),
        };
    }
    append(&ground.path("in.log"), &text);
}

/// Of 3000: 300 poisoned, 299 repetitions.
const STORED: usize = 3000 - 300 - 299;

#[test]
fn the_books_balance_at_every_component_and_promtool_finds_nothing() {
    let (ground, store) = (Ground::new(), Store::start());
    busy(&ground, &store);
    let program = ground.start();
    ground.until("everything is stored", || store.len() == STORED);
    ground.balances();
    for (metric, component, value) in [
        ("component_received_events_total", "in", 3000.0),
        ("component_received_events_total", "parsed", 3000.0),
        ("component_received_events_total", "once", 3000.0),
        ("component_discarded_events_total", "once", 299.0),
        ("component_received_events_total", "store", 2701.0),
        ("events_dead_lettered_total", "store", 300.0),
        ("component_sent_events_total", "store", 2401.0),
        ("component_sent_events_total", "unmatched", 300.0),
        ("component_sent_events_total", "all", 3000.0),
    ] {
        assert_eq!(
            ground.metric(metric, component),
            value,
            "{metric} of {component}"
        );
    }
    let text = ground.metrics_text();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());

    let Some(script) = installed("prometheus") else {
        return;
    };
    let mut promtool = Command::new(script)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let said = promtool.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(
        said.status.success() && words.trim().is_empty(),
        "promtool: {words}"
    );
}

#[test]
fn a_real_prometheus_scrapes_what_was_delivered() {
    let (ground, store) = (Ground::new(), Store::start());
    busy(&ground, &store);
    let program = ground.start();
    ground.until("everything is stored", || store.len() == STORED);
    ground.balances();
    let Some(prometheus) = Service::start("prometheus", &[&ground.admin()]) else {
        return;
    };
    let asked = |query: &str| {
        let answer = prometheus.ask("GET", &format!("/api/v1/query?query={query}"), "");
        answer["data"]["result"][0]["value"][1]
            .as_str()
            .map(str::to_owned)
    };
    let sent = "sum(pvetrail_component_sent_events_total%7Bcomponent_id%3D%22store%22%7D)";
    ground.until("it has been scraped", || asked(sent).is_some());
    assert_eq!(asked(sent).as_deref(), Some("2401"));
    assert_eq!(asked("up").as_deref(), Some("1"));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

/// The script of a server that is installed now, if it can be.
fn installed(name: &str) -> Option<std::path::PathBuf> {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/services")
        .join(format!("{name}.sh"));
    let output = Command::new(&script).arg("install").output().unwrap();
    if output.status.success() {
        return Some(script);
    }
    support::service::skip(&format!("metrics: {name} cannot be installed"));
    None
}
