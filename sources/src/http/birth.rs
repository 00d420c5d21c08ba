//! From a JSON object to an event: those of another pvetrail as they are, PVE's notifications in our fields, all others
//! with an id and a time of their own.

use pipeline::clock::SECOND;
use pipeline::{Event, EventId, Field, Time, Value, fields};
use serde_json::{Map, Value as Json};

/// What is the same for all events of one request.
pub(super) struct Request<'a> {
    /// When it came.
    pub(super) now: Time,
    /// Where from, an address with its port.
    pub(super) peer: Option<&'a str>,
    /// What the ids of events are made of that bring none.
    pub(super) ids: Ids,
}

/// Ids for events that bring none.
pub(super) enum Ids {
    /// The sender names its request, so the same request again is the same events: 16 bytes over its name and its body.
    Named([u8; 16]),
    /// Nothing comes a second time: the receiver's run, and the next of its numbers.
    Run(u64, u64),
}

impl Ids {
    fn id(&self, n: u64) -> EventId {
        match self {
            Ids::Named(name) => {
                EventId::of_parts(&[b"pve-audit/1", b"http", name, &n.to_le_bytes()])
            }
            Ids::Run(run, first) => EventId([*run, first.wrapping_add(n)]),
        }
    }
}

/// Fields that are not among the engine's own.
#[derive(Clone)]
pub(super) struct Names {
    severity: Field,
    kind: Field,
    text: Field,
    job: Field,
    rest: Field,
}

impl Names {
    pub(super) fn new() -> Names {
        let field = |name: &str| Field::new(&format!("pve.notification.{name}"));
        Names {
            severity: field("severity"),
            kind: field("type"),
            text: field("message"),
            job: field("job_id"),
            rest: field("fields"),
        }
    }
}

impl Request<'_> {
    /// The event of the object at place `n`.
    pub(super) fn event(
        &self,
        names: &Names,
        n: u64,
        mut object: Map<String, Json>,
    ) -> Result<Event, String> {
        if let Some(mut event) = notification(names, &object, self.ids.id(n), self.now) {
            self.sent_by(&mut event);
            return Ok(event);
        }
        let id = lift(&mut object, "event", "id");
        let own = id.as_ref().and_then(Json::as_str).and_then(EventId::parse);
        let time = object.remove("@timestamp");
        let at = time.as_ref().and_then(Json::as_str).and_then(Time::parse);
        let mut aside = Vec::new();
        set_aside(&mut object, "", &mut aside);
        let given = own.unwrap_or_else(|| self.ids.id(n));
        object.insert(fields::EVENT_ID.path().to_owned(), given.to_string().into());
        let mut event = Event::from_json(Json::Object(object))?;
        event.set_timestamp(at.unwrap_or(self.now));
        // What is no id or no time of ours is somebody's all the same.
        let foreign_id = id.filter(|_| own.is_none());
        let foreign_time = time.filter(|_| at.is_none());
        if let Some(foreign) = &foreign_time {
            let why = format!("@timestamp is no RFC 3339 time: {foreign}");
            event.add_tag("parse_error");
            event.set_str(fields::ERROR_MESSAGE, &why);
        }
        aside.extend(foreign_id.map(|id| ("event.id".to_owned(), id)));
        aside.extend(foreign_time.map(|time| ("@timestamp".to_owned(), time)));
        for (name, value) in aside {
            event.set_dynamic(fields::PVE_EXTRA, &name, Value::from_json(value));
        }
        if own.is_none() {
            self.sent_by(&mut event);
        }
        Ok(event)
    }

    /// Says who sent it, unless it says so itself.
    fn sent_by(&self, event: &mut Event) {
        if let Some(peer) = self.peer
            && !event.has(fields::LOG_SOURCE_ADDRESS)
        {
            event.set_str(fields::LOG_SOURCE_ADDRESS, peer);
        }
    }
}

/// Takes `{"event": {"id": …}}` or `{"event.id": …}` out.
fn lift(object: &mut Map<String, Json>, parent: &str, name: &str) -> Option<Json> {
    if let Some(Json::Object(below)) = object.get_mut(parent)
        && let Some(found) = below.remove(name)
    {
        if below.is_empty() {
            object.remove(parent);
        }
        return Some(found);
    }
    object.remove(&format!("{parent}.{name}"))
}

/// Takes out what stands where fields of ours lie below (`"host": "pve1"` beside `host.name`): one of the two would push
/// out the other.
fn set_aside(members: &mut Map<String, Json>, above: &str, aside: &mut Vec<(String, Json)>) {
    let mut misplaced = Vec::new();
    for (name, value) in members.iter_mut() {
        let path = if above.is_empty() {
            name.clone()
        } else {
            format!("{above}.{name}")
        };
        match value {
            Json::Object(below) if !below.is_empty() && Field::known_below(&path) => {
                set_aside(below, &path, aside);
            }
            Json::Object(below) if !below.is_empty() => {}
            _ if Field::known_below(&path) || path == fields::PVE_EXTRA.path() => {
                misplaced.push((name.clone(), path));
            }
            _ => {}
        }
    }
    for (name, path) in misplaced {
        aside.extend(members.remove(&name).map(|value| (path, value)));
    }
}

/// PVE's notification, as the documented template of a webhook target sends it:
/// `{"title", "message", "severity", "timestamp", "fields": {"type", "hostname", "job-id", …}}`.
fn notification(
    names: &Names,
    object: &Map<String, Json>,
    id: EventId,
    now: Time,
) -> Option<Event> {
    const KEYS: [&str; 5] = ["title", "message", "severity", "timestamp", "fields"];
    let text = |key: &str| object.get(key).and_then(Json::as_str);
    let (title, severity) = (text("title")?, text("severity")?);
    let level: i64 = match severity {
        "info" => 1,
        "notice" => 3,
        "warning" => 5,
        "error" => 8,
        "unknown" => 3,
        _ => return None,
    };
    if !object.keys().all(|key| KEYS.contains(&key.as_str())) {
        return None;
    }
    let about = match object.get("fields") {
        None | Some(Json::Null) => None,
        Some(Json::Object(about)) => Some(about),
        Some(_) => return None,
    };
    // Seconds since 1970; a template may put quotes around them.
    let seconds = match object.get("timestamp") {
        Some(Json::Number(number)) => number.as_i64(),
        Some(Json::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let at = seconds
        .filter(|seconds| seconds.checked_mul(SECOND).is_some())
        .map_or(now, Time::from_secs);
    let mut event = Event::new(id, at);
    event.set_str(fields::MESSAGE, title);
    event.set_str(fields::EVENT_KIND, "event");
    event.set(fields::EVENT_SEVERITY, level);
    if severity == "error" {
        event.set_str(fields::EVENT_OUTCOME, "failure");
    }
    event.set_str(names.severity, severity);
    if let Some(text) = text("message").filter(|text| !text.is_empty()) {
        event.set_str(names.text, text);
    }
    for (key, value) in about.into_iter().flatten() {
        match (key.as_str(), value) {
            ("type", Json::String(kind)) => {
                event.set_str(names.kind, kind);
                event.set_str(fields::EVENT_ACTION, kind);
            }
            ("hostname", Json::String(host)) => event.set_str(fields::HOST_NAME, host),
            ("job-id", Json::String(job)) => event.set_str(names.job, job),
            (key, value) => event.set_dynamic(names.rest, key, Value::from_json(value.clone())),
        }
    }
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: Time = Time(1_773_529_200 * SECOND);

    fn born(json: Json, ids: Ids) -> Json {
        let request = Request {
            now: NOW,
            peer: Some("192.0.2.7:4711"),
            ids,
        };
        let Json::Object(object) = json else { panic!() };
        request.event(&Names::new(), 3, object).unwrap().to_json()
    }

    #[test]
    fn an_event_of_another_pvetrail_stays_as_it_is() {
        for json in [
            json!({"@timestamp": "2026-03-14T22:58:03.412Z", "event": {"id": "00112233445566778899aabbccddeeff", "code": "PVE-2002", "no_such": {"deep": [1, {"a": null}]}}, "message": "x", "pve": {"unheard": {"of": 7}}, "unknown": {"a.b": 1.5}}),
            json!({"@timestamp": "2026-03-14T22:58:03.412Z", "event": {"id": "00112233445566778899aabbccddeeff"}}),
        ] {
            let out = born(json.clone(), Ids::Run(1, 2));
            let (mut out, mut json) = (out, json);
            // Names never heard of stand together, wherever they stood.
            if let Some(extra) = out
                .get_mut("pve")
                .and_then(|pve| pve.as_object_mut()?.remove("extra"))
            {
                assert_eq!(extra, json!({"unknown": {"a.b": 1.5}}));
                json.as_object_mut().unwrap().remove("unknown");
            }
            assert_eq!(out, json);
        }
    }

    #[test]
    fn others_get_an_id_of_this_run_and_keep_what_they_said() {
        let json = json!({"@timestamp": "yesterday", "event": {"id": "0fe1", "code": "X"}, "message": "m", "event.action": "y"});
        let out = born(json, Ids::Run(0xab, 5));
        assert_eq!(out["event"]["id"], "00000000000000ab0000000000000008");
        assert_eq!(out["@timestamp"], NOW.to_string());
        assert_eq!(
            (&out["event"]["code"], &out["event"]["action"]),
            (&json!("X"), &json!("y"))
        );
        assert_eq!(
            out["pve"]["extra"],
            json!({"event.id": "0fe1", "@timestamp": "yesterday"})
        );
        assert_eq!(out["tags"], json!(["parse_error"]));
        assert_eq!(out["log"]["source"]["address"], "192.0.2.7:4711");
        let out = born(json!({"event": "login", "n": 1}), Ids::Run(1, 0));
        assert_eq!(out["pve"]["extra"]["event"], "login");
    }

    #[test]
    fn a_request_with_a_name_gives_the_same_ids_again() {
        let one = |name: &[u8; 16]| born(json!({"a": 1}), Ids::Named(*name))["event"]["id"].clone();
        assert_eq!(one(&[1; 16]), one(&[1; 16]));
        assert_ne!(one(&[1; 16]), one(&[2; 16]));
    }

    #[test]
    fn a_notification_of_pve_becomes_fields() {
        let json = json!({"title": "vzdump backup status (pve1): backup failed", "message": "Details\n=======\n…", "severity": "error", "timestamp": 1_773_529_000,
            "fields": {"type": "vzdump", "hostname": "pve1", "job-id": "backup-1", "own": "x"}});
        let out = born(json.clone(), Ids::Run(1, 0));
        assert_eq!(out["message"], json["title"]);
        assert_eq!(out["@timestamp"], "2026-03-14T22:56:40.000Z");
        assert_eq!(out["host"]["name"], "pve1");
        assert_eq!(out["event"]["severity"], 8);
        assert_eq!(
            (&out["event"]["outcome"], &out["event"]["action"]),
            (&json!("failure"), &json!("vzdump"))
        );
        assert_eq!(
            out["pve"]["notification"],
            json!({"severity": "error", "message": json["message"], "type": "vzdump", "job_id": "backup-1", "fields": {"own": "x"}})
        );
        // Whoever has other members is no notification of PVE.
        let other = born(
            json!({"title": "t", "message": "m", "severity": "error", "user": "x"}),
            Ids::Run(1, 0),
        );
        assert_eq!(other["message"], "m");
        let odd = born(
            json!({"title": "t", "severity": "info", "timestamp": i64::MAX}),
            Ids::Run(1, 0),
        );
        assert_eq!(odd["@timestamp"], NOW.to_string());
    }

    /// Every text and number below a value.
    fn leaves(json: &Json, out: &mut Vec<String>) {
        match json {
            Json::Array(list) => list.iter().for_each(|one| leaves(one, out)),
            Json::Object(members) => members.values().for_each(|one| leaves(one, out)),
            Json::String(text) => out.push(text.clone()),
            Json::Number(number) => out.push(number.to_string()),
            Json::Bool(_) | Json::Null => {}
        }
    }

    fn anything() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            "\\PC{0,12}".prop_map(Json::from),
        ];
        let name = prop_oneof![
            Just("message"),
            Just("event"),
            Just("id"),
            Just("code"),
            Just("host"),
            Just("name"),
            Just("source"),
            Just("ip"),
            Just("a.b"),
            Just("@timestamp"),
            Just("tags"),
            Just("pve"),
            Just("user"),
            Just("log"),
            Just("title"),
            Just("severity"),
            Just(""),
            Just("."),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::vec((name.clone(), inner), 0..6).prop_map(|members| members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<Map<_, _>>()
                    .into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_an_object_says_is_in_its_event(json in anything()) {
            let json = json!({ "message": 0, "pve": 1, "host": [json.clone()], "all": json });
            let json = if json["all"].is_object() { json["all"].clone() } else { json };
            let (mut said, mut kept) = (Vec::new(), Vec::new());
            leaves(&json, &mut said);
            let out = born(json.clone(), Ids::Run(1, 0));
            leaves(&out, &mut kept);
            for leaf in said {
                prop_assert!(kept.contains(&leaf), "{leaf:?} of {json} is not in {out}");
            }
        }
    }
}
