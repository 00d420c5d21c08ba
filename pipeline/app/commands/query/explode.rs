//! What changed, one key a row.

use sinks::sqlite::{ChangeRow, Filter, Reader};

use super::list::{short_id, source};
use super::out::{Cell, Format, Out};
use super::{Question, failed};
use crate::exit::Exit;
use crate::say;

const COLUMNS: [&str; 13] = [
    "time",
    "user",
    "source",
    "source_basis",
    "action",
    "type",
    "object",
    "key",
    "op",
    "old",
    "new",
    "redacted",
    "id",
];

/// Says how many rows there were.
pub(super) fn run(question: &Question, filter: &Filter, reader: &Reader) -> Result<u64, Exit> {
    let mut out = Out::new(question.look.format, COLUMNS.to_vec());
    let mut trouble = None;
    // A person reads seconds and copies a short id.
    let person = question.look.format == Format::Table;
    let more = reader.rows(filter, question.limit(), &mut |row| {
        let changes: Vec<ChangeRow> = match reader.changes(row) {
            Ok(changes) => changes,
            Err(why) => {
                trouble = Some(why);
                return false;
            }
        };
        let id = match person {
            true => short_id(reader, row, question.limit()),
            false => Ok(row.id_hex()),
        };
        let id = match id {
            Ok(id) => id,
            Err(why) => {
                trouble = Some(why);
                return false;
            }
        };
        let zone = &question.look.zone;
        let time = match person {
            true => zone.short(row.time()),
            false => zone.exact(row.time()),
        };
        let (from, who) = (source(row), row.who());
        changes.iter().all(|change| {
            out.row(&[
                Cell::Text(&time),
                Cell::Text(&who),
                Cell::Text(&from),
                Cell::Text(&row.source_basis),
                Cell::Text(&row.action),
                Cell::Text(&change.object_type),
                Cell::Text(&change.object_id),
                Cell::Text(&change.key),
                Cell::Text(&change.op),
                change.old.as_deref().map_or(Cell::Nothing, Cell::Text),
                change.new.as_deref().map_or(Cell::Nothing, Cell::Text),
                Cell::Text(if change.redacted { "yes" } else { "" }),
                Cell::Text(&id),
            ])
        })
    });
    let more = more.map_err(failed)?;
    if let Some(why) = trouble {
        return Err(failed(why));
    }
    let rows = out.finish()?;
    if more {
        say::aside("the newest events; there are more: --limit 0 shows all\n");
    }
    Ok(rows)
}
