//! `when`: which selections must hold. `and`, `or`, `not`, parentheses, `1 of x_*`, `all of x_*`, `1 of them`.

use std::ops::Range;

/// Most parentheses and `not` in one another.
const MOST_DEPTH: usize = 64;

/// An expression over the bits of selections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// All of these.
    All(u64),
    /// One of these.
    Any(u64),
    Not(Box<When>),
    And(Vec<When>),
    Or(Vec<When>),
}

/// What is wrong with an expression: where, what, what to do.
pub(super) struct Mistake {
    pub(super) range: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

impl When {
    #[inline]
    pub(super) fn holds(&self, bits: u64) -> bool {
        match self {
            When::All(mask) => bits & mask == *mask,
            When::Any(mask) => bits & mask != 0,
            When::Not(inner) => !inner.holds(bits),
            When::And(parts) => parts.iter().all(|part| part.holds(bits)),
            When::Or(parts) => parts.iter().any(|part| part.holds(bits)),
        }
    }

    /// The selections it names.
    pub(super) fn names(&self) -> u64 {
        match self {
            When::All(mask) | When::Any(mask) => *mask,
            When::Not(inner) => inner.names(),
            When::And(parts) | When::Or(parts) => {
                parts.iter().fold(0, |all, part| all | part.names())
            }
        }
    }

    /// Whether some bits fulfil it. Of very many selections nobody tries all: then it may.
    pub(super) fn can_hold(&self) -> bool {
        let used: Vec<u64> = (0..64)
            .map(|n| 1 << n)
            .filter(|bit| self.names() & bit != 0)
            .collect();
        if used.len() > 16 {
            return true;
        }
        (0_u32..1 << used.len()).any(|choice| {
            let bits = used
                .iter()
                .enumerate()
                .filter(|(n, _)| choice & (1 << n) != 0);
            self.holds(bits.fold(0, |all, (_, bit)| all | bit))
        })
    }

    /// The codes that can make it true; `of` says those of one selection, `None` stands for any.
    pub(super) fn codes(&self, of: &dyn Fn(usize) -> Option<Vec<u16>>) -> Option<Vec<u16>> {
        let bits = |mask: &u64| {
            let mask = *mask;
            (0..64_usize).filter(move |n| mask & (1 << n) != 0)
        };
        match self {
            When::All(mask) => both(bits(mask).map(of)),
            When::Any(mask) => either(bits(mask).map(of)),
            When::Not(_) => None,
            When::And(parts) => both(parts.iter().map(|part| part.codes(of))),
            When::Or(parts) => either(parts.iter().map(|part| part.codes(of))),
        }
    }

    /// Reads an expression over selections of these names; `hidden` are bits that `them` and patterns leave out.
    pub(super) fn parse(text: &str, names: &[&str], hidden: u64) -> Result<When, Mistake> {
        let mut parser = Parser {
            text,
            at: 0,
            names,
            hidden,
            depth: 0,
        };
        let when = parser.or()?;
        match parser.peek() {
            None => Ok(when),
            Some((range, word)) => Err(Mistake {
                range,
                message: format!("{word:?} is not expected here"),
                help: "put \"and\" or \"or\" between two selections".to_owned(),
            }),
        }
    }
}

fn both(parts: impl Iterator<Item = Option<Vec<u16>>>) -> Option<Vec<u16>> {
    parts.flatten().reduce(|mut all, part| {
        all.retain(|code| part.contains(code));
        all
    })
}

fn either(parts: impl Iterator<Item = Option<Vec<u16>>>) -> Option<Vec<u16>> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(part?);
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    names: &'a [&'a str],
    hidden: u64,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<(Range<usize>, &'a str)> {
        let rest = &self.text[self.at..];
        let start = self.at + (rest.len() - rest.trim_start().len());
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let length = if first == '(' || first == ')' {
            1
        } else {
            rest.find(|c: char| c.is_whitespace() || c == '(' || c == ')')
                .unwrap_or(rest.len())
        };
        Some((start..start + length, &rest[..length]))
    }

    fn take(&mut self, wanted: &str) -> bool {
        match self.peek() {
            Some((range, word)) if word.eq_ignore_ascii_case(wanted) => {
                self.at = range.end;
                true
            }
            _ => false,
        }
    }

    fn or(&mut self) -> Result<When, Mistake> {
        let mut parts = vec![self.and()?];
        while self.take("or") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            When::Or(parts)
        })
    }

    fn and(&mut self) -> Result<When, Mistake> {
        let mut parts = vec![self.one()?];
        while self.take("and") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            When::And(parts)
        })
    }

    fn one(&mut self) -> Result<When, Mistake> {
        let end = self.text.len();
        let Some((range, word)) = self.peek() else {
            return Err(Mistake {
                range: end..end,
                message: "the expression ends where a selection is expected".to_owned(),
                help: format!("write one of {}", list(self.names)),
            });
        };
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(Mistake {
                range,
                message: format!("more than {MOST_DEPTH} parentheses in one another"),
                help: "split the rule in two".to_owned(),
            });
        }
        self.at = range.end;
        let one = match word.to_ascii_lowercase().as_str() {
            "not" => When::Not(Box::new(self.one()?)),
            "(" => {
                let inner = self.or()?;
                if !self.take(")") {
                    return Err(Mistake {
                        range,
                        message: "this parenthesis is not closed".to_owned(),
                        help: "close it with \")\"".to_owned(),
                    });
                }
                inner
            }
            how @ ("1" | "any" | "all") if self.take("of") => {
                let mask = self.pattern(range)?;
                if how == "all" {
                    When::All(mask)
                } else {
                    When::Any(mask)
                }
            }
            _ => When::All(self.name(word, range)?),
        };
        self.depth -= 1;
        Ok(one)
    }

    fn name(&self, word: &str, range: Range<usize>) -> Result<u64, Mistake> {
        if let Some(n) = self.names.iter().position(|name| *name == word) {
            return Ok(1 << n);
        }
        let help = match pipeline::config::nearest(word, self.names.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None if self.names.is_empty() => "add [rule.select.NAME]".to_owned(),
            None => format!("the rule has {}", list(self.names)),
        };
        let message = match word {
            "and" | "or" | ")" => format!("{word:?} stands where a selection is expected"),
            _ => format!("there is no selection called {word:?}"),
        };
        Err(Mistake {
            range,
            message,
            help,
        })
    }

    fn pattern(&mut self, of: Range<usize>) -> Result<u64, Mistake> {
        let Some((range, word)) = self.peek() else {
            return Err(Mistake {
                range: of,
                message: "\"of\" names nothing".to_owned(),
                help: "write \"1 of them\", or a pattern like \"1 of login_*\"".to_owned(),
            });
        };
        self.at = range.end;
        let visible = self
            .names
            .iter()
            .enumerate()
            .filter(|(n, _)| self.hidden & (1 << n) == 0);
        let wanted: Vec<char> = word.chars().collect();
        let mask = match word {
            "them" => visible
                .filter(|(_, name)| !name.starts_with('_'))
                .fold(0, |all, (n, _)| all | 1 << n),
            _ => visible
                .filter(|(_, name)| super::fold::glob(name.chars(), &wanted))
                .fold(0, |all, (n, _)| all | 1 << n),
        };
        if mask != 0 {
            return Ok(mask);
        }
        Err(Mistake {
            range,
            message: format!("no selection is called like {word:?}"),
            help: format!("the rule has {}", list(self.names)),
        })
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return "no selection: add [rule.select.NAME]".to_owned();
    }
    names
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<When, String> {
        When::parse(text, &["a", "b", "x_1", "x_2", "_y"], 0)
            .map_err(|mistake| format!("{}: {}", mistake.range.start, mistake.message))
    }

    #[test]
    fn not_binds_closest_and_or_loosest() {
        let when = parse("a or not b and 1 of x_*").unwrap_or_else(|_| panic!("an expression"));
        for (bits, holds) in [
            (0b1, true),
            (0b100, true),
            (0b110, false),
            (0b1000, true),
            (0, false),
        ] {
            assert_eq!(when.holds(bits), holds, "{bits:b}");
        }
        assert_eq!(parse("1 of them"), Ok(When::Any(0b1111)));
        assert_eq!(parse("all of x_*"), Ok(When::All(0b1100)));
        assert_eq!(parse("a b").unwrap_err(), "2: \"b\" is not expected here");
        assert_eq!(
            parse("(a or b").unwrap_err(),
            "0: this parenthesis is not closed"
        );
        assert_eq!(
            parse("a and c").unwrap_err(),
            "6: there is no selection called \"c\""
        );
        assert!(!parse("a and not a").expect("an expression").can_hold());
        assert!(parse(&"(".repeat(100_000)).is_err() && parse(&"not ".repeat(100_000)).is_err());
    }

    #[derive(Clone, Debug)]
    enum Tree {
        Name(usize),
        Not(Box<Tree>),
        And(Box<Tree>, Box<Tree>),
        Or(Box<Tree>, Box<Tree>),
    }

    impl Tree {
        fn text(&self) -> String {
            match self {
                Tree::Name(n) => ["a", "b", "x_1", "x_2"][*n].to_owned(),
                Tree::Not(inner) => format!("not ({})", inner.text()),
                Tree::And(one, other) => format!("({}) AND ({})", one.text(), other.text()),
                Tree::Or(one, other) => format!("({}) or({})", one.text(), other.text()),
            }
        }
        fn holds(&self, bits: u64) -> bool {
            match self {
                Tree::Name(n) => bits >> n & 1 == 1,
                Tree::Not(inner) => !inner.holds(bits),
                Tree::And(one, other) => one.holds(bits) && other.holds(bits),
                Tree::Or(one, other) => one.holds(bits) || other.holds(bits),
            }
        }
    }

    fn tree() -> impl Strategy<Value = Tree> {
        (0_usize..4)
            .prop_map(Tree::Name)
            .prop_recursive(6, 40, 2, |inner| {
                prop_oneof![
                    inner.clone().prop_map(|one| Tree::Not(Box::new(one))),
                    (inner.clone(), inner.clone())
                        .prop_map(|(one, other)| Tree::And(Box::new(one), Box::new(other))),
                    (inner.clone(), inner)
                        .prop_map(|(one, other)| Tree::Or(Box::new(one), Box::new(other))),
                ]
            })
    }

    proptest! {
        #[test]
        fn an_expression_means_what_its_tree_means(tree in tree()) {
            let when = parse(&tree.text()).expect("an expression");
            let mut any = false;
            for bits in 0..16 {
                prop_assert_eq!(when.holds(bits), tree.holds(bits));
                any |= tree.holds(bits);
            }
            prop_assert_eq!(when.can_hold(), any);
        }

        #[test]
        fn no_text_panics(text in "[ab()_x1*é ]{0,40}|(and|or|not|of|1|all|a|\\(|\\)| ){0,20}") {
            let _ = parse(&text);
        }
    }
}
