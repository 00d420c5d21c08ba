//! Texts that an event owns: they stand one behind the other in one string, which is recycled with the event.
//!
//! So a text costs a copy and no allocation, neither when it is set nor when another core lets go of the event; and an event
//! that is kept ([`Event::detach`]) is two pieces of memory, however many fields it has.

use super::Event;
use super::field::{Field, fields};
use super::slot::{Kind, Slot, Span};
use super::value::Value;
use crate::clock::Time;

/// A text memory larger than this is looked through for what nobody needs any more before it grows [bytes].
const LOOKED_THROUGH: usize = 4096;
/// Text memory that a recycled event keeps [bytes].
const KEPT: usize = 1024;

impl Event {
    /// Sets a text that is too long for a slot.
    pub(super) fn set_text(&mut self, field: Field, text: &str) {
        if field == fields::TIMESTAMP {
            if let Some(time) = Time::parse(text) {
                self.timestamp = time;
            }
            return;
        }
        // The text that this very field has, if it is the last and nobody else's: a field set in a loop does not grow the memory.
        let own = |slot: &&Slot| slot.kind == Kind::OwnedStr;
        if let Some(held) = self
            .slots
            .iter()
            .filter(own)
            .find(|slot| slot.field == field)
            && let range = held.as_span().range()
            && range.end == self.texts.len()
            && self
                .slots
                .iter()
                .filter(own)
                .all(|slot| slot.field == field || slot.as_span().range().end <= range.start)
        {
            self.texts.truncate(range.start);
        }
        let slot = self.keep(field, text);
        self.put(slot);
    }

    /// Adds a text. The caller knows that neither the field nor one above or below it is there.
    #[inline]
    pub fn push_str(&mut self, field: Field, text: &str) {
        debug_assert!(!self.has(field), "{field} is there already");
        let slot = match Slot::inline(field, text) {
            Some(slot) => slot,
            None => self.keep(field, text),
        };
        self.slots.push(slot);
    }

    /// Copies a text into the event's own memory.
    pub(super) fn keep(&mut self, field: Field, text: &str) -> Slot {
        if self.texts.len() > LOOKED_THROUGH {
            self.sweep();
        }
        let (Ok(at), Ok(len)) = (u32::try_from(self.texts.len()), u32::try_from(text.len())) else {
            let value = Value::Str(text.to_owned());
            let slot = Slot::owned(field, self.owned.len());
            self.owned.push(value);
            return slot;
        };
        self.texts.push_str(text);
        Slot::owned_text(field, Span { at, len })
    }

    /// Gives up texts that no field has any more, where they are more than half of all.
    #[cold]
    fn sweep(&mut self) {
        let own = |slot: &&mut Slot| slot.kind == Kind::OwnedStr;
        let live: usize = self
            .slots
            .iter_mut()
            .filter(own)
            .map(|slot| slot.as_span().len as usize)
            .sum();
        if live > self.texts.len() / 2 {
            return;
        }
        let mut texts = String::with_capacity(live);
        for slot in self.slots.iter_mut().filter(own) {
            let text = self.texts.get(slot.as_span().range()).unwrap_or_default();
            let at = texts.len() as u32;
            texts.push_str(text);
            *slot = Slot::owned_text(
                slot.field,
                Span {
                    at,
                    len: text.len() as u32,
                },
            );
        }
        self.texts = texts;
    }

    /// Lets go of the texts and keeps the memory, unless it is very large.
    #[inline]
    pub(super) fn clear_texts(&mut self) {
        self.texts.clear();
        if self.texts.capacity() > KEPT {
            self.texts = String::new();
        }
    }

    /// Copies every text it points at, so that keeping it keeps no read buffer alive.
    pub fn detach(&mut self) {
        let Some(buffer) = self.buffer.take() else {
            return;
        };
        let text = buffer.text();
        // The line itself, of which most others are parts, is copied once.
        let spans = self
            .slots
            .iter()
            .filter(|slot| slot.kind == Kind::Span)
            .map(Slot::as_span);
        let whole = spans.max_by_key(|span| span.len).unwrap_or_default();
        let line = text.get(whole.range()).unwrap_or_default();
        let begin = self.texts.len();
        if begin + line.len() > u32::MAX as usize {
            return self.detach_one_by_one(text);
        }
        if line.len() > super::slot::INLINE {
            self.texts.reserve_exact(line.len());
            self.texts.push_str(line);
        }
        for n in 0..self.slots.len() {
            let slot = self.slots[n];
            if slot.kind != Kind::Span {
                continue;
            }
            let span = slot.as_span();
            let held = text.get(span.range()).unwrap_or_default();
            let inside = span.range().start >= whole.range().start
                && span.range().end <= whole.range().end
                && held.len() == span.len as usize
                && line.len() == whole.len as usize;
            self.slots[n] = match Slot::inline(slot.field, held) {
                Some(slot) => slot,
                None if inside => {
                    let at = begin as u32 + (span.at - whole.at);
                    Slot::owned_text(slot.field, Span { at, len: span.len })
                }
                None => self.keep(slot.field, held),
            };
        }
        self.slots.shrink_to_fit();
    }

    #[cold]
    fn detach_one_by_one(&mut self, text: &str) {
        for n in 0..self.slots.len() {
            let slot = self.slots[n];
            if slot.kind == Kind::Span {
                let held = text.get(slot.as_span().range()).unwrap_or_default();
                let kept = Slot::inline(slot.field, held);
                self.slots[n] = kept.unwrap_or_else(|| self.keep(slot.field, held));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Buffer, EventId};

    fn event() -> Event {
        Event::new(EventId::default(), Time(0))
    }

    #[test]
    fn a_field_that_is_set_again_and_again_does_not_grow_the_event() {
        let mut event = event();
        event.set(fields::USER_ID, "a user with a long name");
        for n in 0..100_000 {
            event.set(fields::MESSAGE, format!("this is the message number {n}"));
            event.set(
                fields::EVENT_REASON,
                format!("and this the reason number {n}"),
            );
        }
        assert!(
            event.texts.len() < 2 * LOOKED_THROUGH,
            "{}",
            event.texts.len()
        );
        assert_eq!(
            event.str(fields::MESSAGE),
            Some("this is the message number 99999")
        );
        assert_eq!(
            event.str(fields::EVENT_REASON),
            Some("and this the reason number 99999")
        );
        assert_eq!(event.str(fields::USER_ID), Some("a user with a long name"));
    }

    #[test]
    fn a_kept_event_holds_its_line_once() {
        let line = "a line of the log with two words";
        let text = format!("before {line} behind, and something else of its own");
        let span = |part: &str| Span {
            at: text.find(part).unwrap() as u32,
            len: part.len() as u32,
        };
        let mut event = event();
        event.set_buffer(Buffer::new(text.clone()));
        event.set_span(fields::MESSAGE, span(line));
        event.set_span(fields::USER_ID, span("line of the log"));
        event.set_span(fields::USER_NAME, span("words"));
        event.set_span(fields::EVENT_REASON, span("something else"));
        event.set(fields::EVENT_ACTION, "a text that it owned before");
        event.detach();
        assert!(event.buffer().is_none());
        assert_eq!(event.str(fields::MESSAGE), Some(line));
        assert_eq!(event.str(fields::USER_ID), Some("line of the log"));
        assert_eq!(event.str(fields::USER_NAME), Some("words"));
        assert_eq!(event.str(fields::EVENT_REASON), Some("something else"));
        assert_eq!(
            event.str(fields::EVENT_ACTION),
            Some("a text that it owned before")
        );
        // What others hold too is not written over.
        let mut changed = event.clone();
        changed.set(fields::EVENT_REASON, "something quite different");
        changed.set(
            fields::MESSAGE,
            "another line, longer than the first one was",
        );
        assert_eq!(changed.str(fields::USER_ID), Some("line of the log"));
        assert_eq!(
            event.texts.len(),
            line.len() + "something else".len() + "a text that it owned before".len()
        );
    }
}
