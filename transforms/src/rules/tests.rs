//! Tests of the language as a whole.

use std::collections::BTreeMap;

use pipeline::{Event, EventId, Field, Time, Value};
use serde_json::json;

use super::*;

mod hostile;
mod mistakes;
mod modifiers;

/// Loads a text as the only rule file.
fn load(text: &str) -> (RuleSet, String) {
    load_with(text, Profile::Quiet)
}

fn load_with(text: &str, profile: Profile) -> (RuleSet, String) {
    let options = Options {
        rules: Vec::new(),
        profile,
        ..Options::default()
    };
    let cx = LoadCx {
        texts: vec![("site.toml".to_owned(), format!("schema = 1\n{text}"))],
        ..LoadCx::default()
    };
    let (set, told) = RuleSet::load(&options, &cx);
    (set, told.render(false))
}

/// The only rule of a text, without complaints.
fn rule(text: &str) -> Arc<Rule> {
    let (set, told) = load(text);
    assert_eq!(told, "");
    Arc::clone(&set.rules()[0])
}

/// A rule of type `event` with one selection.
fn selecting(tests: &str) -> Arc<Rule> {
    rule(&format!(
        "[[rule]]\nid = \"T\"\nname = \"t\"\nseverity = \"low\"\ntype = \"event\"\n[rule.select.one]\n{tests}\n"
    ))
}

fn event(fields: serde_json::Value) -> Event {
    let mut event = Event::new(EventId([1, 2]), START);
    let serde_json::Value::Object(fields) = fields else {
        panic!("fields are an object");
    };
    for (name, value) in fields {
        event.set_tree(&name, Value::from_json(value));
    }
    event
}

#[test]
fn the_pack_loads_without_a_complaint() {
    for profile in [Profile::Quiet, Profile::Strict] {
        let (_, told) = RuleSet::load(
            &Options {
                profile,
                ..Options::default()
            },
            &LoadCx::default(),
        );
        assert_eq!(told.render(false), "");
    }
}

#[test]
fn a_list_of_tables_is_an_or_and_exclude_takes_out() {
    let text = r#"
[lists]
pools = ["ci"]
[[rule]]
id = "T"
name = "t"
severity = "low"
type = "event"
when = "1 of a_* and not b"
select.a_1 = [{ "user.id" = "x", "pve.vmid" = 1 }, { "user.id" = "y" }]
select.b = { "pve.vmid" = 9 }
exclude = { "pve.params.pool|in" = "@pools" }
"#;
    let rule = rule(text);
    let matches = |fields| {
        let event = event(fields);
        rule.matches(rule.holds(&event), event.timestamp())
    };
    assert!(matches(json!({"user.id": "x", "pve.vmid": 1})) && matches(json!({"user.id": "y"})));
    assert!(!matches(json!({"user.id": "x"})) && !matches(json!({"user.id": "y", "pve.vmid": 9})));
    assert!(!matches(
        json!({"user.id": "y", "pve.params": {"pool": "CI"}})
    ));
}

#[test]
fn an_event_meets_only_the_rules_of_its_code() {
    let one = |id: &str, code: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\nname = \"t\"\nseverity = \"low\"\ntype = \"event\"\n[rule.select.a]\n{code}\n"
        )
    };
    let text = one("A", r#""event.code" = ["PVE-2002", "pve-2102"]"#)
        + &one("B", r#""user.id" = "x""#)
        + &one("C", r#""event.code" = "PVE-2002""#)
        + &one("D", r#""event.code|startswith" = "PVE-20""#);
    let (set, told) = load(&text);
    assert_eq!(told, "");
    assert_eq!(set.meeting(Some(2002)), [0, 1, 2, 3]);
    assert_eq!(set.meeting(Some(2102)), [0, 1, 3]);
    assert_eq!(set.meeting(Some(9999)), [1, 3]);
    assert_eq!(set.meeting(None), [1, 3]);
    assert_eq!(code(&event(json!({"event.code": "PVE-2002"}))), Some(2002));
    assert_eq!(code(&event(json!({"event.code": "PVE-20020"}))), None);
}

#[test]
fn groups_are_canonical_and_bounded() {
    let text = r#"
[[rule]]
id = "T"
name = "t"
severity = "low"
type = "temporal"
rules = ["grant", "act"]
timespan = "4h"
group_by = ["who", "host.name"]
aliases.who = { grant = "user.target.id", act = "user.id" }
select.grant = { "event.code" = "PVE-3032" }
select.act = { "event.code" = "PVE-2002" }
"#;
    let both = rule(text);
    let of = |fields, bits| both.group(&event(fields), bits).map(|key| key.to_string());
    let key = r#"{"host.name":"pve1","who":"eve@pve"}"#;
    assert_eq!(
        of(
            json!({"user.target.id": "eve@pve", "user.id": "root@pam", "host.name": "pve1"}),
            0b01
        )
        .as_deref(),
        Some(key)
    );
    assert_eq!(
        of(json!({"user.id": "eve@pve", "host.name": "pve1"}), 0b10).as_deref(),
        Some(key)
    );
    assert_eq!(
        of(json!({}), 0b10).as_deref(),
        Some(r#"{"host.name":null,"who":null}"#)
    );
    let long = "é\"\n".repeat(20_000);
    let key = both
        .group(&event(json!({"user.id": long.clone()})), 0b10)
        .expect("a bucket");
    assert!(
        key.canonical_json().len() < 2048,
        "{}",
        key.canonical_json().len()
    );
    assert!(key.values().iter().any(
        |(name, value)| name == "who" && value.as_str().is_some_and(|text| text.contains('…'))
    ));
    let other = both
        .group(&event(json!({"user.id": long + "x"})), 0b10)
        .expect("a bucket");
    assert_ne!(
        key, other,
        "values that differ past the cut are different groups"
    );
    let many: Vec<String> = (0..5000).map(|n| format!("value {n}")).collect();
    let key = both
        .group(&event(json!({"user.id": many})), 0b10)
        .expect("a bucket");
    assert!(key.canonical_json().len() < 2048 && key.values().len() == 2);
    let skip = rule(&text.replace("timespan", "missing = \"skip\"\ntimespan"));
    assert_eq!(skip.group(&event(json!({"host.name": "pve1"})), 0b10), None);
}

#[test]
fn the_meaning_changes_with_what_is_counted_and_not_with_words() {
    let text = r#"
[[rule]]
id = "T"
name = "t"
severity = "low"
type = "event_count"
timespan = "10m"
condition = { gte = 3 }
explain = "x"
[rule.select.a]
"event.code" = "PVE-2002"
"#;
    let meaning = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        rule(&text.replace(from, to)).meaning
    };
    let before = rule(text).meaning;
    for (from, to) in [
        ("name = \"t\"", "name = \"u\""),
        ("\"low\"", "\"high\""),
        ("\"x\"", "\"y\""),
        ("\"10m\"", "\"600s\""),
        ("id =", "tags = [\"a\"]\nid ="),
    ] {
        assert_eq!(meaning(from, to), before, "{to}");
    }
    for (from, to) in [
        ("gte = 3", "gte = 4"),
        ("\"10m\"", "\"11m\""),
        ("2002", "2102"),
        ("id =", "group_by = [\"user.id\"]\nid ="),
    ] {
        assert_ne!(meaning(from, to), before, "{to}");
    }
}

#[test]
fn profiles_and_overrides_change_what_they_may() {
    let text = r#"
[[rule]]
id = "PVR-201"
name = "t"
severity = "critical"
type = "event_count"
timespan = "10m"
condition = { gte = 3 }
[rule.select.a]
"event.code" = "PVE-2002"
[profile.quiet."PVR-2*"]
severity = "high"
record_only = true
[override."PVR-201"]
condition = { gt = 5 }
exclude = { "user.id" = "ci@pve" }
"#;
    let (set, told) = load(text);
    assert_eq!(told, "");
    let rule = set.rule("PVR-201").expect("the rule");
    assert!(rule.severity == Severity::High && rule.record_only);
    assert!(matches!(&rule.kind, Kind::EventCount { condition } if condition.needs() == Some(6)));
    assert_eq!(
        rule.holds(&event(
            json!({"event.code": "PVE-2002", "user.id": "ci@pve"})
        )),
        EXCLUDED
    );
    let changed: BTreeMap<_, _> = rule.overridden.iter().cloned().collect();
    assert_eq!(changed["condition"], "site.toml:16:1");
    let (set, _) = load_with(text, Profile::Strict);
    let rule = set.rule("PVR-201").expect("the rule");
    assert!(rule.severity == Severity::Critical && !rule.record_only);
}

#[test]
fn working_hours_follow_the_clock_of_their_zone() {
    let calendar = |zone: &str, from: &str, to: &str| {
        let text = format!(
            "[[calendar]]\nname = \"c\"\nzone = \"{zone}\"\ndays = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"]\nfrom = \"{from}\"\nto = \"{to}\"\nholidays = [\"2026-12-25\", 2026-05-01]\n"
        );
        let (set, told) = load(&text);
        assert_eq!(told, "");
        Arc::clone(&set.calendars()["c"])
    };
    let (berlin, york, lord_howe) = (
        calendar("Europe/Berlin", "08:00", "18:00"),
        calendar("America/New_York", "08:00", "18:00"),
        calendar("Australia/Lord_Howe", "08:00", "18:00"),
    );
    let night = calendar("Europe/Berlin", "22:00", "06:00");
    for (calendar, at, inside) in [
        // Winter time, then summer time: the vectors of the reference.
        (&berlin, "2026-03-27T16:59:59Z", true),
        (&berlin, "2026-03-27T17:00:00Z", false),
        (&berlin, "2026-03-29T15:59:59Z", false),
        (&berlin, "2026-03-29T16:00:00Z", false),
        (&berlin, "2026-03-30T15:59:59Z", true),
        (&berlin, "2026-03-30T16:00:00Z", false),
        (&berlin, "2026-12-25T10:00:00Z", false),
        (&berlin, "2026-05-01T10:00:00Z", false),
        // New York: the clock changes on 8 March and 1 November.
        (&york, "2026-03-06T12:59:59Z", false),
        (&york, "2026-03-06T13:00:00Z", true),
        (&york, "2026-03-09T11:59:59Z", false),
        (&york, "2026-03-09T12:00:00Z", true),
        (&york, "2026-10-30T21:59:59Z", true),
        (&york, "2026-11-02T22:30:00Z", true),
        (&york, "2026-11-02T23:00:00Z", false),
        // Lord Howe moves by half an hour, on 5 April.
        (&lord_howe, "2026-04-02T21:00:00Z", true),
        (&lord_howe, "2026-04-02T20:59:59Z", false),
        (&lord_howe, "2026-04-05T21:29:59Z", false),
        (&lord_howe, "2026-04-05T21:30:00Z", true),
        // Past midnight it is still the day before: Friday's night ends on Saturday, Sunday has none.
        (&night, "2026-03-27T22:00:00Z", true),
        (&night, "2026-03-28T04:59:59Z", true),
        (&night, "2026-03-28T05:00:00Z", false),
        (&night, "2026-03-28T21:30:00Z", false),
        (&night, "2026-03-30T03:00:00Z", false),
        (&night, "2026-12-26T02:00:00Z", false),
        (&night, "2026-12-24T22:00:00Z", true),
    ] {
        let time = Time::parse(at).expect("a time");
        assert_eq!(calendar.inside(time), inside, "{at} in {:?}", calendar.name);
    }
    assert!(
        !berlin.inside(Time(i64::MIN)) || berlin.inside(Time(i64::MIN)),
        "any instant has an answer"
    );
}

#[test]
fn days_of_a_zone_begin_at_its_midnight() {
    let berlin = calendar::zone("Europe/Berlin").expect("a zone");
    let day = pipeline::Duration::from_secs(86_400);
    let window = |at: &str, span, zone: Option<&jiff::tz::TimeZone>| {
        let (start, end) = tumbling(Time::parse(at).expect("a time"), span, zone);
        format!("{start} {end}")
    };
    // The day on which summer time begins has 23 hours.
    assert_eq!(
        window("2026-03-29T12:00:00Z", day, Some(&berlin)),
        "2026-03-28T23:00:00.000Z 2026-03-29T22:00:00.000Z"
    );
    assert_eq!(
        window("2026-03-29T12:00:00Z", day, None),
        "2026-03-29T00:00:00.000Z 2026-03-30T00:00:00.000Z"
    );
    let five = pipeline::Duration::from_secs(5 * 3600);
    assert_eq!(
        window("2026-03-30T21:30:00Z", five, Some(&berlin)),
        "2026-03-30T18:00:00.000Z 2026-03-30T22:00:00.000Z"
    );
    assert_eq!(
        window("1969-12-31T23:59:59Z", five, None),
        "1969-12-31T19:00:00.000Z 1970-01-01T00:00:00.000Z"
    );
}

#[test]
fn a_test_of_a_rule_becomes_events() {
    let rule = rule(
        r#"
[[rule]]
id = "T"
name = "t"
severity = "low"
type = "event"
group_by = ["user.id"]
[rule.select.a]
"event.code" = "PVE-2002"
"event.outcome" = "success"
"pve.task.phase" = "end"
[[rule.test]]
name = "two and one"
start = "2026-03-27T16:00:00Z"
events = [{ n = 2, every = "60s", code = "PVE-2002", "user.id" = "u{n}@pve", "pve.vmid" = "{n}" }, { at = "9m59s", code = "PVE-2002", "pve.changes" = [{ key = "a", op = "add" }] }]
alerts = 3
groups = ["u0@pve", { "user.id" = "u1@pve" }, {}]
"#,
    );
    let test = &rule.tests[0];
    let events = test.events("seed");
    let times: Vec<String> = events
        .iter()
        .map(|event| event.timestamp().to_string())
        .collect();
    assert_eq!(
        times,
        [
            "2026-03-27T16:00:00.000Z",
            "2026-03-27T16:01:00.000Z",
            "2026-03-27T16:09:59.000Z"
        ]
    );
    assert!(
        events
            .iter()
            .all(|event| rule.holds(event) == 1 && sees(event))
    );
    assert_eq!(events[1].str(Field::new("user.id")), Some("u1@pve"));
    assert_eq!(
        events[1]
            .get(Field::new("pve.vmid"))
            .and_then(|value| value.as_int()),
        Some(1)
    );
    assert_eq!(
        test.groups
            .as_ref()
            .map(|groups| groups[2].to_string())
            .as_deref(),
        Some(r#"{"user.id":null}"#)
    );
    let again: Vec<_> = test.events("seed").iter().map(Event::id).collect();
    assert_eq!(again, events.iter().map(Event::id).collect::<Vec<_>>());
    assert_ne!(again[0], again[1]);
}

#[test]
fn explain_tells_the_near_miss() {
    let rule = rule(
        r#"
[[rule]]
id = "T"
name = "t"
severity = "low"
type = "event"
when = "a and not b"
[rule.select.a]
"event.code" = "PVE-2002"
"event.outcome" = "success"
[rule.select.b]
"user.id|in" = ["root@pam"]
"#,
    );
    let told = rule.explain(&event(
        json!({"event.code": "PVE-2002", "event.outcome": "failure", "user.id": "x"}),
    ));
    assert!(!told.matches && !told.selections[0].holds);
    let lines: Vec<_> = told.selections[0].either[0]
        .iter()
        .map(|line| (line.test.as_str(), line.holds, line.found.join(",")))
        .collect();
    assert_eq!(
        lines,
        [
            ("event.code = \"PVE-2002\"", true, "\"PVE-2002\"".to_owned()),
            (
                "event.outcome = \"success\"",
                false,
                "\"failure\"".to_owned()
            )
        ]
    );
}
