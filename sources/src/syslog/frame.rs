//! Frames out of a stream: where one message ends and the next begins, told apart frame by frame (RFC 6587).
//!
//! - digits and a blank: octet-counted, so many bytes follow · anything else: until LF or NUL · the end of the stream ends
//!   its last frame
//! - of a frame longer than `max` the head is kept; the rest runs through a hash, so memory stays bounded whatever a peer
//!   announces
//! - where no frame can begin (a count beyond reason, bytes left over by a count that was too small) everything up to the
//!   next place that looks like a beginning is kept as messages of its own, and counted

use std::ops::Range;

use aws_lc_rs::digest;
use memchr::{memchr_iter, memchr2};

use crate::file::lines::{cut_at, finished};
use crate::file::page::{Cut, Facts, Page};

/// Most frames made in one turn: a read of one-byte frames would make 128 Ki events at once.
const FRAMES: usize = 4096;
/// The beginning of a frame up to this size is copied in front of the next read; of a longer one only what is new is
/// looked at [bytes].
const SMALL: usize = 4096;
/// What belongs to no frame is cut into messages of this size [bytes].
const PIECE: usize = 8192;
/// A count of more digits is none.
const DIGITS: usize = 12;
/// Largest count that is believed [bytes]. No log message is longer, and whoever announces more is out of step.
const BELIEVED: u64 = 16 << 20;

/// What was unusual about the frames of one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Oddities {
    /// Bytes where no frame can begin, made into messages of their own [messages].
    pub(super) lost: u64,
    /// Counted frames whose end never came.
    pub(super) partial: u64,
    /// Runs of NUL where a frame should begin.
    pub(super) empty: u64,
    /// Frames longer than allowed.
    pub(super) long: u64,
}

/// The state of one stream between two reads.
pub(super) struct Framer {
    max: usize,
    /// What was read and is not made yet, except for a frame that has become [`Big`].
    held: Vec<u8>,
    /// Whether `held` has whole frames for which the last turn had no room.
    more: bool,
    big: Option<Box<Big>>,
    /// Whether the frame before this one was counted.
    counted: bool,
}

/// A frame that is too long to be copied in front of every read.
struct Big {
    kind: Kind,
    /// As much of it as is kept.
    head: Vec<u8>,
    /// Length so far [bytes].
    len: u64,
    /// Of the whole frame, once it is longer than allowed.
    hash: Option<digest::Context>,
}

/// How a frame ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// At LF or NUL.
    Text,
    /// After so many bytes.
    Counted(u64),
    /// It is none: at LF, NUL, or where a counted frame seems to begin.
    Lost,
}

/// What stands at the beginning of some bytes.
enum Found {
    /// The text of a frame, and where the next one begins.
    Frame(Kind, Range<usize>, usize),
    /// The text of a frame begins here, and its end is not there yet.
    Begun(Kind, usize),
    /// Not enough to say.
    Unclear,
}

impl Framer {
    /// For frames of at most `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            held: Vec::new(),
            more: false,
            big: None,
            counted: false,
        }
    }

    /// Whether there are whole frames to make without another read.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// Whether the beginning of a frame is held back.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty() || self.big.is_some()
    }

    /// Puts what is held back on a page, and says where it begins. What is read next goes behind it.
    pub(super) fn begin(&mut self, page: &mut impl Page) -> usize {
        let from = page.text().len();
        if !self.held.is_empty() {
            page.append(&self.held);
            self.held.clear();
        }
        from
    }

    /// Makes frames of the page's text behind `from`, and takes back what is the beginning of another. `number` is the
    /// next frame's; with `end` nothing more will come.
    pub(super) fn split(
        &mut self,
        page: &mut impl Page,
        from: usize,
        number: &mut u64,
        end: bool,
    ) -> Oddities {
        let mut odd = Oddities::default();
        self.more = false;
        let from = self.split_big(page, from, number, end, &mut odd);
        let mut at = from;
        let stop = page.text().len();
        let mut made = 0;
        let open = loop {
            let text = page.text();
            at += separators(&text[at..stop], &mut odd);
            if at == stop {
                break None;
            }
            if made == FRAMES {
                self.more = true;
                break None;
            }
            let found = match self.look(&text[at..stop]) {
                found @ Found::Frame(..) => found,
                open if end => close(open, stop - at),
                open => open,
            };
            match found {
                Found::Frame(kind, range, next) => {
                    let partial =
                        matches!(kind, Kind::Counted(count) if count != range.len() as u64);
                    let range = self.trim(text, kind, at + range.start..at + range.end);
                    odd.lost += u64::from(kind == Kind::Lost);
                    odd.partial += u64::from(partial);
                    self.counted = matches!(kind, Kind::Counted(_));
                    made += self.make(page, range, number, partial, &mut odd);
                    at += next;
                }
                Found::Begun(kind, text) if stop - at > SMALL && kind != Kind::Lost => {
                    break Some((kind, at + text));
                }
                Found::Begun(..) | Found::Unclear => break None,
            }
        };
        match open {
            Some((kind, text)) => {
                let mut big = Box::new(Big::new(kind));
                big.feed(&page.text()[text..stop], self.max);
                self.big = Some(big);
            }
            None => self.held.extend_from_slice(&page.text()[at..stop]),
        }
        page.cut(at);
        if self.held.is_empty() && self.held.capacity() > 64 * 1024 {
            self.held = Vec::new();
        }
        odd
    }

    /// Feeds a big frame, and says where the frames behind it begin.
    fn split_big(
        &mut self,
        page: &mut impl Page,
        from: usize,
        number: &mut u64,
        end: bool,
        odd: &mut Oddities,
    ) -> usize {
        let Some(mut big) = self.big.take() else {
            return from;
        };
        let new = &page.text()[from..];
        let (taken, mut whole) = match big.kind {
            Kind::Counted(count) => {
                let missing = usize::try_from(count - big.len).unwrap_or(usize::MAX);
                (missing.min(new.len()), missing <= new.len())
            }
            Kind::Text | Kind::Lost => match memchr2(b'\n', 0, new) {
                Some(at) => (at, true),
                None => (new.len(), false),
            },
        };
        big.feed(&new[..taken], self.max);
        let partial = !whole && matches!(big.kind, Kind::Counted(_));
        whole |= end;
        if !whole {
            page.cut(from);
            self.big = Some(big);
            return from;
        }
        // Ranges of a page grow, so the frame goes first and what was read behind it once more after it.
        let rest = new[taken..].to_vec();
        page.cut(from);
        odd.partial += u64::from(partial);
        self.counted = matches!(big.kind, Kind::Counted(_));
        self.make_big(page, *big, number, partial, odd);
        let from = page.text().len();
        page.append(&rest);
        from
    }

    fn make_big(
        &self,
        page: &mut impl Page,
        mut big: Big,
        number: &mut u64,
        partial: bool,
        odd: &mut Oddities,
    ) {
        let Some(hash) = big.hash else {
            let range = page.append(&big.head);
            let range = self.trim(page.text(), big.kind, range);
            self.make(page, range, number, partial, odd);
            return;
        };
        big.head.truncate(cut_at(&big.head, self.max));
        let range = page.append(&big.head);
        let cut = Some(Cut {
            bytes: big.len,
            sha256: finished(hash),
        });
        page.line_with(range, *number, Facts { partial, cut });
        *number += 1;
        odd.long += 1;
    }

    /// One frame; says how many events it became.
    #[inline]
    fn make(
        &self,
        page: &mut impl Page,
        range: Range<usize>,
        number: &mut u64,
        partial: bool,
        odd: &mut Oddities,
    ) -> usize {
        if range.is_empty() {
            return 0;
        }
        if range.len() <= self.max && !partial {
            page.line(range, *number);
        } else {
            self.make_odd(page, range, *number, partial, odd);
        }
        *number += 1;
        1
    }

    #[cold]
    fn make_odd(
        &self,
        page: &mut impl Page,
        mut range: Range<usize>,
        number: u64,
        partial: bool,
        odd: &mut Oddities,
    ) {
        let text = &page.text()[range.clone()];
        let cut = (text.len() > self.max).then(|| {
            let mut hash = digest::Context::new(&digest::SHA256);
            hash.update(text);
            odd.long += 1;
            Cut {
                bytes: text.len() as u64,
                sha256: finished(hash),
            }
        });
        range.end = range.start + cut_at(text, self.max);
        page.line_with(range, number, Facts { partial, cut });
    }

    /// A line end that a sender counted, or the CR before one, is no part of the message. Of one that is too long all counts.
    #[inline]
    fn trim(&self, text: &[u8], kind: Kind, mut range: Range<usize>) -> Range<usize> {
        if range.len() > self.max {
            return range;
        }
        if matches!(kind, Kind::Counted(_)) && text[range.clone()].ends_with(b"\n") {
            range.end -= 1;
        }
        if text[range.clone()].ends_with(b"\r") {
            range.end -= 1;
        }
        range
    }

    /// What stands at the beginning of `text`, which is not empty.
    #[inline]
    fn look(&self, text: &[u8]) -> Found {
        if text[0] == b'<' {
            return text_frame(text);
        }
        self.look_closer(text)
    }

    #[inline(never)]
    fn look_closer(&self, text: &[u8]) -> Found {
        if !(b'1'..=b'9').contains(&text[0]) {
            return if self.counted {
                lost(text)
            } else {
                text_frame(text)
            };
        }
        let mut count = 0_u64;
        let mut digits = 0;
        for byte in text
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .take(DIGITS + 1)
        {
            count = count * 10 + u64::from(byte - b'0');
            digits += 1;
        }
        let begin = digits + 1;
        if digits <= DIGITS && text.len() <= begin {
            return Found::Unclear;
        }
        if digits > DIGITS || text[digits] != b' ' {
            return if self.counted {
                lost(text)
            } else {
                text_frame(text)
            };
        }
        // A line of text may begin with a number as well; what follows a count is a priority, or JSON.
        if !self.counted && !matches!(text[begin], b'<' | b'{' | b'"' | b'@') {
            return text_frame(text);
        }
        if count > BELIEVED {
            return lost(text);
        }
        let kind = Kind::Counted(count);
        match usize::try_from(count)
            .ok()
            .and_then(|n| begin.checked_add(n))
        {
            Some(end) if end <= text.len() => Found::Frame(kind, begin..end, end),
            _ => Found::Begun(kind, begin),
        }
    }
}

impl Big {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            head: Vec::new(),
            len: 0,
            hash: None,
        }
    }

    fn feed(&mut self, new: &[u8], max: usize) {
        self.len += new.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(new);
            return;
        }
        if self.head.len() + new.len() <= max {
            self.head.extend_from_slice(new);
            return;
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&self.head);
        hash.update(new);
        self.hash = Some(hash);
        // One byte more than is kept, so that a character is not taken for a whole one.
        let room = (max + 1).saturating_sub(self.head.len()).min(new.len());
        self.head.extend_from_slice(&new[..room]);
    }
}

#[inline]
fn text_frame(text: &[u8]) -> Found {
    match memchr2(b'\n', 0, text) {
        Some(end) => Found::Frame(Kind::Text, 0..end, end + 1),
        None => Found::Begun(Kind::Text, 0),
    }
}

/// Up to the next line, the next counted frame, or a piece of it.
#[cold]
fn lost(text: &[u8]) -> Found {
    let line = memchr2(b'\n', 0, text);
    let until = line.unwrap_or(text.len()).min(PIECE);
    if let Some(end) = counted_begins(&text[..until]) {
        return Found::Frame(Kind::Lost, 0..end, end);
    }
    match line {
        Some(end) if end <= PIECE => Found::Frame(Kind::Lost, 0..end, end + 1),
        _ if text.len() > PIECE => {
            let end = cut_at(text, PIECE);
            Found::Frame(Kind::Lost, 0..end, end)
        }
        _ => Found::Begun(Kind::Lost, 0),
    }
}

/// Where, behind the first byte, digits, a blank and a priority stand.
fn counted_begins(text: &[u8]) -> Option<usize> {
    for open in memchr_iter(b'<', text) {
        let Some(before) = text[..open].strip_suffix(b" ") else {
            continue;
        };
        let digits = before
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let begin = before.len() - digits;
        let priority = text[open + 1..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let closes = text.get(open + 1 + priority) == Some(&b'>');
        let believed = (1..=8).contains(&digits) && text[begin] != b'0';
        if begin > 0 && believed && (1..=3).contains(&priority) && closes {
            return Some(begin);
        }
    }
    None
}

/// A frame whose end never comes ends here.
fn close(open: Found, end: usize) -> Found {
    match open {
        Found::Begun(kind, begin) => Found::Frame(kind, begin..end, end),
        _ => Found::Frame(Kind::Text, 0..end, end),
    }
}

/// Line ends and NULs where a frame should begin.
#[inline]
fn separators(text: &[u8], odd: &mut Oddities) -> usize {
    match text.first() {
        Some(b'\n' | 0) => {}
        _ => return 0,
    }
    let all = text
        .iter()
        .take_while(|byte| matches!(byte, b'\n' | 0))
        .count();
    odd.empty += u64::from(text[..all].contains(&0));
    all
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
