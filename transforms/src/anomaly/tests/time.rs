//! What event time decides: who a firing speaks of, when it is said to be true, what is late, and what is said to be missing.

use std::sync::Arc;

use pipeline::{Event, EventId, Field, Time, testing};

use super::super::alert::{Ended, Told, Turn};
use super::super::engine::{Engine, input};
use super::super::{Config, judge, rules as language};
use super::{SECOND, at, event, rules};
use crate::rules::RuleSet;

/// The engine alone, fed by hand.
struct Fed {
    engine: Engine,
    set: Arc<RuleSet>,
}

impl Fed {
    fn new(text: &str) -> Fed {
        let set = rules(text);
        let watched = set.rules().iter().map(judge::watch).collect();
        let engine = Engine::new(watched, "test", 64 << 20);
        Fed { engine, set }
    }

    fn see(&mut self, event: &Event) -> Vec<Told> {
        for n in self.set.meeting(language::code(event)) {
            self.engine.see(*n as usize, event, event.timestamp());
        }
        std::mem::take(&mut self.engine.told)
    }

    fn advance(&mut self, secs: i64) -> Vec<Told> {
        self.engine.advance(at(secs));
        std::mem::take(&mut self.engine.told)
    }
}

fn turns(told: &[Told]) -> Vec<Turn> {
    told.iter().map(|told| told.turn).collect()
}

/// When something was told [seconds of the test].
fn when(told: &Told) -> i64 {
    (told.at - at(0).0) / SECOND
}

fn user(told: &Told) -> &str {
    let event = told.alert.event.as_ref();
    event
        .and_then(|event| event.str(Field::new("user.id")))
        .unwrap_or("nobody")
}

const HELD: &str = r#"
[[rule]]
id = "T-1"
name = "offline"
severity = "critical"
version = 1
type = "event"
when = "down"
hold = "20m"
unless = "up"
group_by = ["host.name"]
[rule.select.down]
"event.code" = "PVE-6004"
[rule.select.up]
"event.code" = "PVE-6005"
"#;

#[test]
fn what_was_held_speaks_of_its_own_event_and_became_true_when_it_had_been_held() {
    let mut fed = Fed::new(HELD);
    fed.see(&event(1, at(0), "PVE-6004", "eve@pve"));
    fed.see(&event(2, at(60), "PVE-6004", "bob@pve"));
    assert!(fed.advance(1200).is_empty());
    let told = fed.advance(1201);
    assert_eq!(told.len(), 1);
    assert_eq!(user(&told[0]), "eve@pve", "whose event it was");
    // Notify takes what is older than a quarter of an hour for old news.
    assert_eq!((when(&told[0]), told[0].alert.last.time), (1200, at(0).0));
    let told = fed.advance(1261);
    assert!(told.is_empty(), "{told:?}");
    let told = fed.advance(90_000);
    assert_eq!(user(told.last().unwrap()), "bob@pve", "the newest");
}

#[test]
fn alerts_of_the_pack_name_the_node_that_is_gone_and_never_the_one_that_collects() {
    let mut watch = testing::stateful::<Config>("");
    let now = testing::at("0s");
    let mut gone = event(1, now, "PVE-6004", "root@pam");
    for (name, value) in [
        ("host.name", "pve1"),
        ("pve.object.type", "node"),
        ("pve.object.id", "pve2"),
    ] {
        gone.set(Field::new(name), value);
    }
    watch.feed(vec![gone]);
    let out = watch.wait(std::time::Duration::from_secs(120));
    let alerts = out.made("alerts");
    assert_eq!(alerts.len(), 1);
    let alert = alerts[0].to_json();
    assert_eq!(alert["rule"]["id"], "PVR-601");
    assert_eq!(alert["host"]["name"], "pve2", "{alert:#}");
    assert_eq!(alert["pve"]["object"]["id"], "pve2");
    assert_eq!(alert["user"]["id"], "root@pam");
    assert_eq!(
        alert["related"]["hosts"],
        serde_json::json!(["pve2", "pve1"])
    );
}

const MISSING: &str = r#"
[[rule]]
id = "T-1"
name = "missing"
severity = "high"
version = 1
type = "absence"
every = "1h"
learn = "1s"
forget = "2d"
expect = ["pve9"]
group_by = ["host.name"]
repeat = "4h"
[rule.select.beat]
"event.code" = "PVE-6022"
"#;

fn beat(n: u64, secs: i64, host: &str) -> Event {
    let mut beat = event(n, at(secs), "PVE-6022", "root@pam");
    beat.set(Field::new("host.name"), host);
    beat
}

/// A graph's watch with these rules, and the folder they lie in.
fn watch(text: &str) -> (testing::StatefulBench, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.toml");
    std::fs::write(&file, format!("schema = 1\n{text}")).unwrap();
    let config = format!("rules = [{:?}]", file.display().to_string());
    let watch = testing::stateful_in::<Config>(&config, folder.path());
    (watch, folder)
}

#[test]
fn of_what_never_came_the_group_alone_is_told() {
    let by_guest = MISSING
        .replace("T-1", "T-2")
        .replace("host.name", "pve.vmid")
        .replace("pve9", "104");
    let (mut watch, _folder) = watch(&format!("{MISSING}{by_guest}"));
    watch.wait(std::time::Duration::from_secs(1));
    let out = watch.wait(std::time::Duration::from_secs(7200));
    let alerts: Vec<_> = out.made("alerts").iter().map(|a| a.to_json()).collect();
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0]["host"]["name"], "pve9");
    assert_eq!(alerts[0]["related"]["hosts"], serde_json::json!(["pve9"]));
    // Of a guest nobody knows the node; the one that collects is not it.
    assert_eq!(
        alerts[1]["pve"]["vmid"].to_string().trim_matches('"'),
        "104"
    );
    assert_eq!(alerts[1]["host"]["name"], serde_json::Value::Null);
    assert_eq!(alerts[1]["pve"]["object"]["type"], "rule");
}

#[test]
fn one_input_that_is_down_does_not_hold_up_what_comes_by_another() {
    let mut fed = Fed::new(&MISSING.replace("expect = [\"pve9\"]\n", ""));
    for (n, host, name) in [(0, "pve1", "a"), (10, "pve2", "b")] {
        fed.engine.input = input(name);
        fed.see(&beat(n, 0, host));
        fed.see(&beat(n + 1, 60, host));
    }
    fed.advance(100);
    fed.engine.silent = vec![input("b")];
    let told = fed.advance(4000);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(&*told[0].group, r#"{"host.name":"pve1"}"#);
    assert!(told[0].alert.incomplete, "part of the input is not there");
    assert!(fed.advance(5000).is_empty(), "b is down, and known to be");
    fed.engine.silent.clear();
    let told = fed.advance(5003);
    assert_eq!(turns(&told), [Turn::Opened], "b is back, and pve2 is not");
    assert!(!told[0].alert.incomplete);
}

#[test]
fn nothing_is_missing_before_it_could_have_come_since_the_start() {
    let mut fed = Fed::new(MISSING);
    fed.see(&beat(1, 0, "pve1"));
    fed.see(&beat(2, 60, "pve1"));
    fed.advance(100);
    let mut state = Vec::new();
    super::super::saved::save(&fed.engine, &mut state);
    // Two hours later it is started again.
    let mut again = Fed::new(MISSING);
    super::super::saved::load(&mut again.engine, &state).unwrap();
    again.engine.started = at(7200).0;
    let told = again.advance(10_800);
    assert!(told.is_empty(), "{told:#?}");
    assert_eq!(again.advance(10_801).len(), 2);
}

#[test]
fn what_is_missing_for_good_is_forgotten_and_what_is_expected_by_name_never() {
    let mut fed = Fed::new(MISSING);
    fed.advance(0);
    fed.see(&beat(1, 0, "pve1"));
    fed.see(&beat(2, 60, "pve1"));
    assert_eq!(turns(&fed.advance(3700)), [Turn::Opened, Turn::Opened]);
    let (mut reminders, mut ended) = (0, Vec::new());
    for hour in 2..96 {
        for told in fed.advance(hour * 3600) {
            match told.turn {
                Turn::Updated => reminders += 1,
                _ => ended.push((told.group.to_string(), told.alert.ended)),
            }
        }
    }
    let pve1 = r#"{"host.name":"pve1"}"#.to_owned();
    assert_eq!(ended, [(pve1, Some(Ended::Forgotten))]);
    assert!(reminders > 30, "{reminders}");
    assert_eq!(fed.engine.memory[0].store.len(), 1, "pve9 stays");
}

#[test]
fn however_far_time_jumps_there_is_one_reminder() {
    let mut fed = Fed::new(MISSING);
    fed.advance(0);
    assert_eq!(turns(&fed.advance(3601)), [Turn::Opened]);
    let told = fed.advance(3600 + 86_400 * 365);
    assert_eq!(turns(&told), [Turn::Updated]);
    assert_eq!(when(&told[0]), 3600 + 86_400 * 365);
}

const LATE: &str = r#"
[[rule]]
id = "T-1"
name = "few"
severity = "high"
version = 1
type = "event_count"
group_by = []
timespan = "10m"
condition = { lt = 3 }
[rule.select.x]
"event.code" = "PVE-2001"
[[rule]]
id = "T-2"
name = "many"
severity = "high"
version = 1
type = "event_count"
group_by = []
timespan = "10m"
condition = { gte = 3 }
[rule.select.x]
"event.code" = "PVE-2002"
"#;

#[test]
fn late_is_what_came_behind_event_time_and_not_what_time_decided() {
    let mut fed = Fed::new(LATE);
    fed.see(&event(1, at(0), "PVE-2001", "x"));
    let told = fed.advance(100);
    assert_eq!((told.len(), told[0].alert.late), (1, false));
    fed.see(&event(2, at(50), "PVE-2001", "x"));
    let told = fed.advance(101);
    assert!(told.is_empty() || told[0].alert.late);
    // Of three the first comes late, and the last completes them in time.
    fed.see(&event(11, at(90), "PVE-2002", "x"));
    fed.see(&event(12, at(110), "PVE-2002", "x"));
    let told = fed.see(&event(13, at(120), "PVE-2002", "x"));
    assert_eq!((told.len(), told[0].alert.late), (1, true));
    let mut fed = Fed::new(LATE);
    fed.advance(80);
    for (n, secs) in [(11, 90), (12, 110)] {
        fed.see(&event(n, at(secs), "PVE-2002", "x"));
    }
    let told = fed.see(&event(13, at(120), "PVE-2002", "x"));
    assert_eq!((told.len(), told[0].alert.late), (1, false));
}

#[test]
fn looking_began_when_event_time_did_whatever_a_single_clock_says() {
    let mut fed = Fed::new(
        r#"
[[rule]]
id = "T-1"
name = "new"
severity = "high"
version = 1
type = "new_term"
fields = ["user.id"]
group_by = ["host.name"]
warmup = "7d"
[rule.select.x]
"event.code" = "PVE-1001"
"#,
    );
    fed.see(&event(1, Time(0), "PVE-1001", "old@pve"));
    fed.advance(0);
    let told = fed.see(&event(2, at(60), "PVE-1001", "new@pve"));
    assert!(told.is_empty(), "{told:#?}");
    let day = 86_400;
    fed.advance(8 * day);
    let told = fed.see(&event(3, at(8 * day), "PVE-1001", "newer@pve"));
    assert_eq!(told.len(), 1);
}

#[test]
fn clocks_that_are_years_off_are_told_of_node_by_node_and_count_as_of_now() {
    let mut watch = testing::stateful::<Config>("");
    let now = testing::at("0s");
    let from = |n: u64, host: &str, time: Time| {
        let mut event = event(n, time, "PVE-2002", "eve@pve");
        event.set(Field::new("host.name"), host);
        event
    };
    let out = watch.feed(vec![
        from(1, "pve1", now.after(std::time::Duration::from_secs(86_400))),
        from(2, "pve2", Time(0)),
        from(3, "pve2", Time(1)),
    ]);
    let told = out.told();
    let clocks: Vec<&str> = told
        .iter()
        .filter(|told| told.0 == "PVE-9051")
        .map(|told| told.1)
        .collect();
    assert_eq!(clocks.len(), 2, "{told:?}");
    assert_eq!(clocks[0], "the clock of pve1 is 86400 s ahead");
    assert!(clocks[1].starts_with("the clock of pve2 is ") && clocks[1].ends_with(" s behind"));
    let skew = out.events()[1].get(Field::new("pve.time.skew_ms"));
    assert!(skew.and_then(|skew| skew.as_int()).unwrap() < 0);
    for alert in out.made("alerts") {
        assert_eq!(alert.timestamp(), now, "{}", alert.to_json());
    }
}

const THEN: &str = r#"
[[rule]]
id = "T-2"
name = "then"
severity = "high"
version = 1
type = "temporal_ordered"
rules = ["T-1", "login"]
group_by = ["host.name"]
timespan = "10m"
[rule.select.login]
"event.code" = "PVE-1020"
"#;

#[test]
fn a_rule_that_feeds_others_does_so_when_time_decides_too() {
    let feeding = HELD.replacen("hold =", "internal = true\nhold =", 1);
    let mut fed = Fed::new(&format!("{feeding}{THEN}"));
    fed.see(&event(1, at(0), "PVE-6004", "eve@pve"));
    assert!(fed.advance(1210).is_empty(), "it only feeds");
    let told = fed.see(&event(2, at(1300), "PVE-1020", "eve@pve"));
    assert_eq!(turns(&told), [Turn::Opened]);
    assert_eq!(
        told[0].alert.first,
        super::super::spec::Stamp::new(at(1200).0, EventId([7, 2]))
    );
}

#[test]
fn alerts_of_rules_that_changed_or_are_gone_end_and_say_why() {
    let rule = |id: &str, more: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\nname = \"n\"\nseverity = \"high\"\nversion = 1\ntype = \"event\"\n{more}\n[rule.select.x]\n\"event.code\" = \"PVE-2002\"\n"
        )
    };
    let plain = |id: &str| rule(id, "");
    let before = [plain("T-1"), plain("T-2"), plain("T-3"), plain("T-4")];
    let (mut watch, folder) = watch(&before.concat());
    let now = testing::at("0s");
    let out = watch.feed(vec![event(1, now, "PVE-2002", "eve@pve")]);
    assert_eq!(out.made("alerts").len(), 4);
    let after = [
        plain("T-1"),
        rule("T-2", "group_by = [\"user.id\"]"),
        rule("T-4", "enabled = false"),
    ];
    let after = format!("schema = 1\n{}", after.concat());
    std::fs::write(folder.path().join("rules.toml"), after).unwrap();
    watch.restart();
    let out = watch.wait(std::time::Duration::from_secs(1));
    let mut ended: Vec<(String, String, String)> = out
        .made("alerts")
        .iter()
        .map(|alert| {
            let alert = alert.to_json();
            let text = |pointer: &str| {
                let text = alert.pointer(pointer).and_then(|text| text.as_str());
                text.unwrap_or_default().to_owned()
            };
            (text("/rule/id"), text("/event/code"), text("/event/reason"))
        })
        .collect();
    ended.sort();
    let ended: Vec<(&str, &str, &str)> = ended
        .iter()
        .map(|(id, code, why)| (id.as_str(), code.as_str(), why.as_str()))
        .collect();
    assert_eq!(
        ended,
        [
            ("T-2", "PVE-9103", "its rule means something else now"),
            ("T-3", "PVE-9103", "its rule is gone"),
            ("T-4", "PVE-9103", "its rule is switched off"),
        ]
    );
}
