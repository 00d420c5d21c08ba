//! One (field, value) of an event in sixteen bytes.
//!
//! A slot owns nothing: it is a number, a short text, a place in the event's buffer, or a place in the event's list of
//! owned values. So slots are copied and thrown away without a destructor, which is what makes recycling them cheap.

use super::field::Field;
use crate::clock::Time;

/// Longest text kept inside the slot itself [bytes].
pub(super) const INLINE: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    Float,
    Time,
    /// A text of at most [`INLINE`] bytes.
    Inline,
    /// A text in the event's buffer.
    Span,
    /// A text in the event's own memory of texts.
    OwnedStr,
    /// An entry of the event's list of owned values: a list or a map.
    OwnedTree,
    /// A value that the whole program shares ([`super::constant`]).
    Constant,
}

/// A place in the text buffer of an event [bytes].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub at: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The bytes it covers.
    pub fn range(self) -> std::ops::Range<usize> {
        self.at as usize..self.at as usize + self.len as usize
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(super) field: Field,
    pub(super) kind: Kind,
    len: u8,
    data: [u8; INLINE],
}

impl Slot {
    pub(super) fn new(field: Field, kind: Kind) -> Slot {
        Slot {
            field,
            kind,
            len: 0,
            data: [0; INLINE],
        }
    }

    #[inline]
    fn wide(field: Field, kind: Kind, value: u64) -> Slot {
        let mut slot = Slot::new(field, kind);
        slot.data[..8].copy_from_slice(&value.to_le_bytes());
        slot
    }

    #[inline]
    pub(super) fn span(field: Field, span: Span) -> Slot {
        Slot::wide(
            field,
            Kind::Span,
            u64::from(span.at) | u64::from(span.len) << 32,
        )
    }

    #[inline]
    pub(super) fn int(field: Field, value: i64) -> Slot {
        Slot::wide(field, Kind::Int, value as u64)
    }

    pub(super) fn float(field: Field, value: f64) -> Slot {
        Slot::wide(field, Kind::Float, value.to_bits())
    }

    pub(super) fn bool(field: Field, value: bool) -> Slot {
        Slot::wide(field, Kind::Bool, u64::from(value))
    }

    pub(super) fn time(field: Field, value: Time) -> Slot {
        Slot::wide(field, Kind::Time, value.0 as u64)
    }

    /// `None` when the text is too long to be kept inline.
    pub(super) fn inline(field: Field, text: &str) -> Option<Slot> {
        let mut slot = Slot::new(field, Kind::Inline);
        slot.data
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        slot.len = text.len() as u8;
        Some(slot)
    }

    /// A slot for the entry `place` of the event's owned values.
    pub(super) fn owned(field: Field, place: usize) -> Slot {
        Slot::wide(field, Kind::OwnedTree, place as u64)
    }

    /// A slot for a text in the event's own memory.
    pub(super) fn owned_text(field: Field, span: Span) -> Slot {
        let mut slot = Slot::span(field, span);
        slot.kind = Kind::OwnedStr;
        slot
    }

    #[inline]
    pub(super) fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.data[..8]);
        u64::from_le_bytes(bytes)
    }

    #[inline]
    pub(super) fn as_span(&self) -> Span {
        let number = self.number();
        Span {
            at: number as u32,
            len: (number >> 32) as u32,
        }
    }

    #[inline]
    pub(super) fn inline_bytes(&self) -> &[u8] {
        &self.data[..usize::from(self.len)]
    }

    /// Whether it is written between quotes; with the field it decides the shape.
    #[inline]
    pub(super) fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Inline | Kind::Span | Kind::OwnedStr)
    }

    pub(super) fn constant(field: Field, place: usize) -> Slot {
        Slot::wide(field, Kind::Constant, place as u64)
    }

    /// What the shape of an event is made of: the field, whether its value is text, and a value that is a constant.
    #[inline]
    pub(super) fn key(&self) -> u64 {
        let constant = match self.kind {
            Kind::Constant => (self.number() + 1) << 32,
            _ => 0,
        };
        constant | u64::from(self.field.0) << 1 | u64::from(self.is_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_sixteen_bytes() {
        assert_eq!(size_of::<Slot>(), 16);
    }
}
