//! Makes a scan program of a resolved pattern.

use memchr::memmem::Finder;

use regex_syntax::hir::ClassUnicode;

use super::first::{ANY, Beyond, NONE, beyond, disjoint, first, first_of, set_of, union};
use super::program::{Kind, Op, Program, Run, Set};
use crate::grok::ast::{Anchor, Known, Node};

/// Steps that a program may have; a larger pattern is the regex engine's.
const MAX_OPS: usize = 12_000;
/// Sets that a program may have.
const MAX_SETS: usize = 4_000;

/// Compiles, or says what the scan engine does not do.
pub(in crate::grok) fn compile(node: &Node, captures: usize) -> Result<Program, String> {
    let mut compiler = Compiler {
        ops: Vec::new(),
        sets: vec![NONE, ANY],
        literals: Vec::new(),
        slots: 2 * captures,
        memos: 0,
        ascii_only: false,
    };
    let nodes: &[Node] = match node {
        Node::Concat(nodes) => nodes,
        node => std::slice::from_ref(node),
    };
    let mut varied = false;
    for (at, node) in nodes.iter().enumerate() {
        let next = first_of(&nodes[at + 1..], &ANY);
        compiler.node(node, &next)?;
        if !varied && at + 1 < nodes.len() && width(node).is_none() {
            // An unanchored search meets the same end of its first piece from several starts.
            varied = true;
            compiler.ops.push(Op::Memo(0));
            compiler.memos = 1;
        }
    }
    compiler.ops.push(Op::Match);
    let first = compiler.set(first(node, &ANY))?;
    let required =
        required(node).filter(|text| text.len() > 1 || text.as_bytes()[0].is_ascii_punctuation());
    Ok(Program {
        ascii_only: compiler.ascii_only,
        anchored: anchored(node),
        first,
        required: required.map(|text| Finder::new(text.as_bytes()).into_owned()),
        ops: compiler.ops,
        sets: compiler.sets,
        literals: compiler.literals,
        slots: compiler.slots,
        memos: compiler.memos,
    })
}

struct Compiler {
    ops: Vec<Op>,
    sets: Vec<Set>,
    literals: Vec<u8>,
    slots: usize,
    memos: usize,
    ascii_only: bool,
}

impl Compiler {
    fn set(&mut self, set: Set) -> Result<u16, String> {
        let at = match self.sets.iter().position(|known| *known == set) {
            Some(at) => at,
            None if self.sets.len() >= MAX_SETS => {
                return Err("too many different sets of characters".to_owned());
            }
            None => {
                self.sets.push(set);
                self.sets.len() - 1
            }
        };
        Ok(at as u16)
    }

    /// The set of a class; how it divides what lies beyond ASCII no set of bytes can say.
    fn class(&mut self, class: &ClassUnicode) -> Result<u16, String> {
        self.ascii_only |= beyond(class) == Beyond::Some;
        self.set(set_of(class))
    }

    fn here(&self) -> u32 {
        self.ops.len() as u32
    }

    fn node(&mut self, node: &Node, next: &Set) -> Result<(), String> {
        if self.ops.len() > MAX_OPS {
            return Err(format!("it takes more than {MAX_OPS} steps"));
        }
        match node {
            Node::Empty => {}
            Node::Literal(text) => self.literal(text)?,
            Node::Class(class) => {
                let set = self.class(class)?;
                self.ops.push(Op::Set(set));
            }
            Node::Anchor(anchor) => self.ops.push(Op::At(*anchor)),
            Node::Look {
                ahead,
                negate,
                node,
            } => self.look(*ahead, *negate, node)?,
            Node::Atomic(node) => {
                let at = self.ops.len();
                self.ops.push(Op::Atomic { to: 0 });
                self.node(node, &ANY)?;
                self.ops.push(Op::Done);
                let to = self.here();
                self.ops[at] = Op::Atomic { to };
            }
            Node::Capture { index, node } => {
                self.ops.push(Op::Save(2 * *index as u32));
                self.node(node, next)?;
                self.ops.push(Op::Save(2 * *index as u32 + 1));
            }
            Node::Concat(nodes) => {
                for (at, node) in nodes.iter().enumerate() {
                    self.node(node, &first_of(&nodes[at + 1..], next))?;
                }
            }
            Node::Alternate(nodes) => self.alternate(nodes, next)?,
            Node::Repeat {
                node,
                min,
                max,
                greedy,
            } => self.repeat(node, *min, *max, *greedy, next)?,
            Node::Backref(_) => return Err("it asks for a captured text once more".to_owned()),
            Node::Known { what, node } => self.known(*what, node, next)?,
        }
        Ok(())
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        if text.len() == 1 {
            self.ops.push(Op::Byte(text.as_bytes()[0]));
        } else if !text.is_empty() {
            self.ops.push(Op::Literal {
                at: self.literals.len() as u32,
                len: text.len() as u32,
            });
            self.literals.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }

    fn look(&mut self, ahead: bool, negate: bool, node: &Node) -> Result<(), String> {
        if let Some(class) = node.one_char() {
            let set = self.class(&class)?;
            self.ops.push(if ahead {
                Op::Ahead { set, negate }
            } else {
                Op::Behind { set, negate }
            });
            return Ok(());
        }
        let at = self.ops.len();
        // Bytes are counted backwards, and no character beyond ASCII is one.
        self.ascii_only |= !ahead
            && node.any(
                &mut |node| matches!(node, Node::Class(class) if beyond(class) != Beyond::None),
            );
        let width = if ahead {
            0
        } else {
            width(node).ok_or("it looks behind at a text of no fixed length")?
        };
        self.ops.push(Op::Done);
        self.node(node, &ANY)?;
        self.ops.push(Op::Done);
        let to = self.here();
        self.ops[at] = if ahead {
            Op::LookAhead { negate, to }
        } else {
            Op::LookBehind { negate, width, to }
        };
        Ok(())
    }

    fn alternate(&mut self, nodes: &[Node], next: &Set) -> Result<(), String> {
        let mut exits = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let rest = &nodes[at + 1..];
            if rest.is_empty() {
                self.node(node, next)?;
                break;
            }
            let here = self.set(first(node, next))?;
            let others = rest
                .iter()
                .map(|node| first(node, next))
                .fold(NONE, |all, set| union(&all, &set));
            let there = self.set(others)?;
            let split = self.ops.len();
            self.ops.push(Op::Done);
            self.node(node, next)?;
            exits.push(self.ops.len());
            self.ops.push(Op::Jump(0));
            self.ops[split] = Op::Split {
                here,
                there,
                to: self.here(),
            };
        }
        let end = self.here();
        for exit in exits {
            self.ops[exit] = Op::Jump(end);
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        node: &Node,
        min: u32,
        max: Option<u32>,
        greedy: bool,
        next: &Set,
    ) -> Result<(), String> {
        if max == Some(0) {
            return Ok(());
        }
        if let Some(class) = node.one_char() {
            let set = set_of(&class);
            // Runs count bytes.
            let counts = min > 1 || max.is_some();
            self.ascii_only |= match beyond(&class) {
                Beyond::None => false,
                Beyond::Some => true,
                Beyond::All => counts,
            };
            let run = Run {
                kind: kind(&set),
                min,
                max: max.unwrap_or(u32::MAX),
                next: self.set(*next)?,
                single: disjoint(&set, next),
                set: self.set(set)?,
            };
            self.ops
                .push(if greedy { Op::Run(run) } else { Op::Lazy(run) });
            return Ok(());
        }
        let more = max.is_none_or(|max| max > min);
        let turn = first(node, next);
        let again = union(&turn, next);
        for done in 1..=min {
            let after = if done < min || more { &again } else { next };
            self.node(node, after)?;
        }
        let here = self.set(turn)?;
        let there = self.set(*next)?;
        let split = |to| {
            if greedy {
                Op::Split { here, there, to }
            } else {
                Op::SplitTo { here, there, to }
            }
        };
        match max {
            None => {
                let start = self.ops.len();
                self.ops.push(Op::Done);
                let slot = node.nullable().then(|| {
                    let slot = self.slots as u32;
                    self.slots += 1;
                    self.ops.push(Op::Save(slot));
                    slot
                });
                self.node(node, &again)?;
                let progress = self.ops.len();
                if slot.is_some() {
                    self.ops.push(Op::Done);
                }
                self.ops.push(Op::Jump(start as u32));
                let exit = self.here();
                if let Some(slot) = slot {
                    self.ops[progress] = Op::Progress { slot, exit };
                }
                self.ops[start] = split(exit);
            }
            Some(max) => {
                let mut starts = Vec::new();
                for _ in min..max {
                    starts.push(self.ops.len());
                    self.ops.push(Op::Done);
                    self.node(node, &again)?;
                }
                let exit = self.here();
                for start in starts {
                    self.ops[start] = split(exit);
                }
            }
        }
        Ok(())
    }

    fn known(&mut self, what: Known, node: &Node, next: &Set) -> Result<(), String> {
        let op = match what {
            Known::Ipv4 => Op::Ipv4,
            Known::Number => Op::Number,
            Known::Time => Op::Time,
            Known::Quoted => Op::Quoted,
            Known::Ipv6 => {
                let mut inside = NONE;
                for byte in b"0123456789abcdefABCDEF:.%" {
                    inside[*byte as usize] = true;
                }
                if !disjoint(&inside, next) {
                    return self.node(node, next);
                }
                Op::Ipv6
            }
        };
        self.ops.push(op);
        Ok(())
    }
}

fn kind(set: &Set) -> Kind {
    let all = |skip: &[u8]| (0u8..=0xF4).all(|byte| set[byte as usize] != skip.contains(&byte));
    if all(b"") {
        Kind::Any
    } else if all(b"\t\n\x0B\x0C\r ") {
        Kind::NotSpace
    } else {
        Kind::Table
    }
}

/// How many bytes a node takes, where that is one number.
fn width(node: &Node) -> Option<u32> {
    match node {
        Node::Empty | Node::Anchor(_) | Node::Look { .. } => Some(0),
        Node::Literal(text) => u32::try_from(text.len()).ok(),
        Node::Class(_) => Some(1),
        Node::Atomic(node) | Node::Capture { node, .. } | Node::Known { node, .. } => width(node),
        Node::Concat(nodes) => nodes.iter().map(width).sum(),
        Node::Alternate(nodes) => {
            let mut widths = nodes.iter().map(width);
            let one = widths.next()??;
            widths.all(|other| other == Some(one)).then_some(one)
        }
        Node::Repeat { node, min, max, .. } => (*max == Some(*min))
            .then(|| width(node)?.checked_mul(*min))
            .flatten(),
        Node::Backref(_) => None,
    }
}

/// Whether a match can only begin at the start of the text: it asks for that, or begins by taking anything at all.
fn anchored(node: &Node) -> bool {
    match node {
        Node::Anchor(Anchor::Start) => true,
        Node::Capture { node, .. } | Node::Atomic(node) | Node::Known { node, .. } => {
            anchored(node)
        }
        Node::Concat(nodes) => nodes.first().is_some_and(anchored),
        Node::Alternate(nodes) => nodes.iter().all(anchored),
        Node::Repeat {
            node,
            min: 0,
            max: None,
            ..
        } => matches!(&**node, Node::Class(class) if *class == crate::grok::ast::any_char()),
        _ => false,
    }
}

/// The longest literal that every match contains.
fn required(node: &Node) -> Option<String> {
    let longest = |found: Option<String>, more: Option<String>| match (found, more) {
        (Some(a), Some(b)) => Some(if b.len() > a.len() { b } else { a }),
        (a, b) => a.or(b),
    };
    match node {
        Node::Literal(text) if !text.is_empty() => Some(text.clone()),
        Node::Capture { node, .. } | Node::Atomic(node) | Node::Known { node, .. } => {
            required(node)
        }
        Node::Concat(nodes) => nodes.iter().map(required).fold(None, longest),
        Node::Repeat { node, min, .. } if *min > 0 => required(node),
        _ => None,
    }
}
