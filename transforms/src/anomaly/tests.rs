//! Every vector of `detection.md` 4, in order and shuffled.

mod hostile;
mod language;
mod reload;

use std::sync::Arc;

use pipeline::{Event, EventId, Field, Time, Value};

mod order;
mod texts;
mod time;

use super::spec::SECOND;
use super::{Alert, Arrival, replay};
use crate::rules::{LoadCx, Options, RuleSet};

const HEAD: &str = "schema = 1\n";

fn rules(text: &str) -> Arc<RuleSet> {
    let options = Options {
        rules: Vec::new(),
        ..Options::default()
    };
    let cx = LoadCx {
        texts: vec![("test.toml".to_owned(), format!("{HEAD}{text}"))],
        ..LoadCx::default()
    };
    let (set, found) = RuleSet::load(&options, &cx);
    assert!(found.errors() == 0, "{found}");
    Arc::new(set)
}

/// `2026-03-27T16:59:59Z` or seconds after midnight of a Monday.
fn at(secs: i64) -> Time {
    Time(1_772_409_600 * SECOND + secs * SECOND)
}

fn event(n: u64, time: Time, code: &str, user: &str) -> Event {
    let mut event = Event::new(EventId([7, n + 1]), time);
    for (name, value) in [
        ("event.code", code),
        ("event.kind", "event"),
        ("event.outcome", "success"),
        ("pve.record", "primary"),
        ("pve.task.phase", "end"),
        ("user.id", user),
        ("host.name", "pve1"),
    ] {
        event.set(Field::new(name), value);
    }
    event
}

fn all(code: &str, user: &str, secs: &[i64]) -> Vec<Event> {
    let events = secs.iter().enumerate();
    events
        .map(|(n, secs)| event(n as u64, at(*secs), code, user))
        .collect()
}

fn arrivals(events: &[Event]) -> Vec<Arrival> {
    let now = events.iter().map(Event::timestamp).max().unwrap_or(at(0));
    events
        .iter()
        .map(|event| Arrival::Event(event.clone(), now))
        .collect()
}

/// What does not depend on arrival: rule, group, first, last, count.
type Facts = Vec<(String, String, EventId, EventId, u64)>;

fn facts(alerts: &[Alert]) -> Facts {
    let mut facts: Facts = alerts
        .iter()
        .map(|a| {
            (
                a.rule.to_string(),
                a.group.to_string(),
                a.first.0,
                a.last.0,
                a.count,
            )
        })
        .collect();
    facts.sort();
    facts
}

/// The alerts, and that shuffled arrival changes nothing of them.
fn fired(rules: &Arc<RuleSet>, events: &[Event]) -> Vec<Alert> {
    let alerts = replay(rules, &arrivals(events));
    let expected = facts(&alerts);
    let mut order = events.to_vec();
    order.reverse();
    let mut random = fastrand::Rng::with_seed(events.len() as u64);
    for _ in 0..100 {
        assert_eq!(
            facts(&replay(rules, &arrivals(&order))),
            expected,
            "{order:?}"
        );
        random.shuffle(&mut order);
    }
    alerts
}

const MASS_DELETE: &str = r#"
[[rule]]
id = "PVR-202"
name = "mass_delete"
severity = "critical"
version = 1
type = "event_count"
group_by = []
timespan = "10m"
condition = { gt = 5 }
resolve_after = "30m"
[rule.select.destroyed]
"event.code" = ["PVE-2002", "PVE-2102"]
"event.outcome" = "success"
"#;

#[test]
fn six_deletions_in_less_than_ten_minutes_are_one_alert() {
    let rules = rules(MASS_DELETE);
    let five = [0, 60, 120, 180, 240];
    assert_eq!(fired(&rules, &all("PVE-2002", "eve@pve", &five)), []);
    let sixth = [&five[..], &[599]].concat();
    let alerts = fired(&rules, &all("PVE-2002", "eve@pve", &sixth));
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].count, alerts[0].opened), (6, at(599)));
    assert_eq!((alerts[0].first.1, alerts[0].last.1), (at(0), at(599)));
    assert_eq!(alerts[0].resolved, Some(at(599 + 1800)));
    let late = [&five[..], &[600]].concat();
    assert_eq!(fired(&rules, &all("PVE-2002", "eve@pve", &late)), []);
    // The same event twice is one.
    let mut twice = all("PVE-2002", "eve@pve", &five);
    twice.push(twice[0].clone());
    assert_eq!(fired(&rules, &twice), []);
}

const BRUTEFORCE: &str = r#"
[[rule]]
id = "PVR-103"
name = "login_bruteforce"
severity = "high"
version = 1
type = "event_count"
group_by = ["user.id"]
timespan = "15m"
condition = { gte = 3 }
[rule.select.failed]
"event.code" = "PVE-1002"
[[rule]]
id = "PVR-106"
name = "bruteforce_success"
severity = "critical"
version = 1
type = "temporal_ordered"
rules = ["PVR-103", "login"]
group_by = ["user.id"]
timespan = "30m"
[rule.select.login]
"event.code" = "PVE-1001"
"#;

#[test]
fn three_failures_in_less_than_a_quarter_of_an_hour_and_each_user_alone() {
    let rules = rules(BRUTEFORCE);
    let alerts = fired(&rules, &all("PVE-1002", "a@pve", &[0, 420, 899]));
    assert_eq!(alerts.len(), 1);
    assert_eq!(fired(&rules, &all("PVE-1002", "a@pve", &[0, 420, 900])), []);
    let mut both = all("PVE-1002", "a@pve", &[0, 10, 20]);
    both.extend((0..3).map(|n| event(10 + n, at(5 + n as i64), "PVE-1002", "b@pve")));
    let alerts = fired(&rules, &both);
    assert_eq!(alerts.len(), 2);
    assert_eq!(&*alerts[0].group, r#"{"user.id":"a@pve"}"#);
    both.push(event(30, at(60), "PVE-1001", "b@pve"));
    let alerts = fired(&rules, &both);
    let ids: Vec<&str> = alerts.iter().map(|alert| &*alert.rule).collect();
    assert_eq!(ids, ["PVR-103", "PVR-103", "PVR-106"]);
}

#[test]
fn ten_guests_made_within_the_hour() {
    let rules = rules(
        r#"
[[rule]]
id = "PVR-203"
name = "vm_create_spam"
severity = "medium"
version = 1
type = "event_count"
group_by = ["user.id"]
timespan = "1h"
condition = { gte = 10 }
[rule.select.made]
"event.code" = ["PVE-2001", "PVE-2003", "PVE-2012"]
"#,
    );
    let nine: Vec<i64> = (0..9).map(|n| n * 440).collect();
    let with = |last: i64| all("PVE-2001", "a@pve", &[&nine[..], &[last]].concat());
    assert_eq!(fired(&rules, &with(3600)), []);
    assert_eq!(fired(&rules, &with(3599)).len(), 1);
}

#[test]
fn a_held_match_is_called_off_and_absence_waits_for_event_time() {
    let rules = rules(
        r#"
[[rule]]
id = "T-1"
name = "offline"
severity = "critical"
version = 1
type = "event"
when = "down"
hold = "60s"
unless = "up"
group_by = ["host.name"]
[rule.select.down]
"event.code" = "PVE-6004"
[rule.select.up]
"event.code" = "PVE-6005"
[[rule]]
id = "T-2"
name = "missing"
severity = "high"
version = 1
type = "absence"
every = "1h"
learn = "1s"
grace = "1m"
group_by = ["host.name"]
[rule.select.beat]
"event.code" = "PVE-6022"
"#,
    );
    let down = event(1, at(0), "PVE-6004", "x");
    let back = event(2, at(60), "PVE-6005", "x");
    assert_eq!(fired(&rules, std::slice::from_ref(&down)).len(), 1);
    assert_eq!(fired(&rules, &[down.clone(), back]), []);
    assert_eq!(
        fired(&rules, &[down, event(3, at(61), "PVE-6005", "x")]).len(),
        1
    );
    let beat = |n: u64, secs| Arrival::Event(event(n, at(secs), "PVE-6022", "x"), at(secs));
    let arrivals = [
        beat(1, 0),
        Arrival::Watermark(at(3660)),
        beat(2, 3100),
        Arrival::Watermark(at(6761)),
        beat(3, 7000),
    ];
    let alerts = replay(&rules, &arrivals);
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
    assert_eq!(alerts[0].opened, at(6760));
    assert_eq!(alerts[0].resolved, Some(at(7000)));
}

#[test]
fn what_is_older_than_its_lateness_is_counted_and_left_out() {
    let rules = rules(MASS_DELETE);
    let mut arrivals = arrivals(&all("PVE-2002", "e@pve", &[0, 1, 2, 3, 4]));
    arrivals.push(Arrival::Watermark(at(4 + 601)));
    arrivals.push(Arrival::Event(
        event(9, at(4), "PVE-2002", "e@pve"),
        at(605),
    ));
    assert_eq!(replay(&rules, &arrivals), []);
    arrivals.pop();
    arrivals.push(Arrival::Event(
        event(9, at(5), "PVE-2002", "e@pve"),
        at(605),
    ));
    let alerts = replay(&rules, &arrivals);
    assert_eq!((alerts.len(), alerts[0].late), (1, true));
}

#[test]
fn distinct_values_sums_and_means() {
    let rules = rules(
        r#"
[[rule]]
id = "T-1"
name = "spray"
severity = "high"
version = 1
type = "value_count"
group_by = ["source.ip"]
timespan = "15m"
condition = { field = "user.id", gte = 3 }
[rule.select.failed]
"event.code" = "PVE-1002"
"#,
    );
    let from = |n: u64, secs, user: &str| {
        let mut event = event(n, at(secs), "PVE-1002", user);
        event.set(Field::new("source.ip"), Value::Str("192.0.2.1".into()));
        event
    };
    let same = [
        from(0, 0, "a"),
        from(1, 1, "b"),
        from(2, 2, "a"),
        from(3, 3, "b"),
    ];
    assert_eq!(fired(&rules, &same), []);
    let mut more = same.to_vec();
    more.push(from(4, 4, "c"));
    let alerts = fired(&rules, &more);
    assert_eq!((alerts.len(), alerts[0].count), (1, 3));
}

#[test]
fn the_rules_of_the_pack_do_what_their_tests_say() {
    let (options, cx) = (Options::default(), LoadCx::default());
    let (set, found) = RuleSet::load(&options, &cx);
    assert!(found.errors() == 0, "{found}");
    let tested = super::run_tests(&options, &cx, &Arc::new(set), None);
    assert!(tested.len() >= 65, "{}", tested.len());
    let wrong: Vec<String> = tested
        .iter()
        .filter(|one| !one.wrong.is_empty())
        .map(|one| format!("{} {:?}: {}", one.rule, one.test, one.wrong.join(", ")))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}\n{}",
        wrong.len(),
        tested.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_restart_changes_nothing() {
    use pipeline::testing;
    let events = all(
        "PVE-2002",
        "eve@pve",
        &[0, 60, 120, 180, 240, 300, 360, 420],
    );
    let config = "rules = ['builtin']";
    let ids = |restart: usize| {
        let mut watch = testing::stateful::<super::Config>(config);
        let mut ids = Vec::new();
        for (n, event) in events.iter().enumerate() {
            if n == restart {
                let before = watch.saved();
                watch.restart();
                assert!(watch.saved() == before, "what was loaded is saved again");
            }
            let out = watch.feed(vec![event.clone()]);
            ids.extend(out.made("alerts").iter().map(|alert| alert.id()));
        }
        let out = watch.wait(std::time::Duration::from_secs(86_400));
        ids.extend(out.made("alerts").iter().map(|alert| alert.id()));
        ids
    };
    let expected = ids(usize::MAX);
    assert!(expected.len() > 3);
    for restart in 0..events.len() {
        assert_eq!(ids(restart), expected, "after {restart} events");
    }
}
