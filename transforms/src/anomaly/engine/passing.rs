//! Event time moves on: what was held is decided, alerts end, and what can matter no more is forgotten.

use std::collections::VecDeque;
use std::sync::Arc;

use pipeline::{EventId, Time};

use super::alerts::of_group;
use super::{Engine, forget_at, horizon, is_missing, single};
use crate::anomaly::alert::{Ended, Told, Turn};
use crate::anomaly::rows::Firing;
use crate::anomaly::spec::{Measure, SECOND, Shape, Spec, Stamp};
use crate::anomaly::store::Extra;

impl Engine {
    /// Event time came to `watermark`.
    pub(in crate::anomaly) fn advance(&mut self, watermark: Time) {
        if watermark.0 <= self.watermark {
            return;
        }
        self.watermark = watermark.0;
        if self.full {
            self.fit();
        }
        for n in 0..self.rules.len() {
            let memory = &mut self.memory[n];
            // It looks since event time is known, whatever single events say.
            memory.since = memory.since.min(watermark.0);
            self.expect(n);
            let spec = &self.rules[n].spec;
            if spec.minds_lateness() {
                let edge = watermark.0.saturating_sub(spec.lateness);
                self.memory[n].recent.forget(edge);
            }
            while let Some(slot) = self.memory[n].store.pop(watermark.0) {
                self.look(n, slot);
            }
            while let Some((due, ..)) = self.memory[n].singles.front() {
                if *due >= watermark.0 {
                    break;
                }
                if let Some((due, group, mut alert)) = self.memory[n].singles.pop_front() {
                    let turn = alert.resolve(due);
                    self.tell(n, &group, turn, due, &alert);
                }
            }
        }
        self.faces.prune(watermark.0.saturating_sub(self.lateness));
    }

    /// Tells every alert once more that has counted something since it was last told of.
    pub(in crate::anomaly) fn flush(&mut self) {
        for (n, memory) in self.memory.iter().enumerate() {
            for slot in memory.store.in_order() {
                let Some(group) = memory.store.get(slot) else {
                    continue;
                };
                let alerts = group.alerts.iter();
                for alert in alerts.filter(|alert| alert.is_open() || alert.untold) {
                    self.told.push(Told {
                        rule: n,
                        group: Arc::clone(&group.key),
                        turn: Turn::Updated,
                        at: alert.told,
                        alert: alert.clone(),
                    });
                }
            }
        }
    }

    /// Groups that a rule expects by name count as seen when it began to look.
    pub(super) fn expect(&mut self, n: usize) {
        let spec = Arc::clone(&self.rules[n].spec);
        let Shape::Absence {
            expect,
            every,
            grace,
            ..
        } = &spec.shape
        else {
            return;
        };
        let memory = &mut self.memory[n];
        let since = memory.since;
        for key in expect {
            if memory.store.find(key).is_none() {
                let slot = memory.store.add(key);
                if let Some(group) = memory.store.get_mut(slot) {
                    group.extra = Extra::Seen {
                        first: Stamp::at(since),
                        last: Stamp::at(since),
                        expected: true,
                        missing: false,
                    };
                }
                let due = since.saturating_add(*every).saturating_add(*grace) + 1;
                memory.store.ask(slot, due);
            }
        }
    }

    /// A group whose time is up.
    pub(super) fn look(&mut self, n: usize, slot: u32) {
        let Some(group) = self.memory[n].store.get(slot) else {
            return;
        };
        let spec = &*of_group(&self.rules[n].spec, &group.key);
        let mut firings = std::mem::take(&mut self.firings);
        let undecided = self.decide(n, spec, slot, &mut firings);
        for firing in firings.drain(..) {
            self.fire(n, slot, &firing, 0);
        }
        self.firings = firings;
        self.pass(n, slot, spec);
        let watermark = self.watermark;
        let Some(group) = self.memory[n].store.get_mut(slot) else {
            return;
        };
        if !undecided && !matches!(group.extra, Extra::Seen { .. }) {
            group.pinned.0.clear();
        }
        if forget_at(spec, group) <= watermark {
            if matches!(group.extra, Extra::Seen { .. }) {
                // It was expected for as long as one may: perhaps it is gone for good.
                self.resolve(n, slot, watermark, Some(Ended::Forgotten));
            }
            let group = self.memory[n].store.get(slot);
            if group.is_some_and(|group| group.alerts.is_empty()) {
                self.memory[n].store.remove(slot);
                return;
            }
        }
        self.rest(n, slot);
    }

    /// Time passes for the alerts of a group.
    fn pass(&mut self, n: usize, slot: u32, spec: &Spec) {
        let (watermark, incomplete) = (self.watermark, !self.silent.is_empty());
        let Some(group) = self.memory[n].store.get_mut(slot) else {
            return;
        };
        let held = is_missing(&group.extra);
        let key = Arc::clone(&group.key);
        let mut alerts = std::mem::take(&mut group.alerts);
        let mut closed = 0;
        for alert in &mut alerts {
            while let Some((turn, at)) = alert.pass(spec, watermark, held) {
                alert.incomplete |= incomplete && turn == Turn::Resolved;
                closed += usize::from(turn == Turn::Resolved);
                self.tell(n, &key, turn, at, alert);
            }
            if alert.untold && alert.is_over(spec, watermark) {
                let at = alert.resolved.unwrap_or(watermark);
                let turn = alert.resolve(at);
                self.tell(n, &key, turn, at, alert);
            }
        }
        alerts.retain(|alert| !alert.is_over(spec, watermark));
        let store = &mut self.memory[n].store;
        store.open -= closed;
        if let Some(group) = store.get_mut(slot) {
            group.alerts = alerts;
        }
    }

    /// Whether the input that would carry the events of a group is down; one of which nothing came may have been any.
    fn is_down(&self, n: usize, slot: u32) -> bool {
        if self.silent.is_empty() {
            return false;
        }
        let input = self.memory[n]
            .store
            .get(slot)
            .map_or(0, |group| group.input);
        input == 0 || self.silent.contains(&input)
    }

    /// What has to be decided about a group now that event time is where it is.
    /// `true`: something of it waits on.
    pub(super) fn decide(
        &mut self,
        n: usize,
        spec: &Spec,
        slot: u32,
        firings: &mut Vec<Firing>,
    ) -> bool {
        let (watermark, started, ends) = (self.watermark, self.started, self.ends);
        let is_down = self.is_down(n, slot);
        let store = &mut self.memory[n].store;
        let mut again = None;
        let Some(group) = store.get_mut(slot) else {
            return false;
        };
        match &spec.shape {
            Shape::Event { hold: Some(hold) } => {
                let unless = match &group.extra {
                    Extra::Unless(held) => held.clone(),
                    _ => VecDeque::new(),
                };
                for row in &mut group.rows.rows {
                    let end = row.stamp.time.saturating_add(*hold);
                    if row.decided {
                        continue;
                    }
                    if end >= watermark {
                        again = Some(end + 1);
                        break;
                    }
                    row.decided = true;
                    // Of the same second it may have come first: product times have no more.
                    let from = row.stamp.time.saturating_sub(spec.before);
                    let off = unless
                        .iter()
                        .any(|stamp| stamp.time >= from && stamp.time <= end);
                    if !off {
                        firings.push(Firing {
                            became: Some(end),
                            ..single(row.stamp)
                        });
                    }
                }
                let old = watermark
                    .saturating_sub(spec.lateness)
                    .saturating_sub(*hold);
                group.rows.prune(old, spec.max_values);
                if let Extra::Unless(held) = &mut group.extra {
                    let old = old.saturating_sub(spec.before);
                    while held.front().is_some_and(|stamp| stamp.time <= old) {
                        held.pop_front();
                    }
                }
            }
            Shape::Window { measure, test } => {
                if !test.grows || *measure == Measure::Mean || group.rows.falling {
                    again = group.rows.decide(spec, *measure, test, watermark, firings);
                }
                group.rows.forget(spec, horizon(spec, watermark));
            }
            Shape::Sequence {
                ordered, without, ..
            } => {
                if let Extra::Sequence(sequence) = &mut group.extra {
                    if *without {
                        sequence.complete(spec, *ordered, None, Some(watermark), firings);
                        again = sequence.undecided(watermark, *ordered);
                    }
                    sequence.prune(horizon(spec, watermark));
                }
            }
            Shape::Absence { every, grace, .. } => {
                if let Extra::Seen {
                    last,
                    expected,
                    missing,
                    ..
                } = &mut group.extra
                {
                    let end = last.time.saturating_add(*every).saturating_add(*grace);
                    // Nobody may have been there to write while nobody was there to read.
                    let end = end.max(started.saturating_add(*every));
                    let waits = *expected && !*missing;
                    if waits && watermark.min(ends) <= end {
                        again = (watermark <= end).then_some(end + 1);
                    } else if waits && is_down {
                        // Its input is down itself; it is looked at again when that is over.
                        again = Some(watermark + SECOND);
                    } else if waits {
                        *missing = true;
                        let at = Stamp::new(end, last.id);
                        firings.push(Firing {
                            at,
                            first: *last,
                            added: 1,
                            value: 0.0,
                            ids: if last.id == EventId([0, 0]) {
                                Vec::new()
                            } else {
                                vec![last.id]
                            },
                            ..Firing::default()
                        });
                    }
                }
            }
            Shape::Event { hold: None } | Shape::NewTerm { .. } | Shape::Spike { .. } => {}
        }
        if let Some(again) = again {
            store.ask(slot, again);
        }
        again.is_some()
    }
}
