//! Our grok against VRL's own `parse_grok`, which is Oniguruma: every shipped pattern, on lines made to match it, nearly match
//! it, or not at all. `PVETRAIL_GROK_LINES` says how many lines in all, `PVETRAIL_LONG` makes them many.
#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;

use crate::grok::{Generator, Grok, Library, Options, Outcome, Pattern, Spelling};
use vrl::compiler::runtime::Runtime;
use vrl::compiler::{Function, Program, TargetValue, TimeZone};
use vrl::value::{Secrets, Value};

/// Patterns on which the two differ, and why they may: none. What is known to differ lies outside these lines: Logstash,
/// and so ours, lets `.` match a newline and keeps `\w \d \s` to ASCII; VRL does neither.
const DIFFER: &[(&str, &str)] = &[];

/// The pattern as one regular expression: `%{NAME:field}` a group called `f<n>`, `%{NAME}` a group that is not kept.
/// Plain text replacement, as Logstash does it, and so independent of how ours reads patterns.
fn expanded(text: &str, library: &Library, fields: &mut Vec<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = next_group(rest) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(inner) = rest.strip_prefix("%{") {
            let end = inner.find('}').expect("shipped references are closed");
            let mut parts = inner[..end].split(':');
            let definition = library
                .get(parts.next().expect("a first part"))
                .expect("shipped references are known");
            let field = parts.next();
            match field {
                Some(_) => {
                    out.push_str(&format!("(?<f{}>", fields.len()));
                    fields.push(inner[..end].to_owned());
                }
                None => out.push_str("(?:"),
            }
            out.push_str(&expanded(definition, library, fields));
            out.push(')');
            rest = &inner[end + 1..];
        } else {
            let end = rest.find('>').expect("shipped groups are closed");
            out.push_str(&format!("(?<f{}>", fields.len()));
            fields.push(rest[3..end].to_owned());
            rest = &rest[end + 1..];
        }
    }
    out.push_str(rest);
    out
}

/// Where the next `%{` or `(?<name>` begins; `(?<=` and `(?<!` are no names.
fn next_group(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find(['%', '('])?;
        let here = &text[at..];
        let escaped = text[..at]
            .bytes()
            .rev()
            .take_while(|byte| *byte == b'\\')
            .count()
            % 2
            == 1;
        let named =
            here.starts_with("(?<") && !here.starts_with("(?<=") && !here.starts_with("(?<!");
        if !escaped && (here.starts_with("%{") || named) {
            return Some(at);
        }
        from = at + 1;
    }
}

struct Oracle {
    program: Program,
    runtime: Runtime,
}

impl Oracle {
    fn new(regex: &str, functions: &[Box<dyn Function>]) -> Result<Oracle, String> {
        // In a raw string only the quote means something.
        let source = format!(
            "parse_grok(string!(.message), s'{}') ?? null",
            regex.replace('\'', r"\x27")
        );
        let compiled =
            vrl::compiler::compile(&source, functions).map_err(|errors| format!("{errors:?}"))?;
        Ok(Oracle {
            program: compiled.program,
            runtime: Runtime::default(),
        })
    }

    /// What each group captured, empty ones left out; `None` for no match.
    fn ask(&mut self, line: &str) -> Option<BTreeMap<String, String>> {
        let mut event = BTreeMap::new();
        event.insert("message".into(), Value::from(line));
        let mut target = TargetValue {
            value: Value::Object(event),
            metadata: Value::Object(BTreeMap::new()),
            secrets: Secrets::default(),
        };
        let result = self
            .runtime
            .resolve(&mut target, &self.program, &TimeZone::default())
            .expect("the program only answers");
        self.runtime.clear();
        let Value::Object(fields) = result else {
            return None;
        };
        let text = |value: &Value| String::from_utf8_lossy(&value.coerce_to_bytes()).into_owned();
        Some(
            fields
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .filter(|(_, text)| !text.is_empty())
                .collect(),
        )
    }
}

fn ours(grok: &Grok, line: &str) -> Option<Option<BTreeMap<String, String>>> {
    let mut scratch = grok.scratch();
    match grok.matches(&mut scratch, line) {
        Outcome::Spent(_) => None,
        Outcome::NoMatch => Some(None),
        Outcome::Match(_) => {
            let groups = grok.patterns()[0].groups().len();
            let fields = (0..groups).filter_map(|group| {
                let (start, len) = scratch.span(group).filter(|span| span.1 > 0)?;
                Some((
                    format!("f{group}"),
                    line[start as usize..(start + len) as usize].to_owned(),
                ))
            });
            Some(Some(fields.collect()))
        }
    }
}

#[test]
fn parse_grok_agrees_on_every_shipped_pattern() {
    let lines: usize = std::env::var("PVETRAIL_GROK_LINES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(if std::env::var_os("PVETRAIL_LONG").is_some() {
            200_000
        } else {
            2_000
        });
    let functions = vrl::stdlib::all();
    let (mut compared, mut matched, mut captured) = (0, 0, 0);
    let (mut differ, mut refused) = (Vec::new(), Vec::new());
    for spelling in [Spelling::EcsV1, Spelling::Legacy] {
        let library = Library::shared(spelling);
        let names = library.names();
        for name in &names {
            let text = format!("%{{{name}:all}}");
            let grok = Grok::new(vec![
                Pattern::new(&text, library, Options::default())
                    .expect("a shipped pattern compiles"),
            ]);
            let mut fields = Vec::new();
            let regex = expanded(&text, library, &mut fields);
            assert_eq!(
                fields.len(),
                grok.patterns()[0].groups().len(),
                "{name}: {fields:?}"
            );
            let mut oracle = match Oracle::new(&regex, &functions) {
                Ok(oracle) => oracle,
                Err(why) => {
                    refused.push(format!("{name}: {why}"));
                    continue;
                }
            };
            let mut generator = Generator::new(compared as u64 ^ 0x0471);
            for _ in 0..(lines / (2 * names.len())).max(1) {
                let mut line = generator.line(&grok.patterns()[0]);
                if generator.chance(3) {
                    line = format!("{}{line}{}", generator.noise(), generator.noise());
                }
                // Beyond ASCII `\w` and its kind differ by option, and so does `.` before a newline.
                if !line.is_ascii() || line.contains('\n') {
                    continue;
                }
                let Some(ours) = ours(&grok, &line) else {
                    continue;
                };
                let theirs = oracle.ask(&line);
                compared += 1;
                matched += usize::from(theirs.is_some());
                captured += theirs.as_ref().map_or(0, BTreeMap::len);
                if ours != theirs && !DIFFER.iter().any(|(known, _)| known == name) {
                    differ.push(format!(
                        "{name} on {line:?}\n  ours   {ours:?}\n  theirs {theirs:?}"
                    ));
                }
            }
        }
    }
    eprintln!(
        "{compared} lines compared, {matched} matched by Oniguruma with {captured} captures; {} patterns refused by VRL",
        refused.len()
    );
    assert!(matched > compared / 2, "most lines are made to match");
    assert!(
        captured > 3 * matched,
        "captures are compared, not only matches"
    );
    assert!(refused.is_empty(), "VRL refuses:\n{}", refused.join("\n"));
    assert!(
        differ.is_empty(),
        "{} of {compared} differ, among them:\n{}",
        differ.len(),
        differ[..differ.len().min(15)].join("\n")
    );
}
