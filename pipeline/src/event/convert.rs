//! Events as JSON values and back: for tests, dead letters and state, where speed does not count.

use super::field::fields;
use super::{Event, EventId, JsonWriter, Value};
use crate::clock::Time;

impl Event {
    /// The event as nested JSON; for tests, dead letters and state, where speed does not count.
    pub fn to_json(&self) -> serde_json::Value {
        let mut out = Vec::new();
        JsonWriter::new(None, None).write(self, &mut out);
        serde_json::from_slice(&out).expect("the writer writes valid JSON")
    }

    /// An event from nested JSON. `event.id` and `@timestamp` are taken when they are there, and an error when they
    /// are not what they should be. Known names become fields; unknown ones stay in maps under their nearest parent.
    pub fn from_json(json: serde_json::Value) -> Result<Event, String> {
        let serde_json::Value::Object(members) = json else {
            return Err("an event is a JSON object".to_owned());
        };
        let mut event = Event::new(EventId::default(), Time(0));
        for (name, value) in members {
            event.take_json(&name, value)?;
        }
        Ok(event)
    }

    fn take_json(&mut self, path: &str, value: serde_json::Value) -> Result<(), String> {
        if path == fields::TIMESTAMP.path() {
            let time = value.as_str().and_then(Time::parse);
            self.timestamp =
                time.ok_or_else(|| format!("@timestamp is no RFC 3339 time: {value}"))?;
            return Ok(());
        }
        if path == fields::EVENT_ID.path() {
            let id = value.as_str().and_then(EventId::parse);
            self.id =
                id.ok_or_else(|| format!("event.id is not 32 hexadecimal digits: {value}"))?;
            return Ok(());
        }
        match value {
            // On the way to `event.id`, everything is looked at.
            serde_json::Value::Object(members) if path == "event" => {
                for (name, value) in members {
                    self.take_json(&format!("{path}.{name}"), value)?;
                }
            }
            other => self.set_tree(path, Value::from_json(other)),
        }
        Ok(())
    }
}
