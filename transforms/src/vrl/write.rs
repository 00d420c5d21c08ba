//! What a program made of its cells, set on the event.

use hashbrown::HashMap;
use pipeline::event::MAX_FIELDS;
use pipeline::{Event, Field, ValueRef, fields};
use vrl::value::{KeyString, ObjectMap, Value as Vrl};

use super::layout::Root;
use super::load::{Shared, Source};
use super::values;

/// Names below a field (or at the top) looked up so far.
const MOST_NAMES: usize = 4096;

/// What a name below a known one is.
#[derive(Clone, Copy, Debug)]
enum Name {
    /// A field, with none below it.
    Field(Field),
    /// Fields lie below it; it need not be one itself.
    Above(Field),
    /// Nothing known, a name from data.
    Unknown,
}

/// Writes values to events; remembers which names are known.
#[derive(Default)]
pub(super) struct Writer {
    names: HashMap<Field, HashMap<KeyString, Name>>,
    top: HashMap<KeyString, Name>,
    remembered: usize,
    /// How many fields were known when the names were looked up.
    fields: usize,
}

/// Whether the event can take this value for that cell; why not, if it cannot.
pub(super) fn check(root: Root, value: Option<&Vrl>) -> Result<(), String> {
    let time = match (root, value) {
        (Root::Time, Some(value)) => Some(value),
        (Root::Whole, Some(Vrl::Object(event))) => event.get("@timestamp"),
        _ => None,
    };
    match time {
        Some(value) if values::as_time(value).is_none() => Err(format!(
            "`@timestamp` cannot be {}: it is a timestamp, or RFC 3339 text",
            short(value)
        )),
        _ => Ok(()),
    }
}

/// How many fields a value can become, counted no further than an event can hold.
pub(super) fn leaves(value: &Vrl) -> usize {
    match value {
        Vrl::Object(members) => {
            let mut sum = 0;
            for value in members.values() {
                sum += leaves(value);
                if sum > MAX_FIELDS {
                    break;
                }
            }
            sum
        }
        _ => 1,
    }
}

/// The kind of a value and its beginning.
fn short(value: &Vrl) -> String {
    let mut text = value.to_string();
    if text.len() > 80 {
        text.truncate(text.floor_char_boundary(80));
        text.push('…');
    }
    format!("the {} {text}", value.kind_str())
}

impl Writer {
    /// Sets what a cell holds. The value has been checked.
    pub(super) fn write(
        &mut self,
        event: &mut Event,
        root: Root,
        source: &Source,
        value: Option<Vrl>,
        shared: &Shared,
    ) -> Result<(), String> {
        self.keep_up();
        match (root, value) {
            (Root::Id, _) | (Root::Time, None) => Ok(()),
            (Root::Time, Some(value)) => {
                if let Some(time) = values::as_time(&value) {
                    event.set_timestamp(time);
                }
                Ok(())
            }
            (Root::Whole, value) => {
                event.strip();
                match value {
                    Some(Vrl::Object(members)) => self.whole(event, members, shared),
                    None => Ok(()),
                    Some(text) => self.set(event, fields::MESSAGE, text, shared),
                }
            }
            (Root::Field(field), None) => {
                event.remove_tree(field);
                Ok(())
            }
            (Root::Field(field), Some(value)) => {
                let plain = matches!(source, Source::Here | Source::Absent);
                if !plain || matches!(value, Vrl::Object(_)) {
                    event.remove_tree(field);
                }
                self.put(event, field, value, shared)
            }
        }
    }

    /// The members of a whole event. Its id stays what it is, and `@metadata` is never kept.
    fn whole(
        &mut self,
        event: &mut Event,
        members: ObjectMap,
        shared: &Shared,
    ) -> Result<(), String> {
        for (key, value) in members {
            self.member(event, &key, value, shared, false)?;
        }
        Ok(())
    }

    /// Sets one member at the top of an event, in the place of what was there.
    pub(super) fn merge(
        &mut self,
        event: &mut Event,
        key: &KeyString,
        value: Vrl,
        shared: &Shared,
    ) -> Result<(), String> {
        self.member(event, key, value, shared, true)
    }

    fn member(
        &mut self,
        event: &mut Event,
        key: &KeyString,
        value: Vrl,
        shared: &Shared,
        over: bool,
    ) -> Result<(), String> {
        match key.as_str() {
            "@metadata" => Ok(()),
            "@timestamp" => {
                if let Some(time) = values::as_time(&value) {
                    event.set_timestamp(time);
                }
                Ok(())
            }
            _ => match self.top(key) {
                Name::Field(field) => self.set(event, field, value, shared),
                Name::Above(field) => {
                    if over {
                        event.remove_tree(field);
                    }
                    self.put(event, field, value, shared)
                }
                Name::Unknown => self.dynamic(event, fields::PVE_EXTRA, key, value),
            },
        }
    }

    /// Sets a field; an object is taken apart into the known fields below it and the map of the other names.
    fn put(
        &mut self,
        event: &mut Event,
        field: Field,
        value: Vrl,
        shared: &Shared,
    ) -> Result<(), String> {
        let open = Field::known_below(field.path()) || field == fields::PVE_EXTRA;
        let members = match value {
            Vrl::Object(members) if open && !members.is_empty() => members,
            other => return self.set(event, field, other, shared),
        };
        for (key, value) in members {
            match self.below(field, &key) {
                Name::Field(below) => self.set(event, below, value, shared)?,
                Name::Above(below) => self.put(event, below, value, shared)?,
                Name::Unknown => self.dynamic(event, field, &key, value)?,
            }
        }
        Ok(())
    }

    /// Sets one field to one value.
    #[inline]
    fn set(
        &mut self,
        event: &mut Event,
        field: Field,
        value: Vrl,
        shared: &Shared,
    ) -> Result<(), String> {
        match value {
            Vrl::Bytes(bytes) => match shared.place(&bytes) {
                Some(span) => event.set_span(field, span),
                None => match std::str::from_utf8(&bytes) {
                    Ok(text) => event.set_str(field, text),
                    Err(_) => event.set(field, values::text(&bytes)),
                },
            },
            Vrl::String(text) => match shared.place(text.as_bytes()) {
                Some(span) => event.set_span(field, span),
                None => event.set_str(field, &text),
            },
            Vrl::Integer(number) => event.set(field, number),
            other => event.set(field, values::from_vrl(other)),
        }
        if event.len() >= MAX_FIELDS && !event.has(field) {
            return Err(full());
        }
        Ok(())
    }

    fn dynamic(
        &mut self,
        event: &mut Event,
        parent: Field,
        key: &str,
        value: Vrl,
    ) -> Result<(), String> {
        event.set_dynamic(parent, key, values::from_vrl(value));
        let taken = match event.get(parent) {
            Some(ValueRef::Map(members)) => {
                members.len() < MAX_FIELDS || members.iter().any(|(held, _)| held == key)
            }
            _ => false,
        };
        if taken { Ok(()) } else { Err(full()) }
    }

    /// Names are looked up again when others have become known since.
    fn keep_up(&mut self) {
        let fields = Field::count();
        if fields != self.fields || self.remembered >= MOST_NAMES {
            self.names.clear();
            self.top.clear();
            (self.fields, self.remembered) = (fields, 0);
        }
    }

    fn top(&mut self, key: &KeyString) -> Name {
        if let Some(name) = self.top.get(key.as_str()) {
            return *name;
        }
        let name = name_of(key);
        if self.remembered < MOST_NAMES {
            self.remembered += 1;
            self.top.insert(key.clone(), name);
        }
        name
    }

    fn below(&mut self, parent: Field, key: &KeyString) -> Name {
        let names = self.names.entry(parent).or_default();
        if let Some(name) = names.get(key.as_str()) {
            return *name;
        }
        // A key with dots in it is one name: as a path it would mean something else.
        let name = match key.contains('.') {
            true => Name::Unknown,
            false => name_of(&format!("{parent}.{key}")),
        };
        if self.remembered < MOST_NAMES {
            self.remembered += 1;
            names.insert(key.clone(), name);
        }
        name
    }
}

/// Interns nothing but beginnings of names that are known.
fn name_of(path: &str) -> Name {
    let above = Field::known_below(path) || path == fields::PVE_EXTRA.path();
    match (above, Field::find(path)) {
        (true, _) => Name::Above(Field::new(path)),
        (false, Some(field)) => Name::Field(field),
        (false, None) => Name::Unknown,
    }
}

fn full() -> String {
    format!("an event has at most {MAX_FIELDS} fields")
}
