//! From the text of a program to something that runs; every mistake with its place.

use std::sync::Arc;

use pipeline::{BuildError, BuildErrors, Context, Field, Spanned};
use vrl::compiler::state::ExternalEnv;
use vrl::compiler::unused_expression_checker::check_for_unused_results;
use vrl::compiler::{CompileConfig, Compiler, Program, TypeState};
use vrl::diagnostic::{Diagnostic, DiagnosticList, Note, Span};
use vrl::value::Kind;
use vrl::value::kind::Collection;

use super::functions::{self, Host, Places, Text};
use super::layout::Layout;
use super::merge;
use super::native::Test;
use super::tree::{self, Facts};

/// A compiled program, shared by all workers.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(super) program: Program,
    pub(super) layout: Layout,
    /// It runs a block once for each element of something, so it needs bounds.
    pub(super) loops: bool,
    /// The same without an interpreter, if it is a condition that allows it.
    pub(super) native: Option<Test>,
    text: String,
}

impl Compiled {
    /// What VRL says at bytes of the program, ` at (25:54)`, said at its line; nobody counts bytes.
    pub(super) fn in_lines(&self, why: &str) -> String {
        let place = |why: &str| {
            let at = why.find(" at (")?;
            let (range, rest) = why[at + 5..].split_once(')')?;
            let start: usize = range.split_once(':')?.0.parse().ok()?;
            let before = self.text.get(..start)?;
            // The line on which the program begins, behind the opening quotes of the string, is its first.
            let line = before.matches('\n').count() + 1;
            Some(format!(
                "{} in line {line} of the program{rest}",
                &why[..at]
            ))
        };
        place(why).unwrap_or_else(|| why.to_owned())
    }
}

/// Where the text of a program stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written<'a> {
    /// In the configuration.
    Here(&'a Spanned<String>),
    /// In a file that this key of the configuration names.
    File {
        /// The key.
        key: &'static str,
        /// The file, as named.
        name: &'a str,
        /// What is in it.
        text: &'a str,
    },
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It changes events.
    Remap,
    /// It says true or false, and changes nothing.
    Condition,
}

/// Compiles a program; what VRL finds doubtful is said to `cx`.
pub(crate) fn compile(
    written: Written<'_>,
    usage: Use,
    cx: &Context,
) -> Result<Arc<Compiled>, BuildErrors> {
    let text = written.text();
    let places = Places::default();
    let said = |found: DiagnosticList| {
        let mut errors = BuildErrors::new();
        errors.extend(found.into_iter().map(|found| written.error(found, &places)));
        errors
    };
    let parsed = vrl::parser::parse(text)
        .map_err(|error| said(DiagnosticList::from(vec![Box::new(error) as Box<_>])))?;
    let (prepared, facts) = tree::prepare(parsed.clone());
    let better = better(&prepared, &facts, usage);
    let mut errors = BuildErrors::new();
    errors.extend(facts.sets_id.iter().map(|at| {
        written
            .at(
                at.range(),
                "`event.id` stays what it was when the event was born",
            )
            .help("keep an id of your own in another field, like `.labels.id`")
    }));
    let state = TypeState {
        local: Default::default(),
        external: ExternalEnv::new_with_kind(event_kind(), Kind::object(Collection::any())),
    };
    let config = || {
        let mut config = CompileConfig::default();
        config.set_custom(Host(cx.host().to_owned()));
        config.set_custom(Text(text.to_owned()));
        config.set_custom(places.clone());
        if usage == Use::Condition {
            config.set_read_only();
        }
        config
    };
    let functions = functions::all();
    let compiled = Compiler::compile(&functions, prepared, &state, config());
    let compiled = errors.take(compiled.map_err(said));
    let compiled = match compiled {
        Some(compiled) if errors.is_empty() => compiled,
        _ => return Err(errors),
    };
    let program = compiled.program;
    if usage == Use::Condition && !program.final_type_info().result.contains_boolean() {
        let error = written
            .at(0..text.len(), "this is never true or false")
            .help("write a comparison like `.host.name == \"pve1\"`, or one expression that is a boolean");
        return Err(error.into());
    }
    let warnings = compiled.warnings.into_iter();
    for warning in warnings.chain(check_for_unused_results(&parsed)) {
        cx.warn(written.error(warning, &places));
    }
    for name in &facts.names {
        Field::new(name);
    }
    // The first told all mistakes; where one of the others does not compile, it is as good.
    let mut better = better.into_iter();
    let better = better.find_map(|(program, tops)| {
        let compiled = Compiler::compile(&functions, program, &state, config()).ok()?;
        Some((compiled.program, tops))
    });
    let (program, tops) = better.unwrap_or((program, false));
    let layout = Layout::of(program.info(), tops, facts.whole);
    let native = (usage == Use::Condition).then(|| Test::of(&parsed, &layout));
    Ok(Arc::new(Compiled {
        native: native.flatten(),
        layout,
        loops: facts.loops,
        text: text.to_owned(),
        program,
    }))
}

/// The same program in other words, best first; and whether it merges into the event.
fn better(
    prepared: &vrl::parser::Program,
    facts: &Facts,
    usage: Use,
) -> Vec<(vrl::parser::Program, bool)> {
    let mut better = Vec::new();
    let bounded = facts
        .multiplies
        .then(|| tree::bound_products(prepared.clone()));
    if usage == Use::Remap && !facts.whole {
        let merging =
            |program: &vrl::parser::Program| Some((merge::rewrite(program.clone())?, true));
        better.extend(bounded.as_ref().and_then(merging));
        better.extend(merging(prepared));
    }
    better.extend(bounded.map(|program| (program, false)));
    better
}

/// What is known of every event: it has a time and an id.
fn event_kind() -> Kind {
    let id = Collection::any().with_known("id", Kind::bytes());
    let event = Collection::any()
        .with_known("@timestamp", Kind::timestamp())
        .with_known("event", Kind::object(id));
    Kind::object(event)
}

impl Written<'_> {
    fn text(&self) -> &str {
        match self {
            Written::Here(text) => text.get(),
            Written::File { text, .. } => text,
        }
    }

    /// A mistake in some bytes of the program. Of a file, the line is shown with it.
    fn at(&self, range: std::ops::Range<usize>, message: impl Into<String>) -> BuildError {
        let len = self.text().len();
        let range = range.start.min(len)..range.end.min(len);
        match self {
            Written::Here(text) => BuildError::inside(text, range, message),
            Written::File { key, name, .. } => {
                let (line, column) = self.line_column(range.start);
                let message = format!("{name}:{line}:{column}: {}", message.into());
                let error = BuildError::key(*key, message);
                match self.snippet(range) {
                    Some(snippet) => error.note(snippet),
                    None => error,
                }
            }
        }
    }

    /// Line and column of a byte, from 1.
    fn line_column(&self, at: usize) -> (usize, usize) {
        let text = self.text();
        let before = &text[..text.floor_char_boundary(at)];
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        (before.matches('\n').count() + 1, column + 1)
    }

    /// The line of a program in a file, with a mark below it; of others the configuration shows it.
    fn snippet(&self, range: std::ops::Range<usize>) -> Option<String> {
        let Written::File { text, .. } = self else {
            return None;
        };
        let (line, column) = self.line_column(range.start);
        let line = text.lines().nth(line - 1)?;
        let marked = text.get(range).and_then(|marked| marked.lines().next());
        let room = line.chars().count().saturating_sub(column - 1).max(1);
        let wide = marked
            .map_or(1, |marked| marked.chars().count())
            .clamp(1, room);
        Some(format!(
            "{line}\n{}{}",
            " ".repeat(column - 1),
            "^".repeat(wide)
        ))
    }

    /// What VRL has found.
    fn error(&self, found: Diagnostic, places: &Places) -> BuildError {
        let primary = found
            .labels
            .iter()
            .find(|label| label.primary)
            .or(found.labels.first());
        let message = match primary {
            Some(label) if label.message.is_empty() || found.message.contains(&label.message) => {
                found.message.clone()
            }
            Some(label) => format!(
                "{}: {}",
                found.message,
                label.message.trim_start_matches("help: ")
            ),
            None => found.message.clone(),
        };
        // What a function's own compiler says comes wrapped, and at the call as a whole.
        let inner = message.strip_prefix("function compilation error: error[");
        let message = inner
            .and_then(|rest| rest.split_once("] "))
            .map_or(message.clone(), |(_, inner)| inner.to_owned());
        let exact = |call: Span| {
            let places = places.0.lock();
            let place = places.iter().find(|(at, _)| *at == call);
            place.map_or(call, |(_, exact)| *exact)
        };
        let range = primary.map_or(0..self.text().len(), |label| exact(label.span).range());
        let (mut notes, mut help) = (Vec::new(), Vec::new());
        notes.extend(self.snippet(range.clone()));
        let mut error = self.at(range, lower(message.trim()));
        for label in found.labels.iter().filter(|label| Some(*label) != primary) {
            if !label.message.is_empty() {
                notes.push(label.message.clone());
            }
        }
        for note in &found.notes {
            match note {
                Note::Hint(text) => help.push(text.clone()),
                Note::Basic(text) if text.trim().is_empty() => {}
                Note::Basic(text) => match text.strip_prefix("try: ") {
                    Some(text) => help.push(text.to_owned()),
                    None => notes.push(text.clone()),
                },
                Note::SeeRepl | Note::SeeLangDocs => {}
                other => notes.push(other.to_string()),
            }
        }
        let marked = primary.and_then(|label| self.text().get(label.span.range()));
        help.extend(remedy(&found.message, marked.unwrap_or_default()).map(str::to_owned));
        if !notes.is_empty() {
            error = error.note(notes.join("\n"));
        }
        if !help.is_empty() {
            error = error.help(help.join("; "));
        }
        error
    }
}

/// What to do about some mistakes of which VRL cannot know why they are some here.
fn remedy(message: &str, marked: &str) -> Option<&'static str> {
    let function = marked.split(['(', '!']).next().unwrap_or_default();
    match (message, function) {
        ("mutation of read-only value", _) => {
            Some("a condition only looks: put a `remap` in front to change something")
        }
        ("call to undefined function", "get_env_var") => {
            Some("no program reads the environment: write \"${VAR}\" outside of programs")
        }
        ("call to undefined function", "http_request" | "dns_lookup" | "reverse_dns") => {
            Some("no program opens a connection: use `enrich` with a table")
        }
        ("call to undefined function", "decode_snappy" | "decode_lz4") => {
            Some("not offered: what is packed so may claim any length")
        }
        ("call to undefined function", "parse_xml" | "parse_ruby_hash" | "unflatten") => {
            Some("not offered: it goes as deep as its text, which a sender chooses")
        }
        ("call to undefined function", "sha1" | "sha2" | "sha3" | "md5" | "hmac") => {
            Some("`sha256(value)` and `hmac_sha256(value, key)` are offered")
        }
        _ => None,
    }
}

/// Our messages begin with a small letter, but for what is a name.
fn lower(message: &str) -> String {
    let mut letters = message.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => first
            .to_lowercase()
            .chain(message.chars().skip(1))
            .collect(),
        _ => message.to_owned(),
    }
}

/// The zone that times without one are in.
pub(crate) fn zone(
    written: Option<&Spanned<String>>,
) -> Result<vrl::compiler::TimeZone, BuildError> {
    let Some(name) = written else {
        return Ok(vrl::compiler::TimeZone::Local);
    };
    vrl::compiler::TimeZone::parse(name.get()).ok_or_else(|| {
        BuildError::at(name, format!("no time zone is called `{}`", name.get()))
            .help("for example 'Europe/Berlin', 'UTC' or 'local'")
    })
}
