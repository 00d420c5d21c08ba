//! From the tree of values to a component's struct, in such a way that one run finds every mistake.
//!
//! serde stops at the first error. So the reader writes it down, leaves the offending value out and reads again, until
//! nothing new turns up; unknown keys do not even stop it. What is missing is said once per table, all keys at a time.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::value::StringDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::diagnostic::{Diagnostic, Files};
use super::env::Env;
use super::interpolate;
use super::tree::{Entry, Node, Table, Value};
use super::words;
use crate::component::{LITERAL, Place, SPANNED, say_place};

/// Most mistakes reported for one table: beyond that the file is not what it seems to be.
const MOST: usize = 100;

/// What all readers of one load share.
pub(crate) struct Shared<'a> {
    pub(crate) env: &'a dyn Env,
    pub(crate) files: &'a Files,
    pub(crate) found: RefCell<Vec<Diagnostic>>,
    /// What variables, files and credentials stood for, so that no message shows it.
    pub(crate) revealed: RefCell<Vec<(String, String)>>,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(env: &'a dyn Env, files: &'a Files) -> Self {
        Shared {
            env,
            files,
            found: RefCell::default(),
            revealed: RefCell::default(),
        }
    }

    pub(crate) fn say(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }
}

/// Reads one table into a struct.
pub(crate) struct Reader<'a> {
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) table: &'a Table,
    /// Where the table begins, for what is missing in it.
    pub(crate) place: Place,
    /// Key path of the table.
    pub(crate) path: String,
    /// Keys that are known here but read by someone else, for did-you-mean.
    pub(crate) others: &'a [&'static str],
    /// What the table is, for messages: `type "file"`, `[admin]`.
    pub(crate) what: String,
}

impl Reader<'_> {
    /// The struct, or `None` when something was wrong; everything that was is in the shared list.
    pub(crate) fn read<T: DeserializeOwned + JsonSchema>(&self) -> Option<T> {
        let state = State {
            reader: self,
            left_out: RefCell::default(),
            failed: Cell::new(false),
        };
        let here = Path {
            parent: None,
            step: Step::Key(""),
        };
        for _ in 0..MOST {
            let root = Named {
                state: &state,
                table: self.table,
                place: self.place,
                path: &here,
            };
            let error = match T::deserialize(root) {
                Ok(value) => return (!state.failed.get()).then_some(value),
                Err(error) => *error.0,
            };
            state.failed.set(true);
            let Some(entry) = self.report::<T>(&state, error) else {
                return None;
            };
            if !state.left_out.borrow_mut().insert(entry) {
                return None;
            }
        }
        None
    }

    /// Writes the error down and returns the place of the value to leave out next time, if there is one.
    fn report<T: JsonSchema>(&self, state: &State<'_>, error: Inner) -> Option<Place> {
        let place = error.place.unwrap_or(self.place);
        let full = words::join(&self.path, &error.path);
        match &error.kind {
            Problem::Said => {}
            Problem::Missing(key) if error.place.is_none_or(|p| p == self.place) => {
                self.missing::<T>(state, key);
                return None;
            }
            Problem::Missing(key) => {
                if !error.left_out_keys.contains(&(*key).to_owned()) {
                    self.shared.say(
                        Diagnostic::error(
                            place,
                            &full,
                            format!("`{}` is missing", words::join(&full, key)),
                        )
                        .with_help(format!("add {key} = …")),
                    );
                }
            }
            // From a table that serde buffers (a tagged enum): the key is found by its name.
            Problem::Unknown { key, known } => {
                if let Some((Value::Table(table), _)) = &error.node
                    && let Some(entry) = table.get(key)
                {
                    let (message, help) = words::unknown_key(
                        key,
                        &entry.node,
                        known,
                        &[],
                        &format!("`{}`", error.path),
                    );
                    self.shared.say(
                        Diagnostic::error(entry.key_place, words::join(&full, key), message)
                            .with_help(help),
                    );
                } else {
                    self.shared.say(Diagnostic::error(
                        place,
                        &full,
                        format!("there is no key `{key}` here"),
                    ));
                }
            }
            problem => {
                let (message, help) = words::say(problem, error.node.as_ref(), &full, &self.what);
                self.shared.say(Diagnostic {
                    help,
                    ..Diagnostic::error(place, &full, message)
                });
            }
        }
        error.leave_out
    }

    /// Every required key that the table lacks, by the schema; at least `key`, which serde asked for.
    fn missing<T: JsonSchema>(&self, state: &State<'_>, key: &str) {
        let schema = T::json_schema(&mut SchemaGenerator::default());
        let properties = schema.get("properties");
        let required = schema
            .get("required")
            .and_then(|r| r.as_array())
            .into_iter()
            .flatten()
            .filter_map(|k| k.as_str());
        let mut keys: Vec<&str> = required.collect();
        if !keys.contains(&key) {
            keys.push(key);
        }
        for key in keys {
            // A key that is there but wrong has been reported as that.
            if self.table.get(key).is_some() || state.misspelt(key) {
                continue;
            }
            let about = properties
                .and_then(|p| p.get(key))
                .and_then(|p| p.get("description"))
                .and_then(|d| d.as_str());
            let about = about
                .and_then(|d| d.lines().next())
                .map(|d| format!(" ({})", d.trim_end_matches('.')))
                .unwrap_or_default();
            let sample = words::sample(properties.and_then(|p| p.get(key)));
            self.shared.say(
                Diagnostic::error(
                    self.place,
                    &self.path,
                    format!("{} needs `{key}`{about}", self.what),
                )
                .with_help(format!("add {key} = {sample}")),
            );
        }
    }
}

struct State<'a> {
    reader: &'a Reader<'a>,
    /// Places of values that are left out, since they have been reported.
    left_out: RefCell<HashSet<Place>>,
    failed: Cell<bool>,
}

impl State<'_> {
    fn skips(&self, place: Place) -> bool {
        self.left_out.borrow().contains(&place)
    }

    /// Whether an unknown key was already taken for a misspelling of `key`.
    fn misspelt(&self, key: &str) -> bool {
        let help = format!("did you mean `{key}`?");
        self.reader
            .shared
            .found
            .borrow()
            .iter()
            .any(|d| d.help.as_deref() == Some(&help) && words::parent(&d.path) == self.reader.path)
    }

    fn unknown(&self, entry: &Entry, expected: &[&str], path: &Path<'_>) {
        self.failed.set(true);
        let others = if path.parent.is_none() {
            self.reader.others
        } else {
            &[]
        };
        let full = words::join(&words::join(&self.reader.path, &path.text()), &entry.key);
        let what = if path.parent.is_none() {
            self.reader.what.clone()
        } else {
            format!("`{}`", path.text())
        };
        let (message, help) = words::unknown_key(&entry.key, &entry.node, expected, others, &what);
        self.reader
            .shared
            .say(Diagnostic::error(entry.key_place, full, message).with_help(help));
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The way from the table to a value, kept on the stack.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

impl Path<'_> {
    fn text(&self) -> String {
        let before = self.parent.map(Path::text).unwrap_or_default();
        match self.step {
            Step::Key(key) => words::join(&before, key),
            Step::Index(n) => format!("{before}[{n}]"),
        }
    }
}

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
    place: Option<Place>,
    path: String,
    /// The value, for remedies; and whether `${…}` was filled in.
    pub(crate) node: Option<(Value, bool)>,
    /// The value to leave out next time.
    leave_out: Option<Place>,
    left_out_keys: Vec<String>,
}

/// serde's error, with the place it gets on its way up.
#[derive(Debug)]
pub(crate) struct DeError(Box<Inner>);

impl DeError {
    fn new(kind: Problem) -> Self {
        DeError(Box::new(Inner {
            kind,
            place: None,
            path: String::new(),
            node: None,
            leave_out: None,
            left_out_keys: Vec::new(),
        }))
    }

    /// The innermost place counts.
    fn at(mut self, node: &Node, path: &Path<'_>, filled: bool) -> Self {
        if self.0.place.is_none() {
            self.0.place = Some(node.place);
            self.0.path = path.text();
            self.0.node = Some((node.value.clone(), filled));
        }
        self
    }

    fn leave_out(mut self, place: Place) -> Self {
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

/// The outermost table.
struct Named<'a> {
    state: &'a State<'a>,
    table: &'a Table,
    place: Place,
    path: &'a Path<'a>,
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
        if self.literal {
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
                        e.0.left_out_keys = table
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
                let expected = format!(
                    "one of {}",
                    super::suggest::list(known.iter().copied(), '"')
                );
                Err(DeError::new(Problem::Type {
                    got: self.node.value.sort().to_owned(),
                    expected,
                }))
            }
        };
        result.map_err(|e: DeError| e.at(self.node, self.path, false))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
    }
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.spelled(visitor)
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
