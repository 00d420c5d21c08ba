//! From a firing to its alert, and to the rules that wait for it.

use std::sync::Arc;

use pipeline::{Event, EventId};

use super::{DEEPEST, Engine, MOST_OPEN};
use crate::anomaly::alert::{self, Alert, Around, Ended, Told, Turn};
use crate::anomaly::faces;
use crate::anomaly::rows::Firing;
use crate::anomaly::spec::{Measure, SECOND, Shape, Spec, Stamp};

/// The group of the alert that tells of too many.
const OVERFLOW: &str = "\"overflow\"";
/// That alert stays open at least so long after the last one too many [ns].
const OVERFLOW_OPEN: i64 = 900 * SECOND;
/// Most alerts of one group that something can still come to [alerts].
const MOST_ALERTS: usize = 16;

/// The rule as far as its alert of too many goes: it does not end with every pause of the flood.
fn patient(spec: &Spec) -> Spec {
    Spec {
        single: false,
        resolve_after: spec.resolve_after.max(OVERFLOW_OPEN),
        ..spec.clone()
    }
}

/// How long the alerts of a group live.
pub(super) fn of_group(spec: &Arc<Spec>, key: &str) -> Arc<Spec> {
    match key {
        OVERFLOW => Arc::new(patient(spec)),
        _ => Arc::clone(spec),
    }
}

impl Engine {
    /// Puts a firing into the alert it belongs to, or opens one, and feeds rules that wait for this one.
    pub(super) fn fire(&mut self, n: usize, slot: u32, firing: &Firing, depth: usize) {
        let spec = Arc::clone(&self.rules[n].spec);
        let face = self.face(n, slot, firing.at.id);
        if !spec.internal {
            let group = self.memory[n].store.get(slot);
            let around = Around {
                face: face.as_ref(),
                distinct: is_distinct(&spec),
                moves: matches!(spec.shape, Shape::NewTerm { .. }),
                late: group.is_some_and(|group| group.was_late(firing.first, firing.at)),
                incomplete: !self.silent.is_empty(),
                saturated: group.is_some_and(|group| group.rows.saturated),
                watermark: self.watermark,
            };
            self.alert(n, slot, &spec, firing, around);
        }
        if depth < DEEPEST && !self.feeds[n].is_empty() {
            // It counts as an event at the moment its condition became true.
            let stamp = Stamp::new(firing.when(), firing.at.id);
            let event = match (&face, self.memory[n].store.get(slot)) {
                (Some(face), _) => Event::clone(face),
                (None, Some(group)) => faces::of_group(&group.key, stamp.id, stamp.time),
                (None, None) => return,
            };
            for (other, stage) in self.feeds[n].clone() {
                if self.is_in_time(other, stamp) {
                    let rule = self.rules[other].clone();
                    let saved = std::mem::take(&mut self.firings);
                    self.play_one(other, &rule, (stage, stage, 0), stamp, &event, depth + 1);
                    self.firings = saved;
                }
            }
        }
    }

    /// The event with this id, as far as an alert of the group would speak of it.
    pub(super) fn face(&self, n: usize, slot: u32, id: EventId) -> Option<Arc<Event>> {
        let pinned = self.memory[n]
            .store
            .get(slot)
            .and_then(|group| group.pinned.get(id));
        pinned.or_else(|| self.faces.get(id)).cloned()
    }

    pub(super) fn alert(
        &mut self,
        n: usize,
        slot: u32,
        spec: &Spec,
        firing: &Firing,
        around: Around<'_>,
    ) {
        let Some(group) = self.memory[n].store.get_mut(slot) else {
            return;
        };
        let key = Arc::clone(&group.key);
        let mut alerts = std::mem::take(&mut group.alerts);
        let was_open = open(&alerts);
        let overflows = self.put(n, spec, &key, &mut alerts, firing, around);
        let is_open = open(&alerts);
        for alert in alerts.iter_mut().filter(|alert| alert.newest < alert.last) {
            let face = self.face(n, slot, alert.last.id);
            alert.show(face.as_ref());
        }
        let store = &mut self.memory[n].store;
        store.open = store.open + is_open - was_open;
        if let Some(group) = store.get_mut(slot) {
            group.alerts = alerts;
        }
        if overflows {
            self.overflow(n, firing, around);
        }
    }

    /// Puts a firing among the alerts of its group; `true`: there are too many of the rule.
    fn put(
        &mut self,
        n: usize,
        spec: &Spec,
        key: &Arc<str>,
        alerts: &mut Vec<Alert>,
        firing: &Firing,
        around: Around<'_>,
    ) -> bool {
        if let Some(before) = firing.instead_of
            && let Some(place) = alerts
                .iter_mut()
                .position(|alert| alert.moved(spec, before, firing))
        {
            self.join(n, spec, key, alerts, (place, around.distinct));
            return false;
        }
        let held = alerts.iter().position(|alert| alert.takes(spec, firing));
        if let Some(place) = held.filter(|_| !spec.single) {
            if let Some(turn) = alerts[place].more(spec, firing, around) {
                self.tell(n, key, turn, firing.when(), &alerts[place]);
            }
            self.join(n, spec, key, alerts, (place, around.distinct));
            return false;
        }
        let memory = &mut self.memory[n];
        // The alert that tells of too many is not one too many.
        let is_full = self.full || memory.store.open + memory.singles.len() >= MOST_OPEN;
        if is_full && &**key != OVERFLOW {
            return true;
        }
        let id = alert::id(&self.cluster, &spec.id, key, firing.at.id);
        let alert = Alert::open(id, spec, firing, around);
        *memory.fired.entry(alert.grade.word()).or_default() += 1;
        self.tell(n, key, Turn::Opened, firing.when(), &alert);
        if spec.single {
            let end = alert.until.saturating_add(spec.resolve_after);
            let single = (end, Arc::clone(key), alert);
            self.memory[n].singles.push_back(single);
            return false;
        }
        let place = alerts.partition_point(|held| held.opened <= alert.opened);
        if alerts.is_empty() {
            alerts.reserve_exact(1);
        }
        alerts.insert(place, alert);
        if alerts.len() > MOST_ALERTS {
            let mut oldest = alerts.remove(0);
            if oldest.is_open() || oldest.untold {
                let end = oldest.until.saturating_add(spec.resolve_after);
                let turn = oldest.resolve(end);
                self.tell(n, key, turn, end, &oldest);
            }
        }
        false
    }

    /// Makes one of alerts that have grown together at this place.
    fn join(
        &mut self,
        n: usize,
        spec: &Spec,
        key: &Arc<str>,
        alerts: &mut Vec<Alert>,
        (mut place, distinct): (usize, bool),
    ) {
        // One that was moved may begin earlier than the one before it.
        if place > 0 && alerts[place].opened < alerts[place - 1].opened {
            let moved = alerts.remove(place);
            place = alerts.partition_point(|held| held.opened <= moved.opened);
            alerts.insert(place, moved);
        }
        place = place.saturating_sub(1);
        while place + 1 < alerts.len() {
            let mut later = alerts.remove(place + 1);
            let turn = alerts[place].join(spec, &mut later, distinct);
            let Some(turn) = turn else {
                alerts.insert(place + 1, later);
                place += 1;
                continue;
            };
            let at = alerts[place].told;
            let end = later.resolve(later.until);
            self.tell(n, key, end, at, &later);
            self.tell(n, key, turn, at, &alerts[place]);
        }
    }

    pub(super) fn tell(&mut self, rule: usize, group: &Arc<str>, turn: Turn, at: i64, of: &Alert) {
        self.told.push(Told {
            rule,
            group: Arc::clone(group),
            turn,
            at,
            alert: of.clone(),
        });
    }

    /// One alert more than may be open: it is counted in the one that tells of too many.
    fn overflow(&mut self, n: usize, firing: &Firing, around: Around<'_>) {
        let spec = patient(&self.rules[n].spec);
        let memory = &mut self.memory[n];
        memory.degrade();
        let slot = match memory.store.find(OVERFLOW) {
            Some(slot) => slot,
            None => memory.store.add(OVERFLOW),
        };
        let flood = Firing {
            added: 1,
            values: Vec::new(),
            instead_of: None,
            ..firing.clone()
        };
        let around = Around {
            distinct: false,
            moves: false,
            ..around
        };
        self.alert(n, slot, &spec, &flood, around);
        if let Some(group) = self.memory[n].store.get_mut(slot) {
            for alert in &mut group.alerts {
                alert.overflow = alert.count;
            }
        }
        for told in self.told.iter_mut().rev() {
            if told.rule != n || &*told.group != OVERFLOW {
                break;
            }
            told.alert.overflow = told.alert.count;
        }
        self.rest(n, slot);
    }

    /// The expected came, or is expected no more: what is open ends.
    pub(super) fn resolve(&mut self, n: usize, slot: u32, at: i64, why: Option<Ended>) {
        let Some(group) = self.memory[n].store.get_mut(slot) else {
            return;
        };
        let key = Arc::clone(&group.key);
        let mut alerts = std::mem::take(&mut group.alerts);
        let mut closed = 0;
        for alert in alerts.iter_mut().filter(|alert| alert.is_open()) {
            alert.ended = why;
            let turn = alert.resolve(at);
            self.tell(n, &key, turn, at, alert);
            closed += 1;
        }
        let store = &mut self.memory[n].store;
        store.open -= closed;
        if let Some(group) = store.get_mut(slot) {
            group.alerts = alerts;
        }
    }
}

fn open(alerts: &[Alert]) -> usize {
    alerts.iter().filter(|alert| alert.is_open()).count()
}

fn is_distinct(spec: &Spec) -> bool {
    matches!(
        spec.shape,
        Shape::Window {
            measure: Measure::Distinct,
            ..
        }
    )
}
