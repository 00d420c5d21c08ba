//! What a match sets on an event.

use std::fmt;
use std::sync::Arc;

use pipeline::{Event, Field, Span, Time, Value, ValueRef};

use super::cast;
use super::engine::{Outcome, Pattern, Scratch};
use super::expand::Cast;
use super::stamp::Stamp;
use super::{Ready, fancy};

/// Captures below this name serve the transform and are not kept.
const METADATA: &str = "@metadata";

/// How the operator wants fields to be set.
#[derive(Debug)]
pub(super) struct Wishes {
    pub(super) field: String,
    pub(super) keep_empty: bool,
    pub(super) overwrite: Vec<String>,
    pub(super) break_on_match: bool,
}

/// Why an event keeps the fields it had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// No pattern matches.
    NoMatch(Field),
    /// There is no text to read.
    NoText(Field),
    /// A pattern used up its budget.
    Spent(usize),
    /// It matches, but a time could not be read.
    Time(String),
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NoMatch(field) => write!(out, "no grok pattern matches the text of `{field}`"),
            Why::NoText(field) => write!(out, "there is no text in `{field}`"),
            Why::Spent(pattern) => write!(
                out,
                "grok pattern {} went back more than {} times, so whether it matches is not known",
                pattern + 1,
                fancy::BUDGET
            ),
            Why::Time(text) => write!(out, "`{text}` is no time of the format given"),
        }
    }
}

/// One worker's part: what to do for each pattern, and what it keeps between events.
pub(super) struct Reader {
    ready: Arc<Ready>,
    scratch: Scratch,
    source: Field,
    plans: Vec<Plan>,
    stamps: Vec<Stamp>,
    /// The fields of the event before, in their order: the next one mostly has the same.
    shape: Vec<Field>,
}

#[derive(Debug)]
struct Plan {
    actions: Vec<Action>,
    /// Groups that say when it happened, and by which stamp.
    times: Vec<(usize, usize)>,
    /// Whether `Action::direct` holds for events of the shape at hand.
    known: bool,
}

#[derive(Debug)]
struct Action {
    group: usize,
    field: Field,
    cast: Cast,
    overwrite: bool,
    /// Says the time; left out once it was read.
    time: bool,
    /// No other capture of the pattern sets this field or one above or below it.
    alone: bool,
    /// Nor is one there on an event of the shape at hand.
    direct: bool,
}

impl Reader {
    pub(super) fn new(ready: Arc<Ready>) -> Reader {
        Reader {
            scratch: ready.grok.scratch(),
            source: Field::new(&ready.wishes.field),
            plans: ready
                .grok
                .patterns()
                .iter()
                .map(|pattern| Plan::new(pattern, &ready))
                .collect(),
            stamps: ready
                .stamps
                .iter()
                .map(|(_, stamp)| stamp.clone())
                .collect(),
            shape: Vec::new(),
            ready,
        }
    }

    /// Reads the event's text and sets what is captured.
    pub(super) fn read(&mut self, event: &mut Event, now: Time) -> Result<(), Why> {
        let Some(text) = event.str(self.source) else {
            return Err(Why::NoText(self.source));
        };
        if !self.ready.wishes.break_on_match {
            let text = text.to_owned();
            return self.read_all(&text, event, now);
        }
        match self.ready.grok.matches(&mut self.scratch, text) {
            Outcome::Match(pattern) => self.set(pattern, event, now),
            Outcome::NoMatch => Err(Why::NoMatch(self.source)),
            Outcome::Spent(pattern) => Err(Why::Spent(pattern)),
        }
    }

    /// Each pattern reads the text as it was, whatever those before it set.
    fn read_all(&mut self, text: &str, event: &mut Event, now: Time) -> Result<(), Why> {
        let mut result = Err(Why::NoMatch(self.source));
        for pattern in 0..self.plans.len() {
            match self
                .ready
                .grok
                .matches_one(pattern, &mut self.scratch, text)
            {
                Outcome::Match(_) => {
                    let set = self.set_owned(pattern, text, event, now);
                    result = if result.is_err() {
                        set
                    } else {
                        result.and(set)
                    };
                }
                Outcome::NoMatch => {}
                Outcome::Spent(pattern) => return Err(Why::Spent(pattern)),
            }
        }
        result
    }

    fn set(&mut self, pattern: usize, event: &mut Event, now: Time) -> Result<(), Why> {
        let Some(base) = event.span(self.source) else {
            // A short or changed text lies in the event itself: what is captured is copied.
            let text = event.str(self.source).unwrap_or_default().to_owned();
            return self.set_owned(pattern, &text, event, now);
        };
        if !event.fields().eq(self.shape.iter().copied()) {
            self.shape.clear();
            self.shape.extend(event.fields());
            self.plans.iter_mut().for_each(|plan| plan.known = false);
        }
        let plan = &mut self.plans[pattern];
        if !plan.known {
            plan.learn(&self.shape);
        }
        let mut done = Ok(false);
        if !plan.times.is_empty() {
            let text = event.str(self.source).unwrap_or_default();
            done = plan
                .time(text, &self.scratch, &mut self.stamps, now)
                .map(|time| match time {
                    None => false,
                    Some(time) => {
                        event.set_timestamp(time);
                        true
                    }
                });
        }
        let timed = matches!(done, Ok(true));
        let keep_empty = self.ready.wishes.keep_empty;
        for action in &plan.actions {
            if action.time && timed {
                continue;
            }
            let Some((start, len)) = self.scratch.span(action.group) else {
                if keep_empty && !event.has(action.field) {
                    event.set(action.field, Value::Null);
                }
                continue;
            };
            if len == 0 && !keep_empty {
                continue;
            }
            let span = Span {
                at: base.at + start,
                len,
            };
            if action.direct {
                match action.cast {
                    Cast::Text => event.push_span(action.field, span),
                    _ => match action.number(text_of(event, span)) {
                        Some(Value::Int(value)) => event.push_int(action.field, value),
                        Some(value) => event.set(action.field, value),
                        None => event.push_span(action.field, span),
                    },
                }
            } else {
                let value = action
                    .number(text_of(event, span))
                    .unwrap_or_else(|| Value::Str(text_of(event, span).to_owned()));
                if matches!(value, Value::Str(_)) && (action.overwrite || !event.has(action.field))
                {
                    event.set_span(action.field, span);
                } else {
                    action.add(event, value);
                }
            }
        }
        done.map(|_| ())
    }

    fn set_owned(
        &mut self,
        pattern: usize,
        text: &str,
        event: &mut Event,
        now: Time,
    ) -> Result<(), Why> {
        let plan = &self.plans[pattern];
        let time = plan.time(text, &self.scratch, &mut self.stamps, now);
        if let Ok(Some(time)) = time {
            event.set_timestamp(time);
        }
        for action in &plan.actions {
            if action.time && matches!(time, Ok(Some(_))) {
                continue;
            }
            let Some((start, len)) = self.scratch.span(action.group) else {
                if self.ready.wishes.keep_empty && !event.has(action.field) {
                    event.set(action.field, Value::Null);
                }
                continue;
            };
            if len == 0 && !self.ready.wishes.keep_empty {
                continue;
            }
            let text = &text[start as usize..(start + len) as usize];
            action.add(
                event,
                action
                    .number(text)
                    .unwrap_or_else(|| Value::Str(text.to_owned())),
            );
        }
        time.map(|_| ())
    }
}

fn text_of(event: &Event, span: Span) -> &str {
    event
        .buffer()
        .and_then(|buffer| buffer.text().get(span.range()))
        .unwrap_or_default()
}

impl Plan {
    fn new(pattern: &Pattern, ready: &Ready) -> Plan {
        let groups = pattern.groups();
        let stamp_of = |field: &str| ready.stamps.iter().position(|(known, _)| known == field);
        let kept = |field: &str| {
            field != METADATA
                && !field
                    .strip_prefix(METADATA)
                    .is_some_and(|rest| rest.starts_with('.'))
        };
        let actions = pattern
            .order()
            .iter()
            .filter(|&&group| kept(&groups[group].field))
            .map(|&group| {
                let field = &groups[group].field;
                Action {
                    group,
                    field: Field::new(field),
                    cast: groups[group].cast,
                    overwrite: ready.wishes.overwrite.contains(field),
                    time: stamp_of(field).is_some(),
                    alone: groups
                        .iter()
                        .enumerate()
                        .all(|(other, with)| other == group || !related(field, &with.field)),
                    direct: false,
                }
            });
        Plan {
            actions: actions.collect(),
            times: groups
                .iter()
                .enumerate()
                .filter_map(|(at, group)| Some((at, stamp_of(&group.field)?)))
                .collect(),
            known: false,
        }
    }

    /// Finds out what can be set without looking, on events that have these fields.
    fn learn(&mut self, shape: &[Field]) {
        let room = shape.len() + self.actions.len() < pipeline::event::MAX_FIELDS;
        for action in &mut self.actions {
            let free = shape
                .iter()
                .all(|field| !related(field.path(), action.field.path()));
            let plain = action.field != pipeline::fields::TIMESTAMP
                && action.field != pipeline::fields::EVENT_ID;
            // Names beyond those that can be interned share one field.
            action.direct =
                action.alone && free && plain && room && action.field != Field::OVERFLOW;
        }
        self.known = true;
    }

    /// The time that the match says, if one of its captures does.
    fn time(
        &self,
        text: &str,
        scratch: &Scratch,
        stamps: &mut [Stamp],
        now: Time,
    ) -> Result<Option<Time>, Why> {
        for &(group, stamp) in &self.times {
            if let Some((start, len)) = scratch.span(group).filter(|span| span.1 > 0) {
                let text = text
                    .get(start as usize..(start + len) as usize)
                    .unwrap_or_default();
                return match stamps[stamp].read(text, now) {
                    Some(time) => Ok(Some(time)),
                    None => Err(Why::Time(text.to_owned())),
                };
            }
        }
        Ok(None)
    }
}

impl Action {
    /// The value of a captured text, where it is something else than text.
    #[inline]
    fn number(&self, text: &str) -> Option<Value> {
        match self.cast {
            Cast::Text => None,
            Cast::Int => cast::int(text).map(Value::Int),
            Cast::Float => Some(Value::Float(cast::float(text))),
            Cast::Bool => cast::boolean(text).map(Value::Bool),
        }
    }

    /// Sets the field as Logstash does: a text that is there becomes the first of a list, a list grows, a number stays.
    fn add(&self, event: &mut Event, value: Value) {
        if self.field == pipeline::fields::TIMESTAMP || self.overwrite {
            event.set(self.field, value);
            return;
        }
        match event.get(self.field) {
            None => event.set(self.field, value),
            Some(ValueRef::Str(_) | ValueRef::List(_)) => event.append(self.field, value),
            Some(_) => {}
        }
    }
}

/// Whether two paths are the same or one lies above the other.
fn related(a: &str, b: &str) -> bool {
    let above = |a: &str, b: &str| {
        b.strip_prefix(a)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    above(a, b) || above(b, a)
}
