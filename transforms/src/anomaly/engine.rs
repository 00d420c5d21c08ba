//! Windows and alerts of all rules: events come in any order, event time moves on, and what follows from both is told.

use std::collections::HashMap;
use std::collections::VecDeque;

use hashbrown::HashSet;
use pipeline::{Event, EventId, Time};

use super::alert::{self, Alert, Around, Told, Turn};
use super::rows::{Firing, Row};
use super::sequence::Sequence;
use super::spec::{Cut, Measure, Shape, Spec, Stamp, UNLESS, WITHOUT, Watched, feeds};
use super::store::{Extra, Spike, Store};

/// Open alerts of one rule; of what comes besides, one alert tells the number.
pub(super) const MOST_OPEN: usize = 1_000;
/// Ids of matches remembered, so that an event counts once [ids].
const MOST_RECENT: usize = 65_536;
/// Other rules one firing may reach through rules that feed rules.
const DEEPEST: usize = 8;
/// Terms one rule remembers [terms].
const MOST_TERMS: usize = 200_000;
/// What a term costs [bytes].
const TERM: usize = 48;
/// A spike needs so many windows behind it.
const LEAST_WINDOWS: i64 = 24;
/// The group of the alert that tells of too many.
const OVERFLOW: &str = "\"overflow\"";

/// What one rule remembers.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) store: Store,
    /// First and last sight of each tuple.
    pub(super) terms: hashbrown::HashMap<u64, (Stamp, i64)>,
    /// First sight of each part that has to be known.
    pub(super) known: hashbrown::HashMap<u64, Stamp>,
    /// When it began to look [ns].
    pub(super) since: i64,
    pub(super) evicted: u64,
    pub(super) late: u64,
    /// Times of what came too late [ns].
    pub(super) late_span: Option<(i64, i64)>,
    /// Alerts of their own that wait for their end.
    pub(super) singles: VecDeque<(i64, std::sync::Arc<str>, Alert)>,
    pub(super) fired: HashMap<&'static str, u64>,
    pub(super) degraded: bool,
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
    pub(super) incomplete: bool,
    recent: HashSet<(u32, EventId)>,
    before: HashSet<(u32, EventId)>,
    pub(super) told: Vec<Told>,
    key: String,
    firings: Vec<Firing>,
}

impl Engine {
    pub(super) fn new(rules: Vec<Watched>, cluster: &str, budget: usize) -> Engine {
        Engine {
            feeds: feeds(&rules),
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
            incomplete: false,
            recent: HashSet::new(),
            before: HashSet::new(),
            told: Vec::new(),
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
        if !self.is_new(n, event.id()) {
            return;
        }
        if !self.is_in_time(n, stamp) {
            return;
        }
        self.play(n, roles, selections, stamp, event);
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
        memory.since = memory.since.min(stamp.time);
        true
    }

    /// Whether the rule has not counted this event before.
    fn is_new(&mut self, n: usize, id: EventId) -> bool {
        let key = (n as u32, id);
        if self.before.contains(&key) || !self.recent.insert(key) {
            return false;
        }
        if self.recent.len() >= MOST_RECENT {
            self.before = std::mem::take(&mut self.recent);
        }
        true
    }

    /// Matches that were counted lately: rule and id.
    pub(super) fn recent(&self) -> impl Iterator<Item = &(u32, EventId)> {
        self.before.iter().chain(&self.recent)
    }

    /// The rule has counted this event.
    pub(super) fn remember(&mut self, n: usize, id: EventId) {
        self.is_new(n, id);
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
                let mut firings = std::mem::take(&mut self.firings);
                self.match_one(n, rule, slot, role, stamp, event, &mut firings);
                for firing in firings.drain(..) {
                    self.fire(n, slot, &firing, Some(event), depth);
                }
                self.firings = firings;
                self.rest(n, slot);
            }
        }
        self.key = key;
    }

    /// Room for one group more.
    fn make_room(&mut self, n: usize, spec: &Spec) -> bool {
        if self.memory[n].store.len() >= spec.max_groups {
            let memory = &mut self.memory[n];
            memory.evicted += 1;
            memory.degraded = true;
            if !memory.store.evict() {
                return false;
            }
        }
        if self.bytes() >= self.budget {
            let largest = (0..self.memory.len()).max_by_key(|n| self.memory[*n].store.bytes);
            if let Some(largest) = largest {
                let memory = &mut self.memory[largest];
                memory.evicted += 1;
                memory.degraded = true;
                if !memory.store.evict() {
                    return self.memory[n].store.len() < MOST_OPEN;
                }
            }
        }
        true
    }

    /// Memory of all rules together [bytes].
    pub(super) fn bytes(&self) -> usize {
        self.memory
            .iter()
            .map(|memory| memory.store.bytes + (memory.terms.len() + memory.known.len()) * TERM)
            .sum()
    }

    /// Takes a match in, and leaves in `firings` what it makes true.
    #[allow(clippy::too_many_arguments, reason = "one event in one of its roles")]
    fn match_one(
        &mut self,
        n: usize,
        rule: &Watched,
        slot: u32,
        role: usize,
        stamp: Stamp,
        event: &Event,
        firings: &mut Vec<Firing>,
    ) {
        let spec = &*rule.spec;
        let watermark = self.watermark;
        let memory = &mut self.memory[n];
        match &spec.shape {
            Shape::Event { hold: None } => firings.push(single(stamp)),
            Shape::Event { hold: Some(hold) } => {
                let Some(group) = memory.store.get_mut(slot) else {
                    return;
                };
                if role == usize::MAX {
                    if !matches!(group.extra, Extra::Unless(_)) {
                        group.extra = Extra::Unless(VecDeque::new());
                    }
                    if let Extra::Unless(held) = &mut group.extra
                        && let Err(place) = held.binary_search(&stamp)
                    {
                        held.insert(place, stamp);
                        if held.len() > spec.max_values {
                            held.pop_front();
                        }
                    }
                } else {
                    group.rows.insert(Row::new(stamp, 0));
                    group.rows.prune(i64::MIN, spec.max_values);
                }
                let due = stamp.time.saturating_add(*hold) + 1;
                memory.store.ask(slot, due);
            }
            Shape::Window { measure, test } => {
                let value = match measure {
                    Measure::Count => 0,
                    _ => match rule.judge.value(event) {
                        Some(value) => value,
                        None => return,
                    },
                };
                let Some(group) = memory.store.get_mut(slot) else {
                    return;
                };
                let Some(place) = group.rows.insert(Row::new(stamp, value)) else {
                    return;
                };
                if test.grows && *measure != Measure::Mean {
                    group.rows.arrived(spec, *measure, test, place, firings);
                } else {
                    let due = match &spec.cut {
                        Cut::Sliding => stamp.time + 1,
                        Cut::Tumbling(_) => spec.bucket(stamp.time).1,
                        Cut::Session(gap) => stamp.time.saturating_add(*gap) + 1,
                    };
                    memory.store.ask(slot, due);
                }
                if let Some(group) = memory.store.get_mut(slot) {
                    let old = horizon(spec, watermark);
                    let needs = test.needs.unwrap_or(0) as usize;
                    let most = spec.max_values.max(needs.saturating_mul(2).min(100_000));
                    group.rows.prune(old, most);
                }
            }
            Shape::Sequence {
                stages,
                ordered,
                without,
                ..
            } => {
                let Some(group) = memory.store.get_mut(slot) else {
                    return;
                };
                if !matches!(group.extra, Extra::Sequence(_)) {
                    group.extra = Extra::Sequence(Box::new(Sequence::new(*stages)));
                }
                let Extra::Sequence(sequence) = &mut group.extra else {
                    return;
                };
                if !sequence.insert(role, stamp) || role == *stages {
                    return;
                }
                if !without {
                    sequence.complete(spec, *ordered, Some(stamp), None, firings);
                    return;
                }
                let due = sequence.undecided(i64::MIN, *ordered);
                if let Some(due) = due {
                    memory.store.ask(slot, due.max(stamp.time + 1));
                }
            }
            Shape::Absence {
                every,
                grace,
                learn,
                ..
            } => {
                let Some(group) = memory.store.get_mut(slot) else {
                    return;
                };
                let (mut first, mut last, mut expected) = (stamp, stamp, *learn == 0);
                let mut missing = false;
                if let Extra::Seen {
                    first: f,
                    last: l,
                    expected: e,
                    missing: m,
                } = &group.extra
                {
                    (first, last, expected, missing) = (first.min(*f), last.max(*l), *e, *m);
                }
                expected |= last.time.saturating_sub(first.time) >= *learn;
                let back = missing && last == stamp;
                group.extra = Extra::Seen {
                    first,
                    last,
                    expected,
                    missing: missing && !back,
                };
                let due = last.time.saturating_add(*every).saturating_add(*grace) + 1;
                memory.store.ask(slot, due);
                if back {
                    self.resolve(n, slot, stamp.time);
                }
            }
            Shape::NewTerm {
                history,
                warmup,
                known,
            } => {
                let Some(term) = rule.judge.value(event) else {
                    return;
                };
                let was_known = !known
                    || rule.judge.known(event).is_some_and(|part| {
                        let first = memory.known.entry(part).or_insert(stamp);
                        let before = *first < stamp;
                        *first = (*first).min(stamp);
                        before
                    });
                let warm = stamp.time.saturating_sub(memory.since) < *warmup;
                let (first, last) = memory
                    .terms
                    .get(&term)
                    .copied()
                    .unwrap_or((stamp, i64::MIN));
                let (mut fires, mut instead_of) = (false, None);
                let mut seen = (first.min(stamp), last.max(stamp.time));
                if last == i64::MIN || stamp.time.saturating_sub(last) >= *history {
                    fires = true;
                    seen.0 = stamp;
                } else if stamp < first {
                    fires = true;
                    instead_of = Some(first);
                }
                memory.terms.insert(term, seen);
                if fires && was_known && !warm {
                    firings.push(Firing {
                        instead_of,
                        ..single(stamp)
                    });
                }
                if memory.terms.len() > MOST_TERMS.min(spec.max_groups.saturating_mul(4)) {
                    forget_terms(memory);
                }
            }
            Shape::Spike {
                min,
                factor,
                baseline,
                floor,
            } => {
                let Some(group) = memory.store.get_mut(slot) else {
                    return;
                };
                let (start, _) = spec.bucket(stamp.time);
                let open = group.alert.as_ref().is_some_and(|alert| alert.is_open());
                if !matches!(group.extra, Extra::Spike(_)) {
                    group.extra = Extra::Spike(Box::new(Spike {
                        since: start,
                        windows: VecDeque::new(),
                    }));
                }
                let Extra::Spike(spike) = &mut group.extra else {
                    return;
                };
                spike.since = spike.since.min(start);
                let place = match spike.windows.binary_search_by_key(&start, |held| held.0) {
                    Ok(place) => place,
                    Err(place) => {
                        spike.windows.insert(place, (start, 0, 0, open));
                        place
                    }
                };
                spike.windows[place].1 += 1;
                if let Some(firing) = spike_fires(
                    spike,
                    place,
                    spec,
                    stamp,
                    (*min, *factor, *baseline, *floor),
                ) {
                    firings.push(firing);
                }
                let most = *baseline as usize + 2;
                while spike.windows.len() > most {
                    spike.windows.pop_front();
                }
            }
        }
    }

    /// Puts a firing into the alert it belongs to, or opens one, and feeds rules that wait for this one.
    fn fire(&mut self, n: usize, slot: u32, firing: &Firing, event: Option<&Event>, depth: usize) {
        let spec = std::sync::Arc::clone(&self.rules[n].spec);
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

    fn alert(&mut self, n: usize, slot: u32, spec: &Spec, firing: &Firing, around: Around<'_>) {
        let watermark = self.watermark;
        let Some(group) = self.memory[n].store.get_mut(slot) else {
            return;
        };
        let key = std::sync::Arc::clone(&group.key);
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
        if memory.store.open + memory.singles.len() >= MOST_OPEN && &*key != OVERFLOW {
            return self.overflow(n, firing, around);
        }
        let id = alert::id(&self.cluster, &spec.id, &key, firing.at.id);
        let alert = Alert::open(id, spec, firing, around);
        let told = Told {
            rule: n,
            group: std::sync::Arc::clone(&key),
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
                group: std::sync::Arc::clone(&key),
                turn,
                at,
                alert: *before,
            };
            self.told.push(told);
        }
    }

    /// One alert more than may be open: it is counted in the one that tells of too many.
    fn overflow(&mut self, n: usize, firing: &Firing, around: Around<'_>) {
        let spec = std::sync::Arc::clone(&self.rules[n].spec);
        let memory = &mut self.memory[n];
        memory.degraded = true;
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
        let count = memory
            .store
            .get(slot)
            .and_then(|group| group.alert.as_ref())
            .map_or(0, |alert| alert.overflow);
        if count == 0 {
            self.alert(n, slot, &spec, &flood, around);
        }
        if let Some(group) = self.memory[n].store.get_mut(slot)
            && let Some(alert) = &mut group.alert
        {
            alert.overflow += 1;
            alert.last = alert.last.max(firing.at);
            alert.count = alert.overflow;
            if count == 0
                && let Some(told) = self.told.last_mut()
                && told.rule == n
            {
                told.alert.overflow = 1;
            }
        }
        self.rest(n, slot);
    }

    /// The expected came.
    fn resolve(&mut self, n: usize, slot: u32, at: i64) {
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
                group: std::sync::Arc::clone(&group.key),
                turn,
                at,
                alert: (**alert).clone(),
            });
            memory.store.open -= 1;
        }
    }

    /// After a group was used: when it wants to be looked at again, and what it costs.
    fn rest(&mut self, n: usize, slot: u32) {
        let spec = std::sync::Arc::clone(&self.rules[n].spec);
        let store = &mut self.memory[n].store;
        store.settle(slot);
        let Some(group) = store.get(slot) else { return };
        let held = is_missing(&group.extra);
        let alert = group.alert.as_ref().map(|alert| alert.due(&spec, held));
        let due = alert.unwrap_or(i64::MAX).min(forget_at(&spec, group));
        store.ask(slot, due);
    }

    /// Event time came to `watermark`.
    pub(super) fn advance(&mut self, watermark: Time) {
        if watermark.0 <= self.watermark {
            return;
        }
        self.watermark = watermark.0;
        for n in 0..self.rules.len() {
            self.expect(n);
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
    pub(super) fn flush(&mut self) {
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
    fn expect(&mut self, n: usize) {
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
    fn look(&mut self, n: usize, slot: u32) {
        let rule = self.rules[n].clone();
        let spec = &*rule.spec;
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
    fn decide(&mut self, n: usize, spec: &Spec, slot: u32, firings: &mut Vec<Firing>) {
        let (watermark, incomplete) = (self.watermark, self.incomplete);
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
                    let off = unless
                        .iter()
                        .any(|stamp| *stamp > row.stamp && stamp.time <= end);
                    if !off {
                        firings.push(single(row.stamp));
                    }
                }
                let old = watermark
                    .saturating_sub(spec.lateness)
                    .saturating_sub(*hold);
                group.rows.prune(old, spec.max_values);
                if let Extra::Unless(held) = &mut group.extra {
                    while held.front().is_some_and(|stamp| stamp.time <= old) {
                        held.pop_front();
                    }
                }
            }
            Shape::Window { measure, test } => {
                if !test.grows || *measure == Measure::Mean {
                    again = group.rows.decide(spec, *measure, test, watermark, firings);
                }
                let old = horizon(spec, watermark);
                group.rows.prune(old, usize::MAX);
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
                    if *expected && !*missing && watermark <= end {
                        again = Some(end + 1);
                    } else if *expected && !*missing && incomplete {
                        // Its input may be down itself; it is looked at again when that is over.
                        again = Some(watermark + super::spec::SECOND);
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

    /// Everything that remembers [things].
    pub(super) fn remembered(&self) -> usize {
        self.memory
            .iter()
            .map(|memory| memory.store.len() + memory.terms.len())
            .sum()
    }
}

/// Matches up to here can complete nothing any more [ns].
fn horizon(spec: &Spec, watermark: i64) -> i64 {
    watermark
        .saturating_sub(spec.lateness)
        .saturating_sub(spec.timespan)
}

/// When a group without an alert may be forgotten [ns].
fn forget_at(spec: &Spec, group: &super::store::Group) -> i64 {
    let newest = group.rows.rows.back().map(|row| row.stamp.time);
    let span = match &spec.shape {
        Shape::Event { hold } => hold.unwrap_or(0),
        Shape::Spike { baseline, .. } => spec.timespan.saturating_mul(i64::from(*baseline)),
        Shape::Absence { forget, .. } => *forget,
        Shape::Window { .. } if !matches!(spec.cut, Cut::Sliding) => {
            spec.timespan.saturating_mul(2)
        }
        _ => spec.timespan,
    };
    let newest = newest.max(match &group.extra {
        Extra::None => None,
        Extra::Seen { last, expected, .. } => {
            // What is expected by name is expected for ever.
            if *expected && group.alert.is_some() {
                return i64::MAX;
            }
            Some(last.time)
        }
        Extra::Sequence(held) => held.newest().map(|stamp| stamp.time),
        Extra::Unless(held) => held.back().map(|stamp| stamp.time),
        Extra::Spike(held) => held.windows.back().map(|held| held.0),
    });
    if newest.is_none() && group.alert.is_some() {
        return i64::MAX;
    }
    newest
        .unwrap_or(i64::MIN)
        .saturating_add(span)
        .saturating_add(spec.lateness)
        .saturating_add(1)
}

fn is_missing(extra: &Extra) -> bool {
    matches!(extra, Extra::Seen { missing: true, .. })
}

/// One event that fires by itself.
fn single(stamp: Stamp) -> Firing {
    Firing {
        at: stamp,
        first: stamp,
        added: 1,
        value: 1.0,
        ids: vec![stamp.id],
        ..Firing::default()
    }
}

/// Half of the terms seen longest ago.
fn forget_terms(memory: &mut Memory) {
    let mut times: Vec<i64> = memory.terms.values().map(|seen| seen.1).collect();
    let middle = times.len() / 2;
    let (_, edge, _) = times.select_nth_unstable(middle);
    let edge = *edge;
    let before = memory.terms.len();
    memory.terms.retain(|_, seen| seen.1 > edge);
    memory.known.retain(|_, first| first.time > edge);
    memory.evicted += (before - memory.terms.len()) as u64;
    memory.degraded = true;
}

/// Whether a window is a spike over those before it.
fn spike_fires(
    spike: &mut Spike,
    place: usize,
    spec: &Spec,
    stamp: Stamp,
    (min, factor, baseline, floor): (f64, f64, u32, f64),
) -> Option<Firing> {
    let span = spec.timespan.max(1);
    let (start, count, counted, _) = spike.windows[place];
    let behind = (start - spike.since) / span;
    if behind < LEAST_WINDOWS || f64::from(count) < min {
        return None;
    }
    let most = behind.min(i64::from(baseline));
    let from = start - most * span;
    let held = spike
        .windows
        .iter()
        .filter(|held| held.0 >= from && held.0 < start);
    let (mut sum, mut left_out) = (0.0, 0);
    for window in held {
        if window.3 {
            left_out += 1;
        } else {
            sum += f64::from(window.1);
        }
    }
    let windows = most - left_out;
    let mean = if windows > 0 {
        sum / windows as f64
    } else {
        0.0
    };
    if f64::from(count) < factor * mean.max(floor) {
        return None;
    }
    let window = &mut spike.windows[place];
    (window.2, window.3) = (count, true);
    Some(Firing {
        at: stamp,
        first: if counted == 0 {
            Stamp::new(start, stamp.id)
        } else {
            stamp
        },
        added: u64::from(count - counted),
        value: f64::from(count),
        ids: vec![stamp.id],
        ..Firing::default()
    })
}
