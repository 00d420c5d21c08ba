//! One message becomes one event.

use pipeline::{Event, EventId, Field, Time, fields};
use serde_json::{Map, Value as Json};

use super::config::MessageCodec;

/// A message has at most this many keys and values to become fields; one with more stays text. Looking for a key among
/// many unknown ones is linear, so a message made of keys alone would take minutes.
const MAX_VALUES: usize = 4096;

/// What is known of a message.
pub(super) struct Message<'a> {
    pub(super) body: &'a [u8],
    pub(super) subject: &'a str,
    /// `Nats-Msg-Id`.
    pub(super) id: Option<&'a str>,
    /// The stream it came from; none by core NATS.
    pub(super) stream: Option<&'a str>,
    /// When it was published, or came.
    pub(super) at: Time,
    /// How often it was delivered, this time included.
    pub(super) delivered: u64,
}

/// A message that was asked to be JSON, and is not.
pub(super) struct Undecodable {
    /// The text of it as an event, for the dead letters.
    pub(super) event: Box<Event>,
    pub(super) why: String,
}

pub(super) struct Decoder {
    codec: MessageCodec,
    subject: Option<Field>,
    delivered: Field,
    error: Field,
}

impl Decoder {
    pub(super) fn new(codec: MessageCodec, subject: Option<Field>) -> Self {
        Decoder {
            codec,
            subject,
            delivered: Field::new("nats.delivered"),
            error: Field::new("error.message"),
        }
    }

    /// Makes the event; `otherwise` makes its id where neither the event nor the message has one. The second part says
    /// whether something about it could not be understood and is marked in the event.
    pub(super) fn decode(
        &self,
        message: &Message<'_>,
        otherwise: impl FnOnce() -> EventId,
    ) -> Result<(Event, bool), Undecodable> {
        let id = || match message.id {
            Some(text) => EventId::parse(text).unwrap_or_else(|| foreign(message, text)),
            None => otherwise(),
        };
        let looks_like_json = message.body.trim_ascii_start().first() == Some(&b'{');
        let read = match self.codec {
            MessageCodec::Text => None,
            MessageCodec::Auto if !looks_like_json => None,
            MessageCodec::Auto | MessageCodec::Json => Some(object(message.body)),
        };
        let (mut event, marked) = match read {
            Some(Ok(members)) => match from_object(members, id, message.at) {
                Ok(event) => (event, false),
                Err((why, id)) => self.not_json(message, id, why)?,
            },
            Some(Err(why)) => self.not_json(message, id(), why)?,
            None => text(message, id()),
        };
        if let Some(field) = self.subject {
            event.set_str(field, message.subject);
        }
        if message.delivered > 1 {
            event.set(
                self.delivered,
                i64::try_from(message.delivered).unwrap_or(i64::MAX),
            );
        }
        Ok((event, marked))
    }

    fn not_json(
        &self,
        message: &Message<'_>,
        id: EventId,
        why: String,
    ) -> Result<(Event, bool), Undecodable> {
        let (mut event, _) = text(message, id);
        event.add_tag("parse_error");
        event.set_str(self.error, &why);
        if self.codec == MessageCodec::Json {
            return Err(Undecodable {
                event: Box::new(event),
                why,
            });
        }
        Ok((event, true))
    }
}

/// An id that the publisher gave in a form of its own is unique within its stream. Core NATS has none and sees to
/// nothing: two publishers may both count from 1, so an id counts within its subject there.
fn foreign(message: &Message<'_>, id: &str) -> EventId {
    let kind: [&[u8]; 2] = [b"pve-audit/1", b"nats-msg-id"];
    let id = id.as_bytes();
    match message.stream {
        Some(stream) => EventId::of_parts(&[kind[0], kind[1], stream.as_bytes(), id]),
        None => EventId::of_parts(&[kind[0], kind[1], b"", message.subject.as_bytes(), id]),
    }
}

fn object(body: &[u8]) -> Result<Map<String, Json>, String> {
    // The reader gives up at 128 levels.
    match serde_json::from_slice(body) {
        Ok(Json::Object(members)) => {
            let mut left = MAX_VALUES;
            if members.values().all(|value| is_small(value, &mut left)) {
                return Ok(members);
            }
            Err(format!("a JSON object of more than {MAX_VALUES} values"))
        }
        Ok(_) => Err("JSON, but no object".to_owned()),
        Err(why) => Err(format!("no JSON: {why}")),
    }
}

fn is_small(value: &Json, left: &mut usize) -> bool {
    let Some(fewer) = left.checked_sub(1) else {
        return false;
    };
    *left = fewer;
    match value {
        Json::Array(values) => values.iter().all(|value| is_small(value, left)),
        Json::Object(members) => members.values().all(|value| is_small(value, left)),
        _ => true,
    }
}

/// The object as an event. Its own id and time count where they are what they should be; else they are kept under
/// another name.
fn from_object(
    mut members: Map<String, Json>,
    id: impl FnOnce() -> EventId,
    at: Time,
) -> Result<Event, (String, EventId)> {
    let time = members
        .get("@timestamp")
        .map(|time| time.as_str().and_then(Time::parse).is_some());
    if time == Some(false)
        && let Some(odd) = members.remove("@timestamp")
    {
        members.insert("sender_timestamp".to_owned(), odd);
    }
    let own = take_id(&mut members);
    let id = match own {
        Some(Ok(own)) => own,
        Some(Err(odd)) => {
            members.insert("sender_event_id".to_owned(), odd);
            id()
        }
        None => id(),
    };
    members.insert("event.id".to_owned(), id.to_string().into());
    let mut event = Event::from_json(Json::Object(members)).map_err(|why| (why, id))?;
    if time != Some(true) {
        event.set_timestamp(at);
    }
    Ok(event)
}

/// Takes the event's own id out of the object: one of ours, or what stood there instead.
fn take_id(members: &mut Map<String, Json>) -> Option<Result<EventId, Json>> {
    let found = match members.remove("event.id") {
        Some(found) => found,
        None => members.get_mut("event")?.as_object_mut()?.remove("id")?,
    };
    Some(match found.as_str().and_then(EventId::parse) {
        Some(id) => Ok(id),
        None => Err(found),
    })
}

fn text(message: &Message<'_>, id: EventId) -> (Event, bool) {
    let text = String::from_utf8_lossy(message.body);
    let changed = matches!(text, std::borrow::Cow::Owned(_));
    let mut event = Event::new(id, message.at);
    event.set_str(fields::MESSAGE, &text);
    (event, changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "0123456789abcdef0123456789abcdef";

    fn message(body: &[u8]) -> Message<'_> {
        Message {
            body,
            subject: "pve.x",
            id: None,
            stream: Some("AUDIT"),
            at: Time(1_000_000_000),
            delivered: 1,
        }
    }

    fn auto(message: &Message<'_>) -> (Event, bool) {
        let decoder = Decoder::new(MessageCodec::Auto, Some(Field::new("nats.subject")));
        decoder.decode(message, || EventId([7, 7])).ok().unwrap()
    }

    #[test]
    fn an_event_of_ours_keeps_its_id_its_time_and_its_fields() {
        let body = format!(
            r#"{{"@timestamp":"2026-01-02T03:04:05Z","event":{{"id":"{OURS}","code":"PVE-2002"}},"user":{{"id":"eve@pve"}},"odd":{{"x":1}}}}"#
        );
        let (event, marked) = auto(&message(body.as_bytes()));
        assert!(!marked);
        assert_eq!(event.id().to_string(), OURS);
        assert_eq!(
            event.timestamp(),
            Time::parse("2026-01-02T03:04:05Z").unwrap()
        );
        assert_eq!(event.str(Field::new("event.code")), Some("PVE-2002"));
        assert_eq!(event.str(Field::new("user.id")), Some("eve@pve"));
        assert_eq!(event.str(Field::new("nats.subject")), Some("pve.x"));
        assert_eq!(event.get(Field::new("nats.delivered")), None);
        assert_eq!(event.to_json()["pve"]["extra"]["odd"]["x"], 1);
    }

    #[test]
    fn the_id_is_the_events_own_or_the_messages_or_made() {
        let id = |body: &str, msg_id: Option<&str>| {
            let message = Message {
                id: msg_id,
                ..message(body.as_bytes())
            };
            auto(&message).0.id()
        };
        let other = "ffffffffffffffffffffffffffffffff";
        let own = format!(r#"{{"event.id":"{OURS}"}}"#);
        assert_eq!(id(&own, Some(other)).to_string(), OURS);
        assert_eq!(id("{}", Some(other)).to_string(), other);
        assert_eq!(id("text", Some(other)).to_string(), other);
        assert_eq!(id("text", None), EventId([7, 7]));
        assert_eq!(id("a", Some("order-1")), id("b", Some("order-1")));
        assert_ne!(id("a", Some("order-1")), id("a", Some("order-2")));
    }

    #[test]
    fn by_core_a_foreign_id_counts_within_its_subject_and_one_of_ours_everywhere() {
        let id = |stream, subject, id| {
            let message = Message {
                stream,
                subject,
                id: Some(id),
                ..message(b"text")
            };
            auto(&message).0.id()
        };
        assert_eq!(id(None, "pve.a", "1"), id(None, "pve.a", "1"));
        assert_ne!(id(None, "pve.a", "1"), id(None, "pve.b", "1"));
        assert_ne!(id(None, "pve.a", "1"), id(Some("pve.a"), "pve.a", "1"));
        assert_eq!(id(Some("S"), "pve.a", "1"), id(Some("S"), "pve.b", "1"));
        for subject in ["pve.a", "pve.b"] {
            assert_eq!(id(None, subject, OURS).to_string(), OURS);
        }
    }

    #[test]
    fn an_id_or_time_of_another_kind_is_kept_aside() {
        let body = br#"{"event":{"id":"a-b-c"},"@timestamp":17,"message":"m"}"#;
        let (event, marked) = auto(&message(body));
        assert!(!marked);
        assert_eq!(event.id(), EventId([7, 7]));
        assert_eq!(event.timestamp(), Time(1_000_000_000));
        let json = event.to_json();
        assert_eq!(json["pve"]["extra"]["sender_event_id"], "a-b-c");
        assert_eq!(json["pve"]["extra"]["sender_timestamp"], 17);
    }

    #[test]
    fn what_is_no_object_is_text_and_broken_json_is_marked() {
        for (body, marked) in [
            (&b"plain"[..], false),
            (b"[1,2]", false),
            (b"", false),
            (b"\xff\xfe", true),
            (br#"{"a":"#, true),
            (br#"{"@timestamp""#, true),
        ] {
            let (event, was) = auto(&message(body));
            assert_eq!(was, marked, "{body:?}");
            assert_eq!(
                event.str(fields::MESSAGE),
                Some(&*String::from_utf8_lossy(body))
            );
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(auto(&message(deep.as_bytes())).1);
        let many: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":1")).collect();
        let began = std::time::Instant::now();
        assert!(auto(&message(format!("{{{}}}", many.join(",")).as_bytes())).1);
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }

    #[test]
    fn strict_json_gives_the_text_for_the_dead_letters() {
        let decoder = Decoder::new(MessageCodec::Json, None);
        for body in [&b"plain"[..], b"[1]", b"{"] {
            let Err(dead) = decoder.decode(&message(body), EventId::default) else {
                panic!("{body:?} is no JSON object");
            };
            assert_eq!(
                dead.event.str(fields::MESSAGE),
                std::str::from_utf8(body).ok()
            );
        }
        assert!(decoder.decode(&message(b"{}"), EventId::default).is_ok());
    }

    #[test]
    fn a_message_that_comes_again_says_so() {
        let again = Message {
            delivered: 3,
            ..message(b"x")
        };
        let delivered = auto(&again).0;
        let delivered = delivered.get(Field::new("nats.delivered")).unwrap();
        assert_eq!(delivered.as_int(), Some(3));
    }

    #[test]
    fn no_shape_of_json_is_a_panic_or_a_loss() {
        let names = [
            "event",
            "event.id",
            "id",
            "@timestamp",
            "message",
            "user",
            "user.name",
            "name",
            "tags",
            "host",
            "pve",
            "extra",
            "nats",
            "delivered",
            "error",
            "",
            ".",
            "a.b.c",
            "é",
            "\u{0}",
        ];
        fn value(random: &mut fastrand::Rng, names: &[&str], depth: u32) -> Json {
            match random.u8(..if depth == 0 { 6 } else { 8 }) {
                0 => Json::Null,
                1 => random.bool().into(),
                2 => random.i64(..).into(),
                3 => random.f64().into(),
                4 => names[random.usize(..names.len())].into(),
                5 => "2026-01-02T03:04:05Z".into(),
                6 => (0..random.usize(..3))
                    .map(|_| value(random, names, depth - 1))
                    .collect(),
                _ => Json::Object(
                    (0..random.usize(..5))
                        .map(|_| {
                            let name = names[random.usize(..names.len())].to_owned();
                            (name, value(random, names, depth - 1))
                        })
                        .collect(),
                ),
            }
        }
        let mut random = fastrand::Rng::with_seed(23);
        for _ in 0..20_000 {
            let body = value(&mut random, &names, 4).to_string();
            let body = if body.starts_with('{') {
                body
            } else {
                format!("{{\"event\":{body}}}")
            };
            let again = Message {
                delivered: 2,
                ..message(body.as_bytes())
            };
            let (event, _) = auto(&again);
            // What was taken in can be written again.
            let written = event.to_json();
            assert_eq!(written["event"]["id"], event.id().to_string(), "{body}");
        }
    }
}
