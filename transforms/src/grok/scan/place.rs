//! Places in a line: what stands there, and whether an anchor holds.

use super::program::END;
use crate::grok::ast::Anchor;

/// The byte at a place, or the mark for the end.
#[inline]
pub(super) fn byte_at(line: &[u8], pos: usize) -> usize {
    line.get(pos).map_or(END, |byte| *byte as usize)
}

fn word_before(line: &[u8], pos: usize) -> bool {
    match line[..pos].last() {
        None => false,
        Some(byte) if byte.is_ascii() => byte.is_ascii_alphanumeric() || *byte == b'_',
        Some(_) => {
            let mut start = pos - 1;
            while start > 0 && line[start] & 0xC0 == 0x80 {
                start -= 1;
            }
            word_at(line, start)
        }
    }
}

fn word_at(line: &[u8], pos: usize) -> bool {
    match line.get(pos) {
        None => false,
        Some(byte) if byte.is_ascii() => byte.is_ascii_alphanumeric() || *byte == b'_',
        Some(_) => {
            let bytes = &line[pos..line.len().min(pos + 4)];
            let first = bytes
                .utf8_chunks()
                .next()
                .and_then(|chunk| chunk.valid().chars().next());
            first.is_some_and(regex_syntax::is_word_character)
        }
    }
}

pub(super) fn holds(anchor: Anchor, line: &[u8], pos: usize) -> bool {
    let boundary = || word_before(line, pos) != word_at(line, pos);
    match anchor {
        Anchor::Start => pos == 0,
        Anchor::End => pos == line.len(),
        Anchor::EndOrNewline => pos == line.len() || (pos + 1 == line.len() && line[pos] == b'\n'),
        // Behind a newline that ends the text there is no further line.
        Anchor::LineStart => pos == 0 || (line[pos - 1] == b'\n' && pos < line.len()),
        Anchor::LineEnd => pos == line.len() || line[pos] == b'\n',
        Anchor::Word => boundary(),
        Anchor::NotWord => !boundary(),
    }
}
