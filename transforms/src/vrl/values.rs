//! Values of an event as values of VRL, and back.

use chrono::{DateTime, SecondsFormat, Utc};
use pipeline::event::MAX_DEPTH;
use pipeline::{Time, Value, ValueRef};
use vrl::prelude::{Bytes, NotNan};
use vrl::value::{ObjectMap, Value as Vrl};

/// Copies a value into VRL. What is no number there (NaN) is null, as in JSON.
pub(super) fn to_vrl(value: ValueRef<'_>) -> Vrl {
    match value {
        ValueRef::Null => Vrl::Null,
        ValueRef::Bool(v) => Vrl::Boolean(v),
        ValueRef::Int(v) => Vrl::Integer(v),
        ValueRef::Float(v) => NotNan::new(v).map_or(Vrl::Null, Vrl::Float),
        ValueRef::Time(v) => time(v),
        ValueRef::Str(v) => Vrl::Bytes(Bytes::copy_from_slice(v.as_bytes())),
        ValueRef::List(v) => Vrl::Array(v.iter().map(|v| to_vrl(v.as_ref())).collect()),
        ValueRef::Map(v) => object(v),
    }
}

pub(super) fn time(time: Time) -> Vrl {
    Vrl::Timestamp(DateTime::from_timestamp_nanos(time.0))
}

pub(super) fn object(members: &[(String, Value)]) -> Vrl {
    let members = members
        .iter()
        .map(|(key, value)| (key.as_str().into(), to_vrl(value.as_ref())));
    Vrl::Object(members.collect())
}

/// Turns a value of VRL into one of an event; lists and objects deeper than an event holds them become their JSON text.
pub(super) fn from_vrl(value: Vrl) -> Value {
    from_vrl_at(value, 0)
}

/// The same for the members of an object.
pub(super) fn members(object: ObjectMap, depth: usize) -> Vec<(String, Value)> {
    object
        .into_iter()
        .map(|(key, value)| (String::from(key), from_vrl_at(value, depth)))
        .collect()
}

fn from_vrl_at(value: Vrl, depth: usize) -> Value {
    match value {
        Vrl::Null => Value::Null,
        Vrl::Boolean(v) => Value::Bool(v),
        Vrl::Integer(v) => Value::Int(v),
        Vrl::Float(v) => Value::Float(v.into_inner()),
        Vrl::Timestamp(v) => from_time(&v),
        Vrl::Bytes(v) => Value::Str(text(&v)),
        Vrl::String(v) => Value::Str(v.into()),
        Vrl::Regex(v) => Value::Str(v.as_str().to_owned()),
        deep @ (Vrl::Array(_) | Vrl::Object(_)) if depth >= MAX_DEPTH => {
            Value::Str(deep.to_string())
        }
        Vrl::Array(v) => Value::List(v.into_iter().map(|v| from_vrl_at(v, depth + 1)).collect()),
        Vrl::Object(v) => Value::Map(members(v, depth + 1)),
    }
}

/// A time outside of the years an event can hold (1677 to 2262) is kept as text.
fn from_time(time: &DateTime<Utc>) -> Value {
    match time.timestamp_nanos_opt() {
        Some(nanos) => Value::Time(Time(nanos)),
        None => Value::Str(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
    }
}

/// Bytes as text; what is no UTF-8 is replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The time that a value says.
pub(super) fn as_time(value: &Vrl) -> Option<Time> {
    match value {
        Vrl::Timestamp(time) => time.timestamp_nanos_opt().map(Time),
        Vrl::Bytes(bytes) => Time::parse(std::str::from_utf8(bytes).ok()?),
        Vrl::String(text) => Time::parse(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back_as_it_was() {
        for value in [
            Value::Null,
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Float(-0.5),
            Value::Time(Time(1_773_529_200_123_456_789)),
            Value::Str("grün".to_owned()),
            Value::List(vec![Value::Int(1), Value::Null]),
            Value::Map(vec![
                ("a".to_owned(), Value::List(vec![])),
                ("b.c".to_owned(), Value::Map(vec![])),
            ]),
        ] {
            assert_eq!(from_vrl(to_vrl(value.as_ref())), value);
        }
        assert_eq!(to_vrl(ValueRef::Float(f64::NAN)), Vrl::Null);
    }

    #[test]
    fn what_is_nested_too_deep_becomes_text() {
        let mut deep = Vrl::Integer(1);
        for _ in 0..40 {
            deep = Vrl::Array(vec![deep]);
        }
        let mut value = from_vrl(deep);
        let mut depth = 0;
        while let Value::List(mut list) = value {
            value = list.remove(0);
            depth += 1;
        }
        assert_eq!(depth, MAX_DEPTH);
        let text = value.as_ref().as_str().map(str::to_owned);
        assert_eq!(
            text.as_deref(),
            Some(&*format!("{}1{}", "[".repeat(24), "]".repeat(24)))
        );
    }
}
