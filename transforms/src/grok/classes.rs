//! Sets of characters as patterns write them: `[…]`, `\d`, `[[:alnum:]]`, `\p{Greek}`, and characters by number.

use regex_syntax::hir::{ClassUnicode, HirKind};

use super::ast::class;
use super::syntax::{Fault, Parser};

/// `\d \D \s \S \w \W \h \H \p{…}`, all ASCII but the last; `None` (and nothing read) for another escape.
pub(super) fn shorthand(
    parser: &mut Parser<'_, '_, '_>,
    start: usize,
) -> Result<Option<ClassUnicode>, Fault> {
    let Some(c) = parser.peek() else {
        return Ok(None);
    };
    let mut set = match c.to_ascii_lowercase() {
        'd' => class(&[('0', '9')]),
        's' => class(&[('\t', '\r'), (' ', ' ')]),
        'w' => class(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        'h' => class(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        'p' => {
            parser.at += 1;
            let set = property(parser, start, c == 'P')?;
            return Ok(Some(set));
        }
        _ => return Ok(None),
    };
    parser.at += 1;
    if c.is_ascii_uppercase() {
        set.negate();
    }
    Ok(Some(set))
}

/// What stands in `\p{…}`.
fn property(
    parser: &mut Parser<'_, '_, '_>,
    start: usize,
    negate: bool,
) -> Result<ClassUnicode, Fault> {
    let rest = &parser.text[parser.at..];
    let (true, Some(end)) = (rest.starts_with('{'), rest.find('}')) else {
        return Err(Fault::new(start, "`\\p` without a property").help("write it like \\p{Alpha}"));
    };
    let name = &rest[1..end];
    let (name, inverse) = name
        .strip_prefix('^')
        .map_or((name, false), |name| (name, true));
    let mut set = posix(&name.to_ascii_lowercase())
        .or_else(|| unicode(&format!("\\p{{{name}}}")))
        .ok_or_else(|| {
            Fault::new(
                start,
                format!("no property of characters is called `{name}`"),
            )
        })?;
    parser.at += end + 1;
    if negate != inverse {
        set.negate();
    }
    Ok(set)
}

fn unicode(text: &str) -> Option<ClassUnicode> {
    match regex_syntax::parse(text).ok()?.into_kind() {
        HirKind::Class(regex_syntax::hir::Class::Unicode(set)) => Some(set),
        _ => None,
    }
}

/// The sets of `[[:name:]]`; in Ruby they reach beyond ASCII.
fn posix(name: &str) -> Option<ClassUnicode> {
    let text = match name {
        "alpha" => r"\p{Alphabetic}",
        "digit" => r"\p{Nd}",
        "alnum" => r"[\p{Alphabetic}\p{Nd}]",
        "upper" => r"\p{Uppercase}",
        "lower" => r"\p{Lowercase}",
        "space" => r"\p{White_Space}",
        "blank" => r"[\p{Zs}\t]",
        "cntrl" => r"\p{Cc}",
        "punct" => r"[\p{P}$+<=>^`|~]",
        "graph" => r"[^\p{White_Space}\p{Cc}\p{Cn}\p{Cs}]",
        "print" => r"[[^\p{White_Space}\p{Cc}\p{Cn}\p{Cs}]\p{Zs}]",
        "word" => r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]",
        "xdigit" => "[0-9A-Fa-f]",
        "ascii" => r"[\x00-\x7F]",
        _ => return None,
    };
    unicode(text)
}

/// A character written as an escape; the `\` is read already.
pub(super) fn escaped_char(parser: &mut Parser<'_, '_, '_>, start: usize) -> Result<char, Fault> {
    let Some(c) = parser.bump() else {
        return Err(Fault::new(start, "a `\\` at the very end"));
    };
    Ok(match c {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\x0C',
        'v' => '\x0B',
        'a' => '\x07',
        'e' => '\x1B',
        '0' => char_of(digits(parser, 2, 8), start)?,
        'x' => {
            if parser.eat("{") {
                let code = digits(parser, 8, 16);
                if !parser.eat("}") {
                    return Err(Fault::new(start, "a character number that is never closed")
                        .help("write it like \\x{1F600}"));
                }
                char_of(code, start)?
            } else {
                let code = digits(parser, 2, 16);
                if code > 0x7F {
                    return Err(Fault::new(
                        start,
                        "a lone byte beyond ASCII, which is no character of UTF-8",
                    )
                    .help("write the character's number, like \\u00e4"));
                }
                char_of(code, start)?
            }
        }
        'u' => {
            if parser.eat("{") {
                let code = digits(parser, 6, 16);
                parser.eat("}");
                char_of(code, start)?
            } else {
                char_of(digits(parser, 4, 16), start)?
            }
        }
        c => c,
    })
}

fn digits(parser: &mut Parser<'_, '_, '_>, most: usize, base: u32) -> u32 {
    let mut code = 0u32;
    for _ in 0..most {
        let Some(digit) = parser.peek().and_then(|c| c.to_digit(base)) else {
            break;
        };
        code = code.saturating_mul(base).saturating_add(digit);
        parser.at += 1;
    }
    code
}

fn char_of(code: u32, start: usize) -> Result<char, Fault> {
    char::from_u32(code)
        .ok_or_else(|| Fault::new(start, format!("no character has the number {code:#x}")))
}

/// `[…]`; the `[` is read already.
pub(super) fn bracket(
    parser: &mut Parser<'_, '_, '_>,
    start: usize,
) -> Result<ClassUnicode, Fault> {
    let set = nested(parser, start, 0)?;
    Ok(parser.folded(set))
}

fn nested(
    parser: &mut Parser<'_, '_, '_>,
    start: usize,
    depth: usize,
) -> Result<ClassUnicode, Fault> {
    if depth > 50 {
        return Err(Fault::new(
            start,
            "sets of characters nest more than 50 deep",
        ));
    }
    let unclosed = || {
        Fault::new(start, "a set of characters that is never closed")
            .help("add `]`, or write `\\[` for the character itself")
    };
    let negate = parser.eat("^");
    let mut set = ClassUnicode::empty();
    let mut both: Option<ClassUnicode> = None;
    let mut first = true;
    loop {
        let at = parser.at;
        let Some(c) = parser.bump() else {
            return Err(unclosed());
        };
        let low = match c {
            ']' if !first => break,
            '[' => {
                if let Some(named) = posix_name(parser) {
                    set.union(&named);
                } else {
                    let inner = nested(parser, at, depth + 1)?;
                    set.union(&inner);
                }
                first = false;
                continue;
            }
            '&' if parser.eat("&") => {
                both = Some(match both {
                    None => std::mem::replace(&mut set, ClassUnicode::empty()),
                    Some(mut before) => {
                        before.intersect(&std::mem::replace(&mut set, ClassUnicode::empty()));
                        before
                    }
                });
                continue;
            }
            '%' if parser.text[parser.at..].starts_with('{')
                && parser.text[parser.at + 1..].starts_with(|c: char| c.is_ascii_uppercase()) =>
            {
                return Err(Fault::new(at, "a `%{…}` inside a set of characters")
                    .help("a set holds single characters; write (?:…|%{NAME}) instead"));
            }
            '\\' => {
                if let Some(more) = shorthand(parser, at)? {
                    set.union(&more);
                    first = false;
                    continue;
                }
                if parser.eat("b") {
                    '\x08'
                } else {
                    escaped_char(parser, at)?
                }
            }
            c => c,
        };
        first = false;
        let high = range_end(parser, at)?.unwrap_or(low);
        if high < low {
            return Err(Fault::new(
                at,
                format!("a range from `{low}` down to `{high}`"),
            ));
        }
        set.union(&class(&[(low, high)]));
    }
    if let Some(mut before) = both {
        before.intersect(&set);
        set = before;
    }
    if negate {
        // The cases of what is left out are left out too.
        set = parser.folded(set);
        set.negate();
    }
    Ok(set)
}

/// What follows a `-` in a set, where that makes a range.
fn range_end(parser: &mut Parser<'_, '_, '_>, start: usize) -> Result<Option<char>, Fault> {
    let mut rest = parser.text[parser.at..].chars();
    if rest.next() != Some('-') || matches!(rest.next(), None | Some(']' | '[')) {
        return Ok(None);
    }
    let before = parser.at;
    parser.at += 1;
    match parser.bump() {
        Some('\\') => {
            let class_follows = parser.peek().is_some_and(|c| "dDsSwWhHpP".contains(c));
            if class_follows {
                // `[a-\d]`: the `-` is a character.
                parser.at = before;
                return Ok(None);
            }
            escaped_char(parser, start).map(Some)
        }
        high => Ok(high),
    }
}

/// `[:alpha:]` and `[:^alpha:]`; the outer `[` is read already.
fn posix_name(parser: &mut Parser<'_, '_, '_>) -> Option<ClassUnicode> {
    let rest = parser.text[parser.at..].strip_prefix(':')?;
    let end = rest.find(":]")?;
    let (name, inverse) = rest[..end]
        .strip_prefix('^')
        .map_or((&rest[..end], false), |name| (name, true));
    let mut set = posix(name)?;
    if inverse {
        set.negate();
    }
    parser.at += 1 + end + 2;
    Some(set)
}
