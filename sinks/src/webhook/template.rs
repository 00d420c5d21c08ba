//! A body as the operator writes it, in the language of Jinja. Whatever an event says stays inside the value it was
//! written as: the place where a value stands decides how it is escaped.
//!
//! - JSON: as a JSON value; between the quotes of a string of the template, as a part of that string
//! - HTML, XML: entities · a form: percent-encoded · other types: as it is
//! - a field that is not there is an error of its event; a program that does not end runs out of fuel

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior};
use pipeline::{
    BuildError, BuildErrors, Event, EventId, Events, Reason, ReasonKind, Spanned, Time,
};
use serde_json::Value as Json;

use super::form::Room;

/// The name it goes by inside the engine.
const NAME: &str = "template";

/// Steps of one body to start with, and more for each event; a step also stands for 64 bytes of memory.
const FUEL: (u64, u64) = (50_000, 2_000);

/// Most steps of one body, about 64 MiB.
const MAX_FUEL: u64 = 1_000_000;

/// Stands around each value while the body is made, and never in a template or in JSON.
const MARK: char = '\0';

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    Json,
    Markup,
    Form,
    None,
}

impl Escape {
    fn of(content_type: &str) -> Escape {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let kind = kind.to_ascii_lowercase();
        if kind.ends_with("json") {
            Escape::Json
        } else if kind.ends_with("html") || kind.ends_with("xml") {
            Escape::Markup
        } else if kind == "application/x-www-form-urlencoded" {
            Escape::Form
        } else {
            Escape::None
        }
    }
}

/// A template that was read.
pub(super) struct Template {
    environment: Environment<'static>,
    content_type: String,
    escape: Escape,
    /// Whether it tells of one event (`event`) or of all of a batch (`events`).
    single: bool,
}

impl Template {
    pub(super) fn new(
        text: &Spanned<String>,
        content_type: Option<&str>,
    ) -> Result<Template, BuildErrors> {
        let mut errors = BuildErrors::new();
        let content_type = content_type.unwrap_or("application/json");
        if !content_type.bytes().all(|b| (0x20..0x7f).contains(&b)) || !content_type.contains('/') {
            errors.push(BuildError::key(
                "encoding.content_type",
                "is no media type, like `application/json`",
            ));
        }
        if let Some(at) = text.find(MARK) {
            errors.push(BuildError::inside(
                text,
                at..at + 1,
                "NUL has no place in a template",
            ));
        }
        let escape = Escape::of(content_type);
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_debug(false);
        environment.set_recursion_limit(64);
        environment.set_auto_escape_callback(move |_| match escape {
            Escape::Markup => AutoEscape::Html,
            // The formatters below do it; what a block of the template has made is known as such.
            Escape::Json | Escape::Form => AutoEscape::Custom("own".into()),
            Escape::None => AutoEscape::None,
        });
        // Escaping is not left to the one who writes the template, and so cannot be forgotten or taken back.
        for name in ["safe", "escape", "e"] {
            environment.remove_filter(name);
        }
        environment.add_filter("tojson", |value: Value| value);
        match escape {
            Escape::Json => environment.set_formatter(json_value),
            Escape::Form => environment.set_formatter(form_value),
            Escape::Markup | Escape::None => {}
        }
        if let Err(why) = environment.add_template_owned(NAME, text.get().clone()) {
            errors.push(told(text, &why));
            return Err(errors);
        }
        let names = environment
            .get_template(NAME)
            .map(|template| template.undeclared_variables(false))
            .unwrap_or_default();
        let (one, all) = (names.contains("event"), names.contains("events"));
        let known = ["event", "events"];
        let globals: Vec<String> = environment
            .globals()
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in &names {
            if !known.contains(&name.as_str()) && !globals.contains(name) {
                let at = text.find(name.as_str()).unwrap_or_default();
                errors.push(
                    BuildError::inside(
                        text,
                        at..at + name.len(),
                        format!("`{name}` is nothing a template knows"),
                    )
                    .help("a field of an event is `event.user.name`"),
                );
            }
        }
        match (one, all) {
            (true, true) => {
                errors.push(BuildError::at(text, "has both `event` and `events`").help(
                    "`event`: a request for each event; `{% for e in events %}`: one for a batch",
                ))
            }
            (false, false) if errors.is_empty() => errors.push(
                BuildError::at(text, "says nothing of its events")
                    .help("write `{{ event.message }}`, or `{% for e in events %}…{% endfor %}`"),
            ),
            _ => {}
        }
        if errors.is_empty()
            && let Some(why) = unknown_word(&mut environment)
        {
            errors.push(told(text, &why));
        }
        errors.finish(Template {
            environment,
            content_type: content_type.to_owned(),
            escape,
            single: one,
        })
    }

    pub(super) fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Fills `out`; says how many events that is about, and why they cannot be written.
    pub(super) fn fill(
        &mut self,
        events: &Events,
        from: usize,
        room: Room,
        out: &mut Vec<u8>,
    ) -> (usize, Result<(), Reason>) {
        let rest = events.len() - from;
        if self.single {
            let event = events.iter().skip(from).take(1).map(Node::value);
            return (
                1,
                self.render(
                    "event",
                    event.collect::<Vec<_>>().pop().unwrap_or_default(),
                    1,
                    out,
                ),
            );
        }
        let mut count = rest.min(room.events).max(1);
        loop {
            let list: Vec<Value> = events
                .iter()
                .skip(from)
                .take(count)
                .map(Node::value)
                .collect();
            let result = self.render("events", list.into(), count, out);
            if result.is_ok() && out.len() > room.bytes && count > 1 {
                count /= 2;
                continue;
            }
            return (count, result);
        }
    }

    fn render(
        &mut self,
        name: &str,
        value: Value,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        out.clear();
        self.environment
            .set_fuel(Some((FUEL.0 + FUEL.1 * count as u64).min(MAX_FUEL)));
        let refused = |why: String| Reason::new(ReasonKind::Mapping, why);
        let context = Value::from_pairs([(name, value)]);
        let made = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render(context))
            .map_err(|why| refused(said(&why)))?;
        match self.escape {
            Escape::Json => {
                placed(&made, out);
                serde_json::from_slice::<serde::de::IgnoredAny>(out)
                    .map_err(|why| refused(format!("the template makes no JSON: {why}")))?;
            }
            _ => out.extend_from_slice(made.as_bytes()),
        }
        Ok(())
    }
}

/// A filter, test or function there is none of is found only by running: once over an event without fields, where what is
/// absent does not matter.
fn unknown_word(environment: &mut Environment<'static>) -> Option<minijinja::Error> {
    let sample = || Node::value(&Event::new(EventId::default(), Time(0)));
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL.0));
    let context = Value::from_pairs([
        ("event", sample()),
        ("events", Value::from(vec![sample(), sample()])),
    ]);
    let result = environment
        .get_template(NAME)
        .and_then(|template| template.render(context));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let kinds = [
        ErrorKind::UnknownFilter,
        ErrorKind::UnknownTest,
        ErrorKind::UnknownFunction,
    ];
    result.err().filter(|why| kinds.contains(&why.kind()))
}

/// A mistake of the template, where it stands.
fn told(text: &Spanned<String>, why: &minijinja::Error) -> BuildError {
    let what = why
        .detail()
        .map_or_else(|| why.kind().to_string(), str::to_owned);
    match why.range().or_else(|| line(text, why.line()?)) {
        Some(range) if range.end <= text.len() => BuildError::inside(text, range, what),
        _ => BuildError::at(text, what),
    }
}

fn line(text: &str, number: usize) -> Option<std::ops::Range<usize>> {
    let line = text.lines().nth(number.checked_sub(1)?)?;
    let from = line.as_ptr() as usize - text.as_ptr() as usize;
    Some(from..from + line.len())
}

/// The same while it runs, for the dead letter.
fn said(why: &minijinja::Error) -> String {
    let line = why
        .line()
        .map_or_else(String::new, |line| format!(" in line {line}"));
    let what = match why.kind() {
        ErrorKind::OutOfFuel => "takes too long".to_owned(),
        ErrorKind::UndefinedError => {
            let which = why
                .detail()
                .map_or_else(String::new, |detail| format!(" ({detail})"));
            format!(
                "needs a field that this event does not have{which}; `event[\"a.b\"] | default(\"-\")` does not"
            )
        }
        kind => why
            .detail()
            .map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
    };
    pipeline::printable(&format!("the template{line} {what}")).into_owned()
}

/// Writes a value as JSON between two marks; `placed` finds out later where it stands.
fn json_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    defined(state, value)?;
    // What a block of the template itself has made is in its form already.
    if value.is_safe() {
        return write(out, value.as_str().unwrap_or_default());
    }
    let json = serde_json::to_string(value)
        .map_err(|why| minijinja::Error::new(ErrorKind::BadSerialization, why.to_string()))?;
    write(out, &format!("{MARK}{json}{MARK}"))
}

/// Writes a value as a field of a form.
fn form_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    defined(state, value)?;
    let text = value.to_string();
    if value.is_safe() {
        return write(out, &text);
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    write(out, &encoded)
}

fn defined(state: &State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    let strict = state.undefined_behavior() == UndefinedBehavior::Strict;
    if strict && value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    Ok(())
}

fn write(out: &mut Output<'_>, text: &str) -> Result<(), minijinja::Error> {
    out.write_str(text)
        .map_err(|_| minijinja::Error::new(ErrorKind::WriteFailure, "the body cannot be written"))
}

/// Takes the marks away: a value that stands inside a string of the template becomes a part of that string.
fn placed(made: &str, out: &mut Vec<u8>) {
    let mut inside = false;
    let mut escape = false;
    for (n, piece) in made.split(MARK).enumerate() {
        if n % 2 == 0 {
            for byte in piece.bytes() {
                match byte {
                    _ if escape => escape = false,
                    b'\\' if inside => escape = true,
                    b'"' => inside = !inside,
                    _ => {}
                }
            }
            out.extend_from_slice(piece.as_bytes());
        } else if !inside {
            out.extend_from_slice(piece.as_bytes());
        } else if let Some(text) = piece
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
        {
            out.extend_from_slice(text.as_bytes());
        } else {
            // A number, a list or an object as text.
            let quoted = Json::from(piece).to_string();
            out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
        }
    }
}

/// An object of an event: its members, and `event["a.b"]` for the member of a member that may not be there.
#[derive(Debug)]
struct Node(serde_json::Map<String, Json>);

impl Node {
    fn value(event: &Event) -> Value {
        node(event.to_json())
    }
}

fn node(json: Json) -> Value {
    match json {
        Json::Object(members) => Value::from_object(Node(members)),
        Json::Array(list) => list.into_iter().map(node).collect(),
        Json::String(text) => Value::from(text),
        Json::Bool(word) => Value::from(word),
        Json::Null => Value::from(()),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(broken)) => Value::from(broken),
            (None, None) => Value::from(number.to_string()),
        },
    }
}

impl Object for Node {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let path = key.as_str()?;
        let mut members = &self.0;
        let mut rest = path;
        loop {
            if let Some(found) = members.get(rest) {
                return Some(node(found.clone()));
            }
            let (name, below) = rest.split_once('.')?;
            members = members.get(name)?.as_object()?;
            rest = below;
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|key| Value::from(key.as_str())).collect())
    }
}
