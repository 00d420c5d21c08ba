//! What a grok pattern means once every `%{NAME}` is resolved: one tree that all three engines are built from.

use regex_syntax::hir::ClassUnicode;

/// One node of a resolved pattern.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Matches the empty text.
    Empty,
    /// These characters, as written.
    Literal(String),
    /// One character of a set.
    Class(ClassUnicode),
    /// A place, not a text.
    Anchor(Anchor),
    /// What must (not) stand before or after this place.
    Look {
        ahead: bool,
        negate: bool,
        node: Box<Node>,
    },
    /// The first way `node` matches and no other: `(?>…)`, and what possessive quantifiers mean.
    Atomic(Box<Node>),
    /// Remembers what `node` matched. The number counts from 0 in the order of writing.
    Capture { index: usize, node: Box<Node> },
    /// One after the other.
    Concat(Vec<Node>),
    /// The first that lets the rest match.
    Alternate(Vec<Node>),
    /// `node` from `min` to `max` times.
    Repeat {
        node: Box<Node>,
        min: u32,
        max: Option<u32>,
        greedy: bool,
    },
    /// What a capture matched, once more.
    Backref(Vec<usize>),
    /// A library pattern whose text is the usual one, so that hand-written code may stand for `node`.
    Known { what: Known, node: Box<Node> },
}

/// Places that a pattern can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// `\A`
    Start,
    /// `\z`
    End,
    /// `\Z`: the end, or before a newline that ends the text.
    EndOrNewline,
    /// `^`: the start of the text or of a line.
    LineStart,
    /// `$`: the end of the text or of a line.
    LineEnd,
    /// `\b`
    Word,
    /// `\B`
    NotWord,
}

/// Library patterns that have hand-written code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// `IPV4`
    Ipv4,
    /// `IPV6`
    Ipv6,
    /// `BASE10NUM`
    Number,
    /// `TIME`
    Time,
    /// `QUOTEDSTRING`
    Quoted,
}

impl Node {
    /// A sequence without the nesting that says nothing.
    pub(super) fn concat(nodes: Vec<Node>) -> Node {
        fn add(flat: &mut Vec<Node>, node: Node) {
            match (flat.last_mut(), node) {
                (_, Node::Empty) => {}
                (_, Node::Concat(inner)) => inner.into_iter().for_each(|node| add(flat, node)),
                (Some(Node::Literal(before)), Node::Literal(more)) => before.push_str(&more),
                (_, node) => flat.push(node),
            }
        }
        let mut flat: Vec<Node> = Vec::with_capacity(nodes.len());
        nodes.into_iter().for_each(|node| add(&mut flat, node));
        match flat.len() {
            0 => Node::Empty,
            1 => flat.remove(0),
            _ => Node::Concat(flat),
        }
    }

    /// Whether some way to match takes no text at all.
    pub(super) fn nullable(&self) -> bool {
        match self {
            Node::Empty | Node::Anchor(_) | Node::Look { .. } | Node::Backref(_) => true,
            Node::Literal(text) => text.is_empty(),
            Node::Class(_) => false,
            Node::Atomic(node) | Node::Capture { node, .. } | Node::Known { node, .. } => {
                node.nullable()
            }
            Node::Concat(nodes) => nodes.iter().all(Node::nullable),
            Node::Alternate(nodes) => nodes.iter().any(Node::nullable),
            Node::Repeat { node, min, .. } => *min == 0 || node.nullable(),
        }
    }

    /// The set of a node that takes exactly one character.
    pub(super) fn one_char(&self) -> Option<ClassUnicode> {
        match self {
            Node::Class(class) => Some(class.clone()),
            Node::Literal(text) => {
                let mut chars = text.chars();
                let (Some(c), None) = (chars.next(), chars.next()) else {
                    return None;
                };
                Some(class(&[(c, c)]))
            }
            Node::Concat(nodes) if nodes.len() == 1 => nodes[0].one_char(),
            _ => None,
        }
    }

    /// Whether `found` holds for this node or one inside it.
    pub(super) fn any(&self, found: &mut dyn FnMut(&Node) -> bool) -> bool {
        if found(self) {
            return true;
        }
        match self {
            Node::Atomic(node)
            | Node::Capture { node, .. }
            | Node::Known { node, .. }
            | Node::Look { node, .. }
            | Node::Repeat { node, .. } => node.any(found),
            Node::Concat(nodes) | Node::Alternate(nodes) => {
                nodes.iter().any(|node| node.any(found))
            }
            _ => false,
        }
    }
}

/// Every character.
pub(super) fn any_char() -> ClassUnicode {
    use regex_syntax::hir::ClassUnicodeRange;
    ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)])
}

/// Ranges of characters as a set.
pub(super) fn class(ranges: &[(char, char)]) -> ClassUnicode {
    use regex_syntax::hir::ClassUnicodeRange;
    ClassUnicode::new(
        ranges
            .iter()
            .map(|&(low, high)| ClassUnicodeRange::new(low, high)),
    )
}

/// The ASCII part of a set, one truth per byte.
pub(super) fn ascii_set(class: &ClassUnicode) -> [bool; 128] {
    let mut set = [false; 128];
    for range in class.iter() {
        let (low, high) = (range.start() as u32, (range.end() as u32).min(127));
        for byte in low..=high {
            set[byte as usize] = true;
        }
    }
    set
}
