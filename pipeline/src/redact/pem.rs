//! Private keys in PEM form.

use std::ops::Range;

use super::shapes::{Hits, push};
use super::{MASK, Redactor, is_digest};

/// Longest private key [bytes].
const LONGEST: usize = 64 * 1024;

/// The body of a private key, line by line. Only lines that look like a key's are taken: whoever can write `-----BEGIN`
/// into a log must not be able to black out the lines after it.
pub(super) fn pem(redactor: &Redactor, text: &[u8], found: Range<usize>, hits: &mut Hits) {
    let rest = &text[found.end..];
    let begins = rest.starts_with(b"BEGIN");
    if !begins && !rest.starts_with(b"END") {
        return;
    }
    let head = &rest[..rest.len().min(64)];
    let line = head
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(head.len());
    let Some(name) = find(&head[..line], b"PRIVATE") else {
        return;
    };
    let Some(dashes) = find(&head[name..line], b"-----") else {
        return;
    };
    if find(&head[name..name + dashes], b"KEY").is_none() {
        return;
    }
    if begins {
        forward(redactor, text, found.end + name + dashes + 5, hits);
    } else {
        backward(redactor, text, found.start, hits);
    }
}

/// From the end of the BEGIN line on.
fn forward(redactor: &Redactor, text: &[u8], mut at: usize, hits: &mut Hits) {
    let limit = text.len().min(at + LONGEST);
    // The same line: a key with its line ends escaped.
    let end = at
        + text[at..limit]
            .iter()
            .take_while(|byte| is_key_text(**byte))
            .count();
    push_body(redactor, text, at..end, hits);
    at = end;
    if text.get(at) == Some(&b'\r') {
        at += 1;
    }
    while text.get(at) == Some(&b'\n') && at < limit {
        let from = at + 1;
        let stop = from
            + text[from..limit]
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(limit - from);
        if text[from..stop].starts_with(b"-----") || !is_body_line(&text[from..stop]) {
            return;
        }
        push_body(redactor, text, from..stop, hits);
        at = stop;
    }
}

/// From the END line back, for a key whose first line came in an earlier read.
fn backward(redactor: &Redactor, text: &[u8], end: usize, hits: &mut Hits) {
    let limit = end.saturating_sub(LONGEST);
    let mut from = end;
    while from > limit && is_key_text(text[from - 1]) {
        from -= 1;
    }
    if !(from >= 5 && is_digest(&text[from - 5..end])) {
        push_body(redactor, text, from..end, hits);
    }
    while from > limit && text[from - 1] == b'\n' {
        let stop = from - 1;
        let start = text[limit..stop]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(limit, |at| limit + at + 1);
        let line = &text[start..stop];
        if line.is_empty() || line.starts_with(b"-----") || !is_body_line(line) {
            return;
        }
        push_body(redactor, text, start..stop, hits);
        from = start;
    }
}

/// Base64, and the ways a line end is escaped.
fn is_key_text(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\\' | b'%' | b'#')
}

/// A line of base64, an empty one, or a header of an encrypted key.
fn is_body_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.starts_with(b"Proc-Type: ")
        || line.starts_with(b"DEK-Info: ")
        || line.iter().all(|byte| is_key_text(*byte))
        || line == MASK.as_bytes()
}

fn push_body(redactor: &Redactor, text: &[u8], range: Range<usize>, hits: &mut Hits) {
    let end = range.end - usize::from(text[range.clone()].ends_with(b"\r"));
    let masked = text[range.start..end].first() == Some(&b'[')
        || text[range.start..].get(..21).is_some_and(is_digest);
    if !masked {
        push(redactor, text, range.start..end, hits);
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}
