//! Many events as bytes, and back: what the disk queue keeps of a batch.
//!
//! A block is a head, the names of its fields, the texts, and one entry an event. It stands for itself: no other block
//! and no running program is needed to read it. A text that several fields of an event share (a line and the words in it)
//! is kept once, and so is one that a field has in one event after the other (the name of the host). Nothing is
//! allocated for a field, neither on the way there nor back: a text comes back as a place in the text of its block.
//!
//! ```text
//! head    events u32 · seen_to i64 · bytes u64 · names u32 · names' bytes u32 · texts' bytes u32 · entries' bytes u32
//! names   (length u8 · bytes) for each; a field is then its place in this list
//! texts   UTF-8
//! entry   id 2 × u64 · time i64 · ordinal u64 · base u32 · fields u16, then for each field:
//!         kind (upper 4 bits) and name (lower 12) u16, and as the kind has it
//! ```
//! All numbers are little-endian. A near text is two u16, its place behind the entry's base and its length; a far one two
//! u32, its place in the texts and its length.

use super::buffer::Buffer;
use super::field::Field;
use super::slot::{Kind, Slot, Span};
use super::value::Value;
use super::{Event, EventId};
use crate::clock::Time;

mod single;
mod unpack;

pub(crate) use single::{put_event, take_event};
pub(crate) use unpack::{Block, Unpacker};

/// Bytes of the head.
const HEAD: usize = 36;
/// Bytes of an entry before its fields.
const ENTRY: usize = 38;
/// Most names of one block: as many as fit into the lower bits of a field's first word.
const MOST_NAMES: usize = 1 << 12;
/// Longest name [bytes].
const LONGEST_NAME: usize = 255;
/// Values nested deeper than this are kept as their JSON text.
const DEEPEST: usize = 32;

/// The upper bits of a field's first word.
mod kind {
    pub(super) const NULL: u16 = 0;
    pub(super) const FALSE: u16 = 1;
    pub(super) const TRUE: u16 = 2;
    pub(super) const INT: u16 = 3;
    pub(super) const FLOAT: u16 = 4;
    pub(super) const TIME: u16 = 5;
    pub(super) const INLINE: u16 = 6;
    pub(super) const NEAR: u16 = 7;
    pub(super) const FAR: u16 = 8;
    pub(super) const TREE: u16 = 9;
}

/// The first byte of a value inside a list or a map.
mod tree {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const TIME: u8 = 5;
    pub(super) const TEXT: u8 = 6;
    pub(super) const LIST: u8 = 7;
    pub(super) const MAP: u8 = 8;
}

/// Makes blocks of events; its memory is used again for the next block.
#[derive(Default)]
pub(crate) struct Packer {
    events: u32,
    bytes: u64,
    seen_to: Option<Time>,
    names: Vec<u8>,
    /// For each field of the program one more than its place among the names; 0 where it has none.
    places: Vec<u16>,
    named: Vec<Named>,
    texts: Vec<u8>,
    entries: Vec<u8>,
    /// The buffer of the last event, and how often it has been another one than before.
    buffer: Option<Buffer>,
    buffers: u32,
}

/// A field of the block, and where its text lay in the event before.
struct Named {
    field: Field,
    buffers: u32,
    text: Copied,
}

/// A text of the buffer that is in the block already.
#[derive(Clone, Copy, Default)]
struct Copied {
    /// Where it lies in the buffer.
    at: u32,
    len: u32,
    /// Where its copy begins in the texts of the block.
    to: u32,
}

impl Copied {
    /// Where `span` lies in the texts of the block, if this copy holds all of it.
    #[inline]
    fn place(self, span: Span) -> Option<u32> {
        let into = span.at.checked_sub(self.at)?;
        (u64::from(into) + u64::from(span.len) <= u64::from(self.len)).then(|| self.to + into)
    }
}

impl Packer {
    /// Events in the block so far.
    pub(crate) fn len(&self) -> usize {
        self.events as usize
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Bytes the block will have, roughly.
    pub(crate) fn size(&self) -> usize {
        HEAD + self.names.len() + self.texts.len() + self.entries.len()
    }

    /// Whether the event's names still fit into this block; one without events takes any event.
    pub(crate) fn has_room_for(&self, event: &Event) -> bool {
        self.is_empty() || self.named.len() + event.len() <= MOST_NAMES
    }

    /// Says what the events of one batch stand for, and when their source handed them over: the earliest word counts.
    pub(crate) fn note(&mut self, seen_to: Time, bytes: usize) {
        self.bytes += bytes as u64;
        self.seen_to = Some(self.seen_to.map_or(seen_to, |seen| seen.min(seen_to)));
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: &Event) {
        self.events += 1;
        let same = match (&self.buffer, &event.buffer) {
            (Some(last), Some(this)) => last.same(this),
            (_, None) => true,
            (None, Some(_)) => false,
        };
        if !same {
            self.buffer.clone_from(&event.buffer);
            self.buffers += 1;
        }
        let base = self.texts.len() as u32;
        let EventId([high, low]) = event.id;
        let mut head = [0; ENTRY];
        head[..8].copy_from_slice(&high.to_le_bytes());
        head[8..16].copy_from_slice(&low.to_le_bytes());
        head[16..24].copy_from_slice(&event.timestamp.0.to_le_bytes());
        head[24..32].copy_from_slice(&event.ordinal.to_le_bytes());
        head[32..36].copy_from_slice(&base.to_le_bytes());
        head[36..38].copy_from_slice(&(event.len() as u16).to_le_bytes());
        self.entries.extend_from_slice(&head);
        // The longest text of the buffer comes first: it usually is the line, and all others lie in it.
        let mut whole = Copied::default();
        let longest = event.slots.iter().filter(|slot| slot.kind == Kind::Span);
        if let Some(slot) = longest.max_by_key(|slot| slot.as_span().len) {
            let place = self.place_of(slot.field);
            whole = self.copy(event, slot.as_span(), place);
        }
        for slot in event.all_slots() {
            self.slot(event, slot, base, whole);
        }
    }

    fn slot(&mut self, event: &Event, slot: &Slot, base: u32, whole: Copied) {
        let name = self.place_of(slot.field);
        let wide = match slot.kind {
            Kind::Span => {
                let span = slot.as_span();
                let at = match whole.place(span) {
                    Some(at) => at,
                    None => self.copy(event, span, name).to,
                };
                return self.text(name, base, at, span.len);
            }
            Kind::Inline => {
                let text = slot.inline_bytes();
                self.word(kind::INLINE, name);
                self.entries.push(text.len() as u8);
                return self.entries.extend_from_slice(text);
            }
            Kind::Null => return self.word(kind::NULL, name),
            Kind::Bool if slot.number() == 0 => return self.word(kind::FALSE, name),
            Kind::Bool => return self.word(kind::TRUE, name),
            Kind::OwnedStr => {
                let text = event.value(slot).as_str().unwrap_or_default();
                let at = self.texts.len() as u32;
                self.texts.extend_from_slice(text.as_bytes());
                return self.text(name, base, at, text.len() as u32);
            }
            Kind::OwnedTree | Kind::Constant => {
                let value = match slot.kind {
                    Kind::Constant => {
                        super::constant::get(slot.number() as usize).map(|held| &held.value)
                    }
                    _ => event.owned.get(slot.number() as usize),
                };
                return match value {
                    Some(Value::Str(text)) => {
                        let at = self.texts.len() as u32;
                        self.texts.extend_from_slice(text.as_bytes());
                        self.text(name, base, at, text.len() as u32);
                    }
                    Some(value) => {
                        self.word(kind::TREE, name);
                        put_tree(value, 0, &mut self.entries);
                    }
                    None => self.word(kind::NULL, name),
                };
            }
            Kind::Int => kind::INT,
            Kind::Float => kind::FLOAT,
            Kind::Time => kind::TIME,
        };
        let mut entry = [0; 10];
        entry[..2].copy_from_slice(&(wide << 12 | name).to_le_bytes());
        entry[2..].copy_from_slice(&slot.number().to_le_bytes());
        self.entries.extend_from_slice(&entry);
    }

    #[inline]
    fn word(&mut self, kind: u16, name: u16) {
        self.entries
            .extend_from_slice(&(kind << 12 | name).to_le_bytes());
    }

    /// Writes where a text of the block lies.
    #[inline]
    fn text(&mut self, name: u16, base: u32, at: u32, len: u32) {
        let near = at.checked_sub(base).and_then(|at| u16::try_from(at).ok());
        if let (Some(at), Ok(len)) = (near, u16::try_from(len)) {
            let mut entry = [0; 6];
            entry[..2].copy_from_slice(&(kind::NEAR << 12 | name).to_le_bytes());
            entry[2..4].copy_from_slice(&at.to_le_bytes());
            entry[4..].copy_from_slice(&len.to_le_bytes());
            self.entries.extend_from_slice(&entry);
        } else {
            let mut entry = [0; 10];
            entry[..2].copy_from_slice(&(kind::FAR << 12 | name).to_le_bytes());
            entry[2..6].copy_from_slice(&at.to_le_bytes());
            entry[6..].copy_from_slice(&len.to_le_bytes());
            self.entries.extend_from_slice(&entry);
        }
    }

    /// The text of the buffer at `span`, copied unless this field had the same in an event before.
    fn copy(&mut self, event: &Event, span: Span, name: u16) -> Copied {
        let buffers = self.buffers;
        let Some(named) = self.named.get_mut(usize::from(name)) else {
            return Copied::default();
        };
        let last = named.text;
        if named.buffers == buffers && (last.at, last.len) == (span.at, span.len) {
            return last;
        }
        let text = event.span_text(span);
        let copied = Copied {
            at: span.at,
            len: text.len() as u32,
            to: self.texts.len() as u32,
        };
        (named.buffers, named.text) = (buffers, copied);
        self.texts.extend_from_slice(text.as_bytes());
        copied
    }

    /// The place of a field among the names of the block.
    #[inline]
    fn place_of(&mut self, field: Field) -> u16 {
        match self.places.get(usize::from(field.0)) {
            Some(place) if *place > 0 => *place - 1,
            _ => self.name(field),
        }
    }

    #[cold]
    fn name(&mut self, field: Field) -> u16 {
        let (place, at) = (self.named.len() as u16, usize::from(field.0));
        if self.places.len() <= at {
            self.places.resize(at + 1, 0);
        }
        self.places[at] = place + 1;
        self.named.push(Named {
            field,
            buffers: 0,
            text: Copied::default(),
        });
        let path = field.path();
        let path = &path[..path.floor_char_boundary(LONGEST_NAME)];
        self.names.push(path.len() as u8);
        self.names.extend_from_slice(path.as_bytes());
        place
    }

    /// Appends the block to `out` and begins the next one.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let seen_to = self.seen_to.unwrap_or(Time::MIN);
        out.extend_from_slice(&self.events.to_le_bytes());
        out.extend_from_slice(&seen_to.0.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        for len in [
            self.named.len(),
            self.names.len(),
            self.texts.len(),
            self.entries.len(),
        ] {
            out.extend_from_slice(&(len as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.names);
        out.extend_from_slice(&self.texts);
        out.extend_from_slice(&self.entries);
        for named in self.named.drain(..) {
            self.places[usize::from(named.field.0)] = 0;
        }
        self.names.clear();
        self.texts.clear();
        self.entries.clear();
        self.buffer = None;
        (self.events, self.bytes, self.seen_to, self.buffers) = (0, 0, None, 0);
    }
}

fn put_tree(value: &Value, depth: usize, out: &mut Vec<u8>) {
    let wide = |tag: u8, bytes: [u8; 8], out: &mut Vec<u8>| {
        out.push(tag);
        out.extend_from_slice(&bytes);
    };
    match value {
        Value::List(_) | Value::Map(_) if depth >= DEEPEST => {
            out.push(tree::TEXT);
            put_text(&value.as_ref().to_json().to_string(), out);
        }
        Value::Null => out.push(tree::NULL),
        Value::Bool(false) => out.push(tree::FALSE),
        Value::Bool(true) => out.push(tree::TRUE),
        Value::Int(number) => wide(tree::INT, number.to_le_bytes(), out),
        Value::Float(number) => wide(tree::FLOAT, number.to_le_bytes(), out),
        Value::Time(time) => wide(tree::TIME, time.0.to_le_bytes(), out),
        Value::Str(text) => {
            out.push(tree::TEXT);
            put_text(text, out);
        }
        Value::List(values) => {
            out.push(tree::LIST);
            out.extend_from_slice(&(values.len() as u32).to_le_bytes());
            for value in values {
                put_tree(value, depth + 1, out);
            }
        }
        Value::Map(members) => {
            out.push(tree::MAP);
            out.extend_from_slice(&(members.len() as u32).to_le_bytes());
            for (key, value) in members {
                put_text(key, out);
                put_tree(value, depth + 1, out);
            }
        }
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests;
