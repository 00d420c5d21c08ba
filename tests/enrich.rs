//! `enrich` in a running program: a table replaced under load, and what its mistakes look like in a configuration.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::path::Path;

use pipeline::Registry;
use pipeline::config::{self, FakeEnv};
use support::store::Store;
use support::{Ground, append};

/// Every version has every key, and both columns say which version it is.
fn version(n: usize) -> String {
    let rows: String = (0..100).map(|key| format!("k{key},{n},{n}\n")).collect();
    format!("key,one,two\n{rows}")
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn graph(ground: &Ground, store: &Store) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[enrichment_tables.keys]
type = "file"
file.path = {:?}
schema = {{ one = "integer", two = "integer" }}

[sources.in]
type = "file"
include = ["{}"]

[transforms.parsed]
type = "grok"
inputs = ["in"]
patterns = ['^%{{WORD:labels.key}} ']

[transforms.named]
type = "enrich"
inputs = ["parsed"]
lookups = [{{ table = "keys", match = {{ key = "labels.key" }}, fields = {{ one = "labels.one", two = "labels.two" }} }}]

[sinks.es]
type = "elasticsearch"
inputs = ["named"]
endpoints = ["{}"]
"#,
        ground.path("keys.csv"),
        ground.path("in.log").display(),
        store.uri()
    )
}

#[test]
fn a_table_replaced_a_hundred_times_under_load_never_gives_a_wrong_row_or_none() {
    let (ground, store) = (Ground::new(), Store::start());
    let table = ground.path("keys.csv");
    replace(&table, &version(0));
    ground.configure(&graph(&ground, &store));
    let program = ground.start();
    let (mut written, mut loads) = (0, 0.0);
    for n in 1..=100 {
        replace(&table, &version(n));
        let lines: String = (0..1000)
            .map(|line| format!("k{} number {written} of {line}\n", line % 100))
            .collect();
        append(&ground.path("in.log"), &lines);
        written += 1000;
        std::thread::sleep(std::time::Duration::from_millis(60));
        if n % 25 == 0 {
            // What is broken leaves the newest good one in force, and is told.
            ground.until("the version is in force", || {
                table_metric(&ground, "loads") > loads
            });
            let failures = table_metric(&ground, "failures");
            replace(&table, "key,one,two\nk1,1\n");
            ground.until("it is refused", || {
                table_metric(&ground, "failures") > failures
            });
            loads = table_metric(&ground, "loads");
        }
    }
    ground.until("everything has arrived", || store.len() == written);
    ground.balances();
    let mut seen = std::collections::BTreeSet::new();
    for (_, document) in store.documents() {
        let labels = &document["labels"];
        assert_eq!(labels["one"], labels["two"], "{document}");
        seen.insert(labels["one"].as_u64().expect("every event has its row"));
    }
    assert!(
        seen.len() > 4,
        "only the versions {seen:?} were ever in force"
    );
    assert_eq!(ground.metric("enrichment_misses_total", "named"), 0.0);
    let log = ground.log();
    assert!(
        log.contains("the rows of before stay in force")
            && log.contains("line 2: the row is too short"),
        "{log}"
    );
    replace(&table, &version(101));
    let loads = table_metric(&ground, "loads");
    ground.until("the last is in force", || {
        table_metric(&ground, "loads") > loads
    });
    append(&ground.path("in.log"), "k7 the last\nk777 unknown\n");
    ground.until("the last line", || store.len() == written + 2);
    let last = |text: &str| {
        let documents = store.documents();
        let found = documents
            .iter()
            .find(|(_, document)| document["message"] == text);
        found.unwrap().1["labels"]["one"].clone()
    };
    assert_eq!(last("k7 the last"), 101);
    assert_eq!(last("k777 unknown"), serde_json::Value::Null);
    assert_eq!(ground.metric("enrichment_misses_total", "named"), 1.0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

/// What `/metrics` says of the table.
fn table_metric(ground: &Ground, what: &str) -> f64 {
    let name = format!("enrichment_table_{what}_total{{");
    let metrics = ground.metrics();
    let found = metrics.iter().find(|(held, _)| held.starts_with(&name));
    found.map_or(0.0, |(_, value)| *value)
}

#[test]
fn a_reload_changes_a_table_and_whoever_uses_it_and_refuses_a_broken_new_one() {
    let (ground, store) = (Ground::new(), Store::start());
    std::fs::write(ground.path("keys.csv"), version(1)).unwrap();
    std::fs::write(ground.path("other.csv"), version(2)).unwrap();
    std::fs::write(ground.path("short.csv"), "key,one,two\nk1,2\n").unwrap();
    let text = graph(&ground, &store);
    ground.configure(&text);
    let program = ground.start();
    let mut written = 0;
    let mut one = |expected: i64| {
        append(&ground.path("in.log"), &format!("k5 line {written}\n"));
        written += 1;
        ground.until("the line", || store.len() == written);
        let message = format!("k5 line {}", written - 1);
        let documents = store.documents();
        let document = documents
            .iter()
            .find(|(_, d)| d["message"] == message.as_str());
        assert_eq!(document.unwrap().1["labels"]["one"], expected);
    };
    one(1);
    ground.configure(&text.replace("keys.csv", "other.csv"));
    program.signal("HUP");
    ground.until("it is reloaded", || ground.log().contains("\"reloaded\""));
    one(2);
    ground.configure(&text.replace("keys.csv", "short.csv"));
    program.signal("HUP");
    ground.until("it is refused", || {
        ground.log().contains("short.csv:2: the row is too short")
    });
    one(2);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn mistakes_with_tables_are_told_at_their_place() {
    let ground = Ground::new();
    let path = |name: &str, text: &str| {
        std::fs::write(ground.path(name), text).unwrap();
        ground.path(name).display().to_string()
    };
    let (good, short, cut) = (
        path("good.csv", "name,owner\npve1,ops\n"),
        path("short.csv", "name,owner\npve1\n"),
        path("cut.mmdb", "\u{1}\u{2}\u{3}"),
    );
    let toml = format!(
        r#"[enrichment_tables.hosts]
type = "file"
file.path = "{good}"

[enrichment_tables.short]
type = "file"
file = {{ path = "{short}" }}

[enrichment_tables.geo]
type = "geoip"
path = "{cut}"

[enrichment_tables.odd]
type = "fil"

[sources.in]
type = "stdin"

[transforms.a]
type = "enrich"
inputs = ["in"]
lookups = [
  {{ table = "hots", match = {{ name = "host.name" }}, prefix = "x" }},
  {{ table = "hosts", match = {{ nam = "host.name" }}, fields = {{ owner = "o" }} }},
  {{ table = "hosts", match = {{ name = "host.name" }}, fields = {{ ownr = "o" }} }},
]

[transforms.b]
type = "enrich"
inputs = ["a"]
lookups = [{{ table = "short", match = {{ nme = "host.name" }}, prefix = "x" }}]

[sinks.out]
type = "blackhole"
inputs = ["b"]
"#
    );
    let mut registry = Registry::new();
    sources::register(&mut registry);
    transforms::register(&mut registry);
    sinks::register(&mut registry);
    let env = FakeEnv::new().with_file("x.toml", &toml);
    let errors = config::load(&["x.toml".into()], &registry, &env).expect_err("many mistakes");
    let told: Vec<String> = errors
        .iter()
        .map(|d| {
            let place = errors.files().describe(d.place);
            format!(
                "{place} {}: {} | {}",
                d.path,
                d.message,
                d.help.as_deref().unwrap_or("-")
            )
        })
        .collect();
    let expected = [
        (format!("x.toml:7:17 enrichment_tables.short.file.path: {short}:2: the row is too short: 1 values for 2 columns"), "as many values as"),
        (format!("x.toml:11:8 enrichment_tables.geo.path: {cut}: it is no MaxMind database, or only a part of one"), "fetch it again"),
        ("x.toml:14:8 enrichment_tables.odd.type: there is no enrichment table of type \"fil\"".to_owned(), "did you mean \"file\"?"),
        ("x.toml:23:13 transforms.a.lookups[0].table: there is no enrichment table called \"hots\"".to_owned(), "did you mean \"hosts\"?"),
        ("x.toml:24:30 transforms.a.lookups[1].match: the table \"hosts\" has no column \"nam\"".to_owned(), "did you mean \"name\"?"),
        ("x.toml:25:63 transforms.a.lookups[2].fields: the table \"hosts\" has no column \"ownr\"".to_owned(), "did you mean \"owner\"?"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (start, help) in expected {
        assert!(
            told.iter()
                .any(|line| line.starts_with(&start) && line.contains(help)),
            "{start} … {help}\n{told:#?}"
        );
    }
}
