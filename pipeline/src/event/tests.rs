//! What an event does with its fields.
use super::*;

fn event() -> Event {
    Event::new(EventId([1, 2]), Time(1_700_000_000_123_000_000))
}

#[test]
fn setting_a_parent_removes_its_children_and_the_reverse() {
    let (parent, child) = (Field::new("t.parent"), Field::new("t.parent.child"));
    let mut event = event();
    event.set(child, 1_i64);
    event.set(parent, "now a text that is longer than inline");
    assert!(!event.has(child));
    event.set(child, 2_i64);
    assert!(!event.has(parent));
    assert_eq!(event.get(child), Some(ValueRef::Int(2)));
}

#[test]
fn a_detached_event_reads_the_same_and_holds_no_buffer() {
    let mut event = event();
    event.set_buffer(Buffer::new("short and a much longer text".to_owned()));
    event.set_span(fields::USER_NAME, Span { at: 0, len: 5 });
    event.set_span(fields::MESSAGE, Span { at: 6, len: 22 });
    event.set(fields::HTTP_STATUS, 200_i64);
    let before = event.to_json();
    event.detach();
    assert!(event.buffer().is_none());
    assert_eq!(event.to_json(), before);
    assert_eq!(event.str(fields::MESSAGE), Some("and a much longer text"));
}

#[test]
fn a_field_set_again_and_again_does_not_grow_the_event() {
    let mut event = event();
    for n in 0..1000 {
        event.set(
            fields::MESSAGE,
            format!("the message number {n} of this event"),
        );
    }
    assert_eq!(event.len(), 1);
    assert!(event.size() < 300, "{}", event.size());
}

#[test]
fn tags_are_kept_once() {
    let mut event = event();
    event.add_tag("grok_failed");
    event.add_tag("partial");
    event.add_tag("grok_failed");
    assert_eq!(
        event.to_json()["tags"],
        serde_json::json!(["grok_failed", "partial"])
    );
}

#[test]
fn names_from_data_live_under_their_parent() {
    let params = Field::new("pve.params");
    let mut event = event();
    event.set_dynamic(params, "purge", "1".into());
    event.set_dynamic(params, "purge", "0".into());
    event.set_dynamic(params, "weird.\"key", Value::Int(3));
    assert_eq!(
        event.to_json()["pve"]["params"],
        serde_json::json!({"purge": "0", "weird.\"key": 3})
    );
}

#[test]
fn json_goes_both_ways() {
    let mut event = event();
    event.set(fields::SOURCE_IP, "192.0.2.1");
    event.set(fields::HTTP_STATUS, 200_i64);
    event.set(Field::new("t.float"), 1.5);
    event.set(
        Field::new("t.list"),
        Value::List(vec!["a".into(), Value::Null, true.into()]),
    );
    let json = event.to_json();
    let back = Event::from_json(json.clone()).unwrap();
    assert_eq!(back.to_json(), json);
    assert_eq!(back.id(), event.id());
    assert_eq!(back.timestamp(), event.timestamp());
}

#[test]
fn an_id_or_a_time_that_is_none_is_an_error() {
    for bad in [
        serde_json::json!([]),
        serde_json::json!({"event": {"id": "xyz"}}),
        serde_json::json!({"@timestamp": 5}),
    ] {
        assert!(Event::from_json(bad).is_err());
    }
}

#[test]
fn known_and_unknown_names_live_side_by_side_under_one_parent() {
    let (name, ip) = (Field::new("side.name"), Field::new("side.ip"));
    let side = Field::new("side");
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        let mut event = event();
        for step in order {
            match step {
                0 => event.set(name, "pve1"),
                1 => event.set_dynamic(side, "weird", 1_i64.into()),
                _ => event.set(ip, "192.0.2.1"),
            }
        }
        event.set_dynamic(side, "other.one", Value::Map(vec![]));
        assert_eq!(
            event.to_json()["side"],
            serde_json::json!({"name": "pve1", "ip": "192.0.2.1", "weird": 1, "other.one": {}}),
            "{order:?}"
        );
    }
}

#[test]
fn a_name_is_said_once_whether_it_is_known_or_not() {
    let (side, known) = (Field::new("side"), Field::new("side.known.deep"));
    let mut event = event();
    event.set(
        side,
        Value::Map(vec![
            ("x".into(), 1_i64.into()),
            (
                "known".into(),
                Value::Map(vec![
                    ("deep".into(), 1_i64.into()),
                    ("y".into(), 2_i64.into()),
                ]),
            ),
        ]),
    );
    event.set(known, 3_i64);
    assert_eq!(
        event.to_json()["side"],
        serde_json::json!({"x": 1, "known": {"deep": 3, "y": 2}})
    );
    event.set_dynamic(side, "known", 4_i64.into());
    assert_eq!(
        event.to_json()["side"],
        serde_json::json!({"x": 1, "known": 4})
    );
    event.set(known, 5_i64);
    assert_eq!(
        event.to_json()["side"],
        serde_json::json!({"x": 1, "known": {"deep": 5}})
    );
    event.set(side, Value::Map(vec![("z".into(), 1_i64.into())]));
    assert_eq!(event.to_json()["side"], serde_json::json!({"z": 1}));
    event.set(known, 6_i64);
    event.set(side, "text");
    assert_eq!(event.to_json()["side"], "text");
}

#[test]
fn json_with_unknown_names_among_known_ones_goes_both_ways() {
    let json = serde_json::json!({
        "@timestamp": "2026-03-14T23:00:00.000Z",
        "event": {"id": "0123456789abcdef0123456789abcdef", "code": "x", "never": {"heard": ["of"]}},
        "host": {"name": "pve1", "colour": "grey"},
        "pve": {"extra": {"foo": 1}},
    });
    let event = Event::from_json(json.clone()).unwrap();
    assert_eq!(event.str(fields::HOST_NAME), Some("pve1"));
    assert_eq!(event.to_json(), json);
    let mut more = json;
    more["nowhere"] = serde_json::json!({"to": "be seen"});
    let event = Event::from_json(more).unwrap();
    assert_eq!(
        event.to_json()["pve"]["extra"],
        serde_json::json!({"foo": 1, "nowhere": {"to": "be seen"}})
    );
}
