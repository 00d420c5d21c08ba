//! Writes events: one transaction for each batch.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use pipeline::{Event, Events, JsonWriter, WriteError, Written};
use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior, params};

use super::blocks::Blocks;
use super::columns::{self, Columns, Names};
use super::trouble::{Trouble, TroubleKind};
use super::{objects, schema};

/// The log of the database may grow to this while somebody reads; then it is said [bytes].
const LOG_LONG: u64 = 1 << 30;

const INSERT: &str = "INSERT INTO events (time, id, code, action, outcome, severity, kind, record, origin, user, source, \
    source_basis, candidates, object_type, object_id, object_name, vmid, node, upid, reason, message, block, place, token, phase) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25) \
    ON CONFLICT (id) DO NOTHING";

/// All of the sink but the trait: what runs where it may wait for a disk.
pub(super) struct Writer {
    path: PathBuf,
    durable: bool,
    names: Names,
    json: JsonWriter,
    pub(super) open: Option<Open>,
    told_long: bool,
}

pub(super) struct Open {
    pub(super) db: Connection,
    blocks: Blocks,
    /// Which file it is, to see when somebody moves it away.
    file: (u64, u64),
}

impl Writer {
    pub(super) fn new(path: PathBuf, durable: bool) -> Writer {
        Writer {
            path,
            durable,
            names: Names::new(),
            json: JsonWriter::new(None, None),
            open: None,
            told_long: false,
        }
    }

    pub(super) fn write(&mut self, events: &Events) -> Result<Written, WriteError> {
        self.try_write(events).map_err(|trouble| {
            // After a failure nobody knows what the connection still holds, so it is made anew.
            self.open = None;
            trouble.retry()
        })
    }

    fn try_write(&mut self, events: &Events) -> Result<Written, Trouble> {
        let mut open = match self.open.take() {
            Some(open) if self.in_place(&open) => open,
            _ => self.open()?,
        };
        let written = open
            .write(events, &self.names, &mut self.json)
            .map_err(|why| Trouble::of(&self.path, &why))?;
        self.look_at_log();
        self.open = Some(open);
        Ok(written)
    }

    fn open(&self) -> Result<Open, Trouble> {
        let failed = |why: std::io::Error| Trouble::io(&self.path, &why);
        let db = schema::open(&self.path, self.durable)?;
        let file = std::fs::metadata(&self.path).map_err(failed)?;
        Ok(Open {
            db,
            blocks: Blocks::new().map_err(failed)?,
            file: (file.dev(), file.ino()),
        })
    }

    /// Whether the path still leads to this very file: rows written into a file that has no name are lost.
    fn in_place(&self, open: &Open) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == open.file)
    }

    /// A reader that stays for hours keeps the log from being written back; that is nobody's fault, but it is said.
    fn look_at_log(&mut self) {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let long = std::fs::metadata(&log).is_ok_and(|log| log.len() > LOG_LONG);
        if long && !self.told_long {
            tracing::warn!(
                "{}: a reader has kept the log of the store from being written back; it is longer than 1 GiB",
                self.path.display()
            );
        }
        self.told_long = long;
    }
}

impl Open {
    fn write(
        &mut self,
        events: &Events,
        names: &Names,
        json: &mut JsonWriter,
    ) -> rusqlite::Result<Written> {
        let work = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last: i64 = work
            .prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?
            .query_row([], |row| row.get(0))?;
        self.blocks.begin(&work)?;
        let mut written = Written::default();
        let mut insert = work.prepare_cached(INSERT)?;
        for event in events.iter() {
            if !one(
                &work,
                &mut insert,
                &mut self.blocks,
                event,
                names,
                json,
                &mut written,
            )? {
                written.duplicates += 1;
            }
        }
        drop(insert);
        self.blocks.flush(&work)?;
        work.prepare_cached(
            "INSERT INTO words (rowid, message, user, object_id, object_name)
             SELECT seq, message, user, object_id, object_name FROM events WHERE seq > ?1",
        )?
        .execute([last])?;
        work.commit()?;
        Ok(written)
    }
}

/// Writes one event; false if it was there.
fn one(
    work: &Transaction<'_>,
    insert: &mut CachedStatement<'_>,
    blocks: &mut Blocks,
    event: &Event,
    names: &Names,
    json: &mut JsonWriter,
    written: &mut Written,
) -> rusqlite::Result<bool> {
    let row = Columns::of(event, names);
    let mut n = 0;
    let mut bind = |value: &dyn rusqlite::ToSql| {
        n += 1;
        insert.raw_bind_parameter(n, value)
    };
    bind(&row.time)?;
    bind(&row.id.as_slice())?;
    bind(&row.code)?;
    bind(&row.action)?;
    bind(&row.outcome)?;
    bind(&row.severity)?;
    bind(&row.kind)?;
    bind(&row.record)?;
    bind(&row.origin)?;
    bind(&row.user)?;
    bind(&row.source)?;
    bind(&row.basis)?;
    bind(&row.candidates)?;
    bind(&row.object_type)?;
    bind(&row.object_id)?;
    bind(&row.object_name)?;
    bind(&row.vmid)?;
    bind(&row.node)?;
    bind(&row.upid)?;
    bind(&row.reason)?;
    bind(&row.message)?;
    bind(&blocks.block)?;
    bind(&blocks.place)?;
    bind(&row.token)?;
    bind(&row.phase)?;
    if insert.raw_execute()? == 0 {
        return Ok(false);
    }
    let seq = work.last_insert_rowid();
    blocks.add(work, |out| {
        let before = out.len();
        json.write(event, out);
        written.bytes += (out.len() - before) as u64;
    })?;
    let changes = columns::changes(event, names);
    for (place, change) in changes.iter().enumerate() {
        work.prepare_cached(
            "INSERT INTO changes (event, place, object_type, object_id, key, op, old, new, redacted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            seq,
            place as i64,
            row.object_type,
            row.object_id,
            change.key,
            change.op,
            change.old,
            change.new,
            change.redacted
        ])?;
    }
    for other in columns::others(event, names) {
        work.prepare_cached("INSERT OR IGNORE INTO links (other, event) VALUES (?1, ?2)")?
            .execute(params![other.as_slice(), seq])?;
    }
    objects::take(work, seq, event, &row, &changes, names)?;
    Ok(true)
}

/// The trouble of a writer that is gone.
pub(super) fn lost() -> WriteError {
    Trouble::new(
        TroubleKind::Other,
        "the task that wrote has failed".to_owned(),
    )
    .retry()
}
