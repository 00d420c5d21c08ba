//! What goes wrong: the events wait, and the words say what to do.

use pipeline::{ReasonKind, WriteError, Written};
use rusqlite::Connection;

use super::*;

/// Version 1 as it was, with two events.
const VERSION_1: &str = "
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, id BLOB NOT NULL,
    code TEXT, action TEXT, outcome TEXT, severity INTEGER, kind TEXT, record TEXT, origin TEXT,
    user TEXT, source TEXT, source_basis TEXT, candidates TEXT,
    object_type TEXT, object_id TEXT, object_name TEXT, vmid INTEGER, node TEXT,
    upid TEXT, reason TEXT, message TEXT, block INTEGER NOT NULL, place INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_id ON events (id);
CREATE INDEX events_time ON events (time);
CREATE INDEX events_code ON events (code, time) WHERE code IS NOT NULL;
CREATE INDEX events_user ON events (user, time) WHERE user IS NOT NULL;
CREATE INDEX events_source ON events (source, time) WHERE source IS NOT NULL;
CREATE INDEX events_object ON events (object_type, object_id, time) WHERE object_id IS NOT NULL;
CREATE INDEX events_vmid ON events (vmid, time) WHERE vmid IS NOT NULL;
CREATE INDEX events_node ON events (node, time) WHERE node IS NOT NULL;
CREATE INDEX events_failed ON events (time) WHERE outcome = 'failure';
CREATE INDEX events_upid ON events (upid) WHERE upid IS NOT NULL;
CREATE TABLE blocks (block INTEGER PRIMARY KEY, size INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE changes (
    event INTEGER NOT NULL, place INTEGER NOT NULL,
    object_type TEXT, object_id TEXT, key TEXT NOT NULL, op TEXT, old TEXT, new TEXT, redacted INTEGER NOT NULL,
    PRIMARY KEY (event, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX changes_object ON changes (object_type, object_id, key);
CREATE TABLE links (other BLOB NOT NULL, event INTEGER NOT NULL, PRIMARY KEY (other, event)) STRICT, WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
INSERT INTO events (time, id, user, message, block, place)
SELECT 1000 * n, unhex(printf('%032x', n)), 'alice@pve', 'the disk of guest ' || n || ' is full', 1, 0 FROM n;
PRAGMA application_id = 1347831124;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
";

#[tokio::test]
async fn a_store_of_version_1_becomes_one_of_this_version_while_it_is_read() {
    let ground = Ground::new();
    let old = Connection::open(ground.path()).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    drop(old);
    // Only a newer program could have asked; it says what helps.
    let why = Reader::open(&ground.path()).err().unwrap();
    assert!(why.text.contains("older pvetrail (schema 1)"), "{why}");
    let reading = Connection::open(ground.path()).unwrap();
    let count = |db: &Connection| -> i64 {
        db.query_row("SELECT count(*) FROM events", [], |row| row.get(0))
            .unwrap()
    };
    reading.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&reading), 50_000);
    let mut sink = ground.sink();
    let written = sink
        .write(events([event(3, json!({})), event(60_000, json!({}))]))
        .await;
    let Ok(Written { duplicates: 1, .. }) = written else {
        panic!("{written:?}")
    };
    // The reader still sees what it saw, and was asked to wait for nothing.
    assert_eq!(count(&reading), 50_000);
    let text = Filter {
        text: Some("guest 49999".to_owned()),
        ..Filter::default()
    };
    assert_eq!(ground.found(&text, 10), [49_999]);
    let both = Filter {
        text: Some("event".to_owned()),
        ..Filter::default()
    };
    assert_eq!(ground.found(&both, 10), [60_000]);
    let notes: i64 = Connection::open(ground.path())
        .unwrap()
        .query_row("SELECT count(*) FROM notes", [], |row| row.get(0))
        .unwrap();
    assert_eq!(notes, 0, "the work of the step is done");
    let named = Filter {
        users: vec!["alice@pve!ci".to_owned()],
        ..Filter::default()
    };
    let token = json!({ "user": { "id": "alice@pve" }, "pve": { "token": { "id": "ci" } } });
    sink.write(events([event(60_001, token)])).await.unwrap();
    assert_eq!(ground.found(&named, 10), [60_001]);
    assert_eq!(schema::VERSION, 3, "a new version wants a test of its step");
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_step_is_made_good() {
    let ground = Ground::new();
    let old = Connection::open(ground.path()).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    // As it stands after the structure and the first chunk.
    let mut sink = ground.sink();
    sink.write(events([])).await.unwrap();
    old.execute_batch(
        "DELETE FROM words; INSERT INTO words (words) VALUES ('delete-all');
         INSERT INTO words (rowid, message, user, object_id, object_name)
         SELECT seq, message, user, object_id, object_name FROM events WHERE seq <= 20000;
         INSERT INTO notes VALUES ('words_from', 50000), ('words_next', 20000);",
    )
    .unwrap();
    drop(sink);
    ground.sink().write(events([])).await.unwrap();
    let text = |words: &str| Filter {
        text: Some(words.to_owned()),
        ..Filter::default()
    };
    assert_eq!(ground.found(&text("guest 20001"), 10), [20_001]);
    assert_eq!(ground.found(&text("guest 7"), 10), [7]);
}

fn refused(result: &Result<Written, WriteError>) -> (ReasonKind, String) {
    match result {
        Err(WriteError::Retry { reason, .. }) => (reason.kind, reason.text.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_newer_store_and_the_file_of_another_program_are_left_alone() {
    let ground = Ground::new();
    ground
        .sink()
        .write(events([event(1, json!({}))]))
        .await
        .unwrap();
    let db = Connection::open(ground.path()).unwrap();
    db.execute_batch("PRAGMA user_version = 99").unwrap();
    let (kind, text) = refused(&ground.sink().write(events([event(2, json!({}))])).await);
    assert_eq!(kind, ReasonKind::Blocked);
    assert!(text.contains("newer pvetrail (schema 99"), "{text}");
    let why = Reader::open(&ground.path()).err().unwrap();
    assert_eq!(why.kind, TroubleKind::Newer);
    db.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 0;")
        .unwrap();
    let (_, text) = refused(&ground.sink().write(events([event(2, json!({}))])).await);
    assert!(text.contains("of another program"), "{text}");
}

#[tokio::test]
async fn a_damaged_file_is_told_and_the_events_wait_until_it_is_moved_away() {
    let ground = Ground::new();
    std::fs::write(ground.path(), vec![b'x'; 5000]).unwrap();
    let mut sink = ground.sink();
    let batch = events([event(1, json!({}))]);
    let (kind, text) = refused(&sink.write(batch.clone()).await);
    assert_eq!(kind, ReasonKind::Blocked);
    assert!(text.contains("damaged or no store"), "{text}");
    assert_eq!(
        Reader::open(&ground.path()).err().unwrap().kind,
        TroubleKind::Damaged
    );
    std::fs::remove_file(ground.path()).unwrap();
    sink.write(batch).await.unwrap();
    assert_eq!(ground.found(&Filter::default(), 0), [1]);
}

#[tokio::test]
async fn pages_that_were_overwritten_are_told_by_writer_and_reader() {
    let ground = Ground::new();
    let mut sink = ground.sink();
    sink.write(events((0..3000).map(|n| event(n, json!({})))))
        .await
        .unwrap();
    drop(sink);
    // The log is written back, then the middle of the file is overwritten.
    let db = Connection::open(ground.path()).unwrap();
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(db);
    let mut bytes = std::fs::read(ground.path()).unwrap();
    let length = bytes.len();
    bytes[8192..length].fill(0xa5);
    std::fs::write(ground.path(), bytes).unwrap();
    let (kind, text) = refused(&ground.sink().write(events([event(5000, json!({}))])).await);
    assert_eq!(kind, ReasonKind::Blocked);
    assert!(text.contains("damaged"), "{text}");
}

#[test]
fn a_full_disk_takes_all_of_a_batch_or_nothing() {
    let ground = Ground::new();
    let mut writer = ground.writer();
    writer.write(&events([event(1, json!({}))])).unwrap();
    let db = &writer.open.as_ref().unwrap().db;
    let pages: i64 = db
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    db.query_row(
        &format!("PRAGMA max_page_count = {}", pages + 3),
        [],
        |row| row.get::<_, i64>(0),
    )
    .unwrap();
    let many = events((2..2000).map(|n| event(n, json!({ "user": { "id": format!("u{n}") } }))));
    let (kind, text) = refused(&writer.write(&many));
    assert_eq!(kind, ReasonKind::Disk);
    assert!(text.contains("the disk is full"), "{text}");
    assert_eq!(ground.found(&Filter::default(), 0), [1]);
    // There is room again.
    assert_eq!(writer.write(&many).unwrap().duplicates, 0);
    assert_eq!(ground.found(&Filter::default(), 0).len(), 1999);
}

#[test]
fn a_lock_of_another_process_is_waited_for_and_then_told() {
    let ground = Ground::new();
    let mut writer = ground.writer();
    writer.write(&events([event(1, json!({}))])).unwrap();
    let other = Connection::open(ground.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    writer
        .open
        .as_ref()
        .unwrap()
        .db
        .busy_timeout(std::time::Duration::from_millis(10))
        .unwrap();
    let (kind, text) = refused(&writer.write(&events([event(2, json!({}))])));
    assert_eq!(kind, ReasonKind::Busy);
    assert!(text.contains("another process"), "{text}");
    // Whoever reads is not concerned.
    assert_eq!(ground.found(&Filter::default(), 0), [1]);
    other.execute_batch("COMMIT").unwrap();
    writer.write(&events([event(2, json!({}))])).unwrap();
    assert_eq!(ground.found(&Filter::default(), 0), [1, 2]);
}

#[test]
fn a_file_that_was_moved_away_gets_no_more_events() {
    let ground = Ground::new();
    let mut writer = ground.writer();
    writer.write(&events([event(1, json!({}))])).unwrap();
    for end in ["", "-wal", "-shm"] {
        let path = format!("{}{end}", ground.path().display());
        std::fs::rename(&path, format!("{path}.away")).unwrap();
    }
    writer.write(&events([event(2, json!({}))])).unwrap();
    assert_eq!(ground.found(&Filter::default(), 0), [2]);
}

#[test]
fn a_store_in_a_folder_that_may_not_be_written_can_be_read() {
    let ground = Ground::new();
    ground
        .writer()
        .write(&events([event(1, json!({}))]))
        .unwrap();
    // Closed in order, so there is no log.
    assert!(!std::path::Path::new(&format!("{}-wal", ground.path().display())).exists());
    let before = std::fs::read(ground.path()).unwrap();
    assert_eq!(ground.found(&Filter::default(), 0), [1]);
    assert!(
        std::fs::read(ground.path()).unwrap() == before,
        "reading writes nothing"
    );
    let missing = Reader::open(&ground.path().with_extension("not"))
        .err()
        .unwrap();
    assert_eq!(missing.kind, TroubleKind::Missing);
    std::fs::write(ground.path().with_extension("empty"), "").unwrap();
    let empty = Reader::open(&ground.path().with_extension("empty"))
        .err()
        .unwrap();
    assert!(empty.text.contains("holds nothing yet"), "{empty}");
}

#[tokio::test]
async fn hostile_texts_are_kept_as_they_are_and_bounded_in_columns() {
    let ground = Ground::new();
    let long = "é".repeat(100_000);
    let odd = event(
        1,
        json!({
            "message": "a\u{0}b'; DROP TABLE events; --", "user": { "id": long },
            "pve": { "object": { "type": "vm\u{1b}[2J", "id": "\"104\" OR 1=1" }, "changes": ["no row", {"key": 7}, {"key": "k", "new": {"deep": 1}}] },
        }),
    );
    let whole = odd.to_json();
    ground.sink().write(events([odd])).await.unwrap();
    let reader = ground.reader();
    let row = reader.find("00", 2).unwrap().remove(0);
    assert!(row.user.len() <= 1024 && long.starts_with(&row.user));
    assert_eq!(row.object_id, "\"104\" OR 1=1");
    let back: Json = serde_json::from_str(reader.bodies().json(&row).unwrap()).unwrap();
    assert_eq!(back, whole);
    assert_eq!(
        reader.changes(&row).unwrap()[0].new.as_deref(),
        Some("{\"deep\":1}")
    );
    let words = Filter {
        text: Some("\" OR * NEAR( message:x ^ ) drop".to_owned()),
        ..Filter::default()
    };
    assert!(ground.found(&words, 10).is_empty());
}
