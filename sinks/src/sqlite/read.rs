//! Reads a store, also while it is being written: one snapshot for each reader, nothing is ever written or locked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pipeline::{EventId, Time};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params, params_from_iter};

use super::blocks::Unpacker;
use super::columns::id_bytes;
use super::filter::{Filter, Plan, indexed};
use super::resolve::distinct;
use super::rows::{ChangeRow, Row, Sample, State, id_of};
use super::schema;
use super::trouble::{Trouble, TroubleKind};

/// A store as it was when it was opened.
pub struct Reader {
    pub(super) path: PathBuf,
    pub(super) db: Connection,
}

/// What a store knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Users, as events name them.
    Users,
    /// Nodes.
    Nodes,
}

/// Whole events. Neighbours are unpacked together, so one of these is for one walk.
pub struct Bodies<'a> {
    reader: &'a Reader,
    unpacker: Unpacker,
}

impl Bodies<'_> {
    /// The whole event of a row, as JSON.
    pub fn json(&mut self, row: &Row) -> Result<&str, Trouble> {
        match self.unpacker.line(&self.reader.db, row.block, row.place) {
            Ok(line) => Ok(line),
            Err(why) => Err(Trouble::of(&self.reader.path, &why)),
        }
    }
}

impl Reader {
    /// Opens a store for reading; what is written later is not seen.
    pub fn open(path: &Path) -> Result<Reader, Trouble> {
        match std::fs::metadata(path) {
            Ok(file) if file.is_file() => {}
            Ok(_) => {
                return Err(Trouble::new(
                    TroubleKind::Foreign,
                    format!("{}: is no file", path.display()),
                ));
            }
            Err(why) => return Err(Trouble::io(path, &why)),
        }
        let trouble = |why: rusqlite::Error| Trouble::of(path, &why);
        let db = Reader::connect(path).map_err(trouble)?;
        let version = schema::recognise(&db, path)?;
        if version < schema::VERSION {
            let text = match version {
                0 => "holds nothing yet".to_owned(),
                _ => format!(
                    "was written by an older pvetrail (schema {version}); the next start of `pvetrail run` brings it up to date"
                ),
            };
            return Err(Trouble::new(
                TroubleKind::Missing,
                format!("{}: {text}", path.display()),
            ));
        }
        // From here on, the snapshot.
        db.execute_batch("BEGIN; SELECT count(*) FROM notes;")
            .map_err(trouble)?;
        Ok(Reader {
            path: path.to_owned(),
            db,
        })
    }

    fn connect(path: &Path) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = |db: rusqlite::Result<Connection>| -> rusqlite::Result<Connection> {
            let db = db?;
            db.busy_timeout(Duration::from_secs(5))?;
            db.execute_batch(
                "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -16384;",
            )?;
            // The first look at the file itself.
            db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))?;
            Ok(db)
        };
        let tried = open(Connection::open_with_flags(path, flags));
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        match tried {
            // A store that nobody writes, in a folder where we may make no file: it cannot change either.
            Err(_) if !Path::new(&log).exists() => {
                let mut uri = String::from("file:");
                for byte in path.as_os_str().as_encoded_bytes() {
                    match byte {
                        b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
                        _ if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
                        _ => uri.push_str(&format!("%{byte:02x}")),
                    }
                }
                uri.push_str("?immutable=1");
                open(Connection::open_with_flags(
                    uri,
                    flags | OpenFlags::SQLITE_OPEN_URI,
                ))
            }
            other => other,
        }
    }

    pub(super) fn trouble(&self, why: &rusqlite::Error) -> Trouble {
        Trouble::of(&self.path, why)
    }

    /// Gives the rows the filter lets through to `each`, in the order of (time, id), until it says `false`. With a limit (not
    /// 0) they are the newest. True if there are more than `limit`.
    pub fn rows(
        &self,
        filter: &Filter,
        limit: usize,
        each: &mut dyn FnMut(&Row) -> bool,
    ) -> Result<bool, Trouble> {
        self.try_rows(filter, limit, each)
            .map_err(|why| self.trouble(&why))
    }

    fn try_rows(
        &self,
        filter: &Filter,
        limit: usize,
        each: &mut dyn FnMut(&Row) -> bool,
    ) -> rusqlite::Result<bool> {
        let plan = filter.plan(&self.db)?;
        if limit == 0 {
            self.stream(&plan, each)?;
            return Ok(false);
        }
        let mut rows = self.newest(&plan, limit.saturating_add(1))?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        for row in rows.iter().rev() {
            if !each(row) {
                break;
            }
        }
        Ok(more)
    }

    /// The newest `limit` rows, the newest first.
    fn newest(&self, plan: &Plan, limit: usize) -> rusqlite::Result<Vec<Row>> {
        let mut rows: Vec<Row> = Vec::new();
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        for (walk, params) in &plan.walks {
            let sql = format!(
                "SELECT {} FROM events {} WHERE {walk} AND {} ORDER BY time DESC, id DESC LIMIT {most}",
                Row::COLUMNS,
                indexed(plan.index),
                plan.all
            );
            let mut statement = self.db.prepare(&sql)?;
            let mut found = statement.query(params_from_iter(params.iter().chain(&plan.params)))?;
            while let Some(row) = found.next()? {
                let mut owned = Row::default();
                owned.load(row)?;
                rows.push(owned);
            }
            if plan.walks.len() > 1 {
                rows.sort_unstable_by_key(|row| std::cmp::Reverse((row.millis, row.id)));
                // A row can be met on two ways.
                rows.dedup_by_key(|row| row.seq);
                rows.truncate(limit);
            }
        }
        Ok(rows)
    }

    /// All rows, the oldest first.
    fn stream(&self, plan: &Plan, each: &mut dyn FnMut(&Row) -> bool) -> rusqlite::Result<()> {
        if plan.walks.len() != 1 && plan.is_small() {
            let rows = self.newest(plan, usize::MAX)?;
            rows.iter().rev().all(each);
            return Ok(());
        }
        let no_walk = ("1".to_owned(), Vec::new());
        let (index, (walk, params)) = match plan.walks.as_slice() {
            [walk] => (plan.index, walk),
            // Several ways give no order: through time, then.
            _ => ("events_time", &no_walk),
        };
        let sql = format!(
            "SELECT {} FROM events {} WHERE {walk} AND {} ORDER BY time, id",
            Row::COLUMNS,
            indexed(index),
            plan.all
        );
        let mut statement = self.db.prepare(&sql)?;
        let mut found = statement.query(params_from_iter(params.iter().chain(&plan.params)))?;
        let mut held = Row::default();
        while let Some(row) = found.next()? {
            held.load(row)?;
            if !each(&held) {
                break;
            }
        }
        Ok(())
    }

    /// At most `most` events whose id begins with these hexadecimal digits.
    pub fn find(&self, beginning: &str, most: usize) -> Result<Vec<Row>, Trouble> {
        let digits = beginning.trim().to_ascii_lowercase();
        if digits.is_empty()
            || digits.len() > 32
            || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        {
            return Err(Trouble::new(
                TroubleKind::Question,
                format!("`{beginning}` is no beginning of an id: at most 32 of 0-9 and a-f"),
            ));
        }
        let edge = |fill: char| {
            let whole: String = digits
                .chars()
                .chain(std::iter::repeat(fill))
                .take(32)
                .collect();
            EventId::parse(&whole).map_or([0; 16], id_bytes)
        };
        self.some(
            "INDEXED BY events_id WHERE id BETWEEN ? AND ? ORDER BY id",
            vec![Value::Blob(edge('0').into()), Value::Blob(edge('f').into())],
            most,
        )
    }

    /// The events with these ids that are there.
    pub fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Row>, Trouble> {
        let mut rows = Vec::new();
        for id in ids {
            let params = vec![Value::Blob(id_bytes(*id).into())];
            rows.extend(self.some("INDEXED BY events_id WHERE id = ?", params, 1)?);
        }
        rows.sort_unstable_by_key(|row| (row.millis, row.id));
        Ok(rows)
    }

    /// The events that name this one as their evidence or among their links.
    pub fn linked_from(&self, id: EventId, most: usize) -> Result<Vec<Row>, Trouble> {
        self.some(
            "WHERE seq IN (SELECT event FROM links WHERE other = ?) ORDER BY time, id",
            vec![Value::Blob(id_bytes(id).into())],
            most,
        )
    }

    /// The events of one task.
    pub fn of_task(&self, upid: &str, most: usize) -> Result<Vec<Row>, Trouble> {
        self.some(
            "INDEXED BY events_upid WHERE upid = ? ORDER BY time, id",
            vec![Value::from(upid.to_owned())],
            most,
        )
    }

    fn some(&self, rest: &str, params: Vec<Value>, most: usize) -> Result<Vec<Row>, Trouble> {
        let work = || -> rusqlite::Result<Vec<Row>> {
            let sql = format!("SELECT {} FROM events {rest} LIMIT {most}", Row::COLUMNS);
            let mut statement = self.db.prepare_cached(&sql)?;
            let mut found = statement.query(params_from_iter(params))?;
            let mut rows = Vec::new();
            while let Some(row) = found.next()? {
                let mut owned = Row::default();
                owned.load(row)?;
                rows.push(owned);
            }
            Ok(rows)
        };
        work().map_err(|why| self.trouble(&why))
    }

    /// Whole events, while rows are walked.
    pub fn bodies(&self) -> Bodies<'_> {
        Bodies {
            reader: self,
            unpacker: Unpacker::default(),
        }
    }

    /// What the event of a row changed.
    pub fn changes(&self, row: &Row) -> Result<Vec<ChangeRow>, Trouble> {
        let work = || -> rusqlite::Result<Vec<ChangeRow>> {
            let mut statement = self.db.prepare_cached(
                "SELECT object_type, object_id, key, op, old, new, redacted FROM changes WHERE event = ?1 ORDER BY place",
            )?;
            let text = |text: Option<String>| text.unwrap_or_default();
            statement
                .query_map([row.seq], |row| {
                    Ok(ChangeRow {
                        object_type: text(row.get(0)?),
                        object_id: text(row.get(1)?),
                        key: row.get(2)?,
                        op: text(row.get(3)?),
                        old: row.get(4)?,
                        new: row.get(5)?,
                        redacted: row.get(6)?,
                    })
                })?
                .collect()
        };
        work().map_err(|why| self.trouble(&why))
    }

    /// What an object was like, the oldest state first.
    pub fn history(&self, kind: &str, id: &str) -> Result<Vec<State>, Trouble> {
        let time = |millis: i64| Time(millis.saturating_mul(1_000_000));
        let json = |text: String| serde_json::from_str(&text).unwrap_or_default();
        let work = || -> rusqlite::Result<Vec<State>> {
            let mut statement = self.db.prepare_cached(
                "SELECT valid_from, valid_to, gone, delta, state, (SELECT id FROM events WHERE seq = event)
                 FROM objects WHERE object_type = ?1 AND object_id = ?2 ORDER BY valid_from, event",
            )?;
            statement
                .query_map([kind, id], |row| {
                    Ok(State {
                        object_type: kind.to_owned(),
                        object_id: id.to_owned(),
                        valid_from: time(row.get(0)?),
                        valid_to: row.get::<_, Option<i64>>(1)?.map(time),
                        gone: row.get(2)?,
                        delta: json(row.get(3)?),
                        state: json(row.get(4)?),
                        event: row.get::<_, Option<Vec<u8>>>(5)?.map(|id| id_of(&id)),
                    })
                })?
                .collect()
        };
        let mut states = work().map_err(|why| self.trouble(&why))?;
        // What came late can make of a row behind it the same once more.
        states.dedup_by(|later, state| {
            let same = (later.gone, &later.state) == (state.gone, &state.state);
            if same {
                state.valid_to = later.valid_to;
            }
            same
        });
        Ok(states)
    }

    /// The latest `most` samples of an object's resources, the oldest first.
    pub fn samples(&self, kind: &str, id: &str, most: usize) -> Result<Vec<Sample>, Trouble> {
        let work = || -> rusqlite::Result<Vec<Sample>> {
            let mut statement = self.db.prepare_cached(
                "SELECT time, node, status, cpu, mem, disk, uptime FROM samples
                 WHERE object_type = ?1 AND object_id = ?2 ORDER BY time DESC LIMIT ?3",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let mut rows: Vec<Sample> = statement
                .query_map(params![kind, id, most], |row| {
                    Ok(Sample {
                        time: Time(row.get::<_, i64>(0)?.saturating_mul(1_000_000)),
                        node: row.get(1)?,
                        status: row.get(2)?,
                        cpu: row.get(3)?,
                        mem: row.get(4)?,
                        disk: row.get(5)?,
                        uptime: row.get(6)?,
                    })
                })?
                .collect::<Result<_, _>>()?;
            rows.reverse();
            Ok(rows)
        };
        work().map_err(|why| self.trouble(&why))
    }

    /// The types under which an object of this id has states.
    pub fn types_of(&self, id: &str) -> Result<Vec<String>, Trouble> {
        let work = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.db.prepare_cached(
                "SELECT DISTINCT object_type FROM objects WHERE object_id = ?1 ORDER BY 1",
            )?;
            statement.query_map([id], |row| row.get(0))?.collect()
        };
        work().map_err(|why| self.trouble(&why))
    }

    /// The names the store knows, sorted; `None` if they are too many to be looked at.
    pub fn names(&self, known: Known) -> Result<Option<Vec<String>>, Trouble> {
        let (column, index) = match known {
            Known::Users => ("user", "events_user"),
            Known::Nodes => ("node", "events_node"),
        };
        distinct(&self.db, column, index, "").map_err(|why| self.trouble(&why))
    }

    /// The times of the oldest and the newest event, if there is one.
    pub fn span(&self) -> Result<Option<(Time, Time)>, Trouble> {
        let work = || -> rusqlite::Result<Option<(Time, Time)>> {
            let edge = |way: &str| -> rusqlite::Result<Option<i64>> {
                let sql = format!("SELECT {way}(time) FROM events");
                self.db.query_row(&sql, [], |row| row.get(0))
            };
            let time = |millis: i64| Time(millis.saturating_mul(1_000_000));
            Ok(edge("min")?
                .zip(edge("max")?)
                .map(|(a, b)| (time(a), time(b))))
        };
        work().map_err(|why| self.trouble(&why))
    }
}
