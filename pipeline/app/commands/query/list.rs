//! Events, one a row.

use pipeline::{Event, Language, catalogue};
use sinks::sqlite::{Filter, Reader, Row, Trouble};

use super::out::{Cell, Format, Out};
use super::{Question, failed};
use crate::exit::Exit;
use crate::say;

/// Columns of CSV; those of a table are fewer.
const COLUMNS: [&str; 17] = [
    "time",
    "user",
    "token",
    "source",
    "source_basis",
    "source_candidates",
    "action",
    "object",
    "object_name",
    "outcome",
    "node",
    "code",
    "severity",
    "vmid",
    "reason",
    "message",
    "id",
];

/// Says how many rows there were.
pub(super) fn run(question: &Question, filter: &Filter, reader: &Reader) -> Result<u64, Exit> {
    let language = question.look.lang.map(Language::from);
    let format = question.look.format;
    let names = match format {
        Format::Table => table_names(language.is_some(), question.all),
        _ => COLUMNS.to_vec(),
    };
    let limit = question.limit();
    let mut out = Out::new(format, names);
    let mut trouble = None;
    let whole = language.is_some() || matches!(format, Format::Json | Format::Ndjson);
    let mut bodies = reader.bodies();
    let more = reader.rows(filter, limit, &mut |row| {
        let body = match whole.then(|| bodies.json(row)).transpose() {
            Ok(body) => body,
            Err(why) => {
                trouble = Some(why);
                return false;
            }
        };
        let said = body
            .zip(language)
            .and_then(|(body, language)| sentence(body, language));
        match format {
            Format::Table => {
                let id = match short_id(reader, row, limit) {
                    Ok(id) => id,
                    Err(why) => {
                        trouble = Some(why);
                        return false;
                    }
                };
                table_row(question, row, &id, said, language.is_some(), &mut out)
            }
            Format::Csv => csv_row(question, row, said, &mut out),
            Format::Json | Format::Ndjson => match (body, said) {
                (Some(body), Some(said)) => out.json(&with_message(body, said)),
                (Some(body), None) => out.json(body),
                (None, _) => false,
            },
        }
    });
    let more = more.map_err(failed)?;
    if let Some(why) = trouble {
        return Err(failed(why));
    }
    let rows = out.finish()?;
    if more {
        say::aside(&format!(
            "the newest {rows}; there are more: --limit 0 shows all\n"
        ));
    }
    Ok(rows)
}

fn table_names(sentence: bool, all: bool) -> Vec<&'static str> {
    let mut names = vec![
        "time", "user", "source", "basis", "action", "object", "outcome", "node", "code", "id",
    ];
    if all {
        names.push("record");
    }
    if sentence {
        names.push("message");
    }
    names
}

/// As much of the id as `query show` needs to find it; whole in long lists.
pub(super) fn short_id(reader: &Reader, row: &Row, limit: usize) -> Result<String, Trouble> {
    let mut id = row.id_hex();
    if (1..=1000).contains(&limit) {
        for length in [12, 16, 20, 24, 28] {
            if reader.find(&id[..length], 2)?.len() == 1 {
                id.truncate(length);
                break;
            }
        }
    }
    Ok(id)
}

fn table_row(
    question: &Question,
    row: &Row,
    id: &str,
    said: Option<String>,
    sentence: bool,
    out: &mut Out,
) -> bool {
    let mut cells = vec![
        Cell::Owned(question.look.zone.short(row.time())),
        Cell::Owned(row.who()),
        Cell::Owned(source(row)),
        Cell::Text(&row.source_basis),
        Cell::Text(if row.action.is_empty() {
            &row.message
        } else {
            &row.action
        }),
        Cell::Owned(object(row)),
        Cell::Text(outcome(row)),
        Cell::Text(&row.node),
        Cell::Text(&row.code),
        Cell::Text(id),
    ];
    if question.all {
        cells.push(Cell::Text(if row.kind == "state" {
            "state"
        } else {
            &row.record
        }));
    }
    if sentence {
        cells.push(match said {
            Some(said) => Cell::Owned(said),
            None => Cell::Text(&row.message),
        });
    }
    out.row(&cells)
}

fn csv_row(question: &Question, row: &Row, said: Option<String>, out: &mut Out) -> bool {
    let number = |number: Option<i64>| number.map_or(Cell::Nothing, Cell::Number);
    let object = match (row.object_type.is_empty(), row.object_id.is_empty()) {
        (true, true) => String::new(),
        _ => format!("{}/{}", row.object_type, row.object_id),
    };
    let (time, id) = (question.look.zone.exact(row.time()), row.id_hex());
    out.row(&[
        Cell::Text(&time),
        Cell::Text(&row.user),
        Cell::Text(&row.token),
        Cell::Text(&row.source),
        Cell::Text(&row.source_basis),
        Cell::Text(&row.candidates),
        Cell::Text(&row.action),
        Cell::Text(&object),
        Cell::Text(&row.object_name),
        Cell::Text(&row.outcome),
        Cell::Text(&row.node),
        Cell::Text(&row.code),
        number(row.severity),
        number(row.vmid),
        Cell::Text(&row.reason),
        Cell::Text(said.as_deref().unwrap_or(&row.message)),
        Cell::Text(&id),
    ])
}

/// How it ended, for people: what has only begun has not ended at all.
fn outcome(row: &Row) -> &str {
    match (row.phase.as_str(), row.outcome.as_str()) {
        ("start", "unknown") => "begun",
        (_, outcome) => outcome,
    }
}

/// The address, or those it may have been.
pub(super) fn source(row: &Row) -> String {
    if row.source.is_empty() && !row.candidates.is_empty() {
        return format!("one of {}", row.candidates);
    }
    row.source.clone()
}

/// `vm/104 (db-prod-1)`.
pub(super) fn object(row: &Row) -> String {
    let mut text = row.object_type.clone();
    if !row.object_id.is_empty() {
        if !text.is_empty() {
            text.push('/');
        }
        text.push_str(&row.object_id);
    }
    if !row.object_name.is_empty() && row.object_name != row.object_id {
        text.push_str(&format!(" ({})", row.object_name));
    }
    text
}

/// The sentence of a stored event in another language; `None` where the catalogue has none for it.
pub(super) fn sentence(json: &str, language: Language) -> Option<String> {
    let event = Event::from_json(serde_json::from_str(json).ok()?).ok()?;
    catalogue::sentence(&event, language)
}

fn with_message(json: &str, said: String) -> String {
    match serde_json::from_str::<serde_json::Value>(json) {
        Ok(mut event) => {
            event["message"] = said.into();
            event.to_string()
        }
        // It is as it was stored.
        Err(_) => json.to_owned(),
    }
}
