//! What the words of a rule do once events come.

use super::*;
use crate::anomaly::Replay;

fn with(mut event: Event, fields: &[(&str, &str)]) -> Event {
    for (name, value) in fields {
        event.set(Field::new(name), *value);
    }
    event
}

/// Alerts of events that come in order, with the watermark behind them.
fn live(rules: &Arc<RuleSet>, events: &[Event]) -> Vec<Alert> {
    let mut replay = Replay::new(rules, "default");
    for event in events {
        replay.see(event, event.timestamp());
        replay.advance(Time(event.timestamp().0 - 10 * SECOND));
    }
    replay.end(None);
    replay.flush();
    replay.alerts().cloned().collect()
}

#[test]
fn an_alert_gets_graver_by_a_match_that_its_selection_names() {
    let rules = rules(
        r#"
[[rule]]
id = "T-1"
name = "low"
severity = "high"
type = "event"
when = "low"
group_by = ["host.name"]
escalate = [{ when = "root", severity = "critical" }, { count = 3, when = "eve", severity = "critical" }]
[rule.select.low]
"event.code" = "PVE-9061"
[rule.select.root]
"user.id" = "root@pam"
[rule.select.eve]
"user.id" = "eve@pve"
"#,
    );
    let of = |users: &[&str]| {
        let events: Vec<Event> = users
            .iter()
            .enumerate()
            .map(|(n, user)| event(n as u64, at(n as i64), "PVE-9061", user))
            .collect();
        let alerts = fired(&rules, &events);
        assert_eq!(alerts.len(), 1);
        alerts[0].severity
    };
    assert_eq!(of(&["a@pve", "b@pve", "c@pve"]), "high");
    assert_eq!(of(&["a@pve", "root@pam"]), "critical");
    assert_eq!(of(&["eve@pve", "b@pve"]), "high");
    assert_eq!(of(&["eve@pve", "b@pve", "c@pve"]), "critical");
}

#[test]
fn a_rule_that_is_switched_off_still_feeds_the_one_that_waits_for_it() {
    let off = BRUTEFORCE.replace("id = \"PVR-103\"", "id = \"PVR-103\"\nenabled = false");
    let rules = rules(&off);
    assert!(!rules.rules()[0].enabled && rules.rules()[0].feeds);
    let mut events = all("PVE-1002", "a@pve", &[0, 10, 20]);
    events.push(event(9, at(60), "PVE-1001", "a@pve"));
    let alerts = fired(&rules, &events);
    let ids: Vec<&str> = alerts.iter().map(|alert| &*alert.rule).collect();
    assert_eq!(ids, ["PVR-106"]);
    // Without anybody who waits for it it is not looked at.
    let alone = off.replace("\"PVR-103\", \"login\"", "\"login\", \"login\"");
    assert!(!super::rules(&alone).rules()[0].feeds);
}

#[test]
fn what_is_excluded_is_no_match_of_a_condition_that_is_a_not() {
    let rules = rules(
        r#"
[[rule]]
id = "T-1"
name = "others"
severity = "low"
type = "event"
when = "not auditor"
exclude = { "host.name" = "pve1" }
[rule.select.auditor]
"user.id" = "audit@pve"
"#,
    );
    let one = event(1, at(0), "PVE-1001", "eve@pve");
    assert_eq!(fired(&rules, std::slice::from_ref(&one)), []);
    let other = with(one, &[("host.name", "pve2")]);
    assert_eq!(fired(&rules, &[other]).len(), 1);
}

#[test]
fn what_calls_off_may_come_in_the_same_second_and_before_where_the_rule_says_so() {
    let text = r#"
[[rule]]
id = "T-1"
name = "bulk_stop"
severity = "high"
type = "event"
when = "stop"
hold = "10m"
unless = "power"
group_by = ["host.name"]
[rule.select.stop]
"event.code" = "PVE-2202"
[rule.select.power]
"event.code" = "PVE-6001"
"#;
    let power = |n, secs| event(n, at(secs), "PVE-6001", "a@pve");
    let stop = event(5, at(600), "PVE-2202", "root@pam");
    let plain = rules(text);
    let before = rules(&text.replace("hold = ", "unless_before = \"5m\"\nhold = "));
    let count = |rules, power| fired(rules, &[power, stop.clone()]).len();
    // Ids of one second say nothing of the order.
    assert_eq!(count(&plain, power(1, 600)), 0);
    assert_eq!(count(&plain, power(9, 600)), 0);
    assert_eq!(count(&plain, power(1, 599)), 1);
    assert_eq!(count(&before, power(1, 599)), 0);
    assert_eq!(count(&before, power(1, 300)), 0);
    assert_eq!(count(&before, power(1, 299)), 1);
    // It is remembered for as long as it counts.
    assert_eq!(live(&before, &[power(1, 300), stop.clone()]).len(), 0);
    assert_eq!(live(&before, &[power(1, 299), stop.clone()]).len(), 1);
}

#[test]
fn a_new_account_is_none_that_wakes_up() {
    let rules = rules(
        r#"
[[rule]]
id = "PVR-115"
name = "dormant_account"
severity = "medium"
type = "new_term"
when = "login"
seen = "made"
fields = ["who"]
aliases.who = { login = "user.id", made = "user.target.id" }
group_by = ["user.id"]
history = "90d"
warmup = "90d"
[rule.select.login]
"event.code" = "PVE-1001"
[rule.select.made]
"event.code" = "PVE-3001"
"#,
    );
    let day = 86_400;
    let login = |n, days: i64, user: &str| event(n, at(days * day), "PVE-1001", user);
    let made = |n, days: i64, user: &str| {
        let event = event(n, at(days * day - 60), "PVE-3001", "root@pam");
        with(event, &[("user.target.id", user)])
    };
    let ids = |alerts: &[Alert]| -> Vec<String> {
        alerts.iter().map(|alert| alert.group.to_string()).collect()
    };
    let events = [
        login(1, 0, "a@pve"),
        login(2, 1, "b@pve"),
        made(3, 95, "new@pve"),
        login(4, 95, "new@pve"),
        login(5, 100, "a@pve"),
        // Was there before anybody looked, and never came until now.
        login(6, 101, "old@pve"),
        // Made, and not used for longer than that.
        made(7, 102, "late@pve"),
        login(8, 193, "late@pve"),
    ];
    let expected = [
        r#"{"user.id":"a@pve"}"#,
        r#"{"user.id":"old@pve"}"#,
        r#"{"user.id":"late@pve"}"#,
    ];
    assert_eq!(ids(&live(&rules, &events)), expected);
}

#[test]
fn at_the_end_of_a_replay_nothing_is_missing_that_may_still_come() {
    let rules = rules(
        r#"
[[rule]]
id = "T-1"
name = "missing"
severity = "high"
type = "absence"
every = "26h"
learn = "1h"
group_by = ["host.name"]
[rule.select.beat]
"event.code" = "PVE-5102"
[[rule]]
id = "T-2"
name = "held"
severity = "high"
type = "event"
hold = "10m"
unless = "beat"
when = "down"
[rule.select.down]
"event.code" = "PVE-6004"
[rule.select.beat]
"event.code" = "PVE-6005"
"#,
    );
    let hour = 3600;
    let mut replay = Replay::new(&rules, "default");
    for (n, hours) in [0, 24, 48].into_iter().enumerate() {
        let event = event(n as u64, at(hours * hour), "PVE-5102", "a");
        replay.see(&event, event.timestamp());
    }
    let down = event(9, at(48 * hour + 60), "PVE-6004", "a");
    replay.see(&down, down.timestamp());
    let mut until = |to: Option<Time>| {
        replay.end(to);
        replay.flush();
        let mut ids: Vec<String> = replay.alerts().map(|a| a.rule.to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(until(None), ["T-2"]);
    let mut replay = Replay::new(&rules, "default");
    let beat = event(1, at(0), "PVE-5102", "a");
    let again = event(2, at(2 * hour), "PVE-5102", "a");
    replay.see(&beat, beat.timestamp());
    replay.see(&again, again.timestamp());
    replay.end(Some(at(29 * hour)));
    assert_eq!(
        replay.alerts().count(),
        1,
        "28 hours without one, as far as it is known"
    );
}

#[test]
fn a_clock_from_the_future_counts_as_of_its_arrival_and_moves_nothing() {
    let rules = rules(MASS_DELETE);
    let mut replay = Replay::new(&rules, "default");
    let mut events = all("PVE-2002", "eve@pve", &[0, 60, 120, 180, 240, 300]);
    events[3].set_timestamp(Time::parse("2099-01-01T00:00:00Z").unwrap());
    for (n, event) in events.iter().enumerate() {
        let arrived = at(60 * n as i64);
        assert_eq!(replay.see(event, arrived), arrived);
        replay.advance(Time(replay.newest().0 - 10 * SECOND));
    }
    replay.end(None);
    assert_eq!(replay.left_out().ahead, 1);
    assert_eq!(replay.left_out().late, 0);
    assert_eq!(
        replay.alerts().map(|alert| alert.count).collect::<Vec<_>>(),
        [6]
    );
}

#[test]
fn working_hours_in_three_zones_through_the_change_of_clocks() {
    let rule = |n: usize, zone: &str| {
        format!(
            r#"
[[calendar]]
name = "hours{n}"
zone = "{zone}"
days = ["mon", "tue", "wed", "thu", "fri"]
from = "08:00"
to = "18:00"
[[rule]]
id = "PVR-107-{n}"
name = "off_hours"
severity = "medium"
type = "event"
outside = "hours{n}"
dedupe = "none"
group_by = ["user.id"]
[rule.select.login]
"event.code" = "PVE-1001"
"#
        )
    };
    let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];
    let text: String = zones
        .iter()
        .enumerate()
        .map(|(n, zone)| rule(n, zone))
        .collect();
    let rules = rules(&text);
    // What stands where the rule of that zone alerts: Berlin, New York, Lord Howe.
    for (time, alerts) in [
        // Friday before the change in Europe: 17:59:59 and 18:00 CET.
        ("2026-03-27T16:59:59Z", [false, false, true]),
        ("2026-03-27T17:00:00Z", [true, false, true]),
        // Sunday after it, at the same wall clock.
        ("2026-03-29T15:59:59Z", [true, true, true]),
        ("2026-03-29T16:00:00Z", [true, true, true]),
        // Monday: an hour earlier in UTC.
        ("2026-03-30T15:59:59Z", [false, false, true]),
        ("2026-03-30T16:00:00Z", [true, false, true]),
        // New York changed three weeks before: 7:59:59 and 8:00 EDT, which were 6:59:59 and 7:00 EST.
        ("2026-03-06T12:59:59Z", [false, true, true]),
        ("2026-03-06T13:00:00Z", [false, false, true]),
        ("2026-03-09T11:59:59Z", [false, true, true]),
        ("2026-03-09T12:00:00Z", [false, false, true]),
        // Lord Howe moves by half an hour, on 5 April 2026: +11:00 before it, +10:30 behind it.
        ("2026-04-02T20:59:59Z", [true, false, true]),
        ("2026-04-02T21:00:00Z", [true, false, false]),
        ("2026-04-06T21:29:59Z", [true, false, true]),
        ("2026-04-06T21:30:00Z", [true, false, false]),
    ] {
        let at = Time::parse(time).unwrap();
        let came = fired(&rules, &[event(1, at, "PVE-1001", "a@pve")]);
        for (n, expected) in alerts.into_iter().enumerate() {
            let id = format!("PVR-107-{n}");
            let has = came.iter().any(|alert| *alert.rule == *id);
            assert_eq!(has, expected, "{time} in {}", zones[n]);
        }
    }
}

#[test]
fn windows_of_a_part_of_a_day_begin_at_midnight_of_their_zone() {
    let rules = rules(
        r#"
[[rule]]
id = "T-1"
name = "halves"
severity = "low"
type = "event_count"
timespan = "12h"
window = { type = "tumbling", zone = "Europe/Berlin" }
condition = { gte = 2 }
[rule.select.a]
"event.code" = "PVE-1001"
"#,
    );
    let two = |one: &str, other: &str| {
        let event = |n, text: &str| event(n, Time::parse(text).unwrap(), "PVE-1001", "a");
        fired(&rules, &[event(1, one), event(2, other)]).len()
    };
    // Noon in Berlin is 11:00 UTC in winter, and midnight is 23:00.
    assert_eq!(two("2026-03-02T10:00:00Z", "2026-03-02T11:00:00Z"), 0);
    assert_eq!(two("2026-03-02T11:00:00Z", "2026-03-02T22:59:59Z"), 1);
    assert_eq!(two("2026-03-02T22:59:59Z", "2026-03-02T23:00:00Z"), 0);
    assert_eq!(two("2026-03-02T23:00:00Z", "2026-03-03T10:59:59Z"), 1);
}

#[test]
fn windows_and_sequences_of_the_pack_come_out_the_same_in_any_order_of_arrival() {
    use crate::rules::{Kind, LoadCx, Options};
    let (options, cx) = (Options::default(), LoadCx::default());
    let plain = Arc::new(RuleSet::load(&options, &cx).0);
    let mut tried = 0;
    for rule in plain.rules() {
        // Single matches, what is new, and what is far more than usual are told when they arrive.
        let at_once = matches!(
            rule.kind,
            Kind::Event { hold: None, .. } | Kind::NewTerm { .. } | Kind::Spike { .. }
        );
        if at_once {
            continue;
        }
        for test in &rule.tests {
            let mut cx = cx.clone();
            cx.lists.extend(test.lists.clone());
            let rules = match test.lists.is_empty() {
                true => Arc::clone(&plain),
                false => Arc::new(RuleSet::load(&options, &cx).0),
            };
            let mut events = test.events(&rule.id);
            events.sort_by_key(|event| (event.timestamp(), event.id()));
            let last = events.last().map_or(test.start, Event::timestamp);
            let run = |events: &[Event]| -> Facts {
                let mut replay = Replay::new(&rules, "test");
                for event in events {
                    replay.see(event, last);
                }
                match test.advance {
                    Some(length) => replay.advance(last.after(length.get())),
                    None => replay.finish(),
                }
                replay.flush();
                let alerts: Vec<Alert> = replay
                    .alerts()
                    .filter(|alert| alert.rule == rule.id)
                    .cloned()
                    .collect();
                facts(&alerts)
            };
            let expected = run(&events);
            assert_eq!(expected.len(), test.alerts, "{} {:?}", rule.id, test.name);
            events.reverse();
            let mut random = fastrand::Rng::with_seed(tried);
            for _ in 0..5 {
                assert_eq!(run(&events), expected, "{} {:?}", rule.id, test.name);
                random.shuffle(&mut events);
            }
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}
