//! What an event does with its fields.
#![allow(clippy::unwrap_used)]
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
