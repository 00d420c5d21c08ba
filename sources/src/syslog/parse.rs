//! One syslog message becomes fields.
//!
//! - in: an event whose `message` is one frame, in whatever form it was written: RFC 5424, RFC 3164 and what goes by that
//!   name, JSON as rsyslog writes it, CEE
//! - out: `log.syslog.*`, `host.name`, `process.name`, `process.pid`, `@timestamp` (and `event.created`, when it was read);
//!   `message` is the text alone
//! - cannot be read: the whole text stays in `message`, with the tag `parse_error`, the reason in `error.message`, and
//!   the peer's address as `host.name`; nothing is ever dropped
//!
//! Fields are places in the event's own buffer: a usual message is read without an allocation.

mod data;
mod json;
mod options;
pub(crate) mod priority;
mod rfc3164;
mod rfc5424;
mod scan;
mod stamp;
mod write;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use pipeline::{Buffer, Event, Field, Span, Time, Value, fields};

use self::options::Networks;
pub use self::options::{Format, ParseOptions};
use self::stamp::{Moment, Stamps};

/// Who sent a message.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    address: Option<&'a str>,
    zone: u16,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was read.
    Parsed,
    /// It could not be read; the event says why and has the whole text.
    Failed,
}

/// Reads messages. One per worker: it remembers the last times it has read.
pub struct Parser {
    format: Format,
    networks: Networks,
    stamps: Stamps,
}

/// What was found in a message so far. A span of length 0 is a part that is not there.
#[derive(Default)]
struct Read {
    facility: Option<u8>,
    severity: Option<u8>,
    time: Option<Time>,
    version: Span,
    host: Span,
    app: Span,
    process: Span,
    message_id: Span,
    message: Span,
    rare: Option<Box<Rare>>,
}

/// What most messages do not have, apart so that they do not pay for it.
#[derive(Default)]
struct Rare {
    /// The process where it was said as a number.
    pid: Option<i64>,
    data: Option<Value>,
    /// Texts that do not stand in the message as they are.
    rewritten: Vec<(Field, String)>,
    /// Members of a JSON message that have no field of their own.
    extra: Vec<(String, Value)>,
}

impl Read {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// Why a message cannot be read, and at which byte of the buffer.
#[derive(Debug)]
struct Refusal {
    why: &'static str,
    part: &'static str,
    at: usize,
}

impl Refusal {
    #[cold]
    fn new(why: &'static str, at: usize) -> Refusal {
        Refusal { why, part: "", at }
    }

    #[cold]
    fn of_part(part: &'static str, at: usize) -> Refusal {
        let why = "RFC 5424 wants something else here, in its ";
        Refusal { why, part, at }
    }
}

impl Parser {
    /// A parser for what these options say.
    pub fn new(options: &ParseOptions) -> Parser {
        Parser {
            format: options.format,
            networks: options.networks.clone(),
            stamps: Stamps::new(options.zones.clone()),
        }
    }

    /// A sender as the parser sees it: its address as text, which names the host where a message does not, and its zone.
    pub fn sender<'a>(&self, ip: Option<IpAddr>, address: Option<&'a str>) -> Sender<'a> {
        Sender {
            address,
            zone: ip.map_or(0, |ip| self.networks.zone(ip)),
        }
    }

    /// Reads the frame that stands in `message`. `now` gives the year to times that have none.
    pub fn parse(&mut self, event: &mut Event, sender: &Sender<'_>, now: Time) -> Outcome {
        let Some(whole) = event.span(fields::MESSAGE).or_else(|| move_in(event)) else {
            return write::failed(event, sender, &mut Read::default(), "there is no text");
        };
        let moment = Moment {
            now,
            zone: sender.zone,
        };
        let mut read = Read::default();
        let buffer = event.buffer().map_or("", Buffer::text);
        let begin = whole.range().start;
        let (text, at) = trim(buffer, whole);
        let result = self.read(text, at, moment, &mut read);
        match result {
            Ok(()) => {
                let pid = scan::number(bytes(text, read.process));
                let message = bytes(text, read.message);
                // JSON and CEF have words of their own for line ends, so there `#012` is text.
                let lines = memchr::memchr(b'#', message)
                    .filter(|_| !message.starts_with(b"{") && !message.starts_with(b"CEF:"))
                    .and_then(|_| write::newlines(message));
                write::parsed(event, sender, &mut read, pid, lines);
                Outcome::Parsed
            }
            Err(why) => {
                let place = why.at.saturating_sub(begin) + 1;
                let (part, why) = (why.part, why.why);
                let why = format!("this is no syslog message: {why}{part} (byte {place})");
                write::failed(event, sender, &mut read, &why)
            }
        }
    }

    #[inline]
    fn read(
        &mut self,
        text: &str,
        at: usize,
        moment: Moment,
        read: &mut Read,
    ) -> Result<(), Refusal> {
        let bytes = text.as_bytes();
        if at == bytes.len() {
            return Err(Refusal::new(
                "it is empty, or nothing but NUL and line ends",
                at,
            ));
        }
        if json::begins(bytes, at) && matches!(self.format, Format::Auto | Format::Json) {
            return json::read(text, at, &mut self.stamps, moment, read);
        }
        let at = priority::read(bytes, at, read)?;
        if at == bytes.len() {
            return Err(Refusal::new("it is a priority and nothing else", at));
        }
        match self.format {
            Format::Auto => {
                if let Some(end) = rfc5424::version_end(bytes, at) {
                    if rfc5424::looks_like(bytes, end + 1) {
                        rfc5424::read(bytes, at, end, &mut self.stamps, moment, read)?;
                        return json::cookie(text, read);
                    }
                    // Some devices write a version and then the seconds since 1970.
                    if stamp::epoch(bytes, end + 1).is_some() {
                        rfc3164::read(bytes, end + 1, &mut self.stamps, moment, read);
                        return json::cookie(text, read);
                    }
                }
                let begin = scan::skip_spaces(bytes, at);
                if json::begins(bytes, begin) {
                    return json::read(text, begin, &mut self.stamps, moment, read);
                }
                rfc3164::read(bytes, at, &mut self.stamps, moment, read);
                json::cookie(text, read)
            }
            Format::Rfc5424 => {
                let end = rfc5424::version_end(bytes, at).ok_or(Refusal::new(
                    "behind the priority stands no version and no space",
                    at,
                ))?;
                rfc5424::read(bytes, at, end, &mut self.stamps, moment, read)?;
                json::cookie(text, read)
            }
            Format::Rfc3164 => {
                rfc3164::read(bytes, at, &mut self.stamps, moment, read);
                json::cookie(text, read)
            }
            Format::Json => {
                let begin = scan::skip_spaces(bytes, at);
                if !json::begins(bytes, begin) {
                    return Err(Refusal::new("behind the priority stands no JSON", at));
                }
                json::read(text, begin, &mut self.stamps, moment, read)
            }
        }
    }
}

/// Moves a text that does not stand in the event's buffer into one.
#[cold]
fn move_in(event: &mut Event) -> Option<Span> {
    let text = event.str(fields::MESSAGE)?.to_owned();
    let span = scan::span(0, text.len());
    event.set_buffer(Buffer::new(text));
    event.set_span(fields::MESSAGE, span);
    Some(span)
}

#[inline]
fn bytes(text: &str, span: Span) -> &[u8] {
    text.as_bytes().get(span.range()).unwrap_or_default()
}

/// The buffer up to the end of the message without the line ends and NULs that senders put there, and where the message
/// begins without those in front of it.
#[inline]
fn trim(buffer: &str, whole: Span) -> (&str, usize) {
    let filler = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
    let range = whole.range();
    let text = buffer.get(..range.end).unwrap_or_default();
    let mut end = text.len();
    while end > range.start && filler(&text.as_bytes()[end - 1]) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    let mut at = range.start.min(end);
    while text.as_bytes().get(at).is_some_and(filler) {
        at += 1;
    }
    (text, at)
}
