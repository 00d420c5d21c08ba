//! A field as rules name it: a known field, or a way through the maps and lists above it.

use std::sync::LazyLock;

use pipeline::{Event, Field, Value, ValueRef, fields};

static RECORD: LazyLock<Field> = LazyLock::new(|| Field::new("pve.record"));

/// Where something is looked up: an event, or one map of a list.
#[derive(Clone, Copy)]
pub(super) enum Root<'a> {
    Event(&'a Event),
    Map(&'a [(String, Value)]),
}

/// A dotted path, looked up once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    name: Box<str>,
    field: Field,
    /// Fields above it, the nearest first, and what is left of the path below each.
    above: Box<[(Field, Box<str>)]>,
}

impl Path {
    /// The path as written. Names come from rules, never from events.
    pub fn new(name: &str) -> Path {
        let dots = name.rmatch_indices('.');
        let above = dots.map(|(dot, _)| (Field::new(&name[..dot]), name[dot + 1..].into()));
        Path {
            field: Field::new(name),
            above: above.collect(),
            name: name.into(),
        }
    }

    /// As it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shows every value at this path (the items of lists, one by one; never `null`) until `look` says true; whether it did.
    #[inline]
    pub(super) fn any(&self, root: Root<'_>, look: &mut dyn FnMut(ValueRef<'_>) -> bool) -> bool {
        let event = match root {
            Root::Event(event) => event,
            Root::Map(map) => return below(map, &self.name, look),
        };
        if self.field == fields::EVENT_ID {
            let mut hex = [0; 32];
            event.id().write_hex(&mut hex);
            return std::str::from_utf8(&hex).is_ok_and(|text| look(ValueRef::Str(text)));
        }
        if let Some(value) = event.get(self.field) {
            return each(value, look);
        }
        // Names that came from data lie in a map under a known name.
        for (field, rest) in &self.above {
            let found = match event.get(*field) {
                Some(ValueRef::Map(map)) => below(map, rest, look),
                Some(ValueRef::List(list)) => maps(list, rest, look),
                _ => false,
            };
            if found {
                return true;
            }
        }
        false
    }

    /// Whether an event is the primary record of what happened.
    pub(super) fn is_primary(event: &Event) -> bool {
        event.str(*RECORD) == Some("primary")
    }

    /// Events that are read from JSON have a field only if it is known by then.
    pub(super) fn make_known() {
        LazyLock::force(&RECORD);
    }

    /// The first value of an event at this path.
    pub fn first<T>(&self, event: &Event, mut read: impl FnMut(ValueRef<'_>) -> T) -> Option<T> {
        let mut found = None;
        self.any(Root::Event(event), &mut |value| {
            found = Some(read(value));
            true
        });
        found
    }

    /// Shows every value of an event at this path, the items of lists one by one.
    pub fn each(&self, event: &Event, mut look: impl FnMut(ValueRef<'_>)) {
        self.any(Root::Event(event), &mut |value| {
            look(value);
            false
        });
    }

    /// The number that an event has at this path; a text that spells one counts.
    pub fn number(&self, event: &Event) -> Option<f64> {
        let read =
            |value: ValueRef<'_>| super::number::Number::of(value).map(|number| number.as_f64());
        self.first(event, read)
            .flatten()
            .filter(|number| number.is_finite())
    }
}

fn each(value: ValueRef<'_>, look: &mut dyn FnMut(ValueRef<'_>) -> bool) -> bool {
    match value {
        ValueRef::Null => false,
        ValueRef::List(list) => list.iter().any(|item| each(item.as_ref(), look)),
        value => look(value),
    }
}

fn maps(list: &[Value], rest: &str, look: &mut dyn FnMut(ValueRef<'_>) -> bool) -> bool {
    list.iter().any(|item| match item {
        Value::Map(map) => below(map, rest, look),
        Value::List(list) => maps(list, rest, look),
        _ => false,
    })
}

fn below(map: &[(String, Value)], rest: &str, look: &mut dyn FnMut(ValueRef<'_>) -> bool) -> bool {
    map.iter().any(|(key, value)| {
        let Some(left) = rest.strip_prefix(key.as_str()) else {
            return false;
        };
        if left.is_empty() {
            return each(value.as_ref(), look);
        }
        let Some(left) = left.strip_prefix('.') else {
            return false;
        };
        match value {
            Value::Map(map) => below(map, left, look),
            Value::List(list) => maps(list, left, look),
            _ => false,
        }
    })
}
