//! Where the cells of a program find their values in an event.
//!
//! Events of one stream mostly have the same fields in the same order. That sequence decides where each cell looks, so
//! it is worked out once for each sequence and kept.

use pipeline::{Buffer, Event, Field, Value, ValueRef, fields};
use vrl::prelude::{Bytes, KeyString};
use vrl::value::{ObjectMap, Value as Vrl};

use super::layout::Root;
use super::values;

/// Sequences of fields kept; with more the list starts over.
const MOST_SHAPES: usize = 256;

/// Where one cell finds its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// Nowhere.
    Absent,
    /// In its own field.
    Here,
    /// In the fields below it, and in a map of its own if `own` says so.
    Below {
        own: bool,
        fields: Vec<(Field, Vec<KeyString>)>,
    },
    /// Perhaps in a map above it: the field of the map, and the path below that; the nearest first.
    Above(Vec<(Field, String)>),
}

struct Shape {
    fields: Vec<Field>,
    sources: Vec<Source>,
}

/// The sequences of fields met so far.
#[derive(Default)]
pub(super) struct Shapes {
    known: Vec<Shape>,
    last: usize,
}

impl Shapes {
    /// Looks at the fields of an event: afterwards `sources` are those for it.
    #[inline]
    pub(super) fn meet(&mut self, roots: &[Root], event: &Event) {
        let fits = |shape: &Shape| event.fields().eq(shape.fields.iter().copied());
        if self.known.get(self.last).is_some_and(fits) {
            return;
        }
        self.last = match self.known.iter().position(fits) {
            Some(place) => place,
            None => self.learn(roots, event),
        };
    }

    #[cold]
    fn learn(&mut self, roots: &[Root], event: &Event) -> usize {
        if self.known.len() >= MOST_SHAPES {
            self.known.clear();
        }
        let fields: Vec<Field> = event.fields().collect();
        self.known.push(Shape {
            sources: roots
                .iter()
                .map(|root| Source::of(*root, &fields))
                .collect(),
            fields,
        });
        self.known.len() - 1
    }

    /// Where the cell finds its value in the event met last.
    pub(super) fn source(&self, cell: usize) -> &Source {
        const ABSENT: &Source = &Source::Absent;
        self.known
            .get(self.last)
            .and_then(|shape| shape.sources.get(cell))
            .unwrap_or(ABSENT)
    }
}

impl Source {
    fn of(root: Root, shape: &[Field]) -> Source {
        let always = [fields::TIMESTAMP, fields::EVENT_ID];
        let all = || always.iter().chain(shape).copied();
        let field = match root {
            Root::Whole => {
                let names = |field: Field| (field, keys(field.path()));
                return Source::Below {
                    own: false,
                    fields: all().map(names).collect(),
                };
            }
            Root::Time | Root::Id => return Source::Here,
            Root::Field(field) => field,
        };
        let own = shape.contains(&field);
        let below: Vec<_> = all()
            .filter_map(|other| Some((other, keys(below(field.path(), other.path())?))))
            .collect();
        if !below.is_empty() {
            return Source::Below { own, fields: below };
        }
        if own {
            return Source::Here;
        }
        let mut above: Vec<_> = shape
            .iter()
            .filter_map(|other| Some((*other, below_text(other.path(), field.path())?)))
            .collect();
        above.sort_by_key(|(_, rest)| rest.len());
        if above.is_empty() {
            Source::Absent
        } else {
            Source::Above(above)
        }
    }
}

fn below<'a>(upper: &str, lower: &'a str) -> Option<&'a str> {
    lower.strip_prefix(upper)?.strip_prefix('.')
}

fn below_text(upper: &str, lower: &str) -> Option<String> {
    below(upper, lower).map(str::to_owned)
}

fn keys(path: &str) -> Vec<KeyString> {
    path.split('.').map(KeyString::from).collect()
}

/// The text of the buffer that the events at hand point into, as bytes that VRL can share.
#[derive(Default)]
pub(super) struct Shared(Option<(Buffer, Bytes)>);

struct Owner(Buffer);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.text().as_bytes()
    }
}

impl Shared {
    /// Holds the buffer of this event from now on.
    #[inline]
    pub(super) fn hold(&mut self, event: &Event) {
        let Some(buffer) = event.buffer() else {
            self.0 = None;
            return;
        };
        // While one is held, no other can lie in its place.
        let same = |held: &(Buffer, Bytes)| std::ptr::eq(held.0.text(), buffer.text());
        if !self.0.as_ref().is_some_and(same) {
            self.0 = Some((buffer.clone(), Bytes::from_owner(Owner(buffer.clone()))));
        }
    }

    /// Lets go of it, so that it can be filled again.
    pub(super) fn let_go(&mut self) {
        self.0 = None;
    }

    #[inline]
    fn text(&self, event: &Event, field: Field) -> Option<Vrl> {
        let span = event.span(field)?;
        let (_, bytes) = self.0.as_ref()?;
        (span.range().end <= bytes.len()).then(|| Vrl::Bytes(bytes.slice(span.range())))
    }

    /// Where `text` lies in the buffer, if it is a piece of it and nothing is cut in two.
    #[inline]
    pub(super) fn place(&self, text: &[u8]) -> Option<pipeline::Span> {
        let (buffer, bytes) = self.0.as_ref()?;
        let at = (text.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
        let end = at
            .checked_add(text.len())
            .filter(|end| *end <= bytes.len())?;
        let whole = buffer.text().is_char_boundary(at) && buffer.text().is_char_boundary(end);
        whole.then_some(())?;
        Some(pipeline::Span {
            at: u32::try_from(at).ok()?,
            len: u32::try_from(text.len()).ok()?,
        })
    }
}

/// The value of one field.
#[inline]
fn field_value(event: &Event, field: Field, shared: &Shared) -> Option<Vrl> {
    if let Some(text) = shared.text(event, field) {
        return Some(text);
    }
    if field == fields::EVENT_ID {
        return Some(Vrl::from(event.id().to_string()));
    }
    event.get(field).map(values::to_vrl)
}

/// The value of a cell.
pub(super) fn load(root: Root, source: &Source, event: &Event, shared: &Shared) -> Option<Vrl> {
    match (root, source) {
        (Root::Time, _) => Some(values::time(event.timestamp())),
        (Root::Id, _) => field_value(event, fields::EVENT_ID, shared),
        (_, Source::Absent) | (Root::Whole, Source::Here | Source::Above(_)) => None,
        (Root::Field(field), Source::Here) => field_value(event, field, shared),
        (_, Source::Below { own, fields }) => {
            let mut object = ObjectMap::new();
            if let (true, Root::Field(field)) = (own, root)
                && let Some(ValueRef::Map(members)) = event.get(field)
                && let Vrl::Object(members) = values::object(members)
            {
                object = members;
            }
            for (field, keys) in fields {
                if let Some(value) = field_value(event, *field, shared) {
                    put(&mut object, keys, value);
                }
            }
            Some(Vrl::Object(object))
        }
        (Root::Field(_), Source::Above(maps)) => maps.iter().find_map(|(map, rest)| {
            let Some(ValueRef::Map(members)) = event.get(*map) else {
                return None;
            };
            dig(members, rest).map(|value| values::to_vrl(value.as_ref()))
        }),
    }
}

fn put(object: &mut ObjectMap, keys: &[KeyString], value: Vrl) {
    let Some((last, before)) = keys.split_last() else {
        return;
    };
    let mut object = object;
    for key in before {
        let below = object
            .entry(key.clone())
            .or_insert_with(|| Vrl::Object(ObjectMap::new()));
        let Vrl::Object(below) = below else {
            return;
        };
        object = below;
    }
    match (object.get_mut(last), value) {
        // A map of names from data, and known names below it that came first.
        (Some(Vrl::Object(held)), Vrl::Object(members)) => {
            for (key, value) in members {
                held.entry(key).or_insert(value);
            }
        }
        (_, value) => {
            object.insert(last.clone(), value);
        }
    }
}

/// What stands at `path` in a map whose keys may have dots in them.
fn dig<'a>(members: &'a [(String, Value)], path: &str) -> Option<&'a Value> {
    members.iter().find_map(|(key, value)| {
        let rest = path.strip_prefix(key.as_str())?;
        if rest.is_empty() {
            return Some(value);
        }
        match (rest.strip_prefix('.'), value) {
            (Some(rest), Value::Map(below)) => dig(below, rest),
            _ => None,
        }
    })
}
