//! Events written down for later: in the outbox of a snapshot, or inside the state of a transform that holds some back.

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::component::run::StateError;
use crate::event::Event;

#[derive(Serialize, Deserialize)]
struct Kept {
    /// To the nanosecond; the JSON of an event has milliseconds.
    time: Time,
    event: serde_json::Value,
}

/// Appends the event to a state: 4 bytes of length, then JSON.
pub fn write_event(event: &Event, to: &mut Vec<u8>) {
    let kept = Kept {
        time: event.timestamp(),
        event: event.to_json(),
    };
    let at = to.len();
    to.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *to, &kept).expect("writing JSON into memory does not fail");
    let len = u32::try_from(to.len() - at - 4).unwrap_or(u32::MAX);
    to[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// Takes the next event from the front of a state. It has no place in a lane any more.
pub fn read_event(from: &mut &[u8]) -> Result<Event, StateError> {
    let short = || StateError("a held event is cut short".to_owned());
    let (len, rest) = from.split_first_chunk::<4>().ok_or_else(short)?;
    let (text, rest) = rest
        .split_at_checked(u32::from_le_bytes(*len) as usize)
        .ok_or_else(short)?;
    let kept: Kept = serde_json::from_slice(text)
        .map_err(|error| StateError(format!("a held event cannot be read: {error}")))?;
    let mut event = Event::from_json(kept.event).map_err(StateError)?;
    event.set_timestamp(kept.time);
    *from = rest;
    Ok(event)
}
