//! Diagnostics for people (place, message, the line with a caret, the remedy) and for programs (JSON).
//!
//! What a configuration file contains is printed with control characters replaced and with secrets covered.

use std::fmt::Write;

use serde::Serialize;

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::suggest;
use crate::component::Place;

/// Longest part of a source line that is shown [characters].
const WIDTH: usize = 120;

struct Paint {
    on: bool,
}

impl Paint {
    fn wrap(&self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
    fn severity(&self, severity: Severity, text: &str) -> String {
        self.wrap(
            if severity == Severity::Error {
                "1;31"
            } else {
                "1;33"
            },
            text,
        )
    }
    fn bold(&self, text: &str) -> String {
        self.wrap("1", text)
    }
    fn dim(&self, text: &str) -> String {
        self.wrap("34", text)
    }
}

impl Diagnostics {
    /// For a terminal; `colour` adds escape sequences.
    pub fn render(&self, colour: bool) -> String {
        let paint = Paint { on: colour };
        let mut out = String::new();
        for item in &self.items {
            self.render_one(item, &paint, &mut out);
            out.push('\n');
        }
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        match (self.errors(), self.warnings()) {
            (0, 0) => {}
            (0, w) => out.push_str(&count(w, "warning")),
            (e, 0) => out.push_str(&count(e, "error")),
            (e, w) => _ = write!(out, "{}, {}", count(e, "error"), count(w, "warning")),
        }
        if !self.items.is_empty() {
            out.push('\n');
        }
        out
    }

    fn render_one(&self, item: &Diagnostic, paint: &Paint, out: &mut String) {
        let word = if item.severity == Severity::Error {
            "error"
        } else {
            "warning"
        };
        let place = self.files.describe(item.place);
        let colon = if place.is_empty() { "" } else { ": " };
        let head = paint.severity(item.severity, word);
        _ = writeln!(
            out,
            "{}{colon}{head}: {}",
            clean(&place),
            paint.bold(&clean(&item.message))
        );
        if item.place.is_known() {
            self.snippet(item.place, &item.path, paint, Some(item.severity), out);
        }
        for (place, word) in &item.also {
            _ = writeln!(
                out,
                "  {} {}: {}",
                paint.dim("::"),
                clean(&self.files.describe(*place)),
                clean(word)
            );
            self.snippet(*place, "", paint, None, out);
        }
        for (label, text) in [("note", &item.note), ("help", &item.help)] {
            if let Some(text) = text {
                let mut lines = text.lines();
                let first = lines.next().unwrap_or_default();
                _ = writeln!(
                    out,
                    "  {} {}: {}",
                    paint.dim("="),
                    paint.bold(label),
                    clean(first)
                );
                for line in lines {
                    _ = writeln!(out, "          {}", clean(line));
                }
            }
        }
    }

    fn snippet(
        &self,
        place: Place,
        label: &str,
        paint: &Paint,
        severity: Option<Severity>,
        out: &mut String,
    ) {
        let text = self.files.text(place.file);
        let at = self.files.line_column(place.file, place.start);
        let Some(line) = text.lines().nth(at.line - 1) else {
            return;
        };
        let covered = cover_secrets(line);
        let shown: Vec<char> = covered
            .chars()
            .map(|c| if c == '\t' { ' ' } else { visible(c) })
            .collect();
        let start = (at.column - 1).min(shown.len());
        let until = self.files.line_column(place.file, place.end);
        // A place of several lines (a table, a long string) is marked on its first.
        let end = if until.line == at.line {
            (until.column - 1).clamp(start, shown.len())
        } else {
            shown.len()
        };
        let width = (end - start).max(1);
        // A long line is shown around its mark.
        let from = if shown.len() > WIDTH {
            start.saturating_sub(WIDTH / 3)
        } else {
            0
        };
        let to = shown.len().min(from + WIDTH);
        let (lead, tail) = (
            if from > 0 { "…" } else { "" },
            if to < shown.len() { "…" } else { "" },
        );
        let number = at.line.to_string();
        let gutter = " ".repeat(number.len());
        let bar = paint.dim("|");
        let body: String = shown[from..to].iter().collect();
        _ = writeln!(out, "{gutter} {bar}");
        _ = writeln!(
            out,
            "{} {bar} {lead}{}{tail}",
            paint.dim(&number),
            body.trim_end()
        );
        let marks = "^".repeat(width.min(to.saturating_sub(start).max(1)));
        let marks = severity.map_or_else(|| paint.dim(&marks), |s| paint.severity(s, &marks));
        let pad = " ".repeat(start - from + lead.chars().count());
        let label = if label.is_empty() {
            String::new()
        } else {
            format!(" {}", paint.dim(&clean(label)))
        };
        _ = writeln!(out, "{gutter} {bar} {pad}{marks}{label}");
    }

    /// For programs: a list of objects with `severity`, `file`, `line`, `column`, `path`, `message`, `help`.
    pub fn to_json(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct At<'a> {
            file: &'a str,
            line: usize,
            column: usize,
            end_line: usize,
            end_column: usize,
        }
        #[derive(Serialize)]
        struct Other<'a> {
            #[serde(flatten)]
            at: Option<At<'a>>,
            message: &'a str,
        }
        #[derive(Serialize)]
        struct Item<'a> {
            severity: Severity,
            #[serde(flatten)]
            at: Option<At<'a>>,
            path: &'a str,
            message: &'a str,
            help: Option<&'a str>,
            note: Option<&'a str>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            also: Vec<Other<'a>>,
        }
        let at = |place: Place| {
            place.is_known().then(|| {
                let (start, end) = (
                    self.files.line_column(place.file, place.start),
                    self.files.line_column(place.file, place.end),
                );
                At {
                    file: self.files.name(place.file),
                    line: start.line,
                    column: start.column,
                    end_line: end.line,
                    end_column: end.column,
                }
            })
        };
        let items: Vec<Item<'_>> = self
            .items
            .iter()
            .map(|item| Item {
                severity: item.severity,
                at: at(item.place),
                path: &item.path,
                message: &item.message,
                help: item.help.as_deref(),
                note: item.note.as_deref(),
                also: item
                    .also
                    .iter()
                    .map(|(place, word)| Other {
                        at: at(*place),
                        message: word,
                    })
                    .collect(),
            })
            .collect();
        serde_json::to_value(items).expect("strings and numbers are valid JSON")
    }
}

/// A character that leaves the terminal alone.
fn visible(c: char) -> char {
    if c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
    {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

fn clean(text: &str) -> String {
    text.chars().map(visible).collect()
}

const SECRET_KEYS: [&str; 12] = [
    "password",
    "passwd",
    "token",
    "api_key",
    "apikey",
    "secret",
    "key_pass",
    "hmac_sha256",
    "operator_token",
    "auditor_token",
    "authorization",
    "passphrase",
];

/// Whether a key probably holds a secret; also when it is misspelled, as that is when its line is shown.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    SECRET_KEYS.iter().any(|secret| {
        // Few misspell the beginning, and words like `parsed` are near to one.
        let alike = key.get(..3) == secret.get(..3);
        key.ends_with(secret) || alike && suggest::distance(&key, secret) <= 2.min(secret.len() / 3)
    })
}

/// Replaces what stands in quotes after a key that probably holds a secret by as many dots; `${…}` alone may be seen.
fn cover_secrets(line: &str) -> String {
    let mut out: Vec<char> = line.chars().collect();
    let mut key = String::new();
    let mut at = 0;
    while at < out.len() {
        let c = out[at];
        if c == '"' || c == '\'' {
            let end = string_end(&out, at);
            let inner: String = out[at + 1..end].iter().collect();
            let after = out[(end + 1).min(out.len())..]
                .iter()
                .find(|c| !c.is_whitespace());
            if after == Some(&'=') {
                key = inner;
            } else if is_secret_key(&key)
                && !(inner.starts_with("${") && inner.ends_with('}') && !inner.contains(":-"))
            {
                for c in &mut out[at + 1..end] {
                    *c = '•';
                }
            } else {
                cover_address(&mut out[at + 1..end]);
            }
            at = end + 1;
        } else if c.is_alphanumeric() || c == '_' || c == '-' {
            let end = (at..out.len())
                .find(|i| !(out[*i].is_alphanumeric() || matches!(out[*i], '_' | '-')))
                .unwrap_or(out.len());
            let word: String = out[at..end].iter().collect();
            let after = out[end..].iter().find(|c| !c.is_whitespace());
            if matches!(after, Some('=' | '.')) {
                key = word;
            } else if is_secret_key(&key) && line.contains('=') && out[..at].contains(&'=') {
                // A secret whose quotes were forgotten is a syntax error, and its line is shown.
                for c in &mut out[at..end] {
                    *c = '•';
                }
            }
            at = end;
        } else if c == '#' {
            break;
        } else {
            at += 1;
        }
    }
    out.into_iter().collect()
}

/// Covers the password in `scheme://user:password@host`.
fn cover_address(text: &mut [char]) {
    let Some(start) = text.windows(3).position(|three| three == [':', '/', '/']) else {
        return;
    };
    let rest = &mut text[start + 3..];
    let host = rest
        .iter()
        .position(|c| matches!(c, '/' | '?' | '#'))
        .unwrap_or(rest.len());
    let Some(at) = rest[..host].iter().rposition(|c| *c == '@') else {
        return;
    };
    if let Some(colon) = rest[..at].iter().position(|c| *c == ':') {
        rest[colon + 1..at].fill('•');
    }
}

fn string_end(chars: &[char], open: usize) -> usize {
    let quote = chars[open];
    let mut at = open + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' && quote == '"' {
            2
        } else {
            1
        };
    }
    at.min(chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered_in_the_lines_that_are_shown() {
        for (line, shown) in [
            ("password = \"hunter2\"", "password = \"•••••••\""),
            ("pasword = 'hunter2' # x", "pasword = '•••••••' # x"),
            (
                "auth = { user = \"a\", password = \"b\\\"c\" }",
                "auth = { user = \"a\", password = \"••••\" }",
            ),
            ("\"api_key\" = \"abc\"", "\"api_key\" = \"•••\""),
            ("token = \"${cred:pve}\"", "token = \"${cred:pve}\""),
            ("token = \"${PVE:-abc}\"", "token = \"•••••••••••\""),
            ("password = hunter2", "password = •••••••"),
            ("password = \"hunter2", "password = \"•••••••"),
            ("auth.password = \"x\"", "auth.password = \"•\""),
            ("inputs = [\"a\"]", "inputs = [\"a\"]"),
            (
                "uri = \"https://me:p@ss@es1:9200/x@y\"",
                "uri = \"https://me:••••@es1:9200/x@y\"",
            ),
            ("uri = \"https://es1:9200\"", "uri = \"https://es1:9200\""),
        ] {
            assert_eq!(cover_secrets(line), shown);
        }
    }

    #[test]
    fn no_line_makes_the_cover_panic() {
        for line in [
            "\"",
            "'\\",
            "\"\\",
            "a='",
            "password=\"\\",
            "=",
            "\"\"=\"\"",
            "•=\"•",
        ] {
            cover_secrets(line);
        }
    }
}
