//! What two events must share to be the same one.

use aws_lc_rs::digest;
use pipeline::{Event, Field, Value, ValueRef, fields};

use super::recent::Key;

/// What two events must share to be the same one.
pub(super) enum Keys {
    /// `event.id`.
    Id,
    /// The values of these fields, and the text they are written into before hashing.
    Of(Vec<Field>, Vec<u8>),
    /// The values of all fields but these and those below them.
    But(Vec<String>, Vec<u8>),
}

impl Keys {
    /// The values of these fields; their order does not matter.
    pub(super) fn of(paths: &[String]) -> Keys {
        let mut paths: Vec<&String> = paths.iter().collect();
        paths.sort();
        paths.dedup();
        Keys::Of(
            paths.into_iter().map(|path| Field::new(path)).collect(),
            Vec::new(),
        )
    }

    /// The values of all fields but these. `event.id` is never among them: it would tell any two events apart.
    pub(super) fn but(paths: &[String]) -> Keys {
        let mut paths = paths.to_vec();
        paths.push(fields::EVENT_ID.path().to_owned());
        paths.sort();
        paths.dedup();
        Keys::But(paths, Vec::new())
    }

    /// What keys saved to disk depend on.
    pub(super) fn meaning(&self) -> String {
        match self {
            Keys::Id => "event.id".to_owned(),
            Keys::Of(fields, _) => {
                let paths: Vec<&str> = fields.iter().map(|field| field.path()).collect();
                format!("fields {}", paths.join(" "))
            }
            Keys::But(paths, _) => format!("all but {}", paths.join(" ")),
        }
    }

    /// The key of an event; `None` if it has nothing that could be compared.
    #[inline]
    pub(super) fn of_event(&mut self, event: &Event) -> Option<Key> {
        match self {
            Keys::Id => Some(event.id().0),
            Keys::Of(fields, text) => {
                text.clear();
                let mut any = false;
                for field in fields.iter() {
                    any |= write_field(event, *field, text);
                }
                any.then(|| short(text))
            }
            Keys::But(paths, text) => {
                text.clear();
                let left_out = |path: &str| paths.iter().any(|held| covers(held, path));
                let mut wanted: Vec<_> = event
                    .iter()
                    .map(|(field, value)| (field.path(), value))
                    .filter(|(path, _)| !left_out(path))
                    .collect();
                if !left_out(fields::TIMESTAMP.path()) {
                    wanted.push((fields::TIMESTAMP.path(), ValueRef::Time(event.timestamp())));
                }
                // Fields are set in any order.
                wanted.sort_unstable_by_key(|(path, _)| *path);
                for (path, value) in &wanted {
                    write_text(path, text);
                    write(*value, text);
                }
                (!wanted.is_empty()).then(|| short(text))
            }
        }
    }
}

/// Whether `path` is `upper` or lies below it.
fn covers(upper: &str, path: &str) -> bool {
    path.strip_prefix(upper)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Half a SHA-256: whoever can write log lines must not be able to make another event's key.
fn short(text: &[u8]) -> Key {
    let digest = digest::digest(&digest::SHA256, text);
    let half = |at: usize| {
        digest.as_ref()[at..at + 8]
            .iter()
            .fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
    };
    [half(0), half(8)]
}

/// Appends a field and says whether it is there. A field with others below it is all of those.
fn write_field(event: &Event, field: Field, text: &mut Vec<u8>) -> bool {
    if field == fields::EVENT_ID {
        let mut hex = [0; 32];
        event.id().write_hex(&mut hex);
        text.push(b's');
        text.extend_from_slice(&hex);
        return true;
    }
    if let Some(value) = event.get(field) {
        write(value, text);
        return true;
    }
    let mut below: Vec<_> = event
        .iter()
        .map(|(held, value)| (held.path(), value))
        .filter(|(path, _)| covers(field.path(), path))
        .collect();
    if below.is_empty() {
        text.push(b'-');
        return false;
    }
    below.sort_unstable_by_key(|(path, _)| *path);
    text.push(b'{');
    write_len(below.len(), text);
    for (path, value) in below {
        write_text(path, text);
        write(value, text);
    }
    true
}

/// Appends a value so that no two different ones are written alike: a letter for its kind, then a length or a fixed size.
fn write(value: ValueRef<'_>, text: &mut Vec<u8>) {
    match value {
        ValueRef::Null => text.push(b'0'),
        ValueRef::Bool(v) => text.extend_from_slice(&[b'b', u8::from(v)]),
        ValueRef::Int(v) => number(b'i', v as u64, text),
        ValueRef::Float(v) => number(b'f', v.to_bits(), text),
        ValueRef::Time(v) => number(b't', v.0 as u64, text),
        ValueRef::Str(v) => write_text(v, text),
        ValueRef::List(v) => {
            text.push(b'[');
            write_len(v.len(), text);
            v.iter().map(Value::as_ref).for_each(|v| write(v, text));
        }
        ValueRef::Map(v) => {
            text.push(b'{');
            write_len(v.len(), text);
            for (key, value) in v {
                write_text(key, text);
                write(value.as_ref(), text);
            }
        }
    }
}

fn number(kind: u8, bits: u64, text: &mut Vec<u8>) {
    text.push(kind);
    text.extend_from_slice(&bits.to_le_bytes());
}

fn write_text(v: &str, text: &mut Vec<u8>) {
    text.push(b's');
    write_len(v.len(), text);
    text.extend_from_slice(v.as_bytes());
}

fn write_len(len: usize, text: &mut Vec<u8>) {
    text.extend_from_slice(&(len as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::{EventId, Time};

    fn event(set: &[(&str, Value)]) -> Event {
        let mut event = Event::new(EventId([1, 2]), Time(7));
        for (path, value) in set {
            event.set(Field::new(path), value.clone());
        }
        event
    }

    fn keys(paths: &[&str]) -> Keys {
        Keys::of(&paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn absent_empty_null_and_text_that_looks_alike_are_told_apart() {
        let mut keys = keys(&["dk.a", "dk.b"]);
        let events = [
            event(&[("dk.a", "".into())]),
            event(&[("dk.a", Value::Null)]),
            event(&[("dk.b", "".into())]),
            event(&[("dk.a", "x".into()), ("dk.b", "y".into())]),
            event(&[("dk.a", "xy".into()), ("dk.b", "".into())]),
            event(&[("dk.a", "1".into())]),
            event(&[("dk.a", 1_i64.into())]),
            event(&[("dk.a", 1.0.into())]),
            event(&[("dk.a", Value::List(vec!["x".into()]))]),
        ];
        let mut seen = std::collections::HashSet::new();
        for event in &events {
            assert!(seen.insert(keys.of_event(event)), "{event:?}");
        }
        assert_eq!(keys.of_event(&event(&[("dk.c", "x".into())])), None);
    }

    #[test]
    fn a_parent_is_all_that_lies_below_it_in_any_order() {
        let mut keys = keys(&["dkp"]);
        let one = event(&[("dkp.a", "1".into()), ("dkp.b", "2".into())]);
        let other = event(&[
            ("dkp.b", "2".into()),
            ("dkpx", "3".into()),
            ("dkp.a", "1".into()),
        ]);
        assert_eq!(keys.of_event(&one), keys.of_event(&other));
        assert_ne!(
            keys.of_event(&one),
            keys.of_event(&event(&[("dkp.a", "1".into())]))
        );
    }

    #[test]
    fn ignored_fields_do_not_count_and_the_time_does() {
        let mut all_but = Keys::but(&["dki.seen".to_owned()]);
        let one = event(&[("dki.a", "1".into()), ("dki.seen", "2".into())]);
        let mut other = event(&[("dki.seen", "3".into()), ("dki.a", "1".into())]);
        assert_eq!(all_but.of_event(&one), all_but.of_event(&other));
        other.set_timestamp(Time(8));
        assert_ne!(all_but.of_event(&one), all_but.of_event(&other));
    }
}
