//! The body of a bulk: an action line and a document for each event, written once, straight into what is sent.

use std::io;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use pipeline::{Event, Events, Field, JsonWriter, fields};

use super::index::Action;

/// A body that has grown beyond this gives its memory back [bytes].
const KEPT: usize = 8 << 20;

/// Writes events as the lines of a bulk.
pub(super) struct Encoder {
    writer: JsonWriter,
    audit: Action,
    alert: Action,
    kind: Field,
}

impl Encoder {
    pub(super) fn new(writer: JsonWriter, audit: Action, alert: Action) -> Self {
        Self {
            writer,
            audit,
            alert,
            kind: fields::EVENT_KIND,
        }
    }

    /// Fills `out` with the events from place `from` on, until it holds `limit` bytes; at least one event. Says how
    /// many it was.
    pub(super) fn fill(
        &mut self,
        events: &Events,
        from: usize,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        out.clear();
        if out.capacity() > KEPT {
            out.shrink_to(KEPT);
        }
        let mut count = 0;
        for event in events.iter().skip(from) {
            let before = out.len();
            self.line(event, out);
            if out.len() > limit && count > 0 {
                out.truncate(before);
                break;
            }
            count += 1;
        }
        count
    }

    #[inline]
    fn line(&mut self, event: &Event, out: &mut Vec<u8>) {
        let action = if event.str(self.kind) == Some("alert") {
            &mut self.alert
        } else {
            &mut self.audit
        };
        action.write(event.timestamp(), event.id(), out);
        self.writer.write(event, out);
        out.push(b'\n');
    }
}

/// Compression of bodies, with the memory for it.
#[derive(Default)]
pub(super) enum Compressor {
    /// The body as it is.
    #[default]
    None,
    /// gzip at a level from 0 to 9.
    Gzip { level: u32, out: Vec<u8> },
    /// Zstandard at a level from 1 to 22.
    Zstd { level: i32, out: Vec<u8> },
}

impl Compressor {
    /// The value of `Content-Encoding`.
    pub(super) fn name(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip { .. } => Some("gzip"),
            Self::Zstd { .. } => Some("zstd"),
        }
    }

    /// Compresses `body` into its own memory.
    pub(super) fn run(&mut self, body: &[u8]) -> io::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Gzip { level, out } => {
                out.clear();
                let mut encoder = GzEncoder::new(std::mem::take(out), Level::new(*level));
                io::Write::write_all(&mut encoder, body)?;
                *out = encoder.finish()?;
                Ok(())
            }
            Self::Zstd { level, out } => {
                out.clear();
                zstd::stream::copy_encode(body, out, *level)
            }
        }
    }

    /// What is sent: the compressed body, or the plain one.
    pub(super) fn sent<'a>(&'a self, body: &'a [u8]) -> &'a [u8] {
        match self {
            Self::None => body,
            Self::Gzip { out, .. } | Self::Zstd { out, .. } => out,
        }
    }
}
