//! A random rule by its definition, every window looked at by itself.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::{Fact, LATE, START, Stamp};

/// An alert is opened again within so long [s].
pub(super) const REOPEN: i64 = 3600;
/// 13:00 in Berlin on the day of [`START`] [s after its local midnight].
const NOON: i64 = 13 * 3600;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Measure {
    Count,
    Distinct,
    Sum,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    Sliding,
    Tumbling,
    Session(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Event,
    Hold(i64),
    Window(Measure, Cut, &'static str, i64),
    Any(usize),
    Ordered(usize, bool),
    /// So many matches within so long, which a rule of its own counts, and then another.
    Fed(i64, i64),
    Absence(i64),
    /// History, and whether the user must be known.
    New(i64, bool),
    /// min, factor, baseline.
    Spike(i64, i64, i64),
}

#[derive(Clone, Debug)]
pub(super) struct Plain {
    pub(super) kind: Kind,
    pub(super) span: i64,
    pub(super) resolve: i64,
    pub(super) skip: bool,
    /// Only within so many seconds after [`START`].
    pub(super) during: Option<i64>,
    /// How late an event may come [s].
    pub(super) lateness: i64,
}

/// One alert: group, first event where it is defined, last event, count.
pub(super) type Found = (String, Option<Stamp>, Stamp, u64);

/// A moment at which the rule fires, and the matches that made it.
struct Firing {
    at: Stamp,
    /// When it fires, and until when its alert is open at least [s].
    when: (i64, i64),
    members: BTreeSet<Stamp>,
}

impl Plain {
    pub(super) fn random(random: &mut Rng) -> Plain {
        let mut span = random.i64(2..40);
        let gap = random.i64(2..10);
        let kind = match random.u8(0..16) {
            0 => Kind::Event,
            1 => Kind::Hold(random.i64(1..20)),
            2..9 => {
                let measure = *choose(
                    random,
                    &[
                        Measure::Count,
                        Measure::Distinct,
                        Measure::Sum,
                        Measure::Mean,
                    ],
                );
                let cut = match measure {
                    Measure::Mean => Cut::Tumbling,
                    _ => *choose(
                        random,
                        &[Cut::Sliding, Cut::Sliding, Cut::Tumbling, Cut::Session(gap)],
                    ),
                };
                let test = *choose(random, &["gt", "gte", "gte", "lt", "lte", "eq", "neq"]);
                let most = if measure == Measure::Sum { 12 } else { 5 };
                if matches!(cut, Cut::Session(_)) {
                    // One that never grows so long: where it is cut depends on what came before.
                    span = if test.starts_with('g') {
                        3_000
                    } else {
                        span.max(gap + 1)
                    };
                }
                Kind::Window(measure, cut, test, random.i64(1..most))
            }
            9 => Kind::Any(random.usize(2..4)),
            10 | 11 => Kind::Ordered(random.usize(2..4), random.bool()),
            12 => Kind::Fed(random.i64(1..4), random.i64(2..40)),
            13 => Kind::Absence(random.i64(5..40)),
            14 => Kind::New(random.i64(10..300), random.bool()),
            _ => {
                span = random.i64(2..5);
                Kind::Spike(random.i64(1..4), random.i64(1..4), random.i64(24..40))
            }
        };
        let timed = matches!(kind, Kind::Event | Kind::Window(..));
        Plain {
            kind,
            span,
            resolve: random.i64(10..200),
            skip: random.bool(),
            during: (timed && random.u8(0..4) == 0).then(|| random.i64(1..5) * 60),
            lateness: 600,
        }
    }

    /// What it finds depends on the order of arrival, by its definition: it fires early, and what comes later may unsay it.
    pub(super) fn needs_order(&self) -> bool {
        matches!(
            self.kind,
            Kind::New(..) | Kind::Spike(..) | Kind::Absence(_)
        )
    }

    /// It fires on arrival alone, so that an event behind the watermark counts like any other.
    pub(super) fn takes_late(&self) -> bool {
        match self.kind {
            Kind::Window(measure, cut, test, _) => {
                measure != Measure::Mean && cut != Cut::Session(0) && test.starts_with('g')
            }
            Kind::Event | Kind::Any(_) | Kind::Ordered(_, false) | Kind::Fed(..) => true,
            _ => false,
        }
    }

    /// Events of type `event` are never too late.
    pub(super) fn minds_lateness(&self) -> bool {
        !matches!(self.kind, Kind::Event)
    }

    /// Its first event is that of one of several chains, if they come in any order.
    pub(super) fn is_chained(&self) -> bool {
        matches!(self.kind, Kind::Any(_) | Kind::Ordered(..) | Kind::Fed(..))
    }

    /// Every alert, by the definition.
    pub(super) fn alerts(&self, facts: &[Fact]) -> BTreeSet<Found> {
        let mut groups: BTreeMap<Option<u8>, Vec<&Fact>> = BTreeMap::new();
        for fact in facts {
            let local = fact.at.0 - START + NOON;
            let inside = |secs: i64| {
                local.div_euclid(86_400).rem_euclid(7) == 0
                    && (NOON..NOON + secs).contains(&local.rem_euclid(86_400))
            };
            if (fact.group.is_some() || !self.skip) && self.during.is_none_or(inside) {
                groups.entry(fact.group).or_default().push(fact);
            }
        }
        let mut found = BTreeSet::new();
        for (group, mut facts) in groups {
            facts.sort_by_key(|fact| fact.at);
            facts.dedup_by_key(|fact| fact.at);
            let key = group.map_or(r#"{"user.id":null}"#.to_owned(), |group| {
                format!(r#"{{"user.id":"u{group}@pve"}}"#)
            });
            let firings = self.firings(&facts);
            for (first, last, count) in self.live(firings, &facts) {
                found.insert((key.clone(), Some(first), last, count));
            }
        }
        found
    }

    fn one(&self, at: Stamp) -> Firing {
        Firing {
            at,
            when: (at.0, at.0 + self.resolve),
            members: [at].into(),
        }
    }

    fn firings(&self, facts: &[&Fact]) -> Vec<Firing> {
        let of = |role: usize| facts.iter().copied().filter(move |fact| fact.role == role);
        let matches: Vec<&Fact> = of(0).collect();
        match self.kind {
            Kind::Event => matches.iter().map(|fact| self.one(fact.at)).collect(),
            Kind::Hold(hold) => matches
                .iter()
                .filter(|fact| {
                    // What comes in the same second calls off, whatever its id.
                    !of(1).any(|other| other.at.0 >= fact.at.0 && other.at.0 <= fact.at.0 + hold)
                })
                .map(|fact| Firing {
                    when: (fact.at.0 + hold, fact.at.0 + hold + self.resolve),
                    ..self.one(fact.at)
                })
                .collect(),
            Kind::Window(measure, cut, test, n) => self.windows(&matches, measure, cut, test, n),
            Kind::Any(stages) => facts
                .iter()
                .filter(|fact| fact.role < stages)
                .filter(|fact| {
                    let inside =
                        |other: &&&Fact| other.at <= fact.at && other.at.0 > fact.at.0 - self.span;
                    let inside: Vec<&&Fact> = facts.iter().filter(inside).collect();
                    (0..stages).all(|stage| inside.iter().any(|other| other.role == stage))
                })
                .map(|fact| self.one(fact.at))
                .collect(),
            Kind::Ordered(stages, without) => of(stages - 1)
                .filter(|last| {
                    chains(facts, stages, last).into_iter().any(|first| {
                        last.at.0 - first.0 < self.span
                            && !(without && of(3).any(|bad| bad.at > first && bad.at < last.at))
                    })
                })
                .map(|fact| self.one(fact.at))
                .collect(),
            Kind::Fed(n, span) => {
                let counted = |fact: &&Fact| {
                    let inside = matches
                        .iter()
                        .filter(|other| other.at <= fact.at && other.at.0 > fact.at.0 - span);
                    inside.count() as i64 >= n
                };
                let fed: Vec<Stamp> = matches
                    .iter()
                    .copied()
                    .filter(counted)
                    .map(|f| f.at)
                    .collect();
                let ends = of(2).filter(|last| {
                    fed.iter()
                        .any(|first| *first < last.at && last.at.0 - first.0 < self.span)
                });
                ends.map(|fact| self.one(fact.at)).collect()
            }
            Kind::Absence(every) => {
                let mut firings = Vec::new();
                for (n, fact) in matches.iter().enumerate() {
                    let moment = fact.at.0 + every;
                    // A silence that is over before event time comes to its end is none.
                    let next = matches.get(n + 1);
                    let next = next.is_none_or(|next| next.at.0 - LATE - 1 > moment);
                    // A group is expected once its matches span the time of learning.
                    if next && fact.at.0 - matches[0].at.0 >= 1 {
                        // The event that was expected ends it.
                        let until = matches.get(n + 1).map_or(i64::MAX, |next| next.at.0);
                        firings.push(Firing {
                            when: (moment, until),
                            ..self.one(fact.at)
                        });
                    }
                }
                firings
            }
            Kind::New(history, known) => {
                let mut firings = Vec::new();
                for (n, fact) in matches.iter().enumerate() {
                    // A tuple without one of its parts is none.
                    let (Some(value), Some(_)) = (fact.value, fact.group) else {
                        continue;
                    };
                    let whole = |other: &&&Fact| other.value.is_some();
                    let mut before = matches[..n].iter().rev().filter(whole);
                    let last = before.clone().find(|other| other.value == Some(value));
                    let new = last.is_none_or(|other| fact.at.0 - other.at.0 >= history);
                    if new && (!known || before.next().is_some()) {
                        firings.push(self.one(fact.at));
                    }
                }
                firings
            }
            Kind::Spike(min, factor, baseline) => self.spikes(&matches, min, factor, baseline),
        }
    }

    fn windows(
        &self,
        matches: &[&Fact],
        measure: Measure,
        cut: Cut,
        test: &str,
        n: i64,
    ) -> Vec<Firing> {
        // What has no value does not count where values do.
        let counts = |fact: &&&Fact| measure == Measure::Count || fact.value.is_some();
        let matches: Vec<&Fact> = matches.iter().filter(counts).copied().collect();
        let holds = |inside: &[&Fact]| {
            let values = inside.iter().filter_map(|fact| fact.value);
            let number = match measure {
                Measure::Count => inside.len() as f64,
                Measure::Distinct => values.collect::<BTreeSet<i64>>().len() as f64,
                Measure::Sum => values.sum::<i64>() as f64,
                Measure::Mean => values.sum::<i64>() as f64 / inside.len() as f64,
            };
            let n = n as f64;
            match test {
                "gt" => number > n,
                "gte" => number >= n,
                "lt" => number < n,
                "lte" => number <= n,
                "eq" => number == n,
                _ => number != n,
            }
        };
        let early = test.starts_with('g') && measure != Measure::Mean;
        let mut firings = Vec::new();
        let mut judge = |inside: &[&Fact], when: i64| {
            if holds(inside) {
                firings.push(Firing {
                    at: inside[inside.len() - 1].at,
                    when: (when, when + self.resolve),
                    members: inside.iter().map(|fact| fact.at).collect(),
                });
            }
        };
        if cut == Cut::Sliding {
            for (q, last) in matches.iter().enumerate() {
                let from = matches[..=q]
                    .iter()
                    .position(|other| other.at.0 > last.at.0 - self.span)
                    .unwrap_or(q);
                judge(&matches[from..=q], last.at.0);
            }
            return firings;
        }
        let mut windows: Vec<Vec<&Fact>> = Vec::new();
        for fact in &matches {
            let same = windows.last().is_some_and(|window| match cut {
                Cut::Session(gap) => {
                    fact.at.0 - window[window.len() - 1].at.0 < gap
                        && fact.at.0 - window[0].at.0 < self.span
                }
                _ => window[0].at.0.div_euclid(self.span) == fact.at.0.div_euclid(self.span),
            });
            match windows.last_mut() {
                Some(window) if same => window.push(fact),
                _ => windows.push(vec![fact]),
            }
        }
        for window in windows {
            let last = window[window.len() - 1].at.0;
            if early {
                for (q, end) in window.iter().enumerate() {
                    judge(&window[..=q], end.at.0);
                }
            } else {
                let end = match cut {
                    Cut::Session(gap) => last + gap,
                    _ => (last.div_euclid(self.span) + 1) * self.span,
                };
                judge(&window, end);
            }
        }
        firings
    }

    fn spikes(&self, matches: &[&Fact], min: i64, factor: i64, baseline: i64) -> Vec<Firing> {
        let mut firings: Vec<Firing> = Vec::new();
        let Some(begin) = matches.first().map(|fact| fact.at.0.div_euclid(self.span)) else {
            return firings;
        };
        let mut left_out = BTreeSet::new();
        for fact in matches {
            let window = fact.at.0.div_euclid(self.span);
            // An alert that is still open when the window begins takes it out of every mean.
            if firings
                .last()
                .is_some_and(|firing| firing.when.1 >= window * self.span)
            {
                left_out.insert(window);
            }
            let of = |window: i64| {
                matches
                    .iter()
                    .filter(move |other| other.at.0.div_euclid(self.span) == window)
            };
            let inside: BTreeSet<Stamp> = of(window)
                .map(|other| other.at)
                .filter(|at| *at <= fact.at)
                .collect();
            let before = (window - baseline).max(begin)..window;
            let counted = before.filter(|window| !left_out.contains(window));
            let (mut sum, mut windows) = (0, 0);
            for window in counted {
                sum += of(window).count();
                windows += 1;
            }
            let mean = if windows > 0 {
                sum as f64 / f64::from(windows)
            } else {
                0.0
            };
            if window - begin >= 24
                && inside.len() as i64 >= min
                && inside.len() as f64 >= factor as f64 * mean.max(1.0)
            {
                left_out.insert(window);
                firings.push(Firing {
                    members: inside,
                    ..self.one(fact.at)
                });
            }
        }
        firings
    }

    /// Firings become alerts: one stays open for `resolve` after each, and opens again within an hour.
    fn live(&self, firings: Vec<Firing>, facts: &[&Fact]) -> Vec<(Stamp, Stamp, u64)> {
        let mut alerts: Vec<(BTreeSet<Stamp>, Stamp, i64, u64)> = Vec::new();
        for firing in firings {
            match alerts.last_mut() {
                Some((members, last, until, count))
                    if firing.when.0 <= until.saturating_add(REOPEN) =>
                {
                    members.extend(firing.members);
                    *last = firing.at;
                    *until = firing.when.1;
                    *count += 1;
                }
                _ => alerts.push((firing.members, firing.at, firing.when.1, 1)),
            }
        }
        let count = |members: &BTreeSet<Stamp>, firings: u64| match self.kind {
            Kind::Window(Measure::Distinct, ..) => {
                let inside = facts.iter().filter(|fact| members.contains(&fact.at));
                inside
                    .filter_map(|fact| fact.value)
                    .collect::<BTreeSet<_>>()
                    .len() as u64
            }
            Kind::Event | Kind::Hold(_) | Kind::Window(..) | Kind::Spike(..) => {
                members.len() as u64
            }
            _ => firings,
        };
        let of = |(members, last, _, firings): (BTreeSet<Stamp>, Stamp, i64, u64)| {
            let first = *members.first().expect("a firing has a match");
            (first, last, count(&members, firings))
        };
        alerts.into_iter().map(of).collect()
    }
}

fn choose<'a, T>(random: &mut Rng, of: &'a [T]) -> &'a T {
    &of[random.usize(..of.len())]
}

/// First stamps of all chains of stages that end with this event.
fn chains(facts: &[&Fact], stages: usize, last: &Fact) -> Vec<Stamp> {
    let mut ends: BTreeSet<Stamp> = [last.at].into();
    for stage in (0..stages - 1).rev() {
        let Some(latest) = ends.last().copied() else {
            break;
        };
        ends = facts
            .iter()
            .filter(|fact| fact.role == stage && fact.at < latest)
            .map(|fact| fact.at)
            .collect();
    }
    ends.into_iter().collect()
}
