//! What patterns set on events.

use std::collections::BTreeMap;

use pipeline::component::Kind;
use pipeline::{Context, Event, EventId, Time, TransformConfig, fields};
use serde_json::{Value, json};

use crate::grok::fields::{Reader, Why};
use crate::grok::{Config, Ready};

fn ready(toml: Value) -> std::sync::Arc<Ready> {
    let config: Config = serde_json::from_value(toml).unwrap();
    std::sync::Arc::new(config.compile().unwrap_or_else(|errors| panic!("{errors}")))
}

fn event(text: &str) -> Event {
    let mut event = Event::new(EventId([1, 2]), Time(0));
    event.set_buffer(pipeline::Buffer::new(text.to_owned()));
    event.set_span(
        fields::MESSAGE,
        pipeline::Span {
            at: 0,
            len: text.len() as u32,
        },
    );
    event
}

/// Fields set beside `message`, flat, and what went wrong; once from a line of a buffer, once from a text of its own.
fn read(config: Value, text: &str) -> (BTreeMap<String, Value>, Result<(), Why>) {
    let ready = ready(config);
    let run = |mut event: Event| {
        let mut reader = Reader::new(ready.clone());
        let result = reader.read(&mut event, Time(0));
        let mut all: BTreeMap<String, Value> = event
            .iter()
            .filter(|(field, value)| *field != fields::MESSAGE || value.as_str() != Some(text))
            .map(|(field, value)| (field.path().to_owned(), value.to_json()))
            .collect();
        if event.timestamp() != Time(0) {
            all.insert(
                "@timestamp".to_owned(),
                Value::from(event.timestamp().to_string()),
            );
        }
        (all, result)
    };
    let of_buffer = run(event(text));
    let mut own = Event::new(EventId([1, 2]), Time(0));
    own.set_str(fields::MESSAGE, text);
    assert_eq!(
        run(own),
        of_buffer,
        "a text of the event's own gives the same"
    );
    of_buffer
}

pub(super) fn set(config: Value, text: &str) -> Value {
    let (all, result) = read(config, text);
    assert_eq!(result, Ok(()));
    serde_json::to_value(all).unwrap()
}

#[test]
fn an_access_line_becomes_ecs_fields_and_its_own_time() {
    let config = || json!({ "patterns": ["%{PVEPROXY_ACCESS}"] });
    let line = r#"::ffff:192.0.2.11 - alice@pve!automation [05/01/2026:09:16:17 +0100] "DELETE /api2/json/nodes/pve1/qemu/104?purge=1 HTTP/1.1" 200 83"#;
    assert_eq!(
        set(config(), line),
        json!({
            "@timestamp": "2026-01-05T08:16:17.000Z", "source.ip": "::ffff:192.0.2.11", "user.id": "alice@pve!automation",
            "http.request.method": "DELETE", "url.original": "/api2/json/nodes/pve1/qemu/104?purge=1",
            "url.path": "/api2/json/nodes/pve1/qemu/104", "url.query": "purge=1", "http.version": "1.1",
            "http.response.status_code": 200, "http.response.body.bytes": 83
        })
    );
    // A refused connection: nobody, nothing asked, no length.
    let line = r#"2001:db8::9 - - [26/01/2026:09:20:05 +0100] "-" 403 -"#;
    assert_eq!(
        set(config(), line),
        json!({ "@timestamp": "2026-01-26T08:20:05.000Z", "source.ip": "2001:db8::9", "http.response.status_code": 403 })
    );
    // Quotes and words before the method are the client's to send; the server looks for the request anywhere.
    let line = r#"203.0.113.9 - - [26/01/2026:09:20:05 +0100] "x" 200 1 GET /a"b HTTP/1.1" 400 11"#;
    let got = set(config(), line);
    assert_eq!(got["http.request.method"], "GET");
    assert_eq!(got["url.path"], "/a\"b");
    assert_eq!(got["http.response.status_code"], 400);
    let line = "203.0.113.9 - - [26/01/2026:09:20:05 +0100] \"\u{1b}garbage\" 400 11";
    assert_eq!(set(config(), line)["http.request.line"], "\u{1b}garbage");
    // A guest console through a link-local address, a user with a space.
    let line = r#"fe80::1%vmbr0 - a b@pve [26/01/2026:09:20:05 +0100] "CONNECT pvespiceproxy:1:100:pve1::0f HTTP/1.1" 200 -"#;
    let got = set(config(), line);
    assert_eq!(
        (got["source.ip"].as_str(), got["user.id"].as_str()),
        (Some("fe80::1%vmbr0"), Some("a b@pve"))
    );
}

#[test]
fn fields_are_set_as_logstash_sets_them() {
    let line = "7 x  7.5 y";
    let patterns =
        json!(["^%{INT:n:int} %{WORD:w} (?<empty>)%{SPACE} %{NUMBER:f:float} %{WORD:w}$"]);
    assert_eq!(
        set(json!({ "patterns": patterns }), line),
        json!({ "n": 7, "w": ["x", "y"], "f": 7.5 })
    );
    assert_eq!(
        set(
            json!({ "patterns": patterns, "keep_empty_captures": true }),
            line
        ),
        json!({ "n": 7, "w": ["x", "y"], "f": 7.5, "empty": "" })
    );
    let own = json!({ "patterns": ["%{TENANT:[a][b]}"], "pattern_definitions": { "TENANT": "[a-z]{3}\\d+" } });
    assert_eq!(set(own, "-abc12-"), json!({ "a.b": "abc12" }));
    let all = json!({ "patterns": ["%{WORD}"], "named_captures_only": false });
    assert_eq!(set(all, "-abc12-"), json!({ "WORD": "abc12" }));
    let message = json!({ "patterns": ["^<%{INT:n:int}>%{GREEDYDATA:message}"] });
    assert_eq!(
        set(message, "<3>text"),
        json!({ "n": 3, "message": ["<3>text", "text"] })
    );
    let message =
        json!({ "patterns": ["^<%{INT:n:int}>%{GREEDYDATA:message}"], "overwrite": ["message"] });
    assert_eq!(
        set(message, "<3>text"),
        json!({ "n": 3, "message": "text" })
    );
}

#[test]
fn the_first_pattern_wins_unless_all_are_wanted() {
    let patterns = json!(["%{INT:a:int}", "%{WORD:b}"]);
    assert_eq!(
        set(json!({ "patterns": patterns }), "5 x"),
        json!({ "a": 5 })
    );
    assert_eq!(
        set(json!({ "patterns": patterns }), "x"),
        json!({ "b": "x" })
    );
    assert_eq!(
        set(
            json!({ "patterns": patterns, "break_on_match": false }),
            "5 x"
        ),
        json!({ "a": 5, "b": "5" })
    );
    let (all, result) = read(json!({ "patterns": ["^%{INT:a}$"] }), "x");
    assert_eq!((all.len(), result), (0, Err(Why::NoMatch(fields::MESSAGE))));
}

#[test]
fn a_capture_becomes_the_time_or_stays_with_an_error() {
    let config = || {
        json!({
            "patterns": ["%{HTTPDATE:when} %{WORD:w}"],
            "timestamp": { "field": "when", "format": "%d/%b/%Y:%H:%M:%S %z" }
        })
    };
    assert_eq!(
        set(config(), "26/Jan/2026:09:30:14 +0100 x"),
        json!({ "@timestamp": "2026-01-26T08:30:14.000Z", "w": "x" })
    );
    let (all, result) = read(config(), "31/Feb/2026:09:30:14 +0100 x");
    assert_eq!(
        result,
        Err(Why::Time("31/Feb/2026:09:30:14 +0100".to_owned()))
    );
    assert_eq!(all["when"], "31/Feb/2026:09:30:14 +0100");
}

#[test]
fn an_event_without_the_text_says_so() {
    let mut reader = Reader::new(ready(
        json!({ "patterns": ["%{WORD:w}"], "field": "other" }),
    ));
    let result = reader.read(&mut event("x"), Time(0));
    assert_eq!(
        result.unwrap_err().to_string(),
        "there is no text in `other`"
    );
}

#[test]
fn every_mistake_is_told_at_its_place() {
    let config = json!({
        "patterns": ["%{IPV5:x}", "a(b", "%{TENANT}", "%{WORD:w}"],
        "pattern_definitions": { "TENANT": "x%{NOPE}", "LOOP": "%{LOOP}" },
        "patterns_dir": ["/nowhere/at/all"],
        "timestamp": { "field": "when", "format": "yyyy", "zone": "Mars/Olympus" }
    });
    let config: Config = serde_json::from_value(config).unwrap();
    let errors = config
        .build(&Context::for_tests(Kind::Transform, "grok"))
        .err()
        .unwrap();
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let has = |text: &str| {
        assert!(
            all.iter().any(|line| line.contains(text)),
            "{text} in {all:#?}"
        )
    };
    has("no pattern is called `IPV5` (at byte 2); did you mean `IPV4`?");
    has("a group that is never closed (at byte 1)");
    has("no pattern is called `NOPE` (at byte 3)");
    has("`LOOP` contains itself: LOOP → LOOP");
    has("/nowhere/at/all");
    has("this is no format of a time");
    has("no time zone is called");
    assert_eq!(all.len(), 7, "{all:#?}");
}

#[test]
fn the_example_builds() {
    let config: toml_value::Table = toml_value::parse(Config::EXAMPLE);
    assert!(ready(config).grok.patterns().len() == 2);
}

/// `EXAMPLE` is TOML; the crate itself has no parser for it, and two literal keys need none.
mod toml_value {
    pub(super) type Table = serde_json::Value;

    pub(super) fn parse(example: &str) -> Table {
        let literals: Vec<&str> = example.split('\'').skip(1).step_by(2).collect();
        serde_json::json!({ "patterns": literals[..2], "pattern_definitions": { "TENANT": literals[2] } })
    }
}
