//! What rules mean, told slowly and plainly: all events sorted, every window looked at by its definition. The engine, which sees
//! events in the order in which they arrive and keeps next to nothing, must find the same alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use fastrand::Rng;
use pipeline::{Event, EventId, Field, Time};

use super::replay::{Arrival, replay};
use crate::rules::{LoadCx, Options, RuleSet};

const SECOND: i64 = 1_000_000_000;
/// A Monday.
const START: i64 = 1_772_452_800;
/// How late an event may arrive [s].
const LATE: i64 = 60;

/// Kinds of rules that are compared. Silence and what is new, the last two of nine, begin at a moment of which only the order of
/// arrival decides, and are not compared yet.
const KINDS: u8 = 7;

/// Time [s] and id.
type Stamp = (i64, EventId);

/// An event as the reference sees it.
#[derive(Clone, Debug)]
struct Fact {
    at: Stamp,
    /// 0 to 3: its code.
    role: usize,
    group: Option<u8>,
    value: Option<i64>,
}

#[derive(Clone, Debug)]
enum Kind {
    Event,
    Hold(i64),
    Count(u64),
    Distinct(u64),
    Sum(i64),
    Any(usize),
    Ordered(usize, bool),
    Absence(i64),
    New(i64),
}

#[derive(Clone, Debug)]
struct Plain {
    kind: Kind,
    span: i64,
    resolve: i64,
    skip: bool,
}

/// One alert: group, first and last event, count where it is defined.
type Found = (String, EventId, EventId, u64);

/// A moment at which the rule fires, and the matches that made it.
struct Firing {
    at: Stamp,
    /// When it fires, and until when its alert is open at least [s].
    when: (i64, i64),
    members: BTreeSet<Stamp>,
}

impl Plain {
    fn toml(&self) -> String {
        let mut to = String::from(
            "schema = 1\n[[rule]]\nid = \"PVR-999\"\nname = \"random\"\nseverity = \"low\"\nversion = 1\nexplain = \"x\"\ngroup_by = [\"user.id\"]\nlateness = \"10m\"\nreopen = \"1h\"\n",
        );
        if self.skip {
            to.push_str("missing = \"skip\"\n");
        }
        let (span, resolve) = (self.span, self.resolve);
        let _ = match &self.kind {
            Kind::Event => writeln!(
                to,
                "type = \"event\"\nwhen = \"a\"\ndedupe = \"{resolve}s\""
            ),
            Kind::Hold(hold) => writeln!(
                to,
                "type = \"event\"\nwhen = \"a\"\nhold = \"{hold}s\"\nunless = \"b\"\ndedupe = \"{resolve}s\""
            ),
            Kind::Absence(every) => {
                writeln!(
                    to,
                    "type = \"absence\"\nwhen = \"a\"\nevery = \"{every}s\"\nlearn = \"1s\""
                )
            }
            Kind::New(history) => writeln!(
                to,
                "type = \"new_term\"\nwhen = \"a\"\nfields = [\"user.id\", \"pve.vmid\"]\nhistory = \"{history}s\"\nwarmup = \"1s\"\nresolve_after = \"{resolve}s\""
            ),
            other => {
                let rest = match other {
                    Kind::Count(n) => {
                        format!("type = \"event_count\"\nwhen = \"a\"\ncondition = {{ gte = {n} }}")
                    }
                    Kind::Distinct(n) => format!(
                        "type = \"value_count\"\nwhen = \"a\"\ncondition = {{ field = \"pve.vmid\", gte = {n} }}"
                    ),
                    Kind::Sum(n) => format!(
                        "type = \"value_sum\"\nwhen = \"a\"\ncondition = {{ field = \"pve.vmid\", gte = {n} }}"
                    ),
                    Kind::Any(stages) => format!(
                        "type = \"temporal\"\nrules = {:?}",
                        &["a", "b", "c"][..*stages]
                    ),
                    Kind::Ordered(stages, without) => format!(
                        "type = \"temporal_ordered\"\nrules = {:?}{}",
                        &["a", "b", "c"][..*stages],
                        if *without { "\nwithout = \"d\"" } else { "" }
                    ),
                    _ => String::new(),
                };
                writeln!(
                    to,
                    "{rest}\ntimespan = \"{span}s\"\nresolve_after = \"{resolve}s\""
                )
            }
        };
        let used: &[&str] = match &self.kind {
            Kind::Hold(_) => &["a", "b"],
            Kind::Any(n) | Kind::Ordered(n, false) => &["a", "b", "c"][..*n],
            Kind::Ordered(2, true) => &["a", "b", "d"],
            Kind::Ordered(_, true) => &["a", "b", "c", "d"],
            _ => &["a"],
        };
        for name in used {
            let code = match *name {
                "a" => "PVE-2001",
                "b" => "PVE-2002",
                "c" => "PVE-2003",
                _ => "PVE-2004",
            };
            let _ = writeln!(to, "[rule.select.{name}]\n\"event.code\" = \"{code}\"");
        }
        to
    }

    /// Every alert, by the definition.
    fn alerts(&self, facts: &[Fact]) -> BTreeSet<Found> {
        let mut groups: BTreeMap<Option<u8>, Vec<&Fact>> = BTreeMap::new();
        for fact in facts {
            if fact.group.is_some() || !self.skip {
                groups.entry(fact.group).or_default().push(fact);
            }
        }
        let begin = facts
            .iter()
            .filter(|fact| fact.role == 0)
            .map(|fact| fact.at.0)
            .min();
        let mut found = BTreeSet::new();
        for (group, mut facts) in groups {
            facts.sort_by_key(|fact| fact.at);
            facts.dedup_by_key(|fact| fact.at);
            let key = group.map_or(r#"{"user.id":null}"#.to_owned(), |group| {
                format!(r#"{{"user.id":"u{group}@pve"}}"#)
            });
            let firings = self.firings(&facts, begin.unwrap_or_default());
            found.extend(
                self.live(firings)
                    .map(|(first, last, count)| (key.clone(), first, last, count)),
            );
        }
        found
    }

    fn firings(&self, facts: &[&Fact], begin: i64) -> Vec<Firing> {
        let of = |role: usize| facts.iter().filter(move |fact| fact.role == role);
        let matches: Vec<&&Fact> = of(0).collect();
        let resolve = self.resolve;
        let one = |at: Stamp| Firing {
            at,
            when: (at.0, at.0 + resolve),
            members: [at].into(),
        };
        let span = self.span;
        let window = move |fact: &Fact| {
            let end = fact.at;
            facts
                .iter()
                .filter(move |other| other.at <= end && other.at.0 > end.0 - span)
        };
        // What has no value does not count where values do.
        let valued = matches!(self.kind, Kind::Distinct(_) | Kind::Sum(_));
        let windowed = |holds: &dyn Fn(&[&Fact]) -> bool| {
            let mut firings = Vec::new();
            for fact in matches
                .iter()
                .filter(|fact| !valued || fact.value.is_some())
            {
                let inside: Vec<&Fact> = window(fact)
                    .filter(|other| other.role == 0 && (!valued || other.value.is_some()))
                    .copied()
                    .collect();
                if holds(&inside) {
                    firings.push(Firing {
                        at: fact.at,
                        when: (fact.at.0, fact.at.0 + resolve),
                        members: inside.iter().map(|fact| fact.at).collect(),
                    });
                }
            }
            firings
        };
        match &self.kind {
            Kind::Event => matches.iter().map(|fact| one(fact.at)).collect(),
            Kind::Hold(hold) => matches
                .iter()
                .filter(|fact| {
                    !of(1).any(|other| other.at.0 >= fact.at.0 && other.at.0 <= fact.at.0 + hold)
                })
                .map(|fact| one(fact.at))
                .collect(),
            Kind::Count(n) => windowed(&|inside| inside.len() as u64 >= *n),
            Kind::Distinct(n) => windowed(&|inside| {
                let values: BTreeSet<i64> = inside.iter().filter_map(|fact| fact.value).collect();
                values.len() as u64 >= *n && inside.last().is_some_and(|fact| fact.value.is_some())
            }),
            Kind::Sum(n) => windowed(&|inside| {
                inside.iter().filter_map(|fact| fact.value).sum::<i64>() >= *n
                    && inside.last().is_some_and(|fact| fact.value.is_some())
            }),
            Kind::Any(stages) => facts
                .iter()
                .filter(|fact| fact.role < *stages)
                .filter(|fact| {
                    (0..*stages).all(|stage| window(fact).any(|other| other.role == stage))
                })
                .map(|fact| one(fact.at))
                .collect(),
            Kind::Ordered(stages, without) => of(stages - 1)
                .filter(|last| {
                    chains(facts, *stages, last).into_iter().any(|first| {
                        last.at.0 - first.0 < span
                            && !(*without && of(3).any(|bad| bad.at > first && bad.at < last.at))
                    })
                })
                .map(|fact| one(fact.at))
                .collect(),
            Kind::Absence(every) => {
                let mut firings = Vec::new();
                for (n, fact) in matches.iter().enumerate() {
                    let moment = fact.at.0 + every;
                    let next = matches.get(n + 1).is_none_or(|next| next.at.0 > moment);
                    // Not before one whole `every` after the start, and not before the group is learned.
                    // A group is expected once its matches span the time of learning.
                    let learned = fact.at.0 - matches[0].at.0 >= 1;
                    if next && learned && moment >= begin + every {
                        // The event that was expected ends it.
                        let until = matches.get(n + 1).map_or(i64::MAX, |next| next.at.0);
                        firings.push(Firing {
                            when: (moment, until),
                            ..one(fact.at)
                        });
                    }
                }
                firings
            }
            Kind::New(history) => {
                let mut firings = Vec::new();
                for (n, fact) in matches.iter().enumerate() {
                    // A tuple without one of its parts is none.
                    let (Some(value), Some(_)) = (fact.value, fact.group) else {
                        continue;
                    };
                    let before = matches[..n]
                        .iter()
                        .rev()
                        .find(|other| other.value == Some(value));
                    if before.is_none_or(|other| fact.at.0 - other.at.0 > *history)
                        && fact.at.0 > begin
                    {
                        firings.push(one(fact.at));
                    }
                }
                firings
            }
        }
    }

    /// Firings become alerts: one stays open for `resolve` after each, and opens again within an hour.
    fn live(&self, firings: Vec<Firing>) -> impl Iterator<Item = (EventId, EventId, u64)> {
        let mut alerts: Vec<(BTreeSet<Stamp>, Stamp, i64)> = Vec::new();
        for firing in firings {
            match alerts.last_mut() {
                Some((members, last, until)) if firing.when.0 <= until.saturating_add(3600) => {
                    members.extend(firing.members);
                    *last = firing.at;
                    *until = firing.when.1;
                }
                _ => alerts.push((firing.members, firing.at, firing.when.1)),
            }
        }
        alerts.into_iter().map(|(members, last, _)| {
            let first = members.first().expect("a firing has a match").1;
            (first, last.1, members.len() as u64)
        })
    }
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

fn rule(random: &mut Rng) -> Plain {
    let span = random.i64(2..40);
    let kind = match random.u8(0..KINDS) {
        0 => Kind::Event,
        1 => Kind::Hold(random.i64(1..20)),
        2 => Kind::Count(random.u64(1..5)),
        3 => Kind::Distinct(random.u64(1..4)),
        4 => Kind::Sum(random.i64(1..12)),
        5 => Kind::Any(random.usize(2..4)),
        6 => Kind::Ordered(random.usize(2..4), random.bool()),
        7 => Kind::Absence(random.i64(5..40)),
        _ => Kind::New(random.i64(10..300)),
    };
    Plain {
        kind,
        span,
        resolve: random.i64(10..200),
        skip: random.bool(),
    }
}

fn stream(random: &mut Rng) -> Vec<Fact> {
    let mut at = START;
    let dense = random.i64(1..8);
    let groups = random.u8(1..4);
    let begin = Fact {
        at: (START - 100, EventId([1, 1])),
        role: 0,
        group: Some(9),
        value: Some(9),
    };
    let rest = (0..random.usize(5..60))
        .map(|_| {
            at += match random.u8(0..40) {
                0 => random.i64(3600..9000),
                _ => random.i64(0..=dense),
            };
            Fact {
                at: (at, EventId([random.u64(..), random.u64(..)])),
                role: match random.u8(0..10) {
                    0..5 => 0,
                    5..7 => 1,
                    7..9 => 2,
                    _ => 3,
                },
                group: (random.u8(0..8) > 0).then(|| random.u8(0..groups)),
                value: (random.u8(0..8) > 0).then(|| random.i64(0..5)),
            }
        })
        .collect::<Vec<_>>();
    std::iter::once(begin).chain(rest).collect()
}

fn event(fact: &Fact) -> Event {
    let mut event = Event::new(fact.at.1, Time(fact.at.0 * SECOND));
    let code = ["PVE-2001", "PVE-2002", "PVE-2003", "PVE-2004"][fact.role];
    event.set(Field::new("event.code"), code);
    event.set(Field::new("event.kind"), "event");
    event.set(Field::new("pve.record"), "primary");
    if let Some(group) = fact.group {
        event.set(Field::new("user.id"), format!("u{group}@pve"));
    }
    if let Some(value) = fact.value {
        event.set(Field::new("pve.vmid"), value);
    }
    event
}

/// The events as they arrive: shuffled by up to [`LATE`], some twice, with a watermark that is never ahead of what is to come.
fn arrivals(facts: &[Fact], random: &mut Rng) -> Vec<Arrival> {
    let shuffled = random.bool();
    let mut order: Vec<(i64, &Fact)> = Vec::new();
    for fact in facts {
        // The first one says when looking began.
        let late = if shuffled && fact.at.0 > START - 100 {
            random.i64(0..=LATE)
        } else {
            0
        };
        order.push((fact.at.0 + late, fact));
        if random.u8(0..20) == 0 {
            order.push((fact.at.0 + LATE, fact));
        }
    }
    order.sort_by_key(|(arrives, fact)| (*arrives, fact.at));
    let mut arrivals = Vec::new();
    for (arrives, fact) in order {
        // Everything older than this has arrived.
        arrivals.push(Arrival::Watermark(Time((arrives - LATE - 1) * SECOND)));
        arrivals.push(Arrival::Event(event(fact), Time(arrives * SECOND)));
    }
    arrivals
}

/// Where the two differ, told so that it can be looked into.
fn difference(seed: u64) -> Option<String> {
    let mut random = Rng::with_seed(seed);
    let plain = rule(&mut random);
    let facts = stream(&mut random);
    let text = plain.toml();
    let options = Options {
        rules: Vec::new(),
        ..Options::default()
    };
    let cx = LoadCx {
        texts: vec![("random.toml".to_owned(), text.clone())],
        ..LoadCx::default()
    };
    let (set, complaints) = RuleSet::load(&options, &cx);
    assert!(
        complaints.is_empty() && set.rules().len() == 1,
        "{complaints}\n{text}"
    );
    let counted = matches!(plain.kind, Kind::Event | Kind::Hold(_) | Kind::Count(_));
    let chained = matches!(plain.kind, Kind::Any(_) | Kind::Ordered(..));
    // Sequences: the first event is that of some chain, and what counts are the completions.
    let plain_of = |(group, first, last, count): Found| match (counted, chained) {
        (true, _) => (group, Some(first), last, Some(count)),
        (_, true) => (group, None, last, None),
        _ => (group, Some(first), last, None),
    };
    let should: BTreeSet<_> = plain.alerts(&facts).into_iter().map(plain_of).collect();
    let arrivals = arrivals(&facts, &mut random);
    let found: BTreeSet<_> = replay(&Arc::new(set), &arrivals)
        .into_iter()
        .map(|alert| {
            plain_of((
                alert.group.to_string(),
                alert.first.0,
                alert.last.0,
                alert.count,
            ))
        })
        .collect();
    (should != found).then(|| {
        let missing: Vec<_> = should.difference(&found).collect();
        let extra: Vec<_> = found.difference(&should).collect();
        let mut sorted = facts.clone();
        sorted.sort_by_key(|fact| fact.at);
        let lines: String = sorted
            .iter()
            .map(|f| {
                format!(
                    "  {} {:?} role {} group {:?} value {:?}\n",
                    f.at.0 - START,
                    f.at.1,
                    f.role,
                    f.group,
                    f.value
                )
            })
            .collect();
        format!("seed {seed}: {plain:?}\nmissing {missing:#?}\nextra {extra:#?}\n{lines}")
    })
}

fn agree(streams: std::ops::Range<u64>) {
    let mut differ = Vec::new();
    let mut count = 0;
    for seed in streams {
        if let Some(why) = difference(seed) {
            count += 1;
            differ.push(why);
            differ.truncate(3);
        }
    }
    assert!(
        count == 0,
        "{count} streams differ, such as\n{}",
        differ.join("\n")
    );
}

#[test]
fn the_engine_finds_what_the_definition_says() {
    agree(0..1500);
}

#[test]
#[ignore = "minutes, and 18 of 100 000 differ today: cargo test --release -p transforms anomaly::reference -- --ignored"]
fn the_engine_finds_what_the_definition_says_in_many_streams() {
    agree(0..100_000);
}
