//! The life of an alert: open, updated, resolved, opened again (`detection.md` 8).
//!
//! An alert is a stretch of time: firings that lie no further apart than it takes to resolve and to be opened again are one
//! alert, in whatever order they come. Two that grow together are one from then on.

use std::collections::HashSet;
use std::sync::Arc;

use pipeline::{Event, EventId, Language};

use super::rows::{Firing, MOST_IDS};
use super::spec::{Grade, SECOND, Spec, Stamp};

/// Updates come at most so often [ns].
const UPDATE: i64 = 300 * SECOND;
/// Firings of one alert remembered, where an earlier event may take the place of one [firings].
const MOST_FIRINGS: usize = 64;

/// What is told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Opened,
    Updated,
    Resolved,
}

/// Why an alert ended that did not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// What is missing was not there for so long that it is expected no more.
    Forgotten,
    /// Its rule means something else now.
    Changed,
    /// Its rule is switched off.
    Off,
    /// Its rule is gone.
    Gone,
    /// It has become a part of this alert.
    PartOf(EventId),
}

impl Ended {
    /// For a saved state, which never holds one that is a part of another.
    pub(super) fn number(held: Option<Ended>) -> u8 {
        match held {
            None | Some(Ended::PartOf(_)) => 0,
            Some(Ended::Forgotten) => 1,
            Some(Ended::Changed) => 2,
            Some(Ended::Off) => 3,
            Some(Ended::Gone) => 4,
        }
    }

    /// The one with that number.
    pub(super) fn of(number: u8) -> Option<Ended> {
        match number {
            1 => Some(Ended::Forgotten),
            2 => Some(Ended::Changed),
            3 => Some(Ended::Off),
            4 => Some(Ended::Gone),
            _ => None,
        }
    }

    /// A sentence without a stop.
    pub(super) fn words(self, language: Language) -> String {
        let (en, de) = match self {
            Ended::Forgotten => (
                "it was missing for so long that it is expected no more",
                "es fehlt schon so lange, dass es nicht mehr erwartet wird",
            ),
            Ended::Changed => (
                "its rule means something else now",
                "die Regel bedeutet jetzt etwas anderes",
            ),
            Ended::Off => ("its rule is switched off", "die Regel ist abgeschaltet"),
            Ended::Gone => ("its rule is gone", "die Regel gibt es nicht mehr"),
            Ended::PartOf(id) => {
                return match language {
                    Language::En => format!("it is one with the alert {id}"),
                    Language::De => format!("er ist eins mit dem Alarm {id}"),
                };
            }
        };
        match language {
            Language::En => en,
            Language::De => de,
        }
        .to_owned()
    }
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
    /// When its first and its last firing became true [ns].
    pub(super) opened: i64,
    pub(super) until: i64,
    pub(super) resolved: Option<i64>,
    pub(super) grade: Grade,
    pub(super) late: bool,
    pub(super) incomplete: bool,
    /// When it was last told of [ns].
    pub(super) told: i64,
    /// It has counted something since.
    pub(super) untold: bool,
    /// How often it was told of.
    pub(super) turns: u32,
    /// Where event time stood when it last took something in [ns].
    pub(super) touched: i64,
    /// Alerts that were not opened because there are too many.
    pub(super) overflow: u64,
    /// Its firings, where an earlier event may take the place of one.
    pub(super) firings: Vec<Stamp>,
    /// Why it ended, where that was not by itself.
    pub(super) ended: Option<Ended>,
    /// The event of the last firing whose event is known, without what an alert does not say.
    pub(super) event: Option<Arc<Event>>,
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
    /// The event it happened at, if it is known.
    pub(super) face: Option<&'a Arc<Event>>,
    pub(super) distinct: bool,
    /// An earlier event may take the place of a firing.
    pub(super) moves: bool,
    pub(super) late: bool,
    pub(super) incomplete: bool,
    pub(super) saturated: bool,
    /// [ns]
    pub(super) watermark: i64,
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
            opened: firing.when(),
            until: firing.when(),
            resolved: None,
            grade: spec.grade,
            late: around.late,
            incomplete: around.incomplete,
            told: firing.when(),
            untold: false,
            turns: 1,
            touched: around.watermark,
            overflow: 0,
            firings: Vec::new(),
            ended: None,
            event: None,
            newest: Stamp::at(i64::MIN),
        };
        alert.take_in(spec, firing, around);
        alert.untold = false;
        alert
    }

    /// Counts a firing; `true` where the alert became graver.
    fn take_in(&mut self, spec: &Spec, firing: &Firing, around: Around<'_>) -> bool {
        self.last = self.last.max(firing.at);
        self.until = self.until.max(firing.when());
        self.opened = self.opened.min(firing.when());
        self.first = self.first.min(firing.first);
        self.opening = self.opening.min(firing.at);
        self.touched = self.touched.max(around.watermark);
        self.untold = true;
        if around.moves && self.firings.len() < MOST_FIRINGS {
            self.firings.push(firing.at);
        }
        if around.distinct {
            self.count_values(spec, firing.values.iter().copied());
        } else {
            self.count += firing.added;
        }
        self.selections |= firing.selections;
        self.value = firing.value;
        self.saturated |= around.saturated;
        self.late |= around.late;
        self.incomplete |= around.incomplete;
        self.name_ids(&firing.ids);
        // Whoever an older event speaks of is not who did the last of it.
        if let Some(face) = around.face
            && self.newest <= firing.at
        {
            self.newest = firing.at;
            self.event = Some(Arc::clone(face));
        }
        self.grow_graver(spec)
    }

    fn count_values(&mut self, spec: &Spec, values: impl Iterator<Item = u64>) {
        for value in values {
            if self.values.len() < spec.max_values {
                self.values.insert(value);
            } else {
                self.saturated |= !self.values.contains(&value);
            }
        }
        self.count = self.values.len() as u64;
    }

    fn name_ids(&mut self, ids: &[EventId]) {
        for id in ids {
            if self.ids.len() < MOST_IDS && !self.ids.contains(id) {
                self.ids.push(*id);
            }
        }
    }

    fn grow_graver(&mut self, spec: &Spec) -> bool {
        let mut grade = self.grade;
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

    /// When it is over if nothing more comes [ns].
    fn end(&self, spec: &Spec) -> i64 {
        let end = self.until.saturating_add(spec.resolve_after);
        self.resolved.unwrap_or(end)
    }

    /// Whether something that began then is still this alert.
    fn reaches(&self, spec: &Spec, begin: i64) -> bool {
        begin <= self.end(spec).saturating_add(spec.reopen)
    }

    /// Whether a firing belongs to this alert.
    pub(super) fn takes(&self, spec: &Spec, firing: &Firing) -> bool {
        let reach = spec.resolve_after.saturating_add(spec.reopen);
        let when = firing.when();
        self.opened.saturating_sub(when) <= reach && self.reaches(spec, when)
    }

    /// A further firing; says what has to be told.
    pub(super) fn more(
        &mut self,
        spec: &Spec,
        firing: &Firing,
        around: Around<'_>,
    ) -> Option<Turn> {
        let rises = self.take_in(spec, firing, around);
        let again = self.go_on(spec);
        let due = firing.when().saturating_sub(self.told) >= UPDATE;
        // One that is over tells at its very end what it has counted since.
        (self.is_open() && (rises || again || due)).then(|| self.update(firing.when()))
    }

    fn update(&mut self, at: i64) -> Turn {
        self.turns += 1;
        self.told = self.told.max(at);
        self.untold = false;
        Turn::Updated
    }

    /// Opens it again where its last firing lies too near to its end for that to be one.
    fn go_on(&mut self, spec: &Spec) -> bool {
        let again = self
            .resolved
            .is_some_and(|at| self.until.saturating_add(spec.resolve_after) > at);
        if again {
            self.resolved = None;
        }
        again
    }

    /// Takes in an alert that begins before this one is over; says what has to be told.
    pub(super) fn join(&mut self, spec: &Spec, other: &mut Alert, distinct: bool) -> Option<Turn> {
        if !self.reaches(spec, other.opened) {
            return None;
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        let later = other.until > self.until;
        self.until = self.until.max(other.until);
        self.touched = self.touched.max(other.touched);
        self.saturated |= other.saturated;
        self.late |= other.late;
        self.incomplete |= other.incomplete;
        self.overflow += other.overflow;
        self.selections |= other.selections;
        if distinct {
            self.count_values(spec, other.values.iter().copied());
        } else {
            self.count += other.count;
        }
        self.name_ids(&other.ids);
        let room = MOST_FIRINGS.saturating_sub(self.firings.len());
        self.firings.extend(other.firings.iter().take(room));
        if self.newest <= other.newest && other.event.is_some() {
            (self.newest, self.event) = (other.newest, other.event.clone());
        }
        self.grade = self.grade.max(other.grade);
        self.grow_graver(spec);
        if later {
            self.resolved = other.resolved;
        } else {
            self.go_on(spec);
        }
        other.ended = Some(Ended::PartOf(self.id));
        Some(if self.is_open() {
            self.update(self.until)
        } else {
            self.resolve(self.end(spec))
        })
    }

    /// An earlier event took the place of the one of a firing; `false`: that firing is not of this alert.
    pub(super) fn moved(&mut self, spec: &Spec, before: Stamp, firing: &Firing) -> bool {
        let Some(place) = self.firings.iter().position(|held| *held == before) else {
            return false;
        };
        self.firings[place] = firing.at;
        let (first, last) = self
            .firings
            .iter()
            .fold((firing.at, firing.at), |(first, last), at| {
                (first.min(*at), last.max(*at))
            });
        (self.first, self.opening, self.last) = (first, first, last);
        (self.opened, self.until) = (first.time, last.time);
        for id in &mut self.ids {
            if *id == before.id {
                *id = firing.at.id;
            }
        }
        if self.newest == before {
            (self.newest, self.event) = (Stamp::at(i64::MIN), None);
        }
        if let Some(at) = &mut self.resolved {
            *at = last.time.saturating_add(spec.resolve_after);
        }
        self.untold = true;
        true
    }

    /// Its last firing speaks of this event.
    pub(super) fn show(&mut self, face: Option<&Arc<Event>>) {
        if self.newest < self.last
            && let Some(face) = face
        {
            self.newest = self.last;
            self.event = Some(Arc::clone(face));
        }
    }

    /// Event time came to `watermark`. However far it went, there is one reminder.
    pub(super) fn pass(&mut self, spec: &Spec, watermark: i64, held: bool) -> Option<(Turn, i64)> {
        if self.resolved.is_some() {
            return None;
        }
        let end = self.end(spec);
        if !held && watermark > end {
            return Some((self.resolve(end), end));
        }
        let passed = watermark.saturating_sub(self.told);
        if spec.repeat > 0 && passed >= spec.repeat {
            let reminder = self.told + passed / spec.repeat * spec.repeat;
            return Some((self.update(reminder), reminder));
        }
        None
    }

    pub(super) fn resolve(&mut self, at: i64) -> Turn {
        self.resolved = Some(at);
        self.turns += 1;
        self.told = at;
        self.untold = false;
        Turn::Resolved
    }

    /// When it has to be looked at again [ns].
    pub(super) fn due(&self, spec: &Spec, held: bool) -> i64 {
        if self.resolved.is_some() {
            return self.forgotten(spec);
        }
        let mut due = i64::MAX;
        if !held {
            due = self.end(spec).saturating_add(1);
        }
        if spec.repeat > 0 {
            due = due.min(self.told.saturating_add(spec.repeat));
        }
        due
    }

    /// When nothing can come to it any more, once it is resolved [ns].
    fn forgotten(&self, spec: &Spec) -> i64 {
        self.end(spec)
            .max(self.touched)
            .saturating_add(spec.reopen)
            .saturating_add(spec.lateness)
            .saturating_add(1)
    }

    /// Whether nothing can come to it any more.
    pub(super) fn is_over(&self, spec: &Spec, watermark: i64) -> bool {
        self.resolved.is_some() && watermark >= self.forgotten(spec)
    }
}
