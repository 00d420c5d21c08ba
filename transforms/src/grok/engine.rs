//! Patterns made ready, and what they say of a line.
//!
//! Each pattern is compiled once for every engine that can take it. A line goes to the quickest of them; where that one
//! can not decide, to the next: scan, regex, fancy. All three give the same answer or none.

use super::ast::Node;
use super::expand::{Expander, Group};
use super::fancy::{self, Fancy};
use super::library::Library;
use super::regex::{self, Relaxed, Unfit};
use super::scan::{self, Program, UNSET};
use super::syntax::{Flags, parse};

/// Bytes that the text of one pattern may have [bytes].
const MAX_PATTERN: usize = 64 << 10;
/// Lines at most that the scan engine is left out for after it gave up on one [lines].
const MAX_PAUSE: u32 = 1024;

/// Work for "no match" from which on an automaton says it more cheaply [units of fuel].
const DEAR_MISS: i64 = 24;

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrokError {
    /// Byte offset in the pattern as it was given.
    pub offset: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The definitions it lies in, outermost first; none where the pattern itself is wrong.
    pub within: Vec<String>,
}

impl std::fmt::Display for GrokError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "at {}: {}", self.offset, self.what)?;
        self.help
            .as_ref()
            .map_or(Ok(()), |help| write!(out, " ({help})"))
    }
}

impl std::error::Error for GrokError {}

/// The engines, quickest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// A program that walks the line once.
    Scan,
    /// An automaton.
    Regex,
    /// Going back, on a budget.
    Fancy,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Engine::Scan => "scan",
            Engine::Regex => "regex",
            Engine::Fancy => "fancy",
        })
    }
}

/// How patterns are read and run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `%{NAME}` without a field remembers nothing.
    pub named_captures_only: bool,
    /// Only this engine, for tests and benchmarks.
    pub only: Option<Engine>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            named_captures_only: true,
            only: None,
        }
    }
}

/// One pattern, ready.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    groups: Vec<Group>,
    order: Vec<usize>,
    pub(super) scan: Result<Program, String>,
    pub(super) regex: Result<Relaxed, String>,
    pub(super) fancy: Result<Fancy, String>,
    pub(super) node: Node,
}

impl Pattern {
    /// Reads and compiles a pattern.
    pub fn new(text: &str, library: &Library, options: Options) -> Result<Pattern, GrokError> {
        let whole = |what: String| GrokError {
            offset: 0,
            what,
            help: None,
            within: Vec::new(),
        };
        if text.len() > MAX_PATTERN {
            return Err(whole(format!("a pattern has at most {MAX_PATTERN} bytes")));
        }
        let mut expander = Expander::new(library, options.named_captures_only);
        let node = parse(text, Flags::LOGSTASH, &mut expander).map_err(|fault| fault.of(text))?;
        let groups = expander.groups;
        let wanted = |engine| options.only.is_none_or(|only| only == engine);
        let not_asked = || "not asked for".to_owned();
        let pattern = Pattern {
            scan: if wanted(Engine::Scan) {
                scan::compile(&node, groups.len())
            } else {
                Err(not_asked())
            },
            regex: if wanted(Engine::Regex) {
                Relaxed::new(&node, groups.len()).map_err(|unfit| match unfit {
                    Unfit::Says(why) => why.to_owned(),
                    Unfit::TooLarge(why) => why,
                })
            } else {
                Err(not_asked())
            },
            fancy: if wanted(Engine::Fancy) {
                Fancy::new(&node, groups.len())
            } else {
                Err(not_asked())
            },
            text: text.to_owned(),
            order: order(&groups),
            groups,
            node,
        };
        if let (Err(_), Err(_), Err(why)) = (&pattern.scan, &pattern.regex, &pattern.fancy) {
            return Err(whole(format!("no engine can take this pattern: {why}")));
        }
        if options.only.is_none() && pattern.regex.is_err() {
            // Lines that the scan engine can not decide have to go somewhere.
            if let Err(why) = &pattern.fancy {
                return Err(whole(format!(
                    "no engine can take this pattern for every line: {why}"
                )));
            }
        }
        Ok(pattern)
    }

    /// Reads the definition of a name without compiling it.
    pub fn check(text: &str, name: &str, library: &Library) -> Result<(), GrokError> {
        let mut expander = Expander::new(library, true).inside(name);
        parse(text, Flags::LOGSTASH, &mut expander)
            .map(|_| ())
            .map_err(|fault| fault.of(text))
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it captures, by number of the group.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The numbers of the groups in the order in which their fields are filled: groups written alike one after another.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The engine that sees a line first.
    pub fn engine(&self) -> Engine {
        match (&self.scan, &self.regex) {
            (Ok(_), _) => Engine::Scan,
            (_, Ok(_)) => Engine::Regex,
            _ => Engine::Fancy,
        }
    }
}

fn order(groups: &[Group]) -> Vec<usize> {
    let mut order = Vec::with_capacity(groups.len());
    for (at, group) in groups.iter().enumerate() {
        if groups[..at]
            .iter()
            .all(|before| before.written != group.written)
        {
            order
                .extend((at..groups.len()).filter(|&later| groups[later].written == group.written));
        }
    }
    order
}

/// What patterns say of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This pattern is the first that matches; its captures are in the `Scratch`.
    Match(usize),
    /// None matches.
    NoMatch,
    /// This pattern used up its budget on the line: whether it matches is not known.
    Spent(usize),
}

/// How often which engine had the last word.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Answers of the scan engine.
    pub scan: u64,
    /// Answers of the regex engine.
    pub regex: u64,
    /// Answers of the fancy engine.
    pub fancy: u64,
    /// Lines on which the scan engine gave up.
    pub scan_gave_up: u64,
    /// Lines on which an assertion did not hold where the regex engine went.
    pub regex_undecided: u64,
}

/// What a worker keeps between lines. Belongs to one `Grok`.
#[derive(Debug)]
pub struct Scratch {
    scan: scan::Memory,
    each: Vec<Each>,
    places: Vec<u32>,
    in_scan: bool,
    whole: (u32, u32),
    /// The engine that had the last word.
    pub(super) last: Engine,
    /// How often which engine had the last word.
    pub counts: Counts,
}

#[derive(Debug, Default)]
struct Each {
    regex: Option<regex::Memory>,
    /// The last line did not match.
    doubt: bool,
    /// Lines that the scan engine is still left out for, and for how many it was last.
    pause: u32,
    last_pause: u32,
}

impl Scratch {
    /// Where group `group` of the pattern that matched stands: start and length [bytes].
    #[inline]
    pub fn span(&self, group: usize) -> Option<(u32, u32)> {
        let places = if self.in_scan {
            &self.scan.slots
        } else {
            &self.places
        };
        let (start, end) = (*places.get(2 * group)?, *places.get(2 * group + 1)?);
        (start != UNSET && end != UNSET).then(|| (start, end - start))
    }

    /// Where the whole match stands: start and length [bytes].
    pub fn whole(&self) -> (u32, u32) {
        (self.whole.0, self.whole.1 - self.whole.0)
    }
}

/// Patterns of which the first that matches wins.
#[derive(Debug)]
pub struct Grok {
    patterns: Vec<Pattern>,
}

impl Grok {
    /// Puts patterns in order.
    pub fn new(patterns: Vec<Pattern>) -> Grok {
        Grok { patterns }
    }

    /// The patterns, in order.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// What a worker needs.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            scan: scan::Memory::default(),
            each: self.patterns.iter().map(|_| Each::default()).collect(),
            places: Vec::new(),
            in_scan: false,
            whole: (0, 0),
            last: Engine::Scan,
            counts: Counts::default(),
        }
    }

    /// Asks one pattern.
    pub fn matches_one(&self, pattern: usize, scratch: &mut Scratch, line: &str) -> Outcome {
        match self.patterns[pattern].matches(pattern, scratch, line) {
            Answer::NoMatch => Outcome::NoMatch,
            Answer::Match => Outcome::Match(pattern),
            Answer::Spent => Outcome::Spent(pattern),
        }
    }

    /// Asks the patterns in order. Allocates nothing once the scratch has seen lines of each kind, but for the fancy engine.
    pub fn matches(&self, scratch: &mut Scratch, line: &str) -> Outcome {
        for (at, pattern) in self.patterns.iter().enumerate() {
            match pattern.matches(at, scratch, line) {
                Answer::NoMatch => {}
                Answer::Match => return Outcome::Match(at),
                Answer::Spent => return Outcome::Spent(at),
            }
        }
        Outcome::NoMatch
    }
}

enum Answer {
    Match,
    NoMatch,
    Spent,
}

impl Pattern {
    #[inline]
    fn matches(&self, at: usize, scratch: &mut Scratch, line: &str) -> Answer {
        if let Ok(program) = &self.scan
            && line.len() < UNSET as usize
            && (!program.ascii_only() || line.is_ascii())
        {
            let each = &mut scratch.each[at];
            if each.pause > 0 {
                each.pause -= 1;
            } else {
                let mut verdict = match (&self.regex, each.doubt) {
                    (Ok(_), true) => scan::Verdict::Unlikely { from: 0 },
                    (regex, _) => {
                        program.search(line.as_bytes(), 0, regex.is_ok(), &mut scratch.scan)
                    }
                };
                each.doubt = verdict == scan::Verdict::NoMatch && scratch.scan.spent() > DEAR_MISS;
                if let (scan::Verdict::Unlikely { from }, Ok(relaxed)) = (verdict, &self.regex) {
                    let memory = each.regex.get_or_insert_with(|| relaxed.memory());
                    let from = from as usize;
                    verdict = match relaxed.can_match(line, from, memory) {
                        false => scan::Verdict::NoMatch,
                        true => program.search(line.as_bytes(), from, false, &mut scratch.scan),
                    };
                    // Lines come in kinds: behind one that did not match, the cheaper question comes first.
                    each.doubt = verdict == scan::Verdict::NoMatch;
                }
                match verdict {
                    scan::Verdict::Match { start, end } => {
                        each.last_pause = 0;
                        scratch.in_scan = true;
                        scratch.last = Engine::Scan;
                        scratch.whole = (start, end);
                        scratch.counts.scan += 1;
                        return Answer::Match;
                    }
                    scan::Verdict::NoMatch => {
                        each.last_pause = 0;
                        scratch.counts.scan += 1;
                        return Answer::NoMatch;
                    }
                    scan::Verdict::Undecided | scan::Verdict::Unlikely { .. } => {
                        scratch.counts.scan_gave_up += 1;
                        // A pattern and lines that do not suit each other are not tried on every line.
                        each.last_pause = (2 * each.last_pause + 1).min(MAX_PAUSE);
                        each.pause = if self.regex.is_ok() {
                            each.last_pause
                        } else {
                            0
                        };
                    }
                }
            }
        }
        self.matches_slowly(at, scratch, line)
    }

    #[cold]
    fn matches_slowly(&self, at: usize, scratch: &mut Scratch, line: &str) -> Answer {
        scratch.in_scan = false;
        scratch.last = Engine::Regex;
        if let Ok(relaxed) = &self.regex {
            let memory = scratch.each[at]
                .regex
                .get_or_insert_with(|| relaxed.memory());
            match relaxed.search(line, memory, &mut scratch.places) {
                regex::Verdict::Match { start, end } => {
                    scratch.whole = (start, end);
                    scratch.counts.regex += 1;
                    return Answer::Match;
                }
                regex::Verdict::NoMatch => {
                    scratch.counts.regex += 1;
                    return Answer::NoMatch;
                }
                regex::Verdict::Undecided => scratch.counts.regex_undecided += 1,
            }
        }
        let Ok(fancy) = &self.fancy else {
            return Answer::Spent;
        };
        scratch.counts.fancy += 1;
        scratch.last = Engine::Fancy;
        match fancy.search(line, &mut scratch.places) {
            fancy::Verdict::Match { start, end } => {
                scratch.whole = (start, end);
                Answer::Match
            }
            fancy::Verdict::NoMatch => Answer::NoMatch,
            fancy::Verdict::Spent => Answer::Spent,
        }
    }
}
