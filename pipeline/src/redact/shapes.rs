//! The shapes of secrets in raw text: each recogniser looks closer where an anchor was found.
//!
//! A value ends where its form says so (quote, `&`, comma, white space), so what stands beside it survives. Every walk is
//! bounded, so hostile text costs at most a constant per anchor.

use std::ops::Range;

use super::pem::pem;
use super::values::{key, skip_blanks};
use super::{Redactor, Shape, is_digest};

/// How far from its beginning the signature of a ticket is looked for [bytes].
const TICKET: usize = 4096;
/// Longest text between `://` and the end of the authority [bytes].
const AUTHORITY: usize = 1024;

pub(super) type Hits = Vec<Range<usize>>;

/// Up to where it is known that no signature follows, so that a line full of beginnings is not walked once for each.
#[derive(Debug, Default)]
pub(super) struct Unsigned {
    ticket: usize,
    spice: usize,
}

/// Looks closer at `found` and pushes what is secret there.
pub(super) fn look(
    redactor: &Redactor,
    shape: Shape,
    text: &[u8],
    found: Range<usize>,
    unsigned: &mut Unsigned,
    hits: &mut Hits,
) {
    match shape {
        Shape::Key => key(redactor, text, found, hits),
        Shape::Pve => pve(redactor, text, found, unsigned, hits),
        Shape::Spice => spice(redactor, text, found, unsigned, hits),
        Shape::Url => url(redactor, text, found, hits),
        Shape::Bearer => header(redactor, text, found, hits, false),
        Shape::Basic => header(redactor, text, found, hits, true),
        Shape::Pem => pem(redactor, text, found, hits),
    }
}

pub(super) fn push(redactor: &Redactor, text: &[u8], range: Range<usize>, hits: &mut Hits) {
    if !redactor.already(&text[range.clone()]) {
        hits.push(range);
    }
}

/// `%` and two given hex digits at `at`, in any case.
pub(super) fn is_escape(text: &[u8], at: usize, digits: &[u8; 2]) -> bool {
    text.get(at) == Some(&b'%')
        && text
            .get(at + 1..at + 3)
            .is_some_and(|two| two.eq_ignore_ascii_case(digits))
}

/// What no token, ticket or parameter holds.
pub(super) fn is_break(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0)
}

/// The length of a colon at `at`: plain, percent-encoded, or encoded twice.
fn colon(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b':' => Some(1),
        b'%' if is_escape(text, at, b"3A") => Some(3),
        b'%' if is_escape(text, at, b"25")
            && text
                .get(at + 3..at + 5)
                .is_some_and(|two| two.eq_ignore_ascii_case(b"3A")) =>
        {
            Some(5)
        }
        _ => None,
    }
}

/// The length of an equals sign at `at`, as [`colon`].
pub(super) fn equals(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'=' => Some(1),
        b'%' if is_escape(text, at, b"3D") => Some(3),
        b'%' if is_escape(text, at, b"25")
            && text
                .get(at + 3..at + 5)
                .is_some_and(|two| two.eq_ignore_ascii_case(b"3D")) =>
        {
            Some(5)
        }
        _ => None,
    }
}

fn is_ticket(byte: u8) -> bool {
    !is_break(byte)
        && !matches!(
            byte,
            b'"' | b'\'' | b'<' | b'>' | b'&' | b',' | b';' | b')' | b'\\' | b'|'
        )
}

/// `PVE:user:time::signature`, `PVEVNC:…`, `PVETFA:…`, `PVEAPIToken=user!id=secret`, plain or percent-encoded.
fn pve(
    redactor: &Redactor,
    text: &[u8],
    found: Range<usize>,
    unsigned: &mut Unsigned,
    hits: &mut Hits,
) {
    let mut at = found.end;
    if text[at..].starts_with(b"APIToken") {
        api_token(redactor, text, at + 8, hits);
        return;
    }
    if found.start < unsigned.ticket {
        return;
    }
    at += text[at..]
        .iter()
        .take(16)
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    let Some(width) = colon(text, at) else { return };
    at += width;
    // `PVE::Tools::run_command` is a name of the product's own code.
    if colon(text, at).is_some() {
        return;
    }
    let end = at
        + text[at..]
            .iter()
            .take(TICKET)
            .take_while(|byte| is_ticket(**byte))
            .count();
    let at_first = at;
    let mut signed = false;
    while at < end {
        match colon(text, at) {
            Some(width) => match colon(text, at + width) {
                Some(second) => {
                    signed = at + width + second < end;
                    break;
                }
                None => at += width,
            },
            None => at += 1,
        }
    }
    if !signed {
        unsigned.ticket = known_to(at_first, end);
        return;
    }
    // However long the signature is, all of it goes.
    let rest = text[end..]
        .iter()
        .take_while(|byte| is_ticket(**byte))
        .count();
    push(redactor, text, found.start..end + rest, hits);
}

/// Up to where a look from `at` to `end` has an opinion: one that was cut short says nothing about what begins late in it.
fn known_to(at: usize, end: usize) -> usize {
    if end - at < TICKET {
        end
    } else {
        end - TICKET / 2
    }
}

/// The secret of `PVEAPIToken=user@realm!id=secret`: who it belongs to stays readable.
fn api_token(redactor: &Redactor, text: &[u8], at: usize, hits: &mut Hits) {
    let Some(width) = equals(text, at) else {
        return;
    };
    let start = at + width;
    let mut end = start;
    while text.get(end).is_some_and(|byte| is_ticket(*byte))
        && !is_escape(text, end, b"2C")
        && !is_escape(text, end, b"26")
    {
        end += 1;
    }
    // The owner ends with `!id`; what follows the next sign is the secret (Proxmox Backup Server writes a colon there).
    let owner = (start..end).find(|at| text[*at] == b'!' || is_escape(text, *at, b"21"));
    let secret = owner.and_then(|owner| {
        (owner + 1..end).find_map(|at| {
            equals(text, at)
                .or_else(|| colon(text, at))
                .map(|width| (at + width).min(end))
        })
    });
    push(redactor, text, secret.unwrap_or(start)..end, hits);
}

/// `CONNECT pvespiceproxy:time:vmid:node:port::signature:port`: only the signature opens the door.
fn spice(
    redactor: &Redactor,
    text: &[u8],
    found: Range<usize>,
    unsigned: &mut Unsigned,
    hits: &mut Hits,
) {
    if found.start < unsigned.spice {
        return;
    }
    let end = found.end
        + text[found.end..]
            .iter()
            .take(TICKET)
            .take_while(|byte| is_ticket(**byte))
            .count();
    let Some(double) = text[found.end..end]
        .windows(2)
        .position(|pair| pair == b"::")
    else {
        unsigned.spice = known_to(found.end, end);
        return;
    };
    let start = found.end + double + 2;
    let stop = start
        + text[start..end]
            .iter()
            .take_while(|byte| **byte != b':')
            .count();
    // A digest has a colon in it, so the usual comparison sees half of one.
    if !text[start..].get(..21).is_some_and(is_digest) {
        push(redactor, text, start..stop, hits);
    }
}

/// `Bearer token` anywhere, `Basic token` in an Authorization header.
fn header(redactor: &Redactor, text: &[u8], found: Range<usize>, hits: &mut Hits, basic: bool) {
    let Some(first) = found
        .start
        .checked_sub(1)
        .filter(|at| text[*at].eq_ignore_ascii_case(&b'b'))
    else {
        return;
    };
    let mut at = found.end;
    match text.get(at) {
        Some(b' ' | b'+') => at = skip_blanks(text, at + 1),
        Some(b'%') if is_escape(text, at, b"20") => at += 3,
        _ => return,
    }
    let named = {
        let from = first.saturating_sub(24);
        text[from..first]
            .to_ascii_lowercase()
            .windows(13)
            .any(|name| name == b"authorization")
    };
    let is_token = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'%')
    };
    let end = at + text[at..].iter().take_while(|byte| is_token(byte)).count();
    let token = &text[at..end];
    if text[at..].get(..21).is_some_and(is_digest) {
        return;
    }
    // "bearer authentication" is a sentence; a token has digits, capitals or length.
    let words = token.len() < 4 || (token.len() < 20 && token.iter().all(u8::is_ascii_lowercase));
    if named || (!basic && !words) {
        push(redactor, text, at..end, hits);
    }
}

/// The password of `scheme://user:password@host`.
fn url(redactor: &Redactor, text: &[u8], found: Range<usize>, hits: &mut Hits) {
    let start = found.end;
    let mut end = start;
    while let Some(byte) = text.get(end).copied() {
        if is_break(byte)
            || end - start >= AUTHORITY
            || matches!(
                byte,
                b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'\\'
            )
        {
            break;
        }
        end += 1;
    }
    let authority = &text[start..end];
    let Some(at) = authority.iter().rposition(|byte| *byte == b'@') else {
        return;
    };
    let Some(colon) = authority[..at].iter().position(|byte| *byte == b':') else {
        return;
    };
    push(redactor, text, start + colon + 1..start + at, hits);
}
