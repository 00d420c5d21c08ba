//! Text that came from outside, made safe for a terminal and for a log read in one.
//!
//! Control characters could move the cursor, change the title, or end a line early; the directional ones could turn a name
//! around. Both are written as escapes, so what is printed is what stands there.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with every control and directional character written as an escape (`\n`, `\x1b`, `\u{202e}`).
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_unsafe) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    push_printable(&text[first..], &mut out);
    Cow::Owned(out)
}

/// As [`printable`], appended to `out`.
pub fn push_printable(text: &str, out: &mut String) {
    // Nearly every text is of plain letters; all of them are looked at, which is quicker than stopping at the first other.
    let plain = |all: bool, byte: u8| all & (0x20..0x7f).contains(&byte);
    if text.bytes().fold(true, plain) {
        return out.push_str(text);
    }
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_unsafe(letter) => {
                let code = u32::from(letter);
                // Writing into a string cannot fail.
                let _ = if code < 0x100 {
                    write!(out, "\\x{code:02x}")
                } else {
                    write!(out, "\\u{{{code:x}}}")
                };
            }
            _ => out.push(letter),
        }
    }
}

/// C0, DEL and C1 controls, and what turns or hides text: bidirectional marks, zero-width characters, line separators.
#[must_use]
pub fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_lose_their_power() {
        assert_eq!(
            printable("a\x1b]0;owned\x07b\u{9b}31mc\u{202e}d\n"),
            "a\\x1b]0;owned\\x07b\\x9b31mc\\u{202e}d\\n"
        );
        assert!(matches!(printable("grüße, 世界"), Cow::Borrowed(_)));
    }
}
