//! A JSON string: a place in the message, or a text of its own where it was escaped.

use pipeline::Span;

use super::super::{Refusal, scan};

/// A text in the message.
pub(super) enum Text {
    /// It stands there as it is.
    Here(Span),
    /// It was escaped.
    Owned(String),
}

impl Text {
    /// The text; `whole` is the buffer its place is in.
    pub(super) fn as_str<'a>(&'a self, whole: &'a str) -> &'a str {
        match self {
            Text::Here(span) => whole.get(span.range()).unwrap_or_default(),
            Text::Owned(text) => text,
        }
    }

    /// What a sender writes that knows nothing.
    pub(super) fn is_nil(&self, whole: &str) -> bool {
        matches!(self.as_str(whole), "" | "-")
    }

    /// Without the space that parts tag and text, which rsyslog counts to the text.
    pub(super) fn without_first_space(self, whole: &str) -> Text {
        match self {
            Text::Here(span) if whole.as_bytes().get(span.at as usize) == Some(&b' ') => {
                Text::Here(Span {
                    at: span.at + 1,
                    len: span.len.saturating_sub(1),
                })
            }
            Text::Owned(mut text) if text.starts_with(' ') => {
                text.remove(0);
                Text::Owned(text)
            }
            other => other,
        }
    }
}

/// Reads a string whose first byte behind the quote is at `from`, and says where it ends, behind its closing quote.
pub(super) fn read(text: &str, from: usize) -> Result<(Text, usize), Refusal> {
    let bytes = text.as_bytes();
    let rest = bytes.get(from..).unwrap_or_default();
    let unended = || Refusal::new("a JSON string does not end", from);
    let first = memchr::memchr2(b'"', b'\\', rest).ok_or_else(unended)?;
    if rest[first] == b'"' {
        return Ok((Text::Here(scan::span(from, from + first)), from + first + 1));
    }
    let mut out = String::new();
    let mut at = from;
    loop {
        let next = bytes
            .get(at..)
            .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
            .ok_or_else(unended)?;
        // Both ends are ASCII bytes or the string's first, so the cut is between characters.
        out.push_str(text.get(at..at + next).unwrap_or_default());
        at += next;
        if bytes[at] == b'"' {
            return Ok((Text::Owned(out), at + 1));
        }
        let (c, end) = escape(bytes, at)?;
        out.push(c);
        at = end;
    }
}

/// The character that the escape at `at` stands for, and where it ends.
fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), Refusal> {
    let wrong = || Refusal::new("an escape in a JSON string is none", at);
    let c = match bytes.get(at + 1).ok_or_else(wrong)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        same @ (b'"' | b'\\' | b'/') => char::from(*same),
        b'u' => {
            let first = hex(bytes, at + 2).ok_or_else(wrong)?;
            let second = (bytes.get(at + 6..at + 8) == Some(b"\\u"))
                .then(|| hex(bytes, at + 8))
                .flatten();
            if let (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) = (first, second) {
                let both = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok((char::from_u32(both).unwrap_or('\u{fffd}'), at + 12));
            }
            // Half a pair alone stands for no character.
            return Ok((char::from_u32(first).unwrap_or('\u{fffd}'), at + 6));
        }
        _ => return Err(wrong()),
    };
    Ok((c, at + 2))
}

fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |sum, byte| {
        char::from(*byte).to_digit(16).map(|digit| sum * 16 + digit)
    })
}
