//! One syslog message becomes fields.
//!
//! - in: an event whose `message` is one frame, in whatever form it was written: RFC 5424, RFC 3164 and what goes by that
//!   name, JSON as rsyslog writes it, CEE
//! - out: `log.syslog.*`, `host.name`, `process.name`, `process.pid`, `@timestamp`; `message` is the text alone
//! - cannot be read: the whole text stays in `message`, with the tag `parse_error`, the reason in `error.message`, and
//!   the peer's address as `host.name`; nothing is ever dropped
//!
//! Fields are places in the event's own buffer: a usual message is read without an allocation.

mod data;
mod json;
mod options;
mod priority;
mod rfc3164;
mod rfc5424;
mod scan;
mod stamp;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use pipeline::{Buffer, Event, Field, Preset, Span, Time, Value, fields};

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
    presets: Box<[Preset]>,
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
    /// The process where it was said as a number.
    pid: Option<i64>,
    data: Option<Value>,
    message: Span,
    /// Texts that do not stand in the message as they are.
    rewritten: Vec<(Field, String)>,
    /// Members of a JSON message that have no field of their own.
    extra: Vec<(String, Value)>,
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
            presets: priority::presets(),
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
            return self.fail(event, sender, &Read::default(), "there is no text");
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
                let pid = scan::number(bytes(text, read.process)).or(read.pid);
                let message = bytes(text, read.message);
                let lines = memchr::memchr(b'#', message).and_then(|_| newlines(message));
                self.write(event, sender, read, pid, lines);
                Outcome::Parsed
            }
            Err(why) => {
                let place = why.at.saturating_sub(begin) + 1;
                let (part, why) = (why.part, why.why);
                let why = format!("this is no syslog message: {why}{part} (byte {place})");
                self.fail(event, sender, &read, &why)
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

    /// Writes what was read into the event.
    #[inline]
    fn write(
        &self,
        event: &mut Event,
        sender: &Sender<'_>,
        read: Read,
        pid: Option<i64>,
        lines: Option<Lines>,
    ) {
        match lines {
            None => event.set_span(fields::MESSAGE, read.message),
            Some(Lines::Fewer(len)) => {
                let at = read.message.at;
                event.set_span(fields::MESSAGE, Span { at, len });
            }
            Some(Lines::Rewritten(text)) => event.set(fields::MESSAGE, text),
        }
        self.write_header(event, sender, &read, pid);
        if let Some(data) = read.data {
            event.set(fields::SYSLOG_STRUCTURED_DATA, data);
        }
        for (field, text) in read.rewritten {
            event.set(field, text);
        }
        if !read.extra.is_empty() {
            event.set(fields::PVE_EXTRA, Value::Map(read.extra));
        }
    }

    #[inline]
    fn write_header(&self, event: &mut Event, sender: &Sender<'_>, read: &Read, pid: Option<i64>) {
        match (read.facility, read.severity) {
            (Some(facility), Some(severity)) => {
                let priority = usize::from(facility) * 8 + usize::from(severity);
                if let Some(preset) = self.presets.get(priority) {
                    event.push_preset(preset);
                }
            }
            (None, None) => {}
            (Some(code), None) => {
                event.push_preset(&priority::with_facility(Preset::default(), code));
            }
            (None, Some(code)) => {
                event.push_preset(&priority::with_severity(Preset::default(), code));
            }
        }
        if let Some(time) = read.time {
            event.set_timestamp(time);
        }
        let mut put = |field, span: Span| {
            if span.len > 0 {
                event.push_span(field, span);
            }
        };
        put(fields::SYSLOG_VERSION, read.version);
        put(fields::SYSLOG_HOSTNAME, read.host);
        put(fields::SYSLOG_APPNAME, read.app);
        put(fields::PROCESS_NAME, read.app);
        put(fields::SYSLOG_PROCID, read.process);
        put(fields::SYSLOG_MSGID, read.message_id);
        if let Some(pid) = pid {
            event.push_int(fields::PROCESS_PID, pid);
        }
        if read.host.len > 0 {
            event.set_span(fields::HOST_NAME, read.host);
        } else {
            name_peer(event, sender);
        }
    }

    /// The event of a message that cannot be read: its whole text, why, and what was certain before that.
    #[cold]
    fn fail(&self, event: &mut Event, sender: &Sender<'_>, read: &Read, why: &str) -> Outcome {
        let guess = Read {
            facility: Some(read.facility.unwrap_or(priority::DEFAULT / 8)),
            severity: Some(read.severity.unwrap_or(priority::DEFAULT % 8)),
            time: read.time,
            version: read.version,
            host: read.host,
            app: read.app,
            process: read.process,
            message_id: read.message_id,
            ..Read::default()
        };
        let pid = {
            let text = event.buffer().map_or("", Buffer::text);
            scan::number(bytes(text, read.process))
        };
        self.write_header(event, sender, &guess, pid);
        event.add_tag("parse_error");
        let why = match event.str(fields::ERROR_MESSAGE) {
            Some(before) => format!("{before}; {why}"),
            None => why.to_owned(),
        };
        event.set(fields::ERROR_MESSAGE, why);
        Outcome::Failed
    }
}

/// A host that does not name itself is called by the address it sends from.
fn name_peer(event: &mut Event, sender: &Sender<'_>) {
    if let Some(address) = sender.address
        && event.str(fields::HOST_NAME) != Some(address)
    {
        event.set_str(fields::HOST_NAME, address);
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

/// A text in which a daemon in between had written line ends as `#012`.
enum Lines {
    /// They were at its end only; so many bytes are left without them.
    Fewer(u32),
    /// The text with line ends.
    Rewritten(String),
}

/// Undoes `#012`. Before a digit it is left alone: "ticket #0123" is no line end.
#[cold]
fn newlines(text: &[u8]) -> Option<Lines> {
    const MARK: &[u8] = b"#012";
    let mut end = text.len();
    while text[..end].ends_with(MARK) {
        end -= MARK.len();
    }
    let kept = &text[..end];
    let mut out = Vec::new();
    let mut done = 0;
    for at in memchr::memchr_iter(b'#', kept) {
        if at >= done
            && kept[at..].starts_with(MARK)
            && !kept.get(at + 4).is_some_and(u8::is_ascii_digit)
        {
            out.extend_from_slice(&kept[done..at]);
            out.push(b'\n');
            done = at + MARK.len();
        }
    }
    if done == 0 {
        return (end < text.len()).then_some(Lines::Fewer(end as u32));
    }
    out.extend_from_slice(&kept[done..]);
    // Cut at ASCII bytes of a valid text, so nothing is replaced.
    Some(Lines::Rewritten(String::from_utf8_lossy(&out).into_owned()))
}
