//! Blocks read back into events.

use std::sync::Arc;

use super::super::buffer::{Buffer, Pool};
use super::super::field::{Field, fields};
use super::super::slot::{INLINE, Kind, Slot, Span};
use super::super::value::Value;
use super::super::{Event, EventId, MAX_FIELDS};
use super::{DEEPEST, ENTRY, kind, tree};
use crate::clock::Time;

/// What was in a block.
pub(crate) struct Block {
    pub(crate) events: Vec<Event>,
    /// When the first of them was handed over by its source.
    pub(crate) seen_to: Time,
    /// Memory they stand for, as estimated at the source [bytes].
    pub(crate) bytes: usize,
}

/// Reads blocks. Names that are the same as in the block before are not looked up again.
#[derive(Default)]
pub(crate) struct Unpacker {
    names: Vec<u8>,
    fields: Vec<Field>,
}

/// Why a block is none. Its checksum was good, so this is a mistake of ours or somebody else's work.
pub(super) type Broken = &'static str;

impl Unpacker {
    /// The events of a block. `events` is a list of used ones whose memory is taken, `pool` gives the memory for the texts.
    ///
    /// # Errors
    /// The bytes are no block. They are never trusted: whatever they say, nothing outside of them is touched.
    pub(crate) fn unpack(
        &mut self,
        block: &[u8],
        mut events: Vec<Event>,
        pool: &Arc<Pool>,
    ) -> Result<Block, Broken> {
        let mut from = From(block);
        let count = from.u32()? as usize;
        let seen_to = Time(from.i64()?);
        let bytes = usize::try_from(from.u64()?).map_err(|_| "an impossible size")?;
        let (names, names_len) = (from.u32()? as usize, from.u32()? as usize);
        let (texts_len, entries_len) = (from.u32()? as usize, from.u32()? as usize);
        self.look_up(names, from.bytes(names_len)?)?;
        let mut text = pool.take();
        text.clear();
        text.extend_from_slice(from.bytes(texts_len)?);
        let text = String::from_utf8(text).map_err(|_| "a text is not UTF-8")?;
        let buffer = Buffer::pooled(text, pool);
        let mut entries = From(from.bytes(entries_len)?);
        if !from.0.is_empty() {
            return Err("something follows the entries");
        }
        if count > entries_len / ENTRY {
            return Err("more events than entries");
        }
        events.reserve(count.saturating_sub(events.len()));
        for n in 0..count {
            let mut head = From(entries.bytes(ENTRY)?);
            let id = EventId([head.u64()?, head.u64()?]);
            let (timestamp, ordinal) = (Time(head.i64()?), head.u64()?);
            let (base, len) = (head.u32()?, usize::from(head.u16()?));
            if len > MAX_FIELDS {
                return Err("too many fields");
            }
            if n == events.len() {
                events.push(Event::fresh(id, timestamp, ordinal, buffer.clone()));
            } else {
                events[n].renew(id, timestamp, ordinal, buffer.clone());
            }
            let event = &mut events[n];
            for _ in 0..len {
                self.slot(&mut entries, base, buffer.text(), event)?;
            }
        }
        if !entries.0.is_empty() {
            return Err("more entries than events");
        }
        events.truncate(count);
        Ok(Block {
            events,
            seen_to,
            bytes,
        })
    }

    fn look_up(&mut self, count: usize, names: &[u8]) -> Result<(), Broken> {
        if self.names == names && self.fields.len() == count {
            return Ok(());
        }
        self.fields.clear();
        let mut from = From(names);
        while !from.0.is_empty() {
            let len = usize::from(from.array::<1>()?[0]);
            let name = std::str::from_utf8(from.bytes(len)?).map_err(|_| "a name is not UTF-8")?;
            let plain = |c: char| !c.is_control() && !c.is_whitespace();
            if name.is_empty() || !name.chars().all(plain) {
                return Err("a name that no field can have");
            }
            // Names in a queue come from a configuration too, if perhaps an earlier one; the table is bounded.
            let field = Field::new(name);
            if field == fields::TIMESTAMP || field == fields::EVENT_ID {
                return Err("a field that is no field of an entry");
            }
            self.fields.push(field);
        }
        if self.fields.len() != count {
            return Err("another number of names than announced");
        }
        self.names.clear();
        self.names.extend_from_slice(names);
        Ok(())
    }

    /// Adds one field to the event. Each arm adds its own slot: one that comes out of the arms would be written in small
    /// pieces and read as a whole, which the processor waits for.
    #[inline(always)]
    fn slot(
        &self,
        from: &mut From<'_>,
        base: u32,
        text: &str,
        event: &mut Event,
    ) -> Result<(), Broken> {
        let word = from.u16()?;
        let field = *self
            .fields
            .get(usize::from(word & 0xfff))
            .ok_or("a name that is not there")?;
        let slots = &mut event.slots;
        match word >> 12 {
            kind::NEAR => {
                let [a, b, c, d] = from.array()?;
                let at = base.wrapping_add(u32::from(u16::from_le_bytes([a, b])));
                let len = u32::from(u16::from_le_bytes([c, d]));
                slots.push(Slot::span(field, checked(Span { at, len }, text)?));
            }
            kind::FAR => {
                let (at, len) = (from.u32()?, from.u32()?);
                slots.push(Slot::span(field, checked(Span { at, len }, text)?));
            }
            kind::INT => slots.push(Slot::int(field, from.i64()?)),
            kind::INLINE => slots.push(inline(field, from)?),
            kind::NULL => slots.push(Slot::new(field, Kind::Null)),
            kind::FALSE => slots.push(Slot::bool(field, false)),
            kind::TRUE => slots.push(Slot::bool(field, true)),
            kind::FLOAT => slots.push(Slot::float(field, f64::from_bits(from.u64()?))),
            kind::TIME => slots.push(Slot::time(field, Time(from.i64()?))),
            kind::TREE => {
                let value = take_tree(from, 0)?;
                slots.push(Slot::owned(field, event.owned.len()));
                event.owned.push(value);
            }
            _ => return Err("an unknown kind of value"),
        }
        Ok(())
    }
}

/// A place in the texts where whole letters lie.
#[inline(always)]
fn checked(span: Span, text: &str) -> Result<Span, Broken> {
    let (start, end) = (span.at as usize, span.at as usize + span.len as usize);
    if text.is_char_boundary(start) && text.is_char_boundary(end) {
        Ok(span)
    } else {
        Err("a text that is not there")
    }
}

fn inline(field: Field, from: &mut From<'_>) -> Result<Slot, Broken> {
    let len = usize::from(from.array::<1>()?[0]);
    if len > INLINE {
        return Err("a short text that is long");
    }
    let text = std::str::from_utf8(from.bytes(len)?).map_err(|_| "a text is not UTF-8")?;
    Slot::inline(field, text).ok_or("a short text that is long")
}

pub(super) fn take_tree(from: &mut From<'_>, depth: usize) -> Result<Value, Broken> {
    Ok(match from.array::<1>()?[0] {
        tree::NULL => Value::Null,
        tree::FALSE => Value::Bool(false),
        tree::TRUE => Value::Bool(true),
        tree::INT => Value::Int(from.i64()?),
        tree::FLOAT => Value::Float(f64::from_bits(from.u64()?)),
        tree::TIME => Value::Time(Time(from.i64()?)),
        tree::TEXT => Value::Str(from.text()?),
        tree::LIST | tree::MAP if depth > DEEPEST => return Err("values nested too deep"),
        tree::LIST => {
            let len = from.u32()? as usize;
            let mut values = Vec::with_capacity(len.min(64));
            for _ in 0..len {
                values.push(take_tree(from, depth + 1)?);
            }
            Value::List(values)
        }
        tree::MAP => {
            let len = from.u32()? as usize;
            let mut members = Vec::with_capacity(len.min(64));
            for _ in 0..len {
                let key = from.text()?;
                members.push((key, take_tree(from, depth + 1)?));
            }
            Value::Map(members)
        }
        _ => return Err("an unknown kind of value"),
    })
}

/// Bytes that are read from the front.
pub(super) struct From<'a>(pub(super) &'a [u8]);

impl<'a> From<'a> {
    #[inline]
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let (front, rest) = self.0.split_at_checked(len).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(front)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (front, rest) = self.0.split_first_chunk().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*front)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Broken> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    fn u32(&mut self) -> Result<u32, Broken> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64, Broken> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    pub(super) fn i64(&mut self) -> Result<i64, Broken> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Result<String, Broken> {
        let len = self.u32()? as usize;
        let text = std::str::from_utf8(self.bytes(len)?).map_err(|_| "a text is not UTF-8")?;
        Ok(text.to_owned())
    }
}
