//! The tables of the store, and how a file of an earlier version becomes one of this version.
//!
//! A step changes the structure in one transaction; readers keep what they see. What a step has to work through row by row
//! is done afterwards in small transactions ([`fill`]), so that the log of the database stays small and a kill loses little.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::trouble::{Trouble, TroubleKind};

/// What this program writes.
pub(crate) const VERSION: i64 = 3;
/// `PVET` in the head of the file: it is ours.
pub(crate) const APPLICATION: i64 = 0x5056_4554;
/// Rows of one transaction while a step works through what is there.
const CHUNK: i64 = 20_000;
/// How long a lock of another process is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The log of the database is written back once it is this long, and cut to it [pages of 4 KiB]: a page that many batches
/// change is written once for all of them.
const LOG_PAGES: i64 = 16 << 10;
/// Pages kept in memory [KiB]: the ends of all indexes, for that is where new events go.
const CACHE: i64 = 24 << 10;

/// From an empty file to version 1, from 1 to 2, and so on.
const STEPS: &[&str] = &[FIRST, SECOND, THIRD];

/// Version 1: events, their changes, and whole events in compressed blocks.
const FIRST: &str = "
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    id BLOB NOT NULL,
    code TEXT, action TEXT, outcome TEXT, severity INTEGER, kind TEXT, record TEXT, origin TEXT,
    user TEXT, source TEXT, source_basis TEXT, candidates TEXT,
    object_type TEXT, object_id TEXT, object_name TEXT, vmid INTEGER, node TEXT,
    upid TEXT, reason TEXT, message TEXT,
    block INTEGER NOT NULL, place INTEGER NOT NULL
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
";

/// Version 2: full text, the states of objects, resource samples.
const SECOND: &str = "
CREATE VIRTUAL TABLE words USING fts5 (
    message, user, object_id, object_name, content = 'events', content_rowid = 'seq', tokenize = 'unicode61'
);
CREATE TABLE objects (
    object_type TEXT NOT NULL, object_id TEXT NOT NULL, valid_from INTEGER NOT NULL, valid_to INTEGER,
    event INTEGER NOT NULL, gone INTEGER NOT NULL, delta TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (object_type, object_id, valid_from, event)
) STRICT, WITHOUT ROWID;
CREATE TABLE samples (
    object_type TEXT NOT NULL, object_id TEXT NOT NULL, time INTEGER NOT NULL,
    node TEXT, status TEXT, cpu REAL, mem REAL, disk REAL, uptime INTEGER,
    PRIMARY KEY (object_type, object_id, time)
) STRICT, WITHOUT ROWID;
INSERT INTO notes (name, value) SELECT 'words_from', max(seq) FROM events HAVING max(seq) IS NOT NULL;
INSERT INTO notes (name, value) SELECT 'words_next', 0 WHERE EXISTS (SELECT 1 FROM notes WHERE name = 'words_from');
";

/// Version 3: the token somebody used, and whether a task begins or ends; empty for what an earlier version wrote.
const THIRD: &str = "
ALTER TABLE events ADD COLUMN token TEXT;
ALTER TABLE events ADD COLUMN phase TEXT;
";

/// Opens the store for writing: makes the file (0600) where there is none, and brings an older one up to this version.
pub(crate) fn open(path: &Path, durable: bool) -> Result<Connection, Trouble> {
    let trouble = |why: rusqlite::Error| Trouble::of(path, &why);
    make(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(trouble)?;
    db.busy_timeout(PATIENCE).map_err(trouble)?;
    recognise(&db, path)?;
    let synchronous = if durable { "FULL" } else { "NORMAL" };
    db.execute_batch(&format!(
        "PRAGMA trusted_schema = OFF; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
         PRAGMA cache_size = -{CACHE}; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = {LOG_PAGES};
         PRAGMA journal_size_limit = {};",
        LOG_PAGES * 4096
    ))
    .map_err(trouble)?;
    db.set_prepared_statement_cache_capacity(32);
    upgrade(&mut db, path)?;
    fill(&mut db).map_err(trouble)?;
    Ok(db)
}

/// An empty file that only its owner may read; SQLite gives its log the same mode.
fn make(path: &Path) -> Result<(), Trouble> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |why: std::io::Error| Trouble::io(path, &why);
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    match options.open(path) {
        Ok(file) => {
            file.sync_all().map_err(failed)?;
            // The name must be there after a power cut, as the rows in it will be.
            let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
            let folder = std::fs::File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
            folder.sync_all().map_err(failed)
        }
        Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(why) => Err(failed(why)),
    }
}

/// The version of a file of ours; 0 is an empty one.
pub(crate) fn recognise(db: &Connection, path: &Path) -> Result<i64, Trouble> {
    let trouble = |why: rusqlite::Error| Trouble::of(path, &why);
    let number = |pragma: &str| -> Result<i64, Trouble> {
        db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .map_err(trouble)
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION {
        let tables: i64 = db
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(trouble)?;
        if tables > 0 || application != 0 {
            return Err(Trouble::new(
                TroubleKind::Foreign,
                format!(
                    "{}: is the SQLite file of another program; name another file in `path`",
                    path.display()
                ),
            ));
        }
        return Ok(0);
    }
    if version > VERSION {
        return Err(Trouble::new(
            TroubleKind::Newer,
            format!(
                "{}: was written by a newer pvetrail (schema {version}, this one knows {VERSION}); \
                 run that one, or name another file in `path`",
                path.display()
            ),
        ));
    }
    Ok(version)
}

fn upgrade(db: &mut Connection, path: &Path) -> Result<(), Trouble> {
    let trouble = |why: rusqlite::Error| Trouble::of(path, &why);
    if recognise(db, path)? == VERSION {
        return Ok(());
    }
    let work = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(trouble)?;
    // Somebody else may have done it while we waited for the lock.
    let version = recognise(&work, path)?;
    let done = usize::try_from(version).unwrap_or(0);
    for step in STEPS.iter().skip(done) {
        work.execute_batch(step).map_err(trouble)?;
    }
    work.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
    ))
    .map_err(trouble)?;
    work.commit().map_err(trouble)?;
    if version > 0 {
        tracing::info!(
            "{}: brought from schema {version} to {VERSION}",
            path.display()
        );
    }
    Ok(())
}

/// Works through what a step left to do, a chunk a transaction.
fn fill(db: &mut Connection) -> rusqlite::Result<()> {
    loop {
        let work = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(last) = note(&work, "words_from")? else {
            return Ok(());
        };
        let next = note(&work, "words_next")?.unwrap_or(0);
        let to = next.saturating_add(CHUNK).min(last);
        work.execute(
            "INSERT INTO words (rowid, message, user, object_id, object_name)
             SELECT seq, message, user, object_id, object_name FROM events WHERE seq > ?1 AND seq <= ?2",
            [next, to],
        )?;
        if to >= last {
            work.execute(
                "DELETE FROM notes WHERE name IN ('words_from', 'words_next')",
                [],
            )?;
        } else {
            work.execute(
                "UPDATE notes SET value = ?1 WHERE name = 'words_next'",
                [to],
            )?;
        }
        work.commit()?;
        if to >= last {
            return Ok(());
        }
    }
}

fn note(db: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    db.query_row("SELECT value FROM notes WHERE name = ?1", [name], |row| {
        row.get(0)
    })
    .optional()
}
