//! What `pvetrail grok explain` and `grok try` tell: how a pattern is run, and where a line stops matching.

use std::fmt;
use std::ops::Range;

use super::engine::{Engine, Grok, GrokError, Options, Outcome, Pattern};
use super::expand::{Cast, Expander, Group};
use super::library::Library;
use super::syntax::{Flags, parse};

/// How a pattern is run, and why so.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The engine that sees a line first.
    pub engine: Engine,
    /// For each engine what it would be like, or why it can not take the pattern.
    pub engines: Vec<(Engine, Result<String, String>)>,
    /// What is captured.
    pub groups: Vec<Group>,
    /// A text that every line that matches contains.
    pub required: Option<String>,
    /// Whether only the start of a line is tried.
    pub anchored: bool,
    /// Whether the automaton finds captures in one pass, which it does for anchored patterns without a choice.
    pub one_pass: bool,
    /// A line that it matches.
    pub example: Option<String>,
    /// Memory that the automata take [bytes].
    pub size: usize,
}

/// Explains a pattern.
pub fn explain(text: &str, library: &Library, options: Options) -> Result<Explanation, GrokError> {
    let pattern = Pattern::new(text, library, options)?;
    let scan = pattern.scan.as_ref().map_err(Clone::clone).map(|program| {
        let beyond = if program.ascii_only() {
            "lines beyond ASCII go to the next"
        } else {
            "lines of any kind"
        };
        format!("{} steps, {beyond}", program.len())
    });
    let regex =
        pattern
            .regex
            .as_ref()
            .map_err(Clone::clone)
            .map(|relaxed| match relaxed.checks() {
                0 => "linear".to_owned(),
                1 => "linear, 1 assertion verified afterwards".to_owned(),
                many => format!("linear, {many} assertions verified afterwards"),
            });
    let fancy = pattern.fancy.as_ref().map_err(Clone::clone).map(|_| {
        format!(
            "goes back at most {} times a line, then it is an error",
            super::fancy::BUDGET
        )
    });
    let program = pattern.scan.as_ref().ok();
    let relaxed = pattern.regex.as_ref().ok();
    let anchored = program.is_some_and(|program| program.anchored());
    Ok(Explanation {
        engine: pattern.engine(),
        engines: vec![
            (Engine::Scan, scan),
            (Engine::Regex, regex),
            (Engine::Fancy, fancy),
        ],
        groups: pattern.groups().to_vec(),
        required: program
            .and_then(|program| program.required())
            .map(|text| String::from_utf8_lossy(text).into_owned()),
        anchored,
        one_pass: anchored && super::regex::one_pass(&pattern.node, pattern.groups().len()),
        example: super::sample::example(text, Pattern::new(text, library, options)?),
        size: relaxed.map_or(0, |relaxed| relaxed.size()),
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "engine    {}", self.engine)?;
        for (engine, why) in &self.engines {
            match why {
                Ok(how) => writeln!(out, "  {engine:<7} yes: {how}")?,
                Err(why) => writeln!(out, "  {engine:<7} no: {why}")?,
            }
        }
        match &self.required {
            Some(text) => writeln!(out, "a miss    told at once where a line has no {text:?}")?,
            None => writeln!(out, "a miss    no text that every match contains")?,
        }
        writeln!(
            out,
            "start     {}",
            if self.anchored {
                "of the line only"
            } else {
                "anywhere in the line"
            }
        )?;
        writeln!(
            out,
            "one pass  {}",
            if self.one_pass { "yes" } else { "no" }
        )?;
        writeln!(out, "memory    {} KiB", self.size.div_ceil(1024))?;
        if let Some(example) = &self.example {
            writeln!(out, "example   {example}")?;
        }
        writeln!(out, "captures  {}", self.groups.len())?;
        for group in &self.groups {
            let from = if group.syntax.is_empty() {
                "(?<…>)"
            } else {
                &group.syntax
            };
            writeln!(out, "  {:<40} {:<8} {from}", group.field, group.cast)?;
        }
        Ok(())
    }
}

impl fmt::Display for Cast {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Cast::Text => "text",
            Cast::Int => "int",
            Cast::Float => "float",
            Cast::Bool => "boolean",
        })
    }
}

/// What became of one line.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The line.
    pub line: String,
    /// What the patterns said.
    pub result: Tried,
}

/// What patterns said of a line that was tried.
#[derive(Clone, Debug)]
pub enum Tried {
    /// One matches.
    Match {
        /// Which, from 0.
        pattern: usize,
        /// The engine that said so.
        engine: Engine,
        /// Where in the line [bytes].
        place: Range<usize>,
        /// What it captured, in the order in which fields are filled.
        captures: Vec<Captured>,
    },
    /// None matches; for each pattern how far it came.
    NoMatch(Vec<Failure>),
    /// This pattern used up its budget.
    Spent(usize),
}

/// One captured text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The field it goes to.
    pub field: String,
    /// What it becomes.
    pub cast: Cast,
    /// The text.
    pub text: String,
    /// Where in the line [bytes].
    pub place: Range<usize>,
}

/// How far a pattern came that does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which pattern, from 0.
    pub pattern: usize,
    /// The longest part of the pattern, from its start, that matches.
    pub matched: String,
    /// The part after it, which does not.
    pub stops_at: String,
    /// The library patterns that were opened to see it, outermost first.
    pub within: Vec<String>,
    /// Where in the line the part that matches ends [bytes].
    pub at: usize,
}

/// Tries a line on patterns, as the transform would.
pub fn try_line(
    patterns: &[&str],
    library: &Library,
    options: Options,
    line: &str,
) -> Result<Attempt, GrokError> {
    let compiled = patterns
        .iter()
        .map(|text| Pattern::new(text, library, options))
        .collect::<Result<Vec<_>, _>>()?;
    let grok = Grok::new(compiled);
    let mut scratch = grok.scratch();
    let result = match grok.matches(&mut scratch, line) {
        Outcome::Spent(pattern) => Tried::Spent(pattern),
        Outcome::NoMatch => Tried::NoMatch(
            patterns
                .iter()
                .enumerate()
                .map(|(at, text)| failure(at, text, library, options, line))
                .collect(),
        ),
        Outcome::Match(pattern) => {
            let (start, len) = scratch.whole();
            let matched = &grok.patterns()[pattern];
            let captures = matched.order().iter().filter_map(|&group| {
                let (start, len) = scratch.span(group)?;
                let place = start as usize..(start + len) as usize;
                let info = &matched.groups()[group];
                Some(Captured {
                    field: info.field.clone(),
                    cast: info.cast,
                    text: line[place.clone()].to_owned(),
                    place,
                })
            });
            Tried::Match {
                pattern,
                engine: scratch.last,
                place: start as usize..(start + len) as usize,
                captures: captures.collect(),
            }
        }
    };
    Ok(Attempt {
        line: line.to_owned(),
        result,
    })
}

/// The parts of a pattern that is one sequence.
fn pieces(text: &str, library: &Library) -> Option<Vec<Range<usize>>> {
    let mut expander = Expander::new(library, true);
    parse(text, Flags::LOGSTASH, &mut expander).ok()?;
    (!expander.alternatives && !expander.pieces.is_empty()).then_some(expander.pieces)
}

/// Where a match of this text ends, if there is one.
fn end_of(text: &str, library: &Library, options: Options, line: &str) -> Option<usize> {
    let grok = Grok::new(vec![Pattern::new(text, library, options).ok()?]);
    let mut scratch = grok.scratch();
    match grok.matches(&mut scratch, line) {
        Outcome::Match(_) => {
            let (start, len) = scratch.whole();
            Some((start + len) as usize)
        }
        _ => None,
    }
}

fn failure(pattern: usize, text: &str, library: &Library, options: Options, line: &str) -> Failure {
    let mut text = text.to_owned();
    let mut failure = Failure {
        pattern,
        matched: String::new(),
        stops_at: text.clone(),
        within: Vec::new(),
        at: 0,
    };
    // References are opened where they fail, as deep as something inside them matches.
    let mut opened = String::new();
    for _ in 0..16 {
        let Some(pieces) = pieces(&text, library) else {
            break;
        };
        // The first `good` parts match, the first `bad` do not.
        let (mut good, mut bad) = (0, pieces.len());
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            match end_of(&text[..pieces[middle - 1].end], library, options, line) {
                Some(_) => good = middle,
                None => bad = middle,
            }
        }
        let matched = pieces
            .get(good.wrapping_sub(1))
            .map_or(0, |piece| piece.end);
        let piece = pieces[good].clone();
        let alias = reference(&opened, library).is_some();
        if !opened.is_empty() && !alias && matched == failure.matched.len() {
            failure.within.pop();
            break;
        }
        failure.matched = text[..matched].to_owned();
        failure.stops_at = text[piece.clone()].to_owned();
        failure.at = if good == 0 {
            0
        } else {
            end_of(&text[..matched], library, options, line).unwrap_or(0)
        };
        let Some((name, definition)) = reference(&text[piece.clone()], library) else {
            break;
        };
        // One with alternatives can not stand in the place of its name.
        if self::pieces(definition, library).is_none() {
            break;
        }
        failure.within.push(name);
        opened = definition.to_owned();
        text.replace_range(piece, definition);
    }
    failure
}

/// The name and definition of a part that is a reference and nothing else.
fn reference<'l>(piece: &str, library: &'l Library) -> Option<(String, &'l str)> {
    let inner = piece.strip_prefix("%{")?.strip_suffix('}')?;
    let name = inner
        .split(':')
        .next()
        .filter(|name| !inner.contains('=') && !name.is_empty())?;
    Some((name.to_owned(), library.get(name)?))
}

impl fmt::Display for Attempt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| pipeline::printable(text).to_string();
        match &self.result {
            Tried::Match {
                pattern,
                engine,
                place,
                captures,
            } => {
                writeln!(
                    out,
                    "pattern {} matches bytes {} to {} ({engine})",
                    pattern + 1,
                    place.start,
                    place.end
                )?;
                let width = captures
                    .iter()
                    .map(|capture| capture.field.chars().count())
                    .max()
                    .unwrap_or(0);
                for capture in captures {
                    writeln!(
                        out,
                        "  {:<width$}  {:<7}  {}",
                        capture.field,
                        capture.cast,
                        shown(&capture.text)
                    )?;
                }
            }
            Tried::Spent(pattern) => {
                writeln!(
                    out,
                    "pattern {} went back too often on this line: whether it matches is not known",
                    pattern + 1
                )?;
            }
            Tried::NoMatch(failures) => {
                writeln!(out, "no pattern matches")?;
                for failure in failures {
                    writeln!(out, "\npattern {} stops here:", failure.pattern + 1)?;
                    writeln!(out, "  {}", shown(&self.line))?;
                    let before = shown(&self.line[..failure.at.min(self.line.len())])
                        .chars()
                        .count();
                    writeln!(
                        out,
                        "  {}^ {} expected",
                        " ".repeat(before),
                        shown(&failure.stops_at)
                    )?;
                    if !failure.within.is_empty() {
                        writeln!(out, "  in %{{{}}}", failure.within.join("} → %{"))?;
                    }
                    if failure.matched.is_empty() {
                        writeln!(out, "  no part of it matches")?;
                    } else {
                        writeln!(
                            out,
                            "  what matches up to there: {}",
                            shown(&failure.matched)
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}
