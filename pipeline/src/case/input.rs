//! Reads the input of a case: lines and events with the time at which each arrives.

use std::path::Path;
use std::str::FromStr as _;

use crate::clock::Time;
use crate::event::{Event, EventId, fields};
use crate::units::Duration;

/// Largest input of a case [bytes].
const LARGEST: u64 = 64 << 20;

/// What one source reads.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Input {
    pub(super) items: Vec<Item>,
    /// Where the clock stands at the end.
    pub(super) end: Option<Time>,
}

/// One line or event and when it arrives.
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    pub(super) time: Time,
    /// Its place in the file [bytes].
    pub(super) offset: u64,
    pub(super) text: Vec<u8>,
    /// Whether it is an event as JSON instead of a raw line.
    pub(super) is_event: bool,
}

impl Input {
    /// Reads `in.<source>.log`, `in.<source>.jsonl`, else `in.log`, `in.jsonl`; nothing where there is none of them.
    pub(super) fn read(folder: &Path, source: &str, start: Time) -> Result<Input, String> {
        for (name, is_event) in [
            (format!("in.{source}.log"), false),
            (format!("in.{source}.jsonl"), true),
            ("in.log".to_owned(), false),
            ("in.jsonl".to_owned(), true),
        ] {
            let path = folder.join(&name);
            let size = match std::fs::metadata(&path) {
                Ok(meta) => meta.len(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
            };
            if size > LARGEST {
                return Err(format!("{} is larger than 64 MiB", path.display()));
            }
            let text = std::fs::read(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            return Input::parse(&text, is_event, start)
                .map_err(|(line, why)| format!("{}:{line}: {why}", path.display()));
        }
        Ok(Input::default())
    }

    /// An error says in which line, from 1.
    pub(super) fn parse(
        text: &[u8],
        is_event: bool,
        start: Time,
    ) -> Result<Input, (usize, String)> {
        let (mut time, mut offset, mut items) = (start, 0, Vec::new());
        for (n, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let at = offset;
            offset += line.len() as u64;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if let Some(word) = line.strip_prefix(b"@ ") {
                let word = String::from_utf8_lossy(word);
                time = moved(time, word.trim()).ok_or_else(|| {
                    let why = format!("{word:?} moves no clock; write `@ +61 s` or `@ 2026-03-14T23:00:00Z`, not before the time it is");
                    (n + 1, why)
                })?;
            } else if !(is_event && line.trim_ascii().is_empty()) {
                let text = line.to_vec();
                items.push(Item {
                    time,
                    offset: at,
                    text,
                    is_event,
                });
            }
        }
        Ok(Input {
            items,
            end: Some(time),
        })
    }
}

fn moved(from: Time, word: &str) -> Option<Time> {
    match word.strip_prefix('+') {
        Some(length) => {
            let length: String = length.chars().filter(|c| !c.is_whitespace()).collect();
            Some(from.after(Duration::from_str(&length).ok()?.get()))
        }
        None => Time::parse(word).filter(|to| *to >= from),
    }
}

/// An event from JSON, nested or by dotted paths. Where it says neither time nor id, it happened `now` and is the
/// `n`th of `origin`.
pub(crate) fn event(
    json: serde_json::Map<String, serde_json::Value>,
    origin: &str,
    n: u64,
    now: Time,
) -> Result<Event, String> {
    let mut nested = serde_json::Value::Object(serde_json::Map::new());
    for (path, value) in json {
        set(&mut nested, &path, value)?;
    }
    let has = |path: &str| {
        nested
            .pointer(&format!("/{}", path.replace('.', "/")))
            .is_some()
    };
    let has_time = has(fields::TIMESTAMP.path());
    if !has(fields::EVENT_ID.path()) {
        let id = EventId::of_parts(&[b"case", origin.as_bytes(), &n.to_le_bytes()]);
        set(&mut nested, fields::EVENT_ID.path(), id.to_string().into())?;
    }
    // Names in a test are written by whoever writes the test, like those in a configuration.
    intern("", &nested);
    let mut event = Event::from_json(nested)?;
    if !has_time {
        event.set_timestamp(now);
    }
    Ok(event)
}

fn set(into: &mut serde_json::Value, path: &str, value: serde_json::Value) -> Result<(), String> {
    let mut at = into;
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let serde_json::Value::Object(members) = at else {
            return Err(format!("{path:?} lies below something that is no object"));
        };
        if names.peek().is_none() {
            members.insert(name.to_owned(), value);
            return Ok(());
        }
        at = members
            .entry(name)
            .or_insert_with(|| serde_json::Value::Object(serde_json::Map::new()));
    }
    Ok(())
}

fn intern(path: &str, value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                intern(&below, value);
            }
        }
        _ => {
            crate::event::Field::new(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_lines_move_the_lines_behind_them() {
        let input = Input::parse(
            b"one\n@ +61 s\ntwo\n\n@ 1970-01-01T00:02:00Z\n",
            false,
            Time(0),
        )
        .unwrap();
        let seen: Vec<_> = input
            .items
            .iter()
            .map(|i| (i.time, i.offset, i.text.as_slice()))
            .collect();
        let minute = Time::from_secs(61);
        assert_eq!(
            seen,
            [
                (Time(0), 0, &b"one"[..]),
                (minute, 12, b"two"),
                (minute, 16, b"")
            ]
        );
        assert_eq!(input.end, Some(Time::from_secs(120)));
        assert_eq!(
            Input::parse(b"a\n@ soon\n", false, Time(0)).unwrap_err().0,
            2
        );
    }

    #[test]
    fn dotted_and_nested_are_the_same_event() {
        let json = |text: &str| serde_json::from_str(text).unwrap();
        let one = event(
            json(r#"{"user.name": "root", "case_only.x": 1}"#),
            "a",
            1,
            Time(5),
        )
        .unwrap();
        let other = event(
            json(r#"{"user": {"name": "root"}, "case_only": {"x": 1}}"#),
            "a",
            1,
            Time(5),
        )
        .unwrap();
        assert_eq!(one.to_json(), other.to_json());
        assert_ne!(one.id(), EventId::default());
    }
}
