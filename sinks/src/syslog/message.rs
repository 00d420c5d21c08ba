//! One event as one RFC 5424 message: `<110>1 2026-03-14T22:58:03.412Z pve1 pvetrail 4711 PVE-2002 [origin …] CEF:0|…`.
//!
//! A message that would be longer than the receiver takes loses, in this order, the raw line, the values of changes,
//! the parameters of the request, and the tail of its text, and says `pve.truncated`. It is never split.

use std::io::Write as _;

use pipeline::catalogue::UNCLASSIFIED;
use pipeline::{Encoding, Event, Field, ValueRef, fields};

use crate::encode::cef::Cef;
use crate::encode::trim::{Trim, Trimmer};
use crate::encode::{LineEncoder, Reader};

/// A structured data element: its SD-ID, and the parameters with the fields they are taken from.
pub(super) type Element = (String, Vec<(String, Field)>);

/// Longest HOSTNAME, APP-NAME, PROCID, MSGID [characters] (RFC 5424, 6).
const HOSTNAME: usize = 255;
const APP_NAME: usize = 48;
const MSGID: usize = 32;
/// A text is cut as near as this to where it would just fit [bytes].
const NEAR: usize = 16;

/// Writes messages. One per worker.
pub(super) struct Messages {
    facility: u8,
    app_name: String,
    elements: Vec<Element>,
    body: Body,
    trimmer: Trimmer,
    /// Longest message [bytes].
    longest: usize,
    code: Field,
    severity: Field,
    syslog_severity: Field,
}

/// What stands behind the header.
enum Body {
    Cef(Cef),
    Line(LineEncoder),
}

/// A message that does not fit, however much is left out of it: its length [bytes].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) usize);

impl Messages {
    pub(super) fn new(
        facility: u8,
        app_name: &str,
        elements: Vec<Element>,
        encoding: &Encoding,
        longest: usize,
    ) -> Messages {
        let body = match encoding.codec {
            pipeline::Codec::Cef => Body::Cef(Cef::new()),
            _ => Body::Line(LineEncoder::new(encoding, Reader::default())),
        };
        Messages {
            facility,
            app_name: app_name.to_owned(),
            elements,
            body,
            trimmer: Trimmer::new(),
            longest,
            code: Field::new("event.code"),
            severity: Field::new("event.severity"),
            syslog_severity: Field::new("log.syslog.severity.code"),
        }
    }

    /// Appends the message to `out`; nothing is appended if it does not fit.
    pub(super) fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let start = out.len();
        for trim in Trim::STEPS {
            let spared;
            let event = if trim == Trim::Nothing {
                event
            } else {
                spared = self.trimmer.apply(event, trim);
                &spared
            };
            out.truncate(start);
            self.whole(event, trim, out);
            if out.len() - start <= self.longest {
                return Ok(());
            }
        }
        self.cut(event, start, out)
    }

    /// Cuts the text itself, which is all that is left to cut: as little as it can, whatever escaping makes of it.
    fn cut(&mut self, event: &Event, start: usize, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut event = self.trimmer.apply(event, Trim::Params);
        let text = event.str(fields::MESSAGE).unwrap_or_default().to_owned();
        event.set(Field::new("pve.original_bytes"), text.len() as u64);
        let longest = self.longest;
        let mut write = |keep: usize, out: &mut Vec<u8>| {
            event.set(fields::MESSAGE, format!("{}…", &text[..keep]));
            out.truncate(start);
            self.whole(&event, Trim::Params, out);
            (out.len() - start, out.len() - start <= longest)
        };
        let (length, fits) = write(0, out);
        if !fits {
            out.truncate(start);
            return Err(TooLong(length));
        }
        let (mut fits, mut too_long) = (0, text.len().min(longest));
        while too_long - fits > NEAR {
            let half = text.ceil_char_boundary(fits.midpoint(too_long));
            if half >= too_long {
                break;
            }
            if write(half, out).1 {
                fits = half;
            } else {
                too_long = half;
            }
        }
        write(fits, out);
        Ok(())
    }

    fn whole(&mut self, event: &Event, trim: Trim, out: &mut Vec<u8>) {
        let priority = u32::from(self.facility) * 8 + self.severity(event);
        // Writing into a vector cannot fail.
        let _ = write!(out, "<{priority}>1 {} ", event.timestamp());
        push_name(event.str(fields::HOST_NAME).unwrap_or("-"), HOSTNAME, out);
        out.push(b' ');
        push_name(&self.app_name, APP_NAME, out);
        let _ = write!(out, " {} ", std::process::id());
        let code = event.str(self.code).filter(|code| !code.is_empty());
        push_name(code.unwrap_or(UNCLASSIFIED), MSGID, out);
        out.push(b' ');
        self.structured_data(event, out);
        out.push(b' ');
        match &mut self.body {
            Body::Cef(cef) => cef.write(event, trim.max(Trim::Original), out),
            Body::Line(line) => {
                line.write(event, out);
                // The line's own end is no part of the message.
                out.pop();
            }
        }
    }

    /// The severity of RFC 5424: that of the schema, or what a syslog message came in with.
    fn severity(&self, event: &Event) -> u32 {
        match event.get(self.severity) {
            Some(ValueRef::Int(severity)) => match severity {
                10.. => 2,
                8 | 9 => 3,
                5..=7 => 4,
                3 | 4 => 5,
                _ => 6,
            },
            _ => match event.get(self.syslog_severity) {
                Some(ValueRef::Int(severity @ 0..=7)) => severity as u32,
                _ => 6,
            },
        }
    }

    fn structured_data(&self, event: &Event, out: &mut Vec<u8>) {
        let version = env!("CARGO_PKG_VERSION");
        // `origin` is one of IANA's own names (RFC 5424, 7.2).
        let _ = write!(
            out,
            "[origin software=\"pvetrail\" swVersion=\"{version}\"]"
        );
        for (id, parameters) in &self.elements {
            let start = out.len();
            out.push(b'[');
            out.extend_from_slice(id.as_bytes());
            let empty = out.len();
            for (name, field) in parameters {
                let text = match event.get(*field) {
                    // The id is the event's own and no field among its fields.
                    None if *field == fields::EVENT_ID => event.id().to_string(),
                    None => continue,
                    Some(ValueRef::Str(text)) => text.to_owned(),
                    Some(other) => match other.to_json() {
                        serde_json::Value::String(text) => text,
                        json => json.to_string(),
                    },
                };
                let _ = write!(out, " {name}=\"");
                push_param(&text, out);
                out.push(b'"');
            }
            if out.len() == empty {
                out.truncate(start);
            } else {
                out.push(b']');
            }
        }
    }
}

/// PRINTUSASCII of at most `most` characters; anything else becomes `_`, and nothing becomes `-`.
fn push_name(name: &str, most: usize, out: &mut Vec<u8>) {
    if name.is_empty() {
        out.push(b'-');
    }
    out.extend(name.chars().take(most).map(|letter| match letter {
        '!'..='~' => letter as u8,
        _ => b'_',
    }));
}

/// The value of a parameter: `"`, `\` and `]` are escaped (RFC 5424, 6.3.3); a control character becomes a blank.
fn push_param(text: &str, out: &mut Vec<u8>) {
    for letter in text.chars() {
        if matches!(letter, '"' | '\\' | ']') {
            out.push(b'\\');
        }
        let letter = if letter.is_control() { ' ' } else { letter };
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::{Codec, EventId, Time};

    fn messages(codec: Codec, longest: usize) -> Messages {
        let element = (
            "event@32473".to_owned(),
            vec![
                ("id".to_owned(), fields::EVENT_ID),
                ("user".to_owned(), Field::new("user.id")),
            ],
        );
        let encoding = Encoding {
            codec,
            ..Encoding::default()
        };
        Messages::new(13, "pvetrail", vec![element], &encoding, longest)
    }

    fn event() -> Event {
        let mut event = Event::new(
            EventId([1, 2]),
            Time::parse("2026-03-14T22:58:03.412Z").unwrap(),
        );
        event.set_str(fields::HOST_NAME, "pve 1ä");
        event.set_str(fields::MESSAGE, "hello\nworld");
        event.set(Field::new("user.id"), "a\"b]\\c\n");
        event.set(Field::new("event.severity"), 8_i64);
        event
    }

    fn written(codec: Codec, longest: usize, event: &Event) -> Result<String, TooLong> {
        let mut out = Vec::new();
        messages(codec, longest).write(event, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_header_is_that_of_the_standard() {
        let text = written(Codec::Text, 1000, &event()).unwrap();
        let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION"));
        let id = EventId([1, 2]);
        assert_eq!(
            text,
            format!(
                "<107>1 2026-03-14T22:58:03.412Z pve_1_ pvetrail {pid} PVE-0000 [origin software=\"pvetrail\" \
                 swVersion=\"{version}\"][event@32473 id=\"{id}\" user=\"a\\\"b\\]\\\\c \"] hello\\nworld"
            )
        );
        let cef = written(Codec::Cef, 1000, &event()).unwrap();
        assert!(cef.contains("] CEF:0|pvetrail|audit|"), "{cef}");
    }

    #[test]
    fn what_is_too_long_loses_what_can_be_spared_first_and_its_text_last() {
        let mut event = event();
        event.set(Field::new("event.original"), "o".repeat(500));
        event.set(
            Field::new("pve.params"),
            pipeline::Value::Map(vec![("p".to_owned(), "q".repeat(500).into())]),
        );
        let text = written(Codec::Json, 1200, &event).unwrap();
        assert!(!text.contains("ooo") && text.contains("qqq"), "{text}");
        assert!(text.contains("\"truncated\":true"), "{text}");
        event.set(fields::MESSAGE, "ä\"".repeat(3000));
        let text = written(Codec::Json, 1200, &event).unwrap();
        assert!(
            (1150..=1200).contains(&text.len()) && !text.contains("qqq"),
            "{}",
            text.len()
        );
        let json = &text[text.find("] {").unwrap() + 2..];
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert!(json["message"].as_str().unwrap().ends_with('…'));
        assert_eq!(json["pve"]["original_bytes"], 9000);
        assert_eq!(json["user"]["id"], "a\"b]\\c\n");
    }

    #[test]
    fn what_cannot_be_made_to_fit_says_how_long_it_is() {
        let mut event = event();
        event.set(Field::new("user.id"), "x".repeat(5000));
        let TooLong(length) = written(Codec::Json, 1200, &event).unwrap_err();
        assert!(length > 5000);
    }
}
