//! Windows and alerts of all rules: events come in any order, event time moves on, and what follows from both is told.

mod alerts;
mod matches;
mod passing;
mod room;

use std::collections::HashMap;
use std::collections::VecDeque;

use pipeline::{Event, Time};

use super::alert::{Alert, Told};
use super::faces::Faces;
use super::recent::Recent;
use super::rows::Firing;
use super::spec::{Cut, SECOND, Shape, Spec, Stamp, UNLESS, WITHOUT, Watched, feeds};
use super::store::{Extra, Store};
use super::terms::Terms;

/// Open alerts of one rule; of what comes besides, one alert tells the number.
pub(super) const MOST_OPEN: usize = 1_000;
/// Other rules one firing may reach through rules that feed rules.
const DEEPEST: usize = 8;

/// What one rule remembers.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) store: Store,
    /// First and last sight of each tuple.
    pub(super) terms: Terms,
    /// The same of each part that has to be known.
    pub(super) known: Terms,
    /// Matches that were counted lately.
    pub(super) recent: Recent,
    /// When it began to look [ns].
    pub(super) since: i64,
    pub(super) evicted: u64,
    pub(super) late: u64,
    /// Times of what came too late [ns].
    pub(super) late_span: Option<(i64, i64)>,
    /// Alerts of their own that wait for their end.
    pub(super) singles: VecDeque<(i64, std::sync::Arc<str>, Alert)>,
    pub(super) fired: HashMap<&'static str, u64>,
    /// Something was given up or left out lately.
    pub(super) degraded: bool,
    /// For so many reports nothing was.
    pub(super) calm: u32,
}

/// All rules.
pub(super) struct Engine {
    pub(super) rules: Vec<Watched>,
    feeds: Vec<Vec<(usize, usize)>>,
    pub(super) memory: Vec<Memory>,
    pub(super) cluster: String,
    pub(super) budget: usize,
    /// [ns]; `i64::MIN` before anything was read.
    pub(super) watermark: i64,
    /// Inputs that should speak and do not, by [`input`].
    pub(super) silent: Vec<u64>,
    /// The input whose events are looked at.
    pub(super) input: u64,
    /// Nothing is known of what comes later: nothing that is not there yet is missing [ns].
    pub(super) ends: i64,
    /// What may still grow before the sum of everything is taken again [bytes].
    slack: usize,
    /// Nothing can be given up any more.
    full: bool,
    pub(super) told: Vec<Told>,
    /// Events that firings may have to speak of.
    pub(super) faces: Faces,
    /// Most that an event of any rule may be late [ns].
    lateness: i64,
    /// Before this nothing is said to be missing, but for `every` of its rule [ns].
    pub(super) started: i64,
    key: String,
    firings: Vec<Firing>,
}

impl Engine {
    pub(super) fn new(rules: Vec<Watched>, cluster: &str, budget: usize) -> Engine {
        let lateness = rules.iter().map(|rule| rule.spec.lateness).max();
        Engine {
            feeds: feeds(&rules),
            lateness: lateness.unwrap_or(0),
            memory: rules
                .iter()
                .map(|_| Memory {
                    since: i64::MAX,
                    ..Memory::default()
                })
                .collect(),
            rules,
            cluster: cluster.to_owned(),
            budget,
            watermark: i64::MIN,
            silent: Vec::new(),
            input: 0,
            ends: i64::MAX,
            slack: budget,
            full: false,
            told: Vec::new(),
            faces: Faces::default(),
            started: i64::MIN,
            key: String::new(),
            firings: Vec::new(),
        }
    }

    /// An event that rule `n` may match, at the time that counts for windows.
    pub(super) fn see(&mut self, n: usize, event: &Event, at: Time) {
        let judge = std::sync::Arc::clone(&self.rules[n].judge);
        let (roles, selections) = judge.roles(event, at);
        if roles == 0 {
            return;
        }
        let stamp = Stamp::new(at.0, event.id());
        if !self.is_in_time(n, stamp) {
            return;
        }
        let before = self.memory[n].bytes();
        if self.rules[n].spec.forgets_ids() && !self.memory[n].recent.is_new(stamp.id, stamp.time) {
            return;
        }
        self.play(n, roles, selections, stamp, event);
        self.grew(self.memory[n].bytes().saturating_sub(before));
    }

    fn is_in_time(&mut self, n: usize, stamp: Stamp) -> bool {
        let spec = &self.rules[n].spec;
        let memory = &mut self.memory[n];
        let too_late = stamp.time < self.watermark.saturating_sub(spec.lateness);
        if too_late && spec.minds_lateness() {
            memory.late += 1;
            let (from, to) = memory.late_span.unwrap_or((stamp.time, stamp.time));
            memory.late_span = Some((from.min(stamp.time), to.max(stamp.time)));
            return false;
        }
        true
    }

    fn play(&mut self, n: usize, roles: u64, selections: u64, stamp: Stamp, event: &Event) {
        let rule = self.rules[n].clone();
        let spec = &*rule.spec;
        let stages = match &spec.shape {
            Shape::Sequence { stages, .. } => *stages,
            _ => 1,
        };
        for stage in 0..stages {
            if roles & (1 << stage) != 0 {
                self.play_one(n, &rule, (stage, stage, selections), stamp, event, 0);
            }
        }
        if roles & WITHOUT != 0 {
            self.play_one(n, &rule, (stages, stages, selections), stamp, event, 0);
        }
        if roles & UNLESS != 0 {
            self.play_one(n, &rule, (1, usize::MAX, selections), stamp, event, 0);
        }
    }

    /// One event in one of its roles: the stage whose group counts, the role, and the selections that hold.
    fn play_one(
        &mut self,
        n: usize,
        rule: &Watched,
        (stage, role, selections): (usize, usize, u64),
        stamp: Stamp,
        event: &Event,
        depth: usize,
    ) {
        let spec = &*rule.spec;
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        let grouped = rule.judge.group(event, stage, selections, &mut key);
        if grouped {
            let slot = match self.memory[n].store.find(&key) {
                Some(slot) => Some(slot),
                // What only calls off begins nothing, but may come before what it calls off.
                None => self
                    .make_room(n, spec)
                    .then(|| self.memory[n].store.add(&key)),
            };
            if let Some(slot) = slot {
                self.memory[n].store.touch(slot);
                let face = self.faces.of(event, stamp.time);
                let late = depth == 0 && stamp.time < self.watermark && spec.minds_lateness();
                if let Some(group) = self.memory[n].store.get_mut(slot) {
                    group.input = self.input;
                    if late {
                        group.note_late(stamp);
                    }
                    let most = spec.shape.waits();
                    if most > 0 {
                        group.pinned.pin(stamp, face, most);
                    }
                }
                let mut firings = std::mem::take(&mut self.firings);
                self.match_one(n, rule, slot, role, stamp, event, &mut firings);
                for mut firing in firings.drain(..) {
                    firing.selections = selections;
                    self.fire(n, slot, &firing, depth);
                }
                self.firings = firings;
                self.rest(n, slot);
            }
        }
        self.key = key;
    }

    /// After a group was used: when it wants to be looked at again, and what it costs.
    fn rest(&mut self, n: usize, slot: u32) {
        let store = &mut self.memory[n].store;
        store.settle(slot);
        let Some(group) = store.get(slot) else { return };
        let spec = alerts::of_group(&self.rules[n].spec, &group.key);
        let held = is_missing(&group.extra);
        let alerts = group.alerts.iter().map(|alert| alert.due(&spec, held));
        let due = alerts.min().unwrap_or(i64::MAX);
        let forget = forget_at(&spec, group);
        // What is kept for its alerts' sake is looked at when they want to be.
        let is_kept = !group.alerts.is_empty() && forget <= self.watermark;
        let due = if is_kept { due } else { due.min(forget) };
        store.ask(slot, due);
    }

    /// Everything that remembers [things].
    pub(super) fn remembered(&self) -> usize {
        self.memory
            .iter()
            .map(|memory| memory.store.len() + memory.terms.len())
            .sum()
    }
}

/// The number of an input, by its name; never 0.
pub(super) fn input(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes()).max(1)
}

/// Matches up to here can complete nothing any more [ns].
pub(super) fn horizon(spec: &Spec, watermark: i64) -> i64 {
    let more = match &spec.cut {
        Cut::Sliding => 0,
        // A day may have 25 hours.
        Cut::Tumbling(zone) => zone.as_ref().map_or(0, |_| 7_200 * SECOND),
        Cut::Session(gap) => *gap,
    };
    watermark
        .saturating_sub(spec.lateness)
        .saturating_sub(spec.timespan)
        .saturating_sub(more)
}

/// When a group without an alert may be forgotten [ns].
pub(super) fn forget_at(spec: &Spec, group: &super::store::Group) -> i64 {
    let newest = group.rows.rows.back().map(|row| row.stamp.time);
    let span = match &spec.shape {
        Shape::Event { hold } => hold.unwrap_or(0).max(spec.before),
        Shape::Spike { baseline, .. } => spec.timespan.saturating_mul(i64::from(*baseline)),
        Shape::Absence { forget, .. } => *forget,
        Shape::Window { .. } if !matches!(spec.cut, Cut::Sliding) => {
            spec.timespan.saturating_mul(2)
        }
        _ => spec.timespan,
    };
    let newest = newest.max(match &group.extra {
        Extra::None => None,
        Extra::Seen { last, .. } => {
            // What is expected by name is expected for ever.
            if spec.shape.expects(&group.key) {
                return i64::MAX;
            }
            Some(last.time)
        }
        Extra::Sequence(held) => held.newest().map(|stamp| stamp.time),
        Extra::Unless(held) => held.back().map(|stamp| stamp.time),
        Extra::Spike(held) => held.windows.back().map(|held| held.0),
    });
    if newest.is_none() && !group.alerts.is_empty() {
        return i64::MAX;
    }
    newest
        .unwrap_or(i64::MIN)
        .saturating_add(span)
        .saturating_add(spec.lateness)
        .saturating_add(1)
}

pub(super) fn is_missing(extra: &Extra) -> bool {
    matches!(extra, Extra::Seen { missing: true, .. })
}

/// One event that fires by itself.
pub(super) fn single(stamp: Stamp) -> Firing {
    Firing {
        at: stamp,
        first: stamp,
        added: 1,
        value: 1.0,
        ids: vec![stamp.id],
        ..Firing::default()
    }
}
