//! Events written down for later: in the outbox of a snapshot, or inside the state of a transform that holds some back.

use serde::Deserialize;

use crate::clock::Time;
use crate::component::run::StateError;
use crate::event::Event;
use crate::event::pack::{put_event, take_event};

#[derive(Deserialize)]
struct Kept {
    /// To the nanosecond; the JSON of an event has milliseconds.
    time: Time,
    event: serde_json::Value,
}

/// How an event is written; what begins with a brace is JSON, as earlier versions wrote it.
const PACKED: u8 = 1;

/// Appends the event to a state: 4 bytes of length, then its fields.
pub fn write_event(event: &Event, to: &mut Vec<u8>) {
    let at = to.len();
    to.extend_from_slice(&[0; 4]);
    to.push(PACKED);
    put_event(event, to);
    let len = u32::try_from(to.len() - at - 4).unwrap_or(u32::MAX);
    to[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// Takes the next event from the front of a state. It has no place in a lane any more.
pub fn read_event(from: &mut &[u8]) -> Result<Event, StateError> {
    let short = || StateError("a held event is cut short".to_owned());
    let (len, rest) = from.split_first_chunk::<4>().ok_or_else(short)?;
    let (bytes, rest) = rest
        .split_at_checked(u32::from_le_bytes(*len) as usize)
        .ok_or_else(short)?;
    let broken =
        |why: &dyn std::fmt::Display| StateError(format!("a held event cannot be read: {why}"));
    let event = match bytes.split_first() {
        Some((&PACKED, packed)) => take_event(packed).map_err(|why| broken(&why))?,
        _ => {
            let kept: Kept = serde_json::from_slice(bytes).map_err(|why| broken(&why))?;
            let mut event = Event::from_json(kept.event).map_err(StateError)?;
            event.set_timestamp(kept.time);
            event
        }
    };
    *from = rest;
    Ok(event)
}
