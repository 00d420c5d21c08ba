//! An entry becomes an event: what ECS has a name for under that name, the rest under `journald`.

use pipeline::lines::{base64, sha256};
use pipeline::{Event, EventId, Field, Preset, Time, Value, fields};

use super::child::Line;
use super::entry::{Entry, MOST_FIELDS, Raw};
use crate::syslog::parse::priority::{with_facility, with_severity};

/// Longest value; of a longer one the head is kept [bytes].
const LONGEST: usize = 1 << 20;

/// Makes events of entries.
pub(super) struct Maker {
    cluster: String,
    host: String,
    /// Fields of texts, by the name in the journal.
    texts: Vec<(&'static str, Field)>,
    origin_line: Field,
    rest: Field,
}

/// Fields that have a name of their own, for texts.
const TEXTS: [(&str, &str); 18] = [
    ("_HOSTNAME", "host.name"),
    ("_MACHINE_ID", "host.id"),
    ("_BOOT_ID", "host.boot.id"),
    ("_EXE", "process.executable"),
    ("_CMDLINE", "process.command_line"),
    ("_UID", "process.user.id"),
    ("_GID", "process.group.id"),
    ("_SYSTEMD_UNIT", "systemd.unit"),
    ("_SYSTEMD_USER_UNIT", "systemd.user_unit"),
    ("_SYSTEMD_SLICE", "systemd.slice"),
    ("_SYSTEMD_CGROUP", "systemd.cgroup"),
    ("_SYSTEMD_INVOCATION_ID", "systemd.invocation_id"),
    ("_SYSTEMD_SESSION", "systemd.session"),
    ("_SYSTEMD_OWNER_UID", "systemd.owner_uid"),
    ("_TRANSPORT", "systemd.transport"),
    ("SYSLOG_IDENTIFIER", "process.name"),
    ("CODE_FILE", "log.origin.file.name"),
    ("CODE_FUNC", "log.origin.function"),
];

/// Fields that stand for the place and the time of an entry, or are read as numbers.
const READ: [&str; 12] = [
    "__CURSOR",
    "__REALTIME_TIMESTAMP",
    "__MONOTONIC_TIMESTAMP",
    "__SEQNUM",
    "__SEQNUM_ID",
    "_SOURCE_REALTIME_TIMESTAMP",
    "MESSAGE",
    "PRIORITY",
    "SYSLOG_FACILITY",
    "_PID",
    "SYSLOG_PID",
    "CODE_LINE",
];

impl Maker {
    pub(super) fn new(cluster: &str, host: &str) -> Maker {
        Maker {
            cluster: cluster.to_owned(),
            host: host.to_owned(),
            texts: TEXTS.map(|(name, path)| (name, Field::new(path))).to_vec(),
            origin_line: Field::new("log.origin.file.line"),
            rest: Field::new("journald"),
        }
    }

    /// The same wherever and however often the entry is read (`audit_event.md` 6).
    fn id(&self, entry: &Entry) -> EventId {
        let place = entry.place().unwrap_or_default();
        EventId::of_parts(&[
            b"pve-audit/1",
            b"journald",
            self.cluster.as_bytes(),
            place.machine.as_bytes(),
            place.boot.as_bytes(),
            place.seqnum_id.as_bytes(),
            &place.seqnum.to_be_bytes(),
        ])
    }

    pub(super) fn event(&self, entry: Entry, now: Time) -> Event {
        let micros = |field| entry.number(field).filter(|micros| *micros > 0);
        let written = micros("_SOURCE_REALTIME_TIMESTAMP").or(micros("__REALTIME_TIMESTAMP"));
        let time = written.map_or(now, |micros| Time(micros.saturating_mul(1000)));
        let mut event = Event::new(self.id(&entry), time);
        event.set(fields::EVENT_CREATED, Value::Time(now));
        self.numbers(&entry, &mut event);
        let named = entry.text("SYSLOG_IDENTIFIER").is_some();
        let mut rest = Vec::new();
        let left_out = entry.left_out;
        let mut cut = left_out > 0;
        for (name, raw) in entry.fields {
            if name == "MESSAGE" {
                let more = message(raw, &mut event);
                if !more.is_empty() {
                    rest.push(("message".to_owned(), value(Raw::Many(more), &mut cut)));
                }
                continue;
            }
            if READ.contains(&name.as_str()) {
                continue;
            }
            let text = self.texts.iter().find(|(held, _)| *held == name);
            let field = match text {
                Some((_, field)) => Some(*field),
                // What the program is called if it does not say so itself.
                None if name == "_COMM" && !named => Some(fields::PROCESS_NAME),
                None => None,
            };
            let value = value(raw, &mut cut);
            match (field, value) {
                (Some(field), value @ Value::Str(_)) => event.set(field, value),
                (_, value) => rest.push((name.to_ascii_lowercase(), value)),
            }
        }
        if !event.has(fields::HOST_NAME) {
            event.set_str(fields::HOST_NAME, &self.host);
        }
        if !rest.is_empty() {
            rest.sort_by(|a, b| a.0.cmp(&b.0));
            event.set(self.rest, Value::Map(rest));
        }
        if left_out > 0 {
            let why =
                format!("the entry has more than {MOST_FIELDS} fields: {left_out} are left out");
            event.set(fields::ERROR_MESSAGE, why);
        }
        if cut {
            event.set(fields::PVE_TRUNCATED, true);
        }
        event
    }

    fn numbers(&self, entry: &Entry, event: &mut Event) {
        let code = |field, most: i64| {
            let code = entry.number(field).filter(|code| (0..=most).contains(code));
            code.and_then(|code| u8::try_from(code).ok())
        };
        let (severity, facility) = (code("PRIORITY", 7), code("SYSLOG_FACILITY", 23));
        let mut preset = Preset::default();
        if let (Some(severity), Some(facility)) = (severity, facility) {
            let priority = i64::from(facility) * 8 + i64::from(severity);
            preset = preset.int(fields::SYSLOG_PRIORITY, priority);
        }
        if let Some(code) = facility {
            preset = with_facility(preset, code);
        }
        if let Some(code) = severity {
            preset = with_severity(preset, code);
        }
        event.push_preset(&preset);
        // The one that the kernel vouches for comes first.
        if let Some(pid) = entry.number("_PID").or(entry.number("SYSLOG_PID")) {
            event.set(fields::PROCESS_PID, pid);
        }
        if let Some(line) = entry.number("CODE_LINE") {
            event.set(self.origin_line, line);
        }
    }

    /// An event of what is no entry, and its cursor if one can be made out.
    pub(super) fn broken(&self, line: &Line<'_>, why: &str, now: Time) -> (Event, Option<String>) {
        let (text, len) = match line {
            Line::Whole(text) => (*text, text.len() as u64),
            Line::Head(text, len) => (*text, *len),
        };
        let cursor = cursor_in(text);
        let digest = pipeline::EventId::of_parts(&[
            b"pve-audit/1",
            b"journald broken",
            self.cluster.as_bytes(),
            self.host.as_bytes(),
            cursor.as_deref().unwrap_or_default().as_bytes(),
            text,
        ]);
        let mut event = Event::new(digest, now);
        let text = String::from_utf8_lossy(text);
        let kept = text.floor_char_boundary(LONGEST.min(text.len()));
        event.set_str(fields::MESSAGE, &text[..kept]);
        event.set_str(fields::HOST_NAME, &self.host);
        event.add_tag("parse_error");
        event.set(
            fields::ERROR_MESSAGE,
            format!("this is no entry of the journal: {why}"),
        );
        if len > kept as u64 {
            event.set(fields::PVE_TRUNCATED, true);
            event.set(
                fields::PVE_ORIGINAL_BYTES,
                i64::try_from(len).unwrap_or(i64::MAX),
            );
        }
        (event, cursor)
    }
}

/// The cursor in a text that cannot be read as a whole.
fn cursor_in(text: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(text, b"\"__CURSOR\"")? + 10;
    let rest = text.get(at..)?;
    let begin = memchr::memchr(b'"', rest)? + 1;
    let len = memchr::memchr(b'"', rest.get(begin..)?)?;
    let cursor = std::str::from_utf8(&rest[begin..begin + len]).ok()?;
    (cursor.len() < 512).then(|| cursor.to_owned())
}

/// The first text becomes the message; gives the others.
fn message(raw: Raw, event: &mut Event) -> Vec<Raw> {
    let (raw, more) = match raw {
        Raw::Many(mut all) if !all.is_empty() => {
            let first = all.iter().position(|raw| *raw != Raw::Null).unwrap_or(0);
            (all.remove(first), all)
        }
        raw => (raw, Vec::new()),
    };
    let (mut text, bytes) = match raw {
        Raw::Text(text) => (text, None),
        Raw::Bytes(bytes) => text_of(bytes),
        // Too large to be printed, which `--all` rules out.
        Raw::Null | Raw::Many(_) | Raw::Number(_) => (String::new(), None),
    };
    // Perl's daemons end their messages so.
    let len = text.trim_end_matches(['\n', '\r', '\0']).len();
    text.truncate(len);
    if text.len() > LONGEST {
        event.set(fields::PVE_TRUNCATED, true);
        event.set(fields::PVE_ORIGINAL_BYTES, text.len() as i64);
        event.set(fields::EVENT_HASH, sha256(text.as_bytes()));
        text.truncate(text.floor_char_boundary(LONGEST));
    }
    if let Some(mut bytes) = bytes {
        bytes.truncate(LONGEST);
        event.set(fields::PVE_RAW_B64, base64(&bytes));
    }
    event.set(fields::MESSAGE, text);
    more
}

/// Bytes as text; those that were none as well.
fn text_of(bytes: Vec<u8>) -> (String, Option<Vec<u8>>) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(why) => {
            let bytes = why.into_bytes();
            (
                bytes.iter().map(|byte| char::from(*byte)).collect(),
                Some(bytes),
            )
        }
    }
}

fn value(raw: Raw, cut: &mut bool) -> Value {
    let mut text = match raw {
        Raw::Null => return Value::Null,
        Raw::Number(number) => number.to_string(),
        Raw::Text(text) => text,
        Raw::Bytes(bytes) => text_of(bytes).0,
        Raw::Many(all) => return Value::List(all.into_iter().map(|raw| value(raw, cut)).collect()),
    };
    if text.len() > LONGEST {
        *cut = true;
        text.truncate(text.floor_char_boundary(LONGEST));
    }
    Value::Str(text)
}
