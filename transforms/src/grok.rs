//! `grok` reads fields out of a line by patterns like `%{IP:client_ip} %{WORD:method}`.
//!
//! - in: any event; the text of `field` (`message`) is what is read
//! - out: the same events with the captured fields, as Logstash would set them: empty captures are left out, a field that
//!   is there already becomes a list unless `overwrite` names it, `[a][b]` is `a.b`, `[@metadata]` is not kept
//! - no answer (no pattern matches, no text, a pattern went back too often): the event goes on, marked `grok_failed`

mod ast;
pub mod cast;
mod classes;
mod engine;
mod expand;
mod explain;
mod fancy;
mod fields;
mod library;
mod regex;
pub mod sample;
mod scan;
mod stamp;
mod syntax;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use pipeline::{
    Batch, BuildError, BuildErrors, Context, Outputs, Spanned, Transform, TransformConfig,
};
use schemars::JsonSchema;
use serde::Deserialize;

pub use engine::{Counts, Engine, Grok, GrokError, Options, Outcome, Pattern, Scratch};
pub use expand::{Cast, Group};
pub use explain::{Attempt, Captured, Explanation, Failure, Tried, explain, try_line};
pub use library::{Library, LibraryError, Spelling};
pub use sample::Generator;

use fields::{Reader, Wishes};
use stamp::{Stamp, StampError};

/// Captures of shipped patterns that say when a line was written, and how.
const KNOWN_TIMES: &[(&str, &str)] = &[
    ("@metadata.pveproxy_time", "%d/%m/%Y:%H:%M:%S %z"),
    ("@metadata.pve_firewall_time", "%d/%b/%Y:%H:%M:%S %z"),
];

/// Reads fields out of a line by patterns.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Patterns; the first that matches wins. Write them as literal strings, `'%{PVEPROXY_ACCESS}'`.
    patterns: Vec<Spanned<String>>,
    /// Patterns of your own, by name.
    #[serde(default)]
    pattern_definitions: BTreeMap<String, Spanned<String>>,
    /// Folders (or files) with patterns of your own, one a line: `NAME pattern`.
    #[serde(default)]
    patterns_dir: Vec<PathBuf>,
    /// The field whose text is read.
    #[serde(default = "message")]
    field: String,
    /// Turns a capture into `@timestamp`; the capture itself is then not kept.
    timestamp: Option<Timestamp>,
    /// Names of fields in the built-in patterns: those of ECS, or the older ones.
    #[serde(default)]
    ecs_compatibility: Spelling,
    /// Sets fields also where the captured text is empty.
    #[serde(default)]
    keep_empty_captures: bool,
    /// `%{NAME}` without a field sets nothing; `false` sets a field called NAME.
    #[serde(default = "yes")]
    named_captures_only: bool,
    /// Stops at the first pattern that matches; `false` lets each that matches set its fields.
    #[serde(default = "yes")]
    break_on_match: bool,
    /// Fields whose value is replaced; other fields that are there become lists.
    #[serde(default)]
    overwrite: Vec<String>,
    /// Compiled once for all workers.
    #[serde(skip)]
    #[schemars(skip)]
    ready: OnceLock<Result<Arc<Ready>, BuildErrors>>,
}

/// Where `@timestamp` comes from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Timestamp {
    /// The captured field, `timestamp` for example.
    field: String,
    /// `strptime` directives (`%d/%b/%Y:%H:%M:%S %z`), or `iso8601`, `unix`, `unix_ms`.
    format: Spanned<String>,
    /// The zone of texts that have none, `Europe/Berlin` for example; the system's unless told.
    zone: Option<Spanned<String>>,
}

fn message() -> String {
    "message".to_owned()
}

fn yes() -> bool {
    true
}

impl TransformConfig for Config {
    const TYPE: &'static str = "grok";
    const EXAMPLE: &'static str = r#"patterns = ['%{PVEPROXY_ACCESS}', '^%{IP:client.ip} %{INT:http.response.status_code:int}$']
pattern_definitions = { TENANT = '[a-z]{3}\d+' }"#;

    fn build(&self, _: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        let ready = self
            .ready
            .get_or_init(|| self.compile().map(Arc::new))
            .clone()?;
        Ok(Box::new(Running {
            reader: Reader::new(ready),
        }))
    }
}

/// Everything that workers share.
#[derive(Debug)]
struct Ready {
    grok: Grok,
    wishes: Wishes,
    stamps: Vec<(String, Stamp)>,
}

impl Config {
    fn compile(&self) -> Result<Ready, BuildErrors> {
        let mut errors = BuildErrors::new();
        let library = self.library(&mut errors);
        let options = Options {
            named_captures_only: self.named_captures_only,
            only: None,
        };
        if self.patterns.is_empty() {
            errors.push(
                BuildError::key("patterns", "no pattern is given")
                    .help("for example ['%{PVEPROXY_ACCESS}']"),
            );
        }
        let mut broken = Vec::new();
        for (name, text) in &self.pattern_definitions {
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || name.is_empty() {
                errors.push(
                    BuildError::at(text, format!("`{name}` is no name for a pattern"))
                        .help("use letters, digits and `_`"),
                );
            } else if let Err(why) = Pattern::check(text.get(), name, &library) {
                broken.push(name.as_str());
                errors.push(inside(text, why));
            }
        }
        let mut patterns = Vec::new();
        for text in &self.patterns {
            match Pattern::new(text.get(), &library, options) {
                Ok(pattern) => patterns.push(pattern),
                // What is wrong inside a definition is told there.
                Err(why)
                    if why
                        .within
                        .iter()
                        .any(|name| broken.contains(&name.as_str())) => {}
                Err(why) => errors.push(inside(text, why)),
            }
        }
        let complete = patterns.len() == self.patterns.len();
        let grok = Grok::new(patterns);
        let stamps = self.stamps(&grok, complete, &mut errors);
        let wishes = Wishes {
            field: self.field.clone(),
            keep_empty: self.keep_empty_captures,
            overwrite: self.overwrite.clone(),
            break_on_match: self.break_on_match,
        };
        errors.finish(Ready {
            grok,
            wishes,
            stamps,
        })
    }

    fn library(&self, errors: &mut BuildErrors) -> Library {
        let mut library = Library::builtin(self.ecs_compatibility);
        for (at, path) in self.patterns_dir.iter().enumerate() {
            if let Err(why) = library.add_path(path) {
                errors.push(BuildError::key(
                    format!("patterns_dir[{at}]"),
                    why.to_string(),
                ));
            }
        }
        for (name, text) in &self.pattern_definitions {
            library.add(name.clone(), text.get().clone());
        }
        library
    }

    fn stamps(
        &self,
        grok: &Grok,
        complete: bool,
        errors: &mut BuildErrors,
    ) -> Vec<(String, Stamp)> {
        let captured = |field: &str| {
            grok.patterns()
                .iter()
                .any(|pattern| pattern.groups().iter().any(|group| group.field == field))
        };
        let asked = self.timestamp.as_ref().map(|wanted| wanted.field.as_str());
        // A shipped pattern knows its own time, whatever the others of the list are told.
        let known = KNOWN_TIMES
            .iter()
            .filter(|(field, _)| captured(field) && asked != Some(field));
        let mut stamps: Vec<_> = known
            .filter_map(|(field, format)| {
                Some(((*field).to_owned(), Stamp::new(format, None).ok()?))
            })
            .collect();
        let Some(wanted) = &self.timestamp else {
            return stamps;
        };
        if complete && !captured(&wanted.field) {
            errors.push(
                BuildError::key(
                    "timestamp.field",
                    format!("no pattern captures `{}`", wanted.field),
                )
                .help(
                    "name a field that a pattern sets, like `timestamp` in %{HTTPDATE:timestamp}",
                ),
            );
        }
        let zone = wanted.zone.as_ref().map(|zone| zone.get().as_str());
        let mistakes = match Stamp::new(wanted.format.get(), zone) {
            Ok(stamp) => {
                stamps.push((wanted.field.clone(), stamp));
                return stamps;
            }
            Err(mistakes) => mistakes,
        };
        errors.extend(mistakes.into_iter().map(|mistake| match (mistake, &wanted.zone) {
            (StampError::Zone(name), Some(zone)) => {
                BuildError::at(zone, format!("no time zone is called `{name}`"))
                    .help("for example 'Europe/Berlin', 'UTC' or 'local'")
            }
            (StampError::Format(why) | StampError::Zone(why), _) => {
                BuildError::at(&wanted.format, format!("this is no format of a time: {why}"))
                    .help("write strptime directives like '%d/%b/%Y:%H:%M:%S %z', or iso8601, unix, unix_ms")
            }
        }));
        Vec::new()
    }
}

/// A pattern's error, pointing into its string.
fn inside(text: &Spanned<String>, why: GrokError) -> BuildError {
    let from = why.offset.min(text.len());
    let to = text[from..]
        .char_indices()
        .nth(1)
        .map_or(text.len(), |(at, _)| from + at);
    let error = BuildError::inside(text, from..to.max(from), why.what);
    match why.help {
        Some(help) => error.help(help),
        None => error,
    }
}

struct Running {
    reader: Reader,
}

impl Transform for Running {
    fn apply(&mut self, mut batch: Batch, out: &mut Outputs) {
        let now = out.now();
        for event in &mut batch.events {
            if let Err(why) = self.reader.read(event, now) {
                out.error(event, why);
            }
        }
        out.push(batch);
    }
}

#[cfg(test)]
mod tests;
