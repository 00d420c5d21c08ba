//! Fields that very many events share, value and all, as one pointer in the event.
//!
//! A line of the access log has some twenty fields that are the same in every line of its kind. Copied into each event they
//! are half of its memory, and whoever looks at the event on another core has to fetch them. So they stand once for the whole
//! program; an event in which one of them changes gets its own copy of all ([`Event::ungroup`]).

use std::sync::{LazyLock, Mutex, PoisonError};

use super::constant;
use super::field::Field;
use super::preset::Preset;
use super::slot::Slot;
use super::{Event, ValueRef};

/// Most groups of one program; what comes after is copied into the events.
const MOST: usize = 8192;

/// Fields with one value each. It is never given up.
pub(super) struct Group {
    /// Constants, all of them.
    pub(super) slots: Box<[Slot]>,
    /// For each field by its number, one more than its place among the slots; 0 where it is none of them.
    places: Box<[u8]>,
}

impl Group {
    #[inline]
    pub(super) fn slot(&self, field: Field) -> Option<&Slot> {
        let place = *self.places.get(field.number())?;
        self.slots.get(usize::from(place).checked_sub(1)?)
    }

    /// Whether setting the field changes one of its own.
    fn is_touched_by(&self, field: Field) -> bool {
        self.slot(field).is_some()
            || field.with_relatives(|relatives| {
                let mut near = relatives.above.iter().chain(&relatives.below);
                near.any(|field| self.slot(*field).is_some())
            })
    }
}

static GROUPS: LazyLock<Mutex<Vec<&'static Group>>> = LazyLock::new(Mutex::default);

/// A preset that events share instead of copying it.
#[derive(Clone)]
pub struct Shared {
    preset: Preset,
    group: Option<&'static Group>,
}

impl Preset {
    /// Makes a preset that events share. Call it once for each preset, never with a value that comes from an event.
    #[must_use]
    pub fn shared(self) -> Shared {
        let group = group(&self);
        Shared {
            preset: self,
            group,
        }
    }
}

/// The group of a preset; `None` where there are too many already.
fn group(preset: &Preset) -> Option<&'static Group> {
    let look = Event::new(super::EventId::default(), crate::clock::Time(0));
    let constant = |slot: &Slot| {
        let value: ValueRef<'_> = look.value(slot);
        Some(Slot::constant(
            slot.field,
            constant::intern(value.to_owned())?,
        ))
    };
    let slots: Box<[Slot]> = preset.0.iter().map(constant).collect::<Option<_>>()?;
    if slots.len() > usize::from(u8::MAX - 1) {
        return None;
    }
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |group: &&&'static Group| {
        group
            .slots
            .iter()
            .map(Slot::key)
            .eq(slots.iter().map(Slot::key))
    };
    if let Some(known) = groups.iter().find(same) {
        return Some(known);
    }
    if groups.len() >= MOST {
        return None;
    }
    let most = slots
        .iter()
        .map(|slot| slot.field.number() + 1)
        .max()
        .unwrap_or(0);
    let mut places = vec![0; most];
    for (n, slot) in slots.iter().enumerate() {
        places[slot.field.number()] = n as u8 + 1;
    }
    // Leaked on purpose: presets come from the catalogue, so their number is small and bounded.
    let group: &'static Group = Box::leak(Box::new(Group {
        slots,
        places: places.into_boxed_slice(),
    }));
    groups.push(group);
    Some(group)
}

impl Event {
    /// Adds fields that many events share. The caller knows that none of them, and none above or below them, is there.
    #[inline]
    pub fn push_shared(&mut self, shared: &Shared) {
        match shared.group {
            Some(group) if self.group.is_none() => {
                debug_assert!(group.slots.iter().all(|slot| !self.has(slot.field)));
                self.group = Some(group);
                self.group_at = self.slots.len() as u16;
            }
            _ => self.push_preset(&shared.preset),
        }
    }

    /// Gives the event its own copy of what it shares with others.
    pub(super) fn ungroup(&mut self) {
        if let Some(group) = self.group.take() {
            let at = usize::from(self.group_at).min(self.slots.len());
            self.slots.splice(at..at, group.slots.iter().copied());
        }
    }

    /// The same, where what is to be done to `field` would change what is shared.
    #[inline]
    pub(super) fn ungroup_for(&mut self, field: Field) {
        if self.group.is_some_and(|group| group.is_touched_by(field)) {
            self.ungroup();
        }
    }

    /// All slots, the shared ones in their place.
    pub(super) fn all_slots(&self) -> impl Iterator<Item = &Slot> {
        let at = usize::from(self.group_at).min(self.slots.len());
        let shared = self.group.map_or(&[][..], |group| &group.slots);
        let (before, behind) = self.slots.split_at(at);
        before.iter().chain(shared).chain(behind)
    }

    /// Number of fields that are shared.
    pub(super) fn shared_len(&self) -> usize {
        self.group.map_or(0, |group| group.slots.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, JsonWriter, fields};

    fn event(shared: &Shared) -> Event {
        let mut event = Event::new(EventId::default(), crate::clock::Time(0));
        event.set(fields::USER_ID, "alice@pve");
        event.push_shared(shared);
        event.set(fields::SOURCE_IP, "192.0.2.10");
        event
    }

    fn preset() -> Preset {
        Preset::default()
            .int(fields::EVENT_SEVERITY, 3)
            .text(fields::EVENT_OUTCOME, "success")
            .constant(fields::EVENT_ACTION, "something rather long")
    }

    #[test]
    fn what_is_shared_is_read_and_written_like_what_is_its_own() {
        let shared = preset().shared();
        let mut own = Event::new(EventId::default(), crate::clock::Time(0));
        own.set(fields::USER_ID, "alice@pve");
        own.push_preset(&preset());
        own.set(fields::SOURCE_IP, "192.0.2.10");
        let mut event = event(&shared);
        assert!(event.group.is_some());
        let mut writer = JsonWriter::new(None, None);
        let mut write = |event: &Event| {
            let mut out = Vec::new();
            writer.write(event, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(write(&event), write(&own));
        assert_eq!(event.len(), own.len());
        assert!(event.iter().eq(own.iter()));
        assert_eq!(event.str(fields::EVENT_OUTCOME), Some("success"));
        let mut packed = Vec::new();
        crate::event::pack::put_event(&event, &mut packed);
        let back = crate::event::pack::take_event(&packed).unwrap();
        assert_eq!(back.to_json(), own.to_json());
        // An event that changes changes alone.
        let other = event.clone();
        event.set(fields::EVENT_OUTCOME, "failure");
        assert!(event.group.is_none() && other.group.is_some());
        assert_eq!(event.str(fields::EVENT_OUTCOME), Some("failure"));
        assert_eq!(other.str(fields::EVENT_OUTCOME), Some("success"));
        assert_eq!(
            event.str(fields::EVENT_ACTION),
            Some("something rather long")
        );
        assert_eq!(write(&other), write(&own));
        event.set(fields::EVENT_OUTCOME, "success");
        assert_eq!(event.to_json(), own.to_json());
    }

    #[test]
    fn whatever_takes_a_shared_field_away_takes_it_from_this_event_alone() {
        let shared = preset().shared();
        let event = || event(&shared);
        let mut changed = event();
        assert!(changed.remove(fields::EVENT_SEVERITY));
        assert!(!changed.has(fields::EVENT_SEVERITY));
        assert_eq!(changed.len(), 4);
        let mut changed = event();
        changed.retain(|field| field != fields::EVENT_ACTION);
        assert_eq!(changed.len(), 4);
        // A value above the fields takes their place.
        let mut changed = event();
        let above = Field::new("event");
        changed.set(above, "nothing else");
        assert_eq!(changed.len(), 3);
        let mut changed = event();
        changed.remove_tree(above);
        assert_eq!(changed.len(), 2);
        let mut changed = event();
        changed.strip();
        assert_eq!(changed.len(), 0);
        assert_eq!(event().len(), 5);
    }

    #[test]
    fn equal_presets_are_one_group() {
        let (one, two) = (preset().shared(), preset().shared());
        assert!(std::ptr::eq(one.group.unwrap(), two.group.unwrap()));
    }
}
