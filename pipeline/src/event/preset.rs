//! Fields whose values many events share, made once and added with one copy.

use super::field::Field;
use super::slot::{INLINE, Slot};

/// Fields with values that fit into the field list itself: numbers, and texts of at most twelve bytes.
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

    fn with(self, slot: Slot) -> Preset {
        let mut slots = self.0.into_vec();
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
}
