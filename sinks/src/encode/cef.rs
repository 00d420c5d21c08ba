//! CEF, the Common Event Format, version 0: `CEF:0|pvetrail|audit|0.1.0|PVE-2002|VM destroyed|8|rt=… act=vm-destroy …`.
//!
//! - header: `\` and `|` escaped; extension: `\`, `=` and line breaks escaped; other control characters become U+FFFD
//! - texts are cut at the lengths of the standard, in characters, and end with `…` then
//! - name and severity come from the catalogue of event IDs; an event without a code goes as `PVE-0000` under its `message`
//! - an address never goes without its basis: `flexString2` says `direct`, `matched`, `session`, `ambiguous`, `local`, `none`

use std::io::Write as _;

use pipeline::catalogue::UNCLASSIFIED;
use pipeline::{Catalogue, Event, Field, Value, ValueRef, fields};

use super::trim::Trim;

/// How a value becomes one of an extension.
#[derive(Clone, Copy)]
enum As {
    /// A text of so many characters at most.
    Text(usize),
    /// A whole number.
    Number,
    /// A time, as milliseconds since 1970.
    Millis,
}

/// Extension key, field, and how it is written, in the order of writing.
const COLUMNS: &[(&str, &str, As)] = &[
    ("start", "event.start", As::Millis),
    ("end", "event.end", As::Millis),
    ("act", "event.action", As::Text(63)),
    ("outcome", "event.outcome", As::Text(63)),
    ("reason", "event.reason", As::Text(1023)),
    ("cat", "event.category", As::Text(1023)),
    ("suser", "user.id", As::Text(1023)),
    ("suid", "user.name", As::Text(1023)),
    ("duser", "user.target.id", As::Text(1023)),
    ("spriv", "user.effective.name", As::Text(1023)),
    ("src", "source.ip", As::Text(63)),
    ("spt", "source.port", As::Number),
    ("dvchost", "host.name", As::Text(100)),
    ("sproc", "process.name", As::Text(1023)),
    ("spid", "process.pid", As::Number),
    (
        "deviceExternalId",
        "orchestrator.cluster.name",
        As::Text(255),
    ),
    ("deviceFacility", "pve.origin", As::Text(1023)),
    ("requestMethod", "http.request.method", As::Text(1023)),
    ("cnt", "pve.alert.count", As::Number),
];

/// Custom strings in the order in which they find a slot: label and field. The first two have slots of their own.
const SPARE: &[(&str, &str)] = &[
    ("objectType", "pve.object.type"),
    ("objectId", "pve.object.id"),
    ("upid", "pve.task.upid"),
];

/// Longest custom string [characters].
const CUSTOM: usize = 4000;

/// Writes events as CEF. One per worker.
pub(crate) struct Cef {
    columns: Vec<(&'static str, Field, As)>,
    spare: Vec<(&'static str, Field)>,
    code: Field,
    severity: Field,
    created: Field,
    path: Field,
    query: Field,
    vmid: Field,
    token: Field,
    changes: Field,
    basis: Field,
    rule: Field,
    group: Field,
}

impl Cef {
    pub(crate) fn new() -> Cef {
        Cef {
            columns: COLUMNS
                .iter()
                .map(|(key, path, how)| (*key, Field::new(path), *how))
                .collect(),
            spare: SPARE
                .iter()
                .map(|(label, path)| (*label, Field::new(path)))
                .collect(),
            code: Field::new("event.code"),
            severity: Field::new("event.severity"),
            created: Field::new("event.created"),
            path: Field::new("url.path"),
            query: Field::new("url.query"),
            vmid: Field::new("pve.vmid"),
            token: Field::new("pve.token.id"),
            changes: Field::new("pve.changes"),
            basis: Field::new("pve.source.attribution"),
            rule: Field::new("rule.id"),
            group: Field::new("group.name"),
        }
    }

    /// Appends the event, without a line break. What `trim` leaves out is left out.
    pub(crate) fn write(&self, event: &Event, trim: Trim, out: &mut Vec<u8>) {
        self.header(event, out);
        let mut extension = Extension { out, first: true };
        extension.number("rt", millis(event.timestamp().0));
        extension.text("externalId", &event.id().to_string(), 40);
        for (key, field, how) in &self.columns {
            let Some(value) = event.get(*field) else {
                continue;
            };
            match (how, value) {
                (As::Text(most), value) => {
                    with_text(value, |text| extension.text(key, text, *most));
                }
                (As::Number, ValueRef::Int(number)) => extension.number(key, number),
                (As::Millis, ValueRef::Time(time)) => extension.number(key, millis(time.0)),
                (As::Millis, ValueRef::Str(text)) => {
                    if let Some(time) = pipeline::Time::parse(text) {
                        extension.number(key, millis(time.0));
                    }
                }
                // A value of another kind than the schema's has no place in a typed column.
                _ => {}
            }
        }
        self.request(event, trim, &mut extension);
        self.custom(event, trim, &mut extension);
        if let Some(ValueRef::Time(created)) = event.get(self.created) {
            extension.number("deviceCustomDate1", millis(created.0));
            extension.text("deviceCustomDate1Label", "created", CUSTOM);
        }
        if let Some(rule) = event.str(self.rule) {
            extension.text("flexString1", rule, 1023);
            extension.text("flexString1Label", "rule", CUSTOM);
        }
        if let Some(basis) = event.str(self.basis) {
            extension.text("flexString2", basis, 1023);
            extension.text("flexString2Label", "sourceBasis", CUSTOM);
        }
        if let Some(message) = event.str(fields::MESSAGE) {
            extension.text("msg", message, 1023);
        }
    }

    fn header(&self, event: &Event, out: &mut Vec<u8>) {
        let code = event.str(self.code).filter(|code| !code.is_empty());
        let row = code.and_then(|code| Catalogue::builtin().get(code));
        let message = event.str(fields::MESSAGE).unwrap_or_default();
        let name = match (code, row) {
            (_, Some(row)) => row.text.en.as_str(),
            // A code of a newer catalogue, or of another product.
            _ if message.is_empty() => code.unwrap_or("unclassified"),
            _ => message,
        };
        let severity = match event.get(self.severity) {
            Some(ValueRef::Int(severity)) => severity.clamp(0, 10),
            _ => row.map_or(1, |row| row.severity.into()),
        };
        out.extend_from_slice(b"CEF:0|pvetrail|audit|");
        for (text, most) in [
            (env!("CARGO_PKG_VERSION"), 31),
            (code.unwrap_or(UNCLASSIFIED), 1023),
            (name, 512),
        ] {
            push_cut(text, most, Part::Header, out);
            out.push(b'|');
        }
        // Writing into a vector cannot fail.
        let _ = write!(out, "{severity}|");
    }

    fn request(&self, event: &Event, trim: Trim, extension: &mut Extension<'_>) {
        let Some(path) = event.str(self.path) else {
            return;
        };
        let query = event
            .str(self.query)
            .filter(|query| !query.is_empty() && trim < Trim::Params);
        match query {
            Some(query) => extension.text("request", &format!("{path}?{query}"), 1023),
            None => extension.text("request", path, 1023),
        }
    }

    /// `cs1` to `cs6`, `cn1`, each with its label.
    fn custom(&self, event: &Event, trim: Trim, extension: &mut Extension<'_>) {
        let mut taken = [false; 6];
        let mut put = |slot: usize, label: &str, text: &str| {
            taken[slot] = true;
            extension.text(&format!("cs{}", slot + 1), text, CUSTOM);
            extension.text(&format!("cs{}Label", slot + 1), label, CUSTOM);
        };
        for (slot, (label, field)) in self.spare.iter().enumerate() {
            if let Some(value) = event.get(*field) {
                with_text(value, |text| put(slot, label, text));
            }
        }
        if let Some(ValueRef::List(rows)) = event.get(self.changes)
            && let Some(Value::Map(row)) = rows.first()
        {
            for (slot, key, label) in [
                (3, "key", "changeKey"),
                (4, "old", "oldValue"),
                (5, "new", "newValue"),
            ] {
                if key != "key" && trim >= Trim::Changes {
                    break;
                }
                if let Some((_, value)) = row.iter().find(|(name, _)| name == key) {
                    with_text(value.as_ref(), |text| put(slot, label, text));
                }
            }
        }
        // What has no slot of its own takes the first that is free.
        for (label, field) in [("tokenId", self.token), ("group", self.group)] {
            if let (Some(text), Some(slot)) = (event.str(field), (2..6).find(|n| !taken[*n])) {
                taken[slot] = true;
                extension.text(&format!("cs{}", slot + 1), text, CUSTOM);
                extension.text(&format!("cs{}Label", slot + 1), label, CUSTOM);
            }
        }
        if let Some(ValueRef::Int(vmid)) = event.get(self.vmid) {
            extension.number("cn1", vmid);
            extension.text("cn1Label", "vmid", CUSTOM);
        }
    }
}

/// The pairs behind the header.
struct Extension<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Extension<'_> {
    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(b'=');
    }

    fn text(&mut self, key: &str, text: &str, most: usize) {
        if text.is_empty() {
            return;
        }
        self.key(key);
        push_cut(text, most, Part::Extension, self.out);
    }

    fn number(&mut self, key: &str, number: i64) {
        self.key(key);
        let mut digits = itoa::Buffer::new();
        self.out.extend_from_slice(digits.format(number).as_bytes());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Header,
    Extension,
}

/// Appends at most `most` characters of the text; one that is longer ends with `…`.
fn push_cut(text: &str, most: usize, part: Part, out: &mut Vec<u8>) {
    let longer = text.len() > most && text.chars().nth(most).is_some();
    let kept = if longer { most - 1 } else { most };
    for letter in text.chars().take(kept) {
        match letter {
            '\\' => out.extend_from_slice(b"\\\\"),
            '|' if part == Part::Header => out.extend_from_slice(b"\\|"),
            '=' if part == Part::Extension => out.extend_from_slice(b"\\="),
            '\n' if part == Part::Extension => out.extend_from_slice(b"\\n"),
            '\r' if part == Part::Extension => out.extend_from_slice(b"\\r"),
            // A header is one line and has no escape for a break.
            '\n' | '\r' | '\t' => out.push(b' '),
            letter if letter.is_control() => out.extend_from_slice("\u{fffd}".as_bytes()),
            letter => {
                let mut bytes = [0; 4];
                out.extend_from_slice(letter.encode_utf8(&mut bytes).as_bytes());
            }
        }
    }
    if longer {
        out.extend_from_slice("…".as_bytes());
    }
}

/// The text of a value; of a list the first member, as CEF has no lists.
fn with_text(value: ValueRef<'_>, mut with: impl FnMut(&str)) {
    match value {
        ValueRef::Str(text) => with(text),
        ValueRef::Null => {}
        ValueRef::Int(number) => with(itoa::Buffer::new().format(number)),
        ValueRef::List(values) => {
            if let Some(first) = values.first() {
                with_text(first.as_ref(), with);
            }
        }
        other => with(&other.to_json().to_string()),
    }
}

/// Milliseconds of nanoseconds, rounded down as a clock does.
fn millis(nanoseconds: i64) -> i64 {
    nanoseconds.div_euclid(1_000_000)
}

#[cfg(test)]
mod tests;
