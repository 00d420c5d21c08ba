//! The fancy engine: whatever the others can not say exactly, by going back, on a budget.
//!
//! Running out of the budget is an error of that line, never "no match".

use std::fmt::Write;

use fancy_regex::{Error, Regex, RegexBuilder, RuntimeError};
use regex_syntax::hir::ClassUnicode;

use super::ast::{Anchor, Node};

/// Times that one line may make it go back; some milliseconds.
pub(super) const BUDGET: usize = 200_000;

/// A pattern for this engine.
#[derive(Debug)]
pub(super) struct Fancy {
    regex: Regex,
    captures: usize,
}

/// What became of a line.
pub(super) enum Verdict {
    Match {
        start: u32,
        end: u32,
    },
    NoMatch,
    /// The budget is used up.
    Spent,
}

impl Fancy {
    /// Compiles for this engine.
    pub(super) fn new(node: &Node, captures: usize) -> Result<Fancy, String> {
        let mut text = String::new();
        write(node, &mut text);
        let regex = RegexBuilder::new(&text)
            .backtrack_limit(BUDGET)
            .delegate_size_limit(16 << 20)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Fancy { regex, captures })
    }

    /// Searches the first match. Places go to `places`, two per capture.
    pub(super) fn search(&self, line: &str, places: &mut Vec<u32>) -> Verdict {
        let found = match self.regex.captures(line) {
            Ok(Some(found)) => found,
            Ok(None) => return Verdict::NoMatch,
            Err(Error::RuntimeError(
                RuntimeError::BacktrackLimitExceeded | RuntimeError::StackOverflow,
            )) => return Verdict::Spent,
            // An engine that fails in another way has not said "no match" either.
            Err(_) => return Verdict::Spent,
        };
        places.clear();
        for index in 0..self.captures {
            let (start, end) = found
                .get(index + 1)
                .map_or((u32::MAX, u32::MAX), |m| (m.start() as u32, m.end() as u32));
            places.extend([start, end]);
        }
        found.get(0).map_or(Verdict::NoMatch, |m| Verdict::Match {
            start: m.start() as u32,
            end: m.end() as u32,
        })
    }
}

fn write(node: &Node, out: &mut String) {
    match node {
        Node::Empty => {}
        Node::Literal(text) => text.chars().for_each(|c| write_char(c, out)),
        Node::Class(class) => write_class(class, out),
        Node::Anchor(anchor) => out.push_str(match anchor {
            Anchor::Start => r"\A",
            Anchor::End => r"\z",
            Anchor::EndOrNewline => r"(?=\n?\z)",
            Anchor::LineStart => r"(?:\A|(?<=\n)(?!\z))",
            Anchor::LineEnd => r"(?=\n|\z)",
            Anchor::Word => r"\b",
            Anchor::NotWord => r"\B",
        }),
        Node::Look {
            ahead,
            negate,
            node,
        } => {
            out.push_str(match (ahead, negate) {
                (true, false) => "(?=",
                (true, true) => "(?!",
                (false, false) => "(?<=",
                (false, true) => "(?<!",
            });
            write(node, out);
            out.push(')');
        }
        Node::Atomic(node) => group("(?>", node, out),
        Node::Capture { node, .. } => group("(", node, out),
        Node::Known { node, .. } => group("(?:", node, out),
        Node::Concat(nodes) => nodes.iter().for_each(|node| match node {
            Node::Alternate(_) => group("(?:", node, out),
            node => write(node, out),
        }),
        Node::Alternate(nodes) => {
            for (at, node) in nodes.iter().enumerate() {
                if at > 0 {
                    out.push('|');
                }
                write(node, out);
            }
        }
        Node::Repeat {
            node,
            min,
            max,
            greedy,
        } => {
            group("(?:", node, out);
            match (min, max) {
                (0, None) => out.push('*'),
                (1, None) => out.push('+'),
                (0, Some(1)) => out.push('?'),
                (min, None) => drop(write!(out, "{{{min},}}")),
                (min, Some(max)) => drop(write!(out, "{{{min},{max}}}")),
            }
            if !greedy {
                out.push('?');
            }
        }
        Node::Backref(groups) => {
            out.push_str("(?:");
            for (at, group) in groups.iter().rev().enumerate() {
                let bar = if at > 0 { "|" } else { "" };
                let _ = write!(out, "{bar}\\{}", group + 1);
            }
            out.push(')');
        }
    }
}

fn group(open: &str, node: &Node, out: &mut String) {
    out.push_str(open);
    write(node, out);
    out.push(')');
}

fn write_char(c: char, out: &mut String) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        let _ = write!(out, "\\x{{{:x}}}", c as u32);
    }
}

fn write_class(class: &ClassUnicode, out: &mut String) {
    if class.ranges().is_empty() {
        out.push_str("(?!)");
        return;
    }
    out.push('[');
    for range in class.iter() {
        write_char(range.start(), out);
        if range.end() > range.start() {
            out.push('-');
            write_char(range.end(), out);
        }
    }
    out.push(']');
}
