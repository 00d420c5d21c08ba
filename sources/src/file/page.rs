//! The page a reader writes on: room for text, and lines as ranges of it. The engine's `LineBatch` is one.

use std::ops::Range;

use pipeline::lines::hex;
use pipeline::{LineBatch, LineFacts};

/// What is to be said about a line beside its text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// The generation ended before the line did.
    pub(crate) partial: bool,
    /// The line was longer than allowed; the page has its head.
    pub(crate) cut: Option<Cut>,
}

/// What is known of a line whose end was left out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cut {
    /// Length of the whole line [bytes].
    pub(crate) bytes: u64,
    /// SHA-256 of the whole line.
    pub(crate) sha256: [u8; 32],
}

/// Text of one turn and the lines in it.
pub(crate) trait Page {
    /// Room after the text, at least so many bytes.
    fn space(&mut self, at_least: usize) -> &mut [u8];
    /// So many bytes of the room are text now.
    fn filled(&mut self, bytes: usize);
    /// All text so far.
    fn text(&self) -> &[u8];
    /// A line: a range of the text, and where it begins in its generation.
    fn line(&mut self, range: Range<usize>, offset: u64);
    /// A line about which something is to be said.
    fn line_with(&mut self, range: Range<usize>, offset: u64, facts: Facts);
    /// Takes back all text behind the first `len` bytes, in which no line lies.
    fn cut(&mut self, len: usize);

    /// Appends text; gives its range.
    fn append(&mut self, text: &[u8]) -> Range<usize> {
        let from = self.text().len();
        if !text.is_empty() {
            self.space(text.len())[..text.len()].copy_from_slice(text);
            self.filled(text.len());
        }
        from..from + text.len()
    }
}

impl Page for LineBatch {
    fn space(&mut self, at_least: usize) -> &mut [u8] {
        LineBatch::space(self, at_least)
    }

    fn filled(&mut self, bytes: usize) {
        LineBatch::filled(self, bytes);
    }

    fn text(&self) -> &[u8] {
        LineBatch::text(self)
    }

    #[inline]
    fn line(&mut self, range: Range<usize>, offset: u64) {
        LineBatch::line(self, range, offset);
    }

    fn line_with(&mut self, range: Range<usize>, offset: u64, facts: Facts) {
        LineBatch::line_with(self, range, offset, facts.into());
    }

    fn cut(&mut self, len: usize) {
        LineBatch::cut(self, len);
    }
}

impl From<Facts> for LineFacts {
    fn from(facts: Facts) -> Self {
        LineFacts {
            tags: facts.partial.then_some("partial").into_iter().collect(),
            truncated: facts
                .cut
                .map(|cut| (cut.bytes, format!("sha256:{}", hex(&cut.sha256)))),
            error: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A page without an engine.

    use super::{Facts, Page};
    use std::ops::Range;

    /// Text and lines as plain lists.
    #[derive(Default)]
    pub(crate) struct Sheet {
        text: Vec<u8>,
        room: usize,
        end: usize,
        lines: Vec<(Vec<u8>, u64)>,
        pub(crate) facts: Vec<Facts>,
    }

    impl Sheet {
        pub(crate) fn texts(&self) -> Vec<String> {
            self.lines
                .iter()
                .map(|(text, _)| String::from_utf8_lossy(text).into_owned())
                .collect()
        }

        pub(crate) fn offsets(&self) -> Vec<u64> {
            self.lines.iter().map(|(_, offset)| *offset).collect()
        }

        pub(crate) fn take_lines(&mut self, other: Self) {
            self.lines.extend(other.lines);
            self.facts.extend(other.facts);
        }
    }

    impl Page for Sheet {
        fn space(&mut self, at_least: usize) -> &mut [u8] {
            let have = self.text.len();
            self.room = at_least;
            self.text.resize(have + at_least, 0xAA);
            &mut self.text[have..]
        }

        fn filled(&mut self, bytes: usize) {
            let have = self.text.len() - self.room;
            self.text.truncate(have + bytes);
            self.room = 0;
        }

        fn text(&self) -> &[u8] {
            &self.text[..self.text.len() - self.room]
        }

        fn line(&mut self, range: Range<usize>, offset: u64) {
            self.line_with(range, offset, Facts::default());
        }

        fn line_with(&mut self, range: Range<usize>, offset: u64, facts: Facts) {
            assert!(range.start >= self.end, "the ranges of a page grow");
            self.end = range.end;
            self.lines.push((self.text()[range].to_vec(), offset));
            self.facts.push(facts);
        }

        fn cut(&mut self, len: usize) {
            assert!(len >= self.end, "a line lies there");
            let have = self.text.len() - self.room;
            self.text.truncate(have.min(len));
            self.room = 0;
        }
    }
}
