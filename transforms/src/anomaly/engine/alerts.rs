//! From a firing to its alert, and to the rules that wait for it.

use std::sync::Arc;

use pipeline::Event;

use super::{DEEPEST, Engine, MOST_OPEN};
use crate::anomaly::alert::{self, Alert, Around, Told, Turn};
use crate::anomaly::rows::Firing;
use crate::anomaly::spec::{Measure, SECOND, Shape, Spec};

/// The group of the alert that tells of too many.
const OVERFLOW: &str = "\"overflow\"";
/// That alert stays open at least so long after the last one too many [ns].
const OVERFLOW_OPEN: i64 = 900 * SECOND;

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
    pub(super) fn fire(
        &mut self,
        n: usize,
        slot: u32,
        firing: &Firing,
        event: Option<&Event>,
        depth: usize,
    ) {
        let spec = Arc::clone(&self.rules[n].spec);
        // What fires by the passing of time speaks of the newest event of its alert.
        let held = match event {
            Some(_) => None,
            None => self.memory[n]
                .store
                .get(slot)
                .and_then(|group| group.alert.as_ref()?.event.as_deref().cloned()),
        };
        let event = event.or(held.as_ref());
        if !spec.internal {
            let around = Around {
                event,
                distinct: matches!(
                    spec.shape,
                    Shape::Window {
                        measure: Measure::Distinct,
                        ..
                    }
                ),
                late: firing.at.time < self.watermark
                    && spec.minds_lateness()
                    && depth == 0
                    && !matches!(
                        spec.shape,
                        Shape::Absence { .. } | Shape::Event { hold: Some(_) }
                    ),
                incomplete: self.incomplete,
                saturated: self.memory[n]
                    .store
                    .get(slot)
                    .is_some_and(|group| group.rows.saturated),
            };
            self.alert(n, slot, &spec, firing, around);
        }
        if depth < DEEPEST
            && let Some(event) = event
        {
            for (other, stage) in self.feeds[n].clone() {
                if self.is_in_time(other, firing.at) {
                    let rule = self.rules[other].clone();
                    let saved = std::mem::take(&mut self.firings);
                    self.play_one(other, &rule, (stage, stage, 0), firing.at, event, depth + 1);
                    self.firings = saved;
                }
            }
        }
    }

    pub(super) fn alert(
        &mut self,
        n: usize,
        slot: u32,
        spec: &Spec,
        firing: &Firing,
        around: Around<'_>,
    ) {
        let watermark = self.watermark;
        let Some(group) = self.memory[n].store.get_mut(slot) else {
            return;
        };
        let key = Arc::clone(&group.key);
        if let Some(alert) = &mut group.alert
            && !spec.single
            && alert.takes(spec, firing)
        {
            let was_open = alert.is_open();
            let turn = alert.more(spec, firing, around);
            let opens = !was_open && alert.is_open();
            if let Some(turn) = turn {
                let told = Told {
                    rule: n,
                    group: key,
                    turn,
                    at: firing.at.time,
                    alert: (**alert).clone(),
                };
                self.told.push(told);
            }
            self.memory[n].store.open += usize::from(opens);
            return;
        }
        let memory = &mut self.memory[n];
        if self.full || memory.store.open + memory.singles.len() >= MOST_OPEN {
            return self.overflow(n, firing, around);
        }
        let id = alert::id(&self.cluster, &spec.id, &key, firing.at.id);
        let alert = Alert::open(id, spec, firing, around);
        let told = Told {
            rule: n,
            group: Arc::clone(&key),
            turn: Turn::Opened,
            at: firing.at.time,
            alert: alert.clone(),
        };
        self.told.push(told);
        *memory.fired.entry(alert.grade.word()).or_default() += 1;
        let earlier = memory
            .store
            .get(slot)
            .and_then(|group| group.alert.as_ref())
            .is_some_and(|held| held.first > alert.last);
        let end = alert.last.time.saturating_add(spec.resolve_after);
        if spec.single || earlier {
            memory.singles.push_back((end, key, alert));
            return;
        }
        let Some(group) = memory.store.get_mut(slot) else {
            return;
        };
        let before = group.alert.replace(Box::new(alert));
        memory.store.open += 1;
        if let Some(mut before) = before
            && before.is_open()
        {
            // Its end came before this firing, and before event time did.
            memory.store.open -= 1;
            let at = before.last.time.saturating_add(spec.resolve_after);
            let turn = before.resolve(at.min(watermark.max(before.last.time)));
            let told = Told {
                rule: n,
                group: Arc::clone(&key),
                turn,
                at,
                alert: *before,
            };
            self.told.push(told);
        }
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
            ..firing.clone()
        };
        let around = Around {
            distinct: false,
            ..around
        };
        let Some(group) = memory.store.get_mut(slot) else {
            return;
        };
        let opened;
        let turn = match &mut group.alert {
            Some(alert) if alert.is_open() || alert.takes(&spec, &flood) => {
                let was_open = alert.is_open();
                let turn = alert.more(&spec, &flood, around);
                alert.overflow += 1;
                opened = !was_open && alert.is_open();
                turn
            }
            _ => {
                let id = alert::id(&self.cluster, &spec.id, OVERFLOW, firing.at.id);
                let mut alert = Alert::open(id, &spec, &flood, around);
                alert.overflow = 1;
                group.alert = Some(Box::new(alert));
                opened = true;
                *memory.fired.entry(spec.grade.word()).or_default() += 1;
                Some(Turn::Opened)
            }
        };
        if let Some(turn) = turn
            && let Some(alert) = &group.alert
        {
            self.told.push(Told {
                rule: n,
                group: Arc::clone(&group.key),
                turn,
                at: firing.at.time,
                alert: (**alert).clone(),
            });
        }
        memory.store.open += usize::from(opened);
        self.rest(n, slot);
    }

    /// The expected came.
    pub(super) fn resolve(&mut self, n: usize, slot: u32, at: i64) {
        let memory = &mut self.memory[n];
        let Some(group) = memory.store.get_mut(slot) else {
            return;
        };
        if let Some(alert) = &mut group.alert
            && alert.is_open()
        {
            let turn = alert.resolve(at);
            self.told.push(Told {
                rule: n,
                group: Arc::clone(&group.key),
                turn,
                at,
                alert: (**alert).clone(),
            });
            memory.store.open -= 1;
        }
    }
}
