//! The body of a push: the entries of one stream, written in one pass straight into what is compressed and sent.
//!
//! The protobuf of Loki is written by hand. A message stands behind its length, which is known only afterwards, so its place
//! is kept by a number of four bytes; protobuf allows such a number to be longer than it need be.

use std::io;

use pipeline::{Event, Events, Time};

use super::streams::Stream;
use super::template::Template;
use crate::compress::Compressor;
use crate::encode::LineEncoder;

/// A body that has grown beyond this gives its memory back [bytes].
const KEPT: usize = 4 << 20;

/// One event on its way into its stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its place in the write.
    pub(super) place: u32,
    /// The time it goes under [ns].
    pub(super) time: i64,
    /// How often its time was replaced.
    pub(super) moved: u8,
    /// It has its end, and is not written any more.
    pub(super) done: bool,
    /// Bytes of its line when it was last written [bytes].
    pub(super) line: u32,
}

/// How a push looks.
pub(super) enum Form {
    /// Protobuf in snappy.
    Protobuf(Box<snap::raw::Encoder>),
    /// JSON, in gzip or plain.
    Json(Compressor),
}

/// What goes beside the line of an event.
pub(super) struct Metadata {
    /// Names and what they say, in the order in which they are given up last.
    pub(super) entries: Vec<(String, Template)>,
    /// Bytes of all names and values [bytes].
    pub(super) most: usize,
    /// Whether the true time of an event whose time was replaced goes there.
    pub(super) event_time: bool,
}

/// The name under which the true time goes.
pub(super) const EVENT_TIME: &str = "event_time";

/// Writes bodies.
pub(super) struct Body {
    pub(super) form: Form,
    pub(super) lines: LineEncoder,
    /// Writes an event whose line would be empty: Loki forgets such a line.
    pub(super) spare: LineEncoder,
    pub(super) metadata: Metadata,
    /// Longest line [bytes].
    pub(super) most_line: usize,
    raw: Vec<u8>,
    /// The snappy of the body, and how much of it is that.
    sent: Vec<u8>,
    sent_len: usize,
    scratch: Vec<u8>,
    line: Vec<u8>,
    /// Pieces of metadata left out for want of room, since this was last asked.
    pub(super) left_out: u64,
}

/// What became of the entries that were looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// How many were looked at.
    pub(super) seen: usize,
    /// How many are in the body.
    pub(super) count: usize,
}

impl Body {
    pub(super) fn new(
        form: Form,
        (lines, spare): (LineEncoder, LineEncoder),
        metadata: Metadata,
        most_line: usize,
    ) -> Body {
        Body {
            form,
            lines,
            spare,
            metadata,
            most_line,
            raw: Vec::new(),
            sent: Vec::new(),
            sent_len: 0,
            scratch: Vec::new(),
            line: Vec::new(),
            left_out: 0,
        }
    }

    /// Starts a body for `stream` and fills it until it holds `limit` bytes, with at least one entry. The lines that are
    /// too long are left out and handed to `too_long` with their length.
    pub(super) fn fill(
        &mut self,
        events: &Events,
        stream: &Stream,
        entries: &mut [Entry],
        limit: usize,
        mut too_long: impl FnMut(&mut Entry),
    ) -> Filled {
        self.raw.clear();
        if self.raw.capacity() > KEPT {
            self.raw.shrink_to(KEPT);
            self.sent = Vec::new();
        }
        let opened = self.open(stream);
        let mut filled = Filled::default();
        for entry in entries {
            let before = self.raw.len();
            if !entry.done
                && let Some(event) = events.get(entry.place as usize)
            {
                let time = match entry.moved {
                    0 => entry.time.saturating_add(apart(event, entry.time)),
                    _ => entry.time,
                };
                let line = match &self.form {
                    Form::Protobuf(_) => self.protobuf(event, time, entry.moved > 0),
                    Form::Json(_) => self.json(event, time, entry.moved > 0, filled.count > 0),
                };
                entry.line = u32::try_from(line).unwrap_or(u32::MAX);
                if line > self.most_line {
                    self.raw.truncate(before);
                    too_long(entry);
                } else if self.raw.len() > limit && filled.count > 0 {
                    self.raw.truncate(before);
                    break;
                } else {
                    filled.count += 1;
                }
            }
            filled.seen += 1;
        }
        self.close(opened);
        filled
    }

    fn open(&mut self, stream: &Stream) -> usize {
        match self.form {
            Form::Protobuf(_) => {
                self.raw.push(PUSH_STREAM);
                let at = reserve(&mut self.raw);
                self.raw.push(STREAM_LABELS);
                varint(&mut self.raw, stream.labels.len() as u64);
                self.raw.extend_from_slice(stream.labels.as_bytes());
                at
            }
            Form::Json(_) => {
                self.raw.extend_from_slice(b"{\"streams\":[{\"stream\":");
                self.raw.extend_from_slice(stream.json.as_bytes());
                self.raw.extend_from_slice(b",\"values\":[");
                0
            }
        }
    }

    fn close(&mut self, opened: usize) {
        match self.form {
            Form::Protobuf(_) => settle(&mut self.raw, opened),
            Form::Json(_) => self.raw.extend_from_slice(b"]}]}"),
        }
    }

    /// Appends an entry and says how long its line is [bytes].
    fn protobuf(&mut self, event: &Event, time: i64, moved: bool) -> usize {
        let out = &mut self.raw;
        out.push(STREAM_ENTRY);
        let entry = reserve(out);
        out.push(ENTRY_TIME);
        // Two numbers of at most ten and five bytes.
        let at = out.len();
        out.push(0);
        out.push(TIME_SECONDS);
        varint(out, time.div_euclid(SECOND) as u64);
        out.push(TIME_NANOS);
        varint(out, time.rem_euclid(SECOND) as u64);
        out[at] = (out.len() - at - 1) as u8;
        out.push(ENTRY_LINE);
        let line = reserve(out);
        write_line(&mut self.lines, &mut self.spare, event, out);
        let len = out.len() - line - RESERVED;
        settle(out, line);
        if len <= self.most_line {
            let mut room = self.metadata.most;
            self.left_out +=
                self.metadata
                    .each(event, moved, &mut self.scratch, &mut room, |name, value| {
                        out.push(ENTRY_METADATA);
                        let (name, head) = (
                            name.as_bytes(),
                            varint_len(name.len()) + varint_len(value.len()),
                        );
                        varint(out, (2 + head + name.len() + value.len()) as u64);
                        out.push(PAIR_NAME);
                        varint(out, name.len() as u64);
                        out.extend_from_slice(name);
                        out.push(PAIR_VALUE);
                        varint(out, value.len() as u64);
                        out.extend_from_slice(value);
                    });
        }
        settle(out, entry);
        len
    }

    fn json(&mut self, event: &Event, time: i64, moved: bool, comma: bool) -> usize {
        self.line.clear();
        write_line(&mut self.lines, &mut self.spare, event, &mut self.line);
        let len = self.line.len();
        if len > self.most_line {
            return len;
        }
        let out = &mut self.raw;
        out.extend_from_slice(if comma { b",[\"" } else { b"[\"" });
        out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
        out.extend_from_slice(b"\",");
        quote(&self.line, out);
        out.extend_from_slice(b",{");
        let mut room = self.metadata.most;
        let mut first = true;
        self.left_out +=
            self.metadata
                .each(event, moved, &mut self.scratch, &mut room, |name, value| {
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    quote(name.as_bytes(), out);
                    out.push(b':');
                    quote(value, out);
                });
        out.extend_from_slice(b"}]");
        len
    }

    /// Compresses the body.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        match &mut self.form {
            Form::Protobuf(snappy) => {
                // It only grows: clearing it for every push costs as much as a tenth of the compression.
                let room = snap::raw::max_compress_len(self.raw.len());
                if self.sent.len() < room {
                    self.sent.resize(room, 0);
                }
                self.sent_len = snappy
                    .compress(&self.raw, &mut self.sent)
                    .map_err(io::Error::other)?;
                Ok(())
            }
            // It takes some milliseconds, in which it must hold up nobody else.
            Form::Json(compressor) => compressor.run_aside(&mut self.raw).await,
        }
    }

    /// What is sent.
    pub(super) fn sent(&self) -> &[u8] {
        match &self.form {
            Form::Protobuf(_) => &self.sent[..self.sent_len],
            Form::Json(compressor) => compressor.sent(&self.raw),
        }
    }

    /// Its size before compression [bytes].
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// `Content-Type` and `Content-Encoding`.
    pub(super) fn kind(&self) -> (&'static str, Option<&'static str>) {
        match &self.form {
            // Snappy is part of the protocol there, and stands in no header.
            Form::Protobuf(_) => ("application/x-protobuf", None),
            Form::Json(compressor) => ("application/json", compressor.name()),
        }
    }
}

impl Metadata {
    /// Hands every name and its value to `put`, as long as there is room, and says how many found none.
    #[inline]
    fn each(
        &self,
        event: &Event,
        moved: bool,
        scratch: &mut Vec<u8>,
        room: &mut usize,
        mut put: impl FnMut(&str, &[u8]),
    ) -> u64 {
        let mut left_out = 0;
        let mut offer = |name: &str, value: &[u8]| {
            let size = name.len() + value.len();
            if size <= *room {
                *room -= size;
                put(name, value);
            } else {
                left_out += 1;
            }
        };
        if moved && self.event_time {
            let mut text = [0; 24];
            event.timestamp().write(&mut text);
            offer(EVENT_TIME, &text);
        }
        for (name, template) in &self.entries {
            scratch.clear();
            if template.write(event, scratch) {
                offer(name, scratch);
            }
        }
        left_out
    }
}

/// Appends the line of an event without its line end; never an empty one.
#[inline]
fn write_line(lines: &mut LineEncoder, spare: &mut LineEncoder, event: &Event, out: &mut Vec<u8>) {
    let before = out.len();
    lines.write(event, out);
    out.pop();
    if out.len() == before {
        spare.write(event, out);
        out.pop();
    }
}

/// Nanoseconds below what the time of an event says by itself: an access log has seconds, most others milliseconds. They
/// grow along a file, so that what has the same time stays in its order where it is looked at; and two events with the same
/// text and time are told apart even by a server that compares nothing else. The same for the same event, always.
pub(super) fn apart(event: &Event, time: i64) -> i64 {
    let below = match time {
        time if time % 1_000_000 == 0 => 1_000_000,
        time if time % 1_000 == 0 => 1_000,
        _ => return 0,
    };
    (step(event) % below) as i64
}

/// The time that takes the place of one that the server would refuse: now, but the same for some minutes, so that an event
/// that must be sent again in that time meets its own copy. A second's part of it tells events apart, and keeps the order
/// of a file.
pub(super) fn restamp(event: &Event, now: Time) -> i64 {
    const SAME: i64 = 300 * SECOND;
    now.0 - now.0.rem_euclid(SAME) + (step(event) % SECOND as u64) as i64
}

/// A number that grows along a file, by at least one for each line; no less distinct where there is no order.
fn step(event: &Event) -> u64 {
    // The place is counted in bytes, and hardly a line is shorter than eight of them.
    event.ordinal().map_or(event.id().0[1], |place| place / 8)
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    // Both a line and a value are text, and writing into a vector cannot fail.
    let text = String::from_utf8_lossy(text);
    let _ = serde_json::to_writer(out, &*text);
}

const SECOND: i64 = 1_000_000_000;

// Tags of Loki's push: `PushRequest { repeated Stream streams = 1 }`, `Stream { string labels = 1; repeated Entry entries
// = 2 }`, `Entry { Timestamp timestamp = 1; string line = 2; repeated Pair structuredMetadata = 3 }`, `Pair { string name =
// 1; string value = 2 }`, `Timestamp { int64 seconds = 1; int32 nanos = 2 }`.
const PUSH_STREAM: u8 = 0x0a;
const STREAM_LABELS: u8 = 0x0a;
const STREAM_ENTRY: u8 = 0x12;
const ENTRY_TIME: u8 = 0x0a;
const ENTRY_LINE: u8 = 0x12;
const ENTRY_METADATA: u8 = 0x1a;
const TIME_SECONDS: u8 = 0x08;
const TIME_NANOS: u8 = 0x10;
const PAIR_NAME: u8 = 0x0a;
const PAIR_VALUE: u8 = 0x12;

/// Bytes of a length that is filled in later.
const RESERVED: usize = 4;

fn reserve(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; RESERVED]);
    at
}

/// Fills in the length of everything behind `at`. A push is far shorter than the 256 MiB that four bytes can say.
fn settle(out: &mut [u8], at: usize) {
    let len = out.len() - at - RESERVED;
    debug_assert!(len < 1 << 28);
    let seven = |n: u32| (len >> (7 * n)) as u8;
    out[at] = seven(0) | 0x80;
    out[at + 1] = seven(1) | 0x80;
    out[at + 2] = seven(2) | 0x80;
    out[at + 3] = seven(3) & 0x7f;
}

#[inline]
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: usize) -> usize {
    (usize::BITS as usize - (value | 1).leading_zeros() as usize).div_ceil(7)
}
