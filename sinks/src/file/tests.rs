//! The file sink on a real file system.

use std::os::unix::fs::PermissionsExt;

use pipeline::{Event, Kind};
use serde_json::json;

use super::*;

struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn sink(&self, name: &str, more: serde_json::Value) -> Box<dyn Sink> {
        let mut options = json!({ "path": self.path(name), "encoding": { "codec": "text" } });
        options
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        build(options).unwrap()
    }
}

fn build(options: serde_json::Value) -> Result<Box<dyn Sink>, BuildErrors> {
    let config: Config = serde_json::from_value(options).unwrap();
    config.build(&Context::for_tests(Kind::Sink, "file"))
}

fn events(lines: &[(&str, &str)]) -> Events {
    let event = |(n, (time, message)): (usize, &(&str, &str))| {
        Event::from_json(json!({ "@timestamp": time, "event": { "id": format!("{n:032x}") }, "message": message })).unwrap()
    };
    Events::of(lines.iter().enumerate().map(event).collect())
}

fn day(messages: &[&str]) -> Events {
    events(
        &messages
            .iter()
            .map(|m| ("2026-03-14T10:00:00Z", *m))
            .collect::<Vec<_>>(),
    )
}

#[tokio::test]
async fn each_event_lies_in_the_file_of_its_day_and_only_its_owner_reads_it() {
    let ground = Ground::new();
    let mut sink = ground.sink("a/%Y-%m-%d.log", json!({}));
    let batch = events(&[
        ("2026-03-14T23:59:59Z", "one"),
        ("2026-03-15T00:00:00Z", "two"),
        ("2026-03-14T01:00:00Z", "three"),
    ]);
    assert_eq!(sink.write(batch.clone()).await.unwrap().bytes, 14);
    sink.write(batch).await.unwrap();
    assert_eq!(ground.text("a/2026-03-14.log"), "one\nthree\none\nthree\n");
    assert_eq!(ground.text("a/2026-03-15.log"), "two\ntwo\n");
    let mode = std::fs::metadata(ground.path("a/2026-03-14.log"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn json_and_logfmt_are_lines_too() {
    let ground = Ground::new();
    let mut sink = ground.sink(
        "j",
        json!({ "encoding": { "codec": "json", "only_fields": ["message"] } }),
    );
    sink.write(day(&["a\nb"])).await.unwrap();
    assert_eq!(ground.text("j"), "{\"message\":\"a\\nb\"}\n");
    let mut sink = ground.sink(
        "l",
        json!({ "encoding": { "codec": "logfmt", "only_fields": ["message"] } }),
    );
    sink.write(day(&["a b"])).await.unwrap();
    assert_eq!(ground.text("l"), "message=\"a b\"\n");
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_before_anything_is_added() {
    let ground = Ground::new();
    for (before, after) in [
        ("one\ntw", "one\nnew\n"),
        ("one\n", "one\nnew\n"),
        ("on", "new\n"),
        ("", "new\n"),
    ] {
        std::fs::write(ground.path("f"), before).unwrap();
        ground
            .sink("f", json!({}))
            .write(day(&["new"]))
            .await
            .unwrap();
        assert_eq!(ground.text("f"), after, "{before:?}");
    }
    let long = format!("one\n{}", "x".repeat(200_000));
    std::fs::write(ground.path("f"), long).unwrap();
    ground
        .sink("f", json!({}))
        .write(day(&["new"]))
        .await
        .unwrap();
    assert_eq!(ground.text("f"), "one\nnew\n");
}

#[tokio::test]
async fn a_file_of_others_is_left_alone() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), "PK\x03\x04").unwrap();
    let result = ground
        .sink("f", json!({ "encoding": { "codec": "json" } }))
        .write(day(&["new"]))
        .await;
    assert!(
        matches!(&result, Err(WriteError::Retry { reason, .. }) if reason.text.contains("no line of ours")),
        "{result:?}"
    );
    assert_eq!(ground.text("f"), "PK\x03\x04");
}

#[test]
fn a_full_disk_leaves_no_half_line_and_the_rest_waits() {
    let ground = Ground::new();
    let mut log = Log::open(&ground.path("f"), 0o600, None).unwrap();
    log.append(b"one\n", &Rotation::default()).unwrap();
    log.room = Some(7);
    let why = log
        .append(b"two\nthree\n", &Rotation::default())
        .unwrap_err();
    assert_eq!(ground.text("f"), "one\n");
    let text = log::explain(&ground.path("f"), &why);
    assert!(
        text.contains("the disk is full") && text.contains("wait"),
        "{text}"
    );
    log.room = None;
    log.append(b"two\nthree\n", &Rotation::default()).unwrap();
    assert_eq!(ground.text("f"), "one\ntwo\nthree\n");
}

#[tokio::test]
async fn what_cannot_be_written_is_tried_again_and_what_could_is_not() {
    let ground = Ground::new();
    std::fs::create_dir(ground.path("2026-03-15")).unwrap();
    let mut sink = ground.sink("%Y-%m-%d", json!({}));
    let batch = events(&[
        ("2026-03-14T10:00:00Z", "one"),
        ("2026-03-15T10:00:00Z", "two"),
        ("2026-03-16T10:00:00Z", "three"),
    ]);
    match sink.write(batch).await {
        Err(WriteError::Partly(fates, written)) => {
            assert_eq!(written.bytes, 4);
            assert_eq!(fates.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2]);
            assert!(
                matches!(&fates[0].1, Fate::Retry(r) if r.kind == ReasonKind::Disk && r.text.contains("is a folder"))
            );
        }
        other => panic!("{other:?}"),
    }
    let mut other = ground.sink("2026-03-15", json!({}));
    assert!(matches!(
        other.write(day(&["x"])).await,
        Err(WriteError::Retry { .. })
    ));
}

#[tokio::test]
async fn a_file_that_would_become_too_large_is_renamed() {
    let ground = Ground::new();
    let mut sink = ground.sink("f", json!({ "rotate": { "max_size": "10B", "keep": 2 } }));
    for n in 0..5 {
        sink.write(day(&[&format!("line {n}")])).await.unwrap();
    }
    assert_eq!(ground.text("f"), "line 4\n");
    assert_eq!(ground.text("f.1"), "line 3\n");
    assert_eq!(ground.text("f.2"), "line 2\n");
    assert!(!ground.path("f.3").exists());
    // More than fits at all goes into one file, whole.
    sink.write(day(&["a line of more than ten bytes"]))
        .await
        .unwrap();
    assert_eq!(ground.text("f"), "a line of more than ten bytes\n");
}

#[tokio::test]
async fn a_file_renamed_by_others_is_left_to_them() {
    let ground = Ground::new();
    let mut sink = ground.sink("f", json!({}));
    sink.write(day(&["one"])).await.unwrap();
    std::fs::rename(ground.path("f"), ground.path("old")).unwrap();
    sink.write(day(&["two"])).await.unwrap();
    // Somebody else's half line, added behind ours, is no reason to write onto it.
    std::fs::write(ground.path("f"), "two\nhal").unwrap();
    sink.write(day(&["three"])).await.unwrap();
    assert_eq!(
        (ground.text("old"), ground.text("f")),
        ("one\n".to_owned(), "two\nthree\n".to_owned())
    );
}

#[tokio::test]
async fn two_writers_do_not_share_a_file() {
    let ground = Ground::new();
    let mut first = ground.sink("f", json!({}));
    first.write(day(&["one"])).await.unwrap();
    let mut second = ground.sink("f", json!({}));
    let result = second.write(day(&["two"])).await;
    assert!(
        matches!(&result, Err(WriteError::Retry { reason, .. }) if reason.text.contains("another")),
        "{result:?}"
    );
    drop(first);
    second.write(day(&["two"])).await.unwrap();
    assert_eq!(ground.text("f"), "one\ntwo\n");
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let errors = build(json!({
        "path": "/x/", "encoding": { "codec": "pretty" }, "mode": "0200", "rotate": { "keep": 1 },
    }));
    let errors = errors.err().unwrap().to_string();
    for key in ["path", "encoding.codec", "rotate.keep", "mode"] {
        assert!(errors.contains(key), "{key} in:\n{errors}");
    }
    assert!(
        build(json!({ "path": "/x/%Q" }))
            .err()
            .unwrap()
            .to_string()
            .contains("%Q")
    );
}
