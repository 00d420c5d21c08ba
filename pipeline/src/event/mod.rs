//! One event: an id, a time, and a flat list of (field, value).
//!
//! Nesting exists only where JSON is written or read. A text is a place in the buffer of the read it came from, so
//! parsing a field neither allocates nor counts a reference.

mod buffer;
mod constant;
mod convert;
mod dynamic;
mod field;
mod group;
mod id;
pub(crate) mod json;
pub(crate) mod pack;
mod preset;
mod room;
mod slot;
mod text;
mod value;

pub use buffer::Buffer;
pub(crate) use buffer::Pool;
pub use field::{Field, fields};
pub use group::Shared;
pub use id::{EventId, digest_parts};
pub use json::JsonWriter;
pub use preset::Preset;
pub use slot::Span;
pub use value::{MAX_DEPTH, Value, ValueRef};

use group::Group;
use slot::{Kind, Slot};

use crate::clock::Time;

/// Most fields of one event; what comes after is refused and counted by whoever sets it.
pub const MAX_FIELDS: usize = 1024;

/// One event on its way from a source to the sinks.
pub struct Event {
    slots: Vec<Slot>,
    owned: Vec<Value>,
    /// Texts that it owns, one behind the other.
    texts: String,
    /// Fields that it shares with other events, and before which slot they stand.
    group: Option<&'static Group>,
    group_at: u16,
    buffer: Option<Buffer>,
    id: EventId,
    timestamp: Time,
    /// Place in the lane plus nothing: 0 means that the lane has no places.
    ordinal: u64,
}

impl Event {
    /// An event without fields.
    pub fn new(id: EventId, timestamp: Time) -> Event {
        Event {
            slots: Vec::new(),
            owned: Vec::new(),
            texts: String::new(),
            group: None,
            group_at: 0,
            buffer: None,
            id,
            timestamp,
            ordinal: 0,
        }
    }

    /// An event made of a line, with room for the fields a parser will add.
    pub(crate) fn fresh(id: EventId, timestamp: Time, ordinal: u64, buffer: Buffer) -> Event {
        Event {
            slots: Vec::with_capacity(16),
            buffer: Some(buffer),
            ordinal,
            ..Event::new(id, timestamp)
        }
    }

    /// Makes a used event into a new one and keeps its memory.
    #[inline]
    pub(crate) fn renew(&mut self, id: EventId, timestamp: Time, ordinal: u64, buffer: Buffer) {
        self.strip();
        self.buffer = Some(buffer);
        (self.id, self.timestamp, self.ordinal) = (id, timestamp, ordinal);
    }

    /// Lets go of everything but the memory of the field list.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.strip();
        self.buffer = None;
    }

    /// The id it was born with.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Gives it another id, where the source can say it only after reading the text. Nobody else may: an id is what an
    /// event was born with.
    pub fn set_id(&mut self, id: EventId) {
        self.id = id;
    }

    /// When it happened.
    pub fn timestamp(&self) -> Time {
        self.timestamp
    }

    /// Says when it happened.
    pub fn set_timestamp(&mut self, time: Time) {
        self.timestamp = time;
    }

    /// Its place in its lane, growing from 1; `None` where a re-read may come in another order.
    pub fn ordinal(&self) -> Option<u64> {
        (self.ordinal != 0).then_some(self.ordinal)
    }

    /// Gives it a place in its lane; 0 takes it away.
    pub fn set_ordinal(&mut self, ordinal: u64) {
        self.ordinal = ordinal;
    }

    /// The buffer that its spans point into.
    pub fn buffer(&self) -> Option<&Buffer> {
        self.buffer.as_ref()
    }

    /// Gives an event without a buffer the text that its spans will point into.
    pub fn set_buffer(&mut self, buffer: Buffer) {
        if self.buffer.is_some() {
            self.detach();
        }
        self.buffer = Some(buffer);
    }

    fn slot(&self, field: Field) -> Option<&Slot> {
        let own = self.slots.iter().find(|slot| slot.field == field);
        own.or_else(|| self.group?.slot(field))
    }

    /// What the field holds. `@timestamp` and `event.id` are there on every event; the id is not lent as text
    /// (use [`Event::id`]).
    pub fn get(&self, field: Field) -> Option<ValueRef<'_>> {
        if field == fields::TIMESTAMP {
            return Some(ValueRef::Time(self.timestamp));
        }
        self.slot(field).map(|slot| self.value(slot))
    }

    fn value<'a>(&'a self, slot: &'a Slot) -> ValueRef<'a> {
        match slot.kind {
            Kind::Null => ValueRef::Null,
            Kind::Bool => ValueRef::Bool(slot.number() != 0),
            Kind::Int => ValueRef::Int(slot.number() as i64),
            Kind::Float => ValueRef::Float(f64::from_bits(slot.number())),
            Kind::Time => ValueRef::Time(Time(slot.number() as i64)),
            Kind::Inline => {
                ValueRef::Str(std::str::from_utf8(slot.inline_bytes()).unwrap_or_default())
            }
            Kind::Span => ValueRef::Str(self.span_text(slot.as_span())),
            Kind::OwnedStr => {
                ValueRef::Str(self.texts.get(slot.as_span().range()).unwrap_or_default())
            }
            Kind::OwnedTree => self
                .owned
                .get(slot.number() as usize)
                .map_or(ValueRef::Null, Value::as_ref),
            Kind::Constant => constant::get(slot.number() as usize)
                .map_or(ValueRef::Null, |held| held.value.as_ref()),
        }
    }

    #[inline]
    fn span_text(&self, span: Span) -> &str {
        self.buffer
            .as_ref()
            .and_then(|buffer| buffer.text().get(span.range()))
            .unwrap_or_default()
    }

    /// The text of a field; `None` if it is absent or something else than text.
    pub fn str(&self, field: Field) -> Option<&str> {
        self.get(field)?.as_str()
    }

    /// Whether the field is there.
    pub fn has(&self, field: Field) -> bool {
        field == fields::TIMESTAMP || field == fields::EVENT_ID || self.slot(field).is_some()
    }

    /// Fields in the order they were set, without `@timestamp` and `event.id`.
    pub fn iter(&self) -> impl Iterator<Item = (Field, ValueRef<'_>)> {
        self.all_slots().map(|slot| (slot.field, self.value(slot)))
    }

    /// The fields alone, in the same order.
    pub fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        self.all_slots().map(|slot| slot.field)
    }

    /// Number of fields, without `@timestamp` and `event.id`.
    pub fn len(&self) -> usize {
        self.slots.len() + self.shared_len()
    }

    /// Whether it has no field beside its id and time.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the text of a field lies in the event's buffer, if it lies there.
    pub fn span(&self, field: Field) -> Option<Span> {
        self.slot(field)
            .filter(|slot| slot.kind == Kind::Span)
            .map(|slot| slot.as_span())
    }

    /// Sets a field; fields above and below it go. Setting `@timestamp` to a time (or RFC 3339 text) sets the time of
    /// the event; `event.id` cannot be set.
    pub fn set(&mut self, field: Field, value: impl Into<Value>) {
        let value = value.into();
        match value {
            Value::Str(ref text) => self.set_str(field, text),
            Value::List(_) | Value::Map(_) => self.set_owned(field, value),
            Value::Null => self.put(Slot::new(field, Kind::Null)),
            Value::Bool(v) => self.put(Slot::bool(field, v)),
            Value::Int(v) => self.put(Slot::int(field, v)),
            Value::Float(v) => self.put(Slot::float(field, v)),
            Value::Time(v) => self.put(Slot::time(field, v)),
        }
    }

    /// Sets a text, copying it.
    pub fn set_str(&mut self, field: Field, text: &str) {
        match Slot::inline(field, text) {
            Some(slot) => self.put(slot),
            None => self.set_text(field, text),
        }
    }

    fn set_owned(&mut self, field: Field, value: Value) {
        if field == fields::TIMESTAMP {
            return;
        }
        // A place that this very field holds is used again, so that a field set in a loop does not grow the list.
        let place = match self.slot(field) {
            Some(slot) if slot.kind == Kind::OwnedTree => slot.number() as usize,
            _ => self.owned.len(),
        };
        let slot = Slot::owned(field, place);
        match self.owned.get_mut(place) {
            Some(held) => *held = value,
            None => self.owned.push(value),
        }
        self.put(slot);
    }

    /// Sets a text that lies in the event's own buffer, without copying it.
    pub fn set_span(&mut self, field: Field, span: Span) {
        self.put(Slot::span(field, span));
    }

    fn put(&mut self, slot: Slot) {
        if slot.field == fields::TIMESTAMP {
            if slot.kind == Kind::Time {
                self.timestamp = Time(slot.number() as i64);
            }
            return;
        }
        if slot.field == fields::EVENT_ID {
            return;
        }
        self.ungroup_for(slot.field);
        if let Some(held) = self.slots.iter_mut().find(|held| held.field == slot.field) {
            let map = held.kind == Kind::OwnedTree;
            *held = slot;
            if map {
                // Only beside a map there may be fields below this one.
                self.clear_below(slot.field);
            }
            return;
        }
        self.clear_way(slot.field, true);
        if self.slots.len() < MAX_FIELDS {
            self.slots.push(slot);
        }
    }

    /// Takes away what cannot stand beside `field`: values above it, and what lies below it if that has to go. A map above
    /// it stays, without what it holds under that name.
    #[inline]
    fn clear_way(&mut self, field: Field, below: bool) {
        let slots = &mut self.slots;
        let mut map_above = false;
        field.with_relatives(|relatives| {
            if relatives.above.is_empty() && relatives.below.is_empty() {
                return;
            }
            slots.retain(|held| {
                if relatives.above.contains(&held.field) {
                    map_above |= held.kind == Kind::OwnedTree;
                    return held.kind == Kind::OwnedTree;
                }
                !below || !relatives.below.contains(&held.field)
            });
        });
        if map_above {
            self.shed(field.path());
        }
    }

    /// Adds a text of the event's buffer. The caller knows that neither the field nor one above or below it is there.
    #[inline]
    pub fn push_span(&mut self, field: Field, span: Span) {
        debug_assert!(!self.has(field), "{field} is there already");
        self.slots.push(Slot::span(field, span));
    }

    /// Adds a whole number. The caller knows that neither the field nor one above or below it is there.
    #[inline]
    pub fn push_int(&mut self, field: Field, value: i64) {
        debug_assert!(!self.has(field), "{field} is there already");
        self.slots.push(Slot::int(field, value));
    }

    /// Adds a point in time. The caller knows that neither the field nor one above or below it is there.
    #[inline]
    pub fn push_time(&mut self, field: Field, value: Time) {
        debug_assert!(!self.has(field), "{field} is there already");
        self.slots.push(Slot::time(field, value));
    }

    /// Adds fields made before. The caller knows that none of them, and none above or below them, is there.
    #[inline]
    pub fn push_preset(&mut self, preset: &Preset) {
        debug_assert!(preset.0.iter().all(|slot| !self.has(slot.field)));
        self.slots.extend_from_slice(&preset.0);
    }

    /// Sets fields made before, as [`Event::set`] does one by one.
    pub fn set_preset(&mut self, preset: &Preset) {
        for slot in &preset.0 {
            self.put(*slot);
        }
    }

    /// Takes a field away and says whether it was there.
    pub fn remove(&mut self, field: Field) -> bool {
        if self.group.is_some_and(|group| group.slot(field).is_some()) {
            self.ungroup();
        }
        let before = self.slots.len();
        self.slots.retain(|slot| slot.field != field);
        before != self.slots.len()
    }

    /// Takes away the fields for which `keep` is false, in one pass.
    pub fn retain(&mut self, mut keep: impl FnMut(Field) -> bool) {
        self.ungroup();
        self.slots.retain(|slot| keep(slot.field));
    }

    /// Takes all fields away; the id, the time and the text that spans point into stay.
    #[inline]
    pub fn strip(&mut self) {
        self.slots.clear();
        self.owned.clear();
        self.clear_texts();
        self.group = None;
    }

    /// Adds a value to the list that the field holds, making a single value the first of a list.
    pub fn append(&mut self, field: Field, value: Value) {
        let mut list = match self.get(field) {
            None => Vec::new(),
            Some(ValueRef::List(held)) => held.to_vec(),
            Some(single) => vec![single.to_owned()],
        };
        list.push(value);
        self.set(field, Value::List(list));
    }

    /// Adds a tag unless it is there.
    pub fn add_tag(&mut self, tag: &str) {
        let there = match self.get(fields::TAGS) {
            Some(ValueRef::List(tags)) => {
                tags.iter().any(|held| held.as_ref().as_str() == Some(tag))
            }
            Some(ValueRef::Str(held)) => held == tag,
            _ => false,
        };
        if !there {
            self.append(fields::TAGS, tag.into());
        }
    }

    /// Memory of the event itself and of its field list, as it was made and is recycled [bytes].
    pub(crate) fn footprint(&self) -> usize {
        size_of::<Event>() + self.slots.capacity() * size_of::<Slot>() + self.texts.capacity()
    }

    /// Memory it stands for: its fields, the texts it owns and those it points at [bytes].
    pub fn size(&self) -> usize {
        let spans: usize = self
            .slots
            .iter()
            .filter(|slot| slot.kind == Kind::Span)
            .map(|slot| slot.as_span().len as usize)
            .sum();
        size_of::<Event>()
            + self.slots.len() * size_of::<Slot>()
            + spans
            + self.texts.len()
            + self
                .owned
                .iter()
                .map(|v| size_of::<Value>() + v.heap_size())
                .sum::<usize>()
    }
}

impl Clone for Event {
    fn clone(&self) -> Event {
        Event {
            slots: self.slots.clone(),
            owned: self.owned.clone(),
            texts: self.texts.clone(),
            group: self.group,
            group_at: self.group_at,
            buffer: self.buffer.clone(),
            id: self.id,
            timestamp: self.timestamp,
            ordinal: self.ordinal,
        }
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.to_json())
    }
}

#[cfg(test)]
mod tests;
