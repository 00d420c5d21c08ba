//! What the regex engine searches for a pattern, and what it verifies afterwards.

use regex_automata::meta::Regex;
use regex_syntax::hir::{self, Class, ClassBytes, ClassBytesRange, Hir, Look};

use super::{Check, CheckKind, Unfit, build};
use crate::grok::ast::{Anchor, Known, Node, any_char, class};

/// Copies that counted repetitions may make of what they repeat.
const MAX_COPIES: u32 = 1000;

pub(super) struct Builder {
    /// For lines of any kind; else for ASCII ones.
    pub(super) unicode: bool,
    pub(super) checks: Vec<Check>,
    pub(super) captures: usize,
    /// The second automaton only needs the numbers of the checks.
    pub(super) build_checks: bool,
}

impl Builder {
    /// `repeated`: inside something that may run more than once, where only the last place would be known.
    pub(super) fn node(&mut self, node: &Node, repeated: bool) -> Result<Hir, Unfit> {
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
        build(&hir).map(Some)
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
        let mut other = class(&[(quote, quote), ('\\', '\\')]);
        other.negate();
        let escaped = Node::Concat(vec![
            Node::Literal("\\".to_owned()),
            Node::Class(any_char()),
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
