//! `logfmt`: `host.name=pve1 message="hello world"`. Lists and maps are JSON inside quotes.

use std::collections::HashMap;
use std::io::Write;

use pipeline::{Event, Field, ValueRef, fields, printable};

/// Writes all fields, or those asked for.
pub(super) struct Logfmt {
    only: Option<Vec<Field>>,
    except: Vec<Field>,
    /// Whether a field is written; there are no more fields than names in the configuration.
    wanted: HashMap<Field, bool>,
}

impl Logfmt {
    pub(super) fn new(only: Option<Vec<Field>>, except: Option<Vec<Field>>) -> Self {
        Logfmt {
            only,
            except: except.unwrap_or_default(),
            wanted: HashMap::new(),
        }
    }

    pub(super) fn write(&mut self, event: &Event, terminal: bool, out: &mut Vec<u8>) {
        let start = out.len();
        if self.wants(fields::TIMESTAMP) {
            // Writing into a vector cannot fail.
            let _ = write!(out, "@timestamp={}", event.timestamp());
        }
        if self.wants(fields::EVENT_ID) {
            separate(start, out);
            let _ = write!(out, "event.id={}", event.id());
        }
        for (field, value) in event.iter() {
            if field == fields::TIMESTAMP || field == fields::EVENT_ID || !self.wants(field) {
                continue;
            }
            separate(start, out);
            out.extend_from_slice(field.path().as_bytes());
            out.push(b'=');
            push(value, terminal, out);
        }
    }

    fn wants(&mut self, field: Field) -> bool {
        let Self {
            only,
            except,
            wanted,
        } = self;
        *wanted.entry(field).or_insert_with(|| {
            let below = |parents: &[Field]| {
                parents
                    .iter()
                    .any(|parent| is_below(field.path(), parent.path()))
            };
            only.as_deref().is_none_or(below) && !below(except)
        })
    }
}

/// Whether `path` is `parent` or lies in it.
fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn separate(start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b' ');
    }
}

fn push(value: ValueRef<'_>, terminal: bool, out: &mut Vec<u8>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Str(text) => quote(text, terminal, out),
        ValueRef::Bool(yes) => {
            let _ = write!(out, "{yes}");
        }
        ValueRef::Int(n) => {
            let _ = write!(out, "{n}");
        }
        ValueRef::Float(n) => {
            let _ = write!(out, "{n}");
        }
        ValueRef::Time(time) => {
            let _ = write!(out, "{time}");
        }
        ValueRef::List(_) | ValueRef::Map(_) => {
            quote(&value.to_json().to_string(), terminal, out);
        }
    }
}

fn quote(text: &str, terminal: bool, out: &mut Vec<u8>) {
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte > b' ' && !matches!(byte, b'"' | b'=' | b'\\' | 0x7f));
    if plain && !terminal {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let shown = if terminal {
        printable(text)
    } else {
        text.into()
    };
    if plain {
        out.extend_from_slice(shown.as_bytes());
        return;
    }
    // JSON's way of quoting is the one every reader of logfmt understands.
    let quoted = serde_json::to_string(&shown).unwrap_or_default();
    out.extend_from_slice(quoted.as_bytes());
}
