use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use pipeline::{Context, Event, Events, Kind, Sink, SinkConfig, WriteError};
use serde_json::{Value as Json, json};

use super::*;

struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Ground {
        Ground(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("search.db")
    }

    fn sink(&self) -> Box<dyn Sink> {
        let config: Config = serde_json::from_value(json!({ "path": self.path() })).unwrap();
        config
            .build(&Context::for_tests(Kind::Sink, "sqlite"))
            .unwrap()
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }

    fn found(&self, filter: &Filter) -> Vec<String> {
        let mut found = Vec::new();
        self.reader()
            .rows(filter, 0, &mut |row| {
                found.push(row.message.clone());
                true
            })
            .unwrap();
        found
    }
}

/// An event: number `n`, minute `n` of a day, with what `more` says.
fn event(n: u64, more: Json) -> Event {
    let minute = n / 2;
    let mut event = json!({
        "@timestamp": format!("2026-03-14T{:02}:{:02}:{:02}Z", minute / 60, minute % 60, n % 2 * 30),
        "event": { "id": format!("{n:032x}") }, "message": format!("event {n}"),
    });
    merge(&mut event, more);
    super::columns::Names::new();
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

fn events(of: impl IntoIterator<Item = Event>) -> Events {
    Events::of(of.into_iter().collect())
}

#[tokio::test]
async fn an_event_is_stored_once_and_comes_back_whole() {
    let ground = Ground::new();
    let mut sink = ground.sink();
    let one = event(
        1,
        json!({ "user": { "id": "alice@pve" }, "source": { "ip": "192.0.2.1" } }),
    );
    let whole = one.to_json();
    let written = sink
        .write(events([one.clone(), event(2, json!({}))]))
        .await
        .unwrap();
    assert_eq!((written.duplicates, written.bytes > 100), (0, true));
    let written = sink
        .write(events([one, event(3, json!({}))]))
        .await
        .unwrap();
    assert_eq!(written.duplicates, 1);
    assert_eq!(
        ground.found(&Filter::default()),
        ["event 1", "event 2", "event 3"]
    );
    let reader = ground.reader();
    let row = reader.find(&format!("{:032x}", 1), 2).unwrap().remove(0);
    let back: Json = serde_json::from_str(reader.bodies().json(&row).unwrap()).unwrap();
    assert_eq!(back, whole);
    for end in ["", "-wal"] {
        let path = format!("{}{end}", ground.path().display());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    let refused = sink.write(events([event(4, json!({}))])).await;
    assert!(!matches!(refused, Err(WriteError::Refused { .. })));
}
