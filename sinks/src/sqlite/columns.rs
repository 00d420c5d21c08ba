//! What of an event becomes a column, and which rows of other tables follow from it.

use std::borrow::Cow;

use pipeline::{Event, EventId, Field, Value, ValueRef, fields};

/// Longest text of a column [bytes]; the whole stands in the event itself.
const LONGEST: usize = 1024;
/// Longest sentence [bytes].
const LONGEST_MESSAGE: usize = 4096;
/// Most rows of changes and of links that one event brings.
const MOST_ROWS: usize = 4096;

/// The fields that are looked at, by their names of `audit_event.md` 1.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) record: Field,
    pub(super) origin: Field,
    basis: Field,
    candidates: Field,
    pub(super) object_type: Field,
    pub(super) object_id: Field,
    object_name: Field,
    vmid: Field,
    upid: Field,
    token: Field,
    phase: Field,
    changes: Field,
    links: Field,
    evidence: Field,
    pub(super) event_type: Field,
    pub(super) state: [Field; 7],
    pub(super) cpu: Field,
    pub(super) mem: Field,
    pub(super) disk: Field,
    pub(super) uptime: Field,
}

/// What `pve.state` says of an object as it is.
pub(super) const STATE: [&str; 7] = ["status", "node", "name", "pool", "lock", "template", "tags"];

impl Names {
    pub(super) fn new() -> Names {
        Names {
            record: Field::new("pve.record"),
            origin: Field::new("pve.origin"),
            basis: Field::new("pve.source.attribution"),
            candidates: Field::new("pve.source.candidates"),
            object_type: Field::new("pve.object.type"),
            object_id: Field::new("pve.object.id"),
            object_name: Field::new("pve.object.name"),
            vmid: Field::new("pve.vmid"),
            upid: Field::new("pve.task.upid"),
            token: Field::new("pve.token.id"),
            phase: Field::new("pve.task.phase"),
            changes: Field::new("pve.changes"),
            links: Field::new("pve.links"),
            evidence: Field::new("pve.source.evidence"),
            event_type: Field::new("event.type"),
            state: STATE.map(|name| Field::new(&format!("pve.state.{name}"))),
            cpu: Field::new("pve.state.cpu"),
            mem: Field::new("pve.state.mem"),
            disk: Field::new("pve.state.disk"),
            uptime: Field::new("pve.state.uptime"),
        }
    }
}

/// One row of `events`, borrowed from its event.
pub(super) struct Columns<'a> {
    /// Milliseconds since 1970, UTC.
    pub(super) time: i64,
    pub(super) id: [u8; 16],
    pub(super) code: Option<&'a str>,
    pub(super) action: Option<&'a str>,
    pub(super) outcome: Option<&'a str>,
    pub(super) severity: Option<i64>,
    pub(super) kind: Option<&'a str>,
    pub(super) record: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    pub(super) user: Option<&'a str>,
    pub(super) source: Option<&'a str>,
    pub(super) basis: Option<&'a str>,
    pub(super) candidates: Option<String>,
    pub(super) object_type: Option<&'a str>,
    pub(super) object_id: Option<&'a str>,
    pub(super) object_name: Option<&'a str>,
    pub(super) vmid: Option<i64>,
    pub(super) node: Option<&'a str>,
    pub(super) upid: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
    pub(super) message: Option<&'a str>,
    pub(super) token: Option<&'a str>,
    pub(super) phase: Option<&'a str>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(event: &'a Event, names: &Names) -> Columns<'a> {
        let text = |field: Field| {
            event
                .str(field)
                .filter(|text| !text.is_empty())
                .map(|text| cut(text, LONGEST))
        };
        let number = |field: Field| event.get(field).and_then(ValueRef::as_int);
        let source = text(fields::SOURCE_IP);
        Columns {
            time: event.timestamp().0.div_euclid(1_000_000),
            id: id_bytes(event.id()),
            code: text(fields::EVENT_CODE),
            action: text(fields::EVENT_ACTION),
            outcome: text(fields::EVENT_OUTCOME),
            severity: number(fields::EVENT_SEVERITY),
            kind: text(fields::EVENT_KIND),
            record: text(names.record),
            origin: text(names.origin),
            user: text(fields::USER_ID).or_else(|| text(fields::USER_NAME)),
            source: source.map(|ip| {
                ip.strip_prefix("::ffff:")
                    .filter(|v4| v4.contains('.'))
                    .unwrap_or(ip)
            }),
            basis: text(names.basis),
            candidates: joined(event.get(names.candidates)),
            object_type: text(names.object_type),
            object_id: text(names.object_id),
            object_name: text(names.object_name),
            vmid: number(names.vmid),
            node: text(fields::HOST_NAME),
            upid: text(names.upid),
            reason: text(fields::EVENT_REASON),
            message: event
                .str(fields::MESSAGE)
                .map(|text| cut(text, LONGEST_MESSAGE)),
            token: text(names.token),
            phase: text(names.phase),
        }
    }
}

/// The sixteen bytes of an id, as they stand in its hexadecimal form.
pub(super) fn id_bytes(id: EventId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.0[0].to_be_bytes());
    bytes[8..].copy_from_slice(&id.0[1].to_be_bytes());
    bytes
}

fn cut(text: &str, longest: usize) -> &str {
    if text.len() <= longest {
        return text;
    }
    &text[..text.floor_char_boundary(longest)]
}

fn joined(value: Option<ValueRef<'_>>) -> Option<String> {
    let ValueRef::List(values) = value? else {
        return None;
    };
    let texts = values.iter().filter_map(|value| value.as_ref().as_str());
    let joined = texts.take(64).collect::<Vec<_>>().join(", ");
    (!joined.is_empty()).then_some(joined)
}

/// One changed key.
pub(super) struct Change<'a> {
    pub(super) key: &'a str,
    pub(super) op: Option<&'a str>,
    pub(super) old: Option<Cow<'a, str>>,
    pub(super) new: Option<Cow<'a, str>>,
    pub(super) redacted: bool,
}

/// The rows of `pve.changes`.
pub(super) fn changes<'a>(event: &'a Event, names: &Names) -> Vec<Change<'a>> {
    let Some(ValueRef::List(rows)) = event.get(names.changes) else {
        return Vec::new();
    };
    rows.iter().take(MOST_ROWS).filter_map(change).collect()
}

fn change(row: &Value) -> Option<Change<'_>> {
    let Value::Map(members) = row else {
        return None;
    };
    let get = |name: &str| {
        members
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let text = |name: &str| match get(name)? {
        Value::Null => None,
        Value::Str(text) => Some(Cow::Borrowed(text.as_str())),
        other => Some(Cow::Owned(other.as_ref().to_json().to_string())),
    };
    Some(Change {
        key: get("key")?.as_ref().as_str()?,
        op: get("op").and_then(|op| op.as_ref().as_str()),
        old: text("old"),
        new: text("new"),
        redacted: matches!(get("redacted"), Some(Value::Bool(true))),
    })
}

/// The ids this event says it is about: its evidence and its links.
pub(super) fn others(event: &Event, names: &Names) -> Vec<[u8; 16]> {
    let mut ids = Vec::new();
    for field in [names.evidence, names.links] {
        let texts: &[Value] = match event.get(field) {
            Some(ValueRef::List(values)) => values,
            _ => continue,
        };
        let parsed = texts
            .iter()
            .filter_map(|text| text.as_ref().as_str().and_then(EventId::parse));
        ids.extend(parsed.map(id_bytes).take(MOST_ROWS));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_bytes_of_its_hexadecimal_form() {
        let id = EventId::parse("00112233445566778899aabbccddeeff").unwrap();
        assert_eq!(
            id_bytes(id),
            [
                0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
                0xee, 0xff
            ]
        );
    }

    #[test]
    fn a_text_is_cut_at_a_letter() {
        assert_eq!(cut("grüße", 3), "gr");
        assert_eq!(cut("grüße", 4), "grü");
    }
}
