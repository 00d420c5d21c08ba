//! Which bytes a part of a pattern can begin with. Too many is harmless, too few would be wrong.

use regex_syntax::hir::ClassUnicode;

use super::program::{END, Set};
use crate::grok::ast::{Anchor, Node, ascii_set};

/// Every first byte of a character and the end of the text.
pub(super) const ANY: Set = {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        set[byte] = byte < 0x80 || byte >= 0xC2 && byte <= 0xF4 || byte == END;
        byte += 1;
    }
    set
};

/// No byte.
pub(super) const NONE: Set = [false; 256];

/// How much of what lies beyond ASCII a class has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// No character.
    None,
    /// Some and not others.
    Some,
    /// Every character.
    All,
}

pub(super) fn beyond(class: &ClassUnicode) -> Beyond {
    match class.ranges().last() {
        Some(last) if last.start() <= '\u{80}' && last.end() == char::MAX => Beyond::All,
        Some(last) if last.end() > '\u{7f}' => Beyond::Some,
        _ => Beyond::None,
    }
}

/// The bytes of the characters of a class.
pub(super) fn set_of(class: &ClassUnicode) -> Set {
    let mut set = NONE;
    set[..128].copy_from_slice(&ascii_set(class));
    set[0x80..=0xF4].fill(beyond(class) == Beyond::All);
    set
}

/// The bytes that the characters of a class begin with.
fn first_set(class: &ClassUnicode) -> Set {
    let mut set = NONE;
    set[..128].copy_from_slice(&ascii_set(class));
    set[0xC2..=0xF4].fill(beyond(class) != Beyond::None);
    set
}

pub(super) fn union(a: &Set, b: &Set) -> Set {
    let mut set = *a;
    set.iter_mut().zip(b).for_each(|(a, b)| *a |= *b);
    set
}

/// Whether no byte is in both.
pub(super) fn disjoint(a: &Set, b: &Set) -> bool {
    !a.iter().zip(b).any(|(a, b)| *a && *b)
}

/// What `node` followed by something that begins with `next` can begin with.
pub(super) fn first(node: &Node, next: &Set) -> Set {
    match node {
        Node::Empty | Node::Look { .. } => *next,
        Node::Backref(_) => ANY,
        Node::Anchor(anchor) => after(*anchor, next),
        Node::Literal(text) => match text.bytes().next() {
            None => *next,
            Some(byte) => {
                let mut set = NONE;
                set[byte as usize] = true;
                set
            }
        },
        Node::Class(class) => first_set(class),
        Node::Atomic(node) | Node::Capture { node, .. } | Node::Known { node, .. } => {
            first(node, next)
        }
        Node::Concat(nodes) => first_of(nodes, next),
        Node::Alternate(nodes) => nodes
            .iter()
            .map(|node| first(node, next))
            .fold(NONE, |all, set| union(&all, &set)),
        Node::Repeat { node, min, max, .. } => {
            if *max == Some(0) {
                return *next;
            }
            // A turn that takes no text is followed by another turn or by what comes next.
            let turn = first(node, &NONE);
            if *min == 0 || node.nullable() {
                union(&turn, next)
            } else {
                turn
            }
        }
    }
}

/// The same for a sequence.
pub(super) fn first_of(nodes: &[Node], next: &Set) -> Set {
    let mut set = NONE;
    for (at, node) in nodes.iter().enumerate() {
        if let Node::Anchor(_) = node {
            let rest = first_of(&nodes[at + 1..], next);
            let Node::Anchor(anchor) = node else { break };
            return union(&set, &after(*anchor, &rest));
        }
        if node.nullable() {
            set = union(&set, &first(node, &NONE));
        } else {
            return union(&set, &first(node, &NONE));
        }
    }
    union(&set, next)
}

/// What can stand behind a place that is asked for.
fn after(anchor: Anchor, next: &Set) -> Set {
    let mut only = NONE;
    match anchor {
        Anchor::End => only[END] = true,
        Anchor::EndOrNewline | Anchor::LineEnd => {
            only[END] = true;
            only[b'\n' as usize] = true;
        }
        _ => return *next,
    }
    only.iter_mut()
        .zip(next)
        .for_each(|(only, next)| *only &= *next);
    only
}
