//! Tests of the parser.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod conformance;
mod forms;
mod hostile;
mod json;

use std::collections::BTreeMap;

use pipeline::testing::Json;
use pipeline::{Event, Time, fields, testing};

use super::{Format, Outcome, ParseOptions, Parser};

/// The address that all test messages come from.
const PEER: &str = "192.0.2.99";

/// A parser whose senders write times of Berlin.
fn parser(format: Format) -> Parser {
    Parser::new(&ParseOptions::new(format, "Europe/Berlin", &BTreeMap::new()).unwrap())
}

/// The event of one frame.
fn parse_with(parser: &mut Parser, frame: &[u8], now: &str) -> (Event, Outcome) {
    let mut event = testing::line_events("receiver", [frame]).remove(0);
    let sender = parser.sender(PEER.parse().ok(), Some(PEER));
    let outcome = parser.parse(&mut event, &sender, Time::parse(now).unwrap());
    let failed = event.has(fields::ERROR_MESSAGE);
    assert_eq!(outcome == Outcome::Failed, failed, "{event:?}");
    (event, outcome)
}

/// What a frame becomes that comes on 2 January 2026.
fn parse(frame: &str) -> Json {
    parse_as(Format::Auto, frame)
}

fn parse_as(format: Format, frame: &str) -> Json {
    let (event, _) = parse_with(
        &mut parser(format),
        frame.as_bytes(),
        "2026-01-02T00:00:00Z",
    );
    event.to_json()
}

/// `path` in an event, `null` where it is not.
fn at<'a>(event: &'a Json, path: &str) -> &'a Json {
    path.split('.').fold(event, |json, name| &json[name])
}

/// Looks at an event in one line: time, host, application, process, message.
fn brief(event: &Json) -> String {
    let text = |path| at(event, path).as_str().unwrap_or("-").to_owned();
    let time = text("@timestamp");
    let time = if time == "2026-03-14T23:00:00.000Z" {
        "-".to_owned()
    } else {
        time
    };
    format!(
        "{time} {} {} {} |{}",
        text("host.name"),
        text("process.name"),
        text("log.syslog.procid"),
        text("message")
    )
}
