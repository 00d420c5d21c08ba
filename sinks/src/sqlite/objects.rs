//! What objects were like, and from when to when: fed by state events, by changes of the configuration, and by deletions.
//!
//! A row holds what an event said (`delta`; null: the key went away) and the whole state since (`state`), both JSON. An event
//! that comes late is put where it belongs, and the states after it are made anew.

use pipeline::{Event, ValueRef, fields};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value as Json};

use super::columns::{Change, Columns, Names, STATE};

/// Codes that end a guest; of their families only these mean it.
const DESTROYED: [&str; 2] = ["PVE-2002", "PVE-2102"];
/// Most rows made anew for one late event.
const MOST_LATE: usize = 10_000;

/// What an event says about an object.
struct Word {
    delta: Map<String, Json>,
    gone: bool,
}

/// Takes what the event says about its object into `objects` and `samples`.
pub(super) fn take(
    db: &Connection,
    seq: i64,
    event: &Event,
    columns: &Columns<'_>,
    changes: &[Change<'_>],
    names: &Names,
) -> rusqlite::Result<()> {
    let (Some(kind), Some(id)) = (columns.object_type, columns.object_id) else {
        return Ok(());
    };
    // What became of a call is not known where its outcome is not.
    if matches!(columns.outcome, Some("failure" | "unknown")) && columns.kind != Some("state") {
        return Ok(());
    }
    let state = columns.kind == Some("state");
    if state {
        sample(db, event, columns, (kind, id), names)?;
    }
    let Some(word) = word(event, columns, changes, names, state) else {
        return Ok(());
    };
    tell(db, seq, (kind, id), columns.time, &word)
}

fn word(
    event: &Event,
    columns: &Columns<'_>,
    changes: &[Change<'_>],
    names: &Names,
    state: bool,
) -> Option<Word> {
    let guest = matches!(columns.object_type, Some("vm" | "ct"));
    let observed = matches!(columns.origin, Some("config" | "api"));
    let gone = match columns.code {
        // A line about it may be of a call that came to nothing; its file, once gone, is gone.
        Some(code) if DESTROYED.contains(&code) => {
            columns.record != Some("evidence") || columns.origin == Some("config")
        }
        // The end of a snapshot or of a disk is told of the guest it belonged to.
        Some(_) if guest => false,
        _ => is_deletion(event, names) && (observed || (!guest && !changes.is_empty())),
    };
    let mut delta = Map::new();
    if state && names.state.iter().any(|field| event.has(*field)) {
        // It names all of them that hold; what it leaves out holds no longer.
        for (name, field) in STATE.iter().zip(names.state) {
            let value = event.get(field).map_or(Json::Null, ValueRef::to_json);
            delta.insert((*name).to_owned(), value);
        }
    }
    for change in changes {
        let value = match (&change.new, change.redacted) {
            (_, true) if change.op != Some("remove") => Json::from("[redacted]"),
            (Some(new), _) => Json::from(new.as_ref()),
            (None, _) => Json::Null,
        };
        delta.insert(change.key.to_owned(), value);
    }
    (gone || !delta.is_empty()).then_some(Word { delta, gone })
}

fn is_deletion(event: &Event, names: &Names) -> bool {
    match event.get(names.event_type) {
        Some(ValueRef::List(kinds)) => kinds
            .iter()
            .any(|kind| kind.as_ref().as_str() == Some("deletion")),
        Some(ValueRef::Str(kind)) => kind == "deletion",
        _ => false,
    }
}

/// The row before a point in time: its key, its state, whether the object was gone.
type Before = (i64, i64, String, bool);

fn tell(
    db: &Connection,
    seq: i64,
    (kind, id): (&str, &str),
    time: i64,
    word: &Word,
) -> rusqlite::Result<()> {
    let before: Option<Before> = db
        .prepare_cached(
            "SELECT valid_from, event, state, gone FROM objects WHERE object_type = ?1 AND object_id = ?2
             AND valid_from <= ?3 ORDER BY valid_from DESC, event DESC LIMIT 1",
        )?
        .query_row(params![kind, id, time], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let held = match &before {
        Some((_, _, state, false)) => parse(state),
        _ => Map::new(),
    };
    let was_gone = before.as_ref().is_some_and(|(.., gone)| *gone);
    let state = if word.gone {
        Map::new()
    } else {
        merged(held.clone(), &word.delta)
    };
    // The same again says nothing new.
    if before.is_some() && was_gone == word.gone && state == held {
        return Ok(());
    }
    let next: Option<i64> = db
        .prepare_cached(
            "SELECT min(valid_from) FROM objects WHERE object_type = ?1 AND object_id = ?2 AND valid_from > ?3",
        )?
        .query_row(params![kind, id, time], |row| row.get(0))?;
    if let Some((from, event, ..)) = before {
        db.prepare_cached(
            "UPDATE objects SET valid_to = ?5 WHERE object_type = ?1 AND object_id = ?2 AND valid_from = ?3 AND event = ?4",
        )?
        .execute(params![kind, id, from, event, time])?;
    }
    db.prepare_cached(
        "INSERT INTO objects (object_type, object_id, valid_from, valid_to, event, gone, delta, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        kind,
        id,
        time,
        next,
        seq,
        word.gone,
        text(&word.delta),
        text(&state)
    ])?;
    if next.is_some() {
        again(db, (kind, id), time, state)?;
    }
    Ok(())
}

/// Makes the states after `time` anew.
fn again(
    db: &Connection,
    (kind, id): (&str, &str),
    time: i64,
    mut state: Map<String, Json>,
) -> rusqlite::Result<()> {
    let mut later = db.prepare_cached(
        "SELECT valid_from, event, gone, delta FROM objects WHERE object_type = ?1 AND object_id = ?2 AND valid_from > ?3
         ORDER BY valid_from, event LIMIT ?4",
    )?;
    let rows: Vec<(i64, i64, bool, String)> = later
        .query_map(params![kind, id, time, MOST_LATE as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    for (from, event, gone, delta) in rows {
        state = if gone {
            Map::new()
        } else {
            merged(state, &parse(&delta))
        };
        db.prepare_cached(
            "UPDATE objects SET state = ?5 WHERE object_type = ?1 AND object_id = ?2 AND valid_from = ?3 AND event = ?4",
        )?
        .execute(params![kind, id, from, event, text(&state)])?;
    }
    Ok(())
}

fn merged(mut state: Map<String, Json>, delta: &Map<String, Json>) -> Map<String, Json> {
    for (key, value) in delta {
        if value.is_null() {
            state.remove(key);
        } else {
            state.insert(key.clone(), value.clone());
        }
    }
    state
}

fn parse(text: &str) -> Map<String, Json> {
    // It was written from a map.
    serde_json::from_str(text).unwrap_or_default()
}

fn text(map: &Map<String, Json>) -> String {
    serde_json::to_string(map).expect("a map of JSON values is valid JSON")
}

fn sample(
    db: &Connection,
    event: &Event,
    columns: &Columns<'_>,
    (kind, id): (&str, &str),
    names: &Names,
) -> rusqlite::Result<()> {
    let ratio = |field| match event.get(field) {
        Some(ValueRef::Float(ratio)) if ratio.is_finite() => Some(ratio),
        Some(ValueRef::Int(whole)) => Some(whole as f64),
        _ => None,
    };
    let (cpu, mem, disk) = (ratio(names.cpu), ratio(names.mem), ratio(names.disk));
    let uptime = event.get(names.uptime).and_then(ValueRef::as_int);
    if cpu.is_none() && mem.is_none() && disk.is_none() && uptime.is_none() {
        return Ok(());
    }
    let node = event.str(names.state[1]).or(event.str(fields::HOST_NAME));
    db.prepare_cached(
        "INSERT OR IGNORE INTO samples (object_type, object_id, time, node, status, cpu, mem, disk, uptime)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        kind,
        id,
        columns.time,
        node,
        event.str(names.state[0]),
        cpu,
        mem,
        disk,
        uptime
    ])?;
    Ok(())
}
