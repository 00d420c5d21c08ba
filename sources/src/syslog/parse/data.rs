//! `[id k="v" k="w"][other]`: structured data of RFC 5424, as a map of maps.
//!
//! What comes twice, an element or a parameter, becomes a list: the RFC forbids the one and allows the other, and neither
//! may be lost. Names come from the network and are never interned.

use pipeline::Value;

use super::{Refusal, rfc5424};

/// Longest name the RFC allows [bytes].
pub(super) const LONGEST_NAME: usize = 32;
/// Most elements and parameters of one message; more is no message but an attack.
const MOST: usize = 1024;

type Map = Vec<(String, Value)>;

/// Reads elements from the `[` at `at` on, and says where they end.
pub(super) fn read(text: &[u8], mut at: usize) -> Result<(Value, usize), Refusal> {
    let mut elements = Map::new();
    let mut room = MOST;
    while text.get(at) == Some(&b'[') {
        let (id, end) = name(text, at + 1)?;
        at = end;
        let mut parameters = Map::new();
        take_room(&mut room, at)?;
        loop {
            match text.get(at) {
                Some(b']') => break,
                Some(b' ') => {}
                _ => return Err(Refusal::of_part("structured data", at)),
            }
            // More than one space between parameters is against the RFC and written all the same.
            at = super::scan::skip_spaces(text, at);
            if text.get(at) == Some(&b']') && !parameters.is_empty() {
                break;
            }
            take_room(&mut room, at)?;
            let (key, end) = name(text, at)?;
            if text.get(end..end + 2) != Some(b"=\"") {
                return Err(Refusal::of_part("structured data", end));
            }
            let (value, end) = quoted(text, end + 2)?;
            put(&mut parameters, key, Value::Str(value));
            at = end;
        }
        put(&mut elements, id, Value::Map(parameters));
        at += 1;
    }
    Ok((Value::Map(elements), at))
}

fn take_room(room: &mut usize, at: usize) -> Result<(), Refusal> {
    *room = room.checked_sub(1).ok_or(Refusal::new(
        "its structured data has more than 1024 elements and parameters",
        at,
    ))?;
    Ok(())
}

/// A name: anything but space, control character, `=`, `]` and `"`.
fn name(text: &[u8], at: usize) -> Result<(&str, usize), Refusal> {
    let rest = text.get(at..).unwrap_or_default();
    let len = rest
        .iter()
        .position(|byte| *byte <= b' ' || matches!(byte, b'=' | b']' | b'"'))
        .unwrap_or(rest.len());
    if len > LONGEST_NAME {
        rfc5424::overlong_name(len);
    }
    match std::str::from_utf8(&rest[..len]) {
        Ok(name) if len > 0 => Ok((name, at + len)),
        _ => Err(Refusal::of_part("structured data", at)),
    }
}

/// A value up to its closing quote. `\"`, `\\` and `\]` stand for one character; any other backslash is one itself (RFC
/// 5424, 6.3.3). A bare `]` is against the RFC, but inside quotes it can mean nothing else.
fn quoted(text: &[u8], from: usize) -> Result<(String, usize), Refusal> {
    let rest = text.get(from..).unwrap_or_default();
    let mut out = Vec::new();
    let mut done = 0;
    loop {
        let Some(found) = memchr::memchr2(b'"', b'\\', &rest[done..]) else {
            return Err(Refusal::of_part("structured data", from));
        };
        let found = done + found;
        out.extend_from_slice(&rest[done..found]);
        if rest[found] == b'"' {
            // Cut at ASCII bytes of a valid text, so nothing is replaced.
            return Ok((String::from_utf8_lossy(&out).into_owned(), from + found + 1));
        }
        match rest.get(found + 1) {
            Some(escaped @ (b'"' | b'\\' | b']')) => {
                out.push(*escaped);
                done = found + 2;
            }
            _ => {
                out.push(b'\\');
                done = found + 1;
            }
        }
    }
}

/// Adds a member, or makes those of the same name a list.
fn put(map: &mut Map, key: &str, value: Value) {
    match map.iter_mut().find(|(held, _)| held == key) {
        None => map.push((key.to_owned(), value)),
        Some((_, Value::List(list))) => list.push(value),
        Some((_, held)) => {
            let first = std::mem::replace(held, Value::Null);
            *held = Value::List(vec![first, value]);
        }
    }
}
