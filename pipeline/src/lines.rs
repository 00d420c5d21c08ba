//! How a source of lines makes events.
//!
//! The text of one read lies in one buffer: first what all its events share (host, path), then the lines. Making an
//! event is writing down places in that buffer. What is not UTF-8 or holds a secret takes the slow way: the buffer is
//! written anew, so nothing behind this file ever sees the secret.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Husks;
use crate::clock::Time;
use crate::event::{Buffer, Event, EventId, Field, Pool, Span, Value, fields};
use crate::redact::Redactor;

/// What all lines of a lane share.
#[derive(Clone, Debug)]
pub struct LineConstants {
    /// `host.name`.
    pub host: String,
    /// `log.file.path`, where there is a file.
    pub path: Option<String>,
    /// How their ids are made.
    pub ids: LineIds,
}

/// How the ids of lines are made (`audit_event.md` 6).
#[derive(Clone, Copy, Debug)]
pub enum LineIds {
    /// The line's place in a file: 64 bits made of place and offset, 64 bits of the redacted text.
    Place(u64),
    /// The receiver's run, and a counter (the line's `offset`).
    Counter(u64),
}

impl LineIds {
    /// The id of the `n`th event of a run. Its first digits differ from event to event, for people type no more of them.
    #[must_use]
    pub fn counted(run: u64, n: u64) -> EventId {
        EventId([run.wrapping_add(n.wrapping_mul(SPREAD)), n])
    }
}

/// An odd constant, so that offsets spread over all 64 bits and no two offsets of a file meet.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is unusual about a line.
#[derive(Clone, Debug, Default)]
pub struct LineFacts {
    /// Tags, like `partial`.
    pub tags: Vec<&'static str>,
    /// The line was cut: its whole length [bytes], and the hash of the whole line as `sha256:` and 64 digits, empty where
    /// the rest of it was never seen.
    pub truncated: Option<(u64, String)>,
    /// `error.message`.
    pub error: Option<String>,
}

#[derive(Clone, Copy)]
struct Line {
    at: u32,
    len: u32,
    offset: u64,
}

/// Lines on their way to become events. Ask [`crate::SourceOut::lines`] for one, and hand it to
/// [`crate::SourceOut::send_lines`].
pub struct LineBatch {
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
    host: Span,
    path: Option<Span>,
    ids: LineIds,
    latin1: bool,
    lines: Vec<Line>,
    facts: Vec<(usize, LineFacts)>,
    shared: Vec<Shared>,
}

/// A text that all lines from one on have, until the next one of that field.
struct Shared {
    from: usize,
    field: Field,
    /// Empty: the field ends here.
    text: Span,
}

/// Memory that line batches of one source take turns in using.
#[derive(Default)]
pub(crate) struct LineMemory {
    pub(crate) buffers: Arc<Pool>,
    pub(crate) husks: Arc<Husks>,
    lines: Vec<Line>,
}

/// What a batch of lines became.
pub(crate) struct Made {
    pub(crate) events: Vec<Event>,
    /// Bytes of text [bytes].
    pub(crate) text: usize,
    /// Lines in which something was redacted.
    pub(crate) redacted: u64,
    /// Lines that were not UTF-8.
    pub(crate) undecodable: u64,
}

impl LineBatch {
    pub(crate) fn new(constants: &LineConstants, memory: &mut LineMemory) -> LineBatch {
        let mut bytes = memory.buffers.take();
        let path = constants.path.as_deref().unwrap_or_default();
        let start = constants.host.len() + path.len();
        if bytes.len() < start {
            bytes.resize(start, 0);
        }
        bytes[..constants.host.len()].copy_from_slice(constants.host.as_bytes());
        bytes[constants.host.len()..start].copy_from_slice(path.as_bytes());
        let mut lines = std::mem::take(&mut memory.lines);
        lines.clear();
        LineBatch {
            bytes,
            start,
            filled: start,
            host: Span {
                at: 0,
                len: constants.host.len() as u32,
            },
            path: constants.path.as_ref().map(|path| Span {
                at: constants.host.len() as u32,
                len: path.len() as u32,
            }),
            ids: constants.ids,
            latin1: false,
            lines,
            facts: Vec::new(),
            shared: Vec::new(),
        }
    }

    /// A line that is not UTF-8 is read as Latin-1, which is what PVE's own daemons write; otherwise its bad bytes are
    /// replaced. Either way its bytes are kept in `pve.raw_b64`.
    pub fn read_latin1(&mut self) {
        self.latin1 = true;
    }

    /// Room to read into, at least `at_least` bytes. Say afterwards how much was [`filled`](Self::filled).
    pub fn space(&mut self, at_least: usize) -> &mut [u8] {
        let wanted = self.filled + at_least;
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        &mut self.bytes[self.filled..]
    }

    /// `n` bytes of the room are text now.
    pub fn filled(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.bytes.len());
    }

    /// Copies text in.
    pub fn extend(&mut self, text: &[u8]) {
        self.space(text.len())[..text.len()].copy_from_slice(text);
        self.filled(text.len());
    }

    /// What was filled in so far.
    pub fn text(&self) -> &[u8] {
        &self.bytes[self.start..self.filled]
    }

    /// The bytes `range` of [`text`](Self::text) are one event. `offset` is its place in the lane: for files, the offset
    /// of the line in the (unpacked) file.
    #[inline]
    pub fn line(&mut self, range: Range<usize>, offset: u64) {
        debug_assert!(range.end <= self.filled - self.start);
        self.lines.push(Line {
            at: (self.start + range.start) as u32,
            len: (range.end - range.start) as u32,
            offset,
        });
    }

    /// The same with something to say about it.
    pub fn line_with(&mut self, range: Range<usize>, offset: u64, facts: LineFacts) {
        self.facts.push((self.lines.len(), facts));
        self.line(range, offset);
    }

    /// The lines from here on have this text in `field`, until it is said again; an empty text means that they have none.
    /// It stands once in the buffer, so it costs a line no copy. The caller knows that nothing else sets the field.
    pub fn share(&mut self, field: Field, text: &str) {
        let at = self.filled;
        self.extend(text.as_bytes());
        // Whatever is looked for in the text ends at a newline.
        self.extend(b"\n");
        self.shared.push(Shared {
            from: self.lines.len(),
            field,
            text: Span {
                at: at as u32,
                len: text.len() as u32,
            },
        });
    }

    /// Takes back what was filled in behind the first `len` bytes of [`text`](Self::text). No line may lie there.
    pub fn cut(&mut self, len: usize) {
        self.filled = self.filled.min(self.start + len);
    }

    /// Lines so far.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Makes the events.
    pub(crate) fn finish(
        mut self,
        memory: &mut LineMemory,
        redactor: &Redactor,
        hits: &mut Vec<Range<usize>>,
        now: Time,
    ) -> Made {
        let end = self
            .lines
            .last()
            .map_or(self.start, |line| (line.at + line.len) as usize);
        self.bytes.truncate(end);
        hits.clear();
        redactor.find(&self.bytes[self.start..], hits);
        if !hits.is_empty() && self.is_glued() {
            self.part();
            redactor.find(&self.bytes[self.start..], hits);
        }
        let (mut redacted, mut undecodable, mut raw) = (0, 0, Vec::new());
        let text = if hits.is_empty() {
            String::from_utf8(std::mem::take(&mut self.bytes))
                .map_err(std::string::FromUtf8Error::into_bytes)
        } else {
            Err(std::mem::take(&mut self.bytes))
        };
        let text = text.unwrap_or_else(|bytes| {
            self.rewrite(
                &bytes,
                redactor,
                hits,
                &mut redacted,
                &mut undecodable,
                &mut raw,
            )
        });
        let size = text.len() - self.start;
        let buffer = Buffer::pooled(text, &memory.buffers);
        let mut events = memory.husks.take();
        let kept = events.len().min(self.lines.len());
        events.truncate(kept);
        let mut shared: SmallVec<[(Field, Span); 4]> = SmallVec::new();
        let mut changes = self.shared.iter().peekable();
        for (n, line) in self.lines.iter().enumerate() {
            while let Some(change) = changes.next_if(|change| change.from <= n) {
                shared.retain(|(field, _)| *field != change.field);
                if change.text.len > 0 {
                    shared.push((change.field, change.text));
                }
            }
            let span = Span {
                at: line.at,
                len: line.len,
            };
            let id = match self.ids {
                LineIds::Place(base) => {
                    let text = buffer
                        .text()
                        .as_bytes()
                        .get(span.range())
                        .unwrap_or_default();
                    EventId([
                        base.wrapping_add(line.offset.wrapping_mul(SPREAD)),
                        xxh3_64(text),
                    ])
                }
                LineIds::Counter(run) => LineIds::counted(run, line.offset),
            };
            let ordinal = line.offset + 1;
            if n < kept {
                events[n].renew(id, now, ordinal, buffer.clone());
            } else {
                events.push(Event::fresh(id, now, ordinal, buffer.clone()));
            }
            let event = &mut events[n];
            event.push_span(fields::MESSAGE, span);
            event.push_span(fields::HOST_NAME, self.host);
            if let Some(path) = self.path {
                event.push_span(fields::LOG_FILE_PATH, path);
            }
            for (field, span) in &shared {
                event.push_span(*field, *span);
            }
        }
        for (n, bytes) in raw {
            events[n].set(fields::PVE_RAW_B64, base64(&bytes));
        }
        for (n, facts) in self.facts.drain(..) {
            state(&mut events[n], facts);
        }
        memory.lines = std::mem::take(&mut self.lines);
        Made {
            events,
            text: size,
            redacted,
            undecodable,
        }
    }

    /// Whether a line ends without a newline behind it: frames that a sender counted or ended by NUL, texts that were put in
    /// one by one. What is looked for ends at a newline only, and so could reach into the next line.
    fn is_glued(&self) -> bool {
        let ends = |line: &Line| {
            let end = (line.at + line.len) as usize;
            let rest = self.bytes.get(end..).unwrap_or_default();
            rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
        };
        !self.lines.iter().all(ends)
    }

    /// Writes the buffer anew with a newline behind every line.
    #[cold]
    fn part(&mut self) {
        let whole = std::mem::take(&mut self.bytes);
        let mut bytes = Vec::with_capacity(whole.len() + self.lines.len());
        bytes.extend_from_slice(&whole[..self.start]);
        for shared in &mut self.shared {
            let said = whole.get(shared.text.range()).unwrap_or_default();
            shared.text.at = bytes.len() as u32;
            bytes.extend_from_slice(said);
            bytes.push(b'\n');
        }
        for line in &mut self.lines {
            let (from, to) = (line.at as usize, (line.at + line.len) as usize);
            line.at = bytes.len() as u32;
            bytes.extend_from_slice(&whole[from..to]);
            bytes.push(b'\n');
        }
        self.bytes = bytes;
    }

    /// Writes the buffer anew: secrets replaced, then bytes that are not UTF-8 replaced and kept aside.
    #[cold]
    fn rewrite(
        &mut self,
        bytes: &[u8],
        redactor: &Redactor,
        hits: &[Range<usize>],
        redacted: &mut u64,
        undecodable: &mut u64,
        raw: &mut Vec<(usize, Vec<u8>)>,
    ) -> String {
        let mut text = String::with_capacity(bytes.len() + 64);
        text.push_str(&String::from_utf8_lossy(&bytes[..self.start]));
        for shared in &mut self.shared {
            // It was text when it was said.
            let said = bytes.get(shared.text.range()).unwrap_or_default();
            shared.text.at = text.len() as u32;
            text.push_str(&String::from_utf8_lossy(said));
        }
        let mut clean = Vec::new();
        for (n, line) in self.lines.iter_mut().enumerate() {
            let (from, to) = (line.at as usize, (line.at + line.len) as usize);
            clean.clear();
            let mut at = from;
            // Hits count from the start of the text; one may cover several lines, so it is cut to this one.
            let first = hits.partition_point(|hit| hit.end + self.start <= from);
            for hit in hits[first..]
                .iter()
                .take_while(|hit| hit.start + self.start < to)
            {
                let (start, end) = (
                    (hit.start + self.start).max(from),
                    (hit.end + self.start).min(to),
                );
                clean.extend_from_slice(&bytes[at..start]);
                redactor.replacement(&bytes[start..end], &mut clean);
                at = end;
            }
            *redacted += u64::from(at != from);
            clean.extend_from_slice(&bytes[at..to]);
            line.at = text.len() as u32;
            match std::str::from_utf8(&clean) {
                Ok(valid) => text.push_str(valid),
                Err(_) => {
                    *undecodable += 1;
                    if self.latin1 {
                        text.extend(clean.iter().map(|byte| char::from(*byte)));
                    } else {
                        text.push_str(&String::from_utf8_lossy(&clean));
                    }
                    raw.push((n, clean.clone()));
                }
            }
            line.len = text.len() as u32 - line.at;
        }
        text
    }
}

fn state(event: &mut Event, facts: LineFacts) {
    for tag in facts.tags {
        event.add_tag(tag);
    }
    if let Some((bytes, hash)) = facts.truncated {
        event.set(fields::PVE_TRUNCATED, true);
        event.set(fields::PVE_ORIGINAL_BYTES, Value::from(bytes));
        if !hash.is_empty() {
            event.set(fields::EVENT_HASH, hash);
        }
    }
    if let Some(why) = facts.error {
        event.set(fields::ERROR_MESSAGE, why);
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    out
}

/// `event.hash` of a text: `sha256:` and 64 digits.
pub fn sha256(text: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
    format!("sha256:{}", hex(digest.as_ref()))
}

/// RFC 4648 with padding, as `pve.raw_b64` holds bytes that are no text.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests;
