//! What an object was like, from when to when, and what it used.

use pipeline::printable;
use serde_json::{Value as Json, json};
use sinks::sqlite::{Filter, Reader, Row, Sample, State};

use super::out::{Cell, Format, Out};
use super::when;
use super::{Look, Question, failed};
use crate::exit::Exit;
use crate::say;

/// Arguments of `query history`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `vm/104`, `user/alice@pve`, an id alone where only one object has it, or the name of a guest.
    #[arg(value_name = "OBJECT")]
    object: String,
    /// Only the state that held at this time, whole.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Its processors, memory and disk, the latest so many samples, instead of its states.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "48")]
    samples: Option<usize>,
}

/// 0 something is known, 1 nothing is.
pub(super) fn run(args: &Args, question: &Question) -> Result<Exit, Exit> {
    let look = &question.look;
    let at = args
        .at
        .as_ref()
        .map(|text| when::from(text, look.zone.get()));
    let at = at.transpose().map_err(|why| {
        say::error(why);
        Exit::Failed
    })?;
    let store = question.place.find()?;
    let reader = store.open()?;
    let (kind, id) = object(args, &reader)?;
    let rows = if let Some(most) = args.samples {
        samples(look, &reader.samples(&kind, &id, most).map_err(failed)?)?
    } else {
        let mut states = reader.history(&kind, &id).map_err(failed)?;
        if let Some(at) = at {
            states.retain(|state| {
                state.valid_from <= at && state.valid_to.is_none_or(|end| at < end)
            });
        }
        tell(look, &states, at.is_some())?
    };
    if rows == 0 {
        say::aside("nothing is known of it; states come from pve_api and pve_config\n");
    }
    store.leave_trace(rows);
    Ok(if rows == 0 { Exit::Found } else { Exit::Done })
}

fn object(args: &Args, reader: &Reader) -> Result<(String, String), Exit> {
    // An id may hold slashes; what stands before the first is a type only if it is a word.
    let word = |kind: &str| {
        !kind.is_empty()
            && kind
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    if let Some((kind, id)) = args.object.split_once('/').filter(|(kind, _)| word(kind)) {
        return Ok((kind.to_owned(), id.to_owned()));
    }
    let mut types = reader.types_of(&args.object).map_err(failed)?;
    if types.len() > 1 {
        let names: Vec<String> = types
            .iter()
            .map(|kind| format!("{kind}/{}", args.object))
            .collect();
        say::error(printable(&format!(
            "several objects have this id: {}",
            names.join(", ")
        )));
        return Err(Exit::Found);
    }
    if let Some(kind) = types.pop() {
        return Ok((kind, args.object.clone()));
    }
    // No id; a name leads to the object that had it last.
    let filter = Filter {
        objects: vec![args.object.clone()],
        all: true,
        ..Filter::default()
    };
    let mut found = None;
    let newest = &mut |row: &Row| {
        let guest = matches!(row.object_type.as_str(), "vm" | "ct");
        if guest && row.object_name == args.object {
            found = Some((row.object_type.clone(), row.object_id.clone()));
        }
        true
    };
    reader.rows(&filter, 10, newest).map_err(failed)?;
    Ok(found.unwrap_or_else(|| (String::new(), args.object.clone())))
}

fn tell(look: &Look, states: &[State], whole: bool) -> Result<u64, Exit> {
    let names = vec!["valid_from", "valid_to", "state", "event"];
    let zone = &look.zone;
    let mut out = Out::new(look.format, names);
    for state in states {
        let said = if whole { &state.state } else { &state.delta };
        let to = state.valid_to.map(|to| zone.exact(to));
        let hex = state.event.map(|id| {
            let mut hex = [0; 32];
            id.write_hex(&mut hex);
            String::from_utf8_lossy(&hex).into_owned()
        });
        let goes_on = match look.format {
            Format::Json | Format::Ndjson => out.json(
                &json!({
                    "object": { "type": state.object_type, "id": state.object_id },
                    "valid_from": zone.exact(state.valid_from), "valid_to": to, "gone": state.gone,
                    "changed": state.delta, "state": state.state, "event": hex,
                })
                .to_string(),
            ),
            _ => out.row(&[
                Cell::Owned(zone.exact(state.valid_from)),
                Cell::Owned(to.unwrap_or_else(|| "now".to_owned())),
                Cell::Owned(if state.gone {
                    "gone".to_owned()
                } else {
                    keys(said)
                }),
                Cell::Owned(hex.unwrap_or_default()),
            ]),
        };
        if !goes_on {
            break;
        }
    }
    out.finish()
}

/// `cores=8 name=db`; what went away as `-lock`.
fn keys(state: &Json) -> String {
    let Json::Object(members) = state else {
        return String::new();
    };
    let part = |(key, value): (&String, &Json)| match value {
        Json::Null => None,
        Json::String(text) => Some(format!("{key}={text}")),
        other => Some(format!("{key}={other}")),
    };
    members
        .iter()
        .filter_map(part)
        .collect::<Vec<_>>()
        .join(" ")
}

fn samples(look: &Look, samples: &[Sample]) -> Result<u64, Exit> {
    let names = vec!["time", "node", "status", "cpu", "mem", "disk", "uptime_s"];
    let mut out = Out::new(look.format, names);
    let ratio = |ratio: Option<f64>| match ratio {
        Some(ratio) => Cell::Owned(format!("{ratio:.3}")),
        None => Cell::Nothing,
    };
    for sample in samples {
        let goes_on = out.row(&[
            Cell::Owned(look.zone.exact(sample.time)),
            Cell::Text(sample.node.as_deref().unwrap_or_default()),
            Cell::Text(sample.status.as_deref().unwrap_or_default()),
            ratio(sample.cpu),
            ratio(sample.mem),
            ratio(sample.disk),
            sample.uptime.map_or(Cell::Nothing, Cell::Number),
        ]);
        if !goes_on {
            break;
        }
    }
    out.finish()
}
