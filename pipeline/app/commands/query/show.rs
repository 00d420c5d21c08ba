//! One event as a person reads it.

use pipeline::{Language, printable};
use serde_json::Value as Json;
use sinks::sqlite::{Reader, Row};

use super::list::{object, sentence, source};
use super::out::Format;
use super::{Look, Question, failed};
use crate::exit::Exit;
use crate::say;

/// Most events shown beside it.
const MOST: usize = 50;
/// Longest value shown [letters].
const LONGEST: usize = 2000;

/// Arguments of `query show`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The id of the event, or as much of its beginning as no other has.
    #[arg(value_name = "ID")]
    id: String,
}

/// 0 shown, 1 not there or more than one.
pub(super) fn run(args: &Args, question: &Question) -> Result<Exit, Exit> {
    let look = &question.look;
    let store = question.place.find()?;
    let reader = store.open()?;
    let found = reader.find(&args.id, 11).map_err(failed)?;
    let row = match found.as_slice() {
        [row] => row,
        [] => {
            say::error(format!(
                "no event has an id that begins with {}",
                printable(&args.id)
            ));
            store.leave_trace(0);
            return Ok(Exit::Found);
        }
        several => {
            say::error(format!(
                "{}{} events have an id that begins with {}; write more of it:",
                several.len().min(10),
                if several.len() > 10 { " or more" } else { "" },
                printable(&args.id)
            ));
            for row in several.iter().take(10) {
                say::aside(&format!("  {}\n", line(look, row)));
            }
            return Ok(Exit::Found);
        }
    };
    let json = reader.bodies().json(row).map_err(failed)?.to_owned();
    if look.format == Format::Table {
        person(look, &reader, row, &json)?;
    } else {
        say::line(say::safe_json(&json));
    }
    store.leave_trace(1);
    Ok(Exit::Done)
}

fn line(look: &Look, row: &Row) -> String {
    let text = format!(
        "{}  {}  {:<8} {}  {}",
        &row.id_hex()[..12],
        look.zone.short(row.time()),
        row.origin,
        row.code,
        row.message
    );
    cut(&printable(&text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn person(look: &Look, reader: &Reader, row: &Row, json: &str) -> Result<(), Exit> {
    let event: Json = serde_json::from_str(json).unwrap_or_default();
    let languages = match look.lang {
        Some(lang) => vec![Language::from(lang)],
        None => Vec::new(),
    };
    let said: Vec<String> = languages
        .iter()
        .filter_map(|lang| sentence(json, *lang))
        .collect();
    if said.is_empty() {
        say::line(cut(&printable(&row.message)));
    }
    for said in said {
        say::line(said);
    }
    say::line("");
    let tell = |name: &str, value: &str| {
        if !value.is_empty() {
            say::line(format!("{name:<12} {}", cut(&printable(value))));
        }
    };
    tell("id", &row.id_hex());
    tell("when", &look.zone.exact(row.time()));
    tell(
        "what",
        &[&row.code, &row.action, &row.outcome]
            .map(String::as_str)
            .join("  "),
    );
    tell("why", &row.reason);
    tell("who", &who(row, &event));
    tell("from where", &source(row));
    tell("basis", &basis(&row.source_basis));
    tell("via", text(&event, "/pve/source/via"));
    tell("object", &object(row));
    tell("where", &row.node);
    tell("task", &row.upid);
    tell("ended", text(&event, "/pve/task/status"));
    tell("call", &call(&event));
    tell("program", &program(&event));
    tell(
        "record",
        &[&row.record, &row.kind, &row.origin]
            .map(String::as_str)
            .join("  "),
    );
    tell("original", text(&event, "/event/original"));
    if let Some(log) = event.pointer("/pve/task/log").and_then(Json::as_str) {
        say::line("log");
        for log in log.lines() {
            say::line(format!("  {}", cut(&printable(log))));
        }
    }
    changes(reader, row)?;
    let parsed = |pointer: &str| -> Vec<pipeline::EventId> {
        let list = event.pointer(pointer).and_then(Json::as_array);
        let texts = list.into_iter().flatten().filter_map(Json::as_str);
        texts
            .filter_map(pipeline::EventId::parse)
            .take(MOST)
            .collect()
    };
    // Each other event is shown once, in the first list it belongs to.
    let mut shown = vec![row.id];
    let mut new = |rows: Vec<Row>| -> Vec<Row> {
        let rows: Vec<Row> = rows
            .into_iter()
            .filter(|other| !shown.contains(&other.id))
            .collect();
        shown.extend(rows.iter().map(|other| other.id));
        rows
    };
    let evidence = parsed("/pve/source/evidence");
    let rows = reader.by_ids(&evidence).map_err(failed)?;
    let missing = evidence.len() - rows.len();
    list(look, reader, "rests on", &new(rows), true)?;
    if missing > 0 {
        say::line(format!("  {missing} more that this store does not hold"));
    }
    let rows = reader.by_ids(&parsed("/pve/links")).map_err(failed)?;
    list(look, reader, "belongs to", &new(rows), false)?;
    let rows = reader.linked_from(row.id, MOST).map_err(failed)?;
    let (again, acts): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .partition(|other| other.record == "evidence");
    list(look, reader, "is evidence of", &new(acts), false)?;
    list(look, reader, "told besides by", &new(again), false)?;
    if !row.upid.is_empty() {
        let rows = reader.of_task(&row.upid, MOST).map_err(failed)?;
        list(look, reader, "the same task", &new(rows), false)?;
    }
    Ok(())
}

fn list(
    look: &Look,
    reader: &Reader,
    title: &str,
    rows: &[Row],
    original: bool,
) -> Result<(), Exit> {
    if rows.is_empty() {
        return Ok(());
    }
    say::line(format!("{title}:"));
    for row in rows {
        say::line(format!("  {}", line(look, row)));
        if original {
            let mut bodies = reader.bodies();
            let json = bodies.json(row).map_err(failed)?;
            let event: Json = serde_json::from_str(json).unwrap_or_default();
            let raw = text(&event, "/event/original");
            if !raw.is_empty() && raw != row.message {
                say::line(format!("                {}", cut(&printable(raw))));
            }
        }
    }
    Ok(())
}

fn changes(reader: &Reader, row: &Row) -> Result<(), Exit> {
    let changes = reader.changes(row).map_err(failed)?;
    if changes.is_empty() {
        return Ok(());
    }
    say::line("changed:");
    for change in changes {
        let value = |value: &Option<String>| match value {
            Some(value) => value.clone(),
            None => "nothing".to_owned(),
        };
        let text = format!(
            "{}: {} -> {}{}",
            change.key,
            value(&change.old),
            value(&change.new),
            if change.redacted { "  (a secret)" } else { "" }
        );
        say::line(format!("  {}", cut(&printable(&text))));
    }
    Ok(())
}

fn text<'a>(event: &'a Json, pointer: &str) -> &'a str {
    event
        .pointer(pointer)
        .and_then(Json::as_str)
        .unwrap_or_default()
}

fn who(row: &Row, event: &Json) -> String {
    let mut who = row.user.clone();
    let token = text(event, "/pve/token/id");
    if !token.is_empty() {
        who.push_str(&format!("!{token}"));
    }
    let actor = text(event, "/pve/actor/kind");
    if !actor.is_empty() && actor != "user" {
        who.push_str(&format!("  ({actor})"));
    }
    who.trim().to_owned()
}

/// What an address rests on, in words.
fn basis(word: &str) -> String {
    let meaning = match word {
        "direct" => "the line itself carries the address",
        "matched" => "exactly one API call fits the task",
        "session" => "no call, but this user had exactly one address with a live session",
        "ambiguous" => "several fit, so none is named",
        "local" => "started on the node itself",
        "none" => "nothing is known",
        _ => return word.to_owned(),
    };
    format!("{word}: {meaning}")
}

fn call(event: &Json) -> String {
    let method = text(event, "/http/request/method");
    let status = event
        .pointer("/http/response/status_code")
        .and_then(Json::as_i64);
    let query = text(event, "/url/query");
    let mut call = format!("{method} {}", text(event, "/url/path"));
    if !query.is_empty() {
        call.push_str(&format!("?{query}"));
    }
    if let Some(status) = status {
        call.push_str(&format!("  answered {status}"));
    }
    call.trim().to_owned()
}

fn program(event: &Json) -> String {
    let pid = event.pointer("/process/pid").and_then(Json::as_i64);
    match (text(event, "/process/name"), pid) {
        ("", Some(pid)) => format!("process {pid}"),
        (name, Some(pid)) => format!("{name}[{pid}]"),
        (name, None) => name.to_owned(),
    }
}
