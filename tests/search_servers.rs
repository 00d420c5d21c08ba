//! Against a real OpenSearch and a real Elasticsearch: each item of a bulk has its own end.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::fmt::Write as _;

use serde_json::json;
use support::service::Service;
use support::{Ground, append};

const INDICES: &str = "pve-audit-*";

/// So narrow that a bulk over many shards is partly told to come again.
const NARROW: [&str; 2] = ["thread_pool.write.size=1", "thread_pool.write.queue_size=1"];

fn graph(ground: &Ground, server: &Service) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[sinks.es]
type = "elasticsearch"
inputs = ["in"]
endpoints = ["{}"]
batch = {{ max_events = 400 }}
request = {{ retry_initial_backoff = "20ms", retry_max_backoff = "200ms" }}
"#,
        ground.path("in.log").display(),
        server.url
    )
}

/// Numbers fit the mapping, words do not.
fn lines(range: std::ops::Range<usize>) -> String {
    range.fold(String::new(), |mut text, n| {
        let written = if n % 20 == 7 {
            writeln!(text, "word {n}")
        } else {
            writeln!(text, "{n}")
        };
        written.unwrap();
        text
    })
}

fn mixed_bulks(name: &str) {
    let Some(server) = Service::start(name, &NARROW) else {
        return;
    };
    let ground = Ground::new();
    ground.configure(&graph(&ground, &server));
    let template = json!({
        "index_patterns": [INDICES],
        "priority": 500,
        "template": {
            "settings": { "number_of_shards": 8, "number_of_replicas": 0 },
            "mappings": { "properties": { "message": { "type": "long" } } },
        },
    });
    server.ask("PUT", "/_index_template/test", &template.to_string());

    // 201, 400 and 429.
    let mut sent = 0;
    let mut program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    ground.until("some items were told to come again", || {
        if sent < 200_000 && ground.metric("component_received_events_total", "es") == sent as f64 {
            append(&ground.path("in.log"), &lines(sent..sent + 4000));
            sent += 4000;
        }
        ground.metric("component_retries_total", "es") > 0.0
    });
    let words = (sent / 20) as f64;
    ground.until("everything has an end", || {
        ground.metric("component_received_events_total", "es") == sent as f64
            && ground.books_balance("es")
    });
    assert_eq!(ground.metric("events_dead_lettered_total", "es"), words);
    assert_eq!(ground.metric("events_duplicate_total", "es"), 0.0);
    assert_eq!(server.documents(INDICES), sent as u64 - words as u64);
    let (code, out) = ground.pvetrail(&["dlq", "show", "graph.toml", "--limit", "1"]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("mapping")
            && out.contains("failed to parse field [message] of type [long]")
            && out.contains("\"message\":\"word "),
        "{out}"
    );

    // The mapping is as it was.
    let (code, out) = ground.pvetrail(&["dlq", "retry", "graph.toml", "--limit", "10"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("es: 0 delivered and removed, 10 refused again"),
        "{out}"
    );

    // It is mended, while the program runs.
    let mended =
        json!({ "properties": { "message": { "type": "long", "ignore_malformed": true } } });
    server.ask("PUT", &format!("/{INDICES}/_mapping"), &mended.to_string());
    let (code, out) = ground.pvetrail(&["dlq", "retry", "graph.toml"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains(&format!(
            "es: {words} delivered and removed, 0 refused again"
        )),
        "{out}"
    );
    assert_eq!(
        ground.pvetrail(&["dlq", "ls", "graph.toml"]),
        (Some(0), "no dead letters\n".to_owned())
    );
    assert_eq!(server.documents(INDICES), sent as u64);
    assert!(program.is_running());
    assert_eq!(program.stop(), Some(0), "{}", ground.log());

    // 409: everything is sent once more by a program that has forgotten where it was.
    std::fs::remove_dir_all(ground.path("data")).unwrap();
    let program = ground.start();
    let starts = || ground.log().matches("\"started\"").count();
    ground.until("it runs again", || starts() == 2);
    ground.until("everything is known already", || {
        ground.metric("events_duplicate_total", "es") == sent as f64
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(server.documents(INDICES), sent as u64);
    assert_eq!(ground.pvetrail(&["dlq", "ls", "graph.toml"]).0, Some(0));
}

#[test]
fn one_bulk_is_stored_refused_known_and_told_to_come_again_by_opensearch() {
    mixed_bulks("opensearch");
}

#[test]
fn one_bulk_is_stored_refused_known_and_told_to_come_again_by_elasticsearch() {
    mixed_bulks("elasticsearch");
}

/// A log through grok and dedupe, killed at random moments: with `PVETRAIL_LONG=1` a million lines and twenty kills.
fn killed_on_the_way(name: &str) {
    let Some(server) = Service::start(name, &[]) else {
        return;
    };
    let (kills, all) = match std::env::var_os("PVETRAIL_LONG") {
        Some(_) => (20, 1_000_000_u64),
        None => (5, 30_000),
    };
    let ground = Ground::new();
    ground.configure(&format!(
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

[transforms.once]
type = "dedupe"
inputs = ["parsed"]

[sinks.es]
type = "elasticsearch"
inputs = ["once"]
endpoints = ["{}"]

[sinks.slow]
type = "blackhole"
inputs = ["once"]
delay = "20ms"
"#,
        ground.path("in.log").display(),
        server.url
    ));
    let (code, out) = ground.pvetrail(&["setup", "elasticsearch", "graph.toml"]);
    assert_eq!(code, Some(0), "{out}");
    let mut text = String::new();
    for n in 0..all {
        let (minute, second) = (n / 60 % 60, n % 60);
        writeln!(
            text,
            r#"192.0.2.{} - root@pam [24/11/2026:10:{minute:02}:{second:02} +0000] "GET /api2/json/nodes/pve1/tasks/{n} HTTP/1.1" 200 {n}"#,
            n % 250
        )
        .unwrap();
    }
    append(&ground.path("in.log"), &text);
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..kills {
        let program = ground.start();
        std::thread::sleep(std::time::Duration::from_millis(random.u64(100..2500)));
        program.kill();
    }
    let program = ground.start();
    ground.until("it runs", || {
        ground.log().matches("\"started\"").count() > kills
    });
    ground.until("everything is stored", || server.documents(INDICES) >= all);
    ground.until("the books balance", || ground.books_balance("es"));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(
        server.documents(INDICES),
        all,
        "a line was stored under two ids"
    );
    // Each line once: as many, with the right sum and the right sum of squares.
    let query = json!({
        "size": 0,
        "aggs": { "n": { "extended_stats": { "field": "http.response.body.bytes" } } },
    });
    let answer = server.ask("POST", &format!("/{INDICES}/_search"), &query.to_string());
    let n = &answer["aggregations"]["n"];
    let expected = (
        all as f64,
        (all * (all - 1) / 2) as f64,
        ((all - 1) * all * (2 * all - 1) / 6) as f64,
    );
    let told = |what: &str| n[what].as_f64().unwrap();
    assert_eq!(
        (told("count"), told("sum"), told("sum_of_squares")),
        expected,
        "{n}"
    );
    assert_eq!(
        ground.pvetrail(&["dlq", "ls", "--data-dir", "data"]).0,
        Some(0)
    );
}

#[test]
fn killed_on_the_way_to_opensearch_each_line_is_stored_once() {
    killed_on_the_way("opensearch");
}

#[test]
fn killed_on_the_way_to_elasticsearch_each_line_is_stored_once() {
    killed_on_the_way("elasticsearch");
}
