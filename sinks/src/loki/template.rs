//! Texts made from fields: `{{ host.name }}`, `pve-{{ user.domain:-none }}`.
//!
//! What stands behind `:-` is taken where the field is absent or empty. `{{ code_family }}` is the family of `event.code`:
//! `PVE-20` for `PVE-2002`.

use std::io::Write as _;
use std::ops::Range;

use pipeline::{Event, Field, ValueRef, fields};

/// A template that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { what: What, or: Option<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Field(Field),
    CodeFamily,
}

/// The one name that is no field.
const CODE_FAMILY: &str = "code_family";

impl Template {
    /// Reads it; the error names the range of bytes that is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find("{{").map(|n| at + n) {
            let Some(close) = text[open..].find("}}").map(|n| open + n) else {
                return Err((open..text.len(), "`{{` is not closed by `}}`".to_owned()));
            };
            if open > at {
                parts.push(Part::Text(text[at..open].to_owned()));
            }
            let (name, or) = match text[open + 2..close].split_once(":-") {
                Some((name, or)) => (name, Some(or.trim().to_owned())),
                None => (&text[open + 2..close], None),
            };
            // VRL writes a field with a full stop in front.
            let name = name.trim().trim_start_matches('.');
            let letter = |c: char| c.is_alphanumeric() || "@_-.".contains(c);
            if name.is_empty() || !name.chars().all(letter) {
                return Err((
                    open..close + 2,
                    format!("`{name}` is no field; write it like `{{{{ host.name }}}}`"),
                ));
            }
            let what = match name {
                CODE_FAMILY => What::CodeFamily,
                path => What::Field(Field::new(path)),
            };
            parts.push(Part::Value { what, or });
            at = close + 2;
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        Ok(Self { parts })
    }

    /// The fields it reads.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value {
                what: What::Field(field),
                ..
            } => Some(*field),
            _ => None,
        })
    }

    /// Whether it is the same text for every event.
    pub(super) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Appends the text for an event. `false`: a field it needs is absent or empty, and nothing was appended.
    #[inline]
    pub(super) fn write(&self, event: &Event, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        for part in &self.parts {
            let (what, or) = match part {
                Part::Text(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                Part::Value { what, or } => (*what, or),
            };
            let found = match what {
                What::Field(field) => value(event, field, out),
                What::CodeFamily => code_family(event, out),
            };
            match or {
                _ if found => {}
                Some(or) => out.extend_from_slice(or.as_bytes()),
                None => {
                    out.truncate(start);
                    return false;
                }
            }
        }
        out.len() > start
    }
}

/// Appends the value of a field as text; `false` if there is nothing to append.
#[inline]
fn value(event: &Event, field: Field, out: &mut Vec<u8>) -> bool {
    if field == fields::EVENT_ID {
        let mut hex = [0; 32];
        event.id().write_hex(&mut hex);
        out.extend_from_slice(&hex);
        return true;
    }
    let Some(value) = event.get(field) else {
        return false;
    };
    match value {
        ValueRef::Str(text) => {
            out.extend_from_slice(text.as_bytes());
            return !text.is_empty();
        }
        ValueRef::Int(n) => out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
        ValueRef::Null => return false,
        // Writing into a vector cannot fail.
        ValueRef::Bool(yes) => drop(write!(out, "{yes}")),
        ValueRef::Float(n) => drop(write!(out, "{n}")),
        ValueRef::Time(time) => drop(write!(out, "{time}")),
        ValueRef::List(_) | ValueRef::Map(_) => drop(write!(out, "{}", value.to_json())),
    }
    true
}

/// All of a code but its last two digits.
fn code_family(event: &Event, out: &mut Vec<u8>) -> bool {
    let Some(code) = event.str(fields::EVENT_CODE) else {
        return false;
    };
    let digits = code.bytes().rev().take_while(u8::is_ascii_digit).count();
    if digits < 4 {
        return false;
    }
    out.extend_from_slice(&code.as_bytes()[..code.len() - 2]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::events;

    fn written(template: &str, event: &Event) -> Option<String> {
        let mut out = b"before".to_vec();
        let done = Template::parse(template).unwrap().write(event, &mut out);
        let text = String::from_utf8(out).unwrap().split_off(6);
        assert!(done || text.is_empty(), "nothing is appended: {text}");
        done.then_some(text)
    }

    #[test]
    fn fields_become_text_and_what_is_absent_is_not_made_up() {
        let event = &events![{
            "host.name": "pve1", "pve.vmid": 104, "event.code": "PVE-2002", "tags": ["a", "b"], "user.name": "", "ok": true
        }][0];
        assert_eq!(written("{{ host.name }}", event).as_deref(), Some("pve1"));
        assert_eq!(
            written("{{host.name}}-{{ pve.vmid }}!", event).as_deref(),
            Some("pve1-104!")
        );
        assert_eq!(
            written("{{ code_family }}", event).as_deref(),
            Some("PVE-20")
        );
        assert_eq!(
            written("{{ ok }}{{ tags }}", event).as_deref(),
            Some(r#"true["a","b"]"#)
        );
        assert_eq!(
            written("{{ event.id }}", event),
            Some(event.id().to_string())
        );
        assert_eq!(written("x{{ user.name }}", event), None, "empty is absent");
        assert_eq!(
            written("x{{ user.name:-nobody }}", event).as_deref(),
            Some("xnobody")
        );
        assert_eq!(written("{{ .pve.vmid }}", event).as_deref(), Some("104"));
        assert_eq!(written("fixed", event).as_deref(), Some("fixed"));
        assert_eq!(written("", event), None);
    }

    #[test]
    fn a_code_without_four_digits_has_no_family() {
        for code in ["PVE-20", "x", "", "2002x"] {
            let event = &events![{ "event.code": code }][0];
            assert_eq!(written("{{ code_family }}", event), None, "{code}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, range) in [("a{{ b", 1..5), ("{{}}", 0..4), ("x{{ a b }}", 1..10)] {
            assert_eq!(Template::parse(text).unwrap_err().0, range, "{text}");
        }
    }
}
