//! Cases of public syslog suites, as data beside the repository.

use std::path::PathBuf;

use pipeline::{Event, fields};

use super::super::super::frame::Framer;
use super::super::Format;
use super::{Json, at, parse_with, parser};
use crate::file::page::Page;
use crate::file::page::testing::Sheet;

const BOM: &str = "the suite keeps U+FEFF at the start of a text; RFC 5424 says that it marks the encoding, and here it is taken off";
const BACKSLASH: &str =
    "a backslash in front of any other character is one itself (RFC 5424, 6.3.3)";
const BRACKET: &str =
    "a bare `]` inside quotes can mean nothing else, and its sender's message is read";
const TWICE: &str = "an element that comes twice becomes a list, so that neither is lost";
const LONG: &str = "a name longer than RFC 5424 allows is taken as it is and told of";
const PRECISE: &str = "nanoseconds are read; RFC 5424 stops at microseconds";

/// Cases whose expected result is not ours, by id, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("s0009", PRECISE),
    ("s0143", BOM),
    ("s0145", BOM),
    ("s0146", BOM),
    ("s0147", BOM),
    ("s0148", BOM),
    ("s0152", BOM),
    ("s0154", BOM),
    ("s0155", BOM),
    ("s0156", BOM),
    ("s0157", BOM),
    ("s0162", BACKSLASH),
    ("s0163", BOM),
    ("s0168", BRACKET),
    ("s0169", BRACKET),
    ("s0179", TWICE),
    ("s0208", LONG),
    ("s0209", LONG),
    ("s0226", LONG),
];

fn cases() -> Option<Vec<Json>> {
    let folder = std::env::var_os("PVETRAIL_CONFORMANCE")
        .map(PathBuf::from)
        .or_else(|| {
            let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            ["../../shared/conformance", "../../../shared/conformance"]
                .iter()
                .map(|p| root.join(p))
                .find(|p| p.is_dir())
        })?;
    let text = std::fs::read_to_string(folder.join("syslog.jsonl")).ok()?;
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn bytes(base64: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits = base64.trim_end_matches('=').as_bytes();
    let mut out = Vec::new();
    for chunk in digits.chunks(4) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 6 | u32::from(digit(*byte)));
        let word = word << (6 * (4 - chunk.len()));
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    out
}

/// The whole frame is in the event, and the event says that it could not be read or decoded; or it was read as a text without
/// a header, and all of it is there.
fn keeps_all(event: &Event, frame: &[u8]) -> bool {
    let json = event.to_json();
    let failed = json["tags"]
        .as_array()
        .is_some_and(|tags| tags.contains(&"parse_error".into()));
    let whole = json["message"].as_str() == std::str::from_utf8(frame).ok();
    let raw = json["pve"]["raw_b64"].as_str().map(bytes);
    let text = json["message"].as_str().unwrap_or_default();
    let priority = &json["log"]["syslog"]["priority"];
    let plain = !event.has(fields::PROCESS_NAME)
        && !event.has(fields::SYSLOG_HOSTNAME)
        && format!("<{priority}>{text}").as_bytes() == frame;
    plain || (failed && whole && event.has(fields::ERROR_MESSAGE)) || raw.as_deref() == Some(frame)
}

/// What differs from what the case expects.
fn differs(case: &Json, format: Format, frame: &[u8]) -> Vec<String> {
    let (event, _) = parse_with(&mut parser(format), frame, "2026-01-02T00:00:00Z");
    let expected = case["expected"].as_object().unwrap();
    let json = event.to_json();
    let mut told = Vec::new();
    for (name, value) in expected {
        let path = match name.as_str() {
            "must_keep_raw" => {
                if !keeps_all(&event, frame) {
                    told.push(format!("not all of it is kept: {json}"));
                }
                continue;
            }
            "strict_parser_error" => continue,
            "timestamp" | "timestamp_local" | "timestamp_note" => {
                let Some(text) = value.as_str() else { continue };
                let read = if name == "timestamp" {
                    pipeline::Time::parse(text).unwrap() == event.timestamp()
                } else {
                    // The suite's year is 0 and its zone often that of the test; month, day and time of day must be ours.
                    json["@timestamp"] != "2026-03-14T23:00:00.000Z"
                };
                if !read {
                    told.push(format!("{name} {text}: {}", json["@timestamp"]));
                }
                continue;
            }
            "facility" => "log.syslog.facility.code",
            "severity" => "log.syslog.severity.code",
            "message" => "message",
            name => &format!("log.syslog.{name}"),
        };
        let got = at(&json, path);
        let same = match (name.as_str(), got, value) {
            (_, got, value) if got == value => true,
            ("version", Json::String(got), Json::Number(value)) => *got == value.to_string(),
            // Nothing and an empty text are the same to the suite.
            ("message", Json::String(got), Json::Null) => got.is_empty(),
            ("structured_data", got, Json::Object(value)) => got.is_null() && value.is_empty(),
            _ => false,
        };
        if !same {
            told.push(format!("{name}: expected {value}, got {got}"));
        }
    }
    told
}

/// What a stream's frames differ in from what the case expects.
fn frames_differ(case: &Json, stream: &[u8]) -> Vec<String> {
    let mut framer = Framer::new(1024);
    let (mut sheet, mut number) = (Sheet::default(), 0);
    let from = framer.begin(&mut sheet);
    sheet.append(stream);
    framer.split(&mut sheet, from, &mut number, true);
    let got = serde_json::json!(sheet.texts());
    if got == case["expected"]["frames"] {
        Vec::new()
    } else {
        vec![format!(
            "expected {}, got {got}",
            case["expected"]["frames"]
        )]
    }
}

/// What a case is about differs in from what it expects.
fn told_by(case: &Json) -> Vec<String> {
    let input = bytes(case["input_b64"].as_str().unwrap());
    let format = match case["kind"].as_str().unwrap() {
        "framing" => return frames_differ(case, &input),
        "rfc3164" | "odd" => Format::Rfc3164,
        _ => Format::Rfc5424,
    };
    let mut told = differs(case, format, &input);
    // What only a strict parser of one format refuses may be read as another; what is expected to be read is read.
    if case["expected"]["must_keep_raw"].is_null() {
        told.extend(differs(case, Format::Auto, &input));
    }
    told
}

/// Tells `tests/all`, which shows it in its table.
fn skipped() {
    use std::io::Write as _;
    let why = "conformance: syslog: the public suites are not beside the repository (PVETRAIL_CONFORMANCE names their folder)";
    eprintln!("SKIPPED: {why}");
    if let Some(skips) = std::env::var_os("PVETRAIL_SKIPS") {
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(skips)
            .unwrap();
        writeln!(file, "{why}").unwrap();
    }
}

#[test]
fn public_suites_agree() {
    let Some(cases) = cases() else {
        skipped();
        return;
    };
    let mut failed = Vec::new();
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let excepted = EXCEPTIONS.iter().any(|(known, _)| *known == id);
        let mut told = told_by(case);
        if told.is_empty() == excepted {
            told.push("agrees by now".to_owned());
            told.truncate(2);
            failed.push(format!("{id} {}: {}", case["input"], told.join("; ")));
        }
    }
    eprintln!("{} cases, {} exceptions", cases.len(), EXCEPTIONS.len());
    assert!(
        failed.is_empty(),
        "{} differ:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
