//! A value that knows where in the configuration it was written, so that an error made long after parsing still points there.

use std::any::TypeId;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// A range of bytes in one of the files of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Place {
    /// Nowhere in a file, for values that a program made.
    pub const NONE: Place = Place {
        file: u32::MAX,
        start: 0,
        end: 0,
    };

    /// The first byte of a file.
    pub(crate) fn start_of(file: u32) -> Place {
        Place {
            file,
            start: 0,
            end: 0,
        }
    }

    /// Whether it is somewhere in a file.
    pub fn is_known(self) -> bool {
        self.file != Place::NONE.file
    }
}

/// Marks a newtype whose place the loader's deserializer is to say.
pub(crate) const SPANNED: &str = "$pvetrail::spanned";
/// The same for program text (a condition, a pattern, a regular expression), which is taken as written: no `${…}` in it.
pub(crate) const LITERAL: &str = "$pvetrail::literal";

thread_local! {
    /// Said by the loader's deserializer right before it visits a marked newtype, taken by the visitor at once.
    /// A thread-local, because serde has no other way past a generic deserializer; others never set it.
    static SAID: Cell<Option<Place>> = const { Cell::new(None) };
}

pub(crate) fn say_place(place: Place) {
    SAID.set(Some(place));
}

/// A value and its place in the TOML. `Spanned<String>` is program text (VRL, grok, a regular expression) and is taken as
/// written; every other `Spanned<T>` has its `${…}` filled in like any string.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    value: T,
    place: Place,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub fn new(value: T, place: Place) -> Self {
        Spanned { value, place }
    }

    /// The value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// The value alone.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Where it was written.
    pub fn place(&self) -> Place {
        self.place
    }
}

impl<T> From<T> for Spanned<T> {
    fn from(value: T) -> Self {
        Spanned {
            value,
            place: Place::NONE,
        }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Default> Default for Spanned<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<T: Serialize> Serialize for Spanned<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de> + 'static> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Inner<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Inner<T> {
            type Value = Spanned<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                inner: D,
            ) -> Result<Self::Value, D::Error> {
                let place = SAID.take().unwrap_or(Place::NONE);
                T::deserialize(inner).map(|value| Spanned { value, place })
            }
        }
        let name = if TypeId::of::<T>() == TypeId::of::<String>() {
            LITERAL
        } else {
            SPANNED
        };
        deserializer.deserialize_newtype_struct(name, Inner(PhantomData))
    }
}

/// Program text, or a table that holds it among other things: `condition = '…'`, `condition = { type = "vrl", source = '…' }`.
#[derive(Clone, Debug)]
pub enum TextOr<T> {
    /// The text alone, taken as written.
    Text(Spanned<String>),
    /// The table.
    Table(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outer<T>(PhantomData<T>);
        struct Inner<T>(Place, PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Outer<T> {
            type Value = TextOr<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a table")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                inner: D,
            ) -> Result<Self::Value, D::Error> {
                let place = SAID.take().unwrap_or(Place::NONE);
                inner.deserialize_any(Inner(place, PhantomData))
            }
        }
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Inner<T> {
            type Value = TextOr<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a table")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(Spanned::new(text.to_owned(), self.0)))
            }
            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(TextOr::Table)
            }
        }
        deserializer.deserialize_newtype_struct(LITERAL, Outer(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for TextOr<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<String>();
        let table = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [text, table] })
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
