//! Which events belong together: the values of some fields as one bounded text.

use std::borrow::Borrow;
use std::fmt::{self, Write};
use std::sync::Arc;

use pipeline::{Event, ValueRef};
use serde::{Deserialize, Serialize};

use super::path::Path;
use super::rule::Missing;

/// Longest value in a key [bytes]; of a longer one its beginning and a hash of all of it.
const LONGEST: usize = 512;

/// One part of `group_by`: a field, or a name that stands for different fields of different selections.
#[derive(Clone, Debug)]
pub struct Group {
    /// The field or alias, as written.
    pub name: Box<str>,
    /// The field, or the one to take where no alias holds.
    pub(super) path: Option<Path>,
    /// Bit of a selection → field.
    pub(super) aliases: Vec<(u64, Path)>,
    /// Its name as JSON, with the colon.
    pub(super) json: Box<str>,
}

impl Group {
    /// Whether it is another field for each selection.
    pub(crate) fn is_alias(&self) -> bool {
        self.path.is_none()
    }

    pub(super) fn new(name: &str, path: Option<Path>, aliases: Vec<(u64, Path)>) -> Group {
        let json = format!("{}:", serde_json::Value::from(name)).into();
        Group {
            name: name.into(),
            path,
            aliases,
            json,
        }
    }

    /// The field to look at where these selections hold.
    pub(crate) fn path(&self, bits: u64) -> Option<&Path> {
        let alias = self.aliases.iter().find(|(bit, _)| bits & bit != 0);
        alias.map(|(_, path)| path).or(self.path.as_ref())
    }
}

/// The key of a group: its canonical JSON, `{"source.ip":"192.0.2.7","user.id":null}`, names in their order.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupKey(Arc<str>);

impl GroupKey {
    /// As it goes into the id of an alert.
    pub fn canonical_json(&self) -> &str {
        &self.0
    }

    /// Names and values; `null`: the event did not say.
    pub fn values(&self) -> Vec<(String, serde_json::Value)> {
        match serde_json::from_str(&self.0) {
            Ok(serde_json::Value::Object(map)) => map.into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl From<&str> for GroupKey {
    fn from(json: &str) -> GroupKey {
        GroupKey(json.into())
    }
}

impl Borrow<str> for GroupKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes the key of an event; `groups` is in the order of names. False: the event belongs to none.
pub(super) fn write(
    groups: &[Group],
    missing: Missing,
    event: &Event,
    bits: u64,
    out: &mut String,
) -> bool {
    out.clear();
    out.push('{');
    for (n, group) in groups.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(&group.json);
        let start = out.len();
        let mut several = 0;
        if let Some(path) = group.path(bits) {
            path.each(event, |value| {
                several += 1;
                if several > 1 {
                    out.push(',');
                }
                // A list is a value like another, as long as a value may be.
                if out.len() - start < 4 * LONGEST {
                    push(value, out);
                } else {
                    out.push_str("\"…\"");
                }
            });
        }
        match several {
            0 if missing == Missing::Skip => return false,
            0 => out.push_str("null"),
            1 => {}
            _ => {
                out.insert(start, '[');
                out.push(']');
                if out.len() - start > 4 * LONGEST {
                    let hash = xxhash_rust::xxh3::xxh3_128(&out.as_bytes()[start..]);
                    out.truncate(start);
                    _ = write!(out, "\"[{several} values] {hash:032x}\"");
                }
            }
        }
    }
    out.push('}');
    true
}

/// The key of a group whose values somebody wrote down, in the order of `groups`.
pub(super) fn key_of(
    groups: &[Group],
    value: impl Fn(&str) -> Option<serde_json::Value>,
) -> GroupKey {
    let mut out = String::from("{");
    for (n, group) in groups.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(&group.json);
        match value(&group.name) {
            Some(value) => push(pipeline::Value::from_json(value).as_ref(), &mut out),
            None => out.push_str("null"),
        }
    }
    out.push('}');
    GroupKey::from(out.as_str())
}

fn push(value: ValueRef<'_>, out: &mut String) {
    match value {
        ValueRef::Int(number) => _ = write!(out, "{number}"),
        ValueRef::Bool(is) => out.push_str(if is { "true" } else { "false" }),
        ValueRef::Float(number) if number.is_finite() => _ = write!(out, "{number}"),
        ValueRef::Time(time) => _ = write!(out, "\"{time}\""),
        ValueRef::Str(text) => push_text(text, out),
        value => push_text(&value.to_json().to_string(), out),
    }
}

fn push_text(text: &str, out: &mut String) {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.push('"');
    for c in text[..end].chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    if end < text.len() {
        let hash = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
        _ = write!(out, "…{hash:032x}");
    }
    out.push('"');
}
