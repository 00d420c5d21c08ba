//! `{"timestamp":"…","host":"pve1","message":"…"}`: JSON as rsyslog's templates write it, and CEE.
//!
//! rsyslog has no fixed names, so those of its properties and of the recipes people copy are known; other members are kept in
//! `pve.extra`. A widespread recipe puts `format="jsonf"` inside hand-written quotes, which gives `"message":""msg":"text""`:
//! no JSON, but what is meant is certain, so it is read. Levels and members are counted before anything is built.

mod members;
mod text;

use pipeline::{Field, Span, Value, fields};

use self::text::Text;
use super::stamp::{Moment, Stamps};
use super::{Read, Refusal, bytes, data, priority, rfc3164, scan};

/// Most levels of a message, the outermost object included.
const MOST_LEVELS: usize = 64;
/// Most members and items of a message, all levels together.
const MOST_MEMBERS: usize = 1024;

/// The mark of CEE in front of its object.
const COOKIE: &[u8] = b"@cee:";

/// Whether an object or CEE begins here.
#[inline]
pub(super) fn begins(text: &[u8], at: usize) -> bool {
    match text.get(at) {
        Some(b'{') => true,
        Some(b'@') => text[at..].starts_with(COOKIE),
        _ => false,
    }
}

/// One member of the outermost object.
enum Item {
    /// A text.
    Text(Text),
    /// Anything else.
    Other(Value),
}

/// Reads a message that is an object, CEE's mark in front or not.
#[cold]
pub(super) fn read(
    text: &str,
    at: usize,
    stamps: &mut Stamps,
    moment: Moment,
    read: &mut Read,
) -> Result<(), Refusal> {
    let at = behind_cookie(text.as_bytes(), at);
    let before = (read.facility, read.severity);
    let mut found = Found {
        text,
        stamps,
        moment,
        read,
        ranks: Ranks::default(),
    };
    let result = members::each(text, at, &mut |name, item| found.take(name, item));
    let said_nothing = found.ranks.message == 0;
    match result {
        Ok(()) if said_nothing => read.message = scan::span(at, text.len()),
        Ok(()) => {}
        Err(_) => {
            // Of half an object nothing is certain, but the priority that stood in front of it.
            *read = Read {
                facility: before.0,
                severity: before.1,
                ..Read::default()
            };
        }
    }
    result
}

/// Reads the object behind CEE's mark, where the text of a message begins with it. The message's own header stays as it is:
/// the object says the text, and what else it holds is kept.
#[inline]
pub(super) fn cookie(text: &str, read: &mut Read) -> Result<(), Refusal> {
    let message = bytes(text, read.message);
    match message.first() {
        Some(b'@' | b' ') => {
            let at = scan::skip_spaces(text.as_bytes(), read.message.range().start);
            if text.as_bytes()[at..].starts_with(COOKIE) {
                return object_of_cookie(text, at, read);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cold]
fn object_of_cookie(text: &str, at: usize, read: &mut Read) -> Result<(), Refusal> {
    let at = behind_cookie(text.as_bytes(), at);
    members::each(
        text,
        at,
        &mut |name, item| match (name.as_str(text), item) {
            ("msg" | "message", Item::Text(said)) => {
                place(read, said, &[fields::MESSAGE], |read, span| {
                    read.message = span
                });
            }
            (name, item) => keep(text, read, name, item),
        },
    )
}

fn behind_cookie(text: &[u8], at: usize) -> usize {
    if text.get(at) == Some(&b'@') {
        scan::skip_spaces(text, at + COOKIE.len())
    } else {
        at
    }
}

/// How good what was found is; a better one replaces it. 0: nothing was found.
#[derive(Default)]
struct Ranks {
    message: u8,
    time: u8,
    host: u8,
    app: u8,
    process: u8,
    facility: u8,
    severity: u8,
}

struct Found<'a> {
    text: &'a str,
    stamps: &'a mut Stamps,
    moment: Moment,
    read: &'a mut Read,
    ranks: Ranks,
}

impl Found<'_> {
    fn take(&mut self, name: Text, item: Item) {
        let text = self.text;
        let name = name.as_str(text);
        let item = match item {
            Item::Text(said) => match self.known(name, said) {
                Ok(()) => return,
                Err(said) => Item::Text(said),
            },
            Item::Other(value) => {
                if let Value::Int(number) = value
                    && self.known_number(name, number)
                {
                    return;
                }
                Item::Other(value)
            }
        };
        keep(text, self.read, name, item);
    }

    /// Takes a text whose name is known; hands it back if it is not, or says nothing that can be used.
    fn known(&mut self, name: &str, said: Text) -> Result<(), Text> {
        let ranks = &mut self.ranks;
        match name {
            "message" | "msg" if better(&mut ranks.message, 1) => {
                let said = said.without_first_space(self.text);
                place(self.read, said, &[fields::MESSAGE], |read, span| {
                    read.message = span
                });
            }
            "@timestamp" | "timestamp" | "time" | "timereported" | "date" => {
                return self.time(said, 2);
            }
            "timegenerated" => return self.time(said, 1),
            "hostname" | "host" | "sysloghost" | "syslog_host" if !said.is_nil(self.text) => {
                if !better(&mut ranks.host, 1) {
                    return Err(said);
                }
                place(self.read, said, &HOST, |read, span| read.host = span);
            }
            "programname" | "program" | "app-name" | "appname" | "app_name" | "process_name"
                if !said.is_nil(self.text) =>
            {
                if !better(&mut ranks.app, 2) {
                    return Err(said);
                }
                place(self.read, said, &APP, |read, span| read.app = span);
            }
            "syslogtag" | "tag" => return self.tag(said),
            "procid" | "pid" | "process_id" if !said.is_nil(self.text) => {
                if !better(&mut ranks.process, 2) {
                    return Err(said);
                }
                place(self.read, said, &[fields::SYSLOG_PROCID], |read, span| {
                    read.process = span;
                });
            }
            "msgid" if !said.is_nil(self.text) && self.read.message_id.len == 0 => {
                place(self.read, said, &[fields::SYSLOG_MSGID], |read, span| {
                    read.message_id = span;
                });
            }
            "structured-data" | "structured_data" => return self.data(said),
            "procid" | "msgid" | "app-name" if said.is_nil(self.text) => {}
            _ => {
                let Ok(number) = said.as_str(self.text).parse::<i64>() else {
                    return self.named(name, said);
                };
                if !self.known_number(name, number) {
                    return Err(said);
                }
            }
        }
        Ok(())
    }

    /// Facility and severity by name.
    fn named(&mut self, name: &str, said: Text) -> Result<(), Text> {
        let word = said.as_str(self.text);
        match name {
            "severity" | "syslogseverity-text" | "syslogseverity" | "level" | "severity_label" => {
                match priority::severity(word) {
                    Some(code) if better(&mut self.ranks.severity, 1) => {
                        self.read.severity = Some(code);
                    }
                    _ => return Err(said),
                }
            }
            "facility" | "syslogfacility-text" | "syslogfacility" | "facility_label" => {
                match priority::facility(word) {
                    Some(code) if better(&mut self.ranks.facility, 1) => {
                        self.read.facility = Some(code);
                    }
                    _ => return Err(said),
                }
            }
            _ => return Err(said),
        }
        Ok(())
    }

    /// Takes a number whose name is known, and says whether it did.
    fn known_number(&mut self, name: &str, number: i64) -> bool {
        let code = u8::try_from(number).unwrap_or(u8::MAX);
        match name {
            "pri" | "priority" if code <= priority::LARGEST => {
                (self.ranks.facility, self.ranks.severity) = (2, 2);
                (self.read.facility, self.read.severity) = (Some(code / 8), Some(code % 8));
            }
            "severity" | "syslogseverity" | "level" if code < 8 => {
                if better(&mut self.ranks.severity, 1) {
                    self.read.severity = Some(code);
                }
            }
            "facility" | "syslogfacility" if code < 24 => {
                if better(&mut self.ranks.facility, 1) {
                    self.read.facility = Some(code);
                }
            }
            "procid" | "pid" | "process_id" if self.ranks.process < 2 && number >= 0 => {
                self.ranks.process = 2;
                self.read.rare().pid = Some(number);
                self.read
                    .rare()
                    .rewritten
                    .push((fields::SYSLOG_PROCID, number.to_string()));
            }
            "@timestamp" | "timestamp" | "time" if better(&mut self.ranks.time, 2) => {
                let text = number.to_string();
                let Some((time, _)) = super::stamp::epoch(text.as_bytes(), 0) else {
                    self.ranks.time = 0;
                    return false;
                };
                self.read.time = Some(time);
            }
            _ => return false,
        }
        true
    }

    fn time(&mut self, said: Text, rank: u8) -> Result<(), Text> {
        let word = said.as_str(self.text).as_bytes();
        match self.stamps.any(word, 0, self.moment) {
            Some((time, end)) if end == word.len() => {
                if better(&mut self.ranks.time, rank) {
                    self.read.time = Some(time);
                }
                Ok(())
            }
            _ => Err(said),
        }
    }

    /// `pvedaemon[812]:` in one text.
    fn tag(&mut self, said: Text) -> Result<(), Text> {
        let Text::Here(span) = said else {
            return Err(said);
        };
        let range = span.range();
        let word = self.text.as_bytes().get(..range.end).unwrap_or_default();
        let Some(tag) = rfc3164::tag(word, range.start) else {
            return Err(said);
        };
        if better(&mut self.ranks.app, 1) {
            self.read.app = tag.name;
        }
        if tag.process.len > 0 && better(&mut self.ranks.process, 1) {
            self.read.process = tag.process;
        }
        Ok(())
    }

    fn data(&mut self, said: Text) -> Result<(), Text> {
        let word = said.as_str(self.text).as_bytes();
        if said.is_nil(self.text) {
            return Ok(());
        }
        match data::read(word, 0) {
            Ok((elements, end)) if end == word.len() => {
                self.read.rare().data = Some(elements);
                Ok(())
            }
            _ => Err(said),
        }
    }
}

const HOST: [Field; 2] = [fields::HOST_NAME, fields::SYSLOG_HOSTNAME];
const APP: [Field; 2] = [fields::SYSLOG_APPNAME, fields::PROCESS_NAME];

fn better(rank: &mut u8, offered: u8) -> bool {
    let better = offered > *rank;
    if better {
        *rank = offered;
    }
    better
}

/// Puts a text where it belongs: as a span, or as the text of these fields.
fn place(read: &mut Read, said: Text, of: &[Field], span: impl FnOnce(&mut Read, Span)) {
    if let Some(rare) = &mut read.rare {
        rare.rewritten.retain(|(field, _)| !of.contains(field));
    }
    match said {
        Text::Here(here) => span(read, here),
        Text::Owned(text) => {
            span(read, Span::default());
            for field in of {
                read.rare().rewritten.push((*field, text.clone()));
            }
        }
    }
}

/// Keeps a member that has no field; of two with one name the later, as JSON readers do.
fn keep(text: &str, read: &mut Read, name: &str, item: Item) {
    let value = match item {
        Item::Text(said) => Value::Str(said.as_str(text).to_owned()),
        Item::Other(value) => value,
    };
    let extra = &mut read.rare().extra;
    match extra.iter_mut().find(|(held, _)| held == name) {
        Some((_, held)) => *held = value,
        None => extra.push((name.to_owned(), value)),
    }
}
