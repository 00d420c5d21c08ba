//! What is sent to whom, and when.

use std::path::Path;
use std::time::Duration;

use pipeline::testing::{self, Json, Outcome, StatefulBench, json};
use pipeline::{Context, Event, Kind, StatefulConfig, Time};

use super::Config;
use super::silence::{Silence, Store};

const ROUTES: &str = r#"
default = "mail"
[[route]]
receiver = "oncall"
match = { severity = ["critical", "high"] }
"#;

struct Bench {
    bench: StatefulBench,
    now: Time,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(toml: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        Bench {
            bench: testing::stateful_in::<Config>(toml, folder.path()),
            now: testing::at("0s"),
            _folder: folder,
        }
    }

    fn folder(&self) -> &Path {
        self._folder.path()
    }

    fn feed(&mut self, alerts: &[Json]) -> Outcome {
        let out = self.bench.feed(testing::events(alerts.iter().cloned()));
        // Ends an epoch, as the engine does after each message.
        self.bench.saved();
        out
    }

    fn wait(&mut self, secs: u64) -> Outcome {
        self.now = self.now.after(Duration::from_secs(secs));
        let out = self.bench.wait(Duration::from_secs(secs));
        self.bench.saved();
        out
    }

    fn alert(&self, id: &str, rule: &str, severity: &str, code: u32) -> Json {
        json!({
            "@timestamp": self.now.to_string(), "event": {"code": format!("PVE-{code}"), "kind": "alert"},
            "rule": {"id": rule, "name": "a_rule"}, "user": {"id": "eve@pve"}, "host": {"name": "pve1"},
            "orchestrator": {"cluster": {"name": "prod"}},
            "pve": {"alert": {"id": id, "severity": severity}}, "message": "something\u{1b}[2J happened"
        })
    }
}

fn keys(out: &Outcome, receiver: &str) -> Vec<String> {
    let key = |event: &&Event| {
        event.to_json()["pve"]["notify"]["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    out.made(receiver).iter().map(key).collect()
}

#[test]
fn a_critical_alert_leaves_at_once_and_others_wait_for_company() {
    let mut bench = Bench::new(ROUTES);
    let alert = bench.alert("a", "PVR-202", "critical", 9101);
    assert_eq!(keys(&bench.feed(&[alert]), "oncall"), ["a-opened"]);
    let two = [
        bench.alert("b", "PVR-101", "high", 9101),
        bench.alert("c", "PVR-101", "high", 9101),
    ];
    assert!(keys(&bench.feed(&two), "oncall").is_empty());
    assert!(keys(&bench.wait(29), "oncall").is_empty());
    let out = bench.wait(1);
    assert_eq!(keys(&out, "oncall"), ["b-opened", "c-opened"]);
    let messages: Vec<Json> = out
        .made("oncall")
        .iter()
        .map(|e| e.to_json()["pve"]["notify"]["message"].clone())
        .collect();
    assert_eq!(messages[0], messages[1], "one message");
    let low = bench.alert("d", "PVR-112", "low", 9101);
    bench.feed(&[low]);
    assert_eq!(keys(&bench.wait(30), "mail"), ["d-opened"]);
}

#[test]
fn what_is_over_before_it_was_told_is_spared_and_what_was_told_is_told_to_be_over() {
    let mut bench = Bench::new(ROUTES);
    for code in [9101, 9103] {
        let alert = bench.alert("a", "PVR-101", "high", code);
        bench.feed(&[alert]);
    }
    assert!(keys(&bench.wait(600), "oncall").is_empty());
    let alert = bench.alert("b", "PVR-101", "high", 9101);
    bench.feed(&[alert]);
    assert_eq!(keys(&bench.wait(30), "oncall"), ["b-opened"]);
    let alert = bench.alert("b", "PVR-101", "high", 9103);
    bench.feed(&[alert]);
    assert!(
        keys(&bench.wait(290), "oncall").is_empty(),
        "group_interval"
    );
    bench.bench.restart();
    assert_eq!(keys(&bench.wait(10), "oncall"), ["b-resolved"]);
    // Opened once more, it is another message.
    let alert = bench.alert("b", "PVR-101", "high", 9101);
    bench.feed(&[alert]);
    assert_eq!(keys(&bench.wait(300), "oncall"), ["b-opened-3"]);
}

#[test]
fn a_rising_severity_is_told_and_an_open_alert_repeated() {
    let mut bench = Bench::new(ROUTES);
    let alert = bench.alert("a", "PVR-904", "high", 9101);
    bench.feed(&[alert]);
    bench.wait(30);
    let same = bench.alert("a", "PVR-904", "high", 9102);
    bench.feed(&[same]);
    assert!(keys(&bench.wait(1000), "oncall").is_empty());
    let worse = bench.alert("a", "PVR-904", "critical", 9102);
    assert_eq!(keys(&bench.feed(&[worse]), "oncall"), ["a-updated-2"]);
    assert!(keys(&bench.wait(4 * 3600 - 1), "oncall").is_empty());
    assert_eq!(keys(&bench.wait(1), "oncall"), ["a-reminder-3"]);
}

#[test]
fn old_alerts_and_those_that_are_only_recorded_are_not_sent() {
    let mut bench = Bench::new(ROUTES);
    let old = bench.alert("a", "PVR-202", "critical", 9101);
    bench.wait(16 * 60);
    assert!(keys(&bench.feed(&[old]), "oncall").is_empty());
    let mut only = bench.alert("b", "PVR-202", "critical", 9101);
    only["pve"]["alert"]["record_only"] = true.into();
    assert!(keys(&bench.feed(&[only]), "oncall").is_empty());
    assert!(keys(&bench.wait(5 * 3600), "oncall").is_empty());
    // It goes on now: that is news.
    let again = bench.alert("a", "PVR-202", "critical", 9102);
    assert_eq!(keys(&bench.feed(&[again]), "oncall"), ["a-opened"]);
}

#[test]
fn one_message_to_a_receiver_waits_for_the_answer_to_the_one_before() {
    let mut bench = Bench::new(ROUTES);
    let alerts = [
        bench.alert("a", "PVR-202", "critical", 9101),
        bench.alert("b", "PVR-603", "critical", 9101),
    ];
    let out = bench.bench.feed(testing::events(alerts));
    assert_eq!(keys(&out, "oncall").len(), 1);
    assert!(keys(&bench.bench.wait(Duration::from_secs(5)), "oncall").is_empty());
    // After a restart what was made is on its way again.
    bench.bench.restart();
    assert!(keys(&bench.bench.wait(Duration::from_secs(5)), "oncall").is_empty());
    bench.bench.saved();
    assert_eq!(
        keys(&bench.bench.wait(Duration::from_secs(5)), "oncall").len(),
        1
    );
}

#[test]
fn an_open_alert_holds_back_others_while_it_stands() {
    let mut bench = Bench::new(ROUTES);
    let mass = bench.alert("m", "PVR-202", "critical", 9101);
    bench.feed(&[mass]);
    let one = bench.alert("a", "PVR-201", "critical", 9101);
    let out = bench.feed(&[one]);
    assert!(keys(&out, "oncall").is_empty());
    assert_eq!(out.told().len(), 1);
    assert_eq!(out.told()[0].0, "PVE-9104");
    assert!(bench.wait(60).told().is_empty(), "told once");
    let over = bench.alert("m", "PVR-202", "critical", 9103);
    bench.feed(&[over]);
    assert_eq!(keys(&bench.wait(2), "oncall"), ["a-opened"]);
}

#[test]
fn a_silence_holds_back_until_it_ends_and_is_told() {
    let mut bench = Bench::new(ROUTES);
    let store = Store::new(bench.folder());
    let matching = serde_json::from_value(json!({"rule": "PVR-20*", "node": "pve1"})).unwrap();
    let until = bench.now.after(Duration::from_secs(3600));
    let silence = Silence::new(matching, bench.now, until, "root", "upgrade").unwrap();
    store.add(silence.clone(), bench.now).unwrap();
    let out = bench.wait(1);
    assert_eq!(out.told()[0].0, "PVE-9105");
    let alert = bench.alert("a", "PVR-202", "critical", 9101);
    let out = bench.feed(&[alert]);
    assert!(keys(&out, "oncall").is_empty());
    assert!(out.told()[0].1.contains("upgrade"), "{:?}", out.told());
    bench.bench.restart();
    assert!(keys(&bench.wait(60), "oncall").is_empty());
    store
        .remove(&silence.id, "bob", bench.now)
        .unwrap()
        .unwrap();
    let out = bench.wait(1);
    assert!(out.told()[0].1.contains("bob removed"), "{:?}", out.told());
    let sent = [keys(&out, "oncall"), keys(&bench.wait(1), "oncall")].concat();
    assert_eq!(sent, ["a-opened"]);
}

#[test]
fn routes_go_on_where_they_say_so_and_rules_name_their_receiver() {
    let mut bench = Bench::new(
        "receivers = ['night']\n[[route]]\nreceiver = 'all'\ncontinue = true\ngroup_wait = '0s'\n[[route]]\nreceiver = 'oncall'\nmatch = { rule = 'PVR-2*' }\ngroup_wait = '0s'\n",
    );
    let alert = bench.alert("a", "PVR-201", "low", 9101);
    let out = bench.feed(&[alert]);
    assert_eq!(
        (keys(&out, "all").len(), keys(&out, "oncall").len()),
        (1, 1)
    );
    let mut named = bench.alert("b", "PVR-201", "critical", 9101);
    named["pve"]["alert"]["route"] = "night".into();
    let out = bench.feed(&[named]);
    assert_eq!((keys(&out, "all").len(), keys(&out, "night").len()), (0, 1));
}

#[test]
fn a_message_is_one_plain_line_with_its_mark() {
    let mut bench = Bench::new(ROUTES);
    let mut alert = bench.alert("a", "PVR-202", "critical", 9101);
    alert["source"] = json!({"ip": "203.0.113.45"});
    alert["pve"]["source"] = json!({"attribution": "matched"});
    alert["pve"]["alert"]["count"] = 6.into();
    let out = bench.feed(&[alert]);
    let line = out.made("oncall")[0].to_json()["pve"]["alert"]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        line.starts_with("🔴 critical: PVR-202 a_rule – something"),
        "{line}"
    );
    for part in [
        "user eve@pve",
        "node pve1",
        "from 203.0.113.45 (matched)",
        "count 6",
        "alert a",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains('\u{1b}'));
}

#[test]
fn what_is_no_alert_is_marked_and_memory_is_bounded() {
    let mut bench = Bench::new(ROUTES);
    let out = bench.feed(&[
        json!({"n": 1, "event": {"code": "PVE-2002"}}),
        json!({"n": 2, "event": {"code": "PVE-9101"}}),
    ]);
    assert_eq!(out.errors().len(), 2);
    for chunk in 0..12 {
        let alerts: Vec<Json> = (0..1000)
            .map(|n| bench.alert(&format!("{chunk}-{n}"), "PVR-1", "high", 9101))
            .collect();
        bench.feed(&alerts);
    }
    let saved = bench.bench.saved();
    let again = super::Config::build(
        &toml::from_str(ROUTES).unwrap(),
        &Context::for_tests(Kind::Transform, "notify"),
    );
    let mut again = again.unwrap();
    again.load(&saved).unwrap();
    assert!(again.remembered() <= 10_000 && again.remembered() > 9_000);
    for cut in [0, 3, 10, saved.len() / 2, saved.len() - 1] {
        assert!(again.load(&saved[..cut]).is_err());
    }
}

#[test]
fn every_mistake_is_told_with_its_remedy() {
    let wrong: Config = toml::from_str(
        "default = 'A'\n[[route]]\nreceiver = 'x'\nmatch = { severty = 'high' }\nmute = ['nigth']\ngroup_by = ['nod']\n[[calendar]]\nname = 'night'\nzone = 'UTC'\nfrom = '1:00'\nto = '2:00'",
    )
    .unwrap();
    let cx = Context::for_tests(Kind::Transform, "notify");
    let Err(errors) = wrong.build(&cx) else {
        panic!("it was built")
    };
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told.iter().all(|text| text.contains(';')), "{told:#?}");
    assert!(
        told.iter().any(|text| text.contains("\"severity\"")),
        "{told:#?}"
    );
    assert!(Config::build(&toml::from_str("").unwrap(), &cx).is_err());
}
