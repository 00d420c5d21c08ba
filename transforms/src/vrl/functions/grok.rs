//! `parse_grok(value, pattern)` by our own engines, with the patterns that the transform `grok` knows.
//!
//! - a name with dots or brackets becomes an object in an object; what several groups of one name capture becomes a list
//! - `:int`, `:float` and `:bool` make numbers and truth values; what is none stays text
//! - the texts are pieces of the text that was read, not copies of them

use std::sync::Arc;

use parking_lot::Mutex;
use pipeline::Field;
use vrl::compiler::codes::ExprCode;
use vrl::diagnostic::{Label, Span};
use vrl::prelude::*;

use super::{Places, Text};
use crate::grok::cast;
use crate::grok::{Cast, Grok, GrokError, Library, Options, Outcome, Pattern, Scratch, Spelling};

/// `parse_grok(value, pattern)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParseGrok;

impl Function for ParseGrok {
    fn identifier(&self) -> &'static str {
        "parse_grok"
    }
    fn usage(&self) -> &'static str {
        "Reads fields out of a text by a grok pattern."
    }
    fn category(&self) -> &'static str {
        Category::Parse.as_ref()
    }
    fn internal_failure_reasons(&self) -> &'static [&'static str] {
        &["The pattern does not match the text."]
    }
    fn return_kind(&self) -> u16 {
        kind::OBJECT
    }
    fn examples(&self) -> &'static [Example] {
        &[]
    }
    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[
            Parameter::required("value", kind::BYTES, "The text."),
            Parameter::required("pattern", kind::BYTES, "The pattern."),
        ];
        PARAMETERS
    }
    fn compile(
        &self,
        state: &TypeState,
        ctx: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let value = arguments.required("value");
        let text = arguments.required_literal("pattern", state)?;
        let text = text.try_bytes_utf8_lossy().unwrap_or_default().into_owned();
        let library = Library::shared(Spelling::EcsV1);
        let pattern = Pattern::new(&text, library, Options::default()).map_err(|why| {
            let program = ctx.get_external_context::<Text>();
            let program = program.map_or("", |text| text.0.as_str());
            let span = place(program, ctx.span(), &text, why.offset);
            if let Some(places) = ctx.get_external_context::<Places>() {
                places.0.lock().push((ctx.span(), span));
            }
            Box::new(Mistake { why, span }) as Box<dyn DiagnosticMessage>
        })?;
        let ready = Arc::new(Ready::new(pattern));
        Ok(GrokFn {
            value,
            ready,
            scratch: Scratches::default(),
        }
        .as_expr())
    }
}

/// Where in the program the pattern is wrong; the whole call if the pattern is not written there as it is.
fn place(program: &str, call: Span, pattern: &str, offset: usize) -> Span {
    let written = program
        .get(call.range())
        .and_then(|text| text.find(pattern));
    match written {
        Some(at) if !pattern.is_empty() => {
            let from = call.start() + at + offset;
            let wide = program.get(from..).and_then(|rest| rest.chars().next());
            Span::new(from, from + wide.map_or(0, char::len_utf8))
        }
        _ => call,
    }
}

#[derive(Debug)]
struct Mistake {
    why: GrokError,
    span: Span,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.why.what)
    }
}

impl std::error::Error for Mistake {}

impl DiagnosticMessage for Mistake {
    fn code(&self) -> usize {
        ExprCode::InvalidGrokPattern as usize
    }
    fn labels(&self) -> Vec<Label> {
        vec![Label::primary("", self.span)]
    }
    fn notes(&self) -> Vec<Note> {
        let help = self.why.help.iter();
        help.map(|help| Note::Hint(help.clone())).collect()
    }
}

/// What all workers share.
#[derive(Debug)]
struct Ready {
    grok: Grok,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    number: usize,
    cast: Cast,
    keys: Vec<KeyString>,
}

impl Ready {
    fn new(pattern: Pattern) -> Ready {
        let groups = pattern.order().iter().map(|&number| {
            let group = &pattern.groups()[number];
            // A program that makes these names the event's fields is to find them known.
            Field::new(&group.field);
            Group {
                number,
                cast: group.cast,
                keys: group.field.split('.').map(KeyString::from).collect(),
            }
        });
        let groups = groups.collect();
        Ready {
            grok: Grok::new(vec![pattern]),
            groups,
        }
    }
}

/// What the engines keep between lines. Every worker has a copy of the program, and so one of its own: it is locked by
/// nobody else.
#[derive(Debug, Default)]
struct Scratches(Mutex<Option<Scratch>>);

impl Clone for Scratches {
    fn clone(&self) -> Scratches {
        Scratches::default()
    }
}

#[derive(Clone, Debug)]
struct GrokFn {
    value: Box<dyn Expression>,
    ready: Arc<Ready>,
    scratch: Scratches,
}

impl FunctionExpression for GrokFn {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let bytes = self.value.resolve(ctx)?.try_bytes()?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Err("the text is no UTF-8".into());
        };
        let mut scratch = self.scratch.0.lock();
        let scratch = scratch.get_or_insert_with(|| self.ready.grok.scratch());
        match self.ready.grok.matches(scratch, text) {
            Outcome::Match(_) => {}
            Outcome::NoMatch => return Err("the grok pattern does not match".into()),
            Outcome::Spent(_) => {
                return Err(
                    "the grok pattern went back too often to tell whether it matches".into(),
                );
            }
        }
        let mut object = ObjectMap::new();
        for group in &self.ready.groups {
            if let Some((start, len)) = scratch.span(group.number) {
                let (start, end) = (start as usize, (start + len) as usize);
                let value = number(group.cast, &text[start..end])
                    .unwrap_or_else(|| Value::Bytes(bytes.slice(start..end)));
                add(&mut object, &group.keys, value);
            }
        }
        Ok(Value::Object(object))
    }

    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::object(Collection::any()).fallible()
    }
}

/// The value of a captured text, where it is something else than text.
fn number(wanted: Cast, text: &str) -> Option<Value> {
    match wanted {
        Cast::Text => None,
        Cast::Int => cast::int(text).map(Value::Integer),
        Cast::Float => NotNan::new(cast::float(text)).ok().map(Value::Float),
        Cast::Bool => cast::boolean(text).map(Value::Boolean),
    }
}

fn add(object: &mut ObjectMap, keys: &[KeyString], value: Value) {
    let Some((first, rest)) = keys.split_first() else {
        return;
    };
    match (object.get_mut(first.as_str()), rest.is_empty()) {
        (None, true) => {
            object.insert(first.clone(), value);
        }
        (None, false) => {
            let mut below = ObjectMap::new();
            add(&mut below, rest, value);
            object.insert(first.clone(), Value::Object(below));
        }
        (Some(Value::Object(below)), false) => add(below, rest, value),
        (Some(Value::Array(list)), true) => list.push(value),
        (Some(held), true) => {
            *held = Value::Array(vec![std::mem::replace(held, Value::Null), value]);
        }
        // A name that is already a text cannot have names below it.
        (Some(_), false) => {}
    }
}
