//! Fields whose values many events share, made once and added with one copy.

use super::constant;
use super::field::Field;
use super::slot::{INLINE, Slot};
use super::value::Value;

/// Fields with values that fit into the field list itself: numbers, texts of at most twelve bytes, and constants.
#[derive(Clone, Default)]
pub struct Preset(pub(super) Box<[Slot]>);

impl Preset {
    /// Longest text a preset can hold [bytes].
    pub const LONGEST: usize = INLINE;

    /// The same with a whole number.
    #[must_use]
    pub fn int(self, field: Field, value: i64) -> Preset {
        self.with(Slot::int(field, value))
    }

    /// The same with a text; one longer than [`Preset::LONGEST`] is left out.
    #[must_use]
    pub fn text(self, field: Field, text: &str) -> Preset {
        debug_assert!(text.len() <= Preset::LONGEST, "{text:?} is too long");
        match Slot::inline(field, text) {
            Some(slot) => self.with(slot),
            None => self,
        }
    }

    /// The same with a value that is kept for the whole program. Call it while building, never with a value that comes
    /// from an event. A map is left out.
    #[must_use]
    pub fn constant(self, field: Field, value: impl Into<Value>) -> Preset {
        let value = value.into();
        debug_assert!(!matches!(value, Value::Map(_)), "a map is no constant");
        match constant::intern(value) {
            Some(place) => self.with(Slot::constant(field, place)),
            None => self,
        }
    }

    /// The same with the fields of another one; where both have a field, that of the other one counts.
    #[must_use]
    pub fn and(self, other: &Preset) -> Preset {
        other.0.iter().fold(self, |preset, slot| preset.with(*slot))
    }

    fn with(self, slot: Slot) -> Preset {
        let mut slots = self.0.into_vec();
        slots.retain(|held| held.field != slot.field);
        slots.push(slot);
        Preset(slots.into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::event::{Event, EventId, fields};

    #[test]
    fn a_preset_is_added_as_it_was_made() {
        let preset = Preset::default()
            .int(fields::SYSLOG_PRIORITY, 30)
            .text(fields::SYSLOG_FACILITY_NAME, "solaris-cron");
        let mut event = Event::new(EventId::default(), Time(0));
        event.push_preset(&preset);
        let json = event.to_json();
        assert_eq!(json["log"]["syslog"]["priority"], 30);
        assert_eq!(json["log"]["syslog"]["facility"]["name"], "solaris-cron");
    }

    #[test]
    fn a_constant_is_written_and_read_like_any_value() {
        let kinds = || Value::List(vec!["creation".into(), "user".into()]);
        let preset = Preset::default()
            .constant(fields::HOST_NAME, "a name of more than twelve bytes")
            .constant(fields::TAGS, kinds());
        let mut event = Event::new(EventId::default(), Time(0));
        event.push_preset(&preset);
        assert_eq!(
            event.str(fields::HOST_NAME),
            Some("a name of more than twelve bytes")
        );
        let json = event.to_json();
        assert_eq!(json["host"]["name"], "a name of more than twelve bytes");
        assert_eq!(json["tags"], serde_json::json!(["creation", "user"]));
        // One event keeps its own value of a field that is a constant in another.
        let mut other = event.clone();
        other.set(fields::HOST_NAME, "pve1");
        other.add_tag("late");
        let mut writer = crate::event::JsonWriter::new(None, None);
        for event in [&event, &other, &event] {
            let mut written = Vec::new();
            writer.write(event, &mut written);
            let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
            assert_eq!(written, event.to_json());
        }
        assert_eq!(
            other.to_json()["tags"],
            serde_json::json!(["creation", "user", "late"])
        );
        let mut detached = event.clone();
        detached.detach();
        assert_eq!(detached.to_json(), event.to_json());
    }
}
