//! Lines out of bytes: where a line begins and ends, what is held back, what is cut.
//!
//! - a line ends with LF; a CR before it and NUL bytes in front of it are left out; an empty line is no event
//! - a line without its LF is held until it is whole, or until its generation is finished
//! - of a line longer than `max` the head is kept; the rest only runs through a hash, so memory stays bounded

use std::ops::Range;

use aws_lc_rs::digest;
use memchr::{memchr, memchr_iter};

use super::identity::Tail;
use super::multiline::Group;
use super::page::{Cut, Facts, Page};

/// Most lines made in one turn: a read of one-byte lines would make 128 Ki events at once.
const LINES: usize = 4096;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The state between two reads of one generation.
pub(crate) struct Lines {
    max: usize,
    /// Start of the first line that is not made yet; what a position stores.
    offset: u64,
    /// The bytes just before the offset.
    tail: Tail,
    /// What is held back: lines of an open group, then a line without its end.
    held: Vec<u8>,
    long: Option<Box<Long>>,
    group: Option<Group>,
    ends: Vec<u32>,
}

/// A line that is longer than allowed and still goes on.
struct Long {
    start: u64,
    head: Vec<u8>,
    /// Length so far, with a CR that is held back [bytes].
    len: u64,
    hash: digest::Context,
    /// A CR that may yet turn out to belong to the line's end.
    cr: bool,
    tail: Tail,
}

impl Lines {
    /// From `offset` on; `before` are the bytes just before it.
    pub(crate) fn new(max: usize, group: Option<Group>, offset: u64, before: Tail) -> Self {
        Self {
            max,
            offset,
            tail: before,
            held: Vec::new(),
            long: None,
            group,
            ends: Vec::new(),
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Where the next read begins.
    pub(crate) fn scanned(&self) -> u64 {
        match &self.long {
            Some(long) => long.start + long.len,
            None => self.offset + self.held.len() as u64,
        }
    }

    /// The last bytes before [`Lines::scanned`].
    pub(crate) fn scanned_tail(&self) -> Tail {
        let mut tail = self
            .long
            .as_ref()
            .map_or(&self.tail, |long| &long.tail)
            .clone();
        tail.push(&self.held);
        tail
    }

    /// Is a line, or a group of lines, held back?
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty() || self.long.is_some()
    }

    /// Is a group of whole lines held back?
    pub(crate) fn holds_group(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.len > 0)
    }

    /// Puts what is held back on a page, before the read that goes on from there.
    pub(crate) fn begin(&self, page: &mut impl Page) {
        page.append(&self.held);
    }

    /// Makes lines of all text on the page: what [`Lines::begin`] put there and what was read after it.
    pub(crate) fn split(&mut self, page: &mut impl Page) {
        let text = 0..page.text().len();
        if let Some(long) = &mut self.long {
            let Some(lf) = memchr(b'\n', page.text()) else {
                long.feed(page.text());
                return;
            };
            long.feed(&page.text()[..lf]);
            // Ranges of a page grow, and the head goes behind the text: what follows is read again in the next turn.
            self.end_long(page, false, 1);
            return;
        }
        if self.group.is_some() {
            self.split_groups(page, text)
        } else {
            self.split_lines(page, text)
        }
    }

    fn split_lines(&mut self, page: &mut impl Page, text: Range<usize>) {
        let mut ends = std::mem::take(&mut self.ends);
        ends.clear();
        ends.extend(
            memchr_iter(b'\n', &page.text()[text.clone()])
                .take(LINES)
                .map(|at| at as u32),
        );
        let base = self.offset;
        let mut from = text.start;
        for end in &ends {
            let end = text.start + *end as usize;
            let offset = base + (from - text.start) as u64;
            self.make(page, from..end, offset, offset);
            from = end + 1;
        }
        let full = ends.len() == LINES;
        self.ends = ends;
        self.keep_rest(
            page,
            text.start..from,
            from..if full { from } else { text.end },
        );
    }

    fn split_groups(&mut self, page: &mut impl Page, text: Range<usize>) {
        let Some(mut group) = self.group.take() else {
            return;
        };
        let base = self.offset;
        let offset = |at: usize| base + (at - text.start) as u64;
        let mut open = text.start;
        let mut from = text.start + group.len;
        let mut made = 0;
        while let Some(end) = memchr(b'\n', &page.text()[from..text.end]).map(|at| from + at) {
            let begins =
                from > open && (end - open > self.max || group.begins(&page.text()[from..end]));
            if begins {
                self.make(page, open..from - 1, offset(open), group.last);
                open = from;
                made += 1;
                if made == LINES {
                    break;
                }
            }
            group.last = offset(from);
            from = end + 1;
        }
        let rest = if made == LINES { open } else { text.end };
        // A single endless line does not drag the lines before it along.
        if rest - from.min(rest) > self.max && from > open {
            self.make(page, open..from - 1, offset(open), group.last);
            open = from;
        }
        group.len = from.min(rest) - open;
        self.keep_rest(page, text.start..open, open..rest);
        if self.long.is_some() {
            group.len = 0;
        }
        self.group = Some(group);
    }

    /// `done` is dealt with; `rest` is held back.
    fn keep_rest(&mut self, page: &impl Page, done: Range<usize>, rest: Range<usize>) {
        let text = page.text();
        self.offset += done.len() as u64;
        self.tail.push(&text[done]);
        let mut rest = &text[rest];
        let in_group = memchr(b'\n', rest).is_some();
        if !in_group {
            // NULs in front of a line are never held: a hole may be gigabytes long.
            let nuls = rest.iter().take_while(|byte| **byte == 0).count();
            self.offset += nuls as u64;
            self.tail.push(&rest[..nuls]);
            rest = &rest[nuls..];
        }
        self.held.clear();
        if rest.len() > self.max + 1 && !in_group {
            self.begin_long(rest);
        } else {
            self.held.extend_from_slice(rest);
        }
        if self.held.is_empty() && self.held.capacity() > 64 * 1024 {
            self.held = Vec::new();
        }
    }

    fn begin_long(&mut self, text: &[u8]) {
        let mut long = Box::new(Long {
            start: self.offset,
            head: text[..cut_at(text, self.max)].to_vec(),
            len: 0,
            hash: digest::Context::new(&digest::SHA256),
            cr: false,
            tail: self.tail.clone(),
        });
        long.feed(text);
        self.long = Some(long);
    }

    /// The long line is over, and `after` bytes of line end follow it.
    fn end_long(&mut self, page: &mut impl Page, partial: bool, after: u64) {
        let Some(mut long) = self.long.take() else {
            return;
        };
        if long.cr && partial {
            long.hash.update(b"\r");
        }
        let bytes = long.len - u64::from(long.cr && !partial);
        self.offset = long.start + long.len + after;
        if after > 0 {
            long.tail.push(b"\n");
        }
        self.tail = long.tail;
        let range = page.append(&long.head);
        page.line_with(
            range,
            long.start,
            Facts {
                partial,
                cut: Some(Cut {
                    bytes,
                    sha256: finished(long.hash),
                }),
            },
        );
    }

    /// One line, or one group of lines, without its last LF: where it begins, and where its last line does.
    fn make(&self, page: &mut impl Page, range: Range<usize>, begins: u64, last: u64) {
        self.make_with(page, range, begins, last, false);
    }

    fn make_with(
        &self,
        page: &mut impl Page,
        range: Range<usize>,
        begins: u64,
        last: u64,
        partial: bool,
    ) {
        let Range {
            start: mut from,
            mut end,
        } = range;
        let text = page.text();
        if begins == 0 && text[from..end].starts_with(BOM) {
            from += BOM.len();
        }
        let mut offset = last;
        if from < end && text[from] == 0 {
            let nuls = text[from..end]
                .iter()
                .take_while(|byte| **byte == 0)
                .count();
            from += nuls;
            if begins == last {
                offset += nuls as u64;
            }
        }
        if from < end && text[end - 1] == b'\r' && !partial {
            end -= 1;
        }
        if from == end {
            return;
        }
        let mut facts = Facts { partial, cut: None };
        if end - from > self.max {
            let line = &text[from..end];
            let mut hash = digest::Context::new(&digest::SHA256);
            hash.update(line);
            facts.cut = Some(Cut {
                bytes: line.len() as u64,
                sha256: finished(hash),
            });
            end = from + cut_at(line, self.max);
        }
        if facts == Facts::default() {
            page.line(from..end, offset);
        } else {
            page.line_with(from..end, offset, facts);
        }
    }

    /// The open group waits no longer for more lines; a line without its end stays held.
    pub(crate) fn end_group(&mut self, page: &mut impl Page) {
        let Some(group) = self.group.as_mut().filter(|group| group.len > 0) else {
            return;
        };
        let (len, last) = (group.len, group.last);
        group.len = 0;
        let text = page.append(&self.held);
        self.make(page, text.start..text.start + len - 1, self.offset, last);
        self.offset += len as u64;
        self.tail.push(&self.held[..len]);
        self.held.drain(..len);
    }

    /// The generation is over: what is held back is all there will be.
    pub(crate) fn finish(&mut self, page: &mut impl Page) {
        if self.long.is_some() {
            self.end_long(page, true, 0);
            return;
        }
        let whole = self.group.as_ref().map_or(0, |group| group.len);
        if whole > 0 && whole == self.held.len() {
            return self.end_group(page);
        }
        if self.held.is_empty() {
            return;
        }
        let offset = self.offset + whole as u64;
        let text = page.append(&self.held);
        self.make_with(page, text, self.offset, offset, true);
        if let Some(group) = &mut self.group {
            group.len = 0;
        }
        self.offset += self.held.len() as u64;
        self.tail.push(&self.held);
        self.held = Vec::new();
    }
}

impl Long {
    fn feed(&mut self, text: &[u8]) {
        let Some((last, _)) = text.split_last() else {
            return;
        };
        if self.cr {
            self.hash.update(b"\r");
        }
        self.cr = *last == b'\r';
        self.hash.update(&text[..text.len() - usize::from(self.cr)]);
        self.len += text.len() as u64;
        self.tail.push(text);
    }
}

pub(crate) fn finished(hash: digest::Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

/// Where to cut so that at most `max` bytes stay and no character is split.
pub(crate) fn cut_at(text: &[u8], max: usize) -> usize {
    if text.len() <= max {
        return text.len();
    }
    let back = (0..=3).find(|back| max >= *back && text[max - back] & 0xc0 != 0x80);
    max - back.unwrap_or(0)
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
