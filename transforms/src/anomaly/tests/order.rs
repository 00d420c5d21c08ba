//! Every vector of `detection.md` 4 and some more, as a table; each in a thousand orders of arrival while event time moves,
//! as far as it may: nothing comes later than `lateness` allows, and what waits for event time waits for all of it.

use std::sync::{Arc, LazyLock};

use pipeline::{Event, EventId, Field, Time};
use proptest::prelude::*;

use super::texts::{CREATE_SPAM, FALLING, HELD, MANY, NEW, OFF_HOURS, SPRAY};
use super::{
    Arrival, BRUTEFORCE, Facts, MASS_DELETE, SECOND, all, at, event, facts, replay, rules,
};
use crate::rules::RuleSet;

/// What is expected of a rule's alerts: rule, first and last second, count.
type Expected = &'static [(&'static str, i64, i64, u64)];

struct Vector {
    name: &'static str,
    rules: Arc<RuleSet>,
    events: Vec<Event>,
    expected: Expected,
    /// How far event time may be ahead of what has not come yet [s].
    late: i64,
}

/// As late as an event may come [s].
const LATE: i64 = 600;
/// For what waits for event time.
const WAITS: i64 = 0;
/// For a sum that a late number takes back: it was true when it was told, so only the order of time decides.
const IN_ORDER: i64 = -1;

fn utc(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn logins(times: &[&str]) -> Vec<Event> {
    let times = times.iter().enumerate();
    times
        .map(|(n, time)| event(n as u64, utc(time), "PVE-1001", "eve@pve"))
        .collect()
}

fn users(code: &str, users: &[(&str, i64)]) -> Vec<Event> {
    let users = users.iter().enumerate();
    users
        .map(|(n, (user, secs))| event(n as u64, at(*secs), code, user))
        .collect()
}

fn sizes(sizes: &[(i64, i64)]) -> Vec<Event> {
    let sizes = sizes.iter().enumerate();
    sizes
        .map(|(n, (secs, size))| {
            let mut event = event(n as u64, at(*secs), "PVE-2015", "a@pve");
            event.set(Field::new("pve.vmid"), *size);
            event
        })
        .collect()
}

fn series(from: i64, every: i64, n: i64) -> Vec<i64> {
    (0..n).map(|k| from + k * every).collect()
}

/// The table.
static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(|| {
    let del = |secs: &[i64]| all("PVE-2002", "eve@pve", secs);
    let fail = |secs: &[i64]| all("PVE-1002", "a@pve", secs);
    let made = |last: i64| {
        let times = [series(0, 440, 9), vec![last]].concat();
        all("PVE-2001", "a@pve", &times)
    };
    let two = |a: &[i64], b: &[i64]| {
        let mut events = fail(a);
        events.extend(
            b.iter()
                .enumerate()
                .map(|(n, secs)| event(100 + n as u64, at(*secs), "PVE-1002", "b@pve")),
        );
        events
    };
    let mut guessed = two(&[0, 10, 20], &[]);
    guessed.push(event(30, at(60), "PVE-1001", "a@pve"));
    let mut not_guessed = two(&[0, 10], &[]);
    not_guessed.push(event(30, at(15), "PVE-1001", "a@pve"));
    let mut vectors = Vec::new();
    let mut row = |name, rule: &str, events: Vec<Event>, expected: Expected, late| {
        vectors.push(Vector {
            name,
            rules: rules(rule),
            events,
            expected,
            late,
        });
    };
    row(
        "202: deletes at 0,1,2,3,4 min",
        MASS_DELETE,
        del(&[0, 60, 120, 180, 240]),
        &[],
        LATE,
    );
    row(
        "202: + sixth at 9:59",
        MASS_DELETE,
        del(&[0, 60, 120, 180, 240, 599]),
        &[("PVR-202", 0, 599, 6)],
        LATE,
    );
    row(
        "202: + sixth at 10:00",
        MASS_DELETE,
        del(&[0, 60, 120, 180, 240, 600]),
        &[],
        LATE,
    );
    row(
        "103: 0:00, 7:00, 14:59",
        BRUTEFORCE,
        fail(&[0, 420, 899]),
        &[("PVR-103", 0, 899, 3)],
        LATE,
    );
    row(
        "103: 0:00, 7:00, 15:00",
        BRUTEFORCE,
        fail(&[0, 420, 900]),
        &[],
        LATE,
    );
    row(
        "103: 3 of user A and 3 of user B",
        BRUTEFORCE,
        two(&[0, 10, 20], &[5, 15, 25]),
        &[("PVR-103", 0, 20, 3), ("PVR-103", 5, 25, 3)],
        LATE,
    );
    row(
        "107: Friday 17:59:59 CET",
        OFF_HOURS,
        logins(&["2026-03-27T16:59:59Z"]),
        &[],
        LATE,
    );
    row(
        "107: Friday 18:00:00 CET",
        OFF_HOURS,
        logins(&["2026-03-27T17:00:00Z"]),
        &[("PVR-107", 2_221_200, 2_221_200, 1)],
        LATE,
    );
    row(
        "107: Sunday, both",
        OFF_HOURS,
        logins(&["2026-03-29T15:59:59Z", "2026-03-29T16:00:00Z"]),
        &[("PVR-107", 2_390_399, 2_390_400, 2)],
        LATE,
    );
    row(
        "107: Monday 17:59:59 CEST",
        OFF_HOURS,
        logins(&["2026-03-30T15:59:59Z"]),
        &[],
        LATE,
    );
    row(
        "107: Monday 18:00:00 CEST",
        OFF_HOURS,
        logins(&["2026-03-30T16:00:00Z"]),
        &[("PVR-107", 2_476_800, 2_476_800, 1)],
        LATE,
    );
    row(
        "203: nine in 59 min, tenth at 60:00",
        CREATE_SPAM,
        made(3600),
        &[],
        LATE,
    );
    row(
        "203: nine in 59 min, tenth at 59:59",
        CREATE_SPAM,
        made(3599),
        &[("PVR-203", 0, 3599, 10)],
        LATE,
    );
    // Beyond the table of the specification.
    row(
        "202: eight at midnight and eight at three are two alerts",
        MASS_DELETE,
        del(&[series(0, 20, 8), series(10_800, 20, 8)].concat()),
        &[("PVR-202", 0, 140, 8), ("PVR-202", 10_800, 10_940, 8)],
        LATE,
    );
    row(
        "202: two that a third grows together with are one",
        MASS_DELETE,
        del(&[series(0, 20, 6), series(2400, 20, 6), series(4700, 20, 6)].concat()),
        &[("PVR-202", 0, 4800, 18)],
        LATE,
    );
    row(
        "201: three stretches of one user",
        MANY,
        del(&[0, 300, 5000, 5100, 20_000]),
        &[
            ("T-event", 0, 300, 2),
            ("T-event", 5000, 5100, 2),
            ("T-event", 20_000, 20_000, 1),
        ],
        LATE,
    );
    row(
        "106: guessed",
        BRUTEFORCE,
        guessed,
        &[("PVR-103", 0, 20, 3), ("PVR-106", 20, 60, 1)],
        LATE,
    );
    row(
        "106: a login among two failures",
        BRUTEFORCE,
        not_guessed,
        &[],
        LATE,
    );
    row(
        "105: three accounts, one of them often",
        SPRAY,
        users(
            "PVE-1002",
            &[("a", 0), ("b", 30), ("b", 60), ("a", 90), ("c", 800)],
        ),
        &[("T-spray", 0, 800, 3)],
        LATE,
    );
    row(
        "105: the first has left the window",
        SPRAY,
        users("PVE-1002", &[("a", 0), ("b", 30), ("c", 900)]),
        &[],
        LATE,
    );
    row(
        "115: each user once, however often",
        NEW,
        users(
            "PVE-1001",
            &[
                ("a", 0),
                ("b", 100),
                ("a", 200),
                ("b", 300),
                ("c", 400),
                ("a", 500),
            ],
        ),
        &[("T-new", 0, 400, 3)],
        LATE,
    );
    row(
        "601: called off at the end of the hold, and not after it",
        HELD,
        vec![
            event(0, at(0), "PVE-6004", "x"),
            event(1, at(60), "PVE-6005", "x"),
            event(2, at(4000), "PVE-6004", "x"),
            event(3, at(4061), "PVE-6005", "x"),
        ],
        &[("T-held", 4000, 4000, 1)],
        WAITS,
    );
    row(
        "a sum that falls in between",
        FALLING,
        sizes(&[(0, 6), (10, -1), (20, 6)]),
        &[("T-sum", 0, 20, 3)],
        WAITS,
    );
    row(
        "a sum that falls below",
        FALLING,
        sizes(&[(0, 6), (10, -3), (20, 6)]),
        &[],
        IN_ORDER,
    );
    vectors
});

/// The facts that a row of the table states, with the ids of its events.
fn stated(vector: &Vector) -> Vec<(String, EventId, EventId, u64)> {
    let id = |secs: i64| {
        let at = at(secs);
        let found = vector.events.iter().find(|event| event.timestamp() == at);
        found.map(Event::id)
    };
    let expected = vector.expected.iter();
    let mut stated: Vec<_> = expected
        .map(|(rule, first, last, count)| {
            let (first, last) = (id(*first), id(*last));
            let missing = vector.name;
            (
                (*rule).to_owned(),
                first.unwrap_or_else(|| panic!("{missing}: no event is the first")),
                last.unwrap_or_else(|| panic!("{missing}: no event is the last")),
                *count,
            )
        })
        .collect();
    stated.sort();
    stated
}

fn without_groups(facts: Facts) -> Vec<(String, EventId, EventId, u64)> {
    let mut facts: Vec<_> = facts
        .into_iter()
        .map(|(rule, _, first, last, count)| (rule, first, last, count))
        .collect();
    facts.sort();
    facts
}

/// The events in any order, and between them event time as far as it may have come.
fn arrive(vector: &Vector, random: &mut fastrand::Rng) -> Vec<Arrival> {
    let mut order = vector.events.clone();
    random.shuffle(&mut order);
    let now = order.iter().map(Event::timestamp).max().unwrap_or(at(0));
    let mut arrivals = Vec::new();
    // Event time begins before anything that comes.
    let mut stands = order
        .iter()
        .map(|event| event.timestamp().0)
        .min()
        .unwrap_or(0)
        - SECOND;
    arrivals.push(Arrival::Watermark(Time(stands)));
    for (n, event) in order.iter().enumerate() {
        arrivals.push(Arrival::Event(event.clone(), now));
        let rest = order[n + 1..].iter().map(|event| event.timestamp().0).min();
        if let Some(rest) = rest
            && random.bool()
        {
            let most = rest + vector.late * SECOND;
            if most > stands {
                stands = random.i64(stands..=most);
                arrivals.push(Arrival::Watermark(Time(stands)));
            }
        }
    }
    arrivals
}

#[test]
fn every_vector_does_what_the_table_says() {
    for vector in VECTORS.iter() {
        let mut arrivals = vec![Arrival::Watermark(Time(
            vector.events[0].timestamp().0 - SECOND,
        ))];
        let mut sorted = vector.events.clone();
        sorted.sort_by_key(|event| (event.timestamp(), event.id()));
        for event in sorted {
            let at = event.timestamp();
            arrivals.push(Arrival::Event(event, at));
            arrivals.push(Arrival::Watermark(at));
        }
        let found = without_groups(facts(&replay(&vector.rules, &arrivals)));
        assert_eq!(found, stated(vector), "{}", vector.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    #[test]
    fn in_whatever_order_events_come_the_alerts_are_the_same(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        for vector in VECTORS.iter().filter(|vector| vector.late != IN_ORDER) {
            let arrivals = arrive(vector, &mut random);
            let found = without_groups(facts(&replay(&vector.rules, &arrivals)));
            prop_assert_eq!(&found, &stated(vector), "{}: {:?}", vector.name, arrivals);
        }
    }
}

#[test]
fn whoever_comes_last_in_event_time_is_told_whoever_comes_last_to_us() {
    let rules = rules(MASS_DELETE);
    let names = ["a@pve", "b@pve", "c@pve", "d@pve", "e@pve", "eve@pve"];
    let mut events: Vec<Event> = names
        .iter()
        .enumerate()
        .map(|(n, name)| event(n as u64, at(n as i64 * 60), "PVE-2002", name))
        .collect();
    events.reverse();
    let watched = rules
        .rules()
        .iter()
        .map(super::super::judge::watch)
        .collect();
    let mut engine = super::super::engine::Engine::new(watched, "test", 64 << 20);
    for event in &events {
        engine.see(0, event, event.timestamp());
    }
    let told = std::mem::take(&mut engine.told);
    assert_eq!(told.len(), 1);
    let user = told[0].alert.event.as_ref().unwrap();
    assert_eq!(user.str(Field::new("user.id")), Some("eve@pve"));
    assert_eq!(told[0].alert.newest, told[0].alert.last);
}
