//! Values that are the same in very many events: kept once for the whole program, and never given up.
//!
//! They are made while the graph is built (words of the catalogue, names of the program), so their number is small; it is
//! bounded all the same. A slot holds such a value's number, and a [`super::JsonWriter`] writes it as part of the skeleton:
//! a constant costs a copy of its bytes and nothing else.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use super::json::write_value;
use super::value::Value;

/// Most constants of one program [values].
const MOST: usize = 8192;

/// A value and its JSON.
pub(super) struct Constant {
    pub(super) value: Value,
    pub(super) json: Box<[u8]>,
}

static TABLE: [OnceLock<Constant>; MOST] = [const { OnceLock::new() }; MOST];
static BY_JSON: LazyLock<Mutex<HashMap<Box<[u8]>, usize>>> = LazyLock::new(Mutex::default);

/// The number of a constant; `None` for a map, whose members events may change, and when the table is full.
pub(super) fn intern(value: Value) -> Option<usize> {
    if matches!(value, Value::Map(_)) {
        return None;
    }
    let mut json = Vec::new();
    write_value(value.as_ref(), &mut json);
    let json = json.into_boxed_slice();
    let mut known = BY_JSON.lock().unwrap_or_else(PoisonError::into_inner);
    // Two values with one JSON may differ (a time and its text), so the type counts.
    let same = |place: &usize| TABLE[*place].get().is_some_and(|held| held.value == value);
    if let Some(place) = known.get(&json)
        && same(place)
    {
        return Some(*place);
    }
    let place = TABLE.iter().position(|place| place.get().is_none())?;
    known.insert(json.clone(), place);
    // Nobody else fills places: the lock is held.
    let _ = TABLE[place].set(Constant { value, json });
    Some(place)
}

/// A constant by its number.
#[inline]
pub(super) fn get(place: usize) -> Option<&'static Constant> {
    TABLE.get(place)?.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_is_kept_once() {
        let list = || Value::List(vec!["host".into(), "configuration".into()]);
        let one = intern(list()).unwrap();
        assert_eq!(intern(list()), Some(one));
        assert_ne!(intern(Value::Str("host".into())), Some(one));
        assert_eq!(get(one).unwrap().value, list());
        assert_eq!(&*get(one).unwrap().json, br#"["host","configuration"]"#);
        assert_eq!(intern(Value::Map(Vec::new())), None);
        assert!(get(MOST).is_none());
    }
}
