//! What nobody should send.

use pipeline::{Time, fields, testing};
use proptest::prelude::*;

use super::super::{Format, Outcome};
use super::{Json, PEER, at, parse, parse_with, parser};

/// Frames that are no messages, and a part of the reason that is told.
const REFUSED: &[(&str, &str)] = &[
    ("", "it is empty"),
    ("\0\0\0", "nothing but NUL"),
    ("\r\n", "nothing but NUL and line ends"),
    (
        "no priority",
        "it begins without a priority like <13> (byte 1)",
    ),
    ("Oct 11 22:14:15 pve1 su: text", "without a priority"),
    (
        "<192>Oct 11 22:14:15 pve1 su: text",
        "its priority is above 191",
    ),
    ("<999>1 - - - - - - text", "its priority is above 191"),
    ("<19000021>x", "no number of up to three digits"),
    ("<>x", "no number"),
    ("<abc>x", "no number"),
    ("<13", "no number"),
    ("<13>", "a priority and nothing else"),
    ("<13>\0\n", "a priority and nothing else"),
    (
        "<13>1 2026-02-30T00:00:00Z h a p m - text",
        "its timestamp cannot be read (byte 7)",
    ),
    (
        "<13>1 2026-01-02T00:00:00.1234567890Z h a p m - text",
        "timestamp",
    ),
    ("<13>1 - h a p", "in its process id"),
    ("<13>1 - h  p m - text", "in its application name (byte 11)"),
    ("<13>1 - h a p m text", "in its structured data"),
    ("<13>1 - h a p m [x", "in its structured data"),
    ("<13>1 - h a p m [x y]", "in its structured data"),
    ("<13>1 - h a p m [x y=\"z]", "in its structured data"),
    ("<13>1 - h a p m [=]", "in its structured data"),
    ("<13>1 - h a p m [x]text", "in its structured data"),
];

#[test]
fn what_cannot_be_read_keeps_its_text_and_says_why() {
    for (frame, why) in REFUSED {
        let event = parse(frame);
        assert_eq!(event["message"], *frame);
        assert_eq!(
            event["tags"],
            serde_json::json!(["parse_error"]),
            "{frame:?}"
        );
        let told = at(&event, "error.message").as_str().unwrap();
        assert!(told.contains(why), "{frame:?}: {told}");
        assert_eq!(at(&event, "log.syslog.priority"), 13, "{frame:?}");
        assert_eq!(at(&event, "host.name"), PEER, "{frame:?}");
    }
}

/// What a frame becomes, with what holds for every frame: nothing of it is lost, and the event can be written.
fn parse_any(frame: &[u8]) -> Json {
    let whole = String::from_utf8_lossy(frame).into_owned();
    let (event, outcome) = parse_with(&mut parser(Format::Auto), frame, "2026-01-02T00:00:00Z");
    let json = event.to_json();
    let message = json["message"].as_str().unwrap();
    match outcome {
        Outcome::Failed => assert_eq!(message, whole),
        Outcome::Parsed => {
            let trimmed = whole.trim_end_matches(['\0', '\r', '\n']);
            let is_json = trimmed.contains("{");
            let rewritten = whole.contains("#012");
            // The text is the end of the frame; what stands in front of it is in fields.
            assert!(
                trimmed.ends_with(message) || is_json || rewritten,
                "{whole:?}: {message:?}"
            );
        }
    }
    // A span that cut a character in two would be an empty text in the JSON.
    for (field, value) in event.iter() {
        if event.span(field).is_some_and(|span| span.len > 0) {
            assert_ne!(value.as_str(), Some(""), "{field} of {whole:?}");
        }
    }
    json
}

/// Frames as in the tables of these tests, to be damaged.
fn seeds() -> Vec<&'static str> {
    let tables = [super::forms::READ, super::json::READ, REFUSED];
    tables.concat().iter().map(|(frame, _)| *frame).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_become_an_event(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse_any(&frame);
    }

    #[test]
    fn any_text_behind_a_priority_becomes_an_event(text in "[ -~\\[\\]<>:\"=\\\\\u{0}\u{a}é\u{feff}]{0,80}", version in "(1 )?(- |2026-01-02T00:02:03Z |Jan  2 01:02:03 )?") {
        parse_any(format!("<13>{version}{text}").as_bytes());
    }

    #[test]
    fn a_damaged_message_becomes_an_event(seed in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..4) {
        let seeds = seeds();
        let mut frame = seed.get(&seeds).as_bytes().to_vec();
        let at = place.index(frame.len() + 1);
        match how {
            0 => frame.truncate(at),
            1 => frame.insert(at, byte),
            2 if at < frame.len() => { frame.remove(at); }
            _ if at < frame.len() => frame[at] = byte,
            _ => {}
        }
        parse_any(&frame);
    }

    #[test]
    fn what_is_written_by_the_rules_is_read_back(
        words in proptest::collection::vec("[!-~]{1,32}", 4),
        data in proptest::collection::vec(("[a-z@.]{1,8}", proptest::collection::vec(("[a-z]{1,6}", "[ -~é\n]{0,12}"), 0..4)), 0..3),
        text in "[ -~é]{0,40}",
    ) {
        prop_assume!(!text.contains("#012") && !text.trim_start().starts_with("@cee:"));
        let mut frame = format!("<165>1 2026-01-02T00:02:03.25+01:00 {} ", words.join(" "));
        let mut expected = serde_json::Map::new();
        for (n, (id, parameters)) in data.iter().enumerate() {
            frame.push_str(&format!("[{n}{id}"));
            let mut members = serde_json::Map::new();
            for (n, (key, value)) in parameters.iter().enumerate() {
                let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
                frame.push_str(&format!(" {n}{key}=\"{escaped}\""));
                members.insert(format!("{n}{key}"), value.as_str().into());
            }
            frame.push(']');
            expected.insert(format!("{n}{id}"), members.into());
        }
        if data.is_empty() {
            frame.push('-');
        }
        frame.push_str(&format!(" {text}"));
        let event = parse_any(frame.as_bytes());
        prop_assert_eq!(at(&event, "message"), text.as_str());
        for (name, word) in ["hostname", "appname", "procid", "msgid"].iter().zip(&words) {
            let got = &event["log"]["syslog"][name];
            prop_assert_eq!(got.as_str().unwrap_or("-"), word);
        }
        let got = at(&event, "log.syslog.structured_data");
        prop_assert_eq!(got.as_object().cloned().unwrap_or_default(), expected);
    }
}

#[test]
fn bytes_that_are_no_utf8_are_kept_beside_the_text() {
    let event = parse_any(b"<30>1 2026-01-02T00:02:03Z h a p - - j\xfcrgen");
    assert_eq!(event["message"], "j\u{fffd}rgen");
    assert!(at(&event, "pve.raw_b64").is_string());
    let event = parse_any(b"<30>Jan  2 01:02:03 h\xfc su: text");
    assert_eq!(event["message"], "h\u{fffd} su: text");
    assert_eq!(at(&event, "host.name"), PEER);
}

#[test]
fn too_much_structured_data_is_refused() {
    let frame =
        |elements: usize| format!("<13>1 - - - - - {} text", "[a b=\"c\"]".repeat(elements));
    assert_eq!(parse(&frame(512))["message"], "text");
    let event = parse(&frame(513));
    assert_eq!(event["message"], frame(513).as_str());
    let why = at(&event, "error.message").as_str().unwrap();
    assert!(
        why.contains("more than 1024 elements and parameters"),
        "{why}"
    );
}

#[test]
fn what_was_certain_before_a_mistake_is_kept() {
    let event = parse("<165>1 2026-01-02T00:02:03Z pve1 su 7 ID [x text");
    assert_eq!(at(&event, "log.syslog.priority"), 165);
    assert_eq!(at(&event, "host.name"), "pve1");
    assert_eq!(at(&event, "process.name"), "su");
    assert_eq!(at(&event, "process.pid"), 7);
    assert_eq!(event["@timestamp"], "2026-01-02T00:02:03.000Z");
    // Without a time the same words may be a sentence.
    let event = parse("<165>1 - one two three four five");
    assert_eq!(at(&event, "host.name"), PEER);
    assert!(at(&event, "process").is_null());
}

#[test]
fn a_reason_told_before_stays() {
    let mut event = testing::line_events("receiver", [&b"text"[..]]).remove(0);
    event.add_tag("partial");
    event.set(fields::ERROR_MESSAGE, "cut");
    let mut parser = parser(Format::Auto);
    let sender = parser.sender(None, None);
    assert_eq!(parser.parse(&mut event, &sender, Time(0)), Outcome::Failed);
    let json = event.to_json();
    assert_eq!(json["tags"], serde_json::json!(["partial", "parse_error"]));
    assert_eq!(
        json["error"]["message"],
        "cut; this is no syslog message: it begins without a priority like <13> (byte 1)"
    );
    assert_eq!(json["host"]["name"], "receiver");
}

#[test]
fn a_text_without_a_buffer_is_read_too() {
    let mut event =
        testing::events([serde_json::json!({"message": "<30>Jan  2 01:02:03 h su[7]: text"})])
            .remove(0);
    let mut parser = parser(Format::Auto);
    let sender = parser.sender(None, None);
    let now = Time::parse("2026-01-02T00:00:00Z").unwrap();
    assert_eq!(parser.parse(&mut event, &sender, now), Outcome::Parsed);
    assert_eq!(event.to_json()["message"], "text");
    assert_eq!(event.to_json()["process"]["pid"], 7);
}

#[test]
fn names_from_the_network_are_not_interned() {
    let event = parse(r#"<13>1 - - - - - [stranger@1 odd="x"] text"#);
    assert_eq!(at(&event, "log.syslog.structured_data.stranger@1.odd"), "x");
    parse(r#"{"stranger@2":{"odd":1}}"#);
    for path in [
        "log.syslog.structured_data.stranger@1",
        "pve.extra.stranger@2",
        "stranger@2",
    ] {
        assert_eq!(pipeline::Field::find(path), None);
    }
}
