//! What is wrong with a configuration: all of it, each with its place, its key path and its remedy.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::component::Place;

/// Whether it stops the program from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but it is probably not what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the program from starting.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// The full key path, like `sinks.es.inputs[0]`; may be empty.
    pub path: String,
    /// What, in one sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// More to know; may have several lines.
    pub note: Option<String>,
    /// Other places that belong to it, with a word about each.
    pub also: Vec<(Place, String)>,
    /// Whether it may only seem so because another mistake hides what is needed.
    pub(crate) guess: bool,
}

impl Diagnostic {
    /// An error.
    pub fn error(place: Place, path: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            place,
            path: path.into(),
            message: message.into(),
            help: None,
            note: None,
            also: Vec::new(),
            guess: false,
        }
    }

    /// A warning.
    pub fn warning(place: Place, path: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(place, path, message)
        }
    }

    /// With its remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Not to be said where a file could not be read as a whole.
    #[must_use]
    pub(crate) fn guessed(mut self) -> Self {
        self.guess = true;
        self
    }

    /// With another place that belongs to it.
    #[must_use]
    pub fn with_also(mut self, place: Place, word: impl Into<String>) -> Self {
        self.also.push((place, word.into()));
        self
    }
}

/// The files of a configuration: their names as given and their text.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<(String, String)>);

/// Line and column, from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineColumn {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Files {
    pub(crate) fn add(&mut self, name: String, text: String) -> u32 {
        self.0.push((name, text));
        u32::try_from(self.0.len() - 1)
            .expect("a configuration has fewer than four thousand million files")
    }

    pub(crate) fn name(&self, file: u32) -> &str {
        self.0.get(file as usize).map_or("", |(name, _)| name)
    }

    pub(crate) fn text(&self, file: u32) -> &str {
        self.0.get(file as usize).map_or("", |(_, text)| text)
    }

    /// The source text of a place.
    pub(crate) fn written(&self, place: Place) -> &str {
        self.text(place.file)
            .get(place.start as usize..place.end as usize)
            .unwrap_or_default()
    }

    pub(crate) fn line_column(&self, file: u32, at: u32) -> LineColumn {
        let text = self.text(file);
        let mut at = (at as usize).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        LineColumn {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// `site.toml:41:11`, or nothing where the place is unknown.
    pub fn describe(&self, place: Place) -> String {
        if !place.is_known() {
            return String::new();
        }
        let at = self.line_column(place.file, place.start);
        format!("{}:{}:{}", self.name(place.file), at.line, at.column)
    }

    /// The place of some bytes of a parsed string, as exactly as the way it is quoted allows; otherwise the whole string.
    pub(crate) fn inside(&self, string: Place, range: Range<usize>) -> Option<Place> {
        let raw = self.written(string);
        let (start, end) = (
            source_offset(raw, range.start)?,
            source_offset(raw, range.end)?,
        );
        let offset = |n: usize| {
            u32::try_from(n)
                .ok()
                .and_then(|n| string.start.checked_add(n))
        };
        Some(Place {
            file: string.file,
            start: offset(start)?,
            end: offset(end.max(start))?,
        })
    }
}

/// Where the `wanted`th byte of the parsed string stands in its quoted form `raw`.
fn source_offset(raw: &str, wanted: usize) -> Option<usize> {
    let (quote, long) = match raw {
        _ if raw.starts_with("'''") => ('\'', true),
        _ if raw.starts_with("\"\"\"") => ('"', true),
        _ if raw.starts_with('\'') => ('\'', false),
        _ if raw.starts_with('"') => ('"', false),
        _ => return None,
    };
    let mut at = if long { 3 } else { 1 };
    if long {
        // A line end right after the opening quotes is not part of the string.
        at += match &raw[at..] {
            rest if rest.starts_with("\r\n") => 2,
            rest if rest.starts_with('\n') => 1,
            _ => 0,
        };
    }
    let end = raw.len().checked_sub(if long { 3 } else { 1 })?;
    if quote == '\'' {
        return (at + wanted <= end).then_some(at + wanted);
    }
    let mut parsed = 0;
    while parsed < wanted && at < end {
        let rest = &raw[at..end];
        let c = rest.chars().next()?;
        if c != '\\' {
            at += c.len_utf8();
            parsed += c.len_utf8();
            continue;
        }
        let escape = rest[1..].chars().next()?;
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
            parsed += char::from_u32(code)?.len_utf8();
            at += 2 + digits;
        } else if escape.is_whitespace() {
            // A backslash at the end of a line swallows all white space up to the next word.
            at += 1 + (rest[1..].len() - rest[1..].trim_start().len());
        } else {
            parsed += 1;
            at += 2;
        }
    }
    (parsed == wanted).then_some(at)
}

/// Everything that is wrong with a configuration, in the order of the files.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    pub(crate) files: Arc<Files>,
    pub(crate) items: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn new(files: Arc<Files>, mut items: Vec<Diagnostic>) -> Self {
        items.sort_by_key(|d| (!d.place.is_known(), d.place, d.severity));
        items.dedup();
        Diagnostics { files, items }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter()
    }

    /// The files they speak of.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Adds one that comes from elsewhere than the files.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many errors.
    pub fn errors(&self) -> usize {
        self.items
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count()
    }

    /// How many warnings.
    pub fn warnings(&self) -> usize {
        self.items.len() - self.errors()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_in_a_parsed_string_is_found_in_every_kind_of_quotes() {
        // Each case: quoted form, offset in the parsed string, the rest of the source from there.
        for (raw, wanted, rest) in [
            ("'a\\d+b'", 4, "b'"),
            ("'''\na.b'''", 2, "b'''"),
            ("\"a\\\\d+b\"", 4, "b\""),
            ("\"\\u00e4b\"", 2, "b\""),
            ("\"ä\\tb\"", 3, "b\""),
            ("\"\"\"\nx \\\n   b\"\"\"", 2, "\\\n   b\"\"\""),
            ("'ab'", 2, "'"),
        ] {
            assert_eq!(
                source_offset(raw, wanted).map(|at| &raw[at..]),
                Some(rest),
                "{raw}"
            );
        }
        assert_eq!(source_offset("'ab'", 3), None);
        assert_eq!(source_offset("17", 0), None);
    }
}
