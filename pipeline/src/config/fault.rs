//! serde's error with everything a good message needs: the place, the key path, the value.

use std::fmt;

use serde::de::{self, Unexpected};

use super::tree::{Node, Value};
use super::values::Path;
use crate::component::Place;

/// What was wrong, before it is put into words.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Already reported.
    Said,
    Unknown {
        key: String,
        known: &'static [&'static str],
    },
    Variant {
        written: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    Type {
        got: String,
        expected: String,
    },
    Custom(String),
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) kind: Problem,
    pub(super) place: Option<Place>,
    pub(super) path: String,
    /// The value, for remedies; and whether `${…}` was filled in.
    pub(crate) node: Option<(Value, bool)>,
    /// The value to leave out next time.
    pub(super) leave_out: Option<Place>,
    /// Keys of the table at hand that were left out, because they have been reported.
    pub(super) left_out: Vec<String>,
}

/// serde's error, with the place it gets on its way up.
#[derive(Debug)]
pub(crate) struct DeError(pub(super) Box<Inner>);

impl DeError {
    pub(super) fn new(kind: Problem) -> Self {
        DeError(Box::new(Inner {
            kind,
            place: None,
            path: String::new(),
            node: None,
            leave_out: None,
            left_out: Vec::new(),
        }))
    }

    /// The innermost place counts.
    pub(super) fn at(mut self, node: &Node, path: &Path<'_>, filled: bool) -> Self {
        if self.0.place.is_none() {
            self.0.place = Some(node.place);
            self.0.path = path.text();
            self.0.node = Some((node.value.clone(), filled));
        }
        self
    }

    pub(super) fn leave_out(mut self, place: Place) -> Self {
        self.0.leave_out.get_or_insert(place);
        self
    }
}

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.kind)
    }
}

impl std::error::Error for DeError {}

impl de::Error for DeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DeError::new(Problem::Custom(message.to_string()))
    }
    fn invalid_type(got: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        DeError::new(Problem::Type {
            got: got.to_string(),
            expected: expected.to_string(),
        })
    }
    fn invalid_value(got: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(got, expected)
    }
    fn unknown_variant(written: &str, known: &'static [&'static str]) -> Self {
        DeError::new(Problem::Variant {
            written: written.to_owned(),
            known,
        })
    }
    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        DeError::new(Problem::Unknown {
            key: key.to_owned(),
            known,
        })
    }
    fn missing_field(key: &'static str) -> Self {
        DeError::new(Problem::Missing(key))
    }
}
