//! What a field holds: [`Value`] owns it, [`ValueRef`] looks at it.

use crate::clock::Time;

/// A value that owns its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON `null`.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction; NaN and infinities are written as `null`.
    Float(f64),
    /// A point in time, written as RFC 3339.
    Time(Time),
    /// Text.
    Str(String),
    /// Several values.
    List(Vec<Value>),
    /// Keys in the order they were set.
    Map(Vec<(String, Value)>),
}

/// A value seen through its event: texts are borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// JSON `null`.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A point in time.
    Time(Time),
    /// Text.
    Str(&'a str),
    /// Several values.
    List(&'a [Value]),
    /// Keys and values.
    Map(&'a [(String, Value)]),
}

/// Most values nested in one another; deeper ones become text.
pub const MAX_DEPTH: usize = 16;

impl Value {
    /// Looks at it.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Bool(v) => ValueRef::Bool(*v),
            Value::Int(v) => ValueRef::Int(*v),
            Value::Float(v) => ValueRef::Float(*v),
            Value::Time(v) => ValueRef::Time(*v),
            Value::Str(v) => ValueRef::Str(v),
            Value::List(v) => ValueRef::List(v),
            Value::Map(v) => ValueRef::Map(v),
        }
    }

    /// Bytes it holds on the heap, roughly.
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Value::Str(v) => v.len(),
            Value::List(v) => v.iter().map(|v| size_of::<Value>() + v.heap_size()).sum(),
            Value::Map(v) => v
                .iter()
                .map(|(k, v)| size_of::<(String, Value)>() + k.len() + v.heap_size())
                .sum(),
            _ => 0,
        }
    }

    /// JSON as a value; what is nested deeper than [`MAX_DEPTH`] is kept as its JSON text.
    pub fn from_json(json: serde_json::Value) -> Value {
        Value::from_json_at(json, 0)
    }

    fn from_json_at(json: serde_json::Value, depth: usize) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(v) => Value::Bool(v),
            serde_json::Value::Number(v) => match v.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Float(v.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(v) => Value::Str(v),
            deep if depth >= MAX_DEPTH => Value::Str(deep.to_string()),
            serde_json::Value::Array(v) => Value::List(
                v.into_iter()
                    .map(|v| Value::from_json_at(v, depth + 1))
                    .collect(),
            ),
            serde_json::Value::Object(v) => Value::Map(
                v.into_iter()
                    .map(|(k, v)| (k, Value::from_json_at(v, depth + 1)))
                    .collect(),
            ),
        }
    }
}

impl ValueRef<'_> {
    /// Copies it.
    pub fn to_owned(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(v) => Value::Bool(v),
            ValueRef::Int(v) => Value::Int(v),
            ValueRef::Float(v) => Value::Float(v),
            ValueRef::Time(v) => Value::Time(v),
            ValueRef::Str(v) => Value::Str(v.to_owned()),
            ValueRef::List(v) => Value::List(v.to_vec()),
            ValueRef::Map(v) => Value::Map(v.to_vec()),
        }
    }

    /// As JSON.
    pub fn to_json(self) -> serde_json::Value {
        match self {
            ValueRef::Null => serde_json::Value::Null,
            ValueRef::Bool(v) => v.into(),
            ValueRef::Int(v) => v.into(),
            ValueRef::Float(v) => v.into(),
            ValueRef::Time(v) => v.to_string().into(),
            ValueRef::Str(v) => v.into(),
            ValueRef::List(v) => v.iter().map(|v| v.as_ref().to_json()).collect(),
            ValueRef::Map(v) => v
                .iter()
                .map(|(k, v)| (k.clone(), v.as_ref().to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

impl<'a> ValueRef<'a> {
    /// The text, if it is text.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            ValueRef::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub fn as_int(self) -> Option<i64> {
        match self {
            ValueRef::Int(number) => Some(number),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($type:ty => $arm:ident),* $(,)?) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$arm(value.into())
            }
        })*
    };
}
from!(bool => Bool, i64 => Int, i32 => Int, u32 => Int, u16 => Int, f64 => Float, Time => Time, &str => Str, String => Str, Vec<Value> => List);

impl From<u64> for Value {
    /// A number past the largest `i64` is kept as that largest one.
    fn from(value: u64) -> Value {
        Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
