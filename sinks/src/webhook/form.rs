//! What a request looks like: which events go into one, and how they are written.

use pipeline::{Event, Events, JsonWriter, Reason};

use super::alertmanager::Alerts;
use super::slack::Slack;
use super::template::Template;

/// A body that has grown beyond this gives its memory back [bytes].
const KEPT: usize = 8 << 20;

/// How much one request may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Most events.
    pub(super) events: usize,
    /// Most bytes of the body; one event may be larger.
    pub(super) bytes: usize,
}

/// What a body was filled with.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// Events it holds, at least one.
    pub(super) count: usize,
    /// Why these events cannot be written in this form.
    pub(super) refused: Option<Reason>,
}

impl Filled {
    fn with(count: usize) -> Filled {
        Filled {
            count,
            refused: None,
        }
    }
}

/// The form of a request.
pub(super) enum Form {
    /// `[{…},{…}]`
    Json(JsonWriter),
    /// `{…}\n{…}\n`
    Ndjson(JsonWriter),
    /// As the operator wrote it.
    Template(Box<Template>),
    /// A message of blocks.
    Slack(Slack),
    /// Alerts with labels.
    Alertmanager(Alerts),
}

impl Form {
    /// The value of `Content-Type`.
    pub(super) fn content_type(&self) -> &str {
        match self {
            Form::Json(_) | Form::Slack(_) | Form::Alertmanager(_) => "application/json",
            Form::Ndjson(_) => "application/x-ndjson",
            Form::Template(template) => template.content_type(),
        }
    }

    /// Fills `out` with events from place `from` on, as many as there is room for.
    pub(super) fn fill(
        &mut self,
        events: &Events,
        from: usize,
        room: Room,
        out: &mut Vec<u8>,
    ) -> Filled {
        out.clear();
        if out.capacity() > KEPT {
            out.shrink_to(KEPT);
        }
        match self {
            Form::Json(writer) => {
                let write = |event: &Event, out: &mut Vec<u8>| writer.write(event, out);
                array(events, from, room, out, write)
            }
            Form::Alertmanager(alerts) => {
                let write = |event: &Event, out: &mut Vec<u8>| alerts.write(event, out);
                array(events, from, room, out, write)
            }
            Form::Ndjson(writer) => many(events, from, room, out, |event, out| {
                writer.write(event, out);
                out.push(b'\n');
            }),
            Form::Slack(slack) => Filled::with(slack.fill(events, from, room, out)),
            Form::Template(template) => {
                let (count, result) = template.fill(events, from, room, out);
                Filled {
                    count,
                    refused: result.err(),
                }
            }
        }
    }
}

fn array(
    events: &Events,
    from: usize,
    room: Room,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&Event, &mut Vec<u8>),
) -> Filled {
    let mut open = b'[';
    let filled = many(events, from, room, out, |event, out| {
        out.push(std::mem::replace(&mut open, b','));
        write(event, out);
    });
    out.push(b']');
    filled
}

fn many(
    events: &Events,
    from: usize,
    room: Room,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&Event, &mut Vec<u8>),
) -> Filled {
    let mut count = 0;
    for event in events.iter().skip(from).take(room.events) {
        let before = out.len();
        write(event, out);
        if out.len() > room.bytes && count > 0 {
            out.truncate(before);
            break;
        }
        count += 1;
    }
    Filled::with(count)
}
