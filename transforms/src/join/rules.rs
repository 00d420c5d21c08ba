//! What a message is to others: the beginning of one, a further line, a numbered part, or one that stands alone; and
//! whether its sender cut it.

use pipeline::{BuildError, BuildErrors, Event, Field, Spanned, ValueRef, fields};
use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;

use super::Config;
use crate::tables::write_key;

/// How messages of hostd, vpxa, vpxd, rhttpproxy and their kin begin: a level and who speaks, or what vCenter says of an
/// event.
pub(super) const VMWARE_START: &str = r"^(?:(?:[a-z]+ )?[\w.-]+\[[0-9A-Fa-f]+\]:? +\[Originator@|(?:[a-z]+ )?\[Originator@|Event \[\d+\] |\d{4}-\d\d-\d\dT[\d:.]+Z )";
/// How they mark a further line.
pub(super) const VMWARE_CONTINUATION: &str = r"^-->(?: |$)";
/// How vCenter numbers the parts of an event.
pub(super) const VMWARE_PARTS: &str = r"^Event \[(?<id>\d+)\] \[(?<part>\d+)-(?<parts>\d+)\] ";

/// A frame that is so much shorter or longer than a limit was cut at it: at a letter's border, with or without the line end
/// [bytes].
const NEAR: usize = 8;
/// Most parts of a message; a number beyond it is no number of a part.
pub(super) const MOST_PARTS: u32 = 512;
/// Between the `<` of a frame and the name of its host stand at most so many bytes: priority, version, time [bytes].
const LONGEST_FRONT: usize = 64;

/// What a text is to others.
#[derive(Debug)]
pub(super) enum Role<'r> {
    /// A numbered part of several.
    Part(&'r Mark),
    /// A further line; its text begins at this byte.
    Continuation(usize),
    /// A beginning.
    Start,
    /// None of these.
    Other,
}

/// What a numbered part says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) id: String,
    /// From 1.
    pub(super) part: u32,
    pub(super) parts: u32,
    /// Where its own text begins [bytes].
    pub(super) at: usize,
}

pub(super) struct Rules {
    key: Vec<Field>,
    start: Option<Regex>,
    continuation: Option<Regex>,
    parts: Option<Parts>,
    /// [bytes]
    cut_at: Vec<usize>,
    part: Vec<u8>,
}

struct Parts {
    regex: Regex,
    captures: Captures,
    mark: Mark,
}

impl Rules {
    pub(super) fn new(config: &Config) -> Result<Rules, BuildErrors> {
        let mut errors = BuildErrors::new();
        let start = errors.take(regex(&config.start)).flatten();
        let continuation = errors.take(regex(&config.continuation)).flatten();
        let parts = errors.take(regex(&config.parts)).flatten();
        let parts = parts.map(|regex| {
            let names = regex.group_info();
            for name in ["id", "part", "parts"] {
                if names
                    .to_index(regex_automata::PatternID::ZERO, name)
                    .is_none()
                {
                    let message = format!("there is no group called {name:?}");
                    errors.push(
                        BuildError::at(&config.parts, message)
                            .help(format!("write (?<{name}>…) around it")),
                    );
                }
            }
            Parts {
                captures: regex.create_captures(),
                regex,
                mark: Mark::default(),
            }
        });
        errors.finish(Rules {
            key: config.key.iter().map(|path| Field::new(path)).collect(),
            start,
            continuation,
            parts,
            cut_at: config.cut_at.iter().map(|size| size.as_usize()).collect(),
            part: Vec::new(),
        })
    }

    /// What a saved state depends on.
    pub(super) fn meaning(&self) -> String {
        let paths: Vec<&str> = self.key.iter().map(|field| field.path()).collect();
        format!("key {}", paths.join(" "))
    }

    /// Writes what the parts of a message share.
    pub(super) fn key(&mut self, event: &Event, key: &mut Vec<u8>) {
        key.clear();
        for field in &self.key {
            self.part.clear();
            if let Some(value) = event.get(*field) {
                write_key(value, false, &mut self.part);
            }
            pipeline::table::push_key(key, &self.part);
        }
    }

    /// What the text is to others.
    pub(super) fn role(&mut self, text: &str) -> Role<'_> {
        if let Some(parts) = &mut self.parts
            && parts.read(text)
        {
            return Role::Part(&parts.mark);
        }
        if let Some(found) = self.continuation.as_ref().and_then(|r| r.find(text))
            && found.start() == 0
        {
            return Role::Continuation(found.end());
        }
        match &self.start {
            Some(start) if !start.is_match(text) => Role::Other,
            // Nothing is held that nothing could follow.
            _ if self.continuation.is_none() && self.cut_at.is_empty() => Role::Other,
            _ => Role::Start,
        }
    }

    /// Whether the sender cut the message, by the length of its frame.
    pub(super) fn is_full(&self, event: &Event, text: usize) -> bool {
        // Most messages are shorter than any limit.
        if self.cut_at.iter().all(|limit| text + NEAR + 512 < *limit) {
            return false;
        }
        let len = frame_len(event).unwrap_or_else(|| likely_len(event, text));
        self.cut_at.iter().any(|limit| len.abs_diff(*limit) <= NEAR)
    }
}

impl Parts {
    fn read(&mut self, text: &str) -> bool {
        self.regex.search_captures(
            &regex_automata::Input::new(text).anchored(regex_automata::Anchored::Yes),
            &mut self.captures,
        );
        let group = |name| {
            let span = self.captures.get_group_by_name(name)?;
            text.get(span.range())
        };
        let number = |name| group(name)?.parse::<u32>().ok();
        let (Some(whole), Some(id), Some(part), Some(parts)) = (
            self.captures.get_match(),
            group("id"),
            number("part"),
            number("parts"),
        ) else {
            return false;
        };
        if !(2..=MOST_PARTS).contains(&parts) || !(1..=parts).contains(&part) {
            return false;
        }
        let at = whole.end();
        self.mark = Mark {
            id: id.to_owned(),
            part,
            parts,
            at,
        };
        true
    }
}

/// `opID=` in a text: which piece of work it is about.
pub(super) fn operation(text: &str) -> Option<&str> {
    let at = memchr::memmem::find(text.as_bytes(), b"opID=")? + 5;
    let rest = &text[at..];
    let end = rest
        .bytes()
        .position(|b| matches!(b, b' ' | b']' | b',' | b')' | b'\n'))
        .unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// The length of the frame that the event was made of, where its header still stands in front of its text [bytes].
fn frame_len(event: &Event) -> Option<usize> {
    let message = event.span(fields::MESSAGE)?.range();
    let header = [fields::SYSLOG_HOSTNAME, fields::SYSLOG_APPNAME]
        .into_iter()
        .filter_map(|field| event.span(field))
        .map(|span| span.range().start)
        .min()?;
    if header > message.start {
        return None;
    }
    let text = event.buffer()?.text().as_bytes();
    let front = text.get(header.saturating_sub(LONGEST_FRONT)..header)?;
    let back = front.len() - memchr::memrchr(b'<', front)?;
    Some(message.end - (header - back))
}

/// The length of the frame as its sender probably wrote it [bytes].
fn likely_len(event: &Event, text: usize) -> usize {
    let len = |field| event.str(field).map_or(0, str::len);
    let pid = match event.get(fields::PROCESS_PID) {
        Some(ValueRef::Int(pid)) => pid.checked_ilog10().unwrap_or(0) as usize + 1,
        _ => 0,
    };
    // `<166>2026-03-14T22:58:03.412Z host program[pid]: text`
    let program = len(fields::PROCESS_NAME) + if pid > 0 { pid + 2 } else { 0 };
    5 + 24 + 1 + len(fields::HOST_NAME) + 1 + program + 2 + text
}

fn regex(pattern: &Spanned<String>) -> Result<Option<Regex>, BuildErrors> {
    if pattern.is_empty() {
        return Ok(None);
    }
    match Regex::new(pattern) {
        Ok(regex) => Ok(Some(regex)),
        Err(why) => {
            let text = match why.syntax_error() {
                Some(why) => why.to_string(),
                None => why.to_string(),
            };
            // The last line says what it is; those before draw the pattern.
            let message = text.lines().last().unwrap_or("it cannot be understood");
            let message = message.trim_start_matches("error: ").to_owned();
            Err(BuildError::at(pattern, message)
                .help("write a regular expression as of the crate `regex`")
                .into())
        }
    }
}
