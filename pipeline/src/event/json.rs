//! JSON by shape.
//!
//! The sequence of an event's fields decides everything that stands between its values: order, nesting, names,
//! quotes. That skeleton is made once for each sequence and kept; writing an event is then copying pieces.

use hashbrown::HashMap;

use super::constant;
use super::field::{Field, fields};
use super::room::{Piece, Room, special};
use super::slot::Kind;
use super::{Event, ValueRef};
use crate::clock::Time;

/// Writes events as nested JSON objects. One per worker: it keeps the skeletons it has made.
pub struct JsonWriter {
    only: Option<Vec<Field>>,
    except: Vec<Field>,
    shapes: Vec<Shape>,
    /// Places of the shapes with the same hash.
    by_hash: HashMap<u64, Vec<usize>>,
    last: usize,
    second: i64,
    stamp: [u8; 24],
    /// The last time in a field, and its text: all events of a batch were made at one time.
    time: (Time, [u8; 24]),
}

/// Skeletons kept by one writer; a writer that meets more starts over [shapes].
const MOST_SHAPES: usize = 4096;

struct Shape {
    /// What the event shares with others, and where it stands.
    shared: (usize, u16),
    keys: Vec<u64>,
    steps: Vec<Step>,
    tail: Piece,
}

/// What is written before a value, and which value that is.
struct Step {
    lead: Piece,
    value: What,
}

#[derive(Clone, Copy)]
enum What {
    Slot(usize),
    /// The members of a map, behind others of the same object.
    Members(usize),
    Timestamp,
    Id,
    /// Part of the skeleton.
    Constant(usize),
}

impl JsonWriter {
    /// A writer of all fields, or of `only` these, and never of `except` those (each with what lies below it).
    pub fn new(only: Option<&[Field]>, except: Option<&[Field]>) -> JsonWriter {
        JsonWriter {
            only: only.map(<[Field]>::to_vec),
            except: except.unwrap_or_default().to_vec(),
            shapes: Vec::new(),
            by_hash: HashMap::new(),
            last: 0,
            second: i64::MIN,
            stamp: [0; 24],
            time: (Time(0), *b"1970-01-01T00:00:00.000Z"),
        }
    }

    /// Appends the event as one JSON object without a newline.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let place = self.shape(event);
        let stamp = self.stamp(event.timestamp());
        let shape = &self.shapes[place];
        let text = event
            .buffer
            .as_ref()
            .map_or("", |buffer| buffer.text())
            .as_bytes();
        let mut room = Room::at_the_end_of(out);
        for step in &shape.steps {
            room.piece(&step.lead);
            match step.value {
                What::Timestamp => room.array(&stamp),
                What::Id => {
                    let mut hex = [0; 32];
                    event.id().write_hex(&mut hex);
                    room.array(&hex);
                }
                What::Slot(n) => write_slot(event, text, n, &mut self.time, &mut room),
                What::Constant(_) => {}
                What::Members(n) => write_members(event, n, &mut room),
            }
        }
        room.piece(&shape.tail);
    }

    /// The time as text; events of the same second share all but the milliseconds.
    fn stamp(&mut self, time: Time) -> [u8; 24] {
        let second = time.0.div_euclid(1_000_000_000);
        if second == self.second {
            let millis = time.0.rem_euclid(1_000_000_000) / 1_000_000;
            self.stamp[20] = b'0' + (millis / 100) as u8;
            self.stamp[21] = b'0' + (millis / 10 % 10) as u8;
            self.stamp[22] = b'0' + (millis % 10) as u8;
        } else {
            time.write(&mut self.stamp);
            self.second = second;
        }
        self.stamp
    }

    #[inline]
    fn shape(&mut self, event: &Event) -> usize {
        let shared = shared(event);
        let fits = |place: usize| {
            self.shapes.get(place).is_some_and(|shape| {
                shape.shared == shared
                    && shape.keys.len() == event.slots.len()
                    && shape
                        .keys
                        .iter()
                        .zip(&event.slots)
                        .all(|(key, slot)| *key == slot.key())
            })
        };
        if fits(self.last) {
            return self.last;
        }
        // Keys are numbers of fields and constants, none of them an attacker's choice.
        // Their order is not in the sum; it is looked at where the sums are equal.
        let hash = event.slots.iter().fold(shared.0 as u64, |hash, slot| {
            hash.wrapping_add(slot.key().wrapping_mul(0x517c_c1b7_2722_0a95))
        });
        let known = self.by_hash.get(&hash);
        let known = known.and_then(|places| places.iter().copied().find(|place| fits(*place)));
        self.last = known.unwrap_or_else(|| self.learn(event, hash));
        self.last
    }

    #[cold]
    fn learn(&mut self, event: &Event, hash: u64) -> usize {
        if self.shapes.len() >= MOST_SHAPES {
            self.shapes.clear();
            self.by_hash.clear();
        }
        let keys: Vec<u64> = event.slots.iter().map(super::slot::Slot::key).collect();
        let mut parts: Vec<(&str, What, bool)> = vec![
            (fields::TIMESTAMP.path(), What::Timestamp, true),
            (fields::EVENT_ID.path(), What::Id, true),
        ];
        let (before, behind) = (usize::from(event.group_at), event.shared_len());
        parts.extend(event.all_slots().enumerate().map(|(n, slot)| {
            let what = match slot.kind {
                Kind::Constant => What::Constant(slot.number() as usize),
                _ if n < before => What::Slot(n),
                _ => What::Slot(n - behind),
            };
            (slot.field.path(), what, slot.is_text())
        }));
        parts.retain(|(path, _, _)| self.wanted(path));
        let tree = Tree::of(&parts);
        let mut skeleton = Skeleton {
            steps: Vec::new(),
            lead: Vec::new(),
        };
        skeleton.object(&tree);
        let place = self.shapes.len();
        self.by_hash.entry(hash).or_default().push(place);
        self.shapes.push(Shape {
            shared: shared(event),
            keys,
            steps: skeleton.steps,
            tail: Piece::new(&skeleton.lead),
        });
        place
    }

    fn wanted(&self, path: &str) -> bool {
        let covers = |field: &Field| {
            let upper = field.path();
            path == upper
                || path
                    .strip_prefix(upper)
                    .is_some_and(|rest| rest.starts_with('.'))
        };
        self.only
            .as_ref()
            .is_none_or(|only| only.iter().any(covers))
            && !self.except.iter().any(covers)
    }
}

/// What the event shares with others, as a number, and where it stands.
#[inline]
fn shared(event: &Event) -> (usize, u16) {
    match event.group {
        Some(group) => (std::ptr::from_ref(group).addr(), event.group_at),
        None => (0, 0),
    }
}

/// Names grouped by their parents, in the order in which each first appears.
enum Tree<'a> {
    Leaf(What, bool),
    /// Members with known names, and the map that holds the others.
    Object(Vec<(&'a str, Tree<'a>)>, Option<What>),
}

impl<'a> Tree<'a> {
    fn of(parts: &[(&'a str, What, bool)]) -> Tree<'a> {
        let mut root = Tree::Object(Vec::new(), None);
        for (path, what, text) in parts {
            root.insert(path, *what, *text);
        }
        root
    }

    fn insert(&mut self, path: &'a str, what: What, text: bool) {
        if let Tree::Leaf(What::Slot(map), false) = self {
            *self = Tree::Object(Vec::new(), Some(What::Members(*map)));
        }
        let Tree::Object(members, _) = self else {
            return;
        };
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let place = members.iter().position(|(held, _)| *held == name);
        match (place, rest) {
            (Some(place), Some(rest)) => members[place].1.insert(rest, what, text),
            (None, Some(rest)) => {
                let mut below = Tree::Object(Vec::new(), None);
                below.insert(rest, what, text);
                members.push((name, below));
            }
            (None, None) => members.push((name, Tree::Leaf(what, text))),
            // What an event holds beside fields below it is a map (`Event::clear_way`).
            (Some(place), None) => {
                if let (Tree::Object(_, others), What::Slot(map)) = (&mut members[place].1, what) {
                    *others = Some(What::Members(map));
                }
            }
        }
    }
}

struct Skeleton {
    steps: Vec<Step>,
    lead: Vec<u8>,
}

impl Skeleton {
    fn object(&mut self, tree: &Tree<'_>) {
        let Tree::Object(members, others) = tree else {
            return;
        };
        self.lead.push(b'{');
        for (n, (name, member)) in members.iter().enumerate() {
            if n > 0 {
                self.lead.push(b',');
            }
            write_text(name, &mut self.lead);
            self.lead.push(b':');
            match member {
                Tree::Object(..) => self.object(member),
                Tree::Leaf(What::Constant(place), _) => {
                    let held = constant::get(*place);
                    self.lead
                        .extend_from_slice(held.map_or(b"null", |held| &*held.json));
                }
                Tree::Leaf(value, text) => {
                    if *text {
                        self.lead.push(b'"');
                    }
                    self.steps.push(Step {
                        lead: Piece::new(&std::mem::take(&mut self.lead)),
                        value: *value,
                    });
                    if *text {
                        self.lead.push(b'"');
                    }
                }
            }
        }
        if let Some(value) = *others {
            self.steps.push(Step {
                lead: Piece::new(&std::mem::take(&mut self.lead)),
                value,
            });
        }
        self.lead.push(b'}');
    }
}

/// Members of a map, each behind a comma.
#[cold]
fn write_members(event: &Event, n: usize, room: &mut Room<'_>) {
    let ValueRef::Map(members) = event.value(&event.slots[n]) else {
        return;
    };
    room.with(|out| {
        for (key, value) in members {
            out.push(b',');
            write_text(key, out);
            out.push(b':');
            write_value(value.as_ref(), out);
        }
    });
}

#[inline(always)]
fn write_slot(
    event: &Event,
    buffer: &[u8],
    n: usize,
    last: &mut (Time, [u8; 24]),
    room: &mut Room<'_>,
) {
    let slot = &event.slots[n];
    let text = match slot.kind {
        Kind::Span => buffer.get(slot.as_span().range()).unwrap_or_default(),
        Kind::Inline => slot.inline_bytes(),
        Kind::OwnedStr => {
            let range = slot.as_span().range();
            event.texts.as_bytes().get(range).unwrap_or_default()
        }
        Kind::Int => {
            let mut digits = itoa::Buffer::new();
            room.plain(digits.format(slot.number() as i64).as_bytes());
            return;
        }
        Kind::Time => {
            let time = Time(slot.number() as i64);
            if last.0 != time {
                time.write(&mut last.1);
                last.0 = time;
            }
            room.array(b"\"");
            room.array(&last.1);
            return room.array(b"\"");
        }
        _ => {
            room.with(|out| write_value(event.value(slot), out));
            return;
        }
    };
    if !room.plain(text) {
        room.with(|out| escape_from(text, first_special(text).unwrap_or(text.len()), out));
    }
}

/// Appends any value as JSON.
pub(crate) fn write_value(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Bool(true) => out.extend_from_slice(b"true"),
        ValueRef::Bool(false) => out.extend_from_slice(b"false"),
        ValueRef::Int(v) => out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes()),
        ValueRef::Float(v) => match serde_json::Number::from_f64(v) {
            Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
            None => out.extend_from_slice(b"null"),
        },
        ValueRef::Time(v) => {
            let mut text = [0; 24];
            v.write(&mut text);
            out.push(b'"');
            out.extend_from_slice(&text);
            out.push(b'"');
        }
        ValueRef::Str(v) => write_text(v, out),
        ValueRef::List(values) => {
            out.push(b'[');
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_value(value.as_ref(), out);
            }
            out.push(b']');
        }
        ValueRef::Map(members) => {
            out.push(b'{');
            for (n, (key, value)) in members.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write_value(value.as_ref(), out);
            }
            out.push(b'}');
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text.as_bytes(), out);
    out.push(b'"');
}

/// Appends the inside of a JSON string: quotes, backslashes and control characters escaped, all else as it is.
#[inline]
pub(crate) fn escape(text: &[u8], out: &mut Vec<u8>) {
    match first_special(text) {
        None => out.extend_from_slice(text),
        Some(at) => escape_from(text, at, out),
    }
}

fn escape_from(mut text: &[u8], mut at: usize, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    loop {
        out.extend_from_slice(&text[..at]);
        let Some(byte) = text.get(at) else { return };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(other >> 4)]);
                out.push(HEX[usize::from(other & 15)]);
            }
        }
        text = &text[at + 1..];
        at = first_special(text).unwrap_or(text.len());
    }
}

/// The first byte that JSON wants escaped, eight bytes a step.
fn first_special(text: &[u8]) -> Option<usize> {
    let mut chunks = text.chunks_exact(8);
    let mut at = 0;
    for chunk in &mut chunks {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        let found = special(u64::from_le_bytes(bytes));
        if found != 0 {
            // A borrow can mark a byte above the first hit falsely, never one below it.
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = chunks.remainder();
    rest.iter()
        .position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')
        .map(|n| at + n)
}

#[cfg(test)]
mod tests;
