//! What a source hands over, and what it hears back.

use super::*;
use crate::event::EventId;
use crate::event::Field;

#[test]
fn the_key_of_a_change_is_a_name_and_other_keys_are_secrets() {
    let redactor = Redactor::new(&crate::redact::RedactOptions::default(), &[]);
    let rows = serde_json::json!([{ "key": "cores", "old": "2", "password": "hunter2" }]);
    let mut event = Event::new(EventId([1, 2]), Time(0));
    event.set(Field::new("pve.changes"), Value::from_json(rows.clone()));
    event.set(
        Field::new("pve.params"),
        Value::from_json(serde_json::json!({ "key": "PEM", "changes": rows })),
    );
    assert_eq!(redact_event(&mut event, &redactor), 1);
    let json = event.to_json().to_string();
    assert!(
        json.contains("cores") && !json.contains("hunter2") && !json.contains("PEM"),
        "{json}"
    );
}
