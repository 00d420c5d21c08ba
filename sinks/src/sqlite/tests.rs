//! The store as a whole: what is written, asked, broken and measured.

mod asking;
mod bench;
mod faults;
mod states;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use pipeline::{Context, Event, Events, Kind, Sink, SinkConfig};
use serde_json::{Value as Json, json};

use super::*;

pub(super) struct Ground(tempfile::TempDir);

impl Ground {
    pub(super) fn new() -> Ground {
        Ground(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("search.db")
    }

    pub(super) fn sink(&self) -> Box<dyn Sink> {
        let config: Config = serde_json::from_value(json!({ "path": self.path() })).unwrap();
        config
            .build(&Context::for_tests(Kind::Sink, "sqlite"))
            .unwrap()
    }

    pub(super) fn writer(&self) -> Writer {
        Writer::new(self.path(), true)
    }

    pub(super) fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }

    /// The numbers of the events that are found, the oldest first.
    pub(super) fn found(&self, filter: &Filter, limit: usize) -> Vec<u64> {
        let mut found = Vec::new();
        let each = &mut |row: &Row| {
            found.push(row.id.0[1]);
            true
        };
        self.reader().rows(filter, limit, each).unwrap();
        found
    }
}

/// Event number `n`, half a minute after the one before, with what `more` says.
pub(super) fn event(n: u64, more: Json) -> Event {
    super::columns::Names::new();
    let midnight = pipeline::Time::parse("2026-03-14T00:00:00Z").unwrap();
    let time = pipeline::Time(midnight.0 + n as i64 * 30_000_000_000);
    let mut event = json!({
        "@timestamp": time.to_string(),
        "event": { "id": format!("{n:032x}") },
        "message": format!("event {n}"),
    });
    merge(&mut event, more);
    Event::from_json(event).unwrap()
}

fn merge(into: &mut Json, more: Json) {
    match (into, more) {
        (Json::Object(into), Json::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Json::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

pub(super) fn events(of: impl IntoIterator<Item = Event>) -> Events {
    Events::of(of.into_iter().collect())
}

#[tokio::test]
async fn an_event_is_stored_once_and_comes_back_whole() {
    let ground = Ground::new();
    let mut sink = ground.sink();
    let one = event(
        1,
        json!({ "user": { "id": "alice@pve" }, "source": { "ip": "192.0.2.1" }, "odd": { "key": [1, "x\ny", null] } }),
    );
    let whole = one.to_json();
    let written = sink
        .write(events([one.clone(), event(2, json!({}))]))
        .await
        .unwrap();
    assert_eq!((written.duplicates, written.bytes > 100), (0, true));
    // Twice in one batch, and in another: counted as delivered.
    let written = sink
        .write(events([one.clone(), event(3, json!({})), one]))
        .await
        .unwrap();
    assert_eq!(written.duplicates, 2);
    assert_eq!(ground.found(&Filter::default(), 0), [1, 2, 3]);
    let reader = ground.reader();
    let row = reader.find(&format!("{:032x}", 1), 2).unwrap().remove(0);
    let back: Json = serde_json::from_str(reader.bodies().json(&row).unwrap()).unwrap();
    assert_eq!(back, whole);
    for end in ["", "-wal", "-shm"] {
        let path = format!("{}{end}", ground.path().display());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}

#[tokio::test]
async fn many_events_lie_in_blocks_and_each_is_found_in_its_own() {
    let ground = Ground::new();
    let long = "x".repeat(3000);
    let all = (0..700).map(|n| event(n, json!({ "event": { "original": format!("{long}{n}") } })));
    ground.sink().write(events(all)).await.unwrap();
    let reader = ground.reader();
    let mut bodies = reader.bodies();
    let mut seen = 0;
    let each = &mut |row: &Row| {
        let body: Json = serde_json::from_str(bodies.json(row).unwrap()).unwrap();
        assert_eq!(body["message"], row.message);
        seen += 1;
        true
    };
    reader.rows(&Filter::default(), 0, each).unwrap();
    assert_eq!(seen, 700);
    let size = std::fs::metadata(ground.path()).unwrap().len();
    let log = std::fs::metadata(format!("{}-wal", ground.path().display()))
        .unwrap()
        .len();
    assert!(size + log < 700 * 3000 / 2, "{size} {log}");
}

#[tokio::test]
async fn a_reader_sees_one_moment_and_holds_nobody_up() {
    let ground = Ground::new();
    let mut sink = ground.sink();
    sink.write(events([event(1, json!({}))])).await.unwrap();
    let reader = ground.reader();
    for n in 2..50 {
        sink.write(events([event(n, json!({}))])).await.unwrap();
    }
    let mut rows = 0;
    let each = &mut |_: &Row| {
        rows += 1;
        true
    };
    reader.rows(&Filter::default(), 0, each).unwrap();
    assert_eq!(rows, 1);
    assert_eq!(ground.found(&Filter::default(), 0).len(), 49);
}

#[test]
fn a_path_that_names_no_file_is_refused() {
    let config: Config = serde_json::from_value(json!({ "path": "/var/lib/" })).unwrap();
    let errors = config
        .build(&Context::for_tests(Kind::Sink, "sqlite"))
        .err()
        .unwrap();
    assert!(errors.to_string().contains("names no file"), "{errors}");
    assert!(serde_json::from_value::<Config>(json!({ "survives": "everything" })).is_err());
}
