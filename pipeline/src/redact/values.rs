//! Values of keys that are known to be secret: `password=…`, `"token": "…"`, `--secret …`, and the escaped forms.

use std::ops::Range;

use super::keys::Weight;
use super::shapes::{Hits, equals, is_break, is_escape, push};
use super::{MASK, Redactor};

/// Longest name of a key that is walked back over [bytes].
const NAME: usize = 64;
/// Most backslashes before a quote that are understood.
const SLASHES: usize = 16;
/// Escapes that end a value inside an escaped list: `&`, `,`, blank, `;`, newline.
const ENDS: [&[u8; 2]; 5] = [b"26", b"2C", b"20", b"3B", b"0A"];

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

pub(super) fn key(redactor: &Redactor, text: &[u8], found: Range<usize>, hits: &mut Hits) {
    let end = found.end
        + text[found.end..]
            .iter()
            .take(NAME)
            .take_while(|byte| is_name(**byte))
            .count();
    let mut start = found.start;
    while start > 0 && found.start - start < NAME && is_name(text[start - 1]) {
        start -= 1;
    }
    let before = start.checked_sub(1).map(|at| text[at]);
    let mut name = &text[start..end];
    // `…%26password=`: the two digits belong to the escape.
    if before == Some(b'%') && name.len() > 2 && name[..2].iter().all(u8::is_ascii_hexdigit) {
        name = &name[2..];
    }
    let dashes = name.iter().take_while(|byte| **byte == b'-').count();
    let Some(weight) = redactor.keys.weight(&name[dashes..]) else {
        return;
    };
    let list = matches!(before, Some(b'?' | b'&' | b',' | b'%'));
    let query = matches!(before, Some(b'?' | b'&'));
    let strong = match weight {
        Weight::Always => true,
        Weight::InList => list,
        Weight::InQuery => query,
    };
    if !strong {
        return;
    }
    let Some(next) = text.get(end) else { return };
    if let Some(width) = equals(text, end).filter(|width| *width > 1) {
        escaped_value(redactor, text, end + width, hits);
        return;
    }
    match next {
        b'=' => value(redactor, text, end + 1, query, hits),
        b'%' if is_escape(text, end, b"22") => escaped_json(redactor, text, end + 3, hits),
        b'"' | b'\'' | b'\\' => quoted_key(redactor, text, end, hits),
        b':' if name.eq_ignore_ascii_case(b"csrfpreventiontoken") => {
            value(redactor, text, skip_blanks(text, end + 1), false, hits)
        }
        b' ' if dashes > 0 && before.is_none_or(|byte| !byte.is_ascii_alphanumeric()) => {
            let at = skip_blanks(text, end);
            match text.get(at) {
                Some(b'=') => value(redactor, text, skip_blanks(text, at + 1), false, hits),
                Some(b'-')
                    if text
                        .get(at + 1)
                        .is_some_and(|byte| *byte == b'-' || byte.is_ascii_alphabetic()) => {}
                _ => value(redactor, text, at, false, hits),
            }
        }
        b' ' => {
            let at = skip_blanks(text, end);
            if text.get(at) == Some(&b'=') && text.get(at + 1) == Some(&b' ') {
                value(redactor, text, skip_blanks(text, at + 1), false, hits);
            }
        }
        _ => {}
    }
}

pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while text
        .get(at)
        .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
    {
        at += 1;
    }
    at
}

/// The value after `key=`: quoted, or up to what ends a parameter.
fn value(redactor: &Redactor, text: &[u8], at: usize, query: bool, hits: &mut Hits) {
    let slashes = text[at..]
        .iter()
        .take(SLASHES)
        .take_while(|byte| **byte == b'\\')
        .count();
    if let Some(quote @ (b'"' | b'\'')) = text.get(at + slashes).copied() {
        let from = at + slashes + 1;
        push(
            redactor,
            text,
            from..closing(text, from, quote, slashes),
            hits,
        );
        return;
    }
    push(redactor, text, at..plain_end(text, at, query), hits);
}

/// Where an unquoted value ends. A closing bracket or quote ends it only where nothing follows that could belong to it.
fn plain_end(text: &[u8], at: usize, query: bool) -> usize {
    let mut end = at;
    while let Some(byte) = text.get(end).copied() {
        let ends = match byte {
            _ if is_break(byte) => true,
            b'&' => true,
            b'#' => query,
            b',' | b';' => !query,
            b'\\' => matches!(text.get(end + 1), Some(b'"' | b'\'')),
            b'"' | b'\'' | b')' | b']' | b'}' | b'>' => {
                // Our own mask ends with a bracket, as does the product's.
                let mask = text[at..=end] == *MASK.as_bytes() || text[at..=end] == *b"<hidden>";
                !mask
                    && text
                        .get(end + 1)
                        .is_none_or(|next| is_break(*next) || is_closer(*next))
            }
            _ => false,
        };
        if ends {
            break;
        }
        end += 1;
    }
    end
}

/// What may follow a closing bracket or quote that ends a value.
fn is_closer(byte: u8) -> bool {
    matches!(
        byte,
        b',' | b';' | b'&' | b'"' | b'\'' | b')' | b']' | b'}' | b'>'
    )
}

/// The closing quote of a string that was opened behind `slashes` backslashes, or the end of the line.
fn closing(text: &[u8], from: usize, quote: u8, slashes: usize) -> usize {
    let mut end = from;
    let mut run = 0;
    while let Some(byte) = text.get(end).copied() {
        match byte {
            b'\n' => break,
            b'\\' => run += 1,
            // One level of escaping deeper doubles the backslashes and adds one.
            _ if byte == quote && run % (2 * (slashes + 1)) == slashes => return end - slashes,
            _ => run = 0,
        }
        end += 1;
    }
    if end > from && text[end - 1] == b'\r' {
        end - 1
    } else {
        end
    }
}

/// `"key" : "value"`, `'key' => 'value'`, and the same inside a string (`\"key\":\"value\"`).
fn quoted_key(redactor: &Redactor, text: &[u8], at: usize, hits: &mut Hits) {
    let slashes = text[at..]
        .iter()
        .take(SLASHES)
        .take_while(|byte| **byte == b'\\')
        .count();
    let Some(b'"' | b'\'') = text.get(at + slashes) else {
        return;
    };
    let mut at = skip_blanks(text, at + slashes + 1);
    match text.get(at..) {
        Some([b'=', b'>', ..]) => at += 2,
        Some([b':' | b'=', ..]) => at += 1,
        _ => return,
    }
    at = skip_blanks(text, at);
    let slashes = text[at..]
        .iter()
        .take(SLASHES)
        .take_while(|byte| **byte == b'\\')
        .count();
    match text.get(at + slashes).copied() {
        Some(quote @ (b'"' | b'\'')) => {
            let from = at + slashes + 1;
            push(
                redactor,
                text,
                from..closing(text, from, quote, slashes),
                hits,
            );
        }
        Some(b'[' | b'{') if text[at..].starts_with(MASK.as_bytes()) => {}
        Some(open @ (b'[' | b'{')) => push(redactor, text, at..nested_end(text, at, open), hits),
        Some(_) => {
            let end = at
                + text[at..]
                    .iter()
                    .take_while(|byte| !is_break(**byte) && !matches!(byte, b',' | b'}' | b']'))
                    .count();
            if !matches!(&text[at..end], b"null" | b"true" | b"false" | b"undef") {
                push(redactor, text, at..end, hits);
            }
        }
        None => {}
    }
}

/// The end of a list or map that opens at `at`, or of the line.
fn nested_end(text: &[u8], at: usize, open: u8) -> usize {
    let close = if open == b'[' { b']' } else { b'}' };
    let mut depth = 0_usize;
    let mut end = at;
    while let Some(byte) = text.get(end).copied() {
        match byte {
            b'\n' => return end,
            b'"' => {
                end = closing(text, end + 1, b'"', 0);
                if text.get(end) != Some(&b'"') {
                    return end;
                }
            }
            _ if byte == open => depth += 1,
            _ if byte == close => {
                depth -= 1;
                if depth == 0 {
                    return end + 1;
                }
            }
            _ => {}
        }
        end += 1;
    }
    end
}

/// The value after `key%3D`, up to an escaped or plain delimiter.
fn escaped_value(redactor: &Redactor, text: &[u8], at: usize, hits: &mut Hits) {
    let mut end = at;
    while let Some(byte) = text.get(end).copied() {
        let twice = is_escape(text, end, b"25")
            && text
                .get(end + 3..end + 5)
                .is_some_and(|two| ENDS.iter().any(|digits| two.eq_ignore_ascii_case(*digits)));
        if twice
            || ENDS.iter().any(|digits| is_escape(text, end, digits))
            || is_break(byte)
            || matches!(byte, b'&' | b'"')
        {
            break;
        }
        end += 1;
    }
    push(redactor, text, at..end, hits);
}

/// `key%22%3A%22value%22`: JSON in a query.
fn escaped_json(redactor: &Redactor, text: &[u8], mut at: usize, hits: &mut Hits) {
    if is_escape(text, at, b"3A") {
        at += 3;
    } else if text.get(at) == Some(&b':') {
        at += 1;
    } else {
        return;
    }
    while is_escape(text, at, b"20") {
        at += 3;
    }
    if !is_escape(text, at, b"22") {
        return;
    }
    at += 3;
    let mut end = at;
    while let Some(byte) = text.get(end).copied() {
        if is_escape(text, end, b"22") || is_break(byte) || matches!(byte, b'&' | b'"') {
            break;
        }
        end += 1;
    }
    push(redactor, text, at..end, hits);
}
