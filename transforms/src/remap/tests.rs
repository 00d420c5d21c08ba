//! What programs make of events.
use pipeline::testing::{self, TransformBench, json};
use pipeline::{Event, EventId, events};

use super::Config;

fn remap(source: &str) -> TransformBench {
    testing::transform::<Config>(&format!("source = '''\n{source}\n'''"))
}

/// What a program makes of one event, without its id and time.
fn made(source: &str, event: pipeline::testing::Json) -> pipeline::testing::Json {
    let mut out = remap(source).feed(testing::events([event])).json();
    assert_eq!(out.len(), 1, "{source}");
    let mut out = out.remove(0);
    let event = out.as_object_mut().unwrap();
    event.remove("@timestamp");
    event["event"].as_object_mut().unwrap().remove("id");
    if event["event"].as_object().unwrap().is_empty() {
        event.remove("event");
    }
    out
}

#[test]
fn fields_are_read_set_and_deleted() {
    let out = made(
        r#".user.name = upcase(string!(.user.name)); .status = to_int!(del(.text)); .new.list = [1, null, {"a": 2.5}]"#,
        json!({"user": {"name": "root", "id": "root@pam"}, "text": "401"}),
    );
    assert_eq!(
        out,
        json!({"user": {"name": "ROOT", "id": "root@pam"}, "status": 401, "new": {"list": [1, null, {"a": 2.5}]}})
    );
}

#[test]
fn a_program_that_fails_leaves_the_event_as_it_was_and_marks_it() {
    let mut remap = remap(".a = 1\n.b = to_int!(.text)");
    let out = remap.feed(events![{"text": "7"}, {"text": "seven"}]);
    assert_eq!(out.kept(), [0, 1]);
    assert_eq!(out.errors(), [1]);
    let out = out.json();
    assert_eq!((&out[0]["a"], &out[0]["b"]), (&json!(1), &json!(7)));
    assert!(out[1].get("a").is_none());
    assert_eq!(out[1]["tags"], json!(["remap_failed"]));
    assert!(
        out[1]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("to_int")
    );
}

#[test]
fn what_is_dropped_is_counted_or_leaves_by_its_own_output() {
    let source = "source = '''\nif .n == 1 { abort \"not today\" }\n.x = to_int!(.text)\n'''\n";
    let feed = |options: &str| {
        let mut remap = testing::transform::<Config>(&format!("{source}{options}"));
        remap.feed(events![{"n": 1, "text": "1"}, {"n": 2, "text": "two"}, {"n": 3, "text": "3"}])
    };
    let out = feed("");
    assert_eq!(
        (out.kept(), out.errors(), out.filtered()),
        (vec![2, 3], vec![2], 1)
    );
    let out = feed("drop_on_abort = false");
    assert_eq!((out.kept(), out.filtered()), (vec![1, 2, 3], 0));
    assert!(out.json()[0].get("tags").is_none());
    let out = feed("drop_on_error = true");
    assert_eq!(
        (out.kept(), out.errors(), out.filtered()),
        (vec![3], vec![2], 2)
    );
    let out = feed("drop_on_error = true\nreroute_dropped = true");
    assert_eq!((out.kept(), out.filtered()), (vec![3], 0));
    assert_eq!(out.sent("dropped"), [1, 2]);
}

#[test]
fn a_list_becomes_one_event_for_each_element_with_the_same_ids_every_time() {
    let source = r#"if exists(.list) { . = map_values(array!(.list)) -> |v| { {"n": v, "host": {"name": "pve1"}} } }"#;
    let feed = || {
        let mut out = Vec::new();
        let mut events = events![{"n": 0}, {"list": [5, 6, 7]}, {"n": 9}];
        for (n, event) in events.iter_mut().enumerate() {
            *event = with_id(event, n as u64);
        }
        for event in remap(source).feed(events).events() {
            out.push((event.id(), event.to_json()["n"].clone(), event.ordinal()));
        }
        out
    };
    let first = feed();
    let numbers: Vec<_> = first.iter().map(|(_, n, _)| n.as_i64().unwrap()).collect();
    assert_eq!(numbers, [0, 5, 6, 7, 9]);
    assert_eq!(feed(), first);
    let mut ids: Vec<_> = first.iter().map(|(id, ..)| *id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    // They share the place of the one they were made of, so they have none.
    assert!(first[1..4].iter().all(|(.., ordinal)| ordinal.is_none()));
}

fn with_id(event: &Event, n: u64) -> Event {
    let mut json = event.to_json();
    json["event"]["id"] = json!(EventId([n, 7]).to_string());
    Event::from_json(json).unwrap()
}

#[test]
fn an_empty_list_is_no_event_and_counted() {
    let out = remap(". = []").feed(events![{"n": 1}]);
    assert!(out.kept().is_empty());
    assert_eq!(out.filtered(), 1);
}

#[test]
fn the_whole_event_can_be_read_and_set() {
    let event = json!({"a": {"b": 1, "c": [true]}, "message": "x"});
    assert_eq!(made(". = .", event.clone()), event);
    assert_eq!(
        made(". |= {\"d\": 2}", event.clone()),
        json!({"a": {"b": 1, "c": [true]}, "message": "x", "d": 2})
    );
    assert_eq!(made("del(.)", event.clone()), json!({}));
    assert_eq!(
        made(". = \"text\"", event.clone()),
        json!({"message": "text"})
    );
    assert_eq!(
        made(".copy = .a; .a.b = 3; .all = keys(.)", event),
        json!({
            "a": {"b": 3, "c": [true]}, "message": "x", "copy": {"b": 1, "c": [true]},
            "all": ["@timestamp", "a", "copy", "event", "message"]
        })
    );
}

#[test]
fn the_time_is_a_timestamp_and_the_id_stays() {
    let mut remap =
        remap(r#".when = .@timestamp; .id = .event.id; .@timestamp = t'2026-01-02T03:04:05.678Z'"#);
    let events = events![{"n": 1}];
    let id = events[0].id().to_string();
    let out = remap.feed(events).json();
    assert_eq!(out[0]["@timestamp"], "2026-01-02T03:04:05.678Z");
    assert_eq!(out[0]["when"], "2026-03-14T23:00:00.000Z");
    assert_eq!(out[0]["id"], json!(id));
    assert_eq!(out[0]["event"]["id"], json!(id));
    let out = self::remap(".x = 1; .@timestamp = \"yesterday\"").feed(events![{"n": 1}]);
    assert_eq!(out.errors(), [1]);
    assert!(out.json()[0].get("x").is_none(), "all or nothing");
    assert_eq!(
        made(
            "del(.@timestamp); del(.event.code)",
            json!({"event": {"code": "x"}})
        ),
        json!({})
    );
}

#[test]
fn merging_into_the_event_is_the_same_both_ways() {
    let event = json!({"a": {"b": 1, "c": 2}, "message": "x", "host": {"name": "pve1"}});
    for members in [
        r#"{"d": 2}"#,
        r#"{"a": {"e": 1}}"#,
        r#"{"a": 7, "host": {"ip": "192.0.2.1"}}"#,
        r#"{"message": "y", "e": [1], "event": {"code": "x", "id": "never"}}"#,
        r#"{"host.name": "dotted"}"#,
        "{}",
    ] {
        let (quick, slow) = (
            format!(". |= {members}"),
            format!("whole = .; . = merge(., {members})"),
        );
        assert_eq!(
            made(&quick, event.clone()),
            made(&slow, event.clone()),
            "{members}"
        );
        let after = "\n.seen = .a.b; .message = upcase(string!(.message)); del(.host)";
        let (quick, slow) = (quick + after, slow + after);
        assert_eq!(
            made(&quick, event.clone()),
            made(&slow, event.clone()),
            "{members}"
        );
    }
    let conditional = "if .a.b == 1 { . |= {\"d\": 1} } else { . |= {\"d\": 2}; .e = .d }\n.f = .d";
    assert_eq!(
        made(conditional, json!({"a": {"b": 1}})),
        json!({"a": {"b": 1}, "d": 1, "f": 1})
    );
    assert_eq!(
        made(conditional, json!({"g": 1})),
        json!({"g": 1, "d": 2, "e": 2, "f": 2})
    );
}
