//! serde's view of the tree: every value hands out its place, fills its `${…}` in, and takes errors back.

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::de::State;
use super::diagnostic::Diagnostic;
use super::fault::{DeError, Problem};
use super::interpolate;
use super::suggest;
use super::tree::{Entry, Node, Table, Value};
use super::words;
use crate::component::{LITERAL, Place, SPANNED, say_place};

#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The way from the table to a value, kept on the stack.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    pub(super) parent: Option<&'a Path<'a>>,
    pub(super) step: Step<'a>,
}

impl Path<'_> {
    pub(super) fn text(&self) -> String {
        let before = self.parent.map(Path::text).unwrap_or_default();
        match self.step {
            Step::Key(key) => words::join(&before, key),
            Step::Index(n) => format!("{before}[{n}]"),
        }
    }
}

/// The outermost table.
pub(super) struct Named<'a> {
    pub(super) state: &'a State<'a>,
    pub(super) table: &'a Table,
    pub(super) place: Place,
    pub(super) path: &'a Path<'a>,
}

impl<'de> Deserializer<'de> for Named<'_> {
    type Error = DeError;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        let mut entries = Entries::new(self.state, self.table, self.path);
        visitor.visit_map(&mut entries).map_err(|mut e| {
            e.0.place.get_or_insert(self.place);
            e
        })
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What is read from a string that was filled in as if it had no quotes.
macro_rules! spelled {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
            self.spelled(visitor)
        }
    )*};
}

/// One value.
#[derive(Clone, Copy)]
struct One<'a> {
    state: &'a State<'a>,
    node: &'a Node,
    path: &'a Path<'a>,
    literal: bool,
}

impl<'a> One<'a> {
    /// The string with its `${…}` filled in, and whether there were any.
    fn text(&self, raw: &str) -> Result<(String, bool), DeError> {
        if self.literal || self.state.reader.shared.literal {
            return Ok((raw.to_owned(), false));
        }
        let shared = self.state.reader.shared;
        let mut revealed = shared.revealed.borrow_mut();
        match interpolate::fill(raw, shared.env, &mut revealed) {
            Ok(text) => {
                let filled = text != raw;
                Ok((text.into_owned(), filled))
            }
            Err(unfilled) => {
                let full = words::join(&self.state.reader.path, &self.path.text());
                for one in unfilled {
                    let place = shared
                        .files
                        .inside(self.node.place, one.range)
                        .unwrap_or(self.node.place);
                    shared.say(Diagnostic::error(place, full.clone(), one.why).with_help(one.help));
                }
                Err(DeError::new(Problem::Said))
            }
        }
    }

    /// For a number or a truth value: a string that was filled in counts as what it spells.
    fn spelled<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        let Value::Text(raw) = &self.node.value else {
            return self.deserialize_any(visitor);
        };
        let (text, filled) = self
            .text(raw)
            .map_err(|e| e.at(self.node, self.path, false))?;
        let spelled = text.trim();
        let result = if !filled {
            visitor.visit_string(text)
        } else if let Ok(number) = spelled.parse::<i64>() {
            visitor.visit_i64(number)
        } else if let Ok(number) = spelled.parse::<f64>() {
            visitor.visit_f64(number)
        } else if let Ok(is) = spelled.parse::<bool>() {
            visitor.visit_bool(is)
        } else {
            visitor.visit_string(text)
        };
        result.map_err(|e: DeError| e.at(self.node, self.path, filled))
    }
}

impl<'de> Deserializer<'de> for One<'_> {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        let mut filled = false;
        let result = match &self.node.value {
            Value::Text(raw) => self.text(raw).and_then(|(text, was)| {
                filled = was;
                visitor.visit_string(text)
            }),
            Value::Int(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(is) => visitor.visit_bool(*is),
            Value::Date(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items {
                state: self.state,
                items,
                path: self.path,
                at: 0,
            }),
            Value::Table(table) => {
                let mut entries = Entries::new(self.state, table, self.path);
                visitor.visit_map(&mut entries).map_err(|mut e: DeError| {
                    if e.0.place.is_none() {
                        e.0.left_out = table
                            .0
                            .iter()
                            .filter(|entry| self.state.skips(entry.node.place))
                            .map(|entry| entry.key.clone())
                            .collect();
                    }
                    e
                })
            }
        };
        result.map_err(|e: DeError| e.at(self.node, self.path, filled))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let literal = self.literal || name == LITERAL;
        if name == LITERAL || name == SPANNED {
            say_place(self.node.place);
        }
        visitor
            .visit_newtype_struct(One { literal, ..self })
            .map_err(|e| e.at(self.node, self.path, false))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let result = match &self.node.value {
            Value::Text(raw) => self
                .text(raw)
                .and_then(|(text, _)| visitor.visit_enum(text.into_deserializer())),
            Value::Table(table) if table.0.len() == 1 => visitor.visit_enum(Variant {
                one: self,
                entry: &table.0[0],
            }),
            _ => {
                let expected = suggest::either(known.iter().copied(), '"');
                Err(DeError::new(Problem::Type {
                    got: self.node.value.sort().to_owned(),
                    expected,
                }))
            }
        };
        result.map_err(|e: DeError| e.at(self.node, self.path, false))
    }

    spelled! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The entries of a table.
struct Entries<'a> {
    state: &'a State<'a>,
    table: &'a Table,
    path: &'a Path<'a>,
    at: usize,
}

impl<'a> Entries<'a> {
    fn new(state: &'a State<'a>, table: &'a Table, path: &'a Path<'a>) -> Self {
        Entries {
            state,
            table,
            path,
            at: 0,
        }
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_> {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DeError> {
        while self
            .table
            .0
            .get(self.at)
            .is_some_and(|entry| self.state.skips(entry.node.place))
        {
            self.at += 1;
        }
        let Some(entry) = self.table.0.get(self.at) else {
            return Ok(None);
        };
        let name: StringDeserializer<DeError> = entry.key.clone().into_deserializer();
        match seed.deserialize(name) {
            Ok(key) => Ok(Some(key)),
            Err(DeError(inner)) => {
                if let Problem::Unknown { known, .. } = inner.kind {
                    // The seed is used up, so this round ends here; the next one leaves the key out.
                    self.state.unknown(entry, known, self.path);
                    return Err(DeError::new(Problem::Said).leave_out(entry.node.place));
                }
                let path = Path {
                    parent: Some(self.path),
                    step: Step::Key(&entry.key),
                };
                let mut error = DeError(inner)
                    .at(&entry.node, &path, false)
                    .leave_out(entry.node.place);
                error.0.place = Some(entry.key_place);
                Err(error)
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DeError> {
        let entry = &self.table.0[self.at];
        self.at += 1;
        let path = Path {
            parent: Some(self.path),
            step: Step::Key(&entry.key),
        };
        let one = One {
            state: self.state,
            node: &entry.node,
            path: &path,
            literal: false,
        };
        seed.deserialize(one)
            .map_err(|e| e.at(&entry.node, &path, false).leave_out(entry.node.place))
    }
}

/// The items of a list.
struct Items<'a> {
    state: &'a State<'a>,
    items: &'a [Node],
    path: &'a Path<'a>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DeError> {
        while self
            .items
            .get(self.at)
            .is_some_and(|item| self.state.skips(item.place))
        {
            self.at += 1;
        }
        let Some(item) = self.items.get(self.at) else {
            return Ok(None);
        };
        let step = Step::Index(self.at);
        self.at += 1;
        let path = Path {
            parent: Some(self.path),
            step,
        };
        let one = One {
            state: self.state,
            node: item,
            path: &path,
            literal: false,
        };
        seed.deserialize(one)
            .map(Some)
            .map_err(|e| e.at(item, &path, false).leave_out(item.place))
    }
}

/// `{ name = value }` as the variant `name` of an enum.
struct Variant<'a> {
    one: One<'a>,
    entry: &'a Entry,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = DeError;
    type Variant = One<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, One<'a>), DeError> {
        let name: StringDeserializer<DeError> = self.entry.key.clone().into_deserializer();
        let value = seed.deserialize(name)?;
        Ok((
            value,
            One {
                node: &self.entry.node,
                ..self.one
            },
        ))
    }
}

impl<'de> VariantAccess<'de> for One<'_> {
    type Error = DeError;

    fn unit_variant(self) -> Result<(), DeError> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DeError> {
        seed.deserialize(self)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.deserialize_any(visitor)
    }
}

/// The entry of a table whose value serde would call `got`, if there is only one: serde buffers some tables (tagged enums)
/// and then knows neither key nor place.
pub(super) fn meant<'a>(table: &'a Value, got: &str) -> Option<&'a Entry> {
    let Value::Table(table) = table else {
        return None;
    };
    let name = |value: &Value| match value {
        Value::Text(text) => Unexpected::Str(text).to_string(),
        Value::Int(number) => Unexpected::Signed(*number).to_string(),
        Value::Float(number) => Unexpected::Float(*number).to_string(),
        Value::Bool(is) => Unexpected::Bool(*is).to_string(),
        Value::Date(date) => Unexpected::Str(date).to_string(),
        Value::List(_) => Unexpected::Seq.to_string(),
        Value::Table(_) => Unexpected::Map.to_string(),
    };
    let mut hits = table
        .0
        .iter()
        .filter(|entry| name(&entry.node.value) == got);
    hits.next().filter(|_| hits.next().is_none())
}
