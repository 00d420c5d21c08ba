//! Event time moves on: what was held is decided, alerts end, and what can matter no more is forgotten.

use std::collections::VecDeque;

use pipeline::{EventId, Time};

use super::alerts::of_group;
use super::{Engine, forget_at, horizon, is_missing, single};
use crate::anomaly::alert::{Told, Turn};
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
                    self.told.push(Told {
                        rule: n,
                        group,
                        turn,
                        at: due,
                        alert,
                    });
                }
            }
        }
    }

    /// Tells every open alert once more, with what it has counted since it was last told of.
    pub(in crate::anomaly) fn flush(&mut self) {
        for (n, memory) in self.memory.iter().enumerate() {
            for slot in memory.store.in_order() {
                if let Some(group) = memory.store.get(slot)
                    && let Some(alert) = &group.alert
                    && alert.is_open()
                {
                    self.told.push(Told {
                        rule: n,
                        group: std::sync::Arc::clone(&group.key),
                        turn: Turn::Updated,
                        at: alert.told,
                        alert: (**alert).clone(),
                    });
                }
            }
        }
    }

    /// Groups that a rule expects by name count as seen when it began to look.
    pub(super) fn expect(&mut self, n: usize) {
        let spec = std::sync::Arc::clone(&self.rules[n].spec);
        let Shape::Absence {
            expect,
            every,
            grace,
            ..
        } = &spec.shape
        else {
            return;
        };
        let watermark = self.watermark;
        let memory = &mut self.memory[n];
        if memory.since == i64::MAX {
            memory.since = watermark;
        }
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
        self.decide(n, spec, slot, &mut firings);
        for firing in firings.drain(..) {
            self.fire(n, slot, &firing, None, 0);
        }
        self.firings = firings;
        let (watermark, incomplete) = (self.watermark, self.incomplete);
        let Some(group) = self.memory[n].store.get_mut(slot) else {
            return;
        };
        let held = is_missing(&group.extra);
        if let Some(alert) = &mut group.alert {
            let mut closed = 0;
            while let Some((turn, at)) = alert.pass(spec, watermark, held) {
                alert.incomplete |= incomplete && turn == Turn::Resolved;
                closed += usize::from(turn == Turn::Resolved);
                self.told.push(Told {
                    rule: n,
                    group: std::sync::Arc::clone(&group.key),
                    turn,
                    at,
                    alert: (**alert).clone(),
                });
            }
            if alert.is_over(spec, watermark) {
                group.alert = None;
            }
            self.memory[n].store.open -= closed;
        }
        let Some(group) = self.memory[n].store.get(slot) else {
            return;
        };
        if group.alert.is_none() && forget_at(spec, group) <= watermark {
            self.memory[n].store.remove(slot);
            return;
        }
        self.rest(n, slot);
    }

    /// What has to be decided about a group now that event time is where it is.
    pub(super) fn decide(&mut self, n: usize, spec: &Spec, slot: u32, firings: &mut Vec<Firing>) {
        let (watermark, incomplete, ends) = (self.watermark, self.incomplete, self.ends);
        let store = &mut self.memory[n].store;
        let mut again = None;
        let Some(group) = store.get_mut(slot) else {
            return;
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
                        firings.push(single(row.stamp));
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
                    if *expected && !*missing && watermark.min(ends) <= end {
                        again = (watermark <= end).then_some(end + 1);
                    } else if *expected && !*missing && incomplete {
                        // Its input may be down itself; it is looked at again when that is over.
                        again = Some(watermark + SECOND);
                    } else if *expected && !*missing {
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
    }
}
