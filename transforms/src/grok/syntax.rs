//! Reads the regular expressions of grok: Ruby's syntax, as Logstash's engine (Onigmo, its MULTILINE option on) takes it.
//!
//! - `.` matches a newline too, `^` and `$` are about lines, `\d \s \w \h` are ASCII, `\b` and `[[:alpha:]]` know Unicode
//! - plain groups remember nothing; `%{NAME:field:type}` and `(?<field>…)` do

use regex_syntax::hir::ClassUnicode;

use super::ast::{Anchor, Node, any_char, class};
use super::classes;
use super::expand::Expander;

/// Groups inside groups at most [levels].
const MAX_NESTING: usize = 200;
/// Times that a counted repetition may ask for at most, `{1,1000}`.
const MAX_COUNT: u32 = 1000;

/// Why a text is no pattern: what, and where in the text that was read.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: String,
    pub(super) help: Option<String>,
    /// The definitions it lies in, outermost first.
    pub(super) within: Vec<String>,
}

impl Fault {
    pub(super) fn new(at: usize, what: impl Into<String>) -> Fault {
        Fault {
            at,
            what: what.into(),
            help: None,
            within: Vec::new(),
        }
    }

    /// For the one who wrote `text`.
    pub(super) fn of(self, text: &str) -> super::GrokError {
        super::GrokError {
            offset: self.at.min(text.len()),
            what: self.what,
            help: self.help,
            within: self.within,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }
}

/// `(?imx)`
#[derive(Clone, Copy)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    dot_all: bool,
    extended: bool,
}

impl Flags {
    /// As Logstash starts: `.` matches a newline too.
    pub(super) const LOGSTASH: Flags = Flags {
        ignore_case: false,
        dot_all: true,
        extended: false,
    };
}

/// One text being read. Each definition of the library has its own.
pub(super) struct Parser<'t, 'e, 'l> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    pub(super) flags: Flags,
    pub(super) expander: &'e mut Expander<'l>,
}

/// Reads one whole text.
pub(super) fn parse(text: &str, flags: Flags, expander: &mut Expander<'_>) -> Result<Node, Fault> {
    let mut parser = Parser {
        text,
        at: 0,
        flags,
        expander,
    };
    let node = parser.alternation()?;
    if parser.at < text.len() {
        return Err(Fault::new(parser.at, "a `)` that closes nothing")
            .help("write `\\)` for the character itself"));
    }
    Ok(node)
}

impl Parser<'_, '_, '_> {
    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn alternation(&mut self) -> Result<Node, Fault> {
        let mut branches = vec![self.sequence()?];
        while self.eat("|") {
            self.expander.alternatives |= self.expander.at_top();
            branches.push(self.sequence()?);
        }
        Ok(if branches.len() == 1 {
            branches.remove(0)
        } else {
            Node::Alternate(branches)
        })
    }

    fn sequence(&mut self) -> Result<Node, Fault> {
        let mut nodes = Vec::new();
        loop {
            if self.flags.extended {
                self.skip_spaces();
            }
            match self.peek() {
                None | Some('|' | ')') => break,
                Some(_) => {
                    let start = self.at;
                    let atom = self.atom(&mut nodes)?;
                    self.expander
                        .count(1)
                        .map_err(|what| Fault::new(start, what))?;
                    if let Some(atom) = atom {
                        let node = self.quantified(atom)?;
                        nodes.push(node);
                        if self.expander.at_top() {
                            self.expander.pieces.push(start..self.at);
                        }
                    }
                }
            }
        }
        Ok(Node::concat(nodes))
    }

    fn skip_spaces(&mut self) {
        while let Some(c) = self.peek() {
            if c.is_ascii_whitespace() {
                self.at += 1;
            } else if c == '#' {
                while self.bump().is_some_and(|c| c != '\n') {}
            } else {
                break;
            }
        }
    }

    /// One atom. `None` where the text only changed a setting; what a setting applies to goes into `nodes` itself.
    fn atom(&mut self, nodes: &mut Vec<Node>) -> Result<Option<Node>, Fault> {
        let start = self.at;
        let Some(c) = self.bump() else {
            return Ok(None);
        };
        Ok(Some(match c {
            '.' => Node::Class(if self.flags.dot_all {
                any_char()
            } else {
                let mut set = class(&[('\n', '\n')]);
                set.negate();
                set
            }),
            '^' => Node::Anchor(Anchor::LineStart),
            '$' => Node::Anchor(Anchor::LineEnd),
            '[' => Node::Class(classes::bracket(self, start)?),
            '(' => return self.group(start, nodes),
            '\\' => self.escape(start)?,
            '%' if self.text[self.at..].starts_with('{') => self.reference(start)?,
            '*' | '+' | '?' => {
                return Err(
                    Fault::new(start, format!("`{c}` has nothing before it to repeat"))
                        .help(format!("write `\\{c}` for the character itself")),
                );
            }
            c => self.literal(c),
        }))
    }

    /// One character as written, or both its cases.
    fn literal(&self, c: char) -> Node {
        if self.flags.ignore_case {
            let mut set = class(&[(c, c)]);
            set.try_case_fold_simple().ok();
            if set.ranges().len() > 1 {
                return Node::Class(set);
            }
        }
        Node::Literal(c.to_string())
    }

    pub(super) fn folded(&self, mut set: ClassUnicode) -> ClassUnicode {
        if self.flags.ignore_case {
            set.try_case_fold_simple().ok();
        }
        set
    }

    fn quantified(&mut self, mut node: Node) -> Result<Node, Fault> {
        loop {
            if self.flags.extended {
                self.skip_spaces();
            }
            let at = self.at;
            let (min, max, counted) = match self.peek() {
                Some('*') => (0, None, false),
                Some('+') => (1, None, false),
                Some('?') => (0, Some(1), false),
                Some('{') => match self.count()? {
                    Some((min, max)) => (min, max, true),
                    None => return Ok(node),
                },
                _ => return Ok(node),
            };
            if !counted {
                self.at += 1;
            }
            // In Ruby `{n,m}+` repeats the repetition and `{n}?` makes it optional.
            let possessive = !counted && self.eat("+");
            let fixed = counted && max == Some(min);
            let greedy = possessive || fixed || !self.eat("?");
            if max.is_some_and(|max| max < min) {
                return Err(Fault::new(
                    at,
                    format!("a repetition from {min} to fewer than that"),
                ));
            }
            if matches!(node, Node::Anchor(_) | Node::Look { .. }) && min > 0 {
                continue; // asked once or often, a place answers the same
            }
            node = repeat(node, min, max, greedy);
            if possessive {
                node = Node::Atomic(Box::new(node));
            }
        }
    }

    /// `{n}`, `{n,}`, `{n,m}`, `{,m}`; anything else in braces is text.
    fn count(&mut self) -> Result<Option<(u32, Option<u32>)>, Fault> {
        let rest = &self.text[self.at + 1..];
        let Some(end) = rest.find('}') else {
            return Ok(None);
        };
        let inner = &rest[..end];
        let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !digits(low) || !digits(high) || (low.is_empty() && high.is_empty()) {
            return Ok(None);
        }
        let number = |text: &str| text.parse::<u32>().ok().filter(|&n| n <= MAX_COUNT);
        let too_many = || {
            Fault::new(
                self.at,
                format!("a repetition of more than {MAX_COUNT} times"),
            )
            .help("use `*` or `+`")
        };
        let min = if low.is_empty() {
            0
        } else {
            number(low).ok_or_else(too_many)?
        };
        let max = if high.is_empty() {
            None
        } else {
            Some(number(high).ok_or_else(too_many)?)
        };
        self.at += 1 + end + 1;
        Ok(Some((min, max)))
    }

    fn group(&mut self, start: usize, nodes: &mut Vec<Node>) -> Result<Option<Node>, Fault> {
        if self.expander.depth >= MAX_NESTING {
            return Err(Fault::new(
                start,
                format!("groups nest more than {MAX_NESTING} deep"),
            ));
        }
        if self.eat("?#") {
            match self.text[self.at..].find(')') {
                Some(end) => self.at += end + 1,
                None => return Err(Fault::new(start, "a comment that is never closed")),
            }
            return Ok(None);
        }
        type Make = fn(Box<Node>) -> Node;
        let kinds: [(&str, Make); 6] = [
            ("?:", |node| *node),
            ("?=", |node| Node::Look {
                ahead: true,
                negate: false,
                node,
            }),
            ("?!", |node| Node::Look {
                ahead: true,
                negate: true,
                node,
            }),
            ("?<=", |node| Node::Look {
                ahead: false,
                negate: false,
                node,
            }),
            ("?<!", |node| Node::Look {
                ahead: false,
                negate: true,
                node,
            }),
            ("?>", Node::Atomic),
        ];
        for (token, make) in kinds {
            if self.eat(token) {
                let node = self.body(start)?;
                return Ok(Some(make(Box::new(node))));
            }
        }
        if self.eat("?<") || self.eat("?P<") {
            return self.named(start, '>').map(Some);
        }
        if self.eat("?'") {
            return self.named(start, '\'').map(Some);
        }
        if self.eat("?") {
            return self.settings(start, nodes);
        }
        self.body(start).map(Some)
    }

    fn body(&mut self, start: usize) -> Result<Node, Fault> {
        self.expander.depth += 1;
        let flags = self.flags;
        let node = self.alternation()?;
        self.flags = flags;
        self.expander.depth -= 1;
        if !self.eat(")") {
            return Err(Fault::new(start, "a group that is never closed")
                .help("add `)`, or write `\\(` for the character itself"));
        }
        // A group of its own: what follows it repeats the whole of it.
        Ok(match node {
            Node::Literal(text) => Node::Concat(vec![Node::Literal(text)]),
            node => node,
        })
    }

    fn named(&mut self, start: usize, end: char) -> Result<Node, Fault> {
        let Some(length) = self.text[self.at..].find(end) else {
            return Err(Fault::new(start, "a group whose name is never closed"));
        };
        let name = self.text[self.at..self.at + length].to_owned();
        let name_at = self.at;
        self.at += length + 1;
        let index = self.expander.named_group(&name).map_err(|mut fault| {
            fault.at += name_at;
            fault
        })?;
        let node = Box::new(self.body(start)?);
        Ok(Node::Capture { index, node })
    }

    /// `(?i)` holds to the end of the group it stands in, alternatives included; `(?i:…)` for its own text.
    fn settings(&mut self, start: usize, nodes: &mut Vec<Node>) -> Result<Option<Node>, Fault> {
        let before = self.flags;
        let mut on = true;
        loop {
            match self.bump() {
                Some('-') => on = false,
                Some('i') => self.flags.ignore_case = on,
                Some('m' | 's') => self.flags.dot_all = on,
                Some('x') => self.flags.extended = on,
                Some(':') => {
                    let node = self.body(start)?;
                    self.flags = before;
                    return Ok(Some(node));
                }
                Some(')') => {
                    let node = self.alternation()?;
                    nodes.push(node);
                    return Ok(None);
                }
                _ => {
                    return Err(Fault::new(start, "a kind of group that grok does not know").help(
                        "known are (…) (?:…) (?<name>…) (?=…) (?!…) (?<=…) (?<!…) (?>…) (?i) (?i:…) (?#…)",
                    ));
                }
            }
        }
    }

    fn escape(&mut self, start: usize) -> Result<Node, Fault> {
        let Some(c) = self.peek() else {
            return Err(Fault::new(start, "a `\\` at the very end")
                .help("write `\\\\` for the character itself"));
        };
        let anchor = match c {
            'A' => Some(Anchor::Start),
            'z' => Some(Anchor::End),
            'Z' => Some(Anchor::EndOrNewline),
            'b' => Some(Anchor::Word),
            'B' => Some(Anchor::NotWord),
            _ => None,
        };
        if let Some(anchor) = anchor {
            self.at += 1;
            return Ok(Node::Anchor(anchor));
        }
        if let Some(set) = classes::shorthand(self, start)? {
            return Ok(Node::Class(set));
        }
        match c {
            'k' => {
                self.at += 1;
                if !self.eat("<") {
                    return Err(Fault::new(start, "`\\k` without a name").help("write \\k<name>"));
                }
                let Some(length) = self.text[self.at..].find('>') else {
                    return Err(Fault::new(start, "a name that is never closed"));
                };
                let name = &self.text[self.at..self.at + length];
                let groups = self.expander.groups_called(name);
                if groups.is_empty() {
                    return Err(Fault::new(
                        start,
                        format!("no group before this one is called `{name}`"),
                    ));
                }
                self.at += length + 1;
                Ok(Node::Backref(groups))
            }
            '1'..='9' => Err(Fault::new(
                start,
                format!("`\\{c}` counts groups that grok does not number"),
            )
            .help("name the group, (?<name>…), and write \\k<name>")),
            'G' | 'g' | 'K' | 'X' | 'R' => {
                Err(Fault::new(start, format!("`\\{c}` is not part of grok")))
            }
            _ => {
                let c = classes::escaped_char(self, start)?;
                Ok(self.literal(c))
            }
        }
    }
}

/// A repetition; `(?:x+)+` is `x+` in every respect, and would be asked for in ever so many ways.
fn repeat(node: Node, min: u32, max: Option<u32>, greedy: bool) -> Node {
    let mut inner = &node;
    while let Node::Concat(nodes) = inner {
        match nodes.as_slice() {
            [one] => inner = one,
            _ => break,
        }
    }
    if let Node::Repeat {
        node: one,
        min: least @ (0 | 1),
        max: None,
        greedy: true,
    } = inner
        && let (None, 0 | 1, true) = (max, min, greedy)
        && one.one_char().is_some()
    {
        return Node::Repeat {
            node: one.clone(),
            min: min * least,
            max: None,
            greedy: true,
        };
    }
    Node::Repeat {
        node: Box::new(node),
        min,
        max,
        greedy,
    }
}
