//! The life of an alert: open, updated, resolved, opened again (`detection.md` 8).

use std::collections::HashSet;
use std::sync::Arc;

use pipeline::{Event, EventId};

use super::rows::{Firing, MOST_IDS};
use super::spec::{Grade, SECOND, Spec, Stamp};

/// Updates come at most so often [ns].
const UPDATE: i64 = 300 * SECOND;

/// What is told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Opened,
    Updated,
    Resolved,
}

/// One alert of a group.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) id: EventId,
    /// The first firing in the order of events, so far.
    pub(super) opening: Stamp,
    pub(super) first: Stamp,
    /// The last firing.
    pub(super) last: Stamp,
    pub(super) count: u64,
    pub(super) saturated: bool,
    /// Selections that held for one of its matches.
    pub(super) selections: u64,
    /// Distinct values, where these are counted.
    pub(super) values: HashSet<u64>,
    pub(super) value: f64,
    pub(super) ids: Vec<EventId>,
    pub(super) opened: i64,
    pub(super) resolved: Option<i64>,
    pub(super) grade: Grade,
    pub(super) late: bool,
    pub(super) incomplete: bool,
    /// When it was last told of [ns].
    pub(super) told: i64,
    /// How often it was told of.
    pub(super) turns: u32,
    /// Alerts that were not opened because there are too many.
    pub(super) overflow: u64,
    /// The newest event, without what an alert does not say.
    pub(super) event: Option<Box<Event>>,
    pub(super) newest: Stamp,
}

/// Something to tell.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) rule: usize,
    pub(super) group: Arc<str>,
    pub(super) turn: Turn,
    /// Event time of the turn [ns].
    pub(super) at: i64,
    pub(super) alert: Alert,
}

/// What surrounds a firing.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) event: Option<&'a Event>,
    pub(super) distinct: bool,
    pub(super) late: bool,
    pub(super) incomplete: bool,
    pub(super) saturated: bool,
}

/// The id of an alert: rule, group, opening event.
pub(super) fn id(cluster: &str, rule: &str, group: &str, opening: EventId) -> EventId {
    EventId::of_parts(&[
        b"pve-audit/1",
        b"alert",
        cluster.as_bytes(),
        rule.as_bytes(),
        group.as_bytes(),
        opening.to_string().as_bytes(),
    ])
}

impl Alert {
    pub(super) fn open(id: EventId, spec: &Spec, firing: &Firing, around: Around<'_>) -> Alert {
        let mut alert = Alert {
            id,
            opening: firing.at,
            first: firing.first,
            last: firing.at,
            count: 0,
            saturated: around.saturated,
            selections: 0,
            values: HashSet::new(),
            value: firing.value,
            ids: Vec::new(),
            opened: firing.at.time,
            resolved: None,
            grade: spec.grade,
            late: around.late,
            incomplete: around.incomplete,
            told: firing.at.time,
            turns: 1,
            overflow: 0,
            event: None,
            newest: Stamp::at(i64::MIN),
        };
        alert.take_in(spec, firing, around);
        alert
    }

    /// Counts a firing; `true` where the alert became graver.
    fn take_in(&mut self, spec: &Spec, firing: &Firing, around: Around<'_>) -> bool {
        if let Some(before) = firing.instead_of {
            if self.last == before {
                self.last = firing.at;
            }
        } else {
            self.last = self.last.max(firing.at);
        }
        self.first = self.first.min(firing.first);
        self.opening = self.opening.min(firing.at);
        if around.distinct {
            for value in &firing.values {
                if self.values.len() < spec.max_values {
                    self.values.insert(*value);
                } else {
                    self.saturated |= !self.values.contains(value);
                }
            }
            self.count = self.values.len() as u64;
        } else {
            self.count += firing.added;
        }
        self.value = firing.value;
        self.saturated |= around.saturated;
        self.late |= around.late;
        self.incomplete |= around.incomplete;
        for id in &firing.ids {
            if self.ids.len() < MOST_IDS && !self.ids.contains(id) {
                self.ids.push(*id);
            }
        }
        if let Some(event) = around.event
            && self.newest <= firing.at
        {
            self.newest = firing.at;
            self.event = Some(Box::new(super::write::keep(event)));
        }
        let mut grade = self.grade;
        self.selections |= firing.selections;
        for step in &spec.escalate {
            let has = step.selection == 0 || self.selections & step.selection != 0;
            if has && self.count >= step.count {
                grade = grade.max(step.grade);
            }
        }
        let rises = grade > self.grade;
        self.grade = grade;
        rises
    }

    pub(super) fn is_open(&self) -> bool {
        self.resolved.is_none()
    }

    /// Whether a firing belongs to this alert.
    pub(super) fn takes(&self, spec: &Spec, firing: &Firing) -> bool {
        let reach = spec.resolve_after.saturating_add(spec.reopen);
        let before = self.opening.time.saturating_sub(firing.at.time) <= reach;
        let behind = match self.resolved {
            // Event time may not have come to its end yet.
            None => firing.at.time.saturating_sub(self.last.time) <= reach,
            Some(at) => firing.at.time <= at.saturating_add(spec.reopen),
        };
        before && behind
    }

    /// A further firing; says what has to be told.
    pub(super) fn more(
        &mut self,
        spec: &Spec,
        firing: &Firing,
        around: Around<'_>,
    ) -> Option<Turn> {
        let rises = self.take_in(spec, firing, around);
        let again = match self.resolved {
            Some(at) if firing.at.time > at.saturating_sub(spec.resolve_after) => {
                self.resolved = None;
                true
            }
            _ => false,
        };
        let due = firing.at.time.saturating_sub(self.told) >= UPDATE;
        (rises || again || due).then(|| {
            self.turns += 1;
            self.told = self.told.max(firing.at.time);
            Turn::Updated
        })
    }

    /// Event time came to `watermark`.
    pub(super) fn pass(&mut self, spec: &Spec, watermark: i64, held: bool) -> Option<(Turn, i64)> {
        if self.resolved.is_some() {
            return None;
        }
        let end = self.last.time.saturating_add(spec.resolve_after);
        if !held && watermark > end {
            return Some((self.resolve(end), end));
        }
        let reminder = self.told.saturating_add(spec.repeat);
        if spec.repeat > 0 && watermark >= reminder {
            self.turns += 1;
            self.told = reminder;
            return Some((Turn::Updated, reminder));
        }
        None
    }

    pub(super) fn resolve(&mut self, at: i64) -> Turn {
        self.resolved = Some(at);
        self.turns += 1;
        self.told = at;
        Turn::Resolved
    }

    /// When it has to be looked at again [ns].
    pub(super) fn due(&self, spec: &Spec, held: bool) -> i64 {
        if let Some(at) = self.resolved {
            return at.saturating_add(spec.reopen).saturating_add(spec.lateness) + 1;
        }
        let mut due = i64::MAX;
        if !held {
            due = self.last.time.saturating_add(spec.resolve_after) + 1;
        }
        if spec.repeat > 0 {
            due = due.min(self.told.saturating_add(spec.repeat));
        }
        due
    }

    /// Whether nothing can come to it any more.
    pub(super) fn is_over(&self, spec: &Spec, watermark: i64) -> bool {
        self.resolved.is_some_and(|at| {
            watermark > at.saturating_add(spec.reopen).saturating_add(spec.lateness)
        })
    }
}
