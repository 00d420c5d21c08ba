//! The regex engine: a linear search, exact also where a pattern looks around or holds on.
//!
//! Such assertions are left out of what is searched, and their places are remembered. Every way the pattern can match
//! is also a way of what is searched, in the same order. So when the search finds nothing, the pattern does not match;
//! when all assertions hold at the places found, the match is the pattern's own; else the fancy engine decides.

mod build;

use regex_automata::dfa::onepass;
use regex_automata::hybrid::dfa::{self as lazy, DFA};
use regex_automata::meta::{BuildError, Cache, Config, Regex};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{self, Hir};

use build::Builder;

use super::ast::{Anchor, Known, Node};
use super::scan::recognise;

/// Bytes that the automaton of one pattern may take [bytes].
const SIZE_LIMIT: usize = 16 << 20;

/// A pattern for this engine: one automaton for ASCII lines, one for all others.
#[derive(Debug)]
pub(super) struct Relaxed {
    ascii: Regex,
    unicode: Regex,
    /// Says no, for ASCII lines.
    quick: Option<DFA>,
    checks: Vec<Check>,
    captures: usize,
    /// `^` stands somewhere; behind a newline that ends the text it means something else here.
    line_start: bool,
}

/// An assertion that was left out, to be verified.
#[derive(Debug)]
struct Check {
    kind: CheckKind,
    /// The group that remembers where (and for `Whole` what).
    group: usize,
}

#[derive(Debug)]
enum CheckKind {
    /// What comes must (not) match from here.
    Ahead { negate: bool, regex: Regex },
    /// The next character must (not) be of a set.
    AheadSet {
        negate: bool,
        set: hir::ClassUnicode,
    },
    /// The character before must (not) be of a set.
    Behind {
        negate: bool,
        set: hir::ClassUnicode,
    },
    /// The text taken must be one that the hand-written code takes too.
    Known(Known),
    /// The text taken must be what the part takes when left alone.
    Whole { regex: Regex },
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Match {
        start: u32,
        end: u32,
    },
    NoMatch,
    /// An assertion does not hold where the search went.
    Undecided,
}

/// What a worker keeps between lines.
#[derive(Debug)]
pub(super) struct Memory {
    ascii: Cache,
    unicode: Option<Cache>,
    quick: Option<lazy::Cache>,
    checks: Vec<Cache>,
    slots: Vec<Option<NonMaxUsize>>,
}

/// Why a pattern is not for this engine.
pub(super) enum Unfit {
    /// It says something that can not be left out and verified.
    Says(&'static str),
    /// The automaton would be too large.
    TooLarge(String),
}

impl Relaxed {
    /// Compiles for this engine.
    pub(super) fn new(node: &Node, captures: usize) -> Result<Relaxed, Unfit> {
        let mut line_start = false;
        node.any(&mut |node| {
            line_start |= matches!(node, Node::Anchor(Anchor::LineStart));
            false
        });
        let mut builder = Builder {
            unicode: false,
            checks: Vec::new(),
            captures,
            build_checks: true,
        };
        let ascii = builder.node(node, false)?;
        let checks = std::mem::take(&mut builder.checks);
        let mut builder = Builder {
            unicode: true,
            checks: Vec::new(),
            captures,
            build_checks: false,
        };
        let unicode = builder.node(node, false)?;
        Ok(Relaxed {
            quick: build_quick(&ascii),
            ascii: build(&ascii)?,
            unicode: build(&unicode)?,
            checks,
            captures,
            line_start,
        })
    }

    /// What a worker needs for it.
    pub(super) fn memory(&self) -> Memory {
        Memory {
            ascii: self.ascii.create_cache(),
            unicode: None,
            quick: None,
            checks: self
                .checks
                .iter()
                .filter_map(|check| check.regex().map(Regex::create_cache))
                .collect(),
            slots: vec![None; 2 * (1 + self.captures + self.checks.len())],
        }
    }

    /// Searches the first match. Places go to `places`, two per capture.
    pub(super) fn search(&self, line: &str, memory: &mut Memory, places: &mut Vec<u32>) -> Verdict {
        if self.line_start && line.ends_with('\n') {
            return Verdict::Undecided;
        }
        let input = Input::new(line);
        let slots = &mut memory.slots;
        slots.fill(None);
        let found = if line.is_ascii() {
            self.ascii
                .search_slots_with(&mut memory.ascii, &input, slots)
        } else {
            let cache = memory
                .unicode
                .get_or_insert_with(|| self.unicode.create_cache());
            self.unicode.search_slots_with(cache, &input, slots)
        };
        if found.is_none() {
            return Verdict::NoMatch;
        }
        let at = |slot: usize| slots.get(slot).copied().flatten().map(NonMaxUsize::get);
        let mut caches = memory.checks.iter_mut();
        for check in &self.checks {
            let cache = check.regex().and_then(|_| caches.next());
            let Some(start) = at(2 * check.group) else {
                continue;
            };
            let end = at(2 * check.group + 1).unwrap_or(start);
            if !check.holds(line, start, end, cache) {
                return Verdict::Undecided;
            }
        }
        places.clear();
        places.extend(
            (2..2 + 2 * self.captures).map(|slot| at(slot).map_or(u32::MAX, |place| place as u32)),
        );
        Verdict::Match {
            start: at(0).unwrap_or(0) as u32,
            end: at(1).unwrap_or(0) as u32,
        }
    }

    /// Whether a line can match at all from `from` on: `false` is certain. Only asked in earnest of ASCII lines.
    pub(super) fn can_match(&self, line: &str, from: usize, memory: &mut Memory) -> bool {
        if !line.is_ascii() || self.line_start && line.ends_with('\n') {
            return true;
        }
        let Some(quick) = &self.quick else {
            return true;
        };
        let cache = memory.quick.get_or_insert_with(|| quick.create_cache());
        let input = Input::new(line).range(from..).earliest(true);
        // An automaton that gives up has not said no.
        !matches!(quick.try_search_fwd(cache, &input), Ok(None))
    }

    /// How many assertions are verified afterwards.
    pub(super) fn checks(&self) -> usize {
        self.checks.len()
    }

    /// Bytes that the automata hold [bytes].
    pub(super) fn size(&self) -> usize {
        self.ascii.memory_usage() + self.unicode.memory_usage()
    }
}

fn build(hir: &Hir) -> Result<Regex, Unfit> {
    let config = Config::new()
        .match_kind(MatchKind::LeftmostFirst)
        .utf8_empty(false)
        .nfa_size_limit(Some(SIZE_LIMIT))
        .onepass_size_limit(Some(4 << 20))
        .hybrid_cache_capacity(1 << 20)
        .dfa(false);
    Regex::builder()
        .configure(config)
        .syntax(syntax::Config::new().utf8(false))
        .build_from_hir(hir)
        .map_err(|error: BuildError| Unfit::TooLarge(error.to_string()))
}

/// Whether captures of ASCII lines can be found in one pass.
pub(super) fn one_pass(node: &Node, captures: usize) -> bool {
    let mut builder = Builder {
        unicode: false,
        checks: Vec::new(),
        captures,
        build_checks: false,
    };
    let Ok(hir) = builder.node(node, false) else {
        return false;
    };
    let config = onepass::DFA::config().size_limit(Some(4 << 20));
    let nfa = thompson::Compiler::new()
        .configure(thompson::Config::new().utf8(false))
        .build_from_hir(&hir);
    nfa.is_ok_and(|nfa| {
        onepass::DFA::builder()
            .configure(config)
            .build_from_nfa(nfa)
            .is_ok()
    })
}

/// An automaton without captures, which only says whether there is a match.
fn build_quick(hir: &Hir) -> Option<DFA> {
    let config = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(SIZE_LIMIT));
    let nfa = thompson::Compiler::new()
        .configure(config)
        .build_from_hir(hir)
        .ok()?;
    let config = DFA::config()
        .match_kind(MatchKind::LeftmostFirst)
        .cache_capacity(1 << 20)
        .skip_cache_capacity_check(true)
        .minimum_cache_clear_count(Some(8))
        .minimum_bytes_per_state(Some(10));
    DFA::builder().configure(config).build_from_nfa(nfa).ok()
}

impl Check {
    fn regex(&self) -> Option<&Regex> {
        match &self.kind {
            CheckKind::Ahead { regex, .. } | CheckKind::Whole { regex } => Some(regex),
            CheckKind::AheadSet { .. } | CheckKind::Behind { .. } | CheckKind::Known(_) => None,
        }
    }

    fn holds(&self, line: &str, start: usize, end: usize, cache: Option<&mut Cache>) -> bool {
        match (&self.kind, cache) {
            (CheckKind::Ahead { negate, regex }, Some(cache)) => {
                let input = Input::new(line)
                    .range(start..)
                    .anchored(Anchored::Yes)
                    .earliest(true);
                regex.search_half_with(cache, &input).is_some() != *negate
            }
            (CheckKind::AheadSet { negate, set }, _) => {
                let next = line.get(start..).and_then(|rest| rest.chars().next());
                next.is_some_and(|c| contains(set, c)) != *negate
            }
            (CheckKind::Known(what), _) => {
                let line = line.as_bytes();
                match what {
                    Known::Ipv4 => recognise::ipv4(line, start) == Some(end),
                    Known::Number => recognise::number(line, start) == Some(end),
                    Known::Quoted => recognise::quoted(line, start) == Some(end),
                    Known::Time => recognise::time(line, start)
                        .is_some_and(|(long, short)| long == end || short == Some(end)),
                    Known::Ipv6 => true,
                }
            }
            (CheckKind::Behind { negate, set }, _) => {
                let before = line
                    .get(..start)
                    .and_then(|before| before.chars().next_back());
                before.is_some_and(|c| contains(set, c)) != *negate
            }
            (CheckKind::Whole { regex }, Some(cache)) => {
                let input = Input::new(line).range(start..).anchored(Anchored::Yes);
                regex
                    .search_half_with(cache, &input)
                    .is_some_and(|half| half.offset() == end)
            }
            (_, None) => false,
        }
    }
}

fn contains(set: &hir::ClassUnicode, c: char) -> bool {
    set.iter()
        .any(|range| range.start() <= c && c <= range.end())
}
