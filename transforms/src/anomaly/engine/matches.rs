//! What a match makes true, by the type of its rule.

use std::collections::VecDeque;

use pipeline::Event;

use super::{Engine, horizon, single};
use crate::anomaly::rows::{Firing, Row};
use crate::anomaly::sequence::Sequence;
use crate::anomaly::spec::{Cut, Measure, Shape, Spec, Stamp, Watched};
use crate::anomaly::store::{Extra, Spike};

/// A spike needs so many windows behind it.
const LEAST_WINDOWS: i64 = 24;

impl Engine {
    /// Takes a match in, and leaves in `firings` what it makes true.
    #[allow(clippy::too_many_arguments, reason = "one event in one of its roles")]
    pub(super) fn match_one(
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
                let (old, grows) = (horizon(spec, watermark), test.grows);
                if grows && *measure != Measure::Mean {
                    group.rows.arrived(spec, *measure, test, place, firings);
                }
                group.rows.forget(spec, old);
                group.rows.thin(spec, *measure, test);
                if !grows || *measure == Measure::Mean || group.rows.falling {
                    let due = match &spec.cut {
                        Cut::Sliding => stamp.time + 1,
                        Cut::Tumbling(_) => spec.bucket(stamp.time).1,
                        Cut::Session(gap) => stamp.time.saturating_add(*gap) + 1,
                    };
                    memory.store.ask(slot, due);
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
                    self.resolve(n, slot, stamp.time, None);
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
                let only_seen = role == usize::MAX;
                let was_known = !known
                    || rule
                        .judge
                        .known(event)
                        .is_some_and(|part| memory.known.see(part, stamp) < stamp);
                let warm = stamp.time.saturating_sub(memory.since) < *warmup;
                let (first, last) = match memory.terms.seen(term) {
                    Some((first, i64::MAX)) => (first, stamp.time),
                    Some(seen) => seen,
                    None => (stamp, i64::MIN),
                };
                let (mut fires, mut instead_of) = (false, None);
                let mut seen = (first.min(stamp), last.max(stamp.time));
                if last == i64::MIN || stamp.time.saturating_sub(last) >= *history {
                    fires = true;
                    seen.0 = stamp;
                } else if stamp < first {
                    fires = true;
                    instead_of = Some(first);
                }
                memory.terms.put(term, seen.0, seen.1);
                if fires && was_known && !warm && !only_seen {
                    firings.push(Firing {
                        instead_of,
                        ..single(stamp)
                    });
                }
                self.bound_terms(n, spec);
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
                // Event time may not have come to its end yet.
                let open = group.alerts.iter().any(|alert| {
                    alert.is_open() && alert.until.saturating_add(spec.resolve_after) >= start
                });
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
}

impl Engine {
    /// A tuple, and the part of it that has to be known, were seen before anybody looked.
    pub(in crate::anomaly) fn know(
        &mut self,
        n: usize,
        term: u64,
        part: Option<u64>,
        stamp: Stamp,
    ) {
        let memory = &mut self.memory[n];
        memory.terms.see(term, stamp);
        if let Some(part) = part {
            memory.known.see(part, stamp);
        }
        // So far back it has looked, as it were.
        memory.since = memory.since.min(stamp.time);
        let spec = std::sync::Arc::clone(&self.rules[n].spec);
        self.bound_terms(n, &spec);
    }
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
