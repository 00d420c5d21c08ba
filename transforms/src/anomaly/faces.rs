//! Who, what and where of the events that matched lately. A firing speaks of the event it happened at, and that event may
//! have come before the one that made the firing true, or long before event time decided.
//!
//! - state: one reduced event for each match, at most 512 for all rules; those older than any lateness go first

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use pipeline::{Event, EventId, Field, Time, Value};

use super::spec::Stamp;

/// Most events remembered for all rules [events].
const MOST: usize = 512;
/// Most events one group keeps until time decides about them [events].
const MOST_PINNED: usize = 4;
/// What one of them costs, roughly [bytes].
pub(super) const FACE: usize = 1_024;

/// The reduced events, by id.
#[derive(Default)]
pub(super) struct Faces {
    by_id: HashMap<EventId, Arc<Event>>,
    order: VecDeque<EventId>,
    bytes: usize,
}

impl Faces {
    /// The reduced event, made now if it is not there.
    pub(super) fn of(&mut self, event: &Event, at: i64) -> Arc<Event> {
        if let Some(face) = self.by_id.get(&event.id()) {
            return Arc::clone(face);
        }
        let mut face = super::write::keep(event);
        // A clock that is ahead counts as of now here too.
        face.set_timestamp(Time(at));
        let face = Arc::new(face);
        self.put(Arc::clone(&face));
        face
    }

    pub(super) fn put(&mut self, face: Arc<Event>) {
        if self.by_id.contains_key(&face.id()) {
            return;
        }
        if self.order.len() >= MOST {
            self.let_go();
        }
        self.bytes += cost(&face);
        self.order.push_back(face.id());
        self.by_id.insert(face.id(), face);
    }

    fn let_go(&mut self) {
        let oldest = self.order.pop_front();
        if let Some(face) = oldest.and_then(|id| self.by_id.remove(&id)) {
            self.bytes -= cost(&face);
        }
    }

    pub(super) fn get(&self, id: EventId) -> Option<&Arc<Event>> {
        self.by_id.get(&id)
    }

    /// Lets go of what came first and happened before `time`: no late event can make a rule fire there any more.
    pub(super) fn prune(&mut self, time: i64) {
        while let Some(oldest) = self.order.front() {
            let old = self
                .by_id
                .get(oldest)
                .is_none_or(|face| face.timestamp().0 < time);
            if !old {
                break;
            }
            self.let_go();
        }
    }

    /// All of them, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.order.iter().filter_map(|id| self.by_id.get(id))
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// What they cost [bytes].
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// With its places in the tables [bytes].
fn cost(face: &Event) -> usize {
    face.size() + 64
}

/// The events of a group that time has yet to decide about, in the order of (time, id).
#[derive(Clone, Debug, Default)]
pub(super) struct Pinned(pub(super) Vec<(Stamp, Arc<Event>)>);

impl Pinned {
    /// Keeps an event, and of too many the newest.
    pub(super) fn pin(&mut self, stamp: Stamp, face: Arc<Event>, most: usize) {
        let Err(place) = self.0.binary_search_by(|held| held.0.cmp(&stamp)) else {
            return;
        };
        self.0.insert(place, (stamp, face));
        if self.0.len() > most.min(MOST_PINNED) {
            self.0.remove(0);
        }
    }

    pub(super) fn get(&self, id: EventId) -> Option<&Arc<Event>> {
        let held = self.0.iter().rev().find(|held| held.0.id == id);
        held.map(|held| &held.1)
    }
}

/// What the group alone says, where no event is left: its fields at their places.
pub(super) fn of_group(key: &str, id: EventId, at: i64) -> Event {
    let mut event = Event::new(id, Time(at));
    if let Ok(serde_json::Value::Object(parts)) = serde_json::from_str(key) {
        for (name, value) in parts {
            // A name that is no field is an alias, which has no place of its own.
            if let Some(field) = Field::find(&name).filter(|field| super::write::is_kept(*field))
                && !value.is_null()
            {
                event.set(field, Value::from_json(value));
            }
        }
    }
    event
}
