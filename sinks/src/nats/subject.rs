//! The subject of an event: `pve.audit.{{ host.name }}`, one token for each field, whatever its value is.

use std::ops::Range;

use pipeline::{Event, Field, ValueRef, fields};

/// A token made from a value is cut here [bytes].
const MAX_TOKEN: usize = 128;
/// What stands where an event has no such field, or an empty one.
const ABSENT: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A subject that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    parts: Vec<Part>,
}

impl Subject {
    /// Reads it; the error names the range of bytes that is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find("{{").map(|n| n + at) {
            let Some(close) = text[open..].find("}}").map(|n| n + open) else {
                return Err((open..text.len(), "`{{` is not closed by `}}`".to_owned()));
            };
            if open > at {
                parts.push(Part::Text(text[at..open].to_owned()));
            }
            let path = text[open + 2..close].trim().trim_start_matches('.');
            if path.is_empty() || path.split('.').any(str::is_empty) {
                let why = "a field is written like `{{ host.name }}`".to_owned();
                return Err((open..close + 2, why));
            }
            parts.push(Part::Field(Field::new(path)));
            at = close + 2;
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        let subject = Subject { parts };
        subject.check(text)?;
        Ok(subject)
    }

    fn check(&self, text: &str) -> Result<(), (Range<usize>, String)> {
        let whole = 0..text.len();
        for part in &self.parts {
            let Part::Text(plain) = part else { continue };
            if let Some(bad) = plain.chars().find(|c| !is_allowed(*c) && *c != '.') {
                let at = text.find(plain.as_str()).unwrap_or(0) + plain.find(bad).unwrap_or(0);
                let why = format!("{bad:?} cannot stand in a subject to publish to");
                return Err((at..at + bad.len_utf8(), why));
            }
        }
        let pattern = self.pattern();
        if pattern.split('.').any(str::is_empty) {
            return Err((
                whole,
                "a subject is tokens with one dot between them".to_owned(),
            ));
        }
        if pattern.starts_with("$JS.") || pattern.starts_with("$SYS.") {
            return Err((whole, "the server keeps $JS and $SYS for itself".to_owned()));
        }
        Ok(())
    }

    /// The subject as a stream would have to cover it: `*` where it changes.
    pub(super) fn pattern(&self) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Field(_) => filled.push('*'),
            }
        }
        // Only a whole token may be a wildcard: `web*` becomes `*`.
        let tokens: Vec<&str> = filled
            .split('.')
            .map(|token| if token.contains('*') { "*" } else { token })
            .collect();
        tokens.join(".")
    }

    /// Writes the subject of an event; says whether something of a value had to be written otherwise.
    pub(super) fn write(&self, event: &Event, out: &mut String) -> bool {
        let mut changed = false;
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field) => changed |= push_value(event, *field, out),
            }
        }
        changed
    }
}

fn push_value(event: &Event, field: Field, out: &mut String) -> bool {
    if field == fields::EVENT_ID {
        out.push_str(&event.id().to_string());
        return false;
    }
    match event.get(field) {
        Some(ValueRef::Str(text)) => push_token(text, out),
        Some(ValueRef::Int(number)) => push_token(&number.to_string(), out),
        Some(ValueRef::Bool(yes)) => push_token(if yes { "true" } else { "false" }, out),
        Some(ValueRef::List(_) | ValueRef::Map(_)) => {
            out.push_str(ABSENT);
            true
        }
        Some(ValueRef::Float(number)) => push_token(&number.to_string(), out),
        Some(ValueRef::Time(time)) => push_token(&time.to_string(), out),
        Some(ValueRef::Null) | None => {
            out.push_str(ABSENT);
            false
        }
    }
}

/// Writes a value as exactly one token.
fn push_token(text: &str, out: &mut String) -> bool {
    if text.is_empty() {
        out.push_str(ABSENT);
        return false;
    }
    let mut changed = false;
    let end = out.len() + MAX_TOKEN;
    for c in text.chars() {
        if out.len() >= end {
            return true;
        }
        if is_allowed(c) && c != '$' {
            out.push(c);
        } else {
            out.push('_');
            changed = true;
        }
    }
    changed
}

/// What may stand in a token: no separator, no wildcard, no blank, nothing that ends a line of the protocol, and nothing
/// beyond ASCII, which not every client of a subject takes.
fn is_allowed(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>')
}

/// Whether a stream that listens to `covers` gets everything that is published to `pattern`.
pub(super) fn is_covered(pattern: &str, covers: &str) -> bool {
    let mut asked = pattern.split('.');
    for token in covers.split('.') {
        match (token, asked.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(asked)) if token == asked => {}
            _ => return false,
        }
    }
    asked.next().is_none()
}

/// Whether some subject matches both.
pub(super) fn overlaps(pattern: &str, covers: &str) -> bool {
    let (mut ones, mut others) = (pattern.split('.'), covers.split('.'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) | (Some(_), Some(">")) => return true,
            (Some(one), Some(other)) if one == other || one == "*" || other == "*" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::events;

    fn subject(template: &str, json: pipeline::testing::Json) -> (String, bool) {
        let event = pipeline::testing::events([json]).remove(0);
        let mut out = String::new();
        let changed = Subject::parse(template).unwrap().write(&event, &mut out);
        (out, changed)
    }

    #[test]
    fn a_field_is_one_token_whatever_its_value() {
        use pipeline::testing::json;
        let template = "pve.{{ host.name }}.{{event.code}}";
        let of = |host: &str| subject(template, json!({"host.name": host, "event.code": 7}));
        assert_eq!(of("pve1"), ("pve.pve1.7".to_owned(), false));
        assert_eq!(of("a.b"), ("pve.a_b.7".to_owned(), true));
        assert_eq!(of("*"), ("pve._.7".to_owned(), true));
        assert_eq!(of(">"), ("pve._.7".to_owned(), true));
        assert_eq!(of("x y\r\nPUB"), ("pve.x_y__PUB.7".to_owned(), true));
        assert_eq!(of("$JS"), ("pve._JS.7".to_owned(), true));
        assert_eq!(of("näh\0"), ("pve.n_h_.7".to_owned(), true));
        assert_eq!(of(""), ("pve.none.7".to_owned(), false));
        let long = of(&"x".repeat(9999));
        assert!(long.0.len() < 200 && long.1);
        assert_eq!(subject(template, json!({"n": 1})).0, "pve.none.none");
        let map = events![{"host": {"odd": 1}}];
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn what_cannot_be_a_subject_is_told_with_its_place() {
        for (text, range) in [
            ("pve.{{ host.name", 4..16),
            ("pve.{{ }}", 4..9),
            ("pve audit", 3..4),
            ("pve.*", 4..5),
            ("pve..audit", 0..10),
            ("", 0..0),
            ("$JS.API.x", 0..9),
        ] {
            assert_eq!(Subject::parse(text).unwrap_err().0, range, "{text}");
        }
    }

    #[test]
    fn a_stream_covers_a_subject_or_does_not() {
        let pattern = Subject::parse("pve.{{ host.name }}.x-{{ event.code }}")
            .unwrap()
            .pattern();
        assert_eq!(pattern, "pve.*.*");
        for (covers, yes) in [
            ("pve.>", true),
            (">", true),
            ("pve.*.*", true),
            ("pve.*", false),
            ("pve.*.*.*", false),
            ("pve.*.x-1", false),
            ("pve.a.*", false),
            ("pve.*.*.>", false),
        ] {
            assert_eq!(is_covered(&pattern, covers), yes, "{covers}");
            let some = !matches!(covers, "pve.*" | "pve.*.*.*" | "pve.*.*.>");
            assert_eq!(overlaps(&pattern, covers), some, "{covers}");
        }
    }
}
