//! `pretty`: for people. Time, host, who, from where, how it ended, what was done, in columns.
//!
//! A line above each new day says which day it is, so that the lines themselves need only the time (UTC). Colour says what
//! to look at: red failed, yellow was denied, magenta destroys, grey only asked.

use std::borrow::Cow;
use std::io::Write;
use std::sync::LazyLock;

use pipeline::{Event, Field, ValueRef, fields, printable};

const HOST: usize = 6;
const WHO: usize = 22;
const FROM: usize = 15;
const OUTCOME: usize = 7;
/// What stands before the last column: the others, the time and the blanks between.
const BEFORE: usize = 8 + HOST + WHO + FROM + OUTCOME + 5;

/// Narrowest last column worth cutting to [columns].
const LEAST: usize = 24;

/// Writes aligned lines.
pub(super) struct Pretty {
    colour: bool,
    width: Option<usize>,
    /// The last day written, `2026-03-14`.
    day: String,
}

/// How it ended, as far as the event says so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    Denied,
    Unknown,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Success => "ok",
            Outcome::Failure => "failed",
            Outcome::Denied => "denied",
            Outcome::Unknown => "",
        }
    }
}

impl Pretty {
    pub(super) fn new(colour: bool) -> Self {
        Pretty {
            colour,
            width: None,
            day: String::new(),
        }
    }

    pub(super) fn set_width(&mut self, columns: Option<usize>) {
        self.width = columns;
    }

    pub(super) fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let time = event.timestamp().to_string();
        let (day, clock) = (&time[..10], &time[11..19]);
        if day != self.day {
            day.clone_into(&mut self.day);
            self.paint("2", &format!("── {day} UTC ──"), out);
            out.push(b'\n');
        }
        let outcome = outcome(event);
        let what = what(event);
        let style = style(event, outcome, &what);
        let text = |field| event.str(field).map_or(Cow::Borrowed("-"), printable);
        self.paint("2", clock, out);
        out.push(b' ');
        self.column("36", &text(fields::HOST_NAME), HOST, out);
        self.column("1", &who(event), WHO, out);
        self.column("", from(&text(fields::SOURCE_IP)), FROM, out);
        self.column(style, outcome.word(), OUTCOME, out);
        let room = self
            .width
            .map_or(usize::MAX, |width| width.saturating_sub(BEFORE).max(LEAST));
        self.paint(style, &cut(&what, room), out);
    }

    /// `text` in its own column, and one blank.
    fn column(&self, style: &str, text: &str, width: usize, out: &mut Vec<u8>) {
        let shown = cut(text, width);
        let used = shown.chars().count();
        self.paint(style, &shown, out);
        out.resize(out.len() + width.saturating_sub(used) + 1, b' ');
    }

    fn paint(&self, style: &str, text: &str, out: &mut Vec<u8>) {
        // Writing into a vector cannot fail.
        let _ = if self.colour && !style.is_empty() && !text.is_empty() {
            write!(out, "\x1b[{style}m{text}\x1b[0m")
        } else {
            write!(out, "{text}")
        };
    }
}

fn who(event: &Event) -> Cow<'_, str> {
    if let Some(id) = event.str(fields::USER_ID) {
        return printable(id);
    }
    match (event.str(fields::USER_NAME), event.str(fields::USER_DOMAIN)) {
        (Some(name), Some(domain)) => {
            Cow::Owned(format!("{}@{}", printable(name), printable(domain)))
        }
        (Some(name), None) => printable(name),
        _ => Cow::Borrowed("-"),
    }
}

/// IPv4 clients of a wildcard listener stand in the log as `::ffff:192.0.2.1`.
fn from(address: &str) -> &str {
    match address.strip_prefix("::ffff:") {
        Some(four) if four.contains('.') => four,
        _ => address,
    }
}

fn outcome(event: &Event) -> Outcome {
    let status = match event.get(fields::HTTP_STATUS) {
        Some(ValueRef::Int(status)) => Some(status),
        Some(ValueRef::Str(text)) => text.parse().ok(),
        _ => None,
    };
    let said = event.str(fields::EVENT_OUTCOME);
    let ended = event.str(task_status());
    match (said, status, ended) {
        (_, Some(401 | 403), _) => Outcome::Denied,
        (Some("success"), _, _) => Outcome::Success,
        (Some("failure"), _, _) => Outcome::Failure,
        (Some(_), _, _) => Outcome::Unknown,
        // The web client's own format answers 200 whatever happened.
        (None, Some(200), _) if hides_outcome(event) => Outcome::Unknown,
        (None, Some(status), _) if status < 400 => Outcome::Success,
        (None, Some(_), _) => Outcome::Failure,
        (None, None, Some(ended)) if ended == "OK" || ended.starts_with("WARNINGS") => {
            Outcome::Success
        }
        (None, None, Some(_)) => Outcome::Failure,
        (None, None, None) if event.has(fields::EVENT_REASON) => Outcome::Failure,
        (None, None, None) => Outcome::Unknown,
    }
}

fn hides_outcome(event: &Event) -> bool {
    event
        .str(fields::URL_PATH)
        .is_some_and(|path| path.starts_with("/api2/extjs/"))
}

/// How a task ended, in Proxmox VE's own words.
fn task_status() -> Field {
    static STATUS: LazyLock<Field> = LazyLock::new(|| Field::new("pve.task.status"));
    *STATUS
}

/// The catalogue's sentence, else the request, else the message with the program that said it.
fn what(event: &Event) -> Cow<'_, str> {
    let message = event.str(fields::MESSAGE).map(printable);
    if event.has(fields::EVENT_CODE)
        && let Some(message) = message
    {
        return message;
    }
    if let Some(method) = event.str(fields::HTTP_METHOD) {
        let mut text = printable(method).into_owned();
        let path = event
            .str(fields::URL_PATH)
            .or_else(|| event.str(fields::URL_ORIGINAL));
        if let Some(path) = path {
            text.push(' ');
            text.push_str(&printable(path));
        }
        if let Some(query) = event.str(fields::URL_QUERY) {
            text.push('?');
            text.push_str(&printable(query));
        }
        if let Some(ValueRef::Int(status)) = event.get(fields::HTTP_STATUS) {
            text.push_str(&format!(" → {status}"));
        }
        return Cow::Owned(text);
    }
    match (event.str(fields::PROCESS_NAME), message) {
        (Some(program), Some(message)) => Cow::Owned(format!("{}: {message}", printable(program))),
        (_, Some(message)) => message,
        (_, None) => Cow::Borrowed(""),
    }
}

/// The colour of how it ended and of what was done, as the codes of a terminal.
fn style(event: &Event, outcome: Outcome, what: &str) -> &'static str {
    let severe = matches!(event.get(fields::EVENT_SEVERITY), Some(ValueRef::Int(8..)));
    let method = event.str(fields::HTTP_METHOD);
    let destroys = method == Some("DELETE")
        || event
            .str(fields::EVENT_ACTION)
            .is_some_and(|action| action.contains("destroy") || action.contains("delete"))
        || what.contains("destroy:")
        || what.contains("imgdel:");
    match outcome {
        Outcome::Failure if severe => "1;31",
        Outcome::Failure => "31",
        Outcome::Denied => "33",
        _ if destroys => "1;35",
        _ if severe => "1;33",
        Outcome::Success if matches!(method, Some("GET" | "HEAD")) => "2",
        Outcome::Success => "32",
        Outcome::Unknown => "",
    }
}

/// At most `width` characters; a cut one ends in `…`.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    match text.char_indices().nth(width) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let keep = text
                .char_indices()
                .nth(width.saturating_sub(1))
                .map_or(0, |(at, _)| at);
            Cow::Owned(format!("{}…", &text[..keep]))
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline::{EventId, Time};

    use super::*;

    fn event(pairs: &[(&str, &str)], status: i64) -> Event {
        let id = EventId::parse("00112233445566778899aabbccddeeff").unwrap();
        let mut event = Event::new(id, Time::parse("2026-03-14T22:58:03.412Z").unwrap());
        for (path, value) in pairs {
            event.set_str(Field::new(path), value);
        }
        if status > 0 {
            event.set(fields::HTTP_STATUS, status);
        }
        event
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut pretty = Pretty::new(false);
        let mut out = Vec::new();
        let call = [
            ("host.name", "pve1"),
            ("user.id", "automation@pve!terraform-of-the-big-team"),
            ("source.ip", "::ffff:192.0.2.10"),
            ("http.request.method", "DELETE"),
            ("url.path", "/api2/json/nodes/pve1/qemu/104"),
            ("url.query", "purge=1"),
        ];
        pretty.write(&event(&call, 403), &mut out);
        out.push(b'\n');
        pretty.write(
            &event(
                &[
                    ("host.name", "pve2"),
                    ("process.name", "pvestatd"),
                    ("message", "status\x1b[2J"),
                ],
                0,
            ),
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "── 2026-03-14 UTC ──\n\
             22:58:03 pve1   automation@pve!terraf… 192.0.2.10      denied  DELETE /api2/json/nodes/pve1/qemu/104?purge=1 → 403\n\
             22:58:03 pve2   -                      -                       pvestatd: status\\x1b[2J"
        );
    }

    #[test]
    fn a_narrow_window_cuts_the_last_column() {
        let mut pretty = Pretty::new(false);
        pretty.set_width(Some(90));
        let mut out = Vec::new();
        pretty.write(&event(&[("message", &"x".repeat(200))], 0), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().last().unwrap().chars().count(), 90);
        assert!(text.ends_with('…'));
    }

    #[test]
    fn colour_says_what_to_look_at() {
        let mut pretty = Pretty::new(true);
        let mut out = Vec::new();
        pretty.write(
            &event(
                &[("http.request.method", "DELETE"), ("url.path", "/x")],
                200,
            ),
            &mut out,
        );
        assert!(
            String::from_utf8(out)
                .unwrap()
                .ends_with("\x1b[1;35mDELETE /x → 200\x1b[0m")
        );
        let mut out = Vec::new();
        pretty.write(
            &event(&[("event.outcome", "failure"), ("message", "no")], 0),
            &mut out,
        );
        assert!(
            String::from_utf8(out)
                .unwrap()
                .contains("\x1b[31mfailed\x1b[0m")
        );
    }
}
