//! What the store itself knows about the words of a question, and the functions that check what no index can.

use std::cell::Cell;
use std::sync::Arc;

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OptionalExtension};

use super::filter::Hours;
use super::matching::Pattern;

/// Most values looked at for a pattern.
const MOST_LOOKED: usize = 20_000;

/// The values of a column that begin so, each once, by leaps through the index; `None` if they are too many.
pub(super) fn distinct(
    db: &Connection,
    column: &str,
    index: &str,
    beginning: &str,
) -> rusqlite::Result<Option<Vec<String>>> {
    let mut next = db.prepare(&format!(
        "SELECT {column} FROM events INDEXED BY {index} WHERE {column} > ?1 {} ORDER BY {column} LIMIT 1",
        if index == "events_object" { "AND object_id IS NOT NULL" } else { "" }
    ))?;
    let mut first = db.prepare(&format!(
        "SELECT {column} FROM events INDEXED BY {index} WHERE {column} >= ?1 {} ORDER BY {column} LIMIT 1",
        if index == "events_object" { "AND object_id IS NOT NULL" } else { "" }
    ))?;
    let mut values = Vec::new();
    let mut here: Option<String> = first.query_row([beginning], |row| row.get(0)).optional()?;
    while let Some(value) = here {
        if !value.starts_with(beginning) {
            break;
        }
        here = next.query_row([&value], |row| row.get(0)).optional()?;
        values.push(value);
        if values.len() > MOST_LOOKED {
            return Ok(None);
        }
    }
    Ok(Some(values))
}

/// Whether any event is about this object.
pub(super) fn is_there(db: &Connection, kind: &str, id: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM events INDEXED BY events_object WHERE object_type = ?1 AND object_id = ?2)",
    )?
    .query_row([kind, id], |row| row.get(0))
}

/// The functions conditions use: `fits` a pattern, `in_hours` of the day.
pub(super) fn offer_functions(
    db: &Connection,
    patterns: Vec<Vec<Pattern>>,
    hours: Option<Hours>,
) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let patterns = Arc::new(patterns);
    db.create_scalar_function("fits", 2, flags, move |cx| {
        let n: i64 = cx.get(0)?;
        let Ok(text) = cx.get_raw(1).as_str() else {
            return Ok(false);
        };
        let patterns = usize::try_from(n).ok().and_then(|n| patterns.get(n));
        Ok(patterns.is_some_and(|patterns| patterns.iter().any(|pattern| pattern.fits(text))))
    })?;
    let Some(hours) = hours else {
        return Ok(());
    };
    // The offset of a zone changes on the quarter of an hour at most.
    let known: Cell<(i64, i64)> = Cell::new((i64::MIN, 0));
    db.create_scalar_function("in_hours", 1, flags, move |cx| {
        let millis: i64 = cx.get(0)?;
        let quarter = millis.div_euclid(900_000);
        if known.get().0 != quarter {
            let second = quarter.saturating_mul(900);
            let offset = jiff::Timestamp::from_second(second)
                .map_or(0, |at| hours.zone.to_offset(at).seconds());
            known.set((quarter, i64::from(offset)));
        }
        let minute = (millis.div_euclid(1000) + known.get().1).rem_euclid(86_400) / 60;
        Ok(if hours.from <= hours.to {
            (hours.from..hours.to).contains(&minute)
        } else {
            minute >= hours.from || minute < hours.to
        })
    })
}
