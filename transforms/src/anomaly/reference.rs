//! What rules mean, told slowly and plainly: all events sorted, every window looked at by its definition. The engine, which sees
//! events in the order in which they arrive and keeps next to nothing, must find the same alerts: group, first and last event,
//! and count, of every type of rule.

mod plain;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use fastrand::Rng;
use pipeline::{Event, EventId, Field, Time};

use super::replay::{Arrival, replay};
use crate::rules::{LoadCx, Options, RuleSet};
use plain::{Found, Kind, Plain};

const SECOND: i64 = 1_000_000_000;
/// A Monday, 13:00 in Berlin [s].
const START: i64 = 1_772_452_800;
/// How late an event may arrive, for all that wait for event time [s].
const LATE: i64 = 60;
/// How far behind the clock the watermark is where events may come behind it [s].
const BEHIND: i64 = 10;
/// The group of the event that only says when looking began, which is not compared.
const BEGIN: u8 = 9;

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

fn stream(random: &mut Rng, plain: &Plain) -> Vec<Fact> {
    let mut at = START;
    let dense = random.i64(1..8);
    let groups = random.u8(1..4);
    let begin = Fact {
        at: (START - 100, EventId([1, 1])),
        role: 0,
        group: Some(BEGIN),
        value: Some(9),
    };
    // A spike needs many windows behind it.
    let spike = matches!(plain.kind, Kind::Spike(..));
    let many = if spike { 80..160 } else { 5..60 };
    let rest = (0..random.usize(many))
        .map(|_| {
            at += match random.u8(0..40) {
                // A group that is silent so long is learned anew.
                0 if !spike => random.i64(3600..9000),
                _ if spike && random.u8(0..3) > 0 => 0,
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

/// In which order events arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Straight,
    /// By up to [`LATE`], with a watermark that is never ahead of what is to come.
    Shuffled,
    /// The same, and the watermark does not wait: what is older than it by more than the rule's lateness is left out.
    Late,
}

/// The events as they arrive, some twice, and those among them that are not too late.
fn arrivals(
    facts: &[Fact],
    plain: &Plain,
    order: Order,
    random: &mut Rng,
) -> (Vec<Arrival>, Vec<Fact>) {
    let most = if order == Order::Late { 3 * LATE } else { LATE };
    let mut coming: Vec<(i64, &Fact)> = Vec::new();
    for fact in facts {
        // The first one says when looking began.
        let late = if order != Order::Straight && fact.at.0 > START - 100 {
            random.i64(0..=most)
        } else {
            0
        };
        coming.push((fact.at.0 + late, fact));
        if random.u8(0..20) == 0 {
            coming.push((fact.at.0 + most, fact));
        }
    }
    coming.sort_by_key(|(arrives, fact)| (*arrives, fact.at));
    let (mut arrivals, mut in_time) = (Vec::new(), Vec::new());
    for (arrives, fact) in coming {
        let watermark = match order {
            Order::Late => arrives - BEHIND,
            // Everything older than this has arrived.
            _ => arrives - LATE - 1,
        };
        arrivals.push(Arrival::Watermark(Time(watermark * SECOND)));
        arrivals.push(Arrival::Event(event(fact), Time(arrives * SECOND)));
        if fact.at.0 >= watermark - plain.lateness || !plain.minds_lateness() {
            in_time.push(fact.clone());
        }
    }
    (arrivals, in_time)
}

/// Where the two differ, told so that it can be looked into; and how many alerts there are.
fn compare(seed: u64) -> (usize, Option<(String, String)>) {
    let mut random = Rng::with_seed(seed);
    let mut plain = Plain::random(&mut random);
    let facts = stream(&mut random, &plain);
    let order = match random.u8(0..3) {
        0 => Order::Straight,
        _ if plain.needs_order() => Order::Straight,
        1 if plain.takes_late() => Order::Late,
        _ => Order::Shuffled,
    };
    if order == Order::Late {
        plain.lateness = random.i64(5..100);
    }
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
    assert!(complaints.errors() == 0, "{complaints}\n{text}");
    let begin = format!(r#"{{"user.id":"u{BEGIN}@pve"}}"#);
    // Of chains in any order the first event is that of some chain; of a spike it is the window that began.
    let spike = matches!(plain.kind, Kind::Spike(..));
    let same = |(group, first, last, count): Found| {
        let first = first.filter(|_| !plain.is_chained() && !spike);
        (group, first, last, count)
    };
    let (arrivals, in_time) = arrivals(&facts, &plain, order, &mut random);
    let should: BTreeSet<_> = plain.alerts(&in_time).into_iter().map(same).collect();
    let stamp = |(id, time): (EventId, Time)| (time.0 / SECOND, id);
    let found: BTreeSet<_> = replay(&Arc::new(set), &arrivals)
        .into_iter()
        .map(|alert| {
            let group = alert.group.to_string();
            same((
                group,
                Some(stamp(alert.first)),
                stamp(alert.last),
                alert.count,
            ))
        })
        .collect();
    // A silence ends with a moment, not with an event: its id says which event was the last.
    let of_ids = |found: BTreeSet<Found>| -> BTreeSet<_> {
        let others = found.into_iter().filter(|(group, ..)| *group != begin);
        others
            .map(|(group, first, last, count)| (group, first.map(|f| f.1), last.1, count))
            .collect()
    };
    let (should, found) = (of_ids(should), of_ids(found));
    let differs = (should != found).then(|| {
        let missing: Vec<_> = should.difference(&found).collect();
        let extra: Vec<_> = found.difference(&should).collect();
        let mut sorted = in_time.clone();
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
        let kind = format!("{order:?} {:?}", plain.kind);
        let kind = kind.split(['(', '{']).next().unwrap_or_default().to_owned();
        let why = format!("seed {seed}: {plain:?}\nmissing {missing:?}\nextra {extra:?}\n{lines}");
        (kind, why)
    });
    (should.len(), differs)
}

/// Streams by seed; on both cores.
fn agree(streams: u64) {
    let half = |first: u64| {
        let (mut alerts, mut differ) = (0, BTreeMap::new());
        for seed in (first..streams).step_by(2) {
            let (found, why) = compare(seed);
            alerts += found;
            if let Some((kind, why)) = why {
                differ.entry(kind).or_insert((0, why)).0 += 1;
            }
        }
        (alerts, differ)
    };
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        (
            half(0),
            other.join().expect("the other half does not panic"),
        )
    });
    let mut told = String::new();
    for (kind, (count, why)) in one.1.into_iter().chain(two.1) {
        let _ = writeln!(told, "{count} streams of {kind}, such as {why}");
    }
    assert!(told.is_empty(), "of {streams} streams differ\n{told}");
    // Two that find nothing agree too, and prove nothing.
    let alerts = one.0 + two.0;
    assert!(alerts > streams as usize / 2, "{alerts} alerts");
}

#[test]
fn the_engine_finds_what_the_definition_says() {
    let long = std::env::var_os("PVETRAIL_LONG").is_some_and(|long| !long.is_empty());
    agree(if long { 100_000 } else { 10_000 });
}
