//! One event as one line of text, for the sinks that write lines: `json`, `text`, `logfmt`, `cef`, `pretty`.
//!
//! A line break inside a value is always escaped, so a line is an event. For a terminal every other control and directional
//! character is escaped too.

pub(crate) mod cef;
mod logfmt;
mod pretty;
pub(crate) mod trim;

use pipeline::{Codec, Encoding, Event, Field, JsonWriter, fields, printable};

use cef::Cef;
use logfmt::Logfmt;
use pretty::Pretty;
use trim::Trim;

/// Where the lines will be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader {
    /// Whether it may be a terminal: nothing unprintable gets there.
    pub terminal: bool,
    /// Whether colours may be used.
    pub colour: bool,
}

/// Turns events into lines. One per worker; it keeps what it has learnt about their shapes.
pub(crate) struct LineEncoder {
    codec: Form,
    reader: Reader,
    line: Vec<u8>,
}

enum Form {
    Json(JsonWriter),
    Text,
    Logfmt(Logfmt),
    Cef(Cef),
    Pretty(Pretty),
}

impl LineEncoder {
    /// `only_fields` and `except_fields` hold for `json` and `logfmt`; the others choose by themselves.
    pub(crate) fn new(encoding: &Encoding, reader: Reader) -> Self {
        let only = encoding.only_fields.as_deref().map(interned);
        let except = encoding.except_fields.as_deref().map(interned);
        let codec = match encoding.codec {
            Codec::Json => Form::Json(JsonWriter::new(only.as_deref(), except.as_deref())),
            Codec::Text => Form::Text,
            Codec::Logfmt => Form::Logfmt(Logfmt::new(only, except)),
            Codec::Cef => Form::Cef(Cef::new()),
            Codec::Pretty => Form::Pretty(Pretty::new(reader.colour)),
        };
        LineEncoder {
            codec,
            reader,
            line: Vec::new(),
        }
    }

    /// How wide the reader's window is [columns]; only `pretty` cares, and cuts its last column.
    pub(crate) fn set_width(&mut self, columns: Option<usize>) {
        if let Form::Pretty(pretty) = &mut self.codec {
            pretty.set_width(columns);
        }
    }

    /// Appends the event and a line break.
    pub(crate) fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        match &mut self.codec {
            Form::Pretty(pretty) => pretty.write(event, out),
            Form::Json(writer) if !self.reader.terminal => writer.write(event, out),
            Form::Json(writer) => {
                self.line.clear();
                writer.write(event, &mut self.line);
                push_json(&self.line, out);
            }
            Form::Text => text(
                event.str(fields::MESSAGE).unwrap_or_default(),
                self.reader.terminal,
                out,
            ),
            Form::Logfmt(logfmt) => logfmt.write(event, self.reader.terminal, out),
            Form::Cef(cef) if !self.reader.terminal => cef.write(event, Trim::Original, out),
            Form::Cef(cef) => {
                self.line.clear();
                cef.write(event, Trim::Original, &mut self.line);
                let line = String::from_utf8_lossy(&self.line);
                out.extend_from_slice(printable(&line).as_bytes());
            }
        }
        out.push(b'\n');
    }
}

fn interned(paths: &[String]) -> Vec<Field> {
    paths.iter().map(|path| Field::new(path)).collect()
}

fn text(message: &str, terminal: bool, out: &mut Vec<u8>) {
    if terminal {
        out.extend_from_slice(printable(message).as_bytes());
        return;
    }
    for byte in message.bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => out.push(byte),
        }
    }
}

/// JSON escapes the controls of ASCII; the ones beyond, and what turns text around, become `\uXXXX` here.
fn push_json(line: &[u8], out: &mut Vec<u8>) {
    // Of ASCII only DEL is left unescaped.
    if line.is_ascii() && !line.contains(&0x7f) {
        out.extend_from_slice(line);
        return;
    }
    let text = String::from_utf8_lossy(line);
    if !text.chars().any(pipeline::printable::is_unsafe) {
        out.extend_from_slice(line);
        return;
    }
    let mut letter = [0; 4];
    for each in text.chars() {
        if pipeline::printable::is_unsafe(each) {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(each)).as_bytes());
        } else {
            out.extend_from_slice(each.encode_utf8(&mut letter).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline::{EventId, Time};

    use super::*;

    fn event() -> Event {
        let id = EventId::parse("00112233445566778899aabbccddeeff").unwrap();
        let mut event = Event::new(id, Time::parse("2026-03-14T22:58:03.412Z").unwrap());
        event.set_str(fields::MESSAGE, "hello \x1b[2J \u{9b}31m\nsecond");
        event.set_str(fields::HOST_NAME, "pve1");
        event.set(fields::HTTP_STATUS, 200);
        event
    }

    fn line(codec: Codec, terminal: bool) -> String {
        let encoding = Encoding {
            codec,
            ..Encoding::default()
        };
        let mut out = Vec::new();
        LineEncoder::new(
            &encoding,
            Reader {
                terminal,
                colour: false,
            },
        )
        .write(&event(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_form_is_one_line_and_safe_for_a_terminal() {
        for codec in [
            Codec::Json,
            Codec::Text,
            Codec::Logfmt,
            Codec::Cef,
            Codec::Pretty,
        ] {
            let text = line(codec, true);
            // `pretty` has a line for the day above the first.
            let lines = if codec == Codec::Pretty { 2 } else { 1 };
            assert_eq!(text.lines().count(), lines, "{codec:?}: {text:?}");
            let is_unsafe = |letter: char| pipeline::printable::is_unsafe(letter) && letter != '\n';
            assert!(!text.chars().any(is_unsafe), "{codec:?}: {text:?}");
        }
        assert_eq!(
            line(Codec::Text, false),
            "hello \x1b[2J \u{9b}31m\\nsecond\n"
        );
    }

    #[test]
    fn json_stays_json() {
        let value: serde_json::Value = serde_json::from_str(&line(Codec::Json, true)).unwrap();
        assert_eq!(value["message"], "hello \x1b[2J \u{9b}31m\nsecond");
        assert_eq!(value["event"]["id"], "00112233445566778899aabbccddeeff");
    }

    #[test]
    fn logfmt_quotes_what_needs_it() {
        let line = line(Codec::Logfmt, false);
        assert!(
            line.contains("@timestamp=2026-03-14T22:58:03.412Z"),
            "{line}"
        );
        assert!(
            line.contains("event.id=00112233445566778899aabbccddeeff"),
            "{line}"
        );
        assert!(line.contains("host.name=pve1"), "{line}");
        assert!(line.contains("http.response.status_code=200"), "{line}");
        assert!(
            line.contains("message=\"hello \\u001b[2J \u{9b}31m\\nsecond\""),
            "{line}"
        );
    }

    #[test]
    fn fields_can_be_chosen() {
        let encoding = Encoding {
            codec: Codec::Logfmt,
            only_fields: Some(vec!["host".to_owned(), "message".to_owned()]),
            except_fields: Some(vec!["message".to_owned()]),
        };
        let mut out = Vec::new();
        LineEncoder::new(&encoding, Reader::default()).write(&event(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "host.name=pve1\n");
    }
}
