//! The regex engine: a linear search, exact also where a pattern looks around or holds on.
//!
//! Such assertions are left out of what is searched, and their places are remembered. Every way the pattern can match
//! is also a way of what is searched, in the same order. So when the search finds nothing, the pattern does not match;
//! when all assertions hold at the places found, the match is the pattern's own; else the fancy engine decides.

use regex_automata::meta::{BuildError, Cache, Config, Regex};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{self, Class, ClassBytes, ClassBytesRange, Hir, Look};

use super::ast::{Anchor, Known, Node};
use super::scan::recognise;

/// Bytes that the automaton of one pattern may take [bytes].
const SIZE_LIMIT: usize = 16 << 20;
/// Copies that counted repetitions may make of what they repeat.
const MAX_COPIES: u32 = 1000;

/// A pattern for this engine: one automaton for ASCII lines, one for all others.
#[derive(Debug)]
pub(super) struct Relaxed {
    ascii: Regex,
    unicode: Regex,
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
            ascii: build(&ascii).map_err(too_large)?,
            unicode: build(&unicode).map_err(too_large)?,
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

    /// How many assertions are verified afterwards.
    pub(super) fn checks(&self) -> usize {
        self.checks.len()
    }

    /// Bytes that the automata hold [bytes].
    pub(super) fn size(&self) -> usize {
        self.ascii.memory_usage() + self.unicode.memory_usage()
    }
}

fn too_large(error: BuildError) -> Unfit {
    Unfit::TooLarge(error.to_string())
}

fn build(hir: &Hir) -> Result<Regex, BuildError> {
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

struct Builder {
    unicode: bool,
    checks: Vec<Check>,
    captures: usize,
    build_checks: bool,
}

impl Builder {
    /// `repeated`: inside something that may run more than once, where only the last place would be known.
    fn node(&mut self, node: &Node, repeated: bool) -> Result<Hir, Unfit> {
        Ok(match node {
            Node::Empty => Hir::empty(),
            Node::Literal(text) => {
                if !self.unicode && !text.is_ascii() {
                    Hir::fail()
                } else {
                    Hir::literal(text.as_bytes().to_vec())
                }
            }
            Node::Class(class) => self.class(class),
            Node::Anchor(anchor) => match anchor {
                Anchor::Start => Hir::look(Look::Start),
                Anchor::End => Hir::look(Look::End),
                Anchor::LineStart => Hir::look(Look::StartLF),
                Anchor::LineEnd => Hir::look(Look::EndLF),
                Anchor::Word if self.unicode => Hir::look(Look::WordUnicode),
                Anchor::Word => Hir::look(Look::WordAscii),
                Anchor::NotWord if self.unicode => Hir::look(Look::WordUnicodeNegate),
                Anchor::NotWord => Hir::look(Look::WordAsciiNegate),
                Anchor::EndOrNewline => {
                    let end = Node::Concat(vec![
                        Node::Repeat {
                            node: Box::new(Node::Literal("\n".to_owned())),
                            min: 0,
                            max: Some(1),
                            greedy: true,
                        },
                        Node::Anchor(Anchor::End),
                    ]);
                    return self.ahead(&end, false, repeated);
                }
            },
            Node::Look {
                ahead: true,
                negate,
                node,
            } => return self.ahead(node, *negate, repeated),
            Node::Look {
                ahead: false,
                negate,
                node,
            } => return self.behind(node, *negate, repeated),
            Node::Atomic(node) => return self.atomic(node, repeated),
            Node::Capture { index, node } => {
                let sub = Box::new(self.node(node, repeated)?);
                Hir::capture(hir::Capture {
                    index: 1 + *index as u32,
                    name: None,
                    sub,
                })
            }
            Node::Concat(nodes) => Hir::concat(
                nodes
                    .iter()
                    .map(|node| self.node(node, repeated))
                    .collect::<Result<_, _>>()?,
            ),
            Node::Alternate(nodes) => Hir::alternation(
                nodes
                    .iter()
                    .map(|node| self.node(node, repeated))
                    .collect::<Result<_, _>>()?,
            ),
            Node::Repeat {
                node,
                min,
                max,
                greedy,
            } => {
                if max.is_none_or(|max| max > 1) && node.nullable() {
                    return Err(Unfit::Says(
                        "it repeats what may take no text, where engines differ",
                    ));
                }
                if max.unwrap_or(*min) > MAX_COPIES {
                    return Err(Unfit::Says("it repeats more than 1000 times"));
                }
                let many = max.is_none_or(|max| max > 1);
                let sub = Box::new(self.node(node, repeated || many)?);
                Hir::repetition(hir::Repetition {
                    min: *min,
                    max: *max,
                    greedy: *greedy,
                    sub,
                })
            }
            Node::Backref(_) => return Err(Unfit::Says("it asks for a captured text once more")),
            Node::Known {
                what: Known::Ipv6,
                node,
            } => self.node(node, repeated)?,
            Node::Known {
                what: Known::Quoted,
                ..
            } => {
                let sub = self.node(&quoted(), repeated)?;
                self.remember(Some(CheckKind::Known(Known::Quoted)), sub, repeated)?
            }
            Node::Known { what, node } => {
                let sub = self.node(&plain(node), repeated)?;
                self.remember(Some(CheckKind::Known(*what)), sub, repeated)?
            }
        })
    }

    fn class(&self, class: &hir::ClassUnicode) -> Hir {
        if self.unicode {
            return Hir::class(Class::Unicode(class.clone()));
        }
        let ranges = class
            .iter()
            .filter(|range| range.start().is_ascii())
            .map(|range| {
                ClassBytesRange::new(
                    range.start() as u8,
                    if range.end().is_ascii() {
                        range.end() as u8
                    } else {
                        127
                    },
                )
            });
        Hir::class(Class::Bytes(ClassBytes::new(ranges)))
    }

    /// A group of its own for an assertion; what it holds is matched, and its place known afterwards.
    fn remember(
        &mut self,
        kind: Option<CheckKind>,
        sub: Hir,
        repeated: bool,
    ) -> Result<Hir, Unfit> {
        if repeated {
            return Err(Unfit::Says(
                "it looks around, or holds on, inside a repetition",
            ));
        }
        let group = 1 + self.captures + self.checks.len();
        // The second automaton only needs the numbers.
        let kind = kind.unwrap_or(CheckKind::Behind {
            negate: true,
            set: hir::ClassUnicode::empty(),
        });
        self.checks.push(Check { kind, group });
        Ok(Hir::capture(hir::Capture {
            index: group as u32,
            name: None,
            sub: Box::new(sub),
        }))
    }

    /// A part by itself, for a check. It sees whole lines of any kind.
    fn alone(&self, node: &Node) -> Result<Option<Regex>, Unfit> {
        let mut builder = Builder {
            unicode: true,
            checks: Vec::new(),
            captures: self.captures,
            build_checks: true,
        };
        let hir = builder.node(&without_captures(node), false)?;
        if !builder.checks.is_empty() {
            return Err(Unfit::Says(
                "it looks around inside a part that looks around or holds on",
            ));
        }
        if !self.build_checks {
            return Ok(None);
        }
        build(&hir).map(Some).map_err(too_large)
    }

    fn ahead(&mut self, node: &Node, negate: bool, repeated: bool) -> Result<Hir, Unfit> {
        if node.any(&mut |node| matches!(node, Node::Capture { .. })) {
            return Err(Unfit::Says("it captures while looking ahead"));
        }
        if let Some(set) = node.one_char() {
            return self.remember(
                Some(CheckKind::AheadSet { negate, set }),
                Hir::empty(),
                repeated,
            );
        }
        let kind = self
            .alone(node)?
            .map(|regex| CheckKind::Ahead { negate, regex });
        self.remember(kind, Hir::empty(), repeated)
    }

    fn behind(&mut self, node: &Node, negate: bool, repeated: bool) -> Result<Hir, Unfit> {
        let Some(set) = node.one_char() else {
            return Err(Unfit::Says("it looks behind at more than one character"));
        };
        self.remember(
            Some(CheckKind::Behind { negate, set }),
            Hir::empty(),
            repeated,
        )
    }

    fn atomic(&mut self, node: &Node, repeated: bool) -> Result<Hir, Unfit> {
        if node.any(&mut |node| matches!(node, Node::Capture { .. })) {
            return Err(Unfit::Says("it captures inside a part that holds on"));
        }
        if let Some(plain) = indifferent(node) {
            return self.node(&plain, repeated);
        }
        let kind = self.alone(node)?.map(|regex| CheckKind::Whole { regex });
        let sub = self.node(node, repeated)?;
        self.remember(kind, sub, repeated)
    }
}

/// The part of an atomic group, where holding on to its first way changes nothing: there is no second.
fn indifferent(node: &Node) -> Option<Node> {
    match node {
        Node::Literal(_) | Node::Class(_) | Node::Empty => Some(node.clone()),
        Node::Concat(nodes) if nodes.iter().all(|node| indifferent(node).is_some()) => {
            Some(node.clone())
        }
        Node::Repeat {
            node: inner,
            min,
            max,
            ..
        } if *max == Some(*min) && indifferent(inner).is_some() => Some(node.clone()),
        _ => None,
    }
}

/// A node without its assertions and without holding on: what is searched for it.
fn plain(node: &Node) -> Node {
    let each = |nodes: &[Node]| nodes.iter().map(plain).collect();
    match node {
        Node::Look { .. } => Node::Empty,
        Node::Atomic(node) => plain(node),
        Node::Concat(nodes) => Node::Concat(each(nodes)),
        Node::Alternate(nodes) => Node::Alternate(each(nodes)),
        Node::Repeat {
            node,
            min,
            max,
            greedy,
        } => Node::Repeat {
            node: Box::new(plain(node)),
            min: *min,
            max: *max,
            greedy: *greedy,
        },
        node => node.clone(),
    }
}

/// `QUOTEDSTRING` without its assertions: a quote, whatever is no such quote or stands behind a backslash, a quote.
fn quoted() -> Node {
    let part = |quote: char| {
        let mut other = super::ast::class(&[(quote, quote), ('\\', '\\')]);
        other.negate();
        let escaped = Node::Concat(vec![
            Node::Literal("\\".to_owned()),
            Node::Class(super::ast::any_char()),
        ]);
        let inside = Node::Alternate(vec![escaped, Node::Class(other)]);
        let inside = Node::Repeat {
            node: Box::new(inside),
            min: 0,
            max: None,
            greedy: true,
        };
        Node::Concat(vec![
            Node::Literal(quote.to_string()),
            inside,
            Node::Literal(quote.to_string()),
        ])
    };
    Node::Alternate(vec![part('"'), part('\''), part('`')])
}

fn without_captures(node: &Node) -> Node {
    let each = |nodes: &[Node]| nodes.iter().map(without_captures).collect();
    match node {
        Node::Capture { node, .. } => without_captures(node),
        Node::Concat(nodes) => Node::Concat(each(nodes)),
        Node::Alternate(nodes) => Node::Alternate(each(nodes)),
        Node::Atomic(node) => Node::Atomic(Box::new(without_captures(node))),
        Node::Known { what, node } => Node::Known {
            what: *what,
            node: Box::new(without_captures(node)),
        },
        Node::Look {
            ahead,
            negate,
            node,
        } => Node::Look {
            ahead: *ahead,
            negate: *negate,
            node: Box::new(without_captures(node)),
        },
        Node::Repeat {
            node,
            min,
            max,
            greedy,
        } => Node::Repeat {
            node: Box::new(without_captures(node)),
            min: *min,
            max: *max,
            greedy: *greedy,
        },
        node => node.clone(),
    }
}
