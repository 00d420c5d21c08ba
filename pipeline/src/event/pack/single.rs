//! One event as bytes that stand for themselves: what a transform that holds some back writes into its state.
//!
//! `id 2 × u64 · time i64 · fields u16`, then for each its name and its value, as values stand in a block.

use super::super::{Event, EventId, Field, Value, ValueRef};
use super::unpack::{Broken, From, take_tree};
use super::{put_text, put_tree};
use crate::clock::Time;

/// Appends the event; its place in a lane is not kept.
pub(crate) fn put_event(event: &Event, out: &mut Vec<u8>) {
    let EventId(id) = event.id();
    for word in id {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&event.timestamp().0.to_le_bytes());
    out.extend_from_slice(&(event.len() as u16).to_le_bytes());
    for (field, value) in event.iter() {
        put_text(field.path(), out);
        match value {
            ValueRef::Str(text) => {
                out.push(super::tree::TEXT);
                put_text(text, out);
            }
            other => put_tree(&other.to_owned(), 0, out),
        }
    }
}

/// Reads an event that takes all of the bytes.
pub(crate) fn take_event(bytes: &[u8]) -> Result<Event, Broken> {
    let mut from = From(bytes);
    let id = EventId([from.u64()?, from.u64()?]);
    let mut event = Event::new(id, Time(from.i64()?));
    for _ in 0..from.u16()? {
        let path = from.text()?;
        let value = take_tree(&mut from, 0)?;
        match Field::find(&path) {
            // Beside a map there may be fields below it.
            Some(field) if !matches!(value, Value::Map(_)) => event.set(field, value),
            _ => event.set_tree(&path, value),
        }
    }
    if from.0.is_empty() {
        Ok(event)
    } else {
        Err("something follows the event")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_comes_back_as_it_was() {
        let json = serde_json::json!({
            "@timestamp": "2026-03-14T22:58:03.412Z", "message": "a line", "n": 7, "f": 1.5, "b": true, "none": null,
            "tags": ["a", "b"], "pve": {"changes": [{"key": "cores", "old": "2"}], "vmid": 104}, "deep": {"x": {"y": [1]}},
        });
        let mut event = Event::from_json(json).unwrap();
        event.set_timestamp(Time(1_234_567_890_123_456_789));
        event.set_id(EventId([1, 2]));
        let mut bytes = Vec::new();
        put_event(&event, &mut bytes);
        let back = take_event(&bytes).unwrap();
        assert_eq!(
            (back.id(), back.timestamp()),
            (event.id(), event.timestamp())
        );
        assert_eq!(back.to_json(), event.to_json());
        for cut in 0..bytes.len() {
            assert!(take_event(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = take_event(&bytes);
        }
    }
}
